"""Whether the links of a built site lead somewhere: every page, file and place inside the site, and those outside it
that are computed from a page's path (source, Colab copy, the site's own address).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lxml import html

from .. import profiles
from . import address

OUTSIDE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.I)


def faults(site: Path, root: Path = profiles.ROOT, copies: Collection[str] = ()) -> list[str]:
    """Lines "page: what is wrong", empty if every link leads somewhere.

    Args:
        site: folder of the built site.
        root: the repository, where the sources lie and the address is written.
        copies: pages (paths without suffix) of which Colab gets a copy.
    """
    where, lines = address.read(root), []

    @cache
    def names(page: str) -> set[str]:
        return set(_parsed(site / page).xpath("//@id | //a/@name"))

    for path in sorted(site.rglob("*.html")):
        page = path.relative_to(site).as_posix()
        if page.startswith("_"):
            continue
        for link in dict.fromkeys(_parsed(path).xpath("//a/@href | //img/@src | //link/@href | //script/@src")):
            if OUTSIDE.match(link):
                lines += [f"{page}: {fault}" for fault in _outside(link, where, site, root, copies)]
                continue
            parts = urlsplit(link)
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path))) if parts.path else page
            fragment = unquote(parts.fragment)
            if not (site / target).is_file():
                lines.append(f"{page}: 没有 {target}")
            elif target.endswith(".html") and fragment and fragment not in names(target):
                lines.append(f"{page}: {target} 里没有 #{fragment}")
    return lines


def _parsed(path: Path) -> html.HtmlElement:
    return html.parse(str(path), html.HTMLParser(encoding="utf-8")).getroot()


def _outside(link: str, where: address.Address, site: Path, root: Path, copies: Collection[str]) -> list[str]:
    """What is wrong with a link that is computed from a path; links to other people's pages are not looked at here."""
    if not where.repository:
        return []
    source, colab = where.source(""), where.colab("").removesuffix(".ipynb")
    if link.startswith(source) and not (root / "chapters" / link.removeprefix(source)).is_file():
        return [f"源文件不存在：{link}"]
    if link.startswith(colab) and link.removeprefix(colab).removesuffix(".ipynb") not in copies:
        return [f"没有这份 Colab 副本：{link}"]
    if link.startswith(where.site) and not (site / link.removeprefix(where.site)).is_file():
        return [f"网站上没有这一页：{link}"]
    return []
