"""`python -m utils.book.livebox`: make the model behind the live box on the page of chapter 13.

Fine-tunes the shipped checkpoint as chapter 13 does with all sentences, makes int8 of every matrix, and writes one file
that `chapters/_site/livebox/core.js` and `load` read. The state of the training lies in `_build/livebox/`, out of git; a
run that was killed goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from .. import batching, checkpoints, corpora, decoding, metrics, prediction, training
from ..encoder import Encoder, EncoderConfig
from ..errors import CheckpointError, ConfigError, RunError
from ..files import write_atomically
from ..heads import TokenClassifier
from ..profiles import CHECKPOINT, ROOT, get
from ..tensor_names import tensor_names

FOLDER = ROOT / "utils" / "assets" / "livebox"
WORK = ROOT / "_build" / "livebox"
MODEL = "model.safetensors"
LEVELS = 127  # int8 from -127 to 127: symmetric, so that zero stays zero
WINDOW = 128  # pieces that the model reads at once, [CLS] and [SEP] included: the default of `batching.encode_words`
PROFILE = get("mini")
SEED, DEV_SENTENCES = 1, 600  # as in chapter 13's table of all sentences


# --- int8 ---------------------------------------------------------------------------------------------------------------


def quantise(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(r, c) floats -> int8 (r, c) and a scale for each row (r,): row ≈ integers · scale, off by scale / 2 at most."""
    largest = np.abs(matrix).max(axis=1)
    scale = np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32)
    return np.rint(matrix / scale[:, None]).astype(np.int8), scale


