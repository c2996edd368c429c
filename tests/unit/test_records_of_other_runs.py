"""Rows recorded with other parameters are not taken for this run's, and one line says so."""

import ast
import json

import pytest

from tests.unit.tiny_book import TinyBook
from utils import profiles, records
from utils.book import dependencies, recording
from utils.book.chapters import find

REPOSITORY = profiles.ROOT
CASES = [{"seed": seed} for seed in (1, 2)]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the record of a chapter, in an empty book: tables by name, with what differs from the usual."""
    monkeypatch.setattr(profiles, "ROOT", tmp_path)
    monkeypatch.delenv(records.PLAN, raising=False)
    TinyBook(tmp_path)

    def write(number, *names, **changes):
        table = {"rows": [{"case": case, "result": {"f1": 0.5}, "seconds": 2.0} for case in CASES],
                 "bands": {"f1": {"low": 0.4, "high": 0.6}}, "profile": "mini", "parameters": {"PROFILE": "mini"}, "seconds": 4.0,
                 "date": "2026-11-01T12:00:00+00:00", "hardware": {"processor": "CPU X", "cores": 2, "device": "CPU"},
                 "code": {"notebook": "a"}, "cases": "", "data": {}, **changes}
        records.recorded_file(number).write_text(json.dumps({"chapter": number, "tables": dict.fromkeys(names, table)}))

    return write


def chapter_in(number, **given):
    """The chapter as a notebook makes it: `given` are the notebook's global names."""
    namespace = {"records": records, "__builtins__": __builtins__, **given}
    exec(f"book = records.Chapter({number})", namespace)
    return namespace["book"]


def rows_and_lines(book, name, capsys):
    return len(book.collect(name, dict, CASES)), capsys.readouterr().out.splitlines()


def test_rows_of_another_profile_stay_and_name_it(write, capsys):
    """What publication shows beside its own run; the line says of which profile it is."""
    write(13, "main")
    count, (line,) = rows_and_lines(chapter_in(13, PROFILE="full"), "main", capsys)
    assert count == 2 and "档位 mini" in line


def test_the_notebooks_profile_is_the_runs_also_where_no_runner_tells(write, capsys):
    write(13, "main")
    chapter_in(13, PROFILE="full").report("f1", 0.5)
    chapter_in(13, PROFILE="mini").report("f1", 0.5)
    chapter_in(13).report("f1", 0.5)
    full, mini, unsaid = capsys.readouterr().out.splitlines()
    assert "尚无记录区间" in full and mini == unsaid == "f1 = 0.5（记录区间 [0.4, 0.6]）"


def test_another_order_of_tasks_has_no_use_for_the_rows_of_the_books_order(write, capsys):
    write(8, "domain", "entity-rates")
    other = {"ORDER": "pc,book,hotel", "TYPES": "PER,LOC,ORG"}
    count, (line,) = rows_and_lines(chapter_in(8, **other), "domain", capsys)
    assert count == 0 and all(part in line for part in ("domain", "ORDER", "'hotel,book,pc'", "'pc,book,hotel'"))
    assert rows_and_lines(chapter_in(8, **other), "entity-rates", capsys)[0] == 2  # rests on the types, not on this order
    assert rows_and_lines(chapter_in(8, TYPES="LOC,PER"), "entity-rates", capsys)[0] == 0
    for usual in ({}, {"ORDER": "hotel,book,pc", "TYPES": "PER,LOC,ORG"}):
        assert rows_and_lines(chapter_in(8, **usual), "domain", capsys)[0] == 2


def test_every_difference_is_named_in_the_one_line(write, capsys):
    write(15, "rates", "baselines")
    given = {"SIZE": 100, "EPOCHS": 5}
    count, (line,) = rows_and_lines(chapter_in(15, **given), "rates", capsys)
    assert count == 0 and all(f"{name} 是" in line for name in given)
    count, (line,) = rows_and_lines(chapter_in(15, **given), "baselines", capsys)
    assert count == 2, "its cases name the size"


def test_a_record_made_with_another_value_fits_the_run_with_that_value_and_no_other(write, capsys):
    write(15, "rates", parameters={"PROFILE": "mini", "SIZE": 500})
    assert rows_and_lines(chapter_in(15, SIZE=500), "rates", capsys)[0] == 2
    assert rows_and_lines(chapter_in(15, SIZE=200), "rates", capsys)[0] == 0


def test_a_parameter_changed_after_the_first_cells_counts_when_a_table_is_shown(write, capsys):
    write(6, "live")
    namespace = {"records": records, "LIVE_SIZE": 200}
    exec("book = records.Chapter(6)", namespace)
    assert len(namespace["book"].collect("live", dict, CASES)) == 2
    exec("LIVE_SIZE = 50", namespace)
    assert namespace["book"].collect("live", dict, CASES) == []


def test_the_band_stays_for_a_run_with_another_number(write, capsys):
    """A wrong value shall be noticed, so numbers do not lift the band: see `overrides.replaced_texts`."""
    write(6, "live")
    chapter_in(6, LIVE_SIZE=50).report("f1", 0.1)
    assert "超出记录区间" in capsys.readouterr().out


@pytest.mark.parametrize("number", records.UNNAMED)
def test_the_values_of_the_book_and_the_tables_are_those_of_the_chapter(number):
    (chapter,) = find([f"{number:02d}"], REPOSITORY)
    defaults = dependencies.parameters(dependencies.code_cells(dependencies.read_notebook(chapter.path)))
    names = recording.tables(chapter, REPOSITORY, {})
    for parameter, (usual, tables) in records.UNNAMED[number].items():
        assert ast.literal_eval(defaults[parameter]) == usual
        assert all(any(name.startswith(begin) for name in names) for begin in tables)


@pytest.mark.parametrize("number", records.UNNAMED)
def test_a_run_of_the_book_as_it_is_uses_every_row(number, capsys):
    """Against the real records: the defaults of the parameters cell, which is what the runner leaves."""
    (chapter,) = find([f"{number:02d}"], REPOSITORY)
    defaults = dependencies.parameters(dependencies.code_cells(dependencies.read_notebook(chapter.path)))
    book = chapter_in(number, **{name: ast.literal_eval(value) for name, value in defaults.items()})
    for name, table in records.read_recorded(number).items():
        assert len(book.collect(name, dict, [row["case"] for row in table["rows"]])) == len(table["rows"])
    assert "当作尚无记录" not in capsys.readouterr().out
