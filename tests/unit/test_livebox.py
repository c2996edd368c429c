"""The live box: int8 in Python against its bounds, and the page's JavaScript against the book's own encoder."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import unicodedata

import keras
import numpy as np
import pytest

from tests.tools import lacking
from utils import batching, checkpoints, corpora, decoding, metrics, prediction
from utils.book import livebox
from utils.encoder import Encoder, EncoderConfig
from utils.errors import CheckpointError
from utils.heads import TokenClassifier
from utils.profiles import CHECKPOINT, ROOT
from utils.tensor_names import tensor_names

SCRIPTS = ROOT / "chapters" / "_site" / "livebox"
SENTENCES, LONGEST = 1000, 20  # how many are compared; so many of them are the longest there are, which take several windows
USUAL = 40  # the others are drawn from those of at most so many characters, to spare the machines of CI
# What people type: Latin, digits, full width, emoji, unknown and combining characters, spaces, controls, nothing.
AWKWARD = [
    "", " ", "，", "BERT 模型在ＧＰＵ上跑，花了１２．５％的时间！", "张伟\t和\n李娜", "a\u0301é ñ ß İ ﬁ ㈱ ① ½", "龘靐齉爩",
    "👩‍👩‍👧 在北京🎉", "か\u3099が각\u1100\u1161\u11a8", "\u0000\u200b\ufeff\ufffd控制", "[CLS]我在[MASK]家[SEP]", "\U00020bb7野家\U0010ffff", "“引号”——省略……",
]


def javascript(model, calls):
    """Results of calls [function, argument…] of the page's scripts; "$model" stands for the model in the folder `model`."""
    if shutil.which("node") is None:
        lacking("没有 node，网页脚本的测试跳过；Debian：apt-get install nodejs")
    command = ["node", str(ROOT / "tests" / "unit" / "livebox.mjs"), str(SCRIPTS), str(pathlib.Path(model) / livebox.MODEL)]
    done = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.load_tokenizer(CHECKPOINT)


@pytest.fixture(scope="module")
def shipped():
    return livebox.load()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tokenizer):
    """(float model, folder of its int8 file): another shape than the shipped one."""
    keras.utils.set_random_seed(5)
    config = EncoderConfig(vocab_size=len(tokenizer), hidden_size=36, num_hidden_layers=2, num_attention_heads=3,
                           intermediate_size=44, hidden_act="gelu_new", max_position_embeddings=128, initializer_range=0.5)
    model = TokenClassifier(Encoder(config), 5)
    model.labels = ["O", "B-A", "I-A", "B-B", "I-B"]
    for variable in model.trainable_variables:  # biases too, so that a forgotten one shows
        if len(variable.shape) == 1:
            variable.assign_add(keras.random.normal(variable.shape, stddev=0.3))
    folder = tmp_path_factory.mktemp("tiny")
    livebox.save(model, tokenizer, folder, {})
    return model, folder


@pytest.fixture(scope="module")
def held_out():
    return livebox.split(corpora.people_daily(), "test")


def random_texts(tokenizer, lengths):
    random = np.random.default_rng(3)
    known = [piece for piece in tokenizer.get_vocab() if len(piece) == 1]
    return ["".join(random.choice(known, length)) for length in lengths]


def in_python(model, tokenizer, texts):
    """(logits of every character, labels) by the book's encoder, windows and decoding."""
    windows = batching.encode_words(tokenizer, [list(unicodedata.normalize("NFKC", text)) for text in texts])
    scores = prediction.word_scores(model, windows)
    paths = decoding.best_sequences(scores, decoding.iob2_transitions(model.labels))
    return scores, [[model.labels[i] for i in path] for path in paths]


def test_int8_is_off_by_half_a_step_at_most_and_uses_the_whole_range():
    matrix = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32) * np.logspace(-6, 3, 40)[:, None].astype(np.float32)
    matrix[7] = 0
    integers, scale = livebox.quantise(matrix)
    assert integers.dtype == np.int8 and integers.min() >= -127
    assert (np.abs(integers).max(axis=1)[np.arange(40) != 7] == 127).all() and not integers[7].any()
    assert (np.abs(livebox.dequantise(integers, scale) - matrix) <= scale[:, None] * 0.50001).all()


