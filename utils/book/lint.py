"""Rules that every notebook of the book keeps; each finding names file, cell, rule and what to do."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from .. import profiles
from ..errors import BookError
from . import stage, template
from .chapters import Chapter, all_chapters
from .lint_text import check_text

LONGEST_CELL = 20
FEWEST_EXERCISES = 3
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MACHINE_ID = re.compile(r"(?=.*\d)[0-9a-f]{8}(-[0-9a-f]{4}.*)?")
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$")
LABEL = re.compile(r"^\(([^)]+)\)=$")
DRAWS = {"figures", "plt", "concept_maps"}
DRAWS_NOT = {"use_style", "font_path", "rcParams", "close", "faults", "contradictions"}

Finding = tuple[str, str, str]  # cell id, rule, what to do


@dataclass
class Section:
    """A heading with the cells up to the next heading of its level or above."""

    level: int
    title: str
    label: str | None
    cell: str
    cells: list[nbformat.NotebookNode] = field(default_factory=list)


def check(paths: Sequence[Path] | None = None, root: Path = profiles.ROOT) -> list[str]:
    """Check notebooks.

    Args:
        paths: notebooks; all of the book, and the table of contents, if None.
        root: the repository.

    Returns:
        One line for each finding, "file: cell: [rule] what to do"; empty when all is well.
    """
    lines = [] if paths is not None else [f"_toc.yml: [toc] {line}" for line in check_toc(root)]
    for path in _paths(paths, root):
        inside = path.resolve().is_relative_to(root.resolve())
        name = path.resolve().relative_to(root.resolve()) if inside else path
        lines += [f"{name}: {cell}: [{rule}] {advice}" for cell, rule, advice in check_file(path)]
    return lines


def fix(paths: Sequence[Path] | None = None, root: Path = profiles.ROOT) -> list[Path]:
    """Rewrite notebooks in canonical JSON, without outputs; return those that changed."""
    changed = []
    for path in _paths(paths, root):
        text = template.canonical(nbformat.reads(path.read_text(encoding="utf-8"), as_version=4))
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def _paths(paths: Sequence[Path] | None, root: Path) -> list[Path]:
    return [chapter.path for chapter in all_chapters(root)] if paths is None else [Path(path) for path in paths]


def check_toc(root: Path = profiles.ROOT) -> Iterator[str]:
    """The table of contents lists exactly the pages that exist."""
    try:
        listed = set(stage.pages(root))
    except BookError as error:
        yield str(error)
        return
    for chapter in all_chapters(root):
        if chapter.id not in listed:
            yield f"没有列出 {chapter.id}：请加上它（make new 会自动加）"


def check_file(path: Path) -> list[Finding]:
    """All findings of one notebook."""
    text = path.read_text(encoding="utf-8")
    try:
        data = json.loads(text)
        ids = [cell.get("id") for cell in data["cells"]]
        if twice := {name for name in ids if name and ids.count(name) > 1}:  # nbformat would rename them
            return [(name, "id", "单元的 id 重复了：每个单元一个") for name in sorted(twice)]
        notebook = nbformat.from_dict(data)
        nbformat.validate(notebook, relax_add_props=True)
    except Exception as error:  # json and nbformat raise half a dozen unrelated classes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return [("-", "json", f"不是合法的 nbformat 4.5 笔记本：{reason}")]
    for cell in notebook.cells:
        cell.source = "".join(cell.source)
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        return [("-", "json", f"格式要是 nbformat 4.5，不是 {notebook.nbformat}.{notebook.nbformat_minor}")]
    findings = [*check_form(notebook, text), *check_cells(notebook)]
    if path.stem != "index":
        findings += check_chapter(notebook, path)
    return findings


def check_form(notebook: nbformat.NotebookNode, text: str) -> Iterator[Finding]:
    """Canonical JSON, readable unique ids, no outputs."""
    for cell in notebook.cells:
        if not SLUG.fullmatch(cell.id) or MACHINE_ID.fullmatch(cell.id):
            yield cell.id, "id", "单元的 id 要是可读的英文短名（小写字母、数字、连字符），例如 load-data"
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield cell.id, "outputs", "源文件里不留运行结果：运行 python -m utils.book check --fix"
        if extra := sorted(set(cell.metadata) - set(template.CELL_METADATA)):
            yield cell.id, "metadata", f"多余的元数据 {'、'.join(extra)}：运行 python -m utils.book check --fix"
    if text != template.canonical(notebook):
        yield "-", "json", "JSON 不是规范形式：运行 python -m utils.book check --fix"


def check_cells(notebook: nbformat.NotebookNode) -> Iterator[Finding]:
    """Rules that hold for each cell alone."""
    drawing = drawing_functions(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for rule, advice in check_text(cell.source):
                yield cell.id, rule, advice
        elif cell.cell_type == "code":
            lines = sum(bool(line.strip()) for line in cell.source.splitlines())
            if lines > LONGEST_CELL:
                yield cell.id, "length", f"代码单元有 {lines} 行，最多 {LONGEST_CELL} 行：一个单元一件事，请拆开"
            if draws(cell.source, drawing) and not str(_image(cell).get("alt") or "").strip():
                yield cell.id, "alt", '画图的单元要有替代文字：元数据 {"mystnb": {"image": {"alt": "……"}}}'
            if "setup" in cell.metadata.get("tags", []) and cell.source != template.SETUP:
                yield cell.id, "setup", "准备单元要与 utils/book/template.py 里的 SETUP 逐字相同"


def _image(cell: nbformat.NotebookNode) -> dict:
    options = cell.metadata.get("mystnb") or {}
    return options.get("image") or {}


def parse(source: str) -> ast.Module:
    """Python of a cell, magics left out; an empty module if it cannot be parsed."""
    try:
        return ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))
    except SyntaxError:
        return ast.Module([], [])


def drawing_functions(notebook: nbformat.NotebookNode) -> set[str]:
    """Names of functions that the notebook defines and that draw."""
    names: set[str] = set()
    defined = [node for cell in notebook.cells if cell.cell_type == "code"
               for node in parse(cell.source).body if isinstance(node, ast.FunctionDef)]
    for _ in defined:  # one may call another: as many rounds as there are functions
        names |= {node.name for node in defined if any(_draws(part, names) for part in ast.walk(node))}
    return names


def draws(source: str, names: set[str]) -> bool:
    """Whether running a cell draws a figure: definitions in it do not count."""
    body = [node for node in parse(source).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return any(_draws(part, names) for node in body for part in ast.walk(node))


def _draws(node: ast.AST, names: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id in DRAWS and function.attr not in DRAWS_NOT
    return isinstance(function, ast.Name) and function.id in names


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
