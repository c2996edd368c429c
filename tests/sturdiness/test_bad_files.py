"""Whatever stands in a reader's own files: it is read, or refused by an error of `utils.errors` in a clear line."""

import json
import re
import shutil
import struct
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as to_bytes

from tests.soak import cases, scaled
from tests.sturdiness.mutations import damaged_bytes, damaged_json
from utils import checkpoints, corpora
from utils.book import livebox
from utils.corpora import interface_strings
from utils.corpora.labels import SCHEMES
from utils.encoder import Encoder, EncoderConfig
from utils.errors import BookError, CheckpointError, DataError
from utils.heads import TokenClassifier

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bert"

# --- CoNLL -------------------------------------------------------------------------------------------------------------

cell = st.sampled_from(["甲", "O", "B-A", "I-A", "E-A", "S-A", "M-A", "L-A", "U-B", "B-", "#", "# id 1", "-DOCSTART-", "\u3000",
                        "B-A-", "x"])
row = st.lists(cell | st.text(max_size=4), max_size=4).flatmap(
    lambda cells: st.sampled_from(["\t", " ", "  ", " \t"]).map(lambda separator: separator.join(cells)))
plain = st.lists(st.sampled_from(["甲 O", "乙 B-A", "丙 I-A", "", "丁\tB-B", "戊 n O"]), max_size=12)
conll = st.tuples(st.lists(row, max_size=8) | plain, st.sampled_from(["\n", "\r\n", "\r"])).map(
    lambda made: made[1].join(made[0]).encode("utf-8", "surrogatepass"))
contents = conll | st.binary(max_size=80) | conll.flatmap(damaged_bytes)
columns = st.integers(-4, 4)


@scaled
@cases(1_000)
@given(contents, columns, columns, st.sampled_from(SCHEMES) | st.text(max_size=5))
def test_a_conll_file_is_read_whole_or_refused_row_by_row(tmp_path, content, token, label, scheme):
    path = tmp_path / "data.txt"
    path.write_bytes(content)
    try:
        data = corpora.read_conll(path, token_column=token, label_column=label, scheme=scheme)
    except BookError as error:
        first, *rows = str(error).split("\n")
        assert first and (not rows or all(re.match(rf"{re.escape(str(path))}:\d+: \S|……另有", line) for line in rows))
    else:
        assert all(map(len, data["tokens"])) and [*map(len, data["tokens"])] == [*map(len, data["ner_tags"])]
        rows = [line for line in content.decode("utf-8-sig").split("\n") if line.strip(" \t\r")]
        skipped = sum(line.startswith(("-DOCSTART-", "# ")) for line in rows)
        assert len(rows) - skipped <= sum(map(len, data["tokens"])) <= len(rows)


@scaled
@cases(1_000)
@given(st.lists(st.tuples(st.sampled_from(["train", "dev", "test", "testa", "VALID", "train.char", "x"]),
                          st.sampled_from([".txt", ".bmes", "", ".conll", ".md"]), contents), max_size=5))
def test_a_folder_of_conll_files_gives_three_splits_or_is_refused(tmp_path, made):
    folder = tmp_path / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, suffix, content in made:
        (folder / f"{name}{suffix}").write_bytes(content)
    try:
        assert list(corpora.load_conll_dir(folder)) == ["train", "validation", "test"]
    except BookError as error:
        assert str(error)


# --- checkpoints -------------------------------------------------------------------------------------------------------

KINDS = {"token_classifier": "token", "sequence_classifier": "sequence", "backbone": "encoder", "masked_lm": "language"}
CONFIGS = {name: json.loads((FIXTURES / name / "config.json").read_bytes()) for name in KINDS}
WEIGHTS = {name: (FIXTURES / name / "model.safetensors").read_bytes() for name in KINDS}
VOCABULARY = (FIXTURES / "backbone" / "vocab.txt").read_bytes()


def header_damaged(content):
    """The header of a safetensors file with other values, its length set right."""
    size = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]

    def joined(value):
        text = json.dumps(value).encode()
        return struct.pack("<Q", len(text)) + text + body

    return damaged_json(header).map(joined)


