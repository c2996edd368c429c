"""Recorded tables seen from outside the notebook: what each rests on, whether it still holds, how it is made anew."""

from __future__ import annotations

import ast
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import profiles, records
from ..errors import RunError
from . import dependencies, fingerprints, git, statements
from .chapters import Chapter, all_chapters
from .dependencies import CodeCell, digest

# These cannot change a result: drawing, what a concept map says, the records themselves, the wording of errors, how a file
# is written or fetched, how a reader's own file is read. With a package go its modules.
NEUTRAL_MODULES = ("utils.figures", "utils.concept_maps", "utils.records", "utils.record_files", "utils.errors", "utils.obstacles",
                   "utils.files", "utils.hub", "utils.corpora.hub", "utils.corpora.conll")
PACKAGES = ("tensorflow", "keras", "numpy", "transformers", "tokenizers", "datasets", "seqeval")


@dataclass(frozen=True)
class Table:
    """What a table of a chapter rests on.

    Attributes:
        name: first argument of `collect`.
        code: "notebook" (the statements behind its function), "profile" (the values read) and helper modules -> hash.
        cases: hash of the expression for its cases and of the statements behind that.
        data: data sets and weights -> hash.
    """

    name: str
    code: dict[str, str]
    cases: str
    data: dict[str, str]

    @property
    def key(self) -> str:
        """Hash of what a row depends on besides its case."""
        return digest(json.dumps([self.code, self.data], sort_keys=True))


def tables(chapter: Chapter, root: Path, parameters: dict[str, Any]) -> dict[str, Table]:
    """The tables that a chapter collects, by name, read from its source.

    Args:
        chapter: the notebook.
        root: folder of the repository.
        parameters: values that replace those of the parameters cell.

    Raises:
        RunError: two calls of `collect` give the same name.
    """
    cells = _with_parameters(dependencies.code_cells(dependencies.read_notebook(chapter.path)), parameters)
    all_statements = statements.statements(cells)
    found: dict[str, Table] = {}
    for call in (node for statement in all_statements for node in ast.walk(statement.node)):
        arguments = _collect_arguments(call)
        if arguments is None:
            continue
        name, function, cases = arguments
        if name in found:
            raise RunError(f"{chapter.id}：有两处 collect({name!r})；每张表只能收集一次")
        behind = statements.rests_on(all_statements, function)
        nodes = [*(statement.node for statement in behind), function]
        modules = dependencies.helper_files(nodes, root, NEUTRAL_MODULES)
        helpers = {module: _helper(file.read_text("utf-8")) for module, file in modules.items()}
        code = {"notebook": _hash(nodes)}
        if helpers.pop("utils.profiles", None):
            read = _attributes(nodes).union(*(names for _, names in helpers.values()))
            code["profile"] = _profile_hash(read, _profile_name(cells), root)
        code.update({modules[module].relative_to(root).as_posix(): value for module, (value, _) in helpers.items()})
        behind_cases = [statement.node for statement in statements.rests_on(all_statements, cases)]
        data = fingerprints.data_hashes(modules, root)
        found[name] = Table(name, code, _hash([*behind_cases, cases]), data)
    return found


def stale(chapter: Chapter, root: Path) -> list[str]:
    """Why recorded tables of a chapter no longer fit it, one reason a line beginning with the table; empty if all do."""
    return [f"{name}：{reason}" for name, reasons in stale_tables(chapter, root).items() for reason in reasons]


def stale_all(root: Path) -> dict[str, list[str]]:
    """The chapters that show stale or missing records, with the reasons. A publication refuses if there are any."""
    found = {chapter.id: stale(chapter, root) for chapter in all_chapters(root) if chapter.number is not None}
    return {name: reasons for name, reasons in found.items() if reasons}


def stale_tables(chapter: Chapter, root: Path) -> dict[str, list[str]]:
    """As `stale`, by table; an empty list says that the record holds."""
    if chapter.number is None:
        return {}
    recorded = records.read_recorded(chapter.number)
    default = tables(chapter, root, {})
    found: dict[str, list[str]] = {name: ["笔记本里已没有这张表"] for name in recorded if name not in default}
    for name in default:
        if name not in recorded:
            found[name] = ["尚无记录"]
            continue
        now = asdict(tables(chapter, root, recorded[name]["parameters"])[name])
        reasons = [f"{what}已改：{'、'.join(_changed(recorded[name][part], now[part]))}"
                   for part, what in (("code", "代码"), ("data", "数据")) if recorded[name][part] != now[part]]
        found[name] = reasons + (["实验列表已改"] if recorded[name]["cases"] != now["cases"] else [])
    return found


def to_renew(chapter: Chapter, root: Path) -> list[str]:
    """The tables of a chapter whose record is missing or no longer holds, in the order in which the notebook makes them."""
    reasons = stale_tables(chapter, root)
    return [name for name in tables(chapter, root, {}) if reasons.get(name)]


