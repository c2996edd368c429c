"""Colab copies of the chapters: no MyST left raw, solutions folded, a GPU asked for, the set-up cell naming a tag.

What the site makes of MyST is said here in plain Markdown: citations become names and years with a list at the end,
equations are numbered, terms are words, links to other chapters lead to their copies.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat

from .. import profiles
from ..errors import RunError
from . import address, template
from .chapters import Chapter, all_chapters

METADATA = {
    "accelerator": "GPU",
    "colab": {"provenance": [], "toc_visible": True},
    **template.NOTEBOOK_METADATA,
}
CELL_METADATA = ("cellView", "tags")
CITATION = re.compile(r"\{cite\}`([^`]+)`")
ROLE = re.compile(r"\{(term|numref|ref|doc)\}`([^`<]*?)(?: *<[^`>]*>)?`")
EQUATION = re.compile(r"\$\$((?:(?!\$\$).)+?)\$\$[ \t]*\(([\w-]+)\)", re.S)
LABEL = re.compile(r"(?m)^\([a-z][\w-]*\)=\n")
LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)\s]+)\)")
CODE = re.compile(r"(```.*?```|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$)", re.S)  # and formulas: nothing in them is a link
RAW = re.compile(r"\{[a-z:]+\}`|^\([a-z][\w-]*\)=$|^(?:```|:::)\{", re.M)


def write(folder: Path, tag: str = "main", root: Path = profiles.ROOT) -> list[Path]:
    """Write a copy of every notebook of the book; what lay in the folder is removed.

    Args:
        folder: where to; the copies keep their paths below `chapters/`.
        tag: tag or branch of the repository that the set-up cells fetch.
        root: the repository.

    Raises:
        RunError: a copy would have MyST left, or a solution that does not fold.
    """
    where = address.read(root)
    cited = references(root / "chapters" / "references.bib")
    pages = {chapter.id: chapter for chapter in all_chapters(root)}
    shutil.rmtree(folder, ignore_errors=True)
    written = []
    for page, chapter in pages.items():
        path = folder / f"{page}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = nbformat.read(chapter.path, as_version=4)
        path.write_text(nbformat.writes(copy(source, page, where, tag, cited, pages)) + "\n", encoding="utf-8")
        written.append(path)
    return written


def copy(
    notebook: nbformat.NotebookNode, page: str, where: address.Address, tag: str, cited: dict[str, tuple[str, str]],
    pages: dict[str, Chapter],
) -> nbformat.NotebookNode:
    """The Colab copy of one notebook. `cited`: key -> (name and year, full entry); `pages`: path -> chapter."""
    result = nbformat.from_dict({**notebook, "metadata": METADATA, "cells": []})
    used: list[str] = []
    numbers = equation_numbers(notebook)
    for cell in notebook.cells:
        cell = nbformat.from_dict(cell)
        cell.metadata = nbformat.from_dict({name: cell.metadata[name] for name in CELL_METADATA if name in cell.metadata})
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, numbers, cited, used, lambda target: link(target, page, where, pages))
            if left := RAW.search(without_code(cell.source)):
                raise RunError(f"{page} 的单元 {cell.id}：Colab 副本里还留着 MyST 记号 {left.group()!r}")
        elif "setup" in cell.metadata.get("tags", []):
            cell.source = template.setup_cell(where, tag)
        elif cell.source.startswith("#@title") and cell.metadata.get("cellView") != "form":
            raise RunError(f"{page} 的单元 {cell.id}：答案在 Colab 里不会折叠（元数据 cellView 要是 form）")
        result.cells.append(cell)
    if used:
        entries = "\n".join(f"- {cited[key][1]}" for key in sorted(used, key=lambda key: cited[key][1]))
        result.cells.append(nbformat.v4.new_markdown_cell(f"## 参考文献\n\n{entries}", id="references"))
    return result


def equation_numbers(notebook: nbformat.NotebookNode) -> dict[str, int]:
    """Label of an equation -> its number in the notebook."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return {match.group(2): number for number, match in enumerate(EQUATION.finditer(text), start=1)}


def without_code(text: str) -> str:
    """Markdown without its fenced and inline code."""
    return re.sub(r"(?ms)^```(?!\{).*?^```|(?<![}`])`[^`\n]+`", "", text)