def as_bytes(value):
    return json.dumps(value).encode()


def config_bytes(name):
    return damaged_json(CONFIGS[name]).map(as_bytes) | damaged_bytes(as_bytes(CONFIGS[name]))


@st.composite
def checkpoint(draw):
    """(fixture, config.json, model.safetensors): one of the two damaged."""
    name = draw(st.sampled_from(list(KINDS)))
    config, weights = json.dumps(CONFIGS[name]).encode(), WEIGHTS[name]
    if draw(st.booleans()):
        config = draw(config_bytes(name))
    else:
        weights = draw(damaged_bytes(weights) | header_damaged(weights))
    return name, config, weights


def written(folder, config, weights):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@scaled
@cases(1_000)
@given(checkpoint())
def test_the_parts_of_a_damaged_checkpoint_are_read_or_refused(tmp_path, made):
    _, config, weights = made
    folder = written(tmp_path / "checkpoint", config, weights)
    for read in (checkpoints.read_config, checkpoints.read_tensors):
        try:
            assert isinstance(read(folder), dict)
        except CheckpointError as error:
            assert str(folder) in str(error)


@scaled
@cases(1_000)
@given(checkpoint())
def test_a_damaged_checkpoint_becomes_a_model_or_is_refused(tmp_path, made):
    name, config, weights = made
    folder = written(tmp_path / "checkpoint", config, weights)
    try:
        model = checkpoints.load(KINDS[name], folder)
    except BookError as error:
        assert str(error)
    else:
        assert model.count_params() > 0 and str(model.report)


def test_a_config_that_asks_for_more_than_the_file_holds_is_refused_at_once(tmp_path):
    config = json.dumps({**CONFIGS["backbone"], "num_hidden_layers": 10**9}).encode()
    folder = written(tmp_path / "checkpoint", config, WEIGHTS["backbone"])
    with pytest.raises(CheckpointError, match="config.json"):
        checkpoints.load("encoder", folder)


@scaled
@cases(1_000)
@given(damaged_bytes(VOCABULARY) | st.binary(max_size=60))
def test_a_damaged_vocabulary_gives_a_tokenizer_or_is_refused(tmp_path, vocabulary):
    folder = tmp_path / "vocabulary"
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_bytes(vocabulary)
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(FIXTURES / "backbone" / name, folder)
    try:
        tokenizer = checkpoints.load_tokenizer(folder)
    except BookError as error:
        assert str(folder) in str(error)
    else:
        assert tokenizer(["a"], is_split_into_words=True)["input_ids"]


@pytest.fixture(scope="module")
def tokenizer_files(tmp_path_factory):
    """Name -> bytes of the files that transformers writes for a tokenizer."""
    folder = tmp_path_factory.mktemp("written")
    checkpoints.load_tokenizer(FIXTURES / "backbone").save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@scaled
@cases(1_000)
@given(st.data())
def test_a_damaged_tokenizer_is_used_or_refused(tokenizer_files, tmp_path, data):
    """One of its files; of tokenizer.json every part as often as the vocabulary, which is the longest by far."""
    name = data.draw(st.sampled_from(sorted(tokenizer_files)))
    whole = json.loads(tokenizer_files[name])
    part = data.draw(st.sampled_from(sorted(whole)))
    damaged = (damaged_bytes(tokenizer_files[name]) | damaged_json(whole).map(as_bytes)
               | damaged_json(whole[part]).map(lambda value: as_bytes({**whole, part: value})))
    folder = tmp_path / "tokenizer"
    folder.mkdir(exist_ok=True)
    shutil.copy(FIXTURES / "backbone" / "config.json", folder)
    for file, content in {**tokenizer_files, name: data.draw(damaged)}.items():
        (folder / file).write_bytes(content)
    try:
        tokenizer = checkpoints.load_tokenizer(folder)
    except BookError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
    else:
        assert isinstance(tokenizer(["a"], is_split_into_words=True)["input_ids"], list)


