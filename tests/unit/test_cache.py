"""The cache: its key changes exactly when a run could give something else, and a kill leaves whole entries only."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.tiny_book import TinyBook
from utils import files
from utils.book import cache, dependencies, fingerprints
from utils.book.chapters import find
from utils.book.results import ChapterResult
from utils.corpora import sources
from utils.errors import RunError


@pytest.fixture
def book(tmp_path):
    return TinyBook(tmp_path)


def key(book, name, parameters=None, profile="mini", device="CPU"):
    (chapter,) = find([name], book.root)
    return cache.key_of(cache.inputs(chapter, parameters or {}, profile, device, book.root))


def test_prose_is_no_part_of_the_key(book):
    book.notebook("01-a", "x = 1", prose="旧的正文")
    before = key(book, "01-a")
    book.notebook("01-a", "x = 1", prose="新的正文")
    assert key(book, "01-a") == before


@pytest.mark.parametrize(
    "edited, changed",
    [
        ("alpha", {"01-a"}),  # imported
        ("beta", {"01-a"}),  # imported relatively by an imported module
        ("delta", {"02-b"}),  # imported inside a function
        ("figures", {"01-a", "02-b", "03-c"}),  # utils.setup imports it
        ("unused", set()),
    ],
)
def test_editing_a_helper_changes_exactly_its_importers_keys(book, edited, changed):
    book.helper("unused", "x = 1\n")
    book.notebook("01-a", "from utils import alpha\nalpha.value()")
    book.notebook("02-b", "%matplotlib inline\nimport utils.gamma as g\ng.value()")
    book.notebook("03-c", "x = 1")
    names = ["01-a", "02-b", "03-c"]
    before = {name: key(book, name) for name in names}
    path = book.root / "utils" / f"{edited}.py"
    path.write_text(path.read_text() + "\nEDITED = True\n")
    assert {name for name in names if key(book, name) != before[name]} == changed


def test_a_cell_that_is_not_python_depends_on_every_helper(book):
    book.notebook("01-a", "this is !not python")
    before = key(book, "01-a")
    book.helper("delta", "VALUE = 8\n")
    assert key(book, "01-a") != before


def test_every_other_input_changes_the_key(book):
    book.notebook("01-a", "from utils import records, profiles")
    weights = book.root / "utils" / "assets" / "checkpoint"
    weights.mkdir(parents=True)
    seen = [key(book, "01-a")]

    def differs():
        seen.append(key(book, "01-a"))
        return len(set(seen)) == len(seen)

    (book.root / "requirements.lock").write_text("numpy==2.1\n")
    assert differs()
    (book.root / "chapters" / "_recorded" / "01.json").write_text("{}")
    assert differs()
    (weights / "model.safetensors").write_bytes(b"weights")
    assert differs()
    book.notebook("01-a", "from utils import records, profiles  # 注释")
    assert differs()
    assert len({*seen, key(book, "01-a", {"X": 1}), key(book, "01-a", profile="full"), key(book, "01-a", device="H100")}) == 8


def test_a_tag_the_kernel_and_the_order_of_cells_are_part_of_the_key(book):
    path = book.notebook("01-a", "x = 1", "y = 2")
    seen = [key(book, "01-a")]
    for change in (lambda n: n["cells"][-1]["metadata"].update(tags=["raises-exception"]),
                   lambda n: n["metadata"]["kernelspec"].update(name="other"),
                   lambda n: n["cells"].insert(3, n["cells"].pop())):
        notebook = json.loads(path.read_text())
        change(notebook)
        path.write_text(json.dumps(notebook))
        seen.append(key(book, "01-a"))
    assert len(set(seen)) == 4


def test_a_card_beside_the_weights_and_another_chapters_record_are_no_inputs(book):
    book.notebook("01-a", "from utils import records, profiles")
    before = key(book, "01-a")
    (book.root / "utils" / "assets" / "checkpoint").mkdir(parents=True)
    (book.root / "utils" / "assets" / "checkpoint" / "README.md").write_text("card")
    (book.root / "chapters" / "_recorded" / "02.json").write_text("{}")
    assert key(book, "01-a") == before


def test_a_result_that_a_chapter_reads_by_its_name_is_an_input(book):
    kept = book.root / "chapters" / "_recorded" / "museum.json"
    kept.write_text("{}")
    book.notebook("01-a", 'print("museum.json")')
    book.notebook("02-b", "print(1)")
    seen = [key(book, "01-a"), key(book, "02-b")]
    kept.write_text('{"f1": 1}')
    assert key(book, "01-a") != seen[0] and key(book, "02-b") == seen[1]


def test_the_readers_own_files_count_and_not_only_where_they_lie(book, tmp_path):
    book.notebook("01-a", "x = 1", parameters='PROFILE = "mini"\nDATA_DIR = ""')
    own = tmp_path / "own"
    own.mkdir()
    (own / "train.txt").write_text("字 O\n")
    seen = [key(book, "01-a", {"DATA_DIR": value}) for value in (str(own), str(own / "train.txt"), str(own / "missing"), "x" * 9999)]
    (own / "train.txt").write_text("字 B\n")
    seen += [key(book, "01-a", {"DATA_DIR": value}) for value in (str(own), str(own / "train.txt"))]
    (own / "dev.txt").write_text("")
    seen.append(key(book, "01-a", {"DATA_DIR": str(own)}))
    assert len(set(seen)) == len(seen)
    (chapter,) = find(["1"], book.root)
    for parameters in ({}, {"PROFILE": "mini", "DATA_DIR": "", "SIZE": 3}):
        assert "own" not in cache.inputs(chapter, parameters, "mini", "CPU", book.root), "it would change every key"


@pytest.fixture
def data(book, monkeypatch):
    """The file of the tiny book's data sets, and how often its hash was computed."""
    path, computed = book.corpora(), []

    def fingerprint(name):
        computed.append(name)
        return path.read_text()

    monkeypatch.setattr(sources, "package_folder", lambda: book.root)
    monkeypatch.setattr(sources, "source", lambda name: types.SimpleNamespace(files=("data.txt",)))
    monkeypatch.setattr(sources, "fingerprint", fingerprint)
    return path, computed


