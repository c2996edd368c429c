"""The form of a chapter: its set-up cell, its canonical JSON, and a new chapter that passes the lint."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import yaml

from .. import profiles
from ..errors import ConfigError
from ..files import write_atomically
from . import address, contents

# Every chapter begins with this cell; the lint compares it letter by letter, and `check --fix` writes it.
SETUP_TEXT = """\
import pathlib, subprocess, sys; here = pathlib.Path("book").resolve()
REPO, TAG = "{repository}", "{tag}"  # 由 make adopt 填写；在 Colab 里从那里取得本书
if "google.colab" in sys.modules and REPO and not here.exists():
    clone = ["git", "clone", "--quiet", "--depth=1", f"--branch={{TAG}}", f"https://github.com/{{REPO}}", str(here)]
    if subprocess.run(clone).returncode: raise SystemExit(f"没有取到 {{REPO}} 的 {{TAG}}，git 的话在上面：多半是网络不通，再运行一次。")
root = next((p for p in [here, *here.parents] if (p / "utils" / "profiles.py").exists()), None)
if root is None: raise SystemExit("找不到 utils/：请从仓库里打开本笔记本（见 README）；在 Colab 里，要等本书公布仓库地址（make adopt）。")
sys.path.insert(0, str(root)); import utils, utils.colab; utils.colab.prepare(); utils.setup()"""
LONGEST_SETUP = 8


def setup_cell(where: address.Address, tag: str = "main") -> str:
    """Source of the set-up cell.

    Args:
        where: the repository that Colab fetches; an empty one makes the cell stop there with a line that says so.
        tag: the tag or branch that it fetches.
    """
    return SETUP_TEXT.format(repository=where.repository, tag=tag)


SETUP = setup_cell(address.read(Path(__file__).resolve().parents[2]))

PARTS = {"1-concepts": "概念", "2-mathematics": "数学", "3-code": "代码", "4-applications": "应用", "appendix": "附录"}
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("cellView", "mystnb", "tags")


def canonical(notebook: nbformat.NotebookNode) -> str:
    """Text of a notebook as the repository keeps it: no outputs, known metadata, sorted keys, indent 1, final newline."""
    clean = nbformat.from_dict({**notebook, "metadata": NOTEBOOK_METADATA, "nbformat": 4, "nbformat_minor": 5})
    for cell in clean.cells:
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(clean, version=4).rstrip("\n") + "\n"


def new(slug: str, part: str, title: str, root: Path = profiles.ROOT) -> Path:
    """Write a new chapter that runs and passes the lint, and add it to `_toc.yml`.

    Args:
        slug: number and English name, e.g. "26-dialogue".
        part: folder or Chinese name of the part, e.g. "4-applications" or "应用".
        title: Chinese title, without number.
        root: the repository.

    Returns:
        Path of the notebook.

    Raises:
        ConfigError: bad slug or part, empty title, or a chapter with this number exists.
        RunError: `_toc.yml` is damaged, or the system lets nothing be written; then nothing is left behind.
    """
    if not re.fullmatch(r"\d\d(-[a-z0-9]+)+", slug):
        raise ConfigError(f"章的名字应当像 26-dialogue（两位编号加英文小写），不能是 {slug!r}。")
    folder = {caption: name for name, caption in PARTS.items()}.get(part, part)
    if folder not in PARTS:
        raise ConfigError(f"没有名为 {part!r} 的部分：请从 {'、'.join(PARTS)} 中选一个。")
    if not title.strip():
        raise ConfigError("章的标题是空的：请给出中文标题。")
    number = slug[:2]
    if taken := sorted((root / "chapters").glob(f"*/{number}-*.ipynb")):
        raise ConfigError(f"第 {int(number)} 章已经有了：{taken[0].relative_to(root)}。请换一个编号。")
    path = root / "chapters" / folder / f"{slug}.ipynb"
    contents.read(root)  # read before anything is written: a chapter that the contents do not list is an error
    write_atomically(path, canonical(chapter(int(number), title.strip())).encode())
    try:
        add_to_toc(f"{folder}/{slug}", root)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def add_to_toc(page: str, root: Path = profiles.ROOT) -> None:
    """Add a page to `_toc.yml`, parts in the order of the book, pages in the order of their names; twice is harmless.

    Raises:
        RunError: `_toc.yml` is damaged, or cannot be written.
    """
    toc = contents.read(root)
    chapters = {part["caption"]: {entry["file"] for entry in part["chapters"]} for part in toc.get("parts") or []}
    chapters.setdefault(PARTS[page.partition("/")[0]], set()).add(page)
    captions = [*PARTS.values(), *(caption for caption in chapters if caption not in PARTS.values())]
    toc["parts"] = [
        {"caption": caption, "chapters": [{"file": file} for file in sorted(chapters[caption])]}
        for caption in captions
        if caption in chapters
    ]
    write_atomically(root / "_toc.yml", yaml.safe_dump(toc, allow_unicode=True, sort_keys=False).encode())


def chapter(number: int, title: str) -> nbformat.NotebookNode:
    """A chapter with every required part and as little content as possible; its code runs."""
    label = f"{number:02d}"
    cells = [
        _text("title", f"(ch-{label})=\n# {title}\n\n读完本章，你能够：\n\n- 说出……；\n- 算出……。"),
        _code("setup", SETUP, tags=["setup"]),
        _code("parameters", 'PROFILE = "mini"  # "mini"：两核 CPU，不联网；"full"：GPU，联网', tags=["parameters"]),
        _code("profile", "from utils import profiles\n\nprofile = profiles.get(PROFILE)\nprint(profile.name)", tags=["profile"]),
        _text("question", f"(sec-{label}-question)=\n## 问题\n\n先说本节要看什么，再运行下面的单元。"),
        _code("question-numbers", 'from utils import figures\n\nlosses = {"示例": ([1, 2, 3], [3.0, 2.0, 1.5])}\n'
              'axes = figures.curves(losses, "步数", "损失（奈特）")',
              mystnb={"image": {"alt": "折线图：损失随步数下降。"}}),
        _text("summary", f"(sec-{label}-summary)=\n## 小结\n\n- 一句话，对应一个目标。"),
        _text("exercises", f"(sec-{label}-exercises)=\n## 练习\n\n先自己写，再调用检查函数，最后才展开答案。"),
    ]
    for index in (1, 2, 3):
        cells += _exercise(label, index)
    reading = "经典的出发点是 BERT {cite}`devlin2019bert`。"
    cells.append(_text("reading", f"(sec-{label}-reading)=\n## 延伸阅读\n\n{reading}"))
    return nbformat.v4.new_notebook(cells=cells, metadata=NOTEBOOK_METADATA)


def _exercise(label: str, index: int) -> list[nbformat.NotebookNode]:
    name, check = f"answer_{index}", f"check_{index}"
    return [
        _text(f"exercise-{index}", f"(sec-{label}-exercise-{index})=\n### 练习 {index}：题目\n\n写一个函数 `{name}`，它返回参数的 {index} 倍。"),
        _code(f"exercise-{index}-check", f'def {check}(function):\n    right = function(5) == {5 * index}\n'
              '    print("正确。" if right else "还不对，再想一想。")\n    return right'),
        _code(f"exercise-{index}-yours", f"def {name}(x):\n    ...  # 在这里写你的答案\n\n{check}({name});"),
        _text(f"exercise-{index}-hint", "**提示**：一个乘号就够了。"),
        _code(f"exercise-{index}-solution",
              f"#@title 练习 {index} 的答案\ndef {name}(x):\n    return {index} * x\n\nassert {check}({name})",
              tags=["hide-cell", "solution"], cellView="form"),
    ]


def _text(name: str, source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source, id=name)


def _code(name: str, source: str, **metadata: object) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, id=name, metadata=metadata)
