"""Make the checkpoint that the book ships: a small Chinese BERT, pre-trained by masked language modelling.

`make pretrain` trains it again, resumes after a kill, and writes the Hugging Face folder with
its card. Chapter 4 explains every step. Sources: Devlin et al. 2019 (masking 80/10/10); Levy and Goldberg 2014 (PPMI and
SVD as word embeddings); the start from counts is `utils.counting`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from . import counting
from .encoder import Encoder, EncoderConfig
from .heads import LanguageModel

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"[unused{i}]" for i in range(1, 21)]
PAD, UNK, CLS, SEP, MASK = range(5)
FIRST_WORD = len(SPECIALS)  # ids from here on are characters, so only they replace a masked piece at random


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. Lengths in pieces, batches in sequences.

    Attributes:
        steps: updates in all; every `long_every`-th of them uses long sequences, so that all positions are trained.
        length, batch: the short sequences.
        long_length, long_batch: the long sequences.
        masked: share of places that are predicted.
        scale: standard deviation of kernels and embeddings at the start (BERT: 0.02).
        ppmi: start the piece embeddings from an SVD of PPMI matrices instead of noise.
        sinusoids: start the position embeddings from sinusoids instead of noise.
        readers: start the first layer's heads as readers of the neighbours (needs the two before).
        min_count: rarer characters become [UNK].
    """

    steps: int = 4500
    length: int = 64
    batch: int = 32
    long_every: int = 8
    long_length: int = 256
    long_batch: int = 8
    learning_rate: float = 1e-3
    warmup: float = 0.05
    decay: str = "cosine"
    beta_2: float = 0.98
    weight_decay: float = 0.01
    masked: float = 0.15
    scale: float = 0.06
    ppmi: bool = True
    sinusoids: bool = True
    readers: bool = True
    min_count: int = 2
    seed: int = 1


def normalise(text: str) -> str:
    """What BERT's uncased normaliser does: lower case, accents and control characters off. NFKC is done by the corpora."""
    text = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in text if unicodedata.category(c)[0] not in "CM" or c in "\t\n ")


def is_alphanumeric(character: str) -> bool:
    """ASCII letters and digits: the characters that WordPiece may continue with `##`."""
    return character.isascii() and character.isalnum()


def build_vocabulary(texts: list[str], min_count: int = 2) -> list[str]:
    """Special pieces, then characters by falling frequency, then `##` forms of ASCII letters and digits."""
    counts: dict[str, int] = {}
    for text in texts:
        for character in normalise(text):
            counts[character] = counts.get(character, 0) + 1
    kept = [c for c, n in counts.items() if n >= min_count and not c.isspace()]
    kept.sort(key=lambda c: (-counts[c], c))
    return SPECIALS + kept + [f"##{c}" for c in sorted(kept) if is_alphanumeric(c)]


class TextStream:
    """All texts as one row of piece ids, with [SEP] between them, in two readings.

    Row 0 takes every character as a word of its own (as NER does); row 1 joins ASCII letters and digits into words, whose
    later characters become `##` pieces (as the tokenizer does with raw text). A model that has seen both can serve both.
    """

    def __init__(self, texts: list[str], vocabulary: list[str]):
        ids = {piece: i for i, piece in enumerate(vocabulary)}
        rows: tuple[list[int], list[int]] = ([], [])
        for text in texts:
            previous = " "
            for character in normalise(text):
                if not character.isspace():
                    single = ids.get(character, UNK)
                    joined = is_alphanumeric(character) and is_alphanumeric(previous)
                    rows[0].append(single)
                    rows[1].append(ids.get(f"##{character}", single) if joined else single)
                previous = character
            rows[0].append(SEP)
            rows[1].append(SEP)
        self.ids = np.array(rows, np.int32)  # (2, places)
        self.vocabulary = vocabulary
        self._counts: dict[tuple[int, int], counting.Counts] = {}

    def counts(self, width: int, seed: int) -> counting.Counts:
        """What neighbours tell, for embeddings of `width` dimensions; counted once."""
        if (width, seed) not in self._counts:
            self._counts[width, seed] = counting.Counts(self.ids[1], len(self.vocabulary), width, FIRST_WORD, seed)
        return self._counts[width, seed]

    def sequences(self, random: np.random.Generator, count: int, length: int) -> np.ndarray:
        """`count` cuts at random places, each [CLS] … [SEP] -> (count, length) integers."""
        starts = random.integers(0, self.ids.shape[1] - length, count)
        reading = random.integers(0, 2, count)
        body = self.ids[reading[:, None], starts[:, None] + np.arange(length - 2)]
        return np.pad(body, ((0, 0), (1, 1)), constant_values=((0, 0), (CLS, SEP)))[:, :length]


