"""The memory that a run reports: a kernel together with the processes below it, each page that they share once."""

import os

import pytest

from tests.unit.tiny_book import LIGHT_PRELOAD, TinyBook
from utils import profiles
from utils.book import kernels, runner, zygote

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
MIB = 2**20


def process(folder, pid, parent, resident, shared, name="python"):
    """A process as proc(5) shows it: sizes in MiB."""
    own = folder / str(pid)
    own.mkdir()
    (own / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {pid} 0 -1\n")
    (own / "statm").write_text(f"99999 {resident * MIB // PAGE} {shared * MIB // PAGE} 1 0 1 0\n")


def test_children_and_theirs_count_without_the_files_that_they_share_and_strangers_do_not(tmp_path):
    process(tmp_path, 10, 1, resident=500, shared=200)
    process(tmp_path, 11, 10, resident=300, shared=180, name="a) S 9 (b")  # any text may be a program's name
    process(tmp_path, 12, 11, resident=70, shared=20)
    process(tmp_path, 13, 1, resident=4000, shared=0)
    process(tmp_path, 20, 1, resident=40, shared=30)
    (tmp_path / "self").mkdir()
    (tmp_path / "14").mkdir()  # ended while it was looked at
    assert zygote.memory_mb([10, 20, 99], str(tmp_path)) == {10: 500 + 120 + 50, 20: 40}


WORKERS = """import subprocess, sys, time
program = "data = b'x' * 200_000_000; print('ready', flush=True); import time; time.sleep(60)"
workers = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
for worker in workers:
    worker.stdout.readline()
time.sleep(3)
for worker in workers:
    worker.kill()
    worker.wait()"""


@pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")
def test_a_chapter_is_charged_for_its_workers_together(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "ROOT", tmp_path)
    monkeypatch.setattr(kernels, "PRELOADED", LIGHT_PRELOAD)
    book = TinyBook(tmp_path)
    book.notebook("01-alone", "x = 1")
    book.notebook("02-workers", WORKERS)
    alone, workers = (result.peak_memory_mb for result in runner.run((), runner.Settings(root=tmp_path), say=lambda line: None))
    assert workers - alone > 2 * 200_000_000 / MIB - 30  # the largest of the three processes is less than half of it
