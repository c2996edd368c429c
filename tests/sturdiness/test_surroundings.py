"""Two runs at once, no home, odd paths, an installation that was broken off: the work is done, and nothing is damaged."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.soak import rounds, scaled
from tests.sturdiness.books import command, linux, whole_entries
from tests.tools import mounted
from tests.unit.test_packaging import World
from tests.unit.tiny_book import REPOSITORY, TinyBook
from utils.book import locks
from utils.errors import RunError

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


def installing(world, python=""):
    """A line of shell: `setup.sh` with this Python, or with the one that it finds."""
    return f"PATH={shlex.quote(str(world.bin))} PYTHON={shlex.quote(python)} sh setup.sh"


@linux
@pytest.mark.parametrize("python, kilobytes", [(sys.executable, 1024), ("", 8)], ids=["venv", "cp"])
def test_an_installation_on_a_full_disk_says_so_in_a_line_and_is_done_again_once_there_is_room(tmp_path, python, kilobytes):
    world = World(tmp_path)
    world.python("python3", "3.13.0")
    done = mounted(f"""
mkdir .venv; mount -t tmpfs -o size={kilobytes}k tmpfs .venv
status=0; {installing(world, python)} || status=$?; echo "=== $status"
mount -o remount,size=64m .venv
{installing(world)}
cat .venv/installed-requirements.lock
""", world.folder)
    assert done.returncode == 0 and "=== 1\n" in done.stdout and done.stdout.endswith("one==1\n"), done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "磁盘" in line]
    assert str(world.folder) in line and ".venv" in line and "再运行一次" in line and "Traceback" not in done.stderr


READ_ONLY = 'mount --bind . .; mount -o remount,ro,bind .; cd "$PWD"; '


@linux
@pytest.mark.parametrize("made", [False, True], ids=["venv", "rm"])
def test_an_installation_in_a_read_only_folder_says_so_in_a_line(tmp_path, made):
    world = World(tmp_path)
    world.python("python3", "3.13.0")
    if made:
        assert world.setup().returncode == 0
        done = mounted(READ_ONLY + installing(world), world.folder)
        assert (done.returncode, done.stderr) == (0, ""), "where all is there, nothing is written"
        (world.folder / "requirements.lock").write_text("one==1.1\n")
    done = mounted(READ_ONLY + installing(world, "" if made else sys.executable), world.folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    line = done.stderr.splitlines()[-1]
    assert str(world.folder) in line and "只读" in line and "请把书放在能写的文件夹里" in line
