"""The link from a page to the same page of the other edition, and which parts of an English page are Chinese.

Where the address of the site is known, machines are told as well: `<link rel="alternate" hreflang=…>` for both editions.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any
from urllib.parse import urljoin

from sphinx.application import Sphinx


def add_switch(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the link at the head of a page: relative, so that it works from a folder as well.

    The search page has no body here: its template (`_templates/search.html`) shows `edition_switch`.
    """
    switch = app.config.edition_switch
    if not switch or (doctree is None and pagename != "search"):
        return
    target = "../" * pagename.count("/") + f"{switch['prefix']}/{pagename}.html"
    link = (f'<nav class="edition-switch" aria-label="{escape(switch["label"])}" lang="{switch["lang"]}">'
            f'<a href="{escape(target)}" hreflang="{switch["lang"]}">{escape(switch["text"])}</a></nav>')
    if base := app.config.html_baseurl:
        own = "en" if app.config.language == "en" else "zh-CN"
        places = {own: base, switch["lang"]: urljoin(base, f"{switch['prefix']}/")}
        context["metatags"] = context.get("metatags", "") + "".join(
            f'\n    <link rel="alternate" hreflang="{language}" href="{escape(place)}{pagename}.html" />'
            for language, place in sorted(places.items()))
    if doctree is None:
        context["edition_switch"] = link
        return
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
