"""The functions that chapter 23 defines, against closed forms, NumPy, the rouge-score package and brute force."""

import dataclasses
import functools
import itertools
import re
from collections import namedtuple
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from rouge_score import rouge_scorer, tokenizers
from sklearn.linear_model import Ridge

from tests.unit.notebook_code import definitions, run_with_text
from utils import batching, checkpoints, generation, training
from utils.decoder import Decoder, EncoderDecoder
from utils.encoder import Encoder, EncoderConfig

Item = namedtuple("Item", "lead headline names")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"甲乙丙丁戊己庚辛"]
PAD, UNK, CLS, SEP = 0, 1, 2, 3


@pytest.fixture
def chapter():
    names = {"np": np, "re": re, "functools": functools, "dataclasses": dataclasses, "keras": keras, "ops": ops, "tf": tf,
             "namedtuple": namedtuple, "Item": Item, "tokenizers": tokenizers, "rouge_scorer": rouge_scorer, "Ridge": Ridge,
             "EncoderDecoder": EncoderDecoder, "Decoder": Decoder, "batching": batching, "generation": generation,
             "training": training, "checkpoints": checkpoints, "KINDS": ("rouge1", "rouge2", "rougeL"),
             "PAD": PAD, "UNK": UNK, "CLS": CLS, "SEP": SEP, "EXTRA": 3, "SIZE": len(WORDS),
             "ids_of": {word: i for i, word in enumerate(WORDS)},
             "recipe": SimpleNamespace(headline_length=6, batch=4, layers=1)}
    found = definitions("4-applications/23-summarization", names, ("Characters", "PointerGenerator", "NUMBER"))
    found["scorer"] = rouge_scorer.RougeScorer(found["KINDS"], tokenizer=found["Characters"]())
    return found


def make_model(chapter, copy=True):
    keras.utils.set_random_seed(2)
    config = EncoderConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=32, max_position_embeddings=32, initializer_range=0.4, hidden_dropout_prob=0.0)
    encoder = Encoder(config)
    one = dataclasses.replace(config, num_hidden_layers=1)
    built = chapter["PointerGenerator"](encoder, Decoder(one, word=encoder.embeddings.word), copy)
    built.step = functools.partial(chapter["step"], built)
    return built


@pytest.fixture
def model(chapter):
    return make_model(chapter)


ITEMS = [Item("甲乙丙丁,戊己庚", "乙丙庚", []), Item("丁囍丙乙甲", "囍甲", [])]


def batch_of(chapter):
    return chapter["make_batch"]([chapter["encode_pair"](item.lead, item.headline) for item in ITEMS])


# --- scores ---


def test_rouge_by_characters_is_counted_by_hand(chapter):
    # common characters 甲 乙 丁: 3; common pairs 甲乙: 1; longest common subsequence 甲乙丁: 3
    row = chapter["rouge"](["甲乙戊丁"], [Item("", "甲乙丙己丁", [])])[0]
    np.testing.assert_allclose(row, [100 * 6 / 9, 100 * 2 / 7, 100 * 6 / 9])


def test_my_rouge_l_is_the_longest_common_subsequence_found_by_brute_force(chapter):
    random = np.random.default_rng(0)
    for _ in range(40):
        a, b = ("".join(random.choice(list("甲乙丙"), n)) for n in random.integers(1, 7, 2))
        subsequences = lambda text: {"".join(c) for n in range(len(text) + 1) for c in itertools.combinations(text, n)}
        longest = max(map(len, subsequences(a) & subsequences(b)))
        assert chapter["my_rouge_l"](a, b) == pytest.approx(2 * longest / (len(a) + len(b)))


def test_the_bootstrap_interval_agrees_with_the_normal_one(chapter):
    values = np.random.default_rng(3).normal(20, 8, 400)
    low, high = chapter["interval"](values, rounds=4000)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.12) and high == pytest.approx(values.mean() + half, abs=0.12)


