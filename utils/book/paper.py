"""One page of HTML for the whole book, put together from the pages of the built site: what `make pdf` prints.

Each page keeps its words, figures and formulas. Added are a cover, a contents list and numbers under the figures; left
out are buttons, the cell that opens every notebook in the same words, and all that only a screen can do. Paths in it
are relative to the site, so the file must lie beside it.
"""

from __future__ import annotations

import copy
import posixpath
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib
from lxml import etree, html

from .. import profiles
from ..errors import RunError
from ..figures import font_path
from . import contents, stage

STYLES = ("_static/styles/pydata-sphinx-theme.css", "_static/pygments.css", "_static/styles/sphinx-book-theme.css",
          "_static/mystnb.*.css", "_static/book.css", "_static/print.css")
DROPPED = ("//script", "//a[contains(@class, 'headerlink')]", "//*[contains(@class, 'tag_setup')]", "//button", "//dialog",
           "//*[contains(@class, 'livebox')]", "//p[contains(@class, 'collapsed')]")
NUMBER = re.compile(r"第 (\d+) 章|附录 ([A-Z])")
STYLE = """
@font-face { font-family: "Book Han"; src: url("%(han)s"); }
@font-face { font-family: "Book Mono"; src: url("%(mono)s/DejaVuSansMono.ttf"); }
@font-face { font-family: "Book Mono"; src: url("%(mono)s/DejaVuSansMono-Bold.ttf"); font-weight: bold; }
:root, html[data-theme] { --pst-font-family-base: "Book Han", sans-serif; --pst-font-family-heading: "Book Han", sans-serif;
  --pst-font-family-monospace: "Book Mono", "Book Han", monospace; --pst-font-size-base: 10.5pt; }
@page { size: A4; margin: 18mm 17mm 20mm; @bottom-center { content: counter(page); font: 9pt "Book Mono"; color: #444; } }
@page :first { @bottom-center { content: ""; } }
html, body { background: white; font-size: 10.5pt; scroll-padding: 0; }
body, .bd-article { display: block; padding: 0; margin: 0; max-width: none; overflow: visible; height: auto; }
.bd-article { line-height: 1.65; }
.sheet { break-before: page; }
.bd-article h1 { font-size: 20pt; margin-top: 0; }
.bd-article h2 { font-size: 15pt; } .bd-article h3 { font-size: 12.5pt; }
.bd-article div.highlight pre, .bd-article pre { font-size: 8.2pt; line-height: 1.45; }
.bd-article table { font-size: 9pt; } .bd-article :is(th, td) p { margin: 0; }
.bd-article figure { margin: .8em 0; text-align: center; }
.bd-article figure img { max-width: 100%%; max-height: 225mm; filter: none; }
.bd-article figcaption { font-size: 8.8pt; line-height: 1.5; color: #333; text-align: left; }
.bd-article .cell.tag_side-by-side .cell_output { display: block; }
.bd-article details { border: 0; padding: 0; } .bd-article details > summary { list-style: none; }
.cover { text-align: center; padding-top: 60mm; } .cover h1 { font-size: 30pt !important; }
.cover p { text-align: center; }
.contents ol { list-style: none; padding: 0; margin: 0 0 .8em; } .contents ol ol { padding-left: 1.6em; font-size: 9pt; margin: 0 0 .3em; }
.contents .part { font-weight: bold; margin: 1em 0 .3em; break-after: avoid; }
.contents a { display: flex; color: inherit; text-decoration: none; } .contents a::after { content: attr(data-page); flex: none;
  margin-left: auto; padding-left: 1em; min-width: 3.5em; text-align: right; }
"""
# Formulas and tables that are wider than the paper shrink until they fit; returns how many could not.
FIT = """(async () => {
  await document.fonts.ready;
  if (window.MathJax) await MathJax.startup.promise;
  await Promise.all([...document.images].map(image => image.complete ? 0 : new Promise(done => image.onload = image.onerror = done)));
  const room = document.querySelector('.bd-article').clientWidth;
  for (const box of document.querySelectorAll('mjx-container[display]')) {
    const inner = box.querySelector('mjx-math').getBoundingClientRect().width;
    const free = box.parentElement.clientWidth - 40;
    if (inner > free) box.style.fontSize = `${Math.floor(1000 * free / inner) / 10}%`;
  }
  for (const table of document.querySelectorAll('table')) {
    const free = table.parentElement.clientWidth;
    if (table.scrollWidth > free) table.style.zoom = free / table.scrollWidth;
  }
  const broken = [...document.images].filter(image => !image.naturalWidth).length;
  const wide = [...document.querySelectorAll('.bd-article *')]
    .filter(e => e.getBoundingClientRect().right > room + 8 && !e.closest('mjx-assistive-mml'));
  return { broken, formulas: document.querySelectorAll('mjx-container').length, errors: document.querySelectorAll('mjx-merror').length,
           wide: wide.slice(0, 5).map(e => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`) };
})()"""


@dataclass
class Paper:
    """The printed book before it is printed.

    Attributes:
        text: HTML.
        targets: ids that the contents list names, in its order.
        figures: how many figures were numbered.
    """

    text: str
    targets: list[str] = field(default_factory=list)
    figures: int = 0


