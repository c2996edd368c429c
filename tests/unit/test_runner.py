"""The runner, with real kernels on tiny notebooks: failures, limits, kills, forks, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.unit.tiny_book import LIGHT_PRELOAD, TinyBook
from utils import profiles, records
from utils.book import kernels, overrides, report, runner, spot_check
from utils.book.chapters import find
from utils.errors import ConfigError, RunError

linux = pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "ROOT", tmp_path)
    monkeypatch.setattr(kernels, "PRELOADED", LIGHT_PRELOAD)
    return TinyBook(tmp_path)


def run(book, *names, **settings):
    return {result.chapter.split("/")[1]: result
            for result in runner.run(names, runner.Settings(root=book.root, **settings), say=lambda line: None)}


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().split(")")[-1].split()[0] != "Z"


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_failing_chapter_is_named_with_its_cell_and_the_others_go_on(book):
    book.notebook("01-good", "from utils import alpha\nprint(alpha.value())")
    book.notebook("02-bad", "x = 1", "from utils.errors import DataError\nraise DataError('第 3 行\\n没有标签')", "y = 2")
    book.notebook("03-exit", "import sys\nsys.exit()", "y = 2")
    book.notebook("04-dies", "x = 1", "import os\nos._exit(3)", "y = 2")
    results = run(book)
    assert {name: result.status for name, result in results.items()} == {
        "01-good": "ok", "02-bad": "failed", "03-exit": "failed", "04-dies": "failed"}
    assert results["02-bad"].error == "3-code/02-bad 第 5 个单元格（id=cell-2）：DataError: 第 3 行 没有标签"
    assert "raise DataError" in results["02-bad"].log.read_text()
    assert "第 5 个单元格（id=cell-2）：没有执行到" in results["03-exit"].error
    assert "第 5 个单元格（id=cell-2）：内核意外退出" in results["04-dies"].error
    cells = json.loads(results["01-good"].executed.read_text())["cells"]
    assert cells[-1]["outputs"][0]["text"] in (["42\n"], "42\n")
    assert results["02-bad"].executed is None and not report.succeeded(list(results.values()))
    assert "id=cell-2" in report.summary(list(results.values()))
    assert run(book, "1")["01-good"].status == "cached"

    # what failed is no success of the next run either, and a damaged entry is executed again
    results["01-good"].executed.write_text("{")
    book.notebook("02-bad", "x = 1")
    again = run(book, "1", "2", "4")
    assert [again[name].status for name in ("01-good", "02-bad", "04-dies")] == ["ok", "ok", "failed"]


def test_editing_a_helper_reruns_exactly_its_importers_and_editing_prose_nothing(book):
    book.notebook("01-a", "from utils import alpha")
    book.notebook("02-b", "from utils import gamma")
    run(book)
    book.notebook("02-b", "from utils import gamma", prose="新的正文")
    assert [result.status for result in run(book).values()] == ["cached", "cached"]
    book.helper("beta", "def double(x):\n    return 4 * x\n")
    assert [result.status for result in run(book).values()] == ["ok", "cached"]
    assert [result.status for result in run(book, "2", force=True).values()] == ["ok"]


@linux
def test_a_notebook_beyond_its_time_is_killed_with_all_that_it_started(book):
    pids = book.root / "pids"
    book.notebook("01-slow", "x = 1", "import os, subprocess, pathlib, time\n"
                  "child = subprocess.Popen(['sleep', '300'])\n"
                  f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
                  "time.sleep(300)")
    started = time.monotonic()
    result = run(book, timeout=6)["01-slow"]
    assert time.monotonic() - started < 40
    assert "id=cell-2" in result.error and "时限 6 秒" in result.error
    for pid in map(int, pids.read_text().split()):
        assert wait_for(lambda pid=pid: not alive(pid)), f"process {pid} outlived its notebook"


@linux
def test_forked_kernels_are_separate_quiet_repeatable_and_already_hold_the_imports(book):
    probe = ("import json, os, sys\n"
             "print(json.dumps({'pid': os.getpid(), 'cwd': os.getcwd(), 'hash': hash('汉字'),"
             " 'preloaded': 'decimal' in sys.modules, 'left': globals().get('left'),"
             " 'book': [m for m in sys.modules if m.startswith('utils.book')],"
             " 'path': [p for p in sys.path if p.endswith('book')]}))\nleft = 1")
    book.notebook("01-a", probe, "import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    book.notebook("02-b", probe)
    results = run(book)
    seen = []
    for result in results.values():
        cells = {cell["id"]: cell for cell in json.loads(result.executed.read_text())["cells"]}
        seen.append(json.loads("".join(cells["cell-1"]["outputs"][0]["text"])))
        assert result.peak_memory_mb > 10
    assert seen[0]["pid"] != seen[1]["pid"] and seen[0]["hash"] == seen[1]["hash"]
    for values in seen:
        assert values["preloaded"] and values["left"] is None and values["book"] == [] and values["path"] == []
        assert values["cwd"] == str(book.root / "chapters" / "3-code")
    figure = json.loads(results["01-a"].executed.read_text())["cells"][-1]["outputs"]
    assert any("image/png" in output.get("data", {}) for output in figure)


def test_ordinary_kernels_do_where_there_is_no_fork(book, monkeypatch):
    monkeypatch.setattr(kernels, "CAN_FORK", False)
    book.notebook("01-a", "from utils import alpha\nprint(alpha.value(), PROFILE)")
    book.notebook("02-slow", "import time\ntime.sleep(300)")
    results = run(book, timeout=10)
    assert results["01-a"].status == "ok" and "时限" in results["02-slow"].error


def test_parameters_reach_the_notebook_and_unknown_ones_are_refused(book):
    book.notebook("01-a", "print(PROFILE, SIZE)", parameters='PROFILE = "mini"\nSIZE = 1')
    result = run(book, overrides=(overrides.parse_override("SIZE=[1, 'x']"),), profile="full")["01-a"]
    assert "full [1, 'x']" in result.executed.read_text()
    with pytest.raises(ConfigError, match="没有参数 'LENGTH'；可选：SIZE"):
        run(book, overrides=(("LENGTH", 1),))
    with pytest.raises(ConfigError, match="tiny"):
        run(book, profile="tiny")
    for text in ("SIZE", "PROFILE=full", "RECORD=True"):
        with pytest.raises(ConfigError):
            overrides.parse_override(text)


def test_own_data_are_held_to_no_band_a_switch_is_and_a_relative_path_starts_where_the_command_does(book, monkeypatch, tmp_path_factory):
    table = {"rows": [], "bands": {"f1": {"low": 0.4, "high": 0.6}}, "profile": "mini", "parameters": {}, "seconds": 1.0,
             "date": "2026-11-24", "hardware": {"processor": "x", "cores": 2}, "code": {}, "cases": "", "data": {}}
    (book.root / "chapters" / "_recorded" / "01.json").write_text(json.dumps({"chapter": 1, "tables": {"main": table}}))
    book.notebook("01-a", "import pathlib\nfrom utils import records\nbook = records.Chapter(1)",
                  "value = 0.5\nif SHUFFLE:\n    value = 0.1\nif DATA_DIR:\n    value = float((pathlib.Path(DATA_DIR) / 'v').read_text())",
                  "book.report('f1', value)",
                  parameters='PROFILE = "mini"\nDATASET = "one"\nDATA_DIR = ""\nSHUFFLE = False')
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    for name in ("own", "one"):  # a folder named as a data set does not take its place
        (here / name).mkdir()
    (here / "own" / "v").write_text("0.9")

    def outcome(*texts):
        result = run(book, overrides=tuple(map(overrides.parse_override, texts)))["01-a"]
        return result.results["f1"]["value"], report.succeeded([result]), report.summary([result]), result

    value, good, summary, result = outcome("DATA_DIR=own")
    assert (value, good) == (0.9, True) and "改了 DATA_DIR，不比区间" in summary and "超出" not in summary
    assert "改了 DATA_DIR，不比区间" in result.executed.read_text() and "超出" not in result.executed.read_text()
    assert result.versions["python"] and result.hardware["cores"]
    assert outcome("DATA_DIR=own")[3].status == "cached" and "不比区间" in outcome("DATA_DIR=own")[2]
    (here / "own" / "v").write_text("0.8")
    assert outcome("DATA_DIR=own")[:2] == (0.8, True)
    assert outcome("SHUFFLE=True")[:2] == (0.1, False)
    value, good, summary, _ = outcome("DATASET=one")
    assert good and "在区间内" in summary


@linux
def test_packages_that_cannot_be_imported_are_named_once_in_one_line(book, monkeypatch):
    monkeypatch.setattr(kernels, "PRELOADED", (*LIGHT_PRELOAD, "no_such_package.a", "no_such_package.b"))
    book.notebook("01-a", "x = 1")
    with pytest.raises(RunError, match="不能导入 no_such_package（详见 .*zygote.log）；请运行 make doctor"):
        run(book)
    assert "No module named 'no_such_package'" in (book.root / "_build" / "runs" / "zygote.log").read_text()


@linux
def test_the_end_of_the_preloading_process_is_told_with_its_log(book, monkeypatch):
    (book.root / "dies.py").write_text("import os\nprint('why', file=__import__('sys').stderr, flush=True)\nos._exit(4)\n")
    monkeypatch.setenv("PYTHONPATH", str(book.root))
    monkeypatch.setattr(kernels, "PRELOADED", ("dies",))
    book.notebook("01-a", "x = 1")
    with pytest.raises(RunError, match="退出码 4）（详见 .*zygote.log）；请运行 make doctor"):
        run(book)
    assert "why" in (book.root / "_build" / "runs" / "zygote.log").read_text()


def test_an_input_edited_during_the_run_is_not_cached_as_if_it_had_been_there(book):
    helper = book.root / "utils" / "alpha.py"
    book.notebook("01-a", f"import pathlib\nfrom utils import alpha\npathlib.Path({str(helper)!r}).write_text('x = 1')")
    original = helper.read_text()
    assert run(book)["01-a"].executed.is_file()
    helper.write_text(original)
    assert run(book)["01-a"].status == "ok"


# --- the command line -------------------------------------------------------------------------------------------------


def command(book, *arguments):
    return subprocess.run([sys.executable, "-m", "utils.book", *arguments], cwd=book.root, capture_output=True, text=True)


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_killed_at_once_leaves_no_kernel_and_loses_nothing_done(book, number):
    book.add_command_line()
    pid_file = book.root / "pid"
    book.notebook("01-done", "x = 1")
    book.notebook("02-hangs", f"import os, pathlib, time\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
                  f"if not pathlib.Path({str(book.root / 'go')!r}).exists(): time.sleep(300)")
    running = subprocess.Popen([sys.executable, "-m", "utils.book", "run", "--jobs", "1"], cwd=book.root,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               # A background job of a shell inherits an ignored SIGINT; the run must be interruptible here.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert wait_for(lambda: pid_file.exists() and pid_file.read_text())
    running.send_signal(number)
    assert running.wait(20) == (130 if number == signal.SIGINT else -number)
    kernel = int(pid_file.read_text())
    assert wait_for(lambda: not alive(kernel), 10), "the kernel outlived the run"
    (book.root / "go").touch()
    again = command(book, "run")
    assert again.returncode == 0, again.stderr
    assert "缓存 3-code/01-done" in again.stdout and "完成 3-code/02-hangs" in again.stdout


def test_a_run_from_the_cache_imports_nothing_heavy(book):
    book.add_command_line()
    book.notebook("01-a", "x = 1")
    assert command(book, "run").returncode == 0
    program = ("import sys\nfrom utils.book.__main__ import main\nassert main(['run']) == 0\n"
               "print([name for name in ('papermill', 'jupyter_client', 'tensorflow', 'numpy', 'nbformat') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], cwd=book.root, capture_output=True, text=True)
    assert "缓存" in done.stdout and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_records_are_made_resumed_shown_and_hold_the_live_result_to_their_band(book):
    book.add_command_line()
    source = ("from utils import records\nbook = records.Chapter(1, record=RECORD)\nimport pathlib",
              "def train(seed):\n    pathlib.Path('calls').open('a').write(str(seed))\n"
              "    if seed == 3 and not pathlib.Path('fixed').exists():\n        raise ValueError('no')\n"
              "    return {'f1': 0.5 + seed / 100}",
              "book.collect('main', train, cases=[{'seed': s} for s in (1, 2, 3)], band='f1', value='f1', margin=1.0)",
              "book.collect('other', lambda: {'x': 1}, cases=[{}])")
    book.notebook("01-a", *source, "book.report('f1', train(2)['f1'])")
    calls = book.root / "chapters" / "3-code" / "calls"

    failed = command(book, "record", "1")
    assert failed.returncode == 1 and "ValueError: no" in failed.stderr and "Traceback" not in failed.stderr
    assert not (book.root / "chapters" / "_recorded" / "01.json").exists()
    (calls.parent / "fixed").touch()
    done = command(book, "record", "a")
    assert done.returncode == 0, done.stderr
    assert calls.read_text() == "123" + "32"  # two rows kept, one made, and the live run
    recorded = json.loads((book.root / "chapters" / "_recorded" / "01.json").read_text())["tables"]
    assert [row["result"]["f1"] for row in recorded["main"]["rows"]] == [0.51, 0.52, 0.53]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert recorded["main"]["hardware"]["cores"] == usable and recorded["main"]["versions"]["python"]
    assert "有效" in command(book, "records", "--strict").stdout

    inside = command(book, "run")
    assert inside.returncode == 0 and "在区间内" in inside.stdout, inside.stdout
    book.notebook("01-a", *source, "book.report('f1', train(9)['f1'])")
    outside = command(book, "run")
    assert outside.returncode == 1 and "超出区间 3-code/01-a" in outside.stdout

    book.notebook("01-a", *(cell.replace("'x': 1", "'x': 2").replace("0.5 +", "0.6 +") for cell in source))
    only = command(book, "record", "1", "--only", "other")
    assert only.returncode == 0, only.stderr
    assert "注意：main：代码已改：notebook" in only.stdout
    again = json.loads((book.root / "chapters" / "_recorded" / "01.json").read_text())["tables"]
    assert again["other"]["rows"][0]["result"] == {"x": 2} and again["main"] == recorded["main"]
    listed = command(book, "records", "--strict")
    assert listed.returncode == 1 and "代码已改：notebook" in listed.stdout
    assert "没有名为 'nothing' 的表；可选：main、other" in command(book, "record", "1", "--only", "nothing").stderr


def test_a_longer_list_of_cases_keeps_the_rows_that_the_record_has_and_an_edited_function_keeps_none(book):
    book.add_command_line()
    source = ("from utils import records\nbook = records.Chapter(1, record=RECORD)\nimport pathlib\nseeds = (1, 2)",
              "def train(seed):\n    pathlib.Path('calls').open('a').write(str(seed))\n    return {'f1': seed / 10}",
              "book.collect('main', train, cases=[{'seed': s} for s in seeds])")
    file, calls = book.root / "chapters" / "_recorded" / "01.json", book.root / "chapters" / "3-code" / "calls"

    def record(*cells):
        book.notebook("01-a", *cells)
        calls.write_text("")
        done = command(book, "record", "1")
        assert done.returncode == 0, done.stderr
        return calls.read_text(), json.loads(file.read_text())["tables"]["main"], done.stdout

    computed, first, _ = record(*source)
    assert computed == "12"
    computed, longer, printed = record(source[0].replace("(1, 2)", "(2, 3, 1)"), *source[1:])
    assert computed == "3" and "已有的行不再重做" in printed
    assert [row["case"]["seed"] for row in longer["rows"]] == [2, 3, 1] and longer["rows"][0] == first["rows"][1]
    computed, shorter, _ = record(source[0].replace("(1, 2)", "(3,)"), *source[1:])
    assert computed == "" and shorter["rows"] == longer["rows"][1:2] and shorter["date"] == longer["date"]
    assert record(source[0].replace("(1, 2)", "(3,)"), *source[1:])[0] == "3"  # it holds: who records it anew computes it
    assert record(source[0], source[1].replace("/ 10", "/ 20"), source[2])[0] == "12"


def test_a_spot_check_keeps_a_record_whose_rows_come_out_the_same_and_only_then(book):
    book.add_command_line()
    source = ("from utils import records\nbook = records.Chapter(1, record=RECORD)\nimport pathlib",
              "def train(method, seed):\n    pathlib.Path('calls').open('a').write(method + str(seed))\n"
              "    return {'f1': seed / 10, 'step_seconds': 1.0}",
              "book.collect('main', train, cases=[{'method': m, 'seed': s} for m in 'ab' for s in (1, 2)], band='f1', value='f1')",
              "book.collect('cost', lambda: {'step_seconds': 1}, cases=[{}])")
    file, calls = book.root / "chapters" / "_recorded" / "01.json", book.root / "chapters" / "3-code" / "calls"

    def record(*options, **changes):
        code = source[1]
        for old, new in changes.get("changes", {}).items():
            code = code.replace(old, new)
        book.notebook("01-a", source[0], code, *(cell.replace("'ab'", repr(changes.get("methods", "ab"))) for cell in source[2:]))
        calls.write_text("")
        return command(book, "record", "1", *options), calls.read_text()

    assert record()[1] == "a1a2b1b2"
    before = json.loads(file.read_text())["tables"]
    nothing, computed = record("--check")
    assert nothing.returncode == 1 and "没有可以抽查的表" in nothing.stderr and computed == ""
    row = lambda seconds, **case: {"case": case, "seconds": seconds}
    assert spot_check.sample({"x": [row(3, method="a", seed=1), row(2, method="a", seed=2)],
                              "y": [row(5, method="a"), row(9, method="b")]}) == {
        "x": ['{"method": "a", "seed": 2}'], "y": ['{"method": "a"}', '{"method": "b"}']}

    other, computed = record("--check", changes={"seed / 10": "seed / 5"})
    assert other.returncode == 1 and other.stderr.count("\n") == 1 and len(computed) == 4
    assert "抽查不符：表 main" in other.stderr and "f1：记录里是 0." in other.stderr and "重算得 0." in other.stderr
    assert json.loads(file.read_text())["tables"] == before

    same, computed = record("--check", changes={"seed / 10": "seed * 1 / 10", "'step_seconds': 1.0": "'step_seconds': 2.0"})
    assert same.returncode == 0, same.stderr
    assert sorted(computed[::2]) == ["a", "b"], "a row of each method, no more"
    after = json.loads(file.read_text())["tables"]
    assert after["main"]["rows"] == before["main"]["rows"] and after["main"]["bands"] == before["main"]["bands"]
    assert after["main"]["checked"]["rows"] == 2 and after["main"]["date"] == before["main"]["date"]
    assert after["cost"] == before["cost"]
    assert "抽查 2/4 行" in command(book, "records", "--strict").stdout
    assert command(book, "run").returncode == 0
    assert any("重算了其中 2 行" in path.read_text() for path in (book.root / "_build").rglob("*.ipynb"))

    longer, computed = record("--check", changes={"seed / 10": "1 * seed / 10"}, methods="abc")
    assert longer.returncode == 1 and "实验列表已改" in longer.stderr
    assert "checked" not in (record(changes={"seed / 10": "1 * seed / 10"}), json.loads(file.read_text())["tables"]["main"])[1]


def test_an_error_of_the_book_is_one_line_and_exit_code_1(book):
    book.add_command_line()
    book.notebook("01-a", "x = 1")
    for arguments in (["run", "99"], ["run", "--profile", "tiny"], ["record", "1"], ["run", "-p", "x"]):
        done = command(book, *arguments)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("错误：") and done.stderr.count("\n") == 1


def test_clean_removes_what_was_built_but_keeps_unfinished_recordings(book):
    book.add_command_line()
    for name in ("html", "records"):
        (book.root / "_build" / name).mkdir(parents=True)
        (book.root / "_build" / name / "file").touch()
    assert command(book, "clean").returncode == 0
    assert [path.name for path in (book.root / "_build").iterdir()] == ["records"]
    assert command(book, "clean", "--all").returncode == 0
    assert list((book.root / "_build").iterdir()) == []


def test_recording_needs_a_number_and_the_record_parameter(book):
    book.notebook("index", "x = 1")
    with pytest.raises(RunError, match="不能记录"):
        runner.record(find(["index"], book.root)[0], runner.Settings(root=book.root))
    assert records.recorded_file(4).name == "04.json"