def test_coverage_counts_pieces_of_the_headline_that_stand_in_the_lead(chapter):
    items = [Item("甲乙丙", "甲乙丁", []), Item("丁戊", "戊丁", [])]
    assert chapter["coverage"](items, 1) == pytest.approx(4 / 5)
    assert chapter["coverage"](items, 2) == pytest.approx(1 / 3)


# --- extraction ---


def test_clauses_lose_no_character_but_their_marks(chapter):
    lead = "甲乙丙丁戊,己庚辛甲乙。丙,丁戊己庚辛;甲乙丙丁戊"
    found = chapter["clauses"](lead)
    assert found == ["甲乙丙丁戊", "己庚辛甲乙", "丙,丁戊己庚辛", "甲乙丙丁戊"]
    assert re.sub("[,。;]", "", "".join(found)) == re.sub("[,。;]", "", lead)
    assert chapter["clauses"]("甲") == ["甲"]


def test_the_oracle_takes_the_clause_nearest_to_the_headline(chapter):
    item = Item("甲甲甲甲甲甲,乙丙丁戊己,庚庚庚庚庚", "乙丙丁己", [])
    assert chapter["oracle"](item) == 1


def test_textrank_solves_its_linear_system(chapter):
    texts = ["甲乙丙丁", "乙丙丁戊", "己庚辛", "甲己丁"]
    ranks = chapter["textrank"](texts)
    weights = np.zeros((4, 4))
    for i, j in itertools.permutations(range(4), 2):
        a, b = set(texts[i]), set(texts[j])
        weights[i, j] = len(a & b) / (np.log(len(a)) + np.log(len(b)))
    transition = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ranks, np.linalg.solve(np.eye(4) - 0.85 * transition.T, np.full(4, 0.15 / 4)), atol=1e-4)
    assert ranks.sum() == pytest.approx(1)
    alone = chapter["textrank"](["甲乙", "丙丁", "戊己"])
    np.testing.assert_allclose(alone, 1 / 3)


def test_features_of_a_clause_are_the_mean_of_its_own_characters(chapter):
    item = Item("甲乙丙丁戊,己庚辛甲乙丙", "", [])
    vectors = np.random.default_rng(0).normal(size=(len(item.lead) + 2, 4))
    (rows,) = chapter["clause_features"]([item], [vectors], True)
    np.testing.assert_allclose(rows[0][-4:], vectors[1:6].mean(axis=0))
    np.testing.assert_allclose(rows[1][-4:], vectors[7:13].mean(axis=0))
    assert rows[1][:6].tolist() == [0, 1, 0, 0, 0, 0]
    (simple,) = chapter["clause_features"]([item], [vectors], False)
    np.testing.assert_allclose(simple, rows[:, :-4])


# --- pointer and generator ---


def test_unknown_characters_get_numbers_behind_the_vocabulary_on_both_sides(chapter):
    source, copy, labels = chapter["encode_pair"]("甲囍乙喆囍", "喆囍甲驫")
    assert source.tolist() == [CLS, 5, UNK, 6, UNK, UNK, SEP]
    assert copy.tolist() == [CLS, 5, 13, 6, 14, 13, SEP]
    assert labels.tolist() == [14, 13, 5, UNK, SEP]


def test_a_batch_feeds_unknown_labels_back_as_unk(chapter):
    batch = batch_of(chapter)
    assert batch["labels"][1].tolist()[:2] == [13, 5]
    assert batch["decoder_input_ids"][1].tolist()[:3] == [CLS, UNK, 5]
    assert batch["weights"].sum() == 4 + 3


