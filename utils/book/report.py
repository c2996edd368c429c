"""The tables that end a run and list the records, as plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .. import records
from .chapters import Chapter
from .results import ChapterResult, in_band

STATUS = {"ok": "完成", "cached": "缓存", "failed": "失败"}


def width(text: str) -> int:
    """Columns that a text takes in a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text below a header."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(width, column)) for column in columns]
    lines = []
    for row in (header, *rows):
        lines.append("  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def summary(results: Sequence[ChapterResult]) -> str:
    """The end of a run: a table of all chapters, then what failed and what lies outside its band."""
    rows = []
    for result in results:
        memory = f"{result.peak_memory_mb:.0f}" if result.peak_memory_mb else "–"
        reported = "；".join(_reported(name, value) for name, value in result.results.items()) or "–"
        rows.append([result.chapter, STATUS[result.status], f"{result.seconds:.1f}", memory, reported])
    lines = [table(["章", "状态", "秒", "内存峰值 MB", "结果"], rows)]
    for result in results:
        if result.error:
            lines.append(f"失败 {result.error}\n     日志 {result.log}")
        lines.extend(f"超出区间 {result.chapter}：{_reported(name, result.results[name])}" for name in result.out_of_band)
        lines.extend(f"记录过期 {result.chapter}：{reason}" for reason in result.stale)
    return "\n".join(lines)


def succeeded(results: Sequence[ChapterResult]) -> bool:
    """Whether every chapter ran and every result lies in its band."""
    return all(result.error is None and not result.out_of_band for result in results)


def record_list(chapters: Sequence[Chapter], reasons: dict[str, dict[str, list[str]]]) -> str:
    """All recorded tables: chapter, table, date, hardware, seconds, and whether they still hold.

    Args:
        chapters: all chapters.
        reasons: chapter id -> table -> why it is stale, as from `recording.stale_tables`.
    """
    rows = []
    for chapter in chapters:
        recorded = records.read_recorded(chapter.number) if chapter.number is not None else {}
        for name, stale in reasons.get(chapter.id, {}).items():
            entry = recorded.get(name, {})
            machine = entry.get("hardware", {})
            hardware = f"{machine['processor']}，{machine['cores']} 核，{machine['device']}" if machine else "–"
            seconds = f"{entry['seconds']:.0f}" if entry else "–"
            state = "；".join(stale) or "有效" + _since(entry)
            rows.append([chapter.id, name, entry.get("date", "–")[:10], hardware, seconds, state])
    return table(["章", "表", "日期", "硬件", "秒", "状态"], rows) if rows else "还没有一章收集记录。"


def _since(entry: dict) -> str:
    """On what a table rests whose code has changed since it was recorded: rows computed again, or all chapters compared."""
    found = []
    if checked := entry.get("checked"):
        found.append(f"改代码后抽查 {checked['rows']}/{len(entry['rows'])} 行")
    if compared := entry.get("compared"):
        found.append(f"{compared['date']} 新旧代码各执行 {compared['chapters']} 本笔记本，打印的结果逐位相同")
    return f"（{'；'.join(found)}）" if found else ""


def _reported(name: str, result: dict) -> str:
    band = result.get("band")
    if band is None:
        return f"{name}={result['value']:.4g}（{result.get('note', '无区间')}）"
    verdict = "在区间内" if in_band(result) else "超出区间"
    return f"{name}={result['value']:.4g}（{verdict} [{band[0]:.4g}, {band[1]:.4g}]）"
