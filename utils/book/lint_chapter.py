"""Rules about a chapter as a whole: the order of its first cells, headings and labels, parts, exercises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from .chapters import Chapter

FEWEST_EXERCISES = 3
MOST_IN_A_ROW = 3  # code cells that one text introduces: a definition or two, a run, a look at the result
# Code cells besides set-up and exercises. A chapter is read in one sitting: at a minute for text, code and output of each,
# fifty are most of an hour. Those that are longer are held to bounds of their own.
MOST_STEPS = 50
LONGER = {
    8: 65,  # some ten methods on one stream of tasks; apart, one chapter would have to use another's run
    16: 55,  # seven questions put to one and the same trained model
    25: 70,  # four applications of the article in one chapter; each part is read by itself
}
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$")
LABEL = re.compile(r"^\(([^)]+)\)=$")

Finding = tuple[str, str, str]  # cell id, rule, what to do


@dataclass
class Section:
    """A heading with the cells up to the next heading of its level or above."""

    level: int
    title: str
    label: str | None
    cell: str
    cells: list[nbformat.NotebookNode] = field(default_factory=list)


def check_chapter(notebook: nbformat.NotebookNode, path: Path) -> Iterator[Finding]:
    """Rules about a chapter as a whole: order of the first cells, headings, labels, exercises."""
    chapter = Chapter(path.stem, path)
    parts = sections(notebook)
    if chapter.number is None and path.parent.name == "appendix":  # no parameters, no exercises
        yield from check_order(notebook, wanted=1)
        yield from check_headings(parts, f"app-{chapter.slug}", f"app-{chapter.slug}")
        return
    if chapter.number is None:
        yield "-", "name", "文件名要以两位编号开头，例如 13-ner.ipynb"
        return
    yield from check_order(notebook)
    yield from check_headings(parts, f"ch-{chapter.number:02d}", f"sec-{chapter.number:02d}")
    for title in ("小结", "延伸阅读"):
        if not any(title in part.title for part in parts):
            yield "-", "parts", f"缺少“{title}”一节"
    reading = next((part for part in parts if "延伸阅读" in part.title), None)
    if reading and not any("{cite}`" in cell.source for cell in reading.cells):
        yield reading.cell, "parts", "“延伸阅读”要引用文献：{cite}`键名`，键名见 chapters/references.bib"
    exercises = [part for part in parts if part.level == 3 and part.title.startswith("练习")]
    if len(exercises) < FEWEST_EXERCISES:
        yield "-", "exercise", f"只有 {len(exercises)} 道练习（### 练习……），至少要 {FEWEST_EXERCISES} 道"
    for part in exercises:
        yield from check_exercise(part)
    yield from check_steps(notebook, {cell.id for part in exercises for cell in part.cells}, LONGER.get(chapter.number, MOST_STEPS))


def check_steps(notebook: nbformat.NotebookNode, exercises: set[str], most: int) -> Iterator[Finding]:
    """How many code cells there are, and how many follow one text; set-up and the cells of exercises do not count."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    others = exercises | {cell.id for cell in code[:3]}
    steps = row = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            row = 0
        elif cell.id not in others:
            steps, row = steps + 1, row + 1
            if row > MOST_IN_A_ROW:
                row = 1
                yield cell.id, "text", f"一段文字后面已经接了 {MOST_IN_A_ROW} 个代码单元：在这里用一句话说要看什么"
    if steps > most:
        yield "-", "steps", f"正文有 {steps} 个代码单元，最多 {most} 个：分成两章，或把两章都用的函数移到 utils/"