def test_what_is_read_back_is_the_rounded_model(tiny):
    model, folder = tiny
    again = livebox.load(folder)
    assert again.labels == model.labels
    pairs = list(zip(tensor_names(model), tensor_names(again)))
    assert len(pairs) == len(model.weights)
    for (name, old, transposed), (_, new, _) in pairs:
        old, new = (keras.ops.convert_to_numpy(value) for value in (old, new))
        old, new = (old.T, new.T) if transposed else (old, new)
        bound = np.abs(old).max(axis=1, keepdims=True) / 127 * 0.501 if old.ndim == 2 else 0  # a row for each output
        assert (np.abs(old - new) <= bound).all(), name


def test_a_missing_or_cut_file_gives_one_clear_line(tiny, tmp_path):
    whole = (tiny[1] / livebox.MODEL).read_bytes()
    with pytest.raises(CheckpointError, match="make livebox"):
        livebox.load(tmp_path)
    for size in (0, 5, 200, len(whole) - 4):
        (tmp_path / livebox.MODEL).write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="make livebox"):
            livebox.load(tmp_path)


def test_the_page_refuses_a_cut_file(tiny, tmp_path):
    (tmp_path / livebox.MODEL).write_bytes((tiny[1] / livebox.MODEL).read_bytes()[:-4])
    with pytest.raises(AssertionError, match="DamagedFile|bytes instead of"):
        javascript(tmp_path, [["mark", "$model", "字"]])


def test_the_page_computes_the_same_pieces_logits_and_labels_for_any_text(tiny, tokenizer):
    texts = [*AWKWARD, *random_texts(tokenizer, [1, 2, 3, 4, 5, 125, 126, 127, 128, 219, 220, 221, 222, 313, 314, 315, 500])]
    found = javascript(tiny[1], [["analyse", "$model", text] for text in texts])
    scores, labels = in_python(livebox.load(tiny[1]), tokenizer, texts)
    for text, one, logits, path in zip(texts, found, scores, labels):
        assert one["labels"] == path, text
        assert len(one["logits"]) == len(logits), text
        if path:
            np.testing.assert_allclose(one["logits"], logits, atol=1e-4, err_msg=text)


def test_every_character_of_unicode_gets_the_piece_that_the_tokenizer_gives_it(tiny, tokenizer):
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    points = [c for c in points if unicodedata.category(c) not in ("Cn", "Co") and unicodedata.normalize("NFKC", c) == c]
    windows = batching.encode_words(tokenizer, [points[start : start + 100] for start in range(0, len(points), 100)])
    expected = [int(piece) for ids in windows.input_ids for piece in ids[1:-1]]
    (found,) = javascript(tiny[1], [["encode", "$model", points]])
    assert found == expected
    assert len(set(found)) > 4000 and tokenizer.unk_token_id in found


def test_windows_and_their_owners_are_those_of_batching(tiny, tokenizer):
    lengths = [*range(1, 12), *range(120, 135), *range(215, 226), 313, 314, 315, 500, 1000]
    windows = batching.encode_words(tokenizer, [["一"] * n for n in lengths])
    cut = {"length": livebox.WINDOW, "overlap": batching.OVERLAP}
    cuts = javascript(tiny[1], [["windows", cut, n] for n in lengths])
    owners = javascript(tiny[1], [["owners", one, n] for one, n in zip(cuts, lengths)])
    for index, (n, mine, owner) in enumerate(zip(lengths, cuts, owners)):
        rows = np.flatnonzero(windows.sentence == index)
        assert [one["end"] - one["start"] + 2 for one in mine] == [len(windows.input_ids[row]) for row in rows], n
        expected = np.empty(n, int)
        for place, row in enumerate(rows):
            expected[windows.words[row]] = place
        assert owner == expected.tolist(), n


