"""The functions that chapter 5 defines, pulled out of the notebook and compared with brute force and hand-made cases."""

import functools
import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, finetuning, prediction, training
from utils.batching import Windows
from utils.encoder import Encoder, EncoderConfig

CONSTANTS = ("NAMES", "TOP_BLOCKS", "EPOCHS", "HeadOnly", "SIZES", "FACTORS", "PAIRS", "DOMAINS")
CONFIG = EncoderConfig(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
                       hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=64, initializer_range=0.5)


@pytest.fixture
def chapter(monkeypatch):
    """Namespace with every function of the notebook on a tiny encoder; no cell is executed."""

    def load_encoder(source, revision, random_start, add_pooler):
        encoder = Encoder(CONFIG)
        if not random_start:  # the "checkpoint" is the same whatever the seed
            for index, weight in enumerate(encoder.weights):
                weight.assign(np.random.default_rng(index).normal(0, 0.5, weight.shape))
        return encoder

    monkeypatch.setattr(checkpoints, "load_encoder", load_encoder)
    names = {"np": np, "keras": keras, "batching": batching, "prediction": prediction, "checkpoints": checkpoints, "finetuning": finetuning,
             "training": training, "make_pipeline": make_pipeline, "TfidfVectorizer": TfidfVectorizer,
             "LogisticRegression": LogisticRegression, "functools": functools, "BATCH_TOKENS": 64,
             "profile": SimpleNamespace(checkpoint="", revision=None, learning_rate=1e-3, jit_compile=False)}
    return definitions("1-concepts/05-fine-tuning", names, CONSTANTS)


@pytest.fixture
def part():
    """Twelve texts of different length and their labels."""
    random = np.random.default_rng(0)
    ids = [random.integers(5, 40, length).astype(np.int32) for length in random.integers(4, 30, 12)]
    empty = [np.zeros(0, np.int32)] * len(ids)
    windows = Windows(ids, empty, list(empty), np.arange(len(ids)), np.array([len(row) for row in ids]))
    return windows, np.arange(12) % 2


def test_the_four_methods_differ_in_start_and_in_what_may_move(chapter):
    models = {method: chapter["start_model"](method, seed=1) for method in chapter["NAMES"]}
    checkpoint = models["full"].encoder.get_weights()
    for method, model in models.items():
        same = all(np.array_equal(a, b) for a, b in zip(model.encoder.get_weights(), checkpoint))
        assert same == (method != "scratch")
        np.testing.assert_array_equal(model.classifier.get_weights()[0], models["full"].classifier.get_weights()[0])
    trainable = {method: [v.path for v in model.trainable_variables] for method, model in models.items()}
    assert all("classifier" in path for path in trainable["frozen"])
    assert all("classifier" in path or "block_2" in path for path in trainable["top"])
    assert len(trainable["frozen"]) < len(trainable["top"]) < len(trainable["full"]) == len(trainable["scratch"])


def test_a_head_on_stored_features_equals_training_with_the_encoder_frozen(chapter, part):
    stored, history = chapter["tune"]("frozen", part, rate=0.05, seed=3)
    in_place = chapter["start_model"]("frozen", seed=3)
    twin = finetuning.fine_tune(in_place, *part, learning_rate=0.05, epochs=chapter["EPOCHS"],
                                batch_tokens=64, seed=3)
    np.testing.assert_allclose(history.losses, twin.losses, atol=1e-5)
    np.testing.assert_allclose(stored.classifier.get_weights()[0], in_place.classifier.get_weights()[0], atol=1e-5)
    assert finetuning.sequence_scores(prediction.text_logits(stored, part[0]), part[1])["accuracy"] == \
        chapter["accuracy"](stored, part)


def test_relative_change_is_the_ratio_of_norms(chapter):
    start, model = (chapter["start_model"]("full", seed=1) for _ in range(2))
    block = model.encoder.blocks[1]
    block.set_weights([1.5 * weights for weights in block.get_weights()])
    found = chapter["relative_change"](model, start)
    assert list(found) == ["词向量等", "第 1 层", "第 2 层", "第 3 层"]
    assert found["第 2 层"] == pytest.approx(0.5)
    assert found["第 1 层"] == found["第 3 层"] == found["词向量等"] == 0


