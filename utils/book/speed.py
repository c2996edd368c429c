"""Measured speed: the table of the appendix, and whether the code that was measured has changed since."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from . import dependencies
from .recording import NEUTRAL_MODULES, helper_hash
from .results import ChapterResult

# The programs of a benchmark whose measured code is the book's helper modules, so that a later change of these can be seen.
# `book` measures the whole build: it rests on every file, and its date has to do.
PROGRAMS = {"ner_training": ("ner_training", "contenders", "common"), "prediction": ("prediction", "common")}


def code_behind(name: str, root: Path) -> dict[str, str]:
    """The helper modules that a benchmark measures, by file, with the hash of each; empty for `book`."""
    programs = [root / "tests" / "benchmarks" / f"{program}.py" for program in PROGRAMS.get(name, ())]
    trees = [dependencies.parse(program.read_text(encoding="utf-8")) for program in programs]
    modules = dependencies.helper_files(trees, root, (*NEUTRAL_MODULES, "utils.profiles", "utils.book", "utils.progress"))
    return {file.relative_to(root).as_posix(): helper_hash(file) for file in modules.values()}


def _stale(name: str, found: dict, root: Path) -> str:
    """A sentence on a kept benchmark whose code has changed, or of which nobody knows; else nothing."""
    if name not in PROGRAMS:
        return ""
    if "code" not in found:
        return f"`{name}` 没有记下所测的代码，后来改没改过无从知道。"
    now = code_behind(name, root)
    changed = sorted(file for file in now.keys() | found["code"].keys() if now.get(file) != found["code"].get(file))
    return f"**`{name}` 测过以后代码改了**：{'、'.join(changed)}。" if changed else ""


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
    stale = "".join(_stale(name, found, root) for name, found in kept.items())
    aims = _aims(kept["ner_training"]["sizes"]) if "ner_training" in kept else ""
    return "\n".join(rows) + f"\n\n比值大于 1 是前者快，用时的比已经倒过来；两边在同一次运行里先后量出。测于：{when}。{stale}{aims}"


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
