"""Hashes and names of what a run rests on besides code: data, shipped weights, installed packages, device."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Container
from functools import lru_cache
from pathlib import Path

from .dependencies import digest

DATA_SETS = ("people_daily", "reviews")  # what corpora.fingerprint knows
WEIGHT_FILES = (".safetensors", ".json", ".txt")  # the model card beside them may change freely


@lru_cache(maxsize=None)
def device_name() -> str:
    """Name of the first GPU that TensorFlow would use, else "CPU", found without importing TensorFlow."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = shutil.which("nvidia-smi")
    if not command or visible in ("", "-1"):
        return "CPU"
    query = [command, "--query-gpu=name", "--format=csv,noheader"]
    if visible:
        query.append(f"--id={visible.split(',')[0]}")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return "CPU"
    return answer[0].strip() or "CPU"


def packages(root: Path) -> str:
    """Hash of the lock file, or of the requirements where there is no lock."""
    for name in ("requirements.lock", "requirements.txt"):
        if (root / name).is_file():
            return digest((root / name).read_bytes())
    return ""


def data_hashes(modules: Container[str], root: Path) -> dict[str, str]:
    """Hashes of the data and weights that code importing these helper modules may read: name -> SHA-256.

    Args:
        modules: dotted names, as from `dependencies.helper_files`.
        root: folder of the repository.
    """
    found = {}
    if "utils.corpora" in modules:
        found.update({name: corpus_hash(name) for name in DATA_SETS})
    if "utils.profiles" in modules:
        folder = root / "utils" / "assets" / "checkpoint"
        files = sorted(file for file in folder.rglob("*") if file.suffix in WEIGHT_FILES)
        if files:
            parts = [f"{file.relative_to(folder).as_posix()} {_file_hash(file, file.stat().st_mtime_ns)}" for file in files]
            found["checkpoint"] = digest("\n".join(parts))
    return found


@lru_cache(maxsize=None)
def corpus_hash(name: str) -> str:
    """Hash of a data set's source files, computed once a process."""
    from .. import corpora  # only here: most commands need no data

    return corpora.fingerprint(name)


@lru_cache(maxsize=None)
def _file_hash(file: Path, modified: int) -> str:
    return digest(file.read_bytes())
