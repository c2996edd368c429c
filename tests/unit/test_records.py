"""Recorded runs: saved row by row, resumed after a kill, stale exactly when code or data behind them changed."""

import dataclasses
import json
import os
import random
import statistics
import types

import pytest

from tests.unit.tiny_book import TinyBook
from utils import profiles, records
from utils.book import recording, report, statements
from utils.book.chapters import find
from utils.book.dependencies import CodeCell
from utils.corpora import sources
from utils.errors import ConfigError, RunError

CASES = [{"seed": seed, "start": "shipped"} for seed in (1, 2, 3)]
SOURCES = (
    "from utils import alpha, figures, records",
    "book = records.Chapter(13, record=RECORD)\nscale = 0.1\nunrelated = 5\nsettings = {}",
    "for key, value in [('rate', 3)]:\n    settings[key] = value",
    "def helper(x):\n    return x * scale\n\ndef train(seed):\n    rows = seed + alpha.value() + settings['rate']\n    return {'f1': helper(rows)}",
    "rows = book.collect('main', train, cases=[{'seed': seed} for seed in (1, 2, 3)], band='f1', value='f1')",
    "figures.curves(rows, unrelated)",
)


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "ROOT", tmp_path)
    monkeypatch.delenv(records.PLAN, raising=False)
    return TinyBook(tmp_path)


@pytest.fixture
def recording_plan(book, monkeypatch):
    plan = {"number": 13, "chapter": "3-code/13-ner", "profile": "mini", "record": True, "only": None,
            "tables": {"main": {"key": "k", "stale": []}, "other": {"key": "k", "stale": []}}}
    path = book.root / "plan.json"

    def write(**changes):
        path.write_text(json.dumps({**plan, **changes}))
        monkeypatch.setenv(records.PLAN, str(path))

    write()
    return write


def write_record(book, **changes):
    entry = {"rows": [{"case": case, "result": {"f1": 0.5 + case["seed"] / 100}, "seconds": 60.0} for case in CASES],
             "bands": {"f1": {"low": 0.48, "high": 0.56}}, "profile": "mini", "parameters": {"PROFILE": "mini"},
             "seconds": 180.0, "date": "2026-11-01T12:00:00+00:00",
             "hardware": {"processor": "CPU X", "cores": 2, "device": "CPU"}, "code": {}, "cases": "", "data": {}}
    records.recorded_file(13).write_text(json.dumps({"chapter": 13, "tables": {"main": {**entry, **changes}}}))


# --- in the notebook --------------------------------------------------------------------------------------------------


def test_without_a_record_it_says_so_and_gives_no_rows(book, capsys):
    assert records.Chapter(13).collect("main", dict, CASES) == []
    assert "尚无记录" in capsys.readouterr().out


def test_recorded_rows_come_in_the_order_of_the_cases_and_missing_ones_are_counted(book, capsys):
    write_record(book)
    rows = records.Chapter(13).collect("main", dict, [CASES[2], {"seed": 9, "start": "shipped"}, CASES[0]])
    assert rows == [{"seed": 3, "start": "shipped", "f1": 0.53, "seconds": 60.0},
                    {"seed": 1, "start": "shipped", "f1": 0.51, "seconds": 60.0}]
    printed = capsys.readouterr().out
    assert "2026-11-01" in printed and "CPU X" in printed and "1 组尚无记录" in printed


def test_a_recording_goes_on_after_a_kill_and_repeats_no_finished_case(recording_plan):
    calls = []

    def train(seed, start):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt  # the process ends here
        return {"f1": seed / 10}

    with pytest.raises(KeyboardInterrupt):
        records.Chapter(13, record=True).collect("main", train, CASES)
    with records.partial_file(13).open("ab") as stream:
        stream.write(b'{"table": "main", "key": "k", "case": {"se')  # a line cut short by the kill
    rows = records.Chapter(13, record=True).collect("main", train, CASES)
    assert calls == [1, 2, 3, 3]
    assert [row["f1"] for row in rows] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("end", [{"complete": 3, "bands": {}}, {"complete": [{}], "bands": {}}, {"complete": ["x"]},
                                 {"complete": ["x"], "bands": 1}])
def test_a_damaged_end_of_a_table_is_no_end_and_a_sound_one_is(recording_plan, end):
    head = {"table": "main", "key": "k"}
    sound = {**head, "complete": [records.case_key(CASES[0])], "bands": {}}
    file = records.partial_file(13)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{json.dumps({**head, **end})}\n{json.dumps(sound)}\n", encoding="utf-8")
    assert records.read_partial(13) == [sound]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no binding to cores here")
