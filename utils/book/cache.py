"""Executed notebooks, kept under a key that changes exactly when a run could give something else.

An entry is two files, `KEY.ipynb` and `KEY.json`; the second is written last and holds the hash of the first. Each is
written beside its place, flushed to disk and renamed, so that a kill at any moment leaves whole entries only.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from . import dependencies, fingerprints
from .chapters import Chapter
from .dependencies import digest
from ..files import write_atomically
from .results import ChapterResult

FORMAT = 1  # raise it when the runner changes in a way that makes old entries wrong
KEPT = 4  # entries per chapter and profile: other devices, parameters, or the state before an edit


def inputs(chapter: Chapter, parameters: dict[str, Any], profile: str, device: str, root: Path) -> dict[str, Any]:
    """Everything that an execution of a chapter depends on, as JSON values.

    Args:
        chapter: the notebook.
        parameters: what the runner injects into its parameters cell.
        profile: "mini" or "full".
        device: name of the device, as from `fingerprints.device_name`.
        root: folder of the repository.
    """
    notebook = dependencies.read_notebook(chapter.path)
    cells = dependencies.code_cells(notebook)
    files = dependencies.helper_files([dependencies.parse(cell.source) for cell in cells], root)
    folder = root / "chapters" / "_recorded"
    recorded = folder / f"{chapter.number or 0:02d}.json"
    shown = [file for file in sorted(folder.glob("[a-z]*.json")) if any(file.name in cell.source for cell in cells)]
    uses_records = "utils.records" in files and recorded.is_file()
    return {
        "format": FORMAT,
        "chapter": chapter.id,
        "cells": [[cell.id, cell.source, list(cell.tags)] for cell in cells],
        "kernel": notebook["metadata"].get("kernelspec", {}).get("name", ""),
        "parameters": parameters,
        "profile": profile,
        "device": device,
        "python": list(sys.version_info[:2]),
        "packages": fingerprints.packages(root),
        "helpers": {name: digest(file.read_bytes()) for name, file in files.items()},
        "data": fingerprints.data_hashes(files, root),
        "recorded": digest(recorded.read_bytes()) if uses_records else "",
        **({"shown": [digest(file.read_bytes()) for file in shown]} if shown else {}),
        **({"hub": fingerprints.hub_pins(root)} if profile == "full" else {}),
        **({"own": own} if (own := fingerprints.own_files(parameters)) else {}),  # no key where there are none: it changes no other run
    }


def key_of(values: dict[str, Any]) -> str:
    """The key for inputs: SHA-256 of their canonical JSON."""
    return digest(json.dumps(values, sort_keys=True, ensure_ascii=False))


class Store:
    """The cache of one profile, below `_build/cache/<profile>/`."""

    def __init__(self, root: Path, profile: str) -> None:
        self.folder = root / "_build" / "cache" / profile

    def load(self, chapter: Chapter, key: str) -> ChapterResult | None:
        """The entry with this key, status "cached"; None if there is none. A damaged entry is removed."""
        executed, record = self._files(chapter, key)
        try:
            saved = json.loads(record.read_bytes())
            if digest(executed.read_bytes()) != saved.pop("executed_sha256"):
                raise ValueError("hash")
            for name in ("source", "executed", "log"):
                saved.pop(name)
            result = ChapterResult(source=chapter.path, executed=executed, log=record.with_suffix(".log"), **saved)
            if not _plausible(result):
                raise ValueError("values")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            with contextlib.suppress(OSError):
                record.unlink(missing_ok=True)
                executed.unlink(missing_ok=True)
            return None
        result.status = "cached"
        with contextlib.suppress(OSError):  # a folder that can only be read is good enough
            os.utime(record)  # the most recently used entries are the ones kept
        return result

    def save(self, chapter: Chapter, key: str, result: ChapterResult, executed: bytes) -> ChapterResult:
        """Keep a successful execution; returns the result with `executed` and `log` set to the cache's files."""
        path, record = self._files(chapter, key)
        log = record.with_suffix(".log")
        write_atomically(log, result.log.read_bytes() if result.log.is_file() else b"")
        result.executed, result.log = path, log
        write_atomically(path, executed)
        values = {**result.to_json(), "executed_sha256": digest(executed)}
        write_atomically(record, json.dumps(values, ensure_ascii=False, indent=1).encode())
        self._prune(path.parent)
        return result

    def _files(self, chapter: Chapter, key: str) -> tuple[Path, Path]:
        folder = self.folder / chapter.id
        return folder / f"{key[:32]}.ipynb", folder / f"{key[:32]}.json"

    def _prune(self, folder: Path) -> None:
        """Remove all but the latest entries, and what killed runs have left."""
        records = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for record in records[KEPT:]:
            record.unlink(missing_ok=True)
        kept = {record.stem for record in records[:KEPT]}
        for file in folder.iterdir():
            orphan = file.suffix in (".ipynb", ".log") and file.stem not in kept
            if orphan or (file.suffix == ".part" and not _alive(file)):
                file.unlink(missing_ok=True)


def _plausible(result: ChapterResult) -> bool:
    """Whether the values of an entry are of the kinds that a run saves."""
    numbers = [result.seconds, result.peak_memory_mb or 0.0]
    for reported in result.results.values():
        numbers += [reported["value"], *(reported["band"] or (0.0, 0.0))]
    texts = [result.chapter, result.profile, result.device, result.run_at, result.error or "", *result.stale]
    return (all(isinstance(number, (int, float)) for number in numbers) and len(numbers) == 2 + 3 * len(result.results)
            and all(isinstance(text, str) for text in texts) and isinstance(result.stale, list)
            and isinstance(result.versions, dict) and isinstance(result.hardware, dict)
            and result.seconds >= 0 and result.status == "ok")


def _alive(part: Path) -> bool:
    """Whether the process that writes this side file still runs (its number is in the name)."""
    number = part.name.split(".")[-2]
    if not number.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
