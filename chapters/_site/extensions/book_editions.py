"""The link from a page to the same page of the other edition, and which parts of an English page are Chinese."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from sphinx.application import Sphinx


def add_switch(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the link at the head of a page: relative, so that it works from a folder as well."""
    switch = app.config.edition_switch
    if not switch or "body" not in context or doctree is None:
        return
    target = "../" * pagename.count("/") + f"{switch['prefix']}/{pagename}.html"
    link = (f'<nav class="edition-switch" aria-label="{escape(switch["label"])}" lang="{switch["lang"]}">'
            f'<a href="{escape(target)}" hreflang="{switch["lang"]}">{escape(switch["text"])}</a></nav>')
    body = context["body"]
    if app.config.language == "en":  # a screen reader changes its voice
        if pagename in app.config.chinese_pages:
            body = re.sub(r"<section\b", '<section lang="zh-CN"', body, count=1)
        body = re.sub(r'<div class="(cell_(?:in|out)put\b)', r'<div lang="zh-CN" class="\1', body)
    context["body"] = link + body


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("edition_switch", {}, "html", [dict])
    app.add_config_value("chinese_pages", [], "html", [list])
    app.connect("html-page-context", add_switch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
