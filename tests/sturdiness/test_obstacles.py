"""A full disk, a folder that cannot be written: one clear line, and no damage."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import rounds, scaled
from tests.sturdiness.books import command, linux, whole_entries
from tests.tools import mounted
from utils import files, obstacles
from utils.errors import RunError

# --- a full disk -------------------------------------------------------------------------------------------------------

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing(*arguments, **options):
    raise NO_ROOM


@pytest.fixture(params=["open", "write", "fsync", "replace"])
def full_disk(request, monkeypatch, tmp_path):
    """A file that is there already; every call of one kind that `write_atomically` makes finds the disk full."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.stream.close()

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def write(self, content):
            self.stream.write(content[: len(content) // 2])
            raise NO_ROOM

    if request.param in ("fsync", "replace"):
        monkeypatch.setattr(files.os, request.param, failing)
    else:
        opened = Path.open
        fail = failing if request.param == "open" else lambda path, mode: Full(opened(path, mode))
        monkeypatch.setattr(Path, "open", fail)
    yield path
    monkeypatch.undo()
    assert path.read_bytes() == b"old"


def attempt(path):
    """What writing raises."""
    with pytest.raises(Exception) as caught:
        files.write_atomically(path, b"new" * 1000)
    return caught.value


def test_a_write_that_finds_no_room_leaves_the_old_file_whole(full_disk):
    attempt(full_disk)  # the fixture looks at the file afterwards


@pytest.mark.parametrize("full_disk", ["write", "fsync", "replace"], indirect=True)
def test_a_write_that_finds_no_room_leaves_nothing_half_written(full_disk):
    attempt(full_disk)
    assert list(full_disk.parent.iterdir()) == [full_disk]


def test_a_write_that_finds_no_room_is_an_error_of_the_book(full_disk):
    error = attempt(full_disk)
    assert isinstance(error, RunError) and "磁盘满了" in str(error) and "\n" not in str(error)


@linux
@scaled
@pytest.mark.parametrize("kilobytes", rounds([4, 8, 12, 16, 24, 32, 48, 64, 96], [16]))
def test_a_run_on_a_full_disk_says_so_in_a_line_and_succeeds_once_there_is_room(book, kilobytes):
    script = f"""
mkdir _build; mount -t tmpfs -o size={kilobytes}k tmpfs _build
status=0; "$PYTHON" -m utils.book run 2>&1 || status=$?
echo "=== $status"; find _build -name '*.ipynb' -path '*/cache/*' | wc -l
mount -o remount,size=64m _build
"$PYTHON" -m utils.book run 2>&1
cp -r _build kept
"""
    done = mounted(script, book.root)
    assert done.returncode == 0, done.stdout + done.stderr
    first, _, second = done.stdout.partition("=== ")
    assert second.startswith("1\n") and "Traceback" not in done.stdout + done.stderr, done.stdout
    assert "磁盘满了" in first and len(first) < 3000, first
    assert "失败" not in second
    shutil.rmtree(book.root / "_build")
    (book.root / "kept").rename(book.root / "_build")
    assert len(whole_entries(book.root)) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_finds_no_room_is_one_line_and_exit_code_1(book):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "utils.book", "records"], cwd=book.root, stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"错误：{obstacles.explain(NO_ROOM)}\n")


# --- a folder that cannot be written -----------------------------------------------------------------------------------


@linux
def test_in_a_read_only_folder_what_is_done_is_shown_and_the_rest_is_refused_in_a_line(book):
    assert command(book.root, "run", "1").returncode == 0
    (book.root / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    script = """
mount --bind . .; mount -o remount,ro,bind .; cd "$PWD"
status=0; "$PYTHON" -B -m utils.book run 1 2>&1 || status=$?; echo "=== $status"
status=0; "$PYTHON" -B -m utils.book run 2>&1 || status=$?; echo "=== $status"
status=0; "$PYTHON" -B -m utils.book new 03-b 3-code 题 2>&1 || status=$?; echo "=== $status"
"""
    done = mounted(script, book.root)
    shown, rest, new, end = done.stdout.split("=== ")
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert rest[0] == "0" and "缓存 3-code/01-a" in shown
    assert new[0] == "1" and "02-a" in rest and "只读" in rest
    assert end[0] == "1" and new.count("\n") == 2 and new[2:].startswith("错误：不能写")
    assert whole_entries(book.root) == ["3-code/01-a"] and not (book.root / "chapters/3-code/03-b.ipynb").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EMFILE])
def test_a_refusal_of_the_system_is_one_chinese_line_that_names_the_file(number):
    try:
        try:
            raise OSError(number, os.strerror(number), "some/file")
        except OSError as error:
            raise ValueError("something else") from error
    except ValueError as error:
        line = obstacles.explain(error)
    assert "some/file" in line and "\n" not in line and os.strerror(number) not in line
    assert obstacles.explain(OSError(errno.ENOENT, "x")) is None and obstacles.explain(ValueError()) is None
