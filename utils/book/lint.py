"""Rules that every notebook of the book keeps; each finding names file, cell, rule and what to do."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat

from .. import profiles
from ..errors import BookError
from ..files import write_atomically
from . import stage, template
from .chapters import all_chapters
from .lint_chapter import Finding, check_chapter
from .lint_text import check_text

LONGEST_CELL = 20
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MACHINE_ID = re.compile(r"(?=.*\d)[0-9a-f]{8}(-[0-9a-f]{4}.*)?")
DRAWS = {"figures", "plt", "concept_maps"}
DRAWS_NOT = {"use_style", "font_path", "rcParams", "close", "faults", "contradictions"}


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


def fix(paths: Sequence[Path] | None = None, root: Path = profiles.ROOT, setup: str = template.SETUP) -> list[Path]:
    """Rewrite notebooks in canonical JSON, without outputs, with today's set-up cell; return those that changed.

    What is no notebook, or not there, stays as it is: `check` names it.
    """
    changed = []
    for path in _paths(paths, root):
        try:
            source = path.read_text(encoding="utf-8")
            notebook = nbformat.reads(source, as_version=4)
            nbformat.validate(notebook, relax_add_props=True)
        except Exception:  # json and nbformat raise half a dozen unrelated classes
            continue
        for cell in notebook.cells:
            if cell.cell_type == "code" and "setup" in cell.metadata.get("tags", []):
                cell.source = setup
        text = template.canonical(notebook)
        if text != source:
            write_atomically(path, text.encode())
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
    try:
        text = path.read_text(encoding="utf-8")
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
                yield cell.id, "setup", "准备单元要与 utils/book/template.py 里的 SETUP 逐字相同：运行 python -m utils.book check --fix"


def _image(cell: nbformat.NotebookNode) -> dict:
    options = cell.metadata.get("mystnb") or {}
    return options.get("image") or {}


def parse(source: str) -> ast.Module:
    """Python of a cell, magics left out; an empty module if it cannot be parsed."""
    try:
        return ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
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
