"""The live box: its files beside the pages, its script and style on the page that has the section for it, and only there.

Staging puts `chapters/_site/livebox` and the model in `_livebox`, not in `_static`: jupyter-book loads every script that
lies in `_static` on every page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

SECTION = 'id="sec-13-live"'  # also in box.js
FILES = "_livebox"


def has_model(app: Sphinx) -> bool:
    return (Path(app.srcdir) / FILES / "model.safetensors").is_file()


def copy_files(app: Sphinx) -> None:
    """At the start, so that Sphinx finds the scripts when it puts their hashes into their addresses."""
    if app.builder.format == "html" and has_model(app):
        copy_asset(Path(app.srcdir) / FILES, Path(app.outdir) / "_static" / "livebox")


def load_box(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Files added while a page is written are that page's own."""
    if SECTION in context.get("body", "") and has_model(app):
        app.add_css_file("livebox/box.css")
        app.add_js_file("livebox/box.js")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", copy_files)
    app.connect("html-page-context", load_box)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
