"""The pre-training recipe against independent references: the real tokenizer, closed forms, hand sums."""

import dataclasses
import itertools
import math
import unicodedata

import keras
import numpy as np
import pytest

from utils import checkpoints, counting, pretraining
from utils.encoder import Encoder, EncoderConfig
from utils.pretraining import CLS, FIRST_WORD, MASK, SEP, UNK

TEXTS = [
    "今天天气很好，我们去公园玩。",
    "他在 2026 年买了 3 台 GPU，型号是 RTX4090。",
    "“预训练”不需要标注：文本自己就是答案！",
    "Café résumé naïve 也能读；价格是 1,234.50 元（含税）。",
    "电话 010-8888，网址 www.example.com/a_b?c=1，占 12.5%。",
    "我们再去公园，他再买 GPU；电话、网址、价格都写在文本里。" * 2,
]


def nfkc(text):
    return unicodedata.normalize("NFKC", text)


@pytest.fixture(scope="module")
def vocabulary():
    return pretraining.build_vocabulary([nfkc(text) for text in TEXTS], min_count=1)


@pytest.fixture(scope="module")
def tokenizer(vocabulary, tmp_path_factory):
    """transformers' own BertTokenizer on a folder as the book writes it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny = EncoderConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    checkpoints.save(Encoder(tiny), folder, vocabulary=vocabulary)
    return checkpoints.load_tokenizer(folder)


# --- vocabulary and readings ------------------------------------------------------------------------------------------


def test_the_vocabulary_has_no_piece_twice_and_orders_characters_by_frequency(vocabulary):
    assert len(set(vocabulary)) == len(vocabulary)
    assert vocabulary[: FIRST_WORD] == pretraining.SPECIALS
    joined = pretraining.normalise("".join(map(nfkc, TEXTS)))
    counts = [joined.count(piece) for piece in vocabulary[FIRST_WORD:] if not piece.startswith("##")]
    assert counts == sorted(counts, reverse=True)
    assert set(vocabulary[FIRST_WORD:]) >= set(joined) - {" "}


def test_rarer_characters_are_left_out_of_the_vocabulary():
    assert pretraining.build_vocabulary(["甲甲乙"], min_count=2)[FIRST_WORD:] == ["甲"]


@pytest.mark.parametrize("text", TEXTS)
def test_row_0_reads_characters_as_the_tokenizer_reads_words_of_one_character(text, vocabulary, tokenizer):
    text = nfkc(text)
    mine = pretraining.TextStream([text], vocabulary).ids[0].tolist()
    characters = [character for character in text if not character.isspace()]
    theirs = tokenizer(characters, is_split_into_words=True)["input_ids"]
    assert mine == theirs[1:]  # the stream has no [CLS]; both end with [SEP]


@pytest.mark.parametrize("text", TEXTS)
def test_row_1_reads_raw_text_as_the_tokenizer_does(text, vocabulary, tokenizer):
    text = nfkc(text)
    mine = pretraining.TextStream([text], vocabulary).ids[1].tolist()
    assert mine == tokenizer(text)["input_ids"][1:]


def test_both_readings_have_a_piece_for_every_place_and_unknown_characters_are_unk(vocabulary):
    stream = pretraining.TextStream(["龘abc", "好"], vocabulary)
    assert stream.ids.shape == (2, 7)
    assert (stream.ids == UNK).sum(axis=1).tolist() == [1, 1] and (stream.ids[:, 0] == UNK).all()
    assert (stream.ids[:, [4, 6]] == SEP).all() and (stream.ids == SEP).sum() == 4


def test_sequences_are_cuts_of_one_reading_between_cls_and_sep(vocabulary):
    stream = pretraining.TextStream([nfkc(text) for text in TEXTS], vocabulary)
    rows = stream.sequences(np.random.default_rng(0), 50, 16)
    assert rows.shape == (50, 16)
    assert (rows[:, 0] == CLS).all() and (rows[:, -1] == SEP).all()
    windows = [np.lib.stride_tricks.sliding_window_view(reading, 14) for reading in stream.ids]
    for row in rows:
        assert any((window == row[1:-1]).all(axis=1).any() for window in windows)


# --- masking ----------------------------------------------------------------------------------------------------------


def draws(count=200, share=0.15, size=1000):
    random = np.random.default_rng(7)
    for _ in range(count):
        sequences = random.integers(FIRST_WORD, size, (16, 32)).astype(np.int32)
        sequences[:, 0], sequences[:, -1], sequences[3, 10:] = CLS, SEP, 0
        sequences[5, 7] = UNK
        yield sequences, pretraining.mask_batch(sequences, random, share, size)


def test_of_the_chosen_places_80_10_10_in_a_hundred_are_mask_random_and_kept():
    masked = changed = total = 0
    for _, batch in draws():
        shown = batch["input_ids"].reshape(-1)[batch["positions"]]
        masked += (shown == MASK).sum()
        changed += ((shown != MASK) & (shown != batch["labels"])).sum()
        total += len(shown)
    # A random piece is the old one once in a thousand; five standard deviations of a binomial count on each side.
    for seen, share in ((masked, 0.8), (changed, 0.1), (total - masked - changed, 0.1)):
        assert abs(seen - share * total) < 5 * math.sqrt(share * (1 - share) * total) + total / 10_000


def test_labels_are_the_original_pieces_and_nothing_else_is_touched():
    for sequences, batch in itertools.islice(draws(), 20):
        flat = sequences.reshape(-1)
        np.testing.assert_array_equal(batch["labels"], flat[batch["positions"]])
        others = np.setdiff1d(np.arange(flat.size), batch["positions"])
        np.testing.assert_array_equal(batch["input_ids"].reshape(-1)[others], flat[others])
        assert len(set(batch["positions"])) == len(batch["positions"])


def test_special_pieces_are_neither_hidden_nor_put_in():
    for _, batch in draws(50):
        shown = batch["input_ids"].reshape(-1)[batch["positions"]]
        assert (batch["labels"] >= FIRST_WORD).all()
        assert ((shown == MASK) | (shown >= FIRST_WORD)).all()


def test_the_number_of_hidden_places_depends_on_the_shape_alone():
    assert {len(batch["positions"]) for _, batch in draws(50)} == {int(0.15 * 16 * 30)}


def test_places_are_hidden_equally_often():
    size, counts = 40, np.zeros(8 * 16)
    sequences = np.full((8, 16), FIRST_WORD + 1, np.int32)
    random = np.random.default_rng(3)
    for _ in range(2000):
        counts[pretraining.mask_batch(sequences, random, 0.15, size)["positions"]] += 1
    share = counts.sum() / counts.size / 2000
    assert np.abs(counts - share * 2000).max() < 5 * math.sqrt(2000 * share * (1 - share))


def test_a_batch_depends_on_the_seed_and_the_step_alone(vocabulary):
    stream = pretraining.TextStream([nfkc(text) for text in TEXTS], vocabulary)
    recipe = pretraining.Recipe(steps=10, length=12, batch=4, long_every=5, long_length=24, long_batch=2)
    first, second = pretraining.masked_batches(stream, recipe), pretraining.masked_batches(stream, recipe)
    other = pretraining.masked_batches(stream, dataclasses.replace(recipe, seed=2))
    later = [second(step) for step in (9, 8, 3, 0)]  # asked for in another order
    for step, batch in zip((9, 8, 3, 0), later):
        for name, value in first(step).items():
            np.testing.assert_array_equal(value, batch[name])
    assert not np.array_equal(first(0)["input_ids"], first(1)["input_ids"])
    assert not np.array_equal(first(0)["input_ids"], other(0)["input_ids"])
    assert [first(step)["input_ids"].shape for step in (0, 4, 8, 9)] == [(4, 12), (2, 24), (4, 12), (2, 24)]
    assert [pretraining.batch_shape(recipe, step) for step in (3, 4)] == [(4, 12), (2, 24)]
    assert pretraining.batch_shape(dataclasses.replace(recipe, long_every=0), 4) == (4, 12)


# --- model, loss, scores ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(vocabulary):
    stream = pretraining.TextStream([nfkc(text) for text in TEXTS] * 3, vocabulary)
    recipe = pretraining.Recipe(steps=4, length=16, batch=4, long_length=32, long_every=0)
    model = pretraining.build_model(
        stream, recipe, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    return stream, recipe, model


def by_hand(model, batch):
    """(loss at each hidden place, whether the best piece is right) from the logits of all places."""
    logits = keras.ops.convert_to_numpy(model({"input_ids": batch["input_ids"]})).astype(np.float64)
    logits = logits.reshape(-1, logits.shape[-1])[batch["positions"]]
    losses = [-(row[label] - np.log(np.exp(row).sum())) for row, label in zip(logits, batch["labels"])]
    return np.array(losses), logits.argmax(-1) == batch["labels"]


def test_masked_loss_is_the_mean_cross_entropy_at_the_hidden_places(tiny):
    stream, recipe, model = tiny
    batch = pretraining.masked_batches(stream, recipe)(0)
    loss = float(pretraining.masked_loss(model, batch, training=False))
    assert loss == pytest.approx(by_hand(model, batch)[0].mean(), abs=1e-5)


def test_masked_scores_are_those_of_a_fixed_sample(tiny):
    stream, recipe, model = tiny
    scores = pretraining.masked_scores(model, stream, recipe, batches=2)
    assert scores == pretraining.masked_scores(model, stream, recipe, batches=2)
    losses, hits = [], []
    for index in range(2):
        random = np.random.default_rng([99, index])
        sequences = stream.sequences(random, 64, recipe.length)
        loss, hit = by_hand(
            model, pretraining.mask_batch(sequences, random, recipe.masked, len(stream.vocabulary))
        )
        losses.append(loss)
        hits.append(hit)
    assert scores["loss"] == pytest.approx(np.concatenate(losses).mean(), abs=1e-5)
    assert scores["accuracy"] == scores["score"] == pytest.approx(np.concatenate(hits).mean())


def test_the_model_starts_from_the_tables_that_the_recipe_names(tiny):
    stream, recipe, model = tiny
    tables = model.encoder.embeddings
    word = keras.ops.convert_to_numpy(tables.word.embeddings) / recipe.scale
    place = keras.ops.convert_to_numpy(tables.position.embeddings)
    pieces, _ = counting.layout(16)
    counts = counting.Counts(stream.ids[1], len(stream.vocabulary), pieces, FIRST_WORD, recipe.seed)
    others = np.arange(len(word)) != MASK
    np.testing.assert_allclose(word[others, :pieces], counts.embeddings[others], atol=1e-5)
    assert (word[MASK, :pieces] == 0).all() and np.abs(word[:, pieces:]).max() < 0.6
    np.testing.assert_allclose(place, recipe.scale * counting.sinusoids(recipe.long_length, 16, recipe.seed), atol=1e-6)


def test_without_counts_and_sinusoids_everything_is_noise_of_the_recipes_scale(tiny):
    stream, recipe, _ = tiny
    plain = dataclasses.replace(recipe, ppmi=False, sinusoids=False, readers=False, scale=0.02)
    model = pretraining.build_model(
        stream, plain, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    block = model.encoder.blocks[0]
    tables = model.encoder.embeddings
    for table in (tables.word.embeddings, tables.position.embeddings, block.attention.query.kernel, block.contract.kernel):
        values = keras.ops.convert_to_numpy(table)
        assert np.abs(values).max() <= 2 * 0.02 / 0.87  # truncated at two deviations; Keras widens to keep the scale
        assert values.std() == pytest.approx(0.02, rel=0.15)


def test_a_causal_model_of_the_same_recipe_cannot_see_the_future(tiny):
    stream, recipe, _ = tiny
    model = pretraining.build_model(
        stream, recipe, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, is_decoder=True
    )
    ids = stream.sequences(np.random.default_rng(0), 1, 12)
    changed = ids.copy()
    changed[0, 6] = FIRST_WORD
    difference = np.abs(keras.ops.convert_to_numpy(model({"input_ids": ids}) - model({"input_ids": changed})))
    assert difference[0, :6].max() == 0 and difference[0, 6:].max() > 0
