"""Recorded runs: what takes longer than a chapter may, executed once and shown ever after.

A chapter collects rows, one per case. Normally they come from `chapters/_recorded/NN.json`; when the notebook is
executed by `python -m utils.book record NN` they are computed, and each is saved as soon as it is there.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from . import leaks
from .errors import ConfigError, RunError
from .record_files import case_key, partial_file, read_partial, read_recorded
from .record_files import recorded_file as recorded_file

PLAN = "BOOK_PLAN"  # environment variable: the file in which the runner tells the kernel about this run
RESULT_MIME = "application/vnd.book.result+json"
# Parameters on which rows rest though the cases do not name them: chapter -> parameter -> (its value in the book, the
# tables by how their names begin). A record made with another value says so itself.
UNNAMED: dict[int, dict[str, tuple[Any, tuple[str, ...]]]] = {
    6: {"LIVE_SIZE": (200, ("live",))},
    8: {"ORDER": ("hotel,book,pc", ("rates", "strengths", "domain", "class-", "compress")), "TYPES": ("PER,LOC,ORG", ("entit",))},
    15: {"SIZE": (200, ("rates", "live", "league", "capacity")), "EPOCHS": (3, ("rates", "live", "league", "capacity"))},
}


def band_of(values: list[float], margin: float = 4.0, floor: float = 0.0) -> dict[str, float]:
    """The interval that a live result must lie in: mean ± max(margin × sample standard deviation, floor).

    Raises:
        ConfigError: fewer than two values, and no floor to stand in for their spread.
    """
    if len(values) < 2 and floor <= 0:
        raise ConfigError("记录区间至少要两个种子的结果，或给出 floor（区间的最小半宽）")
    mean, deviation = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
    half = max(margin * deviation, floor)
    return {"low": mean - half, "high": mean + half, "mean": mean, "deviation": deviation, "rows": len(values)}


class Chapter:
    """The recorded tables of one chapter, and the results that its run reports.

    Args:
        number: number of the chapter; names the file of its records.
        record: compute the tables anew (only under `python -m utils.book record`).
        profile: profile of this run; bands recorded under another one are not applied. Default: the global
            `PROFILE` of the notebook, or what the runner says.
    """

    def __init__(self, number: int, record: bool = False, profile: str | None = None) -> None:
        plan_path = os.environ.get(PLAN)
        self._plan = json.loads(Path(plan_path).read_text(encoding="utf-8")) if plan_path else {}
        if self._plan and self._plan["number"] != number:
            raise RunError(f"records.Chapter({number})：编号与文件名 {self._plan['chapter']} 不符")
        if record and not self._plan.get("record"):
            raise RunError(f"RECORD=True 只由记录命令使用：请运行 make record CHAPTER={number}")
        self.number = number
        # The notebook's own names, looked at when a table is shown: a parameter may have been changed in between.
        self._given = sys._getframe(1).f_globals
        self.profile = profile or self._given.get("PROFILE") or self._plan.get("profile", "mini")
        self._record = record
        self._tables = read_recorded(number)

    def collect(
        self,
        name: str,
        function: Callable[..., dict[str, Any]],
        cases: Iterable[dict[str, Any]],
        *,
        band: str | None = None,
        value: str | None = None,
        margin: float = 4.0,
        floor: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Rows of a table: for each case, the case, what `function(**case)` returned, and `seconds`.

        Args:
            name: the table's name, written out in the notebook (its code is found by it).
            function: takes a case's entries as keywords and returns plain values by name.
            cases: keyword arguments, plain JSON values.
            band: name of a result of the live run that must lie near this table's column `value`.
            value: the column from which the band is made.
            margin: half width of the band in sample standard deviations.
            floor: least half width of the band, in the column's unit.

        Raises:
            RunError: the table cannot be recorded: unknown name, or a case and its result share a key.
            ConfigError: `band` without `value`.
        """
        cases = [dict(case) for case in cases]
        if band and not value:
            raise ConfigError(f"collect({name!r})：给了 band={band!r} 就要用 value= 指明取哪一列")
        sample = self._plan.get("sample")
        if not self._record or self._plan.get("only") not in (None, name) or (sample is not None and name not in sample):
            return self._recorded_rows(name, cases)
        if name not in self._plan["tables"]:
            raise RunError(f"collect({name!r})：第一个参数要直接写成字符串，记录命令才能找到它依赖的代码")
        key = self._plan["tables"][name]["key"]
        known = [row for row in self._tables[name]["rows"] if case_key(row["case"]) not in sample[name]] if sample else []
        rows = list(self._computed_rows(name, key, function, cases, known))
        bands = {}
        if band:
            bands[band] = band_of([float(row["result"][value]) for row in rows], margin, floor)
        self._save({"table": name, "key": key, "complete": [case_key(case) for case in cases], "bands": bands})
        self._tables[name] = self._tables.get(name, {}) | {"bands": bands, "profile": self.profile}
        return [_flat(row) for row in rows]

    def report(self, name: str, value: float, own: Iterable[str] = ()) -> None:
        """Show a result of this run beside its recorded band, so that a test can hold it to the band.

        Args:
            own: what the reader has put in the place of the book's data or model; if anything, the band says nothing.

        Raises:
            RunError: the value is not a finite number.
        """
        value = float(value)
        if not math.isfinite(value):
            raise RunError(f"结果 {name} 不是有限的数：{value}")
        tables = [table for table in self._tables.values() if table["profile"] == self.profile]
        found = next((table["bands"][name] for table in tables if name in table["bands"]), None)
        band, own = [found["low"], found["high"]] if found else None, [*self._plan.get("own", []), *own]
        note = "尚无记录区间"
        if own:
            band, note = None, f"改了 {'、'.join(dict.fromkeys(own))}，不比区间"
        elif band:
            outside = "" if band[0] <= value <= band[1] else "超出"
            note = f"{outside}记录区间 [{band[0]:.4g}, {band[1]:.4g}]"
        line = f"{name} = {value:.4g}（{note}）"
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is None:
            print(line)
        else:
            result = {"name": name, "value": value, "band": band} | ({"note": note} if own else {})
            display({RESULT_MIME: result, "text/plain": line}, raw=True)

    def _recorded_rows(self, name: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        table = self._tables.get(name)
        if table is None:
            print(f"记录表 {name}：尚无记录（make record CHAPTER={self.number} 会生成它）。")
            return []
        if other := self._differences(name, table):
            print(f"记录表 {name}：{'；'.join(other)}。所以不用它的行，当作尚无记录。")
            return []
        by_case = {case_key(row["case"]): row for row in table["rows"]}
        rows = [by_case[case_key(case)] for case in cases if case_key(case) in by_case]
        machine = table["hardware"]
        spent = f"共用时 {table['seconds']:.0f} 秒" if table["seconds"] >= 1 else "共用时不到 1 秒"
        print(
            f"记录表 {name}：记录于 {table['date'][:10]}，档位 {table['profile']}，{machine['processor']}（{machine['cores']} 核），"
            f"{spent}。"
        )
        if checked := table.get("checked"):
            print(f"记录表 {name}：之后代码改过，{checked['date'][:10]} 重算了其中 {checked['rows']} 行，结果逐位相同。")
        if len(rows) < len(cases):
            print(f"记录表 {name}：{len(cases)} 组实验中有 {len(cases) - len(rows)} 组尚无记录。")
        for reason in self._plan.get("tables", {}).get(name, {}).get("stale", []):
            print(f"注意：这份记录已过期：{reason}。")
        return [_flat(row) for row in rows]

    def _differences(self, name: str, table: dict[str, Any]) -> list[str]:
        """What this run does otherwise than the one that recorded a table, if it can change the table's rows."""
        pairs = {parameter: (table["parameters"].get(parameter, usual), self._given.get(parameter, usual))
                 for parameter, (usual, tables) in UNNAMED.get(self.number, {}).items() if name.startswith(tables)}
        return [f"记录时 {parameter} 是 {then!r}，这一次是 {now!r}" for parameter, (then, now) in pairs.items() if then != now]

    def _computed_rows(
        self, name: str, key: str, function: Callable[..., dict[str, Any]], cases: list[dict[str, Any]], known: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Rows of all cases: `known` ones, ones that an interrupted recording has saved, and for the rest new ones."""
        saved = [line for line in read_partial(self.number) if line["table"] == name and line["key"] == key]
        done = {case_key(line["case"]): line for line in [*known, *saved] if "complete" not in line}
        for position, case in enumerate(cases, start=1):
            if case_key(case) not in done:
                started = time.perf_counter()
                with leaks.generators_released():
                    result = {column: _plain(entry) for column, entry in function(**case).items()}
                shared = sorted(set(result) & (set(case) | {"seconds"}))
                if shared:
                    raise RunError(f"collect({name!r})：结果与实验条件有同名的列 {'、'.join(shared)}，请改名")
                row = {"case": case, "result": result, "seconds": round(time.perf_counter() - started, 3)}
                self._save({"table": name, "key": key, **row})
                done[case_key(case)] = row
                print(f"{name} {position}/{len(cases)}：{case_key(case)}，{row['seconds']:.0f} 秒", flush=True)
            yield done[case_key(case)]

    def _save(self, line: dict[str, Any]) -> None:
        file = partial_file(self.number)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            # A line break first ends a line that a kill has cut short; empty lines are skipped in reading.
            stream.write(("\n" + json.dumps(line, ensure_ascii=False) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {**row["case"], **row["result"], "seconds": row["seconds"]}


def _plain(value: Any) -> Any:
    """A result as JSON values: NumPy and TensorFlow scalars and arrays become numbers and lists."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