def test_a_recording_that_is_bound_to_one_core_says_one(tmp_path):
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        assert recording.circumstances(tmp_path)["hardware"]["cores"] == 1
    finally:
        os.sched_setaffinity(0, usable)


def test_rows_of_edited_code_are_not_reused(recording_plan):
    calls = []

    def train(seed, start):
        calls.append(seed)
        return {"f1": 0.0}

    records.Chapter(13, record=True).collect("main", train, CASES[:1])
    recording_plan(tables={"main": {"key": "another", "stale": []}})
    records.Chapter(13, record=True).collect("main", train, CASES[:1])
    assert calls == [1, 1]


def test_only_the_named_table_is_recorded(recording_plan, capsys):
    recording_plan(only="other")
    assert records.Chapter(13, record=True).collect("main", dict, CASES) == []
    assert len(records.Chapter(13, record=True).collect("other", lambda **case: {"f1": 1}, CASES)) == 3


def test_numpy_results_become_plain_numbers(recording_plan):
    import numpy

    result = {"f1": numpy.float32(0.5), "counts": numpy.arange(3), "nested": {"x": (numpy.int64(1),)}}
    (row,) = records.Chapter(13, record=True).collect("main", lambda **case: result, CASES[:1])
    assert (row["f1"], row["counts"], row["nested"]) == (0.5, [0, 1, 2], {"x": [1]})


def test_misuse_is_named(book, recording_plan, monkeypatch):
    with pytest.raises(RunError, match="直接写成字符串"):
        records.Chapter(13, record=True).collect("unknown", dict, CASES)
    with pytest.raises(RunError, match="同名的列 seed"):
        records.Chapter(13, record=True).collect("main", lambda **case: case | {"f1": 1}, [{"seed": 1}])
    with pytest.raises(ConfigError, match="value="):
        records.Chapter(13).collect("main", dict, CASES, band="f1")
    with pytest.raises(RunError, match="编号"):
        records.Chapter(14)
    monkeypatch.delenv(records.PLAN)
    with pytest.raises(RunError, match="make record CHAPTER=13"):
        records.Chapter(13, record=True)
    records.recorded_file(13).write_text("{")
    with pytest.raises(RunError, match="13.json.*损坏"):
        records.Chapter(13)


def test_band_is_mean_plus_and_minus_margin_times_deviation_but_at_least_the_floor():
    values = [random.Random(1).random() for _ in range(5)]
    band = records.band_of(values, margin=3.0)
    mean = sum(values) / 5
    deviation = (sum((value - mean) ** 2 for value in values) / 4) ** 0.5
    assert band["low"] == pytest.approx(mean - 3 * deviation) and band["high"] == pytest.approx(mean + 3 * deviation)
    assert band["deviation"] == pytest.approx(statistics.stdev(values))
    assert records.band_of([0.5, 0.5], floor=0.02)["high"] == pytest.approx(0.52)
    assert records.band_of([0.5], floor=0.02)["low"] == pytest.approx(0.48)
    with pytest.raises(ConfigError):
        records.band_of([0.5])


def test_report_tells_whether_a_result_lies_in_the_band_of_its_profile(book, capsys):
    write_record(book)
    records.Chapter(13).report("f1", 0.5)
    records.Chapter(13).report("f1", 0.2)
    records.Chapter(13, profile="full").report("f1", 0.2)
    records.Chapter(13).report("f1", 0.2, own=["DATA_DIR"])
    inside, outside, other, own = capsys.readouterr().out.splitlines()
    assert own == "f1 = 0.2（改了 DATA_DIR，不比区间）"
    assert inside == "f1 = 0.5（记录区间 [0.48, 0.56]）"
    assert "超出记录区间" in outside and "尚无记录区间" in other
    with pytest.raises(RunError, match="不是有限的数"):
        records.Chapter(13).report("f1", float("nan"))


# --- stale or not -----------------------------------------------------------------------------------------------------


def recorded_now(book):
    """Record the notebook's table as it is, and return the chapter."""
    (chapter,) = find(["13"], book.root)
    table = recording.tables(chapter, book.root, {"PROFILE": "mini"})["main"]
    write_record(book, code=table.code, cases=table.cases, data=table.data)
    assert recording.stale(chapter, book.root) == []
    return chapter