def test_data_count_where_the_corpora_are_imported(book, data):
    book.notebook("01-a", "from utils import corpora")
    book.notebook("02-b", "x = 1")
    before = key(book, "01-a"), key(book, "02-b")
    data[0].write_text("two")
    assert key(book, "01-a") != before[0] and key(book, "02-b") == before[1]


def test_unchanged_data_are_hashed_once_and_a_damaged_note_does_no_harm(book, data):
    path, computed = data
    assert [fingerprints.corpus_hash("reviews", book.root) for _ in range(3)] == ["one"] * 3 and len(computed) == 1
    (book.root / "_build" / "cache" / "data.json").write_text("{")
    assert fingerprints.corpus_hash("reviews", book.root) == "one" and len(computed) == 2
    path.write_text("two")
    assert fingerprints.corpus_hash("reviews", book.root) == "two"


# --- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(book):
    book.notebook("01-a", "x = 1")
    (chapter,) = find(["1"], book.root)
    store = cache.Store(book.root, "mini")
    result = ChapterResult(chapter.id, chapter.path, None, "ok", 3.5, 120.0, {"f1": {"value": 0.5, "band": [0.4, 0.6]}})
    store.save(chapter, "k" * 64, result, b'{"cells": []}')
    return store, chapter


def test_an_entry_comes_back_as_it_was_saved(stored):
    store, chapter = stored
    result = store.load(chapter, "k" * 64)
    assert (result.status, result.seconds, result.results) == ("cached", 3.5, {"f1": {"value": 0.5, "band": [0.4, 0.6]}})
    assert result.executed.read_bytes() == b'{"cells": []}'
    assert store.load(chapter, "other" * 8) is None


