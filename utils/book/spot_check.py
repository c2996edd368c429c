"""Whether a change of code that was meant to change no number has changed one: part of a stale table, computed again.

A check for refactorings and better errors, where computing all rows again would take hours. It proves less than a new
recording, so the record says how many rows it rests on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import records
from ..errors import RunError
from . import recording
from .chapters import Chapter

MEASURED = ("seconds", "per_second", "megabytes", "quartiles")  # ends of the names of columns that no two runs share


def sample(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """Keys of the cheapest cases by table: at least one of each, and every method, task, start, setting at least once.

    Numbers (seeds, rates, sizes) are not covered: the same code runs for all of them.

    Args:
        tables: name -> recorded rows.
    """
    seen: set[tuple[str, str]] = set()
    chosen: dict[str, list[str]] = {name: [] for name in tables}
    rows = [(row["seconds"], name, row) for name, found in tables.items() for row in found]
    for _, name, row in sorted(rows, key=lambda entry: entry[0]):
        names = {(column, records.case_key(value)) for column, value in row["case"].items() if not isinstance(value, int | float)}
        if not chosen[name] or names - seen:
            seen |= names
            chosen[name].append(records.case_key(row["case"]))
    return chosen


def samples(chapter: Chapter, root: Path, profile: str, parameters: dict[str, Any], only: str | None) -> dict[str, list[str]]:
    """Table -> keys of the cases to compute again, for every table of which only the code has changed.

    Args:
        chapter, root, profile, parameters, only: as for `recording.entries_of`.

    Raises:
        RunError: there is none.
    """
    recorded = records.read_recorded(chapter.number)
    found = {}
    for name, table in recording.tables(chapter, root, parameters).items():
        old = recorded.get(name)
        if only not in (None, name) or old is None or (old["code"], old["cases"]) == (table.code, table.cases):
            continue
        same = (old["data"], old["profile"], old["parameters"]) == (table.data, profile, parameters)
        if same and any(_compared(row) for row in old["rows"]):
            found[name] = old["rows"]
    if not found:
        raise RunError(f"{chapter.id}：没有可以抽查的表：抽查只用于代码改了、数据没有改，并且不全是量出来的时间与内存的表")
    return sample(found)


def checked(chapter: Chapter, root: Path, parameters: dict[str, Any], chosen: dict[str, list[str]]) -> dict[str, Any]:
    """The tables of the record file after the rows of `chosen` have been computed again: rows as they were, new hashes.

    Raises:
        RunError: a row gives another result (names table, case, column and both values), or the cases have changed.
    """
    found, saved = recording.tables(chapter, root, parameters), records.read_partial(chapter.number)
    entries, now = records.read_recorded(chapter.number), recording.circumstances(root)
    for name, keys in chosen.items():
        table, old = found[name], {records.case_key(row["case"]): row for row in entries[name]["rows"]}
        lines = [line for line in saved if (line["table"], line["key"]) == (name, table.key)]
        ends = [line for line in lines if "complete" in line]
        if not ends or set(ends[-1]["complete"]) != old.keys():
            raise RunError(f"{chapter.id}：表 {name} 的实验列表已改，不能抽查；请重新记录：record {chapter.number} --only {name}")
        again = {records.case_key(line["case"]): line for line in lines if "complete" not in line}
        for key in keys:
            before, after = _compared(old[key]), _compared(again[key])
            for column in before.keys() | after.keys():
                if before.get(column) != after.get(column):
                    raise RunError(f"{chapter.id}：抽查不符：表 {name}，{key}，{column}：记录里是 {before.get(column)}，"
                                   f"重算得 {after.get(column)}；代码改动影响了结果，或者机器不同；请重新记录")
        entries[name] |= {"code": table.code, "cases": table.cases, "checked": {"rows": len(keys), **now}}
    return entries


def _compared(row: dict[str, Any]) -> dict[str, str]:
    """The columns of a row that a second run must repeat, as text (in which NaN equals NaN)."""
    return {column: json.dumps(value, sort_keys=True) for column, value in row["result"].items() if not column.endswith(MEASURED)}
