"""Cloze prompts for a masked language model: a template around a text, and the scores of words at its [MASK].

Source: Schick and Schütze 2021 (arXiv:2001.07676). Chapters 1 and 7 use it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from . import batching
from .batching import Windows
from .errors import ConfigError

TEXT, MASK = "{text}", "[MASK]"


def encode_cloze(tokenizer, texts: Sequence[str], template: str, max_length: int = 64) -> tuple[Windows, np.ndarray]:
    """Put each text into a template; a long text is cut, the template never.

    Args:
        tokenizer: a fast transformers tokenizer with a mask token.
        texts: texts; an empty one leaves the bare template.
        template: holds "{text}" and "[MASK]" once each.
        max_length: pieces a window, [CLS] and [SEP] included.

    Returns:
        the windows, and the place of [MASK] in each: (N,).

    Raises:
        ConfigError: the template lacks one of the two, has one twice, or leaves no room for a text.
    """
    if template.count(TEXT) != 1 or template.count(MASK) != 1:
        raise ConfigError(f"模板 {template!r} 要恰好有一个 {TEXT} 和一个 {MASK}")

    def pieces(part: str) -> list[int]:
        return tokenizer(part, add_special_tokens=False)["input_ids"] if part else []

    before, after = (pieces(part.replace(MASK, tokenizer.mask_token)) for part in template.split(TEXT))
    room = max_length - 2 - len(before) - len(after)
    if room < 1:
        raise ConfigError(f"max_length={max_length} 太小：模板 {template!r} 已经占满，没有留给文本的位置")
    ids, places = [], []
    for text in texts:
        row = [tokenizer.cls_token_id, *before, *pieces(text)[:room], *after, tokenizer.sep_token_id]
        ids.append(np.array(row, np.int32))
        # The text itself might hold [MASK]; the template's own place follows from its parts.
        inside = before if tokenizer.mask_token_id in before else after
        offset = 1 if inside is before else len(row) - 1 - len(after)
        places.append(offset + inside.index(tokenizer.mask_token_id))
    empty = [np.zeros(0, np.int32)] * len(ids)
    windows = Windows(ids, empty, list(empty), np.arange(len(ids)), np.array([len(row) for row in ids]))
    return windows, np.array(places, int)


def cloze_batch(windows: Windows, places: np.ndarray, indices: Sequence[int], pad_id: int = 0) -> dict:
    """Inputs of a `LanguageModel` for some windows: ids and mask (b, t), and `positions` (b,), flat places of [MASK]."""
    batch = batching.pad_ids(windows, indices, pad_id)
    width = batch["input_ids"].shape[1]
    return batch | {"positions": (np.arange(len(indices)) * width + places[indices]).astype(np.int32)}


def word_logits(
    model, windows: Windows, places: np.ndarray, word_ids: Sequence[int], batch_tokens: int = 4096, pad_id: int = 0
) -> np.ndarray:
    """Logits of some words at the [MASK] of each window: (N, words).

    Args:
        model: a `LanguageModel`.
        windows, places: from `encode_cloze`.
        word_ids: ids of the words.
        batch_tokens: bound on the padded size of a batch.
    """
    found = np.zeros((len(windows), len(word_ids)), np.float32)
    for indices in batching.batch_plan(windows.piece_counts(), batch_tokens, 1):
        logits = ops.convert_to_numpy(model(cloze_batch(windows, places, indices, pad_id), training=False))
        found[indices] = logits[:, list(word_ids)]
    return found
