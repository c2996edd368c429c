"""The checkpoint that comes with the book: read as Hugging Face's PyTorch BERT reads it, made from what its card says."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from utils import checkpoints, corpora, pretraining, profiles
from utils.book import pretrain

STORED = Path(__file__).parent.parent / "fixtures" / "shipped_checkpoint.npz"


@pytest.fixture(scope="module")
def stored():
    return np.load(STORED)


@pytest.fixture(scope="module")
def facts():
    return json.loads((profiles.CHECKPOINT / "training.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("language", profiles.CHECKPOINT)


def test_the_stored_outputs_are_those_of_these_weights(stored):
    weights = (profiles.CHECKPOINT / "model.safetensors").read_bytes()
    assert str(stored["weights_sha256"]) == hashlib.sha256(weights).hexdigest(), (
        "run tests/fixtures/check_shipped_checkpoint.py after a new checkpoint")


def test_hidden_states_and_logits_equal_hugging_face(stored, model):
    inputs = {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    real = inputs["attention_mask"].astype(bool)
    theirs = stored["hidden_states"]
    ours = model.encoder.hidden_states(inputs)
    assert len(ours) == len(theirs)
    for mine, their in zip(ours, theirs):
        np.testing.assert_allclose(np.array(mine)[real][:, : their.shape[-1]], their[real], atol=1e-5)
    logits = np.array(model(inputs | {"positions": stored["positions"]}))
    np.testing.assert_allclose(logits, stored["logits"], atol=5e-5)


def test_nothing_is_missing_and_the_folder_is_small(model):
    assert model.report.loaded and not model.report.unused and not model.report.initialised
    size = sum(file.stat().st_size for file in profiles.CHECKPOINT.iterdir())
    assert size <= 12e6
    config = model.encoder.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (4, 256, 4)


def test_the_card_names_the_text_and_the_recipe_that_the_code_has(facts):
    texts = pretrain.training_text()
    assert facts["data_sha256"] == pretrain.text_hash(texts)
    assert facts["recipe"] == vars(pretraining.Recipe())
    assert facts["corpora"] == {name: corpora.fingerprint(name) for name in ("people_daily", "reviews")}
    vocabulary = (profiles.CHECKPOINT / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert vocabulary == pretraining.build_vocabulary(texts, pretraining.Recipe().min_count)
    card = (profiles.CHECKPOINT / "README.md").read_text(encoding="utf-8")
    assert facts["data_sha256"] in card and f"{facts['final']['accuracy']:.3f}" in card


def test_no_validation_or_test_text_and_no_computer_review_was_used():
    used = set(pretrain.training_text())
    for split in ("validation", "test"):
        assert not used & set(corpora.people_daily_text(split))
        assert not used & set(corpora.reviews(domains=("hotel", "book"))[split]["text"])
    computers = corpora.reviews(domains=("pc",))
    assert not used & {text for part in computers.values() for text in part["text"]}


def test_the_model_scores_at_hidden_places_what_the_card_says(model, facts):
    texts = list(corpora.people_daily_text("validation"))
    vocabulary = (profiles.CHECKPOINT / "vocab.txt").read_text(encoding="utf-8").splitlines()
    scores = pretraining.masked_scores(model, pretraining.TextStream(texts, vocabulary), pretraining.Recipe())
    assert scores["accuracy"] == pytest.approx(facts["final"]["accuracy"], abs=0.005)  # half precision on disk
    assert scores["loss"] == pytest.approx(facts["final"]["loss"], abs=0.02)
    # A broken model could repeat a stored number: the weights must beat the most common piece by far.
    assert scores["accuracy"] > 0.3


def test_untied_weights_would_show(model):
    """The output matrix is the embedding table itself: changing a row changes that piece's logit and no other's."""
    ids = np.array([[2, 30, 4, 31, 3]], np.int32)
    before = np.array(model({"input_ids": ids, "positions": np.array([2], np.int32)}))
    table = model.encoder.embeddings.word.embeddings
    original = keras.ops.convert_to_numpy(table).copy()
    changed = original.copy()
    changed[100] += 1.0
    try:
        table.assign(changed)
        after = np.array(model({"input_ids": ids, "positions": np.array([2], np.int32)}))
    finally:
        table.assign(original)
    moved = np.abs(after - before)[0] > 1e-6
    assert moved[100] and moved.sum() == 1
