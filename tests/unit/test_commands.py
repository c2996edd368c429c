"""The command line: what a wrong Python, a wrong argument, a missing program or a failed build ends in is one clear line."""

import re
import subprocess
import sys

import pytest

from utils import profiles
from utils.book import __main__ as book
from utils.book import browser, build, colab_copies, git, publication, recording, runner
from utils.errors import RunError

ROOT = profiles.ROOT


def never(*arguments, **options):
    raise AssertionError("this had to be refused before")


def one_line(capsys) -> str:
    """The only line of the error output."""
    text = capsys.readouterr().err
    assert text.startswith("错误：") and text.count("\n") == 1, text
    return text


@pytest.mark.parametrize("arguments", ["run 1 --force", "build", "check", "record 13", "colab", "new 99-x 3-code 题"])
def test_another_python_without_the_packages_is_told_which_to_use(arguments):
    command = [sys.executable, "-S", "-m", "utils.book", *arguments.split()]  # -S: without the packages of .venv
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("错误：") and done.stderr.count("\n") == 1, done.stderr
    for part in (sys.executable, ".venv/bin/python", "make book", "doctor"):
        assert part in done.stderr


def test_a_missing_module_of_the_book_itself_is_a_fault_of_the_book(monkeypatch):
    def faulty(*arguments):
        raise ModuleNotFoundError("No module named 'utils.gone'", name="utils.gone")

    monkeypatch.setattr(runner, "run", faulty)
    with pytest.raises(ModuleNotFoundError):
        book.main(["run", "1"])


def test_an_edition_that_there_is_not_is_refused_before_any_notebook_runs(monkeypatch, capsys):
    monkeypatch.setattr(runner, "run", never)
    assert book.main(["build", "--edition", "fr"]) == 1
    assert "'fr'" in one_line(capsys)


def test_publication_looks_for_the_browser_before_it_builds(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    monkeypatch.setattr(publication, "gather", never)
    monkeypatch.setattr(build, "build", never)
    assert book.main(["publish", str(tmp_path)]) == 1
    assert "chromium" in one_line(capsys)


def test_the_chapter_that_the_documentation_makes_is_free():
    numbers = set()
    for name in ("CONTRIBUTING.md", "Makefile"):
        found = set(re.findall(r"SLUG=(\d\d)-", (ROOT / name).read_text(encoding="utf-8")))
        assert found, name
        numbers |= found
    assert len(numbers) == 1 and not list((ROOT / "chapters").glob(f"*/{numbers.pop()}-*"))
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.search(r"make new SLUG=(\d\d)-.*\nmake run CHAPTER=\1 ", contributing)  # and the next line runs it


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999", "x"])
def test_a_port_that_cannot_be_is_a_wrong_argument(port, capsys):
    with pytest.raises(SystemExit) as ended:
        book.main(["serve", port])
    assert ended.value.code == 2 and "port" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b'<<<<<<< HEAD\n{"cells": []}\n=======\n', b"\xff", b'{"cells": [{}]}'])
def test_fix_names_what_is_no_notebook_and_leaves_it_alone(content, tmp_path, capsys):
    path = tmp_path / "26-dialogue.ipynb"
    if content is not None:
        path.write_bytes(content)
    assert book.main(["check", "--fix", str(path)]) == 1
    shown = capsys.readouterr()
    assert "26-dialogue.ipynb: -: [json]" in shown.out and not shown.err
    assert path.read_bytes() == content if content is not None else not path.exists()


def test_without_git_there_is_no_commit_and_nothing_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git.answer(ROOT, "rev-parse", "HEAD") == ""
    made = recording.circumstances(ROOT)
    assert (made["commit"], made["modified"]) == ("", False)
    with pytest.raises(RunError, match="git"):
        colab_copies.push(tmp_path, "origin", "main", ROOT)


@pytest.mark.parametrize("status, output, shown", [
    (1, "Traceback\nOSError: [Errno 28] No space left on device: '/b/_build/a.html'\n", "磁盘满了，写不下 /b/_build/a.html"),
    (1, "WARNING: a\nOSError: [Errno 28] No space left on device\n", "磁盘满了"),
    (1, "PermissionError: [Errno 13] Permission denied: '/b/x'", "不能写 /b/x"),
    (-9, "reading sources\n", "信号 9"),
    (1, "reading\nValueError: 奇怪\n\n", "ValueError: 奇怪（"),
    (1, "{stage}/a.md:3: WARNING: 甲\nx\n", "没有建成：a.md:3: WARNING: 甲，共 1 条（"),
    (3, "", "退出状态 3"),
])
def test_a_failed_build_says_why(status, output, shown, monkeypatch, tmp_path):
    output = output.replace("{stage}", str(tmp_path))
    monkeypatch.setattr(build.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, status, output))
    with pytest.raises(RunError) as caught:
        build.run_jupyter_book(tmp_path, tmp_path / "work", tmp_path / "log")
    message = str(caught.value)
    assert shown in message and "\n" not in message and str(tmp_path / "log") in message
    assert ("内存" in message) == (status == -9)


@pytest.mark.parametrize("command, kept", [("run 1", "缓存"), ("build", "缓存"), ("record 13", "接着做"), ("clean", None)])
def test_an_interrupted_command_says_what_it_has_kept(command, kept, monkeypatch, capsys):
    def interrupted(options):  # argparse names the command after it
        raise KeyboardInterrupt

    interrupted.__name__ = command.split()[0]
    monkeypatch.setattr(book, interrupted.__name__, interrupted)
    assert book.main(command.split()) == 130
    text = capsys.readouterr().err
    assert text == "已中断。\n" if kept is None else kept in text