def dequantise(integers: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The float32 matrix that Python and the browser compute with."""
    return integers.astype(np.float32) * scale[:, None]


def tensors(model: TokenClassifier) -> dict[str, np.ndarray]:
    """Weights by their Hugging Face names: each matrix as int8 with `NAME.scale`, a row for each output (or vocabulary
    entry); each vector as it is."""
    found = {}
    for name, variable, transposed in tensor_names(model):
        value = keras.ops.convert_to_numpy(variable).astype(np.float32)
        if value.ndim == 1:
            found[name] = value
        else:
            integers, found[f"{name}.scale"] = quantise(value.T if transposed else value)
            found[name] = np.ascontiguousarray(integers)
    return found


def characters(tokenizer) -> dict[str, int]:
    """Every character of Unicode that gets a piece other than [UNK], and that piece; the browser only looks it up.

    Only characters that NFKC leaves as they are: others never reach the tokenizer.

    Raises:
        CheckpointError: a character becomes more than one piece (this vocabulary is no character vocabulary).
    """
    points = [chr(point) for point in range(sys.maxunicode + 1)]
    points = [c for c in points if unicodedata.category(c) not in ("Cn", "Co", "Cs") and unicodedata.normalize("NFKC", c) == c]
    found = {}
    for start in range(0, len(points), 5000):
        chunk = points[start : start + 5000]
        encoded = tokenizer(chunk, is_split_into_words=True, add_special_tokens=False, verbose=False)
        words = encoded.word_ids()
        if len(set(words)) < len(words):
            raise CheckpointError("词表把一个字切成几个词元，网页里的输入框只认逐字的词表")
        pieces = zip(words, encoded["input_ids"])
        found |= {chunk[word]: piece for word, piece in pieces if piece != tokenizer.unk_token_id and chunk[word].strip()}
    return found


def save(model: TokenClassifier, tokenizer, folder: Path, facts: dict) -> Path:
    """Write `model.safetensors`; its metadata hold all else that the browser needs, as JSON under the key "livebox"."""
    config = model.encoder.config
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
             "max_position_embeddings", "type_vocab_size", "layer_norm_eps")
    settings = {
        "config": {name: getattr(config, name) for name in names},
        "labels": list(model.labels),
        "special": {"cls": tokenizer.cls_token_id, "sep": tokenizer.sep_token_id, "unk": tokenizer.unk_token_id},
        "window": {"length": WINDOW, "overlap": batching.OVERLAP},
        "facts": facts,
        "characters": characters(tokenizer),
    }
    text = json.dumps(settings, ensure_ascii=False, separators=(",", ":"))
    write_atomically(folder / MODEL, to_bytes(tensors(model), metadata={"livebox": text}))
    return folder / MODEL


def load(folder: str | os.PathLike = FOLDER) -> TokenClassifier:
    """The int8 model in Python: the book's own encoder, filled with what the integers stand for.

    Returns:
        the model with `labels` and `settings` (the metadata of the file).

    Raises:
        CheckpointError: the file is missing, damaged, or its settings ask for more than it holds.
    """
    path = Path(folder) / MODEL
    try:
        with safe_open(path, "numpy") as file:
            settings = json.loads(file.metadata()["livebox"])
            stored = {name: file.get_tensor(name) for name in file.keys()}
        labels, config = [str(label) for label in settings["labels"]], EncoderConfig.from_dict(settings["config"])
        _check_size(config, stored)
        model = TokenClassifier(Encoder(config), len(labels))
        for name, variable, transposed in tensor_names(model):
            value = stored[name]
            value = dequantise(value, stored[f"{name}.scale"]) if value.ndim == 2 else value
            variable.assign(value.T if transposed else value)
    except (OSError, SafetensorError, ConfigError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} 读不出来（{' '.join(str(error).split())}）；请运行 make livebox 重新生成，或重新取得仓库") from error
    model.labels, model.settings = labels, settings
    return model


def _check_size(config: EncoderConfig, stored: dict[str, np.ndarray]) -> None:
    """LookupError or ValueError if `config` asks for more than the file holds, before any memory is taken for it."""
    for name, rows in (("embeddings.word_embeddings", config.vocab_size),
                       ("embeddings.position_embeddings", config.max_position_embeddings),
                       ("embeddings.token_type_embeddings", config.type_vocab_size),
                       (f"encoder.layer.{config.num_hidden_layers - 1}.intermediate.dense", config.intermediate_size)):
        if (shape := stored[f"bert.{name}.weight"].shape) != (rows, config.hidden_size):
            raise ValueError(f"{name}：{shape}，config：{(rows, config.hidden_size)}")


def label_sentences(model: TokenClassifier, tokenizer, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
    """The best valid IOB2 labels of each sentence (a sequence of characters)."""
    rows = prediction.predict_words(model, batching.encode_words(tokenizer, sentences, max_length=WINDOW),
                                    decoding.iob2_transitions(model.labels))
    return [[model.labels[i] for i in row] for row in rows]


# --- training -----------------------------------------------------------------------------------------------------------


def split(data, name: str, count: int | None = None) -> tuple[list[list[str]], list[list[str]]]:
    """(sentences, labels) of one part of the corpus; `count` of them drawn with a fixed seed, all if None."""
    labels = data[name].features["ner_tags"].feature.names
    sentences, tags = data[name]["tokens"], [[labels[i] for i in row] for row in data[name]["ner_tags"]]
    if count is None or count >= len(tags):
        return list(sentences), tags
    chosen = np.random.default_rng(0).choice(len(tags), count, replace=False)
    return [sentences[i] for i in chosen], [tags[i] for i in chosen]


def make_trainer(data, tokenizer, sentences: int | None, state: Path) -> training.Trainer:
    """Chapter 13's fine-tuning, with a state to resume from."""
    labels = data["train"].features["ner_tags"].feature.names
    number = {label: i for i, label in enumerate(labels)}
    keras.utils.set_random_seed(SEED)
    model = checkpoints.load("token", CHECKPOINT, labels=labels)
    texts, tags = split(data, "train", sentences)
    windows = batching.encode_words(tokenizer, texts, [[number[t] for t in row] for row in tags], max_length=WINDOW)
    dev = split(data, "validation", DEV_SENTENCES)
    steps = batching.batch_plan(windows.piece_counts(), PROFILE.batch_tokens, PROFILE.epochs, SEED)
    plan = training.Plan(len(steps), PROFILE.learning_rate, evaluate_every=len(steps) // PROFILE.epochs)
    evaluate = lambda m: {"score": metrics.entity_scores(dev[1], label_sentences(m, tokenizer, dev[0])).f1}  # noqa: E731
    return training.Trainer(model, training.token_loss, batching.token_batches(windows, steps), plan, evaluate,
                            state=state, save_every=50, label="微调")


def compare(model: TokenClassifier, small: TokenClassifier, tokenizer, part) -> dict:
    """Strict F1 of the float and the int8 model, all types and each, and the share of labels that int8 changes."""
    rows = [label_sentences(one, tokenizer, part[0]) for one in (model, small)]
    scores = [metrics.entity_scores(part[1], found) for found in rows]
    changed = sum(a != b for pair in zip(*rows) for a, b in zip(*pair))
    return {"f1": scores[0].f1, "f1_int8": scores[1].f1, "entities": scores[1].support,
            "types": {kind: [one.per_type[kind][2] for one in scores] for kind in scores[1].per_type},
            "labels_changed": changed / sum(map(len, part[1]))}


def card(facts: dict, size: int) -> str:
    """The model card, from the template beside this file."""
    types = "；".join(f"{kind} {100 * a:.1f} / {100 * b:.1f}" for kind, (a, b) in facts["test"]["types"].items())
    template = (Path(__file__).parent / "livebox_card.md").read_text(encoding="utf8")
    return template.format(megabytes=size / 1e6, types_line=types, **facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, help="training sentences; all if not given")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write")
    options = parser.parse_args()
    data, tokenizer = corpora.people_daily(), checkpoints.load_tokenizer(CHECKPOINT)
    trainer = make_trainer(data, tokenizer, options.sentences, WORK / f"state-{options.sentences or 'all'}.npz")
    history = trainer.run()
    if trainer.step < trainer.plan.steps:
        raise RunError(f"微调停在第 {trainer.step} 步；再运行一次会从这里继续")
    facts = {
        "sentences": options.sentences or len(data["train"]), "steps": trainer.plan.steps, "epochs": PROFILE.epochs, "seed": SEED,
        "learning_rate": trainer.plan.learning_rate, "seconds": round(history.seconds), "dev_f1": history.best_score, "dev_sentences": DEV_SENTENCES,
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "data_sha256": corpora.fingerprint("people_daily"),
        "checkpoint_sha256": hashlib.sha256((CHECKPOINT / checkpoints.WEIGHTS).read_bytes()).hexdigest(),
    }
    save(trainer.model, tokenizer, WORK, facts)  # aside: what is read back from the file is scored
    facts["test"] = compare(trainer.model, load(WORK), tokenizer, split(data, "test"))
    path = save(trainer.model, tokenizer, options.out, facts)
    write_atomically(options.out / "README.md", card(facts, path.stat().st_size).encode())
    print(f"模型写好了：{path}（{path.stat().st_size / 1e6:.2f} MB）；测试集 F1：float32 {100 * facts['test']['f1']:.2f}，"
          f"int8 {100 * facts['test']['f1_int8']:.2f}")


if __name__ == "__main__":
    main()
