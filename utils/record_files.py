"""The files that hold recorded runs: where they stand, reading them, checking that what is read can be used.

`utils.records` fills and shows them; one holds the tables of a chapter, another the rows of a recording not yet finished.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import profiles
from .errors import RunError


def recorded_file(number: int) -> Path:
    """Where the recorded tables of a chapter stand."""
    return profiles.ROOT / "chapters" / "_recorded" / f"{number:02d}.json"


def partial_file(number: int) -> Path:
    """Where rows wait until the whole notebook has been recorded: one JSON object a line."""
    return profiles.ROOT / "_build" / "records" / f"{number:02d}.partial.jsonl"


def read_recorded(number: int) -> dict[str, Any]:
    """The recorded tables of a chapter by name; empty if there are none.

    Raises:
        RunError: the file is damaged.
    """
    file = recorded_file(number)
    try:
        tables = json.loads(file.read_text(encoding="utf-8"))["tables"]
        for name, table in tables.items():
            _check_table(name, table)
        return tables
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file}：记录文件损坏（{error}）；请用 git 恢复它，或重新记录") from None


def _check_table(name: str, table: dict[str, Any]) -> None:
    """KeyError or TypeError if a recorded table lacks what a chapter or `recording` reads of it."""
    kinds = {"rows": list, "bands": dict, "profile": str, "parameters": dict, "seconds": float | int, "date": str,
             "hardware": dict, "code": dict, "cases": str, "data": dict}
    if wrong := [key for key, kind in kinds.items() if not isinstance(table[key], kind)]:
        raise TypeError(f"{name}: {', '.join(wrong)}")
    limits = [band[end] for band in table["bands"].values() for end in ("low", "high")]
    if not all(isinstance(limit, float | int) for limit in limits) or not all(map(_is_row, table["rows"])):
        raise TypeError(f"{name}: bands, rows")
    checked = table.get("checked", {"rows": 0, "date": ""})
    if not isinstance(checked["rows"], int) or not isinstance(checked["date"], str):
        raise TypeError(f"{name}: checked")
    compared = table.get("compared", {"date": "", "chapters": 0})
    if not isinstance(compared["date"], str) or not isinstance(compared["chapters"], int):
        raise TypeError(f"{name}: compared")
    if missing := {"processor", "cores"} - table["hardware"].keys():
        raise KeyError(f"{name}: {', '.join(sorted(missing))}")


def _is_row(row: Any) -> bool:
    parts = {"case": dict, "result": dict, "seconds": float | int}
    return isinstance(row, dict) and all(isinstance(row.get(part), kind) for part, kind in parts.items())


def _is_end(line: dict[str, Any]) -> bool:
    """Whether a line says that a table is complete: the keys of its cases, and its bands."""
    cases = line.get("complete")
    return isinstance(cases, list) and all(isinstance(case, str) for case in cases) and isinstance(line.get("bands"), dict)


def read_partial(number: int) -> list[dict[str, Any]]:
    """What an unfinished recording has saved: rows, and the ends of tables (they alone have "complete").

    What is neither is left out, as is a last line cut short by a kill.
    """
    try:
        lines = partial_file(number).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    saved = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # only ever the line during whose writing the process died
        if isinstance(entry, dict) and {"table", "key"} <= entry.keys():
            if _is_end(entry) if "complete" in entry else _is_row(entry):
                saved.append(entry)
    return saved


def case_key(case: dict[str, Any]) -> str:
    """A case as text: equal cases give equal text whatever the order of their keys."""
    return json.dumps(case, sort_keys=True, ensure_ascii=False)
