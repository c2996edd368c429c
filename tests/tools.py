"""Programs that tests need and that a person may not have: without one a test is skipped there, and fails in CI."""

import functools
import importlib
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from types import ModuleType
from typing import NoReturn

import pytest


def lacking(message: str) -> NoReturn:
    """Skip the test with a line that says what to install; in continuous integration, where all of it is there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def needed(module: str) -> ModuleType:
    """A module that only tests need; without it the test (or, at the top of a file, all of them) is skipped, in CI it fails."""
    try:
        return importlib.import_module(module)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"没有 {module}：pip install -r tests/requirements.lock", allow_module_level=True)


def npm_package(name: str, version: str) -> pathlib.Path:
    """Folder `node_modules/NAME` of an npm package, installed once a machine and outside the repository."""
    if not shutil.which("npm") or not shutil.which("node"):
        lacking(f"没有 npm 与 node，要用 {name} 的测试跳过；Debian：apt-get install nodejs npm")
    home = pathlib.Path(tempfile.gettempdir()) / f"book-{name}-{version}"
    package = home / "node_modules" / name
    if not (package / "package.json").is_file():
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(home), f"{name}@{version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lacking(f"npm 装不上 {name}@{version}：{(done.stderr.strip() or '没有消息').splitlines()[-1]}")
    return package


@functools.cache
def _namespace() -> tuple[str, ...]:
    """How a command begins that may mount, in a namespace of its own: through sudo where only root may; () if nobody may."""
    if not shutil.which("unshare"):
        return ()
    kept = [f"{name}={os.environ[name]}" for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ]  # sudo drops them
    ways = (("unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])),
            ("sudo", "-n", "-E", "env", *kept, "unshare", "--mount"))
    for way in ways:
        trial = [*way, "sh", "-c", "mount -t tmpfs t /tmp"]
        if shutil.which(way[0]) and not subprocess.run(trial, capture_output=True, check=False).returncode:
            return way
    return ()


def mounted(script: str, folder: pathlib.Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run shell lines that mount what they like; nobody else sees the mounts, and they end with the lines.

    Where no such namespace can be made, the test is skipped, in continuous integration it fails.

    Args:
        script: the lines; the first that fails ends them. $PYTHON is this interpreter.
        folder: where they start; what they leave there belongs to this user, whoever had to run them.
        environment: theirs; this process's own if None.
    """
    way = _namespace()
    if not way:
        lacking("这里不能另开挂载命名空间（unshare --mount，前面加 sudo -n 也不行），磁盘满与只读文件夹的测试跳过")
    if way[0] == "sudo":
        hand_back = f"chown -R {os.getuid()}:{os.getgid()} {shlex.quote(str(folder))} 2>/dev/null"
        script = f"trap {shlex.quote(hand_back)} EXIT\n{script}"
    return subprocess.run([*way, "sh", "-c", f"set -e\n{script}"], cwd=folder, capture_output=True, text=True, check=False,
                          env={**(os.environ if environment is None else environment), "PYTHON": sys.executable})