def test_the_likelihood_is_the_mixture_of_the_formula(chapter, model):
    batch = batch_of(chapter)
    found = ops.convert_to_numpy(chapter["likelihood"](model, batch, False))
    states = model.decoder(batch["decoder_input_ids"], model.memory(batch), batch["attention_mask"])
    attention = ops.convert_to_numpy(model.decoder.blocks[-1].cross_attention.last_weights).mean(axis=1)
    states = ops.convert_to_numpy(states)
    gate = 1 / (1 + np.exp(-(states @ ops.convert_to_numpy(model.gate.kernel) + ops.convert_to_numpy(model.gate.bias))))[..., 0]
    logits = ops.convert_to_numpy(model.decoder.logits(states)).astype(np.float64)
    generated = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for i, t in np.ndindex(*batch["labels"].shape):
        label = batch["labels"][i, t]
        copied = sum(attention[i, t, s] for s, number in enumerate(batch["copy_ids"][i]) if number == label)
        written = generated[i, t, label] if label < len(WORDS) else 0.0
        assert found[i, t] == pytest.approx(gate[i, t] * written + (1 - gate[i, t]) * copied, rel=1e-4, abs=1e-6)


def test_one_step_at_a_time_gives_the_likelihoods_and_sums_to_one(chapter, model):
    batch = batch_of(chapter)
    expected = ops.convert_to_numpy(chapter["likelihood"](model, batch, False))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "copy_ids")}
    cache, last = model.start(inputs), np.full(2, CLS)
    for t in range(3):
        logs, cache = model.step(last.astype(np.int32), cache, inputs)
        probabilities = np.exp(ops.convert_to_numpy(logs))
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-4)
        last = batch["labels"][:, t]
        np.testing.assert_allclose(probabilities[np.arange(2), last], expected[:, t], atol=1e-5)


def test_without_the_gate_nothing_is_copied(chapter, model):
    model.copy = False
    batch = batch_of(chapter)
    found = ops.convert_to_numpy(chapter["likelihood"](model, batch, False))
    assert found[1, 0] == 0  # 囍 is not in the vocabulary
    assert found[0, 0] > 0


@pytest.mark.parametrize("copy", [True, False])
def test_a_training_step_works_with_and_without_the_gate(chapter, copy):
    model = make_model(chapter, copy)
    batch = batch_of(chapter)
    before = float(chapter["pointer_loss"](model, batch, False))
    variables = [variable.numpy() for variable in model.trainable_variables]
    trainer = training.Trainer(model, chapter["pointer_loss"], lambda step: batch, training.Plan(1, 1e-3), label=None)
    assert np.isfinite(float(trainer.train_step(batch)))  # a variable without a gradient would raise ValueError
    assert float(chapter["pointer_loss"](model, batch, False)) < before
    assert any("gate" in variable.path for variable in model.trainable_variables) == copy
    assert sum((old != new.numpy()).any() for old, new in zip(variables, model.trainable_variables)) > 0.9 * len(variables)


def test_the_mean_loss_counts_every_place_once_however_it_is_batched(chapter, model):
    pairs = [chapter["encode_pair"](item.lead, item.headline) for item in ITEMS]
    expected = float(chapter["pointer_loss"](model, chapter["make_batch"](pairs), False))
    memories = [row[: len(pair[0])] for row, pair in zip(ops.convert_to_numpy(model.memory(batch_of(chapter))), pairs)]
    for at_once in (1, 2):
        assert chapter["mean_loss"](model, pairs, None, at_once) == pytest.approx(expected, rel=1e-4)
        assert chapter["mean_loss"](model, pairs, memories, at_once) == pytest.approx(expected, rel=1e-4)


def test_headlines_come_back_in_the_order_of_the_leads(chapter, model):
    items = [ITEMS[0], ITEMS[1], Item("庚辛", "", [])]
    chapter["recipe"] = SimpleNamespace(headline_length=4)
    together = chapter["write_headlines"](model, items, beams=2)
    assert together == [chapter["write_headlines"](model, [item], beams=2)[0] for item in items]