def plain(text: str, numbers: dict[str, int], cited: dict[str, tuple[str, str]], used: list[str], target) -> str:
    """Markdown without MyST; keys that are cited are added to `used`; `target` maps an address to one, or to ""."""

    def citation(match: re.Match) -> str:
        keys = [key.strip() for key in match.group(1).split(",")]
        for key in keys:
            if key not in cited:
                raise RunError(f"chapters/references.bib 里没有 {key}")
            used.extend([key] if key not in used else [])
        return f"（{'；'.join(cited[key][0] for key in keys)}）"

    def tagged(match: re.Match) -> str:
        return f"$${match.group(1).rstrip()} \\tag{{{numbers[match.group(2)]}}}$$"

    def linked(match: re.Match) -> str:
        place = target(match.group(2))
        return f"[{match.group(1)}]({place})" if place else match.group(1)

    text = EQUATION.sub(tagged, LABEL.sub("", text + "\n").rstrip("\n"))
    text = CITATION.sub(citation, text)
    text = re.sub(r"\{eq\}`([^`]+)`", lambda match: f"({numbers.get(match.group(1), '?')})", text)
    text = ROLE.sub(lambda match: match.group(2).strip(), text)
    return "".join(part if place % 2 else LINK.sub(linked, part) for place, part in enumerate(CODE.split(text)))


def link(target: str, page: str, where: address.Address, pages: dict[str, Chapter]) -> str:
    """Where a link of a chapter leads in its copy: outside as it is, another chapter's copy, or nowhere ("")."""
    if re.match(r"[a-z]+:", target):
        return target
    if match := re.fullmatch(r"#ch-(\d\d)", target):
        found = [name for name, chapter in pages.items() if chapter.number == int(match.group(1))]
    else:
        base = (Path(page).parent / target.partition("#")[0]).as_posix()
        found = [name for name in pages if base == f"{name}.ipynb"]
    return where.colab(found[0]) if found else ""


def references(path: Path) -> dict[str, tuple[str, str]]:
    """Key -> ("Devlin 等，2019", "Devlin, Chang, Lee, Toutanova (2019). Title. Where.") of a BibTeX file."""
    from pybtex.database import parse_file

    found = {}
    for key, entry in parse_file(str(path), bib_format="bibtex").entries.items():
        people = entry.persons.get("author") or entry.persons.get("editor") or []
        names = [_text(" ".join([*one.prelast_names, *one.last_names])).replace("others", "等") for one in people]
        year = _text(entry.fields.get("year", ""))
        short = f"{names[0]} 等" if len(names) > 2 else " 与 ".join(names) or _text(entry.fields.get("title", key))
        where = [entry.fields[name] for name in ("journal", "booktitle", "publisher", "note", "url") if name in entry.fields]
        full = f"{'，'.join(names)}（{year}）. {_text(entry.fields.get('title', ''))}. {_text(where[0]) if where else ''}"
        found[key] = (f"{short}，{year}", full.rstrip(". ") + ".")
    return found


def _text(latex: str) -> str:
    """BibTeX text without braces and accents' commands."""
    from pybtex.richtext import Text

    return " ".join(str(Text.from_latex(latex)).split())


def push(folder: Path, remote: str, tag: str, root: Path = profiles.ROOT) -> str:
    """Make the copies the only content of branch `colab` and push it to a remote; returns the new commit.

    Raises:
        RunError: git refuses, or is not installed.
    """

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise RunError("推送要用 git，这台机器上没有：请先安装 git，再运行一次。") from None
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip() or "没有消息").splitlines()
            raise RunError(f"git {arguments[0]} 失败：{lines[-1]}")
        return done.stdout.strip()

    index = root / "_build" / "colab.index"  # so that neither the branch nor the index of the checkout changes
    index.unlink(missing_ok=True)
    environment = {**os.environ}
    environment["GIT_DIR"] = git("-C", str(root), "rev-parse", "--absolute-git-dir")
    environment |= {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(index)}
    git("add", "--all", "--force", ".")
    commit = git("commit-tree", git("write-tree"), "-m", f"Colab copies of {tag}")
    git("push", "--quiet", "--force", remote, f"{commit}:refs/heads/{address.BRANCH}")
    index.unlink(missing_ok=True)
    return commit