def mask_batch(sequences: np.ndarray, random: np.random.Generator, share: float, vocabulary_size: int) -> dict:
    """Hide `share` of the places: of these 80 % become [MASK], 10 % a random piece, 10 % stay (Devlin et al. 2019).

    Returns:
        input_ids (b, t), positions (n,) into the flattened places, labels (n,) the hidden pieces. The number n is the same
        for every batch of one shape.
    """
    count, length = sequences.shape
    flat = sequences.reshape(-1).copy()
    eligible = np.flatnonzero(flat >= FIRST_WORD)
    wanted = min(int(share * count * (length - 2)), len(eligible))
    positions = np.sort(random.choice(eligible, wanted, replace=False)).astype(np.int32)
    labels = flat[positions].copy()
    draw = random.random(wanted)
    flat[positions[draw < 0.8]] = MASK
    swap = positions[draw >= 0.9]
    flat[swap] = random.integers(FIRST_WORD, vocabulary_size, len(swap))
    return {"input_ids": flat.reshape(count, length), "positions": positions, "labels": labels}


def build_model(stream: TextStream, recipe: Recipe, **changes) -> LanguageModel:
    """A language model at its start, as the recipe says; `changes` go to `EncoderConfig` (width, layers, is_decoder…)."""
    keras.utils.set_random_seed(recipe.seed)
    config = EncoderConfig(
        **{
            "vocab_size": len(stream.vocabulary),
            "hidden_act": "gelu_new",  # the tanh form: a tenth cheaper a step than the exact one on a CPU
            "max_position_embeddings": recipe.long_length,
            "initializer_range": recipe.scale,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            **changes,
        }
    )
    model = LanguageModel(Encoder(config))
    tables, width = model.encoder.embeddings, config.hidden_size
    if recipe.ppmi or recipe.readers:
        pieces, _ = counting.layout(width)
        counts = stream.counts(pieces, recipe.seed)
    if recipe.ppmi:
        table = 0.1 * np.random.default_rng([recipe.seed, 1]).normal(size=(config.vocab_size, width))
        table[:, :pieces] = counts.embeddings
        table[MASK, :pieces] = 0.0  # a hidden place says nothing about its piece
        tables.word.embeddings.assign(recipe.scale * table)
    if recipe.sinusoids:
        table = counting.sinusoids(config.max_position_embeddings, width, recipe.seed)
        tables.position.embeddings.assign(recipe.scale * table)
        tables.token_type.embeddings.assign(np.zeros((config.type_vocab_size, width)))
    if recipe.readers:
        counting.plant_readers(model, counts, recipe.seed)
    return model


def batch_shape(recipe: Recipe, step: int) -> tuple[int, int]:
    """(sequences, pieces) of the batch of a step."""
    long = recipe.long_every and step % recipe.long_every == recipe.long_every - 1
    return (recipe.long_batch, recipe.long_length) if long else (recipe.batch, recipe.length)


def masked_batches(stream: TextStream, recipe: Recipe):
    """batches(step) for `training.Trainer`: a batch depends only on the recipe's seed and the step."""

    def batch(step: int) -> dict:
        random = np.random.default_rng([recipe.seed, step])
        shape = batch_shape(recipe, step)
        return mask_batch(stream.sequences(random, *shape), random, recipe.masked, len(stream.vocabulary))

    return batch


def masked_loss(model: LanguageModel, batch: dict, training: bool):
    """Mean cross-entropy at the hidden places."""
    logits = model({"input_ids": batch["input_ids"], "positions": batch["positions"]}, training=training)
    return ops.mean(keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True))


def masked_scores(model: LanguageModel, stream: TextStream, recipe: Recipe, batches: int = 8) -> dict:
    """Loss and accuracy at hidden places of a fixed sample of `stream` (same places at every call)."""
    losses, hits = [], []
    for index in range(batches):
        random = np.random.default_rng([99, index])
        batch = mask_batch(stream.sequences(random, 64, recipe.length), random, recipe.masked, len(stream.vocabulary))
        logits = ops.convert_to_numpy(model({k: batch[k] for k in ("input_ids", "positions")}, training=False))
        losses.append(keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True))
        hits.append(logits.argmax(-1) == batch["labels"])
    accuracy = float(np.concatenate(hits).mean())
    return {"score": accuracy, "accuracy": accuracy, "loss": float(np.mean([ops.mean(loss) for loss in losses]))}