def check_order(notebook: nbformat.NotebookNode, wanted: int = 3) -> Iterator[Finding]:
    """Title, set-up, parameters, profile, in this order; of the last three only the first `wanted`."""
    cells = notebook.cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    if not cells or cells[0].cell_type != "markdown" or not re.search(r"(?m)^# ", cells[0].source):
        yield (cells[0].id if cells else "-"), "order", "第一个单元是标题（# ……）"
    first = (("setup", ""), ("parameters", "PROFILE ="), ("profile", "profiles.get(PROFILE)"))
    for index, (tag, content) in enumerate(first[:wanted]):
        cell = code[index] if index < len(code) else None
        tagged = cell is not None and (tag in cell.metadata.get("tags", []) or tag == "profile")
        if not tagged or content not in cell.source:
            what = f"标签 {tag}" + (f"，含 {content}" if content else "")
            yield (cell.id if cell else "-"), "order", f"第 {index + 1} 个代码单元应当是 {tag} 单元（{what}）"


def sections(notebook: nbformat.NotebookNode) -> list[Section]:
    """The headings of a notebook, outside fenced code, each with its cells."""
    found: list[Section] = []
    for cell in notebook.cells:
        lines = cell.source.splitlines() if cell.cell_type == "markdown" else []
        fenced, before, fresh = False, "", []
        for line in lines:
            fenced ^= line.lstrip().startswith("```")
            if not fenced and (match := HEADING.match(line)):
                label = LABEL.match(before)
                fresh.append(Section(len(match.group(1)), match.group(2), label and label.group(1), cell.id))
            before = line.strip() or before
        found += fresh
        open_levels = 7
        for part in reversed(found):  # a cell belongs to the last heading and to those that enclose it
            if part.level < open_levels or part in fresh:
                part.cells.append(cell)
                open_levels = min(open_levels, part.level)
    return found


def check_headings(parts: list[Section], title: str, prefix: str) -> Iterator[Finding]:
    """One heading of the first level, labelled `title`; every other with a label of its own that begins with `prefix`."""
    titles = [part for part in parts if part.level == 1]
    if len(titles) != 1:
        yield "-", "heading", f"一章恰好有一个一级标题（# ……），这里有 {len(titles)} 个"
    seen: set[str] = set()
    for part in parts:
        wanted = f"({title})=" if part.level == 1 else f"({prefix}-…)="
        label = part.label or ""
        right = label == title if part.level == 1 else re.fullmatch(rf"{prefix}(-[a-z0-9]+)+", label)
        if not right:
            yield part.cell, "label", f"标题“{part.title}”的上一行要写标签 {wanted}（标签用英文小写）"
        elif label in seen:
            yield part.cell, "label", f"标签 ({label})= 用了两次"
        seen.add(label)


def check_exercise(part: Section) -> Iterator[Finding]:
    """Task, the reader's own cell, hint, check, and a folded solution that passes the check."""
    code = [cell for cell in part.cells if cell.cell_type == "code"]
    solutions = [cell for cell in code if cell.source.startswith("#@title")]
    own = [cell for cell in code if cell not in solutions]
    text = "\n".join(cell.source for cell in part.cells if cell.cell_type == "markdown")
    if not own:
        yield part.cell, "exercise", f"“{part.title}”缺少读者自己写的单元"
    if "提示" not in text:
        yield part.cell, "exercise", f"“{part.title}”缺少提示（**提示**：……）"
    if not solutions:
        yield part.cell, "exercise", f"“{part.title}”缺少答案单元（首行 #@title，标签 hide-cell，cellView 为 form）"
    for cell in solutions:
        if "hide-cell" not in cell.metadata.get("tags", []) or cell.metadata.get("cellView") != "form":
            yield cell.id, "exercise", '答案单元要有标签 hide-cell 和元数据 "cellView": "form"'
        if not re.search(r"\bcheck\w*\(", cell.source):
            yield cell.id, "exercise", "答案要调用检查函数（check……），这样 CI 才知道它对"
    if own and not any(re.search(r"\bcheck\w*\(", cell.source) for cell in own):
        yield part.cell, "exercise", f"“{part.title}”缺少读者可以调用的检查函数（check……）"
