"""The strings of a page that can be translated, and the page with their translations in place.

A paragraph of this book is one line, so a string is one line of Markdown without its marks of heading, list or quote;
a cell of a table is a string of its own, and so is the alternative text of a figure. Code, outputs, labels and lines
without Chinese are none: they are the same in every edition. Nothing here knows where translations are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import nbformat

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})(.*)$")
LABEL = re.compile(r"^\([\w-]+\)=\s*$")
MARKS = re.compile(r"^(?:\s|>|#{1,6}\s|[-*+]\s|\d+\.\s)*")
CELL = re.compile(r"((?:`[^`]*`|\$[^$]*\$|\\.|[^|`$\\]|[`$])+)")
TRANSLATED_FENCES = ("{glossary}",)  # their definitions are prose; all other fences are code

Translate = Callable[[str], str]


def translate_markdown(text: str, translate: Translate) -> str:
    """A Markdown text with each of its strings replaced by `translate(string)`; all else stays as it is."""
    return "\n".join(_lines(text.split("\n"), translate))


def _lines(lines: list[str], translate: Translate) -> Iterator[str]:
    fence = prose = None
    for line in lines:
        found = FENCE.match(line)
        if fence is not None:
            closing = found is not None and found.group(1).startswith(fence) and not found.group(2).strip()
            # in a glossary the terms stand at the margin: they are Chinese and English in every edition
            yield _line(line, translate) if prose and not closing and line[:1].isspace() else line
            fence = None if closing else fence
        elif found is not None and not (found.group(1)[0] == "`" and "`" in found.group(2)):
            fence, prose = found.group(1), found.group(2).strip().startswith(TRANSLATED_FENCES)
            yield line
        else:
            yield _line(line, translate)


def _line(line: str, translate: Translate) -> str:
    if not HAN.search(line) or LABEL.match(line):
        return line
    marks = MARKS.match(line).group()
    rest = line[len(marks) :]
    if rest.startswith("|"):
        return marks + CELL.sub(lambda cell: _keep_spaces(cell.group(), translate), rest)
    return marks + _keep_spaces(rest, translate)


def _keep_spaces(text: str, translate: Translate) -> str:
    core = text.strip()
    return text.replace(core, translate(core), 1) if HAN.search(core) else text


def translate_notebook(notebook: nbformat.NotebookNode, translate: Translate) -> None:
    """Translate the Markdown cells of a notebook, and the alternative texts of its figures, in place."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = translate_markdown(cell.source, translate)
        image = cell.metadata.get("mystnb", {}).get("image", {})
        if HAN.search(image.get("alt", "")):
            image["alt"] = translate(image["alt"])


def strings_of(source: str, is_notebook: bool) -> list[tuple[str, str]]:
    """The strings of a page in its order, each once, with the id of the cell where it stands first ("" in Markdown).

    Args:
        source: content of the file.
        is_notebook: whether that is a notebook, else Markdown.
    """
    found: dict[str, str] = {}
    place = ""

    def note(text: str) -> str:
        found.setdefault(text, place)
        return text

    if is_notebook:
        for cell in nbformat.reads(source, as_version=4).cells:
            place = cell.id
            translate_notebook(nbformat.v4.new_notebook(cells=[cell]), note)
    else:
        translate_markdown(source, note)
    return list(found.items())