def test_the_labels_are_those_of_the_books_viterbi(tiny):
    labels = ["O", "B-A", "I-A", "B-B", "I-B"]
    random = np.random.default_rng(2)
    scores = [random.normal(size=(length, 5)) for length in (0, 1, 2, 7, 60)]
    scores += [random.integers(0, 3, (9, 5)).astype(float) for _ in range(60)]  # many ties: the first of equals wins
    found = javascript(tiny[1], [["decode", labels, one.tolist()] for one in scores])
    expected = decoding.best_sequences(scores, decoding.iob2_transitions(labels))
    assert found == [[labels[i] for i in path] for path in expected]
    spans = javascript(tiny[1], [["entities", path] for path in found])
    assert [[(s["kind"], s["start"], s["end"]) for s in one] for one in spans] == [metrics.entities(path) for path in found]


def test_the_reader_sees_what_was_typed_with_the_entities_in_it(tiny):
    text = "㈱３Ｍ（中国）的e\u0301，Å"
    normal = list(unicodedata.normalize("NFKC", text))  # (株)3M(中国)的é,Å
    at = "".join(normal).index
    spans = [{"kind": "ORG", "start": 1, "end": at("国")}, {"kind": "PER", "start": at("的"), "end": at(",")}]
    parts, plain = javascript(tiny[1], [["parts", text, normal, spans], ["parts", "\u1100\u1161字", list("가字"), []]])
    assert [(p["text"], p["kind"]) for p in parts] == [("㈱３Ｍ（中", "ORG"), ("国）", None), ("的e\u0301", "PER"), ("，Å", None)]
    assert plain == [{"text": "가字", "kind": None}]  # typed in parts that only together make a character


def test_the_shipped_model_fits_its_card_and_five_megabytes(shipped):
    path = livebox.FOLDER / livebox.MODEL
    assert path.stat().st_size <= 5_000_000
    facts = shipped.settings["facts"]
    assert (livebox.FOLDER / "README.md").read_text(encoding="utf-8") == livebox.card(facts, path.stat().st_size)
    assert facts["data_sha256"] == corpora.fingerprint("people_daily") and facts["sentences"] == len(corpora.people_daily()["train"])
    weights = (CHECKPOINT / checkpoints.WEIGHTS).read_bytes()
    assert facts["checkpoint_sha256"] == hashlib.sha256(weights).hexdigest(), "another checkpoint is shipped: make livebox"
    assert shipped.labels == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
    assert abs(facts["test"]["f1"] - facts["test"]["f1_int8"]) < 0.01


def test_on_a_thousand_test_sentences_the_page_predicts_what_python_predicts(shipped, tokenizer, held_out):
    order = sorted(range(len(held_out[0])), key=lambda i: -len(held_out[0][i]))
    usual = [i for i in order[LONGEST:] if len(held_out[0][i]) <= USUAL]
    chosen = order[:LONGEST] + list(np.random.default_rng(0).choice(usual, SENTENCES - LONGEST, replace=False))
    texts = ["".join(held_out[0][i]) for i in chosen]
    found = javascript(livebox.FOLDER, [["analyse", "$model", text] for text in texts])
    scores, labels = in_python(shipped, tokenizer, texts)
    assert len(set(texts)) == SENTENCES
    assert [one["characters"] for one in found] == [list(text) for text in texts]
    assert [text for text, one, path in zip(texts, found, labels) if one["labels"] != path] == []
    assert max(np.abs(np.array(one["logits"]) - logits).max() for one, logits in zip(found, scores)) < 1e-3
    f1 = metrics.entity_scores([held_out[1][i] for i in chosen], labels).f1
    assert abs(f1 - shipped.settings["facts"]["test"]["f1_int8"]) < 0.02  # it is the model of the card


@pytest.mark.soak
def test_the_cards_scores_are_those_of_the_whole_test_set(shipped, tokenizer, held_out):
    f1 = metrics.entity_scores(held_out[1], livebox.label_sentences(shipped, tokenizer, held_out[0])).f1
    assert f1 == pytest.approx(shipped.settings["facts"]["test"]["f1_int8"], abs=1e-4)