def test_steps_are_looked_at_together_as_one_at_a_time(chapter, model):
    chapter["model"] = model
    texts = [item.headline for item in ITEMS]
    for (gates, attention), item, text in zip(chapter["look_inside"](model, ITEMS, None, texts), ITEMS, texts):
        ((one_gates, one_attention),) = chapter["look_inside"](model, [item], None, [text])
        np.testing.assert_allclose(gates, one_gates, atol=1e-5)
        np.testing.assert_allclose(attention[:, : one_attention.shape[1]], one_attention, atol=1e-5)
        assert len(gates) == len(text) + 1


def test_a_memory_that_is_given_replaces_the_encoder(chapter, model):
    pairs = [chapter["encode_pair"](item.lead, item.headline) for item in ITEMS]
    batch = batch_of(chapter)
    states = ops.convert_to_numpy(model.memory(batch))
    memories = [row[: len(pair[0])] for row, pair in zip(states, pairs)]
    again = chapter["make_batch"](pairs, memories)
    assert "input_ids" not in again
    np.testing.assert_allclose(ops.convert_to_numpy(chapter["likelihood"](model, again, False)),
                               ops.convert_to_numpy(chapter["likelihood"](model, batch, False)), atol=1e-5)


def test_a_warm_start_copies_the_last_blocks_and_not_the_cross_attention(chapter, model):
    before = [w.copy() for w in model.decoder.blocks[0].cross_attention.get_weights()]
    chapter["warm_start"](model.decoder, model.encoder)
    for name in ("attention", "expand", "contract_norm"):
        for a, b in zip(getattr(model.decoder.blocks[0], name).get_weights(), getattr(model.encoder.blocks[-1], name).get_weights()):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(model.decoder.blocks[0].cross_attention.get_weights(), before):
        np.testing.assert_array_equal(a, b)


# --- verdicts ---


@pytest.mark.parametrize("gap, words", [(5.0, "赢过"), (-5.0, "没有赢过"), (0.5, "没有明显赢过"), (-0.5, "没有赢过")])
def test_the_verdict_compares_with_the_best_rival_on_the_same_pairs(chapter, gap, words):
    base = np.tile(np.random.default_rng(0).normal(20, 5, (100, 1)), 3)
    noise = np.tile(np.random.default_rng(1).normal(0, 10 if abs(gap) < 1 else 1, (100, 1)), 3)
    scores = {"差": base - 9, "好": base, "神谕（上限）": base + 50, "新": base + noise - noise.mean() + gap}
    line = chapter["verdict"]("新", scores)
    assert line.startswith(f"新：{words}最好的对手“好”，分差 {gap:+.1f}") and ("含零" in line) == (abs(gap) < 1)


def test_a_row_of_the_recorded_table_has_a_spread_only_over_several_runs(chapter):
    row = {"rouge1": 20.0, "rouge2": 10.0, "rougeL": 15.0, "invented": 0.1, "novel": 0.25, "interval": [12.0, 18.0]}
    assert chapter["table_row"]("甲", [row]) == "| 甲 | 20.0 | 10.0 | 15.0 | 12.0 到 18.0 | 10% | 25% |"
    two = chapter["table_row"]("甲", [row, row | {"rougeL": 17.0, "interval": [13.0, 20.0]}])
    assert two == "| 甲 | 20.0 ± 0.0 | 10.0 ± 0.0 | 16.0 ± 1.4 | 12.5 到 19.0 | 10% | 25% |"


def test_a_row_that_was_recorded_without_its_interval_shows_a_dash(chapter):
    old = {"rouge1": 20.0, "rouge2": 10.0, "rougeL": 15.0, "invented": 0.1, "novel": 0.25}
    assert chapter["table_row"]("甲", [old]) == "| 甲 | 20.0 | 10.0 | 15.0 | — | 10% | 25% |"
    assert chapter["ends"]([old, old | {"minus_lead": [1.0, 2.0]}], "minus_lead") == "—"
    assert chapter["ends"]([old | {"minus_lead": [-1.0, 2.0]}], "minus_lead", "+.1f") == "-1.0 到 +2.0（含零）"


