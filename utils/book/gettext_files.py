"""Reading and writing gettext catalogues (`.po`), as far as one message with one translation goes.

Babel reads the same files, but it takes a string that stands twice, or text after a closing quote, without a word;
here both are refused, because a translation would be lost.

Format: https://www.gnu.org/software/gettext/manual/html_node/PO-Files.html
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import RunError

KEYWORD = re.compile(r'^(msgctxt|msgid|msgstr)\s+(".*")$')
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
CLOSE = 0.6  # likeness from which an old translation is offered for a changed string


@dataclass
class Entry:
    """A message: its string, its translation ("" if none), where it stands, and whether a person must look at it."""

    id: str
    string: str = ""
    comments: list[str] = field(default_factory=list)
    fuzzy: bool = False


@dataclass
class Catalogue:
    """Entries of strings that there are, in their order, and of strings that there were."""

    entries: dict[str, Entry] = field(default_factory=dict)
    obsolete: dict[str, Entry] = field(default_factory=dict)

    def translations(self) -> dict[str, str]:
        """String -> translation, without empty and fuzzy ones. An obsolete one counts: its string may come back."""
        found = [*self.obsolete.values(), *self.entries.values()]
        return {entry.id: entry.string for entry in found if entry.string and not entry.fuzzy}

    def update(self, strings: Iterable[tuple[str, str]]) -> None:
        """Hold these (string, place) from now on.

        What has no string any more becomes obsolete; a new string gets the translation of the most similar such
        string, marked fuzzy.
        """
        known = {**self.obsolete, **self.entries}
        wanted = {text: place for text, place in strings if text}
        gone = {text: entry for text, entry in self.entries.items() if text not in wanted and entry.string}
        entries = {}
        for text, place in wanted.items():
            entry = known.get(text)
            if entry is None:
                near = difflib.get_close_matches(text, gone, n=1, cutoff=CLOSE)
                entry = Entry(text, gone[near[0]].string, fuzzy=True) if near else Entry(text)
            entry.comments = [place] if place else []
            entries[text] = entry
        self.obsolete = {text: entry for text, entry in known.items() if text not in wanted and entry.string}
        self.entries = entries


def parse(text: str, name: str) -> Catalogue:
    """Read a catalogue.

    Args:
        text: content of the file.
        name: of the file, for errors.

    Raises:
        RunError: a line is not of the format, or a string stands there twice.
    """
    catalogue, block = Catalogue(), []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            block.append((number, line.rstrip("\r")))
        elif block:
            _add(catalogue, block, name)
            block = []
    return catalogue


def _add(catalogue: Catalogue, block: list[tuple[int, str]], name: str) -> None:
    parts: dict[str, str] = {}
    entry, old, current = Entry(""), False, None
    for number, line in block:
        if line.startswith("#~"):
            old, line = True, line[2:].strip()
        if line.startswith("#,"):
            entry.fuzzy = "fuzzy" in line
        elif line.startswith("#."):
            entry.comments.append(line[2:].strip())
        elif line.startswith("#") or not line:
            continue
        elif match := KEYWORD.match(line):
            current = match.group(1)
            parts[current] = _unquote(match.group(2), name, number)
        elif line.startswith('"') and current:
            parts[current] += _unquote(line, name, number)
        else:
            raise RunError(f"{name} 第 {number} 行不是 gettext 的写法：{line[:60]}")
    if "msgid" not in parts:
        return  # comments alone
    entry.id, entry.string = parts["msgid"], parts.get("msgstr", "")
    if entry.id in catalogue.entries or (old and entry.id in catalogue.obsolete):
        raise RunError(f"{name} 第 {block[0][0]} 行：这条文字出现了两次：{entry.id[:40]}")
    if entry.id:  # the header has none
        (catalogue.obsolete if old else catalogue.entries)[entry.id] = entry


def _unquote(quoted: str, name: str, number: int) -> str:
    if len(quoted) < 2 or not quoted.endswith('"') or re.search(r'(?<!\\)(?:\\\\)*"', quoted[1:-1]):
        raise RunError(f"{name} 第 {number} 行的引号不成对：{quoted[:60]}")
    meaning = {"n": "\n", "t": "\t"}
    return re.sub(r"\\(.)", lambda match: meaning.get(match.group(1), match.group(1)), quoted[1:-1])


def _quote(text: str) -> str:
    return '"' + "".join(ESCAPES.get(character, character) for character in text) + '"'


def compose(catalogue: Catalogue, language: str) -> str:
    """The text of a catalogue; the same entries always give the same text."""
    header = f'msgid ""\nmsgstr ""\n"Language: {language}\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    blocks = [header]
    for prefix, entries in (("", catalogue.entries), ("#~ ", catalogue.obsolete)):
        for entry in entries.values():
            lines = [f"#. {comment}" for comment in entry.comments if not prefix]
            lines += ["#, fuzzy"] if entry.fuzzy else []
            lines += [f"{prefix}msgid {_quote(entry.id)}", f"{prefix}msgstr {_quote(entry.string)}"]
            blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)
