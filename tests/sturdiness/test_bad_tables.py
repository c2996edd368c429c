"""The book's own files, damaged: cache entries, records, notebooks, the table of contents, addresses, pins."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.soak import cases, scaled
from tests.sturdiness.mutations import damaged_bytes, damaged_json, values
from tests.unit.tiny_book import TinyBook
from utils import profiles, records
from utils.book import address, cache, catalogues, dependencies, gettext_files, lint, recording, stage
from utils.book.chapters import find
from utils.book.results import ChapterResult
from utils.errors import BookError, RunError

COLLECTING = ("from utils import records\nbook = records.Chapter(1, record=RECORD)",
              "book.collect('main', lambda seed: {'f1': seed / 10}, cases=[{'seed': 1}, {'seed': 2}], band='f1', value='f1', floor=1)")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    book = TinyBook(tmp_path_factory.mktemp("book"))
    book.notebook("01-a", *COLLECTING)
    return book


@pytest.fixture(scope="module")
def chapter(book):
    return find(["1"], book.root)[0]


def as_text(value):
    return json.dumps(value, ensure_ascii=True).encode()


# --- the cache ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def entry(book, chapter):
    """(store, executed notebook, record, values of the record)."""
    store = cache.Store(book.root, "mini")
    result = ChapterResult(chapter.id, chapter.path, None, "ok", 3.5, 120.0, {"f1": {"value": 0.5, "band": [0.4, 0.6]}})
    saved = store.save(chapter, "k" * 64, result, b'{"cells": []}').executed
    return store, saved, saved.with_suffix(".json"), json.loads(saved.with_suffix(".json").read_bytes())


@scaled
@cases(1_000)
@given(st.data())
def test_a_damaged_entry_of_the_cache_is_a_miss_or_what_was_saved(entry, chapter, data):
    store, saved, record, whole = entry
    saved.write_bytes(b'{"cells": []}')
    record.write_bytes(as_text(whole))
    if data.draw(st.integers(0, 3)) == 0:
        saved.write_bytes(data.draw(damaged_bytes(saved.read_bytes())))
    else:
        record.write_bytes(data.draw(damaged_json(whole).map(as_text) | damaged_bytes(as_text(whole))))
    found = store.load(chapter, "k" * 64)
    if found is not None:
        assert found.executed.read_bytes() == b'{"cells": []}'
        assert found.seconds >= 0 and isinstance(found.results, dict) and isinstance(found.stale, list)


# --- records -----------------------------------------------------------------------------------------------------------

RECORD = {"chapter": 1, "tables": {"main": {
    "rows": [{"case": {"seed": seed}, "result": {"f1": seed / 10}, "seconds": 1.5} for seed in (1, 2)],
    "bands": {"f1": {"low": 0.1, "high": 0.2, "mean": 0.15, "deviation": 0.05, "rows": 2}}, "profile": "mini",
    "parameters": {"PROFILE": "mini"}, "seconds": 3.0, "date": "2026-11-01T12:00:00+00:00", "versions": {"python": "3.13"},
    "hardware": {"processor": "x", "cores": 2, "memory_gib": 4.0, "device": "CPU"}, "commit": "", "modified": False,
    "code": {"notebook": "a"}, "cases": "b", "data": {}}}}


@pytest.fixture
def here(book, monkeypatch):
    monkeypatch.setattr(profiles, "ROOT", book.root)
    monkeypatch.delenv(records.PLAN, raising=False)
    return book


@scaled
@cases(1_000)
@given(damaged_json(RECORD).map(as_text) | damaged_bytes(as_text(RECORD)))
def test_a_damaged_record_is_shown_or_refused_and_the_file_is_named(here, chapter, content):
    file = records.recorded_file(1)
    file.write_bytes(content)
    for use in (lambda: records.Chapter(1).collect("main", dict, [{"seed": 1}, {"seed": 2}]),
                lambda: recording.stale_tables(chapter, here.root)):
        try:
            assert isinstance(use(), (list, dict))
        except RunError as error:
            assert "01.json" in str(error) and "\n" not in str(error)


@scaled
@cases(100)  # each case collects the garbage of the whole process (utils.leaks)
@given(st.lists(damaged_json({"table": "main", "key": "k", "case": {"seed": 1}, "result": {"f1": 0.1}, "seconds": 1.0}).map(as_text)
                | st.binary(max_size=30), max_size=3))
def test_damaged_rows_of_an_unfinished_recording_are_made_again(here, monkeypatch, lines):
    plan = {"number": 1, "chapter": "3-code/01-a", "profile": "mini", "record": True, "tables": {"main": {"key": "k", "stale": []}}}
    (here.root / "plan.json").write_text(json.dumps(plan))
    monkeypatch.setenv(records.PLAN, str(here.root / "plan.json"))
    records.recorded_file(1).unlink(missing_ok=True)  # the test above leaves one
    file = records.partial_file(1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\n".join(lines) + b"\n")
    rows = records.Chapter(1, record=True).collect("main", lambda seed: {"f1": seed / 10}, [{"seed": 1}, {"seed": 2}])
    assert [row["seed"] for row in rows] == [1, 2] and all("seconds" in row for row in rows)


# --- notebooks and the table of contents --------------------------------------------------------------------------------


@scaled
@cases(1_000)
@given(st.data())
def test_a_damaged_notebook_is_used_or_refused_and_the_lint_says_why(book, chapter, tmp_path_factory, data):
    whole = json.loads(chapter.path.read_bytes())
    path = book.root / "chapters" / "_damaged" / "01-a.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data.draw(damaged_json(whole).map(as_text) | damaged_bytes(chapter.path.read_bytes())))
    try:
        cells = dependencies.code_cells(dependencies.read_notebook(path))
        trees = [dependencies.parse(cell.source) for cell in cells]
        assert isinstance(dependencies.helper_files(trees, book.root), dict)
        assert isinstance(dependencies.parameters(cells), dict)
    except RunError as error:
        assert "01-a" in str(error)
    assert all(len(finding) == 3 and all(isinstance(part, str) for part in finding) for finding in lint.check_file(path))


TOC = {"format": "jb-book", "root": "index", "parts": [{"caption": "代码", "chapters": [{"file": "3-code/01-a"}]}]}


@scaled
@cases(1_000)
@given(damaged_json(TOC).map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode())
       | damaged_bytes(yaml.safe_dump(TOC, allow_unicode=True).encode()))
def test_a_damaged_table_of_contents_is_used_or_refused(book, content):
    (book.root / "_toc.yml").write_bytes(content)
    (book.root / "chapters" / "index.md").write_text("# 书\n")
    try:
        assert all(isinstance(page, str) for page in stage.pages(book.root))
    except BookError as error:
        assert "_toc.yml" in str(error) and "\n" not in str(error)


# --- translations ------------------------------------------------------------------------------------------------------

CATALOGUE = gettext_files.compose(gettext_files.Catalogue(
    {"甲": gettext_files.Entry("甲", "one", ["cell"]), 'a "b"': gettext_files.Entry('a "b"', "\\theta\n", fuzzy=True)},
    {"旧": gettext_files.Entry("旧", "old")}), "en").encode()
po_lines = st.lists(st.sampled_from(CATALOGUE.decode().split("\n")) | st.text(max_size=8) | st.text(max_size=6).map('msgid "{}"'.format),
                    max_size=12).map("\n".join)


@scaled
@cases(1_000)
@given(damaged_bytes(CATALOGUE, most=6) | po_lines.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_damaged_catalogue_of_translations_is_read_or_refused(tmp_path, content):
    path = tmp_path / "page.po"
    path.write_bytes(content)
    try:
        found = catalogues.read(path)
    except RunError as error:
        assert "page.po" in str(error) and "\n" not in str(error)
    else:
        assert gettext_files.parse(gettext_files.compose(found, "en"), "again.po").translations() == found.translations()


# --- small tables --------------------------------------------------------------------------------------------------------


@scaled
@cases(1_000)
@given(damaged_json({"repository": "some/one", "gpu_runner": "x"}).map(as_text) | damaged_bytes(b'{"repository": "", "gpu_runner": ""}')
       | values.map(as_text))
def test_a_damaged_address_is_used_or_refused(book, content):
    file = book.root / address.FILE
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    try:
        found = address.read(book.root)
        assert all(isinstance(text, str) for text in (found.url, found.site, found.colab("index")))
    except BookError as error:
        assert "address.json" in str(error)
    finally:
        shutil.rmtree(file.parent)


PINS = {"some/model": {"revision": "a" * 40, "files": {"config.json": "b" * 40}, "source": "x"}}


@scaled
@cases(1_000)
@given(damaged_json(PINS).map(as_text) | damaged_bytes(as_text(PINS)))
def test_a_damaged_table_of_pins_is_used_or_refused(tmp_path, content):
    (tmp_path / "hub.json").write_bytes(content)
    try:
        found = profiles.pins(Path(tmp_path / "hub.json"))
        assert all(isinstance(pin.get("files", {}), dict) for pin in found.values())
    except BookError as error:
        assert "hub.json" in str(error)
