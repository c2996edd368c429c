"""What the build itself writes on pages, in Chinese, and how an edition looks it up in its catalogue.

The Chinese texts are the messages; `{}` stands for a number or a name. Beside those below, every quoted Chinese text
in the scripts and templates of the site is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .stage import DATA_NAMES
from .strings import HAN

STALE = "本章有些记录缺失或已经过期，不再符合现在的代码或数据：{}。"
STRINGS = (
    "展开准备代码", "收起准备代码", "展开代码", "收起代码", "展开答案", "收起答案", "展开", "收起", "搜索本书", "（计划中）",
    '文字采用 <a href="{}">CC BY 4.0</a>，代码采用 <a href="{}">Apache-2.0</a>。',
    # the run card and the warnings (stage.py)
    "**本次运行**", "**注意**：{}", "档位 {}", "设备 {}", "用时 {}", "内存峰值 {} GiB", "数据为{}", "模型为{}", "日期 {}",
    "{} 秒", "{} 分 {} 秒", "随书附带的小型编码器", *DATA_NAMES.values(), "本章最近一次运行失败，下面没有运行结果。{}",
    STALE,
    # why a record is stale (recording.py)
    "{}：尚无记录", "{}：代码已改：{}", "{}：数据已改：{}", "{}：实验列表已改", "{}：笔记本里已没有这张表",
    # links to the files of a page, and what machines are told
    "执行过的笔记本", "本页的 Markdown", "源文件", "在 Colab 中打开", "整本书离线版（zip）", "整本书（PDF）", "搜索",
    "一本可以运行的书 · TensorFlow · Keras 3", "本页的文件", "首页",
)
SCANNED = ("templates/*.html", "static/*.js", "extensions/*.js", "livebox/*.js", "extensions/book_meta.py")
QUOTED = re.compile(r"\"([^\"\n]*)\"|`([^`\n]*)`")
CARD, CARD_END = "**本次运行**：", "。"
SERIES = re.compile(r"、(?![^（]*）)")  # not inside brackets: these belong to a name
Look = Callable[[str], str]


def files(folder: Path, prefix: str = "") -> list[Path]:
    """Scripts and templates of the site whose quoted texts readers see; `prefix` is "_" on the stage."""
    return [path for pattern in SCANNED for path in sorted(folder.glob(prefix + pattern))]


def strings(root: Path) -> list[tuple[str, str]]:
    """The messages, each with the file where it stands ("" for those of the build)."""
    found = dict.fromkeys(STRINGS, "")
    for path in files(root / "chapters" / "_site"):
        for match in QUOTED.finditer(path.read_text(encoding="utf-8")):
            text = match.group(1) or match.group(2) or ""
            if HAN.search(text) and "\\" not in text:  # with a backslash it is a pattern
                found.setdefault(text, path.name)
    return list(found.items())


def replace(text: str, look: Look) -> str:
    """A script or template with its quoted Chinese translated; what has no translation stays."""

    def swap(match: re.Match) -> str:
        inner = match.group(1) or match.group(2) or ""
        return match.group()[0] + look(inner) + match.group()[-1] if HAN.search(inner) else match.group()

    return QUOTED.sub(swap, text)


def translator(known: dict[str, str]) -> Look:
    """A function from a Chinese text of the build to its translation, or to itself."""
    patterns = [(re.compile("(.+?)".join(map(re.escape, text.split("{}")))), translation)
                for text, translation in sorted(known.items(), key=lambda item: -len(item[0].replace("{}", ""))) if "{}" in text]

    def look(text: str) -> str:
        if text in known:
            return known[text]
        if text.startswith(CARD) and CARD.rstrip("：") in known:
            facts = [look(fact) for fact in text.removeprefix(CARD).removesuffix(CARD_END).split("；")]
            return f"{known[CARD.rstrip('：')]}: {'; '.join(facts)}."
        begin, end = STALE.split("{}")
        if text.startswith(begin) and STALE in known:
            reasons = text.removeprefix(begin).removesuffix(end).split("；")
            return known[STALE].format("; ".join(map(look, reasons)))
        for pattern, translation in patterns:
            if found := pattern.fullmatch(text):
                return translation.format(*map(series, found.groups()))
        return text

    def series(part: str) -> str:
        """What stands for a `{}`: a text of its own, or several with 、 between."""
        whole = look(part.strip())
        return whole if whole != part.strip() else ", ".join(map(look, SERIES.split(whole)))

    return look
