"""Tables of the appendix that are written anew by every build: all exercises, the state of the last run, measured speed.

Their source holds the text around a line that names the table and says that it is written then; staging puts it there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .chapters import Chapter, all_chapters
from .results import ChapterResult, in_band
from .speed import speed_table

MARKER = re.compile(r"^（这张表在建站时写入：`(\w+)`）$", re.MULTILINE)
HEADING = re.compile(r"^(?:\((?P<label>[\w-]+)\)=\n)?### 练习 (?P<index>\d+)：(?P<title>.+)$", re.MULTILINE)
SOLUTION = re.compile(r"#@title 练习 (\d+) ?的答案")
EASY, MEDIUM = 3, 5  # lines of the printed solution


@dataclass(frozen=True)
class Exercise:
    """An exercise: its chapter, number, title, the label to link to, and the lines of code of its solution."""

    chapter: int
    index: int
    title: str
    label: str | None
    lines: int

    @property
    def stars(self) -> str:
        """Difficulty, measured by the length of the solution."""
        return "★" * (1 + (self.lines > EASY) + (self.lines > MEDIUM))


def exercises(root: Path) -> list[Exercise]:
    """Every exercise of the book, in its order."""
    return [exercise for chapter in all_chapters(root) if chapter.number for exercise in _exercises_of(chapter)]


def _exercises_of(chapter: Chapter) -> list[Exercise]:
    cells = json.loads(chapter.path.read_text(encoding="utf-8"))["cells"]
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    lines = {int(found.group(1)): _code_lines(source) for kind, source in sources
             if kind == "code" and (found := SOLUTION.match(source))}
    found = [match for kind, source in sources if kind == "markdown" for match in HEADING.finditer(source)]
    return [Exercise(chapter.number, int(m["index"]), m["title"].strip(), m["label"], lines.get(int(m["index"]), 0))
            for m in found]


def _code_lines(source: str) -> int:
    """Lines that are neither empty nor comments nor the closing check."""
    return sum(bool(line.strip()) and not line.lstrip().startswith(("#", "assert ")) for line in source.splitlines())


def exercise_table(root: Path, results: Sequence[ChapterResult]) -> str:
    """Markdown: chapter, exercise with a link, difficulty."""
    rows = ["| 章 | 练习 | 难度 | 答案行数 |", "|---:|---|---|---:|"]
    for one in exercises(root):
        title = one.title.replace("|", "\\|")
        link = f"[{one.index}：{title}](#{one.label})" if one.label else f"{one.index}：{title}"
        rows.append(f"| {one.chapter} | {link} | {one.stars} | {one.lines} |")
    return "\n".join(rows)


def status_table(root: Path, results: Sequence[ChapterResult]) -> str:
    """Markdown: how each chapter ran last, its results beside their bands, and which records are missing or stale."""
    if not results:
        return "还没有运行结果。"
    rows = ["| 章 | 档位 | 设备 | 秒 | 内存（GiB） | 日期 | 结果与区间 | 记录 |", "|---|---|---|---:|---:|---|---|---|"]
    names = {chapter.id: f"[](#ch-{chapter.number:02})" for chapter in all_chapters(root) if chapter.number}
    for result in results:
        memory = f"{result.peak_memory_mb / 1024:.1f}" if result.peak_memory_mb else "–"
        shown = "<br>".join(_reported(name, value) for name, value in result.results.items()) or "–"
        if result.executed is None:
            shown = "**运行失败**"
        tables = list(dict.fromkeys(f"`{reason.partition('：')[0]}`" for reason in result.stale))  # one may have two reasons
        state = f"{len(tables)} 张缺失或过期：{'、'.join(tables)}" if tables else "完整"
        rows.append(f"| {names.get(result.chapter) or _title(root, result.chapter)} | {result.profile} | {result.device} | {result.seconds:.1f} | {memory} "
                    f"| {result.run_at[:10]} | {shown} | {state} |")
    total, failed = sum(result.seconds for result in results), sum(result.executed is None for result in results)
    stale = sum(bool(result.stale) for result in results)
    return "\n".join([*_machines(results), *rows]) + (f"\n\n{len(results)} 个笔记本一共用时 {total / 60:.1f} 分（各自的用时相加，并行时实际更短）；"
                              f"{failed} 个失败，{stale} 个有记录缺失或过期。")


def _title(root: Path, page: str) -> str:
    """Heading of a notebook without a number; the name of its file where there is none."""
    path = root / "chapters" / f"{page}.ipynb"
    text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]) if path.is_file() else ""
    found = re.search(r"(?m)^# (.+)$", text)
    return found.group(1) if found else Path(page).name


def _machines(results: Sequence[ChapterResult]) -> list[str]:
    """Hardware and versions behind the table, one line for each combination, and an empty line; nothing if unknown."""
    lines: dict[str, int] = {}
    for result in results:
        if not (result.versions and result.hardware):
            continue
        facts = result.hardware
        machine = f"{facts.get('processor', '–')}（{facts.get('cores', '–')} 核，内存 {facts.get('memory_gib', '–')} GiB），设备 {facts.get('device', '–')}"
        versions = "，".join(f"{name} {version}" for name, version in result.versions.items())
        line = f"{machine}；{versions}"
        lines[line] = lines.get(line, 0) + 1
    return [part for line, count in lines.items() for part in (f"其中 {count} 个笔记本运行于：{line}。", "")]


def _reported(name: str, result: dict) -> str:
    band = result.get("band")
    limits = f" [{band[0]:.3g}, {band[1]:.3g}]" if band else f"（{result.get('note', '无区间')}）"
    return f"`{name}` {result['value']:.3g}{limits}{'' if in_band(result) else ' **超出**'}"


TABLES: dict[str, Callable[[Path, Sequence[ChapterResult]], str]] = {"exercises": exercise_table, "status": status_table, "speed": speed_table}


def fill(text: str, root: Path, results: Sequence[ChapterResult]) -> str:
    """Put the tables where the markers stand; an unknown marker stays as it is."""
    return MARKER.sub(lambda m: TABLES[m.group(1)](root, results) if m.group(1) in TABLES else m.group(), text)
