"""Gettext catalogues of the translations: `chapters/_site/locale/<edition>/LC_MESSAGES/`, one per translated page.

`titles.po` holds the titles of all pages and parts, `interface.po` what the build adds to pages; a page has a file of
its own, `3-code/13-ner.po`, once somebody translates it. Updating never loses a translation: what no longer fits
is marked fuzzy or moved to the end as obsolete, and the page falls back to Chinese there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import profiles
from ..errors import RunError
from ..files import write_atomically
from . import contents, gettext_files, interface
from .gettext_files import Catalogue
from .stage import pages, source_of
from .strings import HAN, strings_of

EDITIONS = ("en",)
TITLES, INTERFACE = "titles", "interface"


@dataclass(frozen=True)
class Count:
    """Strings of a page: all, and those with a translation that holds."""

    total: int
    translated: int

    @property
    def missing(self) -> int:
        return self.total - self.translated


def folder_of(edition: str, root: Path = profiles.ROOT) -> Path:
    """Where the catalogues of an edition lie.

    Raises:
        RunError: there is no such edition.
    """
    if edition not in EDITIONS:
        raise RunError(f"没有版本 {edition!r}；可选：{'、'.join(EDITIONS)}（不写 EDITION 就是中文版）。")
    return root / "chapters" / "_site" / "locale" / edition / "LC_MESSAGES"


def path_of(name: str, edition: str, root: Path = profiles.ROOT) -> Path:
    """The catalogue of a page, of the titles or of the interface."""
    return folder_of(edition, root) / f"{name}.po"


def read(path: Path) -> Catalogue:
    """A catalogue; empty if there is no file.

    Raises:
        RunError: the file is not a gettext catalogue.
    """
    if not path.is_file():
        return Catalogue()
    try:
        return gettext_files.parse(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError:
        raise RunError(f"{path.name} 不是 UTF-8 编码。") from None


def translations(name: str, edition: str, root: Path = profiles.ROOT) -> dict[str, str]:
    """String -> translation that holds, of one catalogue."""
    return read(path_of(name, edition, root)).translations()


def page_strings(page: str, root: Path = profiles.ROOT) -> list[tuple[str, str]]:
    """The strings of a page with the cells where they stand."""
    source = source_of(page, root)
    return strings_of(source.read_text(encoding="utf-8"), source.suffix == ".ipynb")


def title_strings(root: Path = profiles.ROOT) -> list[tuple[str, str]]:
    """The captions of the parts, and the title of each page."""
    found = {part["caption"]: "_toc.yml" for part in contents.read(root).get("parts") or []}
    for page in pages(root):
        source = source_of(page, root).read_text(encoding="utf-8")
        heading = re.search(r'(?m)^\s*"?# (.+?)(?:\\n)?"?,?$', source)
        if heading and HAN.search(heading.group(1)):
            found.setdefault(heading.group(1), page)
    return list(found.items())


def wanted(name: str, root: Path = profiles.ROOT) -> list[tuple[str, str]]:
    """All strings that a catalogue should hold."""
    if name == INTERFACE:
        return interface.strings(root)
    return title_strings(root) if name == TITLES else page_strings(name, root)


def names(edition: str, root: Path = profiles.ROOT) -> list[str]:
    """The catalogues that there are: titles, interface, and the pages that somebody translates."""
    translated = [page for page in pages(root) if path_of(page, edition, root).is_file()]
    return [TITLES, INTERFACE, *translated]


def update(name: str, edition: str, root: Path = profiles.ROOT) -> Path:
    """Write a catalogue anew from the sources, keeping all translations that it holds."""
    path = path_of(name, edition, root)
    catalogue = read(path)
    catalogue.update(wanted(name, root))
    _write(path, catalogue, edition)
    return path


def counts(edition: str, root: Path = profiles.ROOT) -> dict[str, Count]:
    """How far each page of the table of contents is translated."""
    titles, found = translations(TITLES, edition, root), {}
    for page in pages(root):
        known = {**titles, **translations(page, edition, root)}
        texts = [text for text, _ in page_strings(page, root)]
        found[page] = Count(len(texts), sum(text in known for text in texts))
    return found


def whole_book(found: dict[str, Count]) -> dict[str, int]:
    """How far the book is translated: "total" and "missing" strings, "pages", and how many of these as a "whole"."""
    return {"total": sum(one.total for one in found.values()), "missing": sum(one.missing for one in found.values()),
            "pages": len(found), "whole": sum(not one.missing for one in found.values())}


def summary(found: dict[str, Count]) -> str:
    """One line on how much is translated."""
    return "{pages} 页中 {whole} 页译完；{total} 条文字中 {missing} 条未译，那里显示中文。".format(**whole_book(found))


def chosen(given: Iterable[str], root: Path = profiles.ROOT) -> list[str]:
    """The pages that names on a command line mean: a number, a letter of the appendix, a file name or a path.

    Raises:
        RunError: a name means no page.
    """
    found = []
    for name in given:
        fits = [page for page in pages(root) if name in (page, Path(page).name, Path(page).name.partition("-")[0])]
        if len(fits) != 1:
            raise RunError(f"没有名为 {name!r} 的页；可选：{'、'.join(Path(page).name for page in pages(root))}")
        found += fits
    return found


def fill(name: str, edition: str, texts: dict[str, str], root: Path = profiles.ROOT) -> None:
    """Put translations into a catalogue; strings that its source no longer has are refused.

    Raises:
        RunError: a string is not one of the page.
    """
    known = {text for text, _ in wanted(name, root)}
    if strange := [text for text in texts if text not in known]:
        raise RunError(f"{name} 里没有这些文字：{'；'.join(strange)}")
    path = update(name, edition, root)
    catalogue = read(path)
    for text, translation in texts.items():
        catalogue.entries[text].string, catalogue.entries[text].fuzzy = translation, False
    _write(path, catalogue, edition)


def _write(path: Path, catalogue: Catalogue, edition: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, gettext_files.compose(catalogue, edition).encode())
