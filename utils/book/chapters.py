"""Which chapters there are, and which one a name on the command line means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError

LAST = 25  # number of the last chapter of the plan


@dataclass(frozen=True)
class Chapter:
    """A notebook of the book.

    Attributes:
        id: path relative to `chapters/` without suffix, e.g. "3-code/13-ner".
        path: the notebook.
    """

    id: str
    path: Path

    @property
    def label(self) -> str:
        """The part of the file name before the first hyphen, e.g. "13", "A"; the whole name if it has none."""
        return self.path.stem.partition("-")[0]

    @property
    def number(self) -> int | None:
        """Number of the chapter; None for the front page and the appendix."""
        return int(self.label) if re.fullmatch(r"[0-9]{1,9}", self.label) else None

    @property
    def slug(self) -> str:
        """File name without number and suffix, e.g. "ner"."""
        return self.path.stem.partition("-")[2] or self.path.stem


def all_chapters(root: Path) -> list[Chapter]:
    """Every notebook below `chapters/`, in the order of the book; folders that begin with `_` or `.` are skipped."""
    folder = root / "chapters"
    found = [
        Chapter(path.relative_to(folder).with_suffix("").as_posix(), path)
        for path in folder.rglob("*.ipynb")
        if not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda chapter: [(not part[0].isdigit(), part) for part in chapter.id.split("/")])


def find(names: Iterable[str], root: Path) -> list[Chapter]:
    """The chapters that `names` mean, each once: number, slug, file name or path. No name means all.

    Raises:
        RunError: a name means no chapter, or more than one.
    """
    chapters = all_chapters(root)
    chosen: list[Chapter] = []
    for name in names:
        matching = [chapter for chapter in chapters if _means(name, chapter, root)]
        if len(matching) != 1:
            valid = "、".join(chapter.path.stem for chapter in chapters) or "（chapters/ 下还没有笔记本）"
            fault = f"有 {len(matching)} 章叫 {name!r}" if matching else f"没有名为 {name!r} 的章"
            raise RunError(f"{fault}；可选：{valid}")
        chosen.extend(chapter for chapter in matching if chapter not in chosen)
    return chosen if list(names) else chapters


def _means(name: str, chapter: Chapter, root: Path) -> bool:
    if re.fullmatch(r"[0-9]{1,9}", name):
        return chapter.number == int(name)
    return name in (chapter.label, chapter.slug, chapter.path.stem, chapter.id) or any(
        (base / name).resolve() == chapter.path.resolve() for base in (Path.cwd(), root)
    )
