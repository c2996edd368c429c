"""The functions that chapter 14 defines, and the pure parts of the museum's script, compared with references."""

import importlib.util
import json
import re

import keras
import numpy as np
import pytest

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, metrics, prediction, profiles
from utils.book import museum as museum_record

LABELS = ["O", "B-A", "I-A", "B-B", "I-B"]


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.load_tokenizer(profiles.CHECKPOINT)


@pytest.fixture
def chapter(tokenizer):
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"np": np, "re": re, "json": json, "keras": keras, "batching": batching, "prediction": prediction, "metrics": metrics, "LABELS": LABELS,
             "tokenizer": tokenizer, "reproduced": {}}
    names["tf"] = __import__("tensorflow")  # a decorator of the notebook uses it
    return definitions("3-code/14-errata", names)


@pytest.fixture(scope="module")
def museum(root):
    spec = importlib.util.spec_from_file_location("museum", root / "tests" / "museum" / "museum.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_fault_that_no_longer_fails_is_an_error(chapter, capsys):
    chapter["fails"](5, TypeError, lambda: int(None))
    assert chapter["reproduced"] == {5: "TypeError"} and "第 5 号：TypeError" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="第 6 号"):
        chapter["fails"](6, TypeError, lambda: None)
    with pytest.raises(ValueError):  # another exception than the expected one is not swallowed
        chapter["fails"](7, TypeError, lambda: int("x"))


def test_messages_lose_paths_and_addresses(chapter):
    error = ImportError("cannot import name 'X' from 'y' (/somewhere/y/__init__.py)\nmore")
    assert chapter["summary_of"](error) == "cannot import name 'X' from 'y'"
    assert chapter["summary_of"](ValueError("identifier: <a.B object at 0x7f00aa>")) == "identifier"
    assert chapter["summary_of"](AttributeError("in user code:\n\n  File x\n\n  AttributeError: 'T' has no attribute")) \
        == "AttributeError: 'T' has no attribute"


def test_the_articles_placing_is_off_by_one_and_never_shorter_than_the_tags(chapter):
    assert chapter["article_tags"](["B-A", "I-A"], 5) == ["B-A", "I-A", "O", "O", "O"]
    assert len(chapter["article_tags"](["O"] * 130, 128)) == 130


def test_aligned_tags_stand_where_the_books_windows_put_them(chapter, tokenizer):
    words, ids = ["李", "2026", "abc", "京", "很"], [1, 0, 3, 4, 0]
    encoded = tokenizer(words, is_split_into_words=True)
    window = batching.encode_words(tokenizer, [words], [ids])
    expected = [None] * len(encoded["input_ids"])
    for position, label in zip(window.positions[0], window.labels[0]):
        expected[position] = LABELS[label]
    assert chapter["aligned_tags"](encoded.word_ids(), [LABELS[i] for i in ids]) == expected


def test_what_the_article_teaches_is_the_tag_of_the_next_character(chapter):
    sentence, tags = list("我去北京了"), ["O", "O", "B-A", "I-A", "O"]
    assert chapter["seen_tags"](sentence, tags) == [*tags[1:], "O"]


def test_the_constant_model_agrees_with_keras_on_every_place(chapter):
    tags = [["O", "B-A", "I-A"], ["O"] * 5, ["B-B", "O"]]
    probabilities = np.full(len(LABELS), 0.1 / (len(LABELS) - 1))
    probabilities[0] = 0.9
    ids = np.zeros((3, 8), int)
    real = np.zeros((3, 8), bool)
    for row, one in enumerate(tags):
        ids[row, :len(one)] = [LABELS.index(tag) for tag in one]
        real[row, :len(one)] = True
    losses = keras.losses.sparse_categorical_crossentropy(ids, np.broadcast_to(probabilities, (3, 8, len(LABELS)))).numpy()
    found = chapter["constant_model_scores"](tags, 8)
    for name, counted in (("全部位置", np.ones_like(real)), ("真正的字", real)):
        loss, accuracy = found[name]
        assert loss == pytest.approx(losses[counted].mean(), rel=1e-5)
        assert accuracy == pytest.approx((ids[counted] == 0).mean())


def test_the_update_count_is_what_counting_batches_gives(chapter):
    for sentences, batch_size, epochs in ((100, 16, 5), (96, 16, 3), (1, 16, 2), (33753, 16, 5)):
        counted = sum(len(range(0, sentences, batch_size)) for _ in range(epochs))
        assert chapter["update_count"](sentences, batch_size, epochs) == counted


