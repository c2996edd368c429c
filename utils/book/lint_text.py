"""Rules for the Markdown of a notebook: only the MyST of the short list, Chinese typography, one paragraph a line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

ROLES = {"cite", "eq", "numref", "term"}
DIRECTIVES = {"glossary"}
HAN = r"\u3400-\u4dbf\u4e00-\u9fff"

# (pattern, what to do); applied to plain text, outside code, formulas, roles and addresses.
TYPOGRAPHY = (
    (re.compile(rf"[{HAN}][A-Za-z0-9]|[A-Za-z0-9][{HAN}]"), "中文与字母、数字之间要有一个空格"),
    (re.compile(rf"[{HAN}][,;:?!]"), "中文句子用全角标点（，；：？！）"),
    (re.compile(rf"[{HAN}]\.(?=\s|$|[{HAN}])"), "中文句子用句号“。”"),
    (re.compile(rf"[{HAN}] ?\(|\) ?[{HAN}]"), "中文句子用全角括号（）"),
    (re.compile(rf'[{HAN}]"|"[{HAN}]'), "中文句子用引号“”"),
    (re.compile(r"[，。；：？！、] | [，。；：？！、]"), "全角标点前后不要空格"),
)

PARSER = (
    MarkdownIt("commonmark")
    .enable("table")
    .use(dollarmath_plugin, allow_labels=True, double_inline=True)
    .use(myst_block_plugin)
    .use(myst_role_plugin)
)


def check_text(source: str) -> Iterator[tuple[str, str]]:
    """Yield (rule, what to do) for each fault in the Markdown of one cell."""
    tokens = PARSER.parse(source)
    for index, token in enumerate(tokens):
        yield from _check_block(token)
        if token.type == "blockquote_open" and not _begins_bold(tokens[index + 1 :]):
            yield "markdown", "引用块要以粗体词开头（**注意**、**勘误**……）"
        if token.type == "inline":
            yield from _check_inline(token, in_paragraph=tokens[index - 1].type == "paragraph_open")


def _check_block(token: Token) -> Iterator[tuple[str, str]]:
    if token.type == "fence" and (match := re.match(r"\{([^}]+)\}", token.info.strip())):
        if match.group(1) not in DIRECTIVES:
            yield "myst", f"指令 {{{match.group(1)}}} 不在允许的短表里（Colab 会原样显示）：改用普通 Markdown 或代码单元"
    elif token.type == "html_block":
        yield "markdown", "不用 HTML 标签：改用普通 Markdown"
    elif token.type in ("myst_line_comment", "myst_block_break"):
        yield "myst", "不用 MyST 的注释（%）与分块符（+++）：Colab 会原样显示"


def _check_inline(token: Token, in_paragraph: bool) -> Iterator[tuple[str, str]]:
    children = token.children or []
    if token.content.lstrip().startswith(":::"):
        yield "myst", "冒号围栏（:::）不在允许的短表里：改用以粗体词开头的引用块"
    address = 0  # inside <https://…>, whose text is the address
    for child in children:
        if child.type == "text" and re.search(r"\[\^[^\]]+\]|^\^\S+$", child.content):
            yield "markdown", "不用脚注：Colab 不显示它，写进正文或括号"
        if child.type == "link_open":
            address += child.markup == "autolink"
        elif child.type == "link_close":
            address -= child.markup == "autolink"
        elif child.type in ("softbreak", "hardbreak") and in_paragraph:
            yield "one-line", "一段写成一行：段内换行在中文里会显示成空隙"
        elif child.type == "myst_role" and child.meta["name"] not in ROLES:
            yield "myst", f"角色 {{{child.meta['name']}}} 不在允许的短表里：只用 {'、'.join(sorted(ROLES))}"
        elif child.type == "html_inline":
            yield "markdown", f"不用 HTML 标签（{child.content}）：改用普通 Markdown"
        elif child.type == "image" and not child.content.strip():
            yield "alt", "图片要有替代文字：![说明](地址)"
        elif child.type == "text" and not address:
            yield from _check_typography(child.content)


def _check_typography(text: str) -> Iterator[tuple[str, str]]:
    for pattern, advice in TYPOGRAPHY:
        if match := pattern.search(text):
            start, end = max(0, match.start() - 6), match.end() + 6
            yield "typography", f"{advice}：“…{text[start:end]}…”"


def _begins_bold(tokens: list[Token]) -> bool:
    first = next((token for token in tokens if token.type == "inline"), None)
    shown = [child for child in (first.children or []) if child.type != "text" or child.content] if first else []
    return bool(shown) and shown[0].type == "strong_open"
