"""`make pdf`: the whole book as one PDF, printed by Chromium from the built site."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import urllib.parse
from pathlib import Path

from .. import profiles
from ..errors import RunError
from ..files import write_atomically
from . import address, git, paper
from .browser import Browser

BUILD = profiles.ROOT / "_build"
ROUNDS = 4  # the first print has no numbers, the second has them; a further one if they moved something
WIDTH = 665  # CSS pixels: A4 less its margins, 176 mm
OPTIONS = {"preferCSSPageSize": True, "printBackground": True, "generateDocumentOutline": True, "generateTaggedPDF": True}
OBJECT = re.compile(rb"(?m)^(\d+) 0 obj\s(.*?)\sendobj", re.S)
TARGET = re.compile(rb"/([^\s/\[\]<>()]+) \[(\d+) 0 R /XYZ")


def write(path: Path, site: Path = BUILD / "html", root: Path = profiles.ROOT) -> tuple[int, int]:
    """Print the book.

    Args:
        path: the PDF.
        site: folder of the built site.
        root: the repository.

    Returns:
        Number of pages, number of figures.

    Raises:
        RunError: there is no site or no browser, or something was not drawn.
    """
    if not (site / "index.html").is_file():
        raise RunError(f"{site} 里还没有网站：请先运行 make book。")
    folder = site.parent / "print"
    book = paper.assemble(site, f"../{site.name}/", _title(root), _note(root), root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "book.html").write_text(book.text, encoding="utf-8")
    with Browser() as browser:
        numbers: dict[str, int] = {}
        for _ in range(ROUNDS):
            # Chromium may break the pages of one document elsewhere each time that it prints it; so each print is a first one.
            browser.open(folder / "book.html", WIDTH)
            drawn = browser.evaluate(paper.FIT)
            if drawn["broken"] or drawn["errors"] or drawn["wide"]:
                raise RunError(f"有的内容印不出来：图 {drawn['broken']} 幅，公式 {drawn['errors']} 个，超出纸面 {drawn['wide']}")
            if numbers:
                browser.evaluate(_fill(numbers))
            printed = browser.print(**OPTIONS)
            before, numbers = numbers, page_numbers(printed)
            if numbers == before:
                break
        else:
            raise RunError("填上页码以后，页码又变了：请检查目录的样式。")
        if lost := [target for target in book.targets if target not in numbers]:
            raise RunError(f"目录里有 {len(lost)} 项找不到页码，例如 {lost[0]}")
    write_atomically(path, printed)
    shutil.rmtree(folder)
    return len(_pages(printed)), book.figures


def page_numbers(printed: bytes) -> dict[str, int]:
    """Id of a link's target -> number of its page, counted from 1, read from a PDF as Chromium writes it."""
    order = {number: place for place, number in enumerate(_pages(printed), start=1)}
    found = {}
    for name, page in TARGET.findall(printed):
        plain = re.sub(rb"#([0-9A-Fa-f]{2})", lambda code: bytes([int(code.group(1), 16)]), name)
        if int(page) in order:
            found[urllib.parse.unquote(plain.decode("utf-8", "replace"))] = order[int(page)]
    return found


def _pages(printed: bytes) -> list[int]:
    """Object numbers of the pages, in order.

    Raises:
        RunError: this is not a PDF as Chromium writes it.
    """
    objects = {int(number): content for number, content in OBJECT.findall(printed)}
    kids = {number: [int(kid) for kid in re.findall(rb"(\d+) 0 R", match.group(1))]
            for number, content in objects.items() if b"/Type /Pages" in content and (match := re.search(rb"/Kids \[(.*?)\]", content, re.S))}
    tops = set(kids) - {kid for inner in kids.values() for kid in inner}
    if len(tops) != 1:
        raise RunError("认不出浏览器写的 PDF：找不到页的次序。")

    def leaves(number: int) -> list[int]:
        return [leaf for kid in kids[number] for leaf in leaves(kid)] if number in kids else [number]

    return leaves(tops.pop())


def _fill(numbers: dict[str, int]) -> str:
    return (f"(() => {{ const pages = {json.dumps(numbers)}; for (const link of document.querySelectorAll('.contents a')) "
            "link.dataset.page = pages[decodeURIComponent(link.hash.slice(1))] ?? ''; })()")


def _title(root: Path) -> str:
    match = re.search(r"(?m)^title: (.+)$", (root / "_config.yml").read_text(encoding="utf-8"))
    return match.group(1).strip() if match else "书"


def _note(root: Path) -> str:
    """What the cover says below the title: where it comes from, the version, the licences."""
    version = git.answer(root, "log", "-1", "--format=%cs，%h") or datetime.date.today().isoformat()
    lines = [f"版本 {version}", "由网站的同一次构建印成；各章开头相同的准备单元从略，要运行代码请打开笔记本。",
             "文字采用 CC BY 4.0，代码采用 Apache-2.0。", address.read(root).url]
    return "\n".join(line for line in lines if line)
