"""What the pages of the book need beside the theme: local MathJax, no third party, dates from git, callouts."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

# What tex-mml-chtml.js loads while it draws: its fonts, and TeX extensions on demand.
MATHJAX_PARTS = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")
DATES = "_dates.json"
OPENING, CLOSING = "（“《「", "，。；：、！？）”》」"
# First bold word of a block quote -> class of the box that it becomes.
CALLOUTS = {"注意": "callout-warning", "勘误": "callout-erratum", "本次运行": "callout-run",
            "Note": "callout-warning", "Erratum": "callout-erratum", "This run": "callout-run"}


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Put the used part of MathJax beside the pages, so that formulas need no network."""
    if exception is not None or app.builder.format != "html":
        return
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or not spec.submodule_search_locations:
        raise ExtensionError("找不到 MathJax：请运行 pip install sphinx-mathjax-offline。")
    source = Path(spec.submodule_search_locations[0]) / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in MATHJAX_PARTS:
        copy_asset(source / part, target / part if (source / part).is_dir() else (target / part).parent)


def drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Remove the Thebe files: they load a script from elsewhere and throw an error on every page."""
    for key in ("script_files", "css_files"):
        context[key] = [
            item
            for item in context.get(key, [])
            if "thebe" not in str(getattr(item, "filename", "") or "").lower()
            and "THEBE" not in str((getattr(item, "attributes", None) or {}).get("body") or "")
        ]


def set_date(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Show when the source file was last changed, as the staging step found it in the git history."""
    path = Path(app.srcdir) / DATES
    dates = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    context["last_updated"] = dates.get(pagename)


def mark_callouts(app: Sphinx, doctree: nodes.document) -> None:
    """Give block quotes that begin with a bold word a class, so that the style sheet can box them."""
    for quote in doctree.findall(nodes.block_quote):
        paragraph = next(iter(quote.findall(nodes.paragraph)), None)
        shown = [child for child in paragraph.children if child.astext()] if paragraph is not None else []
        if shown and isinstance(shown[0], nodes.strong):
            quote["classes"] += ["callout", CALLOUTS.get(shown[0].astext().rstrip("：:"), "callout-note")]


def keep_punctuation(app: Sphinx, doctree: nodes.document) -> None:
    """Tie a mark to the formula beside it: a browser would begin a line with the full stop that follows a formula."""
    for formula in list(doctree.findall(nodes.math)):
        place = formula.parent.index(formula)
        before, after = formula.parent[max(0, place - 1) : place], formula.parent[place + 1 : place + 2]
        opening = re.search(rf"[{OPENING}]+$", before[0]) if before and isinstance(before[0], nodes.Text) else None
        closing = re.match(rf"[{CLOSING}]+", after[0]) if after and isinstance(after[0], nodes.Text) else None
        if not opening and not closing:
            continue
        tied = nodes.inline("", "", classes=["nobreak"])
        start = place - bool(opening)
        parts: list[nodes.Node] = []
        if opening:
            parts.append(nodes.Text(before[0][: opening.start()]))
            tied += nodes.Text(opening.group())
        parts.append(tied)
        if closing:
            parts.append(nodes.Text(after[0][closing.end() :]))
        formula.parent[start : place + 1 + bool(closing)] = [part for part in parts if part is tied or part.astext()]
        tied += formula
        if closing:
            tied += nodes.Text(closing.group())


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", drop_thebe, priority=999)
    app.connect("html-page-context", set_date)
    app.connect("doctree-read", mark_callouts)
    app.connect("doctree-read", keep_punctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