def test_what_a_row_records_is_measured_on_the_same_pairs_as_the_lead_and_the_extraction(chapter):
    """Intervals of the mean and of both differences: those of the normal distribution, near enough."""
    random = np.random.default_rng(0)
    items = [Item("".join(random.choice(list("甲乙丙丁戊己庚辛"), 12)), "".join(random.choice(list("甲乙丙丁戊己"), 6)), [])
             for _ in range(120)]
    texts = [item.headline[:4] + "辛" for item in items]
    extracted = [item.lead[-5:] for item in items]
    chapter |= {"test": items, "best_count": 5, "LARGEST": None, "states_of": lambda *_: None, "name_table": frozenset,
                "train_extractor": lambda *_: lambda rows, vectors: extracted}
    chapter["rivals_measured"].cache_clear()
    found = chapter["measured"](texts)
    assert set(found) == {*chapter["KINDS"], "interval", "minus_lead", "minus_extract", "mentions", "invented", "affected", "novel"}
    mine, lead, extract = (chapter["rouge"](rows, items)[:, 2] for rows in (texts, [item.lead[:5] for item in items], extracted))
    assert found["rougeL"] == pytest.approx(mine.mean())
    for key, values in (("interval", mine), ("minus_lead", mine - lead), ("minus_extract", mine - extract)):
        half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
        assert found[key] == pytest.approx((values.mean() - half, values.mean() + half), abs=0.25 * half)


# --- faithfulness ---


def test_names_and_numbers_that_the_lead_lacks_are_found(chapter):
    chapter["name_table"] = lambda: frozenset(["甲城", "甲城大学", "乙国"])
    assert sorted(chapter["mentions"]("甲城大学赴乙国考察30%项目")) == sorted(["30%", "甲城大学", "乙国"])
    assert chapter["invented"]("甲城大学赴乙国考察30%项目", "甲城大学赴外国考察3项") == ["30%", "乙国"]
    row = chapter["faithfulness"](["乙国来访", "甲城"], [Item("甲城来访", "", []), Item("甲城", "", [])])
    assert row["mentions"] == 2 and row["invented"] == 0.5 and row["affected"] == 0.5
    assert row["novel"] == pytest.approx(1 - 2 / 4)  # 来访 and 甲城 of 乙国, 国来, 来访, 甲城


def test_repeats_and_the_safe_choice(chapter):
    chapter["name_table"] = lambda: frozenset(["乙国"])
    assert chapter["repeats"]("甲乙甲乙甲") == pytest.approx(0.5)
    assert chapter["safe"]("乙国来访", "甲城", "甲城来访") == "甲城"
    assert chapter["safe"]("来访来访", "甲城", "甲城来访") == "甲城"
    assert chapter["safe"]("甲城访", "甲城", "甲城来访") == "甲城访"


# --- the reader's own input ---


@pytest.mark.parametrize("text, printed", [
    ("", "是空的"), (" \u3000", "是空的"), ("甲乙丙丁，戊己庚辛。", "指针–生成"), ("，，", "指针–生成"), ("甲乙，" * 900, "只读前 20 个"),
])
def test_own_text_may_be_empty_marks_only_or_very_long(chapter, model, capsys, text, printed):
    states = lambda items: [np.ones((len(item.lead) + 2, 4)) for item in items]

    def pick(items, vectors):
        rows = zip(items, chapter["clause_features"](items, vectors, True))
        return [chapter["clauses"](item.lead)[int(np.argmax(row.sum(axis=1)))] for item, row in rows]

    chapter |= {"model": model, "recipe": SimpleNamespace(headline_length=4, lead_length=20), "use_states": False, "best_count": 8,
                "encoder_states": states, "extractors": {"抽取：加上编码器": pick}, "invented": lambda text, lead: []}
    run_with_text("4-applications/23-summarization", "own-text", text, chapter)
    assert printed in capsys.readouterr().out
