"""Programs that tests need and that a person may not have: without one a test is skipped there, and fails in CI."""

import importlib
import os
import pathlib
import shutil
import subprocess
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