def assemble(site: Path, prefix: str, title: str, note: str, root: Path = profiles.ROOT) -> Paper:
    """Put the pages of the table of contents together.

    Args:
        site: folder of the built site.
        prefix: path from the folder where the result will lie to `site`, with a slash at its end.
        title: what the cover says.
        note: lines below the title, separated by newlines.
        root: the repository, for the table of contents.

    Raises:
        RunError: a page of the contents is not in the site.
    """
    paper, sheets, listed = Paper(""), [], []
    order = {f"{page}.html": index for index, page in enumerate(stage.pages(root))}
    for page, index in order.items():
        if not (site / page).is_file():
            raise RunError(f"{site} 里没有 {page}：请先运行 make book。")
        article = html.parse(str(site / page), html.HTMLParser(encoding="utf-8")).getroot().xpath("//article[contains(@class, 'bd-article')]")[0]
        _clean(article)
        _rename(article, page, order, prefix)
        paper.figures += _number_figures(article)
        sheets.append(f'<div class="sheet" id="p{index}">{_inside(article)}</div>')
        listed.append((index, article))
    contents = _contents(listed, root, paper.targets)
    style = STYLE % {"han": font_path().as_uri(), "mono": (Path(matplotlib.get_data_path()) / "fonts" / "ttf").as_uri()}
    found = [path.relative_to(site).as_posix() for pattern in STYLES for path in sorted(site.glob(pattern))]
    links = "".join(f'<link rel="stylesheet" href="{prefix}{name}">' for name in found)
    notes = "".join(f"<p>{line}</p>" for line in note.splitlines())
    paper.text = f"""<!doctype html><html lang="zh-CN" data-theme="light" data-mode="light"><head><meta charset="utf-8"><title>{title}</title>
{links}<style>{style}</style><script>window.MathJax = {{options: {{processHtmlClass: "tex2jax_process|mathjax_process|math|output_area", enableMenu: false}}}}</script>
<script defer src="{prefix}_static/mathjax/tex-mml-chtml.js"></script></head><body><article class="bd-article">
<div class="cover"><h1>{title}</h1>{notes}</div>
<div class="sheet contents"><h1>目录</h1>{contents}</div>{"".join(sheets)}</article></body></html>"""
    return paper


def _inside(element: etree._Element) -> str:
    return escape(element.text or "", quote=False) + "".join(etree.tostring(child, encoding="unicode", method="html") for child in element)


def _clean(article: etree._Element) -> None:
    """Take away what only a screen can do, and open what is folded."""
    for path in DROPPED:
        for element in article.xpath(f".{path}"):
            element.drop_tree()
    for details in article.xpath(".//details"):
        details.set("open", "open")
    for label in article.xpath(".//summary//p[contains(@class, 'expanded')]"):
        label.text = re.sub("^(收起|展开)", "", label.text or "")
        label.set("class", "admonition-title")


def _rename(article: etree._Element, page: str, order: dict[str, int], prefix: str) -> None:
    """Make ids unique in the whole book, and lead every link to its new place; what is not in the book becomes text."""
    for element in article.xpath(".//*[@id]"):
        element.set("id", f"p{order[page]}-{element.get('id')}")
    for image in article.xpath(".//img[@src]"):
        image.set("src", _resolve(image.get("src"), page, prefix))
    for link in article.xpath(".//a[@href]"):
        parts = urlsplit(link.get("href"))
        if parts.scheme:
            continue
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path))) if parts.path else page
        if target in order:
            link.set("href", f"#p{order[target]}" + (f"-{unquote(parts.fragment)}" if parts.fragment else ""))
        else:
            del link.attrib["href"]


def _resolve(source: str, page: str, prefix: str) -> str:
    inside = not urlsplit(source).scheme
    return prefix + posixpath.normpath(posixpath.join(posixpath.dirname(page), source)) if inside else source


def _number_figures(article: etree._Element) -> int:
    """Put each figure of an output into a frame with its number and its text; returns how many."""
    heading = "".join(article.xpath("string(.//h1[1])"))
    match = NUMBER.search(heading)
    chapter = (match.group(1) or match.group(2)) if match else ""
    images = [image for image in article.xpath(".//div[contains(@class, 'cell_output')]//img")]
    for count, image in enumerate(images, start=1):
        number = f"图 {chapter}.{count}" if chapter else f"图 {count}"
        frame = html.fragment_fromstring(f"<figure><figcaption><strong>{number}</strong>　</figcaption></figure>")
        frame[0][0].tail = "　" + (image.get("alt") or "")
        image.addprevious(frame)
        frame.tail, image.tail = image.tail, None
        frame.insert(0, image)
    return len(images)


def _contents(listed: list[tuple[int, etree._Element]], root: Path, targets: list[str]) -> str:
    """The contents list: parts, pages, sections; `data-page` is filled in when the pages are known; until then it keeps their place."""
    toc = contents.read(root)
    parts = [""] + [part["caption"] for part in toc.get("parts") or [] for _ in part["chapters"]]
    lines, last = [], ""
    for (index, article), part in zip(listed, parts, strict=True):
        if part != last:
            lines.append(f'<p class="part">{part}</p>')
            last = part
        entries = [(f"p{index}", _title(article, "h1"))]
        sections = [(one.getparent().get("id") or "", _heading(one)) for one in article.xpath(".//section/section/h2")]
        targets += [entries[0][0], *(target for target, _ in sections if target)]
        inner = "".join(f'<li><a href="#{target}" data-page="000">{name}</a></li>' for target, name in sections if target)
        lines.append(f'<ol><li><a href="#{entries[0][0]}" data-page="000">{entries[0][1]}</a><ol>{inner}</ol></li></ol>')
    return "".join(lines)


def _title(article: etree._Element, tag: str) -> str:
    found = article.xpath(f".//{tag}")
    return _heading(found[0]) if found else ""


def _heading(element: etree._Element) -> str:
    return _inside(copy.deepcopy(element))
