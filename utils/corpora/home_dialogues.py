"""Scripted conversations with a home, written for the book: what is said, what it means, what the assistant should do.

A line is `words | meaning | action`. The meaning is the act or intent (with the kind of device that the words fix) and the
slots, as `corpora.home_intents` labels them; it stands for the words alone, without what was said before. The action is
what the assistant should do now; `=` says: the meaning itself. Kinds of action: 做 (do), 改 (undo the last, then do),
问 (ask for a slot), 确认 (ask whether to do it), 取消 (drop it), 不懂 (did not understand).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, DataError
from .home_scripts import DEVELOPMENT, TEST

ACTIONS = ("做", "改", "问", "确认", "取消", "不懂")

@dataclass(frozen=True)
class Meaning:
    """What words mean: an act or intent, the kind of device that they fix ("" if none), and the slots."""

    act: str
    domain: str = ""
    slots: tuple[tuple[str, str], ...] = ()

    def slot(self, name: str) -> str | None:
        """The value of a slot, or None."""
        return dict(self.slots).get(name)


@dataclass(frozen=True)
class Turn:
    """What the user says, what it means, and the action that is due: its kind and what it is about."""

    text: str
    meaning: Meaning
    kind: str
    target: Meaning


def parse_meaning(text: str) -> Meaning:
    """"HassTurnOn/light area=客厅" as a `Meaning`; the order of the slots does not matter."""
    head, *slots = text.split()
    act, _, domain = head.partition("/")
    return Meaning(act, domain, tuple(sorted(tuple(slot.split("=", 1)) for slot in slots)))


def parse(text: str) -> dict[str, list[Turn]]:
    """Title -> turns.

    Raises:
        DataError: a line that is no turn, an unknown kind of action, or a title used twice; names the line.
    """
    found: dict[str, list[Turn]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("# "):
            if line[2:] in found:
                raise DataError(f"对话的第 {number} 行：题目“{line[2:]}”用过了，请换一个")
            turns = found.setdefault(line[2:], [])
        elif line.strip():
            try:
                words, meaning, action = (part.strip() for part in line.split("|"))
                kind, _, target = action.partition(" ") if action != "=" else ("做", "", meaning)
                if kind not in ACTIONS:
                    raise ValueError(kind)
                turns.append(Turn(words, parse_meaning(meaning), kind, parse_meaning(target or "-")))
            except (ValueError, UnboundLocalError) as error:
                raise DataError(f"对话的第 {number} 行看不懂（{error}）：{line}") from None
    return found


def home_dialogues(split: str = "test") -> dict[str, list[Turn]]:
    """The conversations by title: "development" for building the assistant, "test" for judging it once.

    Raises:
        ConfigError: another split.
    """
    texts = {"development": DEVELOPMENT, "test": TEST}
    if split not in texts:
        raise ConfigError(f"split={split!r} 不认识；可选：{'、'.join(texts)}")
    return parse(texts[split])