def test_an_entry_without_versions_and_hardware_still_holds(stored):
    store, chapter = stored
    record = store.load(chapter, "k" * 64).executed.with_suffix(".json")
    old = json.loads(record.read_text())
    del old["versions"], old["hardware"]
    record.write_text(json.dumps(old))
    result = store.load(chapter, "k" * 64)
    assert (result.status, result.versions, result.hardware) == ("cached", {}, {})


@pytest.mark.parametrize("suffix", [".ipynb", ".json"])
@pytest.mark.parametrize("content", [b"", b"{", b'{"cells": [1]}', b"\xff\xfe", None])
def test_a_damaged_entry_is_not_used(stored, suffix, content):
    store, chapter = stored
    path = store.load(chapter, "k" * 64).executed.with_suffix(suffix)
    path.unlink() if content is None else path.write_bytes(content)
    assert store.load(chapter, "k" * 64) is None
    result = ChapterResult(chapter.id, chapter.path, None, "ok", 1.0, None)
    store.save(chapter, "k" * 64, result, b"{}")
    assert store.load(chapter, "k" * 64).executed.read_bytes() == b"{}"


def test_only_the_latest_entries_stay_and_what_dead_writers_left_is_removed(stored):
    store, chapter = stored
    folder = store.load(chapter, "k" * 64).executed.parent
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = folder / f".x.ipynb.{dead.pid}.part"
    left.write_bytes(b"half")
    for index in range(cache.KEPT + 2):
        time.sleep(0.01)
        store.save(chapter, str(index) * 64, ChapterResult(chapter.id, chapter.path, None, "ok", 1.0, None), b"{}")
    assert not left.exists()
    assert store.load(chapter, "k" * 64) is None
    assert sorted(path.stem[0] for path in folder.glob("*.ipynb")) == list("2345")[: cache.KEPT]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    program = (
        "import sys, pathlib, json\n"
        "from utils.files import write_atomically\n"
        "for n in range(10**9):\n"
        "    write_atomically(pathlib.Path(sys.argv[1]), json.dumps([n] * 50000).encode())\n"
    )
    path = tmp_path / "entry"
    chance = random.Random(1)
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=files.__file__.rsplit("/utils/", 1)[0])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0.1, 0.4))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        numbers = json.loads(path.read_bytes())
        assert len(numbers) == 50000 and len(set(numbers)) == 1


# --- names of chapters ------------------------------------------------------------------------------------------------


def test_a_chapter_is_found_by_number_slug_name_and_path(book, monkeypatch):
    path = book.notebook("04-pretraining", "x = 1")
    book.notebook("13-ner", "x = 1")
    monkeypatch.chdir(book.root)
    for name in ("4", "04", "pretraining", "04-pretraining", "3-code/04-pretraining", str(path),
                 "chapters/3-code/04-pretraining.ipynb"):
        assert [chapter.path for chapter in find([name], book.root)] == [path]
    assert [chapter.label for chapter in find([], book.root)] == ["04", "13"]
    with pytest.raises(RunError, match="04-pretraining、13-ner"):
        find(["ner2"], book.root)


def test_a_card_counts_only_where_tensorflow_finds_its_libraries(tmp_path, monkeypatch):
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'Some Card'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = {}
    for libraries in (True, False):
        monkeypatch.setattr(fingerprints, "_has_cudnn", lambda: libraries)
        fingerprints.device_name.cache_clear()
        found[libraries] = fingerprints.device_name()
    fingerprints.device_name.cache_clear()
    assert found == {True: "Some Card", False: "CPU"}


def test_sources_are_parsed_one_at_a_time_whatever_the_number_of_threads(monkeypatch):
    """Two at once may fail in Python 3.11 (python/cpython#106905)."""
    running, most = [], []

    def slow(source):
        running.append(source)
        time.sleep(0.01)
        most.append(len(running))
        running.remove(source)

    monkeypatch.setattr(dependencies, "ast", types.SimpleNamespace(parse=slow, Module=None))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(dependencies.parse, [f"x = {i}" for i in range(16)]))
    assert len(most) == 16 and max(most) == 1