@pytest.mark.parametrize(
    "cell, before, after, reason",
    [
        (3, "x * scale", "x * scale + 1", "notebook"),  # a function that the collected one calls
        (1, "scale = 0.1", "scale = 0.2", "notebook"),  # a global that this function reads
        (2, "= value", "= value + 1", "notebook"),  # a global changed in place
        (1, "settings = {}", "settings = {'rate': 0}", "notebook"),
        (4, "(1, 2, 3)", "(1, 2, 3, 4)", "实验列表"),
        (4, "'main'", "'renamed'", "已没有这张表"),
        (1, "unrelated = 5", "unrelated = 6", None),
        (1, "unrelated = 5", "unrelated = 5\nrows = 3", None),  # `rows` is local in the function
        (1, "unrelated = 5", "for seed in (7, 8):\n    unrelated = seed", None),  # `seed` is local in the list of cases
        (1, "unrelated = 5", "for key in (7, 8):\n    unrelated = key", None),  # the loop that changes `settings` binds its own
        (2, "('rate', 3)", "('rate', 4)", "notebook"),
        (3, "def train(seed):", "def train(seed):\n    '''说明'''\n    # 注释\n", None),
        (3, "return x * scale", "return (x * scale)", None),
        # What can only stop a run changes no result; what else such lines do, may.
        (3, "def train(seed):", "def train(seed):\n    if seed < 0 or not isinstance(seed, int):\n        raise ValueError(seed)\n", None),
        (3, "def train(seed):", "def train(seed):\n    if seed < 0:\n        raise ValueError\n    elif not seed:\n        raise TypeError\n", None),
        (3, "def train(seed):", "def train(seed):\n    import math\n    if math.isfinite(seed) is False:\n        raise ValueError\n", None),
        (3, "return x * scale", "try:\n        return x * scale\n    except TypeError as error:\n        raise ValueError from error", None),
        (3, "return x * scale", "try:\n        return x * scale\n    except TypeError:\n        return 0", "notebook"),
        (3, "return x * scale", "try:\n        return x * scale\n    finally:\n        settings['rate'] = 5", "notebook"),
        (3, "def train(seed):", "def train(seed):\n    if settings.pop('x', None):\n        raise ValueError\n", "notebook"),
        (3, "def train(seed):", "def train(seed):\n    if (seed := abs(seed)) > 9:\n        raise ValueError\n", "notebook"),
        (3, "def train(seed):", "def train(seed):\n    if seed < 0:\n        raise ValueError\n    else:\n        seed += 1\n", "notebook"),
        (4, "band='f1'", "margin=5.0, band='f1'", None),
        (5, "unrelated)", "unrelated, title='图')", None),  # a plot
        (0, "figures, records", "records, figures", "notebook"),  # the import line itself belongs to the code
    ],
)
def test_a_record_is_stale_exactly_when_the_code_behind_its_table_changed(book, cell, before, after, reason):
    book.notebook("13-ner", *SOURCES)
    chapter = recorded_now(book)
    assert before in SOURCES[cell]
    book.notebook("13-ner", *[source.replace(before, after) if i == cell else source for i, source in enumerate(SOURCES)])
    reasons = "\n".join(recording.stale(chapter, book.root))
    assert reason in reasons if reason else reasons == ""


def test_the_variables_of_comprehensions_are_nobodys_globals_under_every_python():
    """Since 3.12 `symtable` lists them among the names of the cell."""
    source = "rows = f([a + k for a in xs if a], {b: g(b) for b in ys}, {c for c in zs}, *(d for d in [e for e in ws]))"
    (found,) = statements.statements([CodeCell("cell", source, ())])
    assert found.defines == {"rows"} and found.uses == {"f", "g", "k", "xs", "ys", "zs", "ws"}


@pytest.mark.parametrize(
    "helper, text, fresh",
    [
        ("beta", "def double(x):\n    return 3 * x\n", False),
        ("beta", '"""Doubles."""\n# twice\ndef double(x):\n    """Twice x."""\n    return (2 * x)\n', True),
        ("beta", "from .errors import DataError\ndef double(x):\n    if len(str(x)) > 9:\n        raise DataError\n    return 2 * x\n", True),
        ("beta", "from .other import DataError\ndef double(x):\n    return 2 * x\n", False),
        ("figures", "STYLE = 2\n", True),
        ("gamma", "", True),
    ],
)
def test_a_record_follows_the_helpers_that_its_function_rests_on_but_not_the_figures(book, helper, text, fresh):
    book.notebook("13-ner", *SOURCES)
    chapter = recorded_now(book)
    book.helper(helper, text)
    reasons = recording.stale(chapter, book.root)
    assert reasons == [] if fresh else reasons == [f"main：代码已改：utils/{helper}.py"]


@pytest.mark.parametrize("imports", ["from utils import concept_maps", "from utils.concept_maps import rules as concept_maps"])
def test_a_record_does_not_follow_what_a_concept_map_says(book, imports):
    (book.root / "utils" / "concept_maps").mkdir()
    book.helper("concept_maps/__init__", "from . import rules\n")
    book.helper("concept_maps/rules", "RULES = 1\n")
    book.notebook("13-ner", imports, *SOURCES)
    chapter = recorded_now(book)
    book.helper("concept_maps/rules", "RULES = 2\n")
    assert recording.stale(chapter, book.root) == []
    code = recording.tables(chapter, book.root, {})["main"].code
    assert [name for name in code if "concept_maps" in name] == []


