"""Hashes and names of what a run rests on besides code: data, shipped weights, installed packages, device."""

from __future__ import annotations

import contextlib
import ctypes.util
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Container
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import RunError
from .dependencies import digest
from ..files import write_atomically

DATA_SETS = ("people_daily", "reviews")  # what corpora.fingerprint knows
WEIGHT_FILES = (".safetensors", ".json", ".txt")  # the model card beside them may change freely


@lru_cache(maxsize=None)
def device_name() -> str:
    """Name of the first GPU that TensorFlow would use, else "CPU", found without importing TensorFlow.

    A driver alone is not enough: without cuDNN (from `make gpu`, or of the system) TensorFlow goes on with the CPU.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = shutil.which("nvidia-smi")
    if not command or visible in ("", "-1") or not _has_cudnn():
        return "CPU"
    query = [command, "--query-gpu=name", "--format=csv,noheader"]
    if visible:
        query.append(f"--id={visible.split(',')[0]}")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return "CPU"
    return answer[0].strip() or "CPU"


def _has_cudnn() -> bool:
    try:
        installed = importlib.util.find_spec("nvidia.cudnn") is not None
    except ModuleNotFoundError:  # no package `nvidia`
        installed = False
    return installed or ctypes.util.find_library("cudnn") is not None


def packages(root: Path) -> str:
    """Hash of the lock file, or of the requirements where there is no lock."""
    for name in ("requirements.lock", "requirements.txt"):
        if (root / name).is_file():
            return digest((root / name).read_bytes())
    return ""


def hub_pins(root: Path) -> str:
    """Hash of the table of commits that profile `full` fetches; "" where there is none."""
    path = root / "utils" / "assets" / "hub.json"
    return digest(path.read_bytes()) if path.is_file() else ""


def data_hashes(modules: Container[str], root: Path) -> dict[str, str]:
    """Hashes of the data and weights that code importing these helper modules may read: name -> SHA-256.

    Args:
        modules: dotted names, as from `dependencies.helper_files`.
        root: folder of the repository.
    """
    found = {}
    if "utils.corpora" in modules:
        found.update({name: corpus_hash(name, root) for name in DATA_SETS})
    if "utils.profiles" in modules:
        folder = root / "utils" / "assets" / "checkpoint"
        files = sorted(file for file in folder.rglob("*") if file.suffix in WEIGHT_FILES)
        if files:
            parts = [f"{file.relative_to(folder).as_posix()} {_file_hash(file, file.stat().st_mtime_ns)}" for file in files]
            found["checkpoint"] = digest("\n".join(parts))
    return found


def own_files(parameters: dict[str, Any]) -> dict[str, list[list[Any]]]:
    """What lies where the parameters point: parameter -> [name, size, SHA-256] of the file, or of each file in the folder.

    Only absolute paths count, and of a folder only its own files: data and model folders are flat, and a slip of the pen
    such as `/` must not read a whole disk. A file that cannot be read has None for its hash.
    """
    found = {}
    for name, value in parameters.items():
        if not (isinstance(value, str) and os.path.isabs(value)):
            continue
        path = Path(value)
        with contextlib.suppress(OSError, ValueError):  # too long for a path, or not allowed: nothing to read there
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            entries = [_own_file(file) for file in files if file.is_file()]
            if entries or path.is_dir():
                found[name] = entries
    return found


def _own_file(file: Path) -> list[Any]:
    try:
        with file.open("rb") as stream:
            return [file.name, file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()]
    except OSError:
        return [file.name, None, None]


def corpus_hash(name: str, root: Path) -> str:
    """Hash of a data set's source files.

    Importing `utils.corpora` takes a second or more, so the hash is noted in `_build/cache/data.json` together with
    place, size and time of each file, and holds while these and the module that names the files are unchanged.
    """
    note = root / "_build" / "cache" / "data.json"
    try:
        known = dict(json.loads(note.read_bytes()))
    except (OSError, ValueError, TypeError):
        known = {}
    entry = known.get(name, {})
    module = digest((root / "utils" / "corpora" / "sources.py").read_bytes())
    if entry.get("module") == module and all(_state(Path(file)) == state for file, state in entry["files"].items()):
        return entry["sha256"]
    from ..corpora import sources

    files = [sources.package_folder() / file for file in sources.source(name).files]
    states = {str(file): _state(file) for file in files}
    entry = {"module": module, "files": states, "sha256": sources.fingerprint(name)}
    with contextlib.suppress(OSError, RunError):  # without the note, the next run computes the hash again
        write_atomically(note, json.dumps({**known, name: entry}, indent=1).encode())
    return entry["sha256"]


def _state(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


@lru_cache(maxsize=None)
def _file_hash(file: Path, modified: int) -> str:
    return digest(file.read_bytes())