def test_a_smaller_sample_is_part_of_a_larger_one_and_seeds_differ(chapter):
    chapter["DATA"] = {"hotel": {"train": Dataset.from_dict({"text": [str(i) for i in range(50)], "label": [0] * 50})}}
    small, large, other = (chapter["take"]("hotel", "train", size, seed)["text"] for size, seed in ((5, 1), (20, 1), (5, 2)))
    assert len(set(large)) == 20 and set(small) < set(large) and set(small) != set(other)
    assert len(chapter["take"]("hotel", "train")) == 50


def test_the_length_rule_is_the_best_of_all_thresholds_and_directions(chapter):
    random = np.random.default_rng(2)
    for _ in range(20):
        lengths, labels = random.integers(5, 15, 30), random.integers(0, 2, 30)
        brute = max(np.mean(((lengths >= t) if d > 0 else (lengths < t)) == labels)
                    for t, d in itertools.product(range(0, 20), (1, -1)))
        rule = chapter["length_rule"](lengths, labels)
        assert np.mean(chapter["apply_length_rule"](rule, lengths) == labels) == pytest.approx(brute)


def test_matched_lengths_hold_equally_many_of_each_class_in_every_group(chapter):
    random = np.random.default_rng(3)
    lengths, labels = random.integers(0, 100, 300), (random.random(300) < 0.7).astype(int)
    chosen = chapter["match_lengths"](lengths, labels)
    assert len(set(chosen)) == len(chosen)
    for group in range(10):
        inside = lengths // 10 == group
        kept = np.isin(np.arange(300), chosen) & inside
        wanted = min(np.sum(inside & (labels == 0)), np.sum(inside & (labels == 1)))
        assert np.sum(kept & (labels == 0)) == np.sum(kept & (labels == 1)) == wanted


def test_matching_takes_a_rule_on_length_down_to_chance(chapter):
    random = np.random.default_rng(4)
    labels = np.arange(4000) % 2
    lengths = np.clip(random.normal(60 + 40 * labels, 25), 1, None).astype(int)  # the good ones are longer
    rule = chapter["length_rule"](lengths, labels)
    right = chapter["apply_length_rule"](rule, lengths) == labels
    chosen = chapter["match_lengths"](lengths, labels, width=2)
    assert right.mean() > 0.75 and abs(right[chosen].mean() - 0.5) < 0.05


def test_the_best_factor_is_that_of_the_best_validation_score(chapter):
    chapter["LIVE_RATES"] = {"full": 3e-4}
    rows = [{"method": "full", "factor": f, "validation": v} for f, v in ((0.1, 0.7), (0.3, 0.9), (1.0, 0.8))]
    rows.append({"method": "top", "factor": 9.0, "validation": 1.0})
    assert chapter["best_factor"](rows, "full") == 0.3
    assert chapter["best_factor"]([], "full") == pytest.approx(0.3)


def test_gains_are_taken_seed_by_seed(chapter):
    found = {("none", "pc", 60, 1): 70.0, ("none", "pc", 60, 2): 60.0, ("hotel", "pc", 60, 2): 65.0,
             ("hotel", "pc", 60, 1): 68.0, ("hotel", "pc", 0, 1): 99.0, ("book", "pc", 60, 1): 10.0, ("hotel", "pc", 60, 3): 1.0}
    assert chapter["transfer_gains"](found, "hotel", "pc", 60) == [-2.0, 5.0]


def test_mean_and_spread_are_the_sample_ones(chapter):
    assert chapter["mean_and_spread"]([1.0, 3.0]) == (2.0, pytest.approx(np.sqrt(2)))
    assert chapter["mean_and_spread"]([1.0]) == (1.0, 0.0)


def test_checks_of_the_exercises_accept_the_solutions_and_refuse_the_rest(chapter, capsys):
    chapter["frozen_model"] = chapter["start_model"]("frozen", seed=0)
    for check, solution, wrong in (
        ("check_count", "trainable_parameters_solution", lambda w, m, top: top * 12 * w * w),
        ("check_rates", "layer_rates_solution", lambda rate, factor, blocks: [rate] * (blocks + 2)),
        ("check_gain", "mean_gain_solution", lambda direct, via: (np.mean(direct) - np.mean(via), 0.0)),
    ):
        assert chapter[check](chapter[solution])
        assert not chapter[check](wrong)
        assert not chapter[check](lambda *arguments: None)