def test_prose_and_the_record_switch_make_nothing_stale_but_a_used_parameter_does(book):
    used = tuple(source.replace("scale = 0.1", "scale = len(PROFILE)") for source in SOURCES)
    book.notebook("13-ner", *used)
    chapter = recorded_now(book)
    book.notebook("13-ner", *used, prose="新的", parameters='PROFILE = "mini"\nRECORD = True')
    assert recording.stale(chapter, book.root) == []
    write_record(book, **{**json.loads(records.recorded_file(13).read_text())["tables"]["main"],
                          "parameters": {"PROFILE": "full"}})
    assert recording.stale(chapter, book.root) == ["main：代码已改：notebook"]


@pytest.mark.parametrize("change, fresh", [({"batch_tokens": 1}, True), ({"epochs": 99}, False)])
def test_of_the_profile_only_the_values_that_the_code_reads_count(book, monkeypatch, change, fresh):
    used = (*SOURCES[:3], SOURCES[3].replace("seed +", "seed + profile.epochs +"), *SOURCES[4:],
            "from utils import profiles\nprofile = profiles.get(PROFILE)\nprint(profile.batch_tokens)")
    book.notebook("13-ner", *used)
    chapter = recorded_now(book)
    path = book.root / "utils" / "profiles.py"
    path.write_text(path.read_text() + "\nNEW_MODEL = 1\n")
    monkeypatch.setitem(profiles.PROFILES, "mini", dataclasses.replace(profiles.PROFILES["mini"], **change))
    assert recording.stale(chapter, book.root) == ([] if fresh else ["main：代码已改：profile"])


def test_changed_data_make_a_record_stale(book, monkeypatch):
    data = book.corpora()
    monkeypatch.setattr(sources, "package_folder", lambda: book.root)
    monkeypatch.setattr(sources, "source", lambda name: types.SimpleNamespace(files=("data.txt",)))
    monkeypatch.setattr(sources, "fingerprint", lambda name: data.read_text())
    book.notebook("13-ner", "from utils import corpora", *(source.replace("alpha.value()", "corpora.x") for source in SOURCES))
    chapter = recorded_now(book)
    data.write_text("two")
    assert recording.stale(chapter, book.root) == ["main：数据已改：people_daily、reviews"]


def test_all_chapters_with_stale_or_missing_records_are_listed(book):
    book.notebook("13-ner", *SOURCES)
    book.notebook("14-other", "x = 1")
    assert recording.stale_all(book.root) == {"3-code/13-ner": ["main：尚无记录"]}
    recorded_now(book)
    assert recording.stale_all(book.root) == {}


def test_what_must_be_recorded_again_is_what_is_missing_or_stale_in_the_notebooks_order(book):
    later = "rows = book.collect('later', train, cases=[{'seed': 1}])"
    book.notebook("13-ner", *SOURCES, later, later.replace("later", "last"))
    chapter = find(["13"], book.root)[0]
    assert recording.to_renew(chapter, book.root) == ["main", "later", "last"]
    table = recording.tables(chapter, book.root, {"PROFILE": "mini"})["main"]
    write_record(book, code=table.code, cases=table.cases, data=table.data)
    assert recording.to_renew(chapter, book.root) == ["later", "last"]
    book.notebook("13-ner", *SOURCES[:4], SOURCES[5])  # a record without a table in the notebook cannot be made
    assert recording.to_renew(chapter, book.root) == []


def test_a_table_collected_twice_is_an_error(book):
    book.notebook("13-ner", *SOURCES, SOURCES[4])
    with pytest.raises(RunError, match="两处"):
        recording.tables(find(["13"], book.root)[0], book.root, {})


def test_the_list_says_on_what_a_table_rests_whose_code_has_changed_since(book):
    book.notebook("13-ner", *SOURCES)
    chapter = recorded_now(book)
    file = records.recorded_file(13)
    content = json.loads(file.read_text(encoding="utf-8"))
    for addition, shown in (({}, "有效"), ({"compared": {"date": "2026-11-28", "chapters": 27}}, "有效（2026-11-28 新旧代码各执行 27 本笔记本，打印的结果逐位相同）")):
        content["tables"]["main"] |= addition
        file.write_text(json.dumps(content), encoding="utf-8")
        assert report.record_list([chapter], {chapter.id: {"main": []}}).rstrip().endswith(shown)
    content["tables"]["main"]["compared"] = {"date": 3, "chapters": 27}
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match="compared"):
        records.read_recorded(13)