def plan(chapter: Chapter, root: Path, profile: str, parameters: dict[str, Any], only: str | None = None) -> dict[str, Any]:
    """What the kernel of a recording is told: see `records.Chapter`."""
    found = tables(chapter, root, parameters)
    if only is not None and only not in found:
        raise RunError(f"{chapter.id}：没有名为 {only!r} 的表；可选：{'、'.join(found) or '（本章没有 collect）'}")
    entries = {name: {"key": table.key, "stale": []} for name, table in found.items()}
    return {"number": chapter.number, "chapter": chapter.id, "profile": profile, "record": True, "only": only,
            "tables": entries}


def shown_plan(chapter: Chapter, root: Path, profile: str) -> dict[str, Any]:
    """What the kernel of an ordinary run is told: which of its recorded tables are stale, and why."""
    entries = {name: {"stale": reasons} for name, reasons in stale_tables(chapter, root).items()}
    return {"number": chapter.number, "chapter": chapter.id, "profile": profile, "record": False, "tables": entries}


def entries_of(chapter: Chapter, root: Path, profile: str, parameters: dict[str, Any], only: str | None) -> dict[str, Any]:
    """The tables of the record file after a recording has succeeded: those made now, and those kept.

    Raises:
        RunError: a table of the notebook was not completed by this run.
    """
    found, saved = tables(chapter, root, parameters), records.read_partial(chapter.number)
    kept = {name: entry for name, entry in records.read_recorded(chapter.number).items() if name in found}
    now = circumstances(root)
    for name, table in found.items():
        if only not in (None, name):
            continue
        lines = [line for line in saved if line["table"] == name and line["key"] == table.key]
        by_case = {records.case_key(line["case"]): line for line in lines if "complete" not in line}
        ends = [line for line in lines if "complete" in line and by_case.keys() >= set(line["complete"])]
        complete = ends[-1] if ends else None
        if complete is None:
            raise RunError(f"{chapter.id}：表 {name} 没有收集完：笔记本没有执行到它，或者它的代码在记录时被改了")
        rows = [{part: by_case[case][part] for part in ("case", "result", "seconds")} for case in complete["complete"]]
        old = kept.get(name, {"rows": []})
        made = {part: old[part] for part in now} if rows and all(row in old["rows"] for row in rows) else now  # none made today
        kept[name] = {
            "rows": rows, "bands": complete["bands"], "profile": profile, "parameters": parameters,
            "seconds": round(sum(row["seconds"] for row in rows), 1), **made,
            "code": table.code, "cases": table.cases, "data": table.data,
        }
    return {name: kept[name] for name in found if name in kept}


def circumstances(root: Path) -> dict[str, Any]:
    """Date, versions, hardware and commit of a recording."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}
    changed = git.answer(root, "status", "--porcelain", "--", "utils", "chapters", ":!chapters/_recorded")
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **versions},
        "hardware": {"processor": _processor(), "cores": _cores(), "memory_gib": _memory(),
                     "device": fingerprints.device_name()},
        "commit": git.answer(root, "rev-parse", "HEAD"),
        "modified": bool(changed),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int | None:
    """How many cores this process may use; fewer than the machine has where a run was bound to some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _collect_arguments(node: ast.AST) -> tuple[str, ast.expr, ast.expr] | None:
    """Name, function and cases of a call `….collect("name", function, cases)`; None for anything else."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "collect"):
        return None
    given = dict(zip(("name", "function", "cases"), node.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in node.keywords if keyword.arg})
    name = given.get("name")
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str) or not {"function", "cases"} <= set(given):
        return None
    return name.value, given["function"], given["cases"]


def _with_parameters(cells: Sequence[CodeCell], values: dict[str, Any]) -> list[CodeCell]:
    """The cells with the parameters that a run uses; RECORD, on which no result depends, is left out."""
    lines = [
        f"{name} = {values[name]!r}" if name in values else f"{name} = {ast.unparse(default)}"
        for name, default in dependencies.parameters(cells).items()
        if name != "RECORD"
    ]
    return [CodeCell(cell.id, "\n".join(lines), cell.tags) if "parameters" in cell.tags else cell for cell in cells]


def _hash(nodes: Sequence[ast.AST | None]) -> str:
    return digest("\n".join(statements.canonical(node) for node in nodes))


def _profile_name(cells: Sequence[CodeCell]) -> str:
    default = dependencies.parameters(cells).get("PROFILE")
    return default.value if isinstance(default, ast.Constant) else "mini"


@lru_cache(maxsize=None)
def _helper(source: str) -> tuple[str, frozenset[str]]:
    """Hash of a helper module and the attributes that it reads; kept, because every table of every chapter asks."""
    tree = dependencies.parse(source)
    return _hash([tree]), _attributes([tree])


def helper_hash(file: Path) -> str:
    """Hash of a helper module's code; comments, docstrings and layout do not count."""
    return _helper(file.read_text(encoding="utf-8"))[0]


def _attributes(trees: Sequence[ast.AST | None]) -> frozenset[str]:
    return frozenset(node.attr for tree in trees if tree for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def _profile_hash(read: frozenset[str], name: str, root: Path) -> str:
    """Hash of the profile's values that the code reads. Thus a new field, or another model in the table, changes nothing."""
    values = asdict(profiles.PROFILES[name]) if name in profiles.PROFILES else {}
    return digest("\n".join(f"{key}={values[key]!r}".replace(str(root), "") for key in sorted(values) if key in read))


def _changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
