"""Kill -9 at random moments: nothing is lost but what came after the last saved step, and the end is the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.soak import SOAK, rounds, scaled
from tests.unit.tiny_book import TinyBook
from utils.book import cache, kernels
from utils.book.chapters import find

PROGRAM = Path(__file__).with_name("training_run.py")
FACTS = ("weights", "logits", "losses", "evaluations", "best_step")  # of a result; `start` differs
linux = pytest.mark.skipif(not kernels.CAN_FORK, reason="processes are forked on Linux only")


def training(folder, mode, *arguments, **environment):
    """The lines that `training_run.py` prints."""
    done = subprocess.run([sys.executable, str(PROGRAM), mode, str(folder), *arguments], capture_output=True, text=True,
                          env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def facts(run):
    assert run["error"] is None, run["error"]
    return {name: run["result"][name] for name in FACTS}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What became of a training that was killed again and again."""
    if not kernels.CAN_FORK:
        pytest.skip("processes are forked on Linux only")
    return training(tmp_path_factory.mktemp("training"), "kill", "--count", str(rounds(30)), "--seed", "3")


@scaled
def test_a_killed_training_loses_nothing_saved_and_ends_bit_by_bit_as_one_that_was_not(killed):
    whole, runs = facts(killed[0]), [run for run in killed[1:] if run["kind"] in ("killed", "finished")]
    kills = [run for run in runs if run["kind"] == "killed"]
    assert len(kills) == rounds(30)
    assert any(0 < run["on_disk"] < len(whole["losses"]) for run in kills), "no kill fell between two saves"
    for run in kills:  # whole (or reading it had failed), and not older than the last save that was reported
        assert run["on_disk"] >= max(run["saved"], default=0)
    finished = [run for run in runs if run["kind"] == "finished"]
    assert finished and all(facts(run) == whole for run in finished)


@scaled
def test_a_run_after_a_kill_starts_at_the_step_that_was_on_disk(killed):
    runs = [run for run in killed if run["kind"] in ("killed", "finished")]
    for before, after in zip(runs, runs[1:]):
        if before["kind"] == "killed" and after["result"]:
            assert after["result"]["start"] == before["on_disk"]


def test_a_training_that_finds_no_room_for_its_state_keeps_the_one_before_and_goes_on_later(killed):
    (place,) = [index for index, run in enumerate(killed) if run["kind"] == "full"]
    starved, later = killed[place], killed[place + 1]
    assert starved["result"] is None and starved["error"] and "\n" not in starved["error"]
    assert starved["on_disk"] == starved["before"]
    assert facts(later) == facts(killed[0])


def test_a_training_that_finds_no_room_says_so_in_chinese_and_leaves_nothing_half_written(killed):
    (starved,) = [run for run in killed if run["kind"] == "full"]
    assert starved["error"].startswith("RunError: ") and starved["left"] in ([], ["state.npz"])


@scaled
def test_two_processes_give_the_same_results_to_the_last_digit(killed, tmp_path):
    """Another seed of hashes and no home change nothing. Under `make soak` also with an encoder of the shipped one's size."""
    other = {"PYTHONHASHSEED": "7", "HOME": "/dev/null/nowhere"}
    pairs = [(killed[0], training(tmp_path / "other", "whole", **other)[0])]
    if SOAK:
        size = ["--width", "256", "--layers", "4", "--sentences", "400"]
        pairs.append(tuple(training(tmp_path / name, "whole", *size, **chosen)[0] for name, chosen in (("a", {}), ("b", other))))
    for one, two in pairs:
        assert facts(one) == facts(two)
        assert len(set(one["result"]["losses"])) > 10  # it did train


# --- a run of the book ------------------------------------------------------------------------------------------------

CELL = ("import os, pathlib, time\npathlib.Path(f'{root}/pids').mkdir(exist_ok=True)\n"
        "pathlib.Path(f'{root}/pids/{os.getpid()}').touch()\nvalue = sum(range(10_000))\ntime.sleep(0.1)\nvalue")


def start(book, *arguments):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, "-m", "utils.book", "run", *arguments], cwd=book.root, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)


def outputs(book):
    """chapter -> outputs of its code cells, read from the whole entries of the cache, and nothing else is there."""
    store, found = cache.Store(book.root, "mini"), {}
    for chapter in find([], book.root):
        for record in (store.folder / chapter.id).glob("*.json"):
            result = store.load(chapter, record.stem)
            assert result is not None, f"{record} is damaged"
            cells = json.loads(result.executed.read_bytes())["cells"]
            assert all(cell.get("execution_count") for cell in cells if cell["cell_type"] == "code")
            found[chapter.id] = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    return found


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@linux
@scaled
def test_a_killed_run_of_the_book_leaves_whole_entries_no_kernel_and_the_same_end(tmp_path):
    book = TinyBook(tmp_path)
    book.add_command_line()
    for number in range(1, 5):
        book.notebook(f"0{number}-a", *[CELL] * 3, f"value + {number}")
    began = time.monotonic()
    running = start(book)
    assert running.wait(120) == 0, running.stdout.read()
    seconds, whole = time.monotonic() - began, outputs(book)
    assert len(whole) == 4
    shutil.rmtree(book.root / "_build")
    chance, hits, kept = random.Random(5), 0, set()
    for _ in range(4 * rounds(30)):
        running = start(book)
        time.sleep(chance.uniform(0.3, 1) * seconds)
        running.send_signal(signal.SIGKILL)
        said = running.communicate()[0]
        assert "开始" not in said or all(f"缓存 {name}" in said for name in kept)
        kept |= {name for name in whole if f"完成 {name}" in said}
        after = outputs(book)
        assert kept <= set(after) and all(after[name] == whole[name] for name in after)
        pids = [path.name for path in (book.root / "pids").iterdir()]
        deadline = time.monotonic() + 10
        while not all(map(gone, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(map(gone, pids)), "a kernel outlived the run"
        if running.returncode != -signal.SIGKILL or len(kept) == 4:  # it was done before: begin anew
            shutil.rmtree(book.root / "_build", ignore_errors=True)
            kept = set()
        hits += running.returncode == -signal.SIGKILL
        if hits == rounds(30):
            break
    assert hits == rounds(30)
    running = start(book)
    assert running.wait(120) == 0
    assert outputs(book) == whole
    assert not list((book.root / "_build" / "cache").rglob("*.part"))
