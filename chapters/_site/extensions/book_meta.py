"""What machines and passers-by are told about a page: description, OpenGraph, canonical address, sitemap, its files.

Without an address (`make adopt` has not been run) nothing here names one: relative links only, no sitemap, no card.
"""

from __future__ import annotations

import importlib.util
import json
import re
from html import escape
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx

DATES = "_dates.json"
LONGEST = 150  # characters of a description
CARD = "_static/card.png"
SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
# What publication puts beside the pages (utils/book/publishing.py).
DOWNLOADS = (("整本书离线版（zip）", "book.zip"), ("整本书（PDF）", "book.pdf"))


def describe(doctree: nodes.document | None) -> str:
    """The first words of a page: its first paragraphs outside boxes and lists, and what a list after a colon holds."""
    if doctree is None:
        return ""
    text = ""
    for node in doctree.findall(nodes.paragraph):
        chain = _ancestors(node)
        in_list = any(isinstance(one, nodes.list_item) for one in chain)
        if any(isinstance(one, (nodes.block_quote, nodes.table, nodes.Admonition)) or "cell" in one.get("classes", []) for one in chain):
            continue
        if in_list and not text:
            continue
        if not in_list and len(text) > 40:
            break
        text += _plain(node)
    return shorten(text)


def shorten(text: str, limit: int = LONGEST) -> str:
    """At most `limit` characters, cut after a mark where there is one."""
    if len(text) <= limit:
        return text
    cut = max(text.rfind(mark, limit // 2, limit) for mark in "。；！？")
    return text[: cut + 1] if cut > 0 else text[: limit - 1] + "…"


def _plain(node: nodes.Element) -> str:
    """Text of a paragraph on one line; formulas lose their backslashes and braces."""
    parts = [re.sub(r"\\[,;!]|[{}]|\\(?:mathcal|mathbb|mathrm|hat|boldsymbol)\b|\\", "", one.astext())
             if isinstance(one.parent, nodes.math) else one.astext() for one in node.findall(nodes.Text)]
    return " ".join("".join(parts).split())


def _ancestors(node: nodes.Node) -> list[nodes.Element]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def set_tags(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Description and OpenGraph of a page."""
    book = app.config.html_title or app.config.project
    title = re.sub(r"<[^>]+>", "", context.get("title") or "").strip() or ("搜索" if pagename == "search" else book)
    base = app.config.html_baseurl
    words = describe(doctree) or f"{title}：{book}"
    tags = [("name", "description", words), ("property", "og:title", title), ("property", "og:description", words),
            ("property", "og:type", "website" if pagename == app.config.root_doc else "article"),
            ("property", "og:site_name", book), ("property", "og:locale", app.config.language or "zh_CN")]
    if base:
        tags += [("property", "og:url", base + pagename + ".html"), ("property", "og:image", base + CARD),
                 ("property", "og:image:alt", book)]
    lines = [f'<meta {kind}="{name}" content="{escape(content)}" />' for kind, name, content in tags]
    written = re.sub(r'<meta name="viewport"[^>]*>\s*', "", context.get("metatags", ""))  # the layout has one, too
    context["metatags"] = written + "\n    " + "\n    ".join(lines)


def set_links(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Links to the files of a page, computed from its path: executed notebook, source, Colab copy; then the downloads."""
    source = context.get("sourcename") or ""
    if not source:
        context["page_links"] = []
        return
    notebook = source.endswith(".ipynb")
    options = app.config.html_theme_options
    repository = (options.get("repository_url") or "").rstrip("/")
    links = [("执行过的笔记本" if notebook else "本页的 Markdown", f"{context['pathto']('_sources', 1)}/{source}")]
    if repository:
        links.append(("源文件", f"{repository}/blob/HEAD/chapters/{source}"))
        colab = (options.get("launch_buttons") or {}).get("colab_url")
        if notebook and colab:
            name = repository.split("github.com/", 1)[-1]
            links.append(("在 Colab 中打开", f"{colab}/github/{name}/blob/{options.get('repository_branch')}/{source}"))
        links += [(name, context["pathto"](path, 1)) for name, path in DOWNLOADS]
    context["page_links"] = links


def write_sitemap(app: Sphinx, exception: Exception | None) -> None:
    """sitemap.xml with the date of each page's last change, and the card that a shared link shows.

    Machines are told of one sitemap: the Chinese one names the pages of the edition below it as well (utils/book/editions.py).
    """
    base = app.config.html_baseurl
    if exception is not None or app.builder.format != "html" or not base:
        return
    path = Path(app.srcdir) / DATES
    dates = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    root = ElementTree.Element("urlset", xmlns=SITEMAP)
    below = getattr(app.config, "edition_switch", {}).get("prefix", "..")
    for folder, page in product(["", f"{below}/"] if below != ".." else [""], sorted(app.env.found_docs)):
        url = ElementTree.SubElement(root, "url")
        ElementTree.SubElement(url, "loc").text = f"{base}{folder}{page}.html"
        if page in dates:
            ElementTree.SubElement(url, "lastmod").text = dates[page]
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(Path(app.outdir) / "sitemap.xml", encoding="utf-8", xml_declaration=True)
    draw_card(app.config.html_title or app.config.project, Path(app.outdir) / CARD)


def draw_card(title: str, path: Path) -> None:
    """The picture of 1200 × 630 pixels that other sites show beside a link to the book."""
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    spec = importlib.util.find_spec("pylopdf_fonts_zh_cn")
    font = FontProperties(fname=str(Path(spec.submodule_search_locations[0]) / "NotoSansSC-Regular.otf"))
    figure = Figure(figsize=(12, 6.3), facecolor="#0067a5")
    first, _, rest = title.partition("：")
    figure.text(0.08, 0.58, first, font=font, size=72, color="white")
    figure.text(0.08, 0.40, rest, font=font, size=44, color="white")
    figure.text(0.08, 0.14, "一本可以运行的书 · TensorFlow · Keras 3", font=font, size=26, color="white")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", set_tags)
    app.connect("html-page-context", set_links, priority=999)  # after the theme has named the source
    app.connect("build-finished", write_sitemap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
