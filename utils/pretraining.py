"""Make the checkpoint that the book ships: a small Chinese BERT, pre-trained by masked language modelling.

`make pretrain` (python -m utils.pretraining) trains it again, resumes after a kill, and writes the Hugging Face folder with
its card. Chapter 4 explains every step. Sources: Devlin et al. 2019 (masking 80/10/10); Levy and Goldberg 2014 (PPMI and
SVD as word embeddings); Vaswani et al. 2017 (sinusoids).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from .encoder import Encoder, EncoderConfig
from .heads import LanguageModel

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"[unused{i}]" for i in range(1, 21)]
PAD, UNK, CLS, SEP, MASK = range(5)
FIRST_WORD = len(SPECIALS)  # ids from here on are characters, so only they replace a masked piece at random


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. Lengths in pieces, batches in sequences.

    Attributes:
        steps: updates in all; the last `long_share` of them use the long sequences.
        length, batch: sequences of the main phase.
        long_length, long_batch: sequences of the last phase, so that every position is trained.
        masked: share of places that are predicted.
        scale: standard deviation of kernels and embeddings at the start (BERT: 0.02).
        ppmi: start the piece embeddings from an SVD of the PPMI matrix instead of noise.
        sinusoids: start the position embeddings from sinusoids instead of noise.
        min_count: rarer characters become [UNK].
    """

    steps: int = 2400
    length: int = 64
    batch: int = 64
    long_share: float = 0.1
    long_length: int = 256
    long_batch: int = 16
    learning_rate: float = 1.5e-3
    warmup: float = 0.05
    decay: str = "cosine"
    beta_2: float = 0.98
    weight_decay: float = 0.01
    masked: float = 0.15
    scale: float = 0.06
    ppmi: bool = True
    sinusoids: bool = True
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


def ppmi_embeddings(stream: TextStream, width: int, window: int = 3, seed: int = 1) -> np.ndarray:
    """SVD of the positive pointwise mutual information of neighbours -> (vocabulary, width), unit standard deviation.

    Contexts are smoothed by the power 0.75 (Levy, Goldberg and Dagan 2015). Pieces never seen get noise.
    """
    from scipy.sparse import coo_matrix
    from sklearn.utils.extmath import randomized_svd

    size, row = len(stream.vocabulary), stream.ids[1]
    pairs = coo_matrix((size, size), dtype=np.float64).tocsr()
    for distance in range(1, window + 1):
        left, right = row[:-distance], row[distance:]
        real = (left >= FIRST_WORD) & (right >= FIRST_WORD)
        counts = coo_matrix((np.ones(real.sum()), (left[real], right[real])), shape=(size, size)).tocsr()
        pairs = pairs + counts + counts.T
    pairs = pairs.tocoo()
    total = pairs.data.sum()
    of_word = np.bincount(pairs.row, pairs.data, size) / total
    of_context = np.bincount(pairs.col, pairs.data, size) ** 0.75
    of_context /= of_context.sum()
    information = np.log(pairs.data / total / (of_word[pairs.row] * of_context[pairs.col]))
    matrix = coo_matrix((np.maximum(information, 0), (pairs.row, pairs.col)), shape=(size, size)).tocsr()
    left, values, _ = randomized_svd(matrix, width, random_state=seed)
    table = left * np.sqrt(values)
    empty = np.abs(table).sum(1) == 0
    table /= table[~empty].std()
    table[empty] = np.random.default_rng(seed).normal(size=(empty.sum(), width))
    return table.astype(np.float32)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Vaswani et al. 2017, section 3.5 -> (length, width), unit standard deviation."""
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return (table / table.std()).astype(np.float32)


def build_model(stream: TextStream, recipe: Recipe, **changes) -> LanguageModel:
    """A language model at its start, as the recipe says; `changes` go to `EncoderConfig` (width, layers, is_decoder…)."""
    keras.utils.set_random_seed(recipe.seed)
    config = EncoderConfig(
        **{
            "vocab_size": len(stream.vocabulary),
            "hidden_act": "relu",  # a third cheaper a step than gelu on a CPU
            "max_position_embeddings": recipe.long_length,
            "initializer_range": recipe.scale,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            **changes,
        }
    )
    model = LanguageModel(Encoder(config))
    tables = model.encoder.embeddings
    if recipe.ppmi:
        tables.word.embeddings.assign(recipe.scale * ppmi_embeddings(stream, config.hidden_size, seed=recipe.seed))
    if recipe.sinusoids:
        tables.position.embeddings.assign(
            recipe.scale * sinusoids(config.max_position_embeddings, config.hidden_size)
        )
    return model


def masked_batches(stream: TextStream, recipe: Recipe):
    """batches(step) for `training.Trainer`: a batch depends only on the recipe's seed and the step."""
    switch = recipe.steps - int(recipe.long_share * recipe.steps)

    def batch(step: int) -> dict:
        random = np.random.default_rng([recipe.seed, step])
        shape = (recipe.batch, recipe.length) if step < switch else (recipe.long_batch, recipe.long_length)
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