# --- the model of the live box -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def box():
    """(tensors, settings, bytes of the file) of a tiny int8 model, as `livebox.save` writes it."""
    config = EncoderConfig(20, 8, 1, 2, 12, max_position_embeddings=16)
    tensors = livebox.tensors(TokenClassifier(Encoder(config), 3))
    settings = {"config": asdict(config), "labels": ["O", "B-A", "I-A"]}
    return tensors, settings, to_bytes(tensors, metadata={"livebox": json.dumps(settings)})


@scaled
@cases(1_000)
@given(st.data())
def test_a_damaged_model_of_the_live_box_is_read_or_refused(box, tmp_path, data):
    tensors, settings, whole = box
    with_settings = damaged_json(settings).map(lambda value: to_bytes(tensors, metadata={"livebox": json.dumps(value)}))
    (tmp_path / livebox.MODEL).write_bytes(data.draw(damaged_bytes(whole) | header_damaged(whole) | with_settings))
    try:
        model = livebox.load(tmp_path)
    except CheckpointError as error:
        assert str(tmp_path) in str(error) and "make livebox" in str(error) and "\n" not in str(error)
    else:
        assert model.count_params() > 0 and all(isinstance(label, str) for label in model.labels)


def test_a_live_box_that_asks_for_more_than_the_file_holds_is_refused_at_once(box, tmp_path):
    tensors, settings, _ = box
    for field in ("num_hidden_layers", "vocab_size", "intermediate_size"):
        asked = {**settings, "config": {**settings["config"], field: 10**7}}
        (tmp_path / livebox.MODEL).write_bytes(to_bytes(tensors, metadata={"livebox": json.dumps(asked)}))
        with pytest.raises(CheckpointError, match="make livebox"):
            livebox.load(tmp_path)


# --- catalogues of translations ----------------------------------------------------------------------------------------


def catalogue(pairs):
    """A .mo file, written after the description in GNU gettext's manual."""
    sources = [pair[0].encode() for pair in pairs]
    translations = [pair[1].encode() for pair in pairs]
    begin = 28 + 16 * len(pairs)
    tables, body = [], b""
    for texts in (sources, translations):
        for text in texts:
            tables.append(struct.pack("<2I", len(text), begin + len(body)))
            body += text + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + b"".join(tables) + body


GOOD = catalogue([("", "Content-Type: text/plain"), ("Open file", "打开文件"), ("menu\x04Close", "关闭"), ("a\0b", "甲\0乙")])


def test_the_catalogue_that_is_damaged_below_can_be_read():
    assert interface_strings.read_catalogue(GOOD) == [("Open file", "打开文件"), ("Close", "关闭"), ("b", "甲")]


@scaled
@cases(1_000)
@given(damaged_bytes(GOOD) | st.binary(max_size=40).map(lambda tail: GOOD[:4] + tail) | st.binary(max_size=40))
def test_a_damaged_catalogue_is_read_or_refused(content):
    try:
        pairs = interface_strings.read_catalogue(content)
    except DataError as error:
        assert ".mo" in str(error)
    else:
        assert all(source and isinstance(target, str) for source, target in pairs)


# --- the state of a training -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """(trainer at step 0, bytes of its state after two steps)."""
    import keras

    from utils import training

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    path = tmp_path_factory.mktemp("state") / "state.npz"

    def trainer():
        return training.Trainer(model, lambda model, batch, training: keras.ops.mean(model(batch["x"])),
                                lambda step: {"x": np.ones((2, 1), np.float32)}, training_plan, state=path, label=None)

    training_plan = training.Plan(2, 1e-3)
    trainer().run()
    return trainer, path, path.read_bytes()


@scaled
@cases(1_000)
@given(st.data())
def test_a_damaged_state_of_a_training_is_read_or_refused(state, data):
    trainer, path, content = state
    path.write_bytes(data.draw(damaged_bytes(content)))
    fresh = trainer()
    try:
        fresh.load_state()
    except BookError as error:
        assert str(path) in str(error)
    else:
        assert fresh.step == 2