def test_the_linear_rate_is_kerass_polynomial_decay(chapter):
    reference = keras.optimizers.schedules.PolynomialDecay(2e-5, 200, 0.0, power=1.0)
    for step in (0, 1, 77, 199, 200, 250):
        assert chapter["linear_rate"](step, 2e-5, 200) == pytest.approx(float(reference(step)), abs=1e-11)
    rates = [chapter["linear_rate"](step, 1.0, 100, 10) for step in (0, 5, 10, 55, 100)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])


def test_the_damaged_batches_differ_in_what_they_name_and_nothing_else(chapter, tokenizer):
    sentences, ids = [list("我去北京了"), list("他在")], [[0, 0, 1, 2, 0], [1, 0]]
    windows = batching.encode_words(tokenizer, sentences, ids)
    batch = batching.token_batches(windows, [np.array([0, 1])])(0)
    shifted, padded = chapter["shifted"](batch), chapter["padded"](batch, 32)
    assert shifted["labels"][0, :5].tolist() == ids[0] and shifted["weights"][0].sum() == 5
    np.testing.assert_array_equal(shifted["input_ids"], batch["input_ids"])
    assert all(value.shape == (2, 32) for value in padded.values())
    assert padded["weights"].min() == 1 and padded["labels"].sum() == batch["labels"].sum()
    width = batch["input_ids"].shape[1]
    np.testing.assert_array_equal(padded["attention_mask"][:, :width], batch["attention_mask"])
    assert padded["attention_mask"][:, width:].sum() == 0


def test_the_museums_record_is_shown_or_said_to_be_missing(chapter, tmp_path):
    assert len(chapter["museum_lines"](tmp_path / "museum.json")) == 1
    result = {"test_f1": 0.5, "train_seconds": 60.0, "real_tokens_per_second": 1000.0, "date": "2026-11-25T00:00:00",
              "recipe": {"sentences": 2000, "epochs": 5, "batch_size": 16, "learning_rate": 2e-5, "width": 128},
              "versions": {"tensorflow": "2.21.0", "transformers": "4.57.6"}, "hardware": {"cores": 1}}
    (tmp_path / "museum.json").write_text(json.dumps(result))
    text = "\n".join(chapter["museum_lines"](tmp_path / "museum.json"))
    assert "50.0" in text and "2e-05" in text and "4.57.6" in text and "1 个核" in text


def test_the_museum_trains_on_the_sentences_of_chapter_13(museum):
    sample = definitions("3-code/13-ner", {"np": np, "test": ([], []), "transitions": None})["sample"]
    sentences, _ = sample(([[str(i)] for i in range(5000)], [["O"]] * 5000), 2000)
    assert [int(s[0]) for s in sentences] == museum.sample(2000, 5000).tolist()


def test_the_museum_pads_to_its_width_and_labels_first_pieces(museum, tokenizer):
    words, ids = ["李", "2026", "京"], [1, 0, 3]
    one = museum.article_features(tokenizer, words, ids, width=16)
    window = batching.encode_words(tokenizer, [words], [ids])
    length = len(window.input_ids[0])
    assert one["input_ids"][:length].tolist() == window.input_ids[0].tolist() and one["attention_mask"].sum() == length
    assert np.flatnonzero(one["first"]).tolist() == window.positions[0].tolist()
    assert one["labels"][window.positions[0]].tolist() == ids and one["labels"].sum() == sum(ids)
    assert museum.tags_of(one["labels"], one["first"], 3) == ids
    cut = museum.article_features(tokenizer, list("我去北京了"), [0, 0, 1, 2, 0], width=5)
    assert museum.tags_of(cut["labels"], cut["first"], 5) == [0, 0, 1, 0, 0]


def test_the_museums_record_is_of_the_script_and_the_packages_that_lie_there_today(museum, root):
    result = json.loads(museum.RESULT.read_text(encoding="utf-8"))
    assert result["recipe"] == museum.RECIPE and museum_record.faults(root) == []
    pins = dict(re.findall(r"(?m)^([a-z-]+)==(\S+)$", (root / "tests" / "museum" / "requirements.txt").read_text(encoding="utf-8")))
    for name in ("tensorflow", "transformers", "seqeval"):
        assert result["versions"][name] == pins[name], "make museum"
    assert result["padded_tokens_per_second"] * result["train_seconds"] == pytest.approx(5 * 2000 * 128, rel=1e-3)
    assert 0 < result["test_f1"] < 1 and result["real_tokens_per_second"] < result["padded_tokens_per_second"]
