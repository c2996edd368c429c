"""Full disk, read-only folder, two runs at once, no home, odd paths, a broken-off installation: one clear line, no damage."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.soak import rounds, scaled
from tests.unit.test_packaging import World
from tests.unit.tiny_book import REPOSITORY, TinyBook
from utils import files
from utils.book import cache, kernels, locks, obstacles
from utils.book.chapters import find
from utils.errors import RunError

linux = pytest.mark.skipif(not kernels.CAN_FORK, reason="only on Linux")
CELL = "import pathlib, os\nwith open(f'{root}/executed', 'a') as stream: stream.write('.')\nprint('x' * 3000)"


@pytest.fixture
def book(tmp_path):
    book = TinyBook(tmp_path)
    book.add_command_line()
    for number in (1, 2):
        book.notebook(f"0{number}-a", CELL, "print(6 * 7)")
    return book


def command(folder, *arguments, **options):
    return subprocess.run([sys.executable, "-m", "utils.book", *arguments], cwd=folder, capture_output=True, text=True,
                          check=False, **options)


def whole_entries(root):
    """Chapters with an entry in the cache; each entry must be whole."""
    store, found = cache.Store(root, "mini"), []
    for chapter in find([], root):
        for record in (store.folder / chapter.id).glob("*.json"):
            assert store.load(chapter, record.stem) is not None, f"{record} is damaged"
            found.append(chapter.id)
    return found


def mounted(script, folder):
    """Run shell lines as root of a mount namespace of their own; skips where that is not allowed."""
    start = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else []), "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*start, "mount -t tmpfs t /tmp"], capture_output=True).returncode:
        pytest.skip("no mount namespace here")
    return subprocess.run([*start, f"set -e\n{script}"], cwd=folder, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHON": sys.executable})


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
@pytest.mark.xfail(strict=True, reason="utils.files.write_atomically leaves its side file behind")
def test_a_write_that_finds_no_room_leaves_nothing_half_written(full_disk):
    attempt(full_disk)
    assert list(full_disk.parent.iterdir()) == [full_disk]


@pytest.mark.xfail(strict=True, reason="utils.files.write_atomically lets the bare OSError through")
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


# --- two at once -------------------------------------------------------------------------------------------------------


@linux
@scaled
def test_two_runs_at_once_share_the_work_and_both_end_well(book):
    for _ in range(rounds(10, 1)):
        start = [sys.executable, "-m", "utils.book", "run"]
        runs = [subprocess.Popen(start, cwd=book.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in "ab"]
        texts = [run.communicate(timeout=200)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0], texts
        assert sorted(whole_entries(book.root)) == ["3-code/01-a", "3-code/02-a"]
        assert 2 <= len((book.root / "executed").read_text()) <= 4  # twice only where the two missed one another
        for entry in (book.root / "_build" / "cache").rglob("*.ipynb"):
            cells = json.loads(entry.read_bytes())["cells"]
            assert cells[-1]["outputs"][0]["text"] in (["42\n"], "42\n")
        shutil.rmtree(book.root / "_build")
        (book.root / "executed").unlink()


@linux
def test_a_lock_keeps_others_out_until_its_holder_ends_even_by_a_kill(tmp_path):
    program = ("import pathlib, sys, time\nfrom utils.book import locks\n"
               "with locks.alone(pathlib.Path(sys.argv[1]), 'x'):\n    print('held', flush=True)\n    time.sleep(100)")
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "lock")], cwd=REPOSITORY,
                              stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="另一个进程正在建站"):
            with locks.alone(tmp_path / "lock", "建站"):
                pass
    finally:
        holder.send_signal(signal.SIGKILL)
    with locks.alone(tmp_path / "lock", "建站", lambda: True):
        pass
    holder.communicate()


# --- surroundings ------------------------------------------------------------------------------------------------------


@linux
@scaled
@pytest.mark.parametrize("home", rounds([None, "/dev/null/nowhere"], ["/dev/null/nowhere"]))
def test_a_book_in_a_folder_with_spaces_and_chinese_runs_without_a_home(tmp_path, home):
    folder, temporary = tmp_path / "我的 书 (第 2 份)" / "a'b", tmp_path / f"临时 {'很长' * 20}"
    for one in (folder, temporary):
        one.mkdir(parents=True)
    book = TinyBook(folder)
    book.add_command_line()
    book.notebook("01-a", "from utils import alpha\nprint(alpha.value())")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HOME", "XDG_", "IPYTHON", "JUPYTER"))}
    environment |= {"TMPDIR": str(temporary)} | ({"HOME": home} if home else {})
    done = command(folder, "run", env=environment)
    assert done.returncode == 0 and "完成 3-code/01-a" in done.stdout, done.stdout + done.stderr
    assert done.stderr == "" and sorted(whole_entries(folder)) == ["3-code/01-a"]


@pytest.mark.soak
def test_the_helper_package_works_without_a_home(tmp_path):
    """The corpora, the checkpoint's tokenizer and a figure, in a folder with an odd name."""
    program = ("import utils\nutils.setup()\nimport matplotlib.pyplot as plt\nfrom utils import checkpoints, profiles\n"
               "tokenizer = checkpoints.load_tokenizer(profiles.CHECKPOINT)\nprint(tokenizer.tokenize('今天'))\n"
               "from utils import corpora\nprint(len(corpora.reviews()['train']))\n"
               "plt.plot([1, 2]); plt.title('标题'); plt.savefig('a.svg')")
    shutil.copytree(REPOSITORY / "utils", tmp_path / "书 a" / "utils", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HOME", "XDG_", "MPLCONFIGDIR"))}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "书 a", capture_output=True, text=True, check=False,
                          env=environment | {"HOME": "/dev/null/nowhere", "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "['今', '天']" in done.stdout and (tmp_path / "书 a" / "a.svg").stat().st_size > 1000


# --- an installation that is broken off ---------------------------------------------------------------------------------

# venv makes python first and pip afterwards; both steps and the installation stop at a file named after them.
SLOW_PYTHON = """#!/bin/sh
stop() { if [ -e "stop-$1" ]; then : > "at-$1"; sleep 100; fi; }
case "$1 $2" in
    "-c "*) exit 0 ;;
    "--version ") echo "Python 3.13.0" ;;
    "-m venv")
        rm -rf .venv; mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        stop venv
        : > .venv/pip ;;
    "-m pip")
        if [ "$3" = --version ]; then [ -e .venv/pip ]; exit; fi
        : > .venv/half
        stop pip
        rm .venv/half; echo "$@" >> pip.log ;;
    *) exit 97 ;;
esac
"""
SLOW_CP = """#!/bin/sh
case "$2" in *installed-*) if [ -e stop-cp ]; then printf o > "$2"; : > at-cp; sleep 100; fi ;; esac
exec "$REAL_CP" "$@"
"""


@pytest.mark.skipif(os.name == "nt", reason="setup.sh is for POSIX shells")
@pytest.mark.parametrize("step", ["venv", "pip", "cp"])
def test_an_installation_killed_at_any_step_is_done_again_by_the_next_call(tmp_path, step):
    world = World(tmp_path)
    (world.bin / "sleep").symlink_to(shutil.which("sleep"))
    real = shutil.which("cp")
    (world.bin / "cp").unlink()
    world.script("cp", SLOW_CP)
    world.script("python3", SLOW_PYTHON)
    (world.folder / f"stop-{step}").touch()
    environment = {"PATH": str(world.bin), "LC_ALL": "C.UTF-8", "REAL_CP": real}
    running = subprocess.Popen([str(world.bin / "sh"), "setup.sh"], cwd=world.folder, env=environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (world.folder / f"at-{step}").exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    (world.folder / f"stop-{step}").unlink()
    before = len(world.installations)
    done = world.setup(REAL_CP=real)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert len(world.installations) == before + 1 and not (world.folder / ".venv" / "half").exists()
    assert (world.folder / ".venv" / "installed-requirements.lock").read_text() == "one==1\n"
    assert world.setup(REAL_CP=real).returncode == 0 and len(world.installations) == before + 1
