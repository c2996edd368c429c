"""Tables of the appendix that are written anew by every build: all exercises, the state of the last run, measured speed.

Their source holds the text around a line that names the table and says that it is written then; staging puts it there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .chapters import Chapter, all_chapters
from .results import ChapterResult, in_band

MARKER = re.compile(r"^（这张表在建站时写入：`(\w+)`）$", re.MULTILINE)
HEADING = re.compile(r"^(?:\((?P<label>[\w-]+)\)=\n)?### 练习 (?P<index>\d+)：(?P<title>.+)$", re.MULTILINE)
SOLUTION = re.compile(r"#@title 练习 (\d+) ?的答案")
EASY, MEDIUM = 3, 5  # lines of the printed solution


@dataclass(frozen=True)
class Exercise:
    """An exercise: its chapter, number, title, the label to link to, and the lines of code of its solution."""

    chapter: int
    index: int
    title: str
    label: str | None
    lines: int

    @property
    def stars(self) -> str:
        """Difficulty, measured by the length of the solution."""
        return "★" * (1 + (self.lines > EASY) + (self.lines > MEDIUM))


def exercises(root: Path) -> list[Exercise]:
    """Every exercise of the book, in its order."""
    return [exercise for chapter in all_chapters(root) if chapter.number for exercise in _exercises_of(chapter)]


def _exercises_of(chapter: Chapter) -> list[Exercise]:
    cells = json.loads(chapter.path.read_text(encoding="utf-8"))["cells"]
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    lines = {int(found.group(1)): _code_lines(source) for kind, source in sources
             if kind == "code" and (found := SOLUTION.match(source))}
    found = [match for kind, source in sources if kind == "markdown" for match in HEADING.finditer(source)]
    return [Exercise(chapter.number, int(m["index"]), m["title"].strip(), m["label"], lines.get(int(m["index"]), 0))
            for m in found]


def _code_lines(source: str) -> int:
    """Lines that are neither empty nor comments nor the closing check."""
    return sum(bool(line.strip()) and not line.lstrip().startswith(("#", "assert ")) for line in source.splitlines())


def exercise_table(root: Path, results: Sequence[ChapterResult]) -> str:
    """Markdown: chapter, exercise with a link, difficulty."""
    rows = ["| 章 | 练习 | 难度 | 答案行数 |", "|---:|---|---|---:|"]
    for one in exercises(root):
        title = one.title.replace("|", "\\|")
        link = f"[{one.index}：{title}](#{one.label})" if one.label else f"{one.index}：{title}"
        rows.append(f"| {one.chapter} | {link} | {one.stars} | {one.lines} |")
    return "\n".join(rows)


def status_table(root: Path, results: Sequence[ChapterResult]) -> str:
    """Markdown: how each chapter ran last, its results beside their bands, and which records are missing or stale."""
    if not results:
        return "还没有运行结果。"
    rows = ["| 章 | 档位 | 设备 | 秒 | 内存（GiB） | 日期 | 结果与区间 | 记录 |", "|---|---|---|---:|---:|---|---|---|"]
    names = {chapter.id: f"[](#ch-{chapter.number:02})" for chapter in all_chapters(root) if chapter.number}
    for result in results:
        memory = f"{result.peak_memory_mb / 1024:.1f}" if result.peak_memory_mb else "–"
        shown = "<br>".join(_reported(name, value) for name, value in result.results.items()) or "–"
        if result.executed is None:
            shown = "**运行失败**"
        tables = list(dict.fromkeys(f"`{reason.partition('：')[0]}`" for reason in result.stale))  # one may have two reasons
        state = f"{len(tables)} 张缺失或过期：{'、'.join(tables)}" if tables else "完整"
        rows.append(f"| {names.get(result.chapter) or _title(root, result.chapter)} | {result.profile} | {result.device} | {result.seconds:.1f} | {memory} "
                    f"| {result.run_at[:10]} | {shown} | {state} |")
    total, failed = sum(result.seconds for result in results), sum(result.executed is None for result in results)
    stale = sum(bool(result.stale) for result in results)
    return "\n".join([*_machines(results), *rows]) + (f"\n\n{len(results)} 个笔记本一共用时 {total / 60:.1f} 分（各自的用时相加，并行时实际更短）；"
                              f"{failed} 个失败，{stale} 个有记录缺失或过期。")


def _title(root: Path, page: str) -> str:
    """Heading of a notebook without a number; the name of its file where there is none."""
    path = root / "chapters" / f"{page}.ipynb"
    text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]) if path.is_file() else ""
    found = re.search(r"(?m)^# (.+)$", text)
    return found.group(1) if found else Path(page).name


def _machines(results: Sequence[ChapterResult]) -> list[str]:
    """Hardware and versions behind the table, one line for each combination, and an empty line; nothing if unknown."""
    lines: dict[str, int] = {}
    for result in results:
        if not (result.versions and result.hardware):
            continue
        facts = result.hardware
        machine = f"{facts.get('processor', '–')}（{facts.get('cores', '–')} 核，内存 {facts.get('memory_gib', '–')} GiB），设备 {facts.get('device', '–')}"
        versions = "，".join(f"{name} {version}" for name, version in result.versions.items())
        line = f"{machine}；{versions}"
        lines[line] = lines.get(line, 0) + 1
    return [part for line, count in lines.items() for part in (f"其中 {count} 个笔记本运行于：{line}。", "")]


def speed_table(root: Path, results: Sequence[ChapterResult]) -> str:
    """Markdown: the ratios of the last `make bench` that was kept in `chapters/_recorded/speed/`, and when and on what it ran."""
    kept = {}
    for name in ("ner_training", "prediction", "book"):
        file = root / "chapters" / "_recorded" / "speed" / f"{name}.json"
        if file.is_file():
            kept[name] = json.loads(file.read_text(encoding="utf-8"))
    if not kept:
        return "还没有测速结果。"
    rows = ["| 量了什么 | 结果 |", "|---|---:|"]
    for size, found in kept.get("ner_training", {}).get("sizes", {}).items():
        rows += [f"| 微调（实体识别，{size}）：{_speeds(name)} | {ratio:.2f} |" for name, ratio in found["ratios"].items()]
        rows += [f"| 微调（实体识别，{size}）：未达到实体 F1 {found['until_equal']:g}，{CONTENDERS.get(name, name)} "
                 f"| {'运行失败' if best is None else f'最好 {best:.3f}'} |" for name, best in found.get("not_reached", {}).items()]
        rows += [f"| 微调（实体识别，{size}）：{what} | {share} |" for what, share in _shares(found["contenders"].get("book", {})).items()]
    for name, ratio in kept.get("prediction", {}).get("ratios", {}).items():
        pair, _, measure = name.rpartition(", ")
        rows.append(f"| 预测（实体识别）：{_contestants(pair)}，{MEASURES.get(measure, measure)} | {ratio:.2f} |")
    built = kept.get("book", {})
    rows += [f"| 建全书：{BUILDS[name]} | {seconds:.0f} 秒 |" for name, seconds in built.get("real", {}).items() if name in BUILDS]
    for name, line in built.get("growth", {}).items():
        rows.append(f"| 建小书，每章等 {built['seconds_per_chapter']:g} 秒：{BUILDS[name]}，固定用时与每多一章 "
                    f"| {line['fixed_seconds']:.1f} + {line['seconds_per_chapter']:.2f} 秒 |")
    when = "；".join(f"`{name}` {found['date'][:10]}，{found['cores']} 核" for name, found in kept.items())
    aims = _aims(kept["ner_training"]["sizes"]) if "ner_training" in kept else ""
    return "\n".join(rows) + f"\n\n比值大于 1 是前者快，用时的比已经倒过来；两边在同一次运行里先后量出。测于：{when}。{aims}"


CONTENDERS = {"book": "本书", "article": "文章的做法（改正后）", "pytorch": "PyTorch，transformers 示例的默认值",
              "keras": "KerasHub 与 `fit` 的默认值"}
# What the book's fine-tuning aims at: its speed over that of each other, and the share of the matrix products' peak.
AIMS = {"article": ("文章的做法", 4.0), "pytorch": ("PyTorch 的循环", 1.5), "keras": ("Keras 的默认做法", 2.0)}
PEAK_AIM = 0.6
MEASURES = {"sentences per second": "每秒句数", "p50 of one": "单句的快慢（中位数）", "p95 of one": "单句的快慢（第 95 百分位）"}
BUILDS = {"from_nothing": "从零开始", "nothing_changed": "什么也没改", "one_changed": "改了一章的代码",
          "changed_chapter": "改了一章的代码，其中执行那一章"}
NAMES = {"book": "本书", "pipeline": "transformers 的 pipeline（逐句）", "pipeline, batches": "transformers 的 pipeline（成批）",
         "litert int8": "LiteRT int8", "litert float": "LiteRT 单精度"}


def _speeds(name: str) -> str:
    """What a ratio of fine-tuning compares: speeds, or the times until the same F1."""
    other = name.removesuffix(" until equal")
    other, equal = CONTENDERS.get(other, other), other != name
    return f"达到同样的实体 F1，{other}的用时 ÷ 本书" if equal else f"本书的每秒句数 ÷ {other}"


def _aims(sizes: dict) -> str:
    """A paragraph: what fine-tuning aims at, and by name what it missed or what was not measured, with the measured value."""
    missed = []
    for size, found in sizes.items():
        values = {f"{name}的 {aim:g} 倍": (found["ratios"].get(other), aim, "{:.2f} 倍") for other, (name, aim) in AIMS.items()}
        values[f"峰值的 {PEAK_AIM:.0%}"] = found["contenders"].get("book", {}).get("share_of_peak"), PEAK_AIM, "{:.1%}"
        for what, (value, aim, form) in values.items():
            if value is None or value < aim:
                missed.append(f"{size}，{what}（{'没有量出' if value is None else '量得 ' + form.format(value)}）")
    aims = "、".join(f"{name}的 {aim:g} 倍" for name, aim in AIMS.values())
    outcome = f"**未达到**：{'；'.join(missed)}" if missed else "都达到了"
    return f"\n\n微调的目标：每秒句数是{aims}，并达到本机矩阵乘法峰值的 {PEAK_AIM:.0%}。{outcome}。"


def _shares(book: dict) -> dict[str, str]:
    """How near the book's training comes to the machine's peak, and where the rest of a step goes; nothing if it failed."""
    if "share_of_peak" not in book:
        return {}
    found = {"占本机矩阵乘法峰值的": f"{100 * book['share_of_peak']:.0f}%"}
    if seconds := book.get("seconds_per_batch"):
        ends = [0.0, *(seconds[name] for name in ("forward", "with_gradients", "with_update"))]
        shares = [100 * (after - before) / ends[-1] for before, after in zip(ends, ends[1:])]
        found["一步的用时，前向、反向、更新各占"] = "、".join(f"{share:.0f}%" for share in shares)
    if "padding_share" in book:
        found["词元位置里填充所占"] = f"{100 * book['padding_share']:.0f}%"
    return found


def _contestants(pair: str) -> str:
    first, _, second = pair.partition(" / ")
    return f"{NAMES.get(first, first)} ÷ {NAMES.get(second, second)}"


def _reported(name: str, result: dict) -> str:
    band = result.get("band")
    limits = f" [{band[0]:.3g}, {band[1]:.3g}]" if band else f"（{result.get('note', '无区间')}）"
    return f"`{name}` {result['value']:.3g}{limits}{'' if in_band(result) else ' **超出**'}"


TABLES: dict[str, Callable[[Path, Sequence[ChapterResult]], str]] = {"exercises": exercise_table, "status": status_table, "speed": speed_table}


def fill(text: str, root: Path, results: Sequence[ChapterResult]) -> str:
    """Put the tables where the markers stand; an unknown marker stays as it is."""
    return MARKER.sub(lambda m: TABLES[m.group(1)](root, results) if m.group(1) in TABLES else m.group(), text)
