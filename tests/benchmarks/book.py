"""Building the book: nothing changed, one chapter changed, and how the time grows with the number of chapters.

    make bench OPTIONS="book --chapters 2,4,8 --seconds 1"
    make bench OPTIONS="book --real"                         also the real book; it must have been built before (make book)
    make bench OPTIONS="book --real --force"                 and first all its chapters anew, as from nothing

The tiny book has the book's own runner and site, and chapters of one cell that waits. Its first build includes the imports
of TensorFlow in the process from which kernels are forked.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks import common


def make_book(root: Path, chapters: int, seconds: float) -> list[Path]:
    """A book of `chapters` chapters after the template, each with a cell that waits; returns the notebooks."""
    import nbformat

    from utils.book import template

    for name in ("utils", "chapters/_site"):
        shutil.copytree(common.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for name in ("_config.yml", "requirements.lock", "chapters/references.bib"):
        shutil.copy(common.ROOT / name, root / name)
    (root / "chapters" / "index.md").write_text("# 小书\n\n首页。\n", encoding="utf-8")
    (root / "chapters" / "appendix").mkdir()
    shutil.copy(common.ROOT / "chapters" / "appendix" / "references.md", root / "chapters" / "appendix")
    toc = "format: jb-book\nroot: index\nparts:\n- caption: 附录\n  chapters:\n  - file: appendix/references\n"
    (root / "_toc.yml").write_text(toc, encoding="utf-8")
    paths = []
    for number in range(1, chapters + 1):
        path = template.new(f"{number:02d}-tiny", "3-code", f"小章 {number}", root)
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(4, nbformat.v4.new_code_cell(f"import time\n\ntime.sleep({seconds})\nprint({number})", id="wait"))
        path.write_text(template.canonical(notebook), encoding="utf-8")
        paths.append(path)
    return paths


def build(root: Path, *arguments: str) -> tuple[float, dict[str, float]]:
    """Seconds of `python -m utils.book ARGUMENTS` in a book, and those of each chapter that it executed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "utils.book", *arguments], cwd=root, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        print(done.stdout[-1500:], done.stderr[-1500:], file=sys.stderr)
        raise SystemExit(f"python -m utils.book {' '.join(arguments)}: exit status {done.returncode}")
    return seconds, executed(done.stdout)


def executed(printed: str) -> dict[str, float]:
    """Chapter -> seconds, of those that the table at the end of a run names as executed and not as taken from the cache."""
    return {chapter: float(seconds) for chapter, seconds in re.findall(r"(?m)^(\S+)  +完成  +([\d.]+)", printed)}


def edit(path: Path) -> str:
    """Change a chapter's code (one comment more, so that no result changes); returns the text before."""
    import nbformat

    from utils.book import template

    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and not {"setup", "parameters"} & set(cell.metadata.get("tags", [])))
    cell.source += f"\n# 测速 {time.time_ns()}"
    path.write_text(template.canonical(notebook), encoding="utf-8")
    return text


def three_times(root: Path, notebook: Path, command: str, from_nothing: bool) -> dict:
    """Seconds from nothing (if asked), with nothing changed, and with one chapter changed; and how many of these it took itself."""
    result = {}
    if from_nothing:
        result["from_nothing"], chapters = build(root, command, "--force")
        result["executed"] = len(chapters)
    result["nothing_changed"], chapters = build(root, command)
    if chapters:
        raise SystemExit(f"{root}: {len(chapters)} chapters were not in the cache; build the book first")
    before = edit(notebook)
    try:
        result["one_changed"], chapters = build(root, command)
    finally:
        notebook.write_text(before, encoding="utf-8")
    if len(chapters) != 1:
        raise SystemExit(f"{len(chapters)} chapters were executed after one was changed")
    (result["changed_chapter"],) = chapters.values()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chapters", default="2,4,8", help="numbers of chapters of the tiny book")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long the cell of each waits")
    parser.add_argument("--command", default="build", choices=["build", "run"], help="with the site, or without")
    parser.add_argument("--real", metavar="CHAPTER", nargs="?", const="10", help="also the real book, changing this chapter (default 10)")
    parser.add_argument("--force", action="store_true", help="with --real: execute all its chapters anew first")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the result there as well")
    options = parser.parse_args()
    result = {**common.circumstances("book"), "seconds_per_chapter": options.seconds, "command": options.command, "tiny": {}}
    counts = [int(number) for number in re.findall(r"\d+", options.chapters)]
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            paths = make_book(Path(folder), count, options.seconds)
            times = result["tiny"][count] = three_times(Path(folder), paths[0], options.command, from_nothing=True)
        shown = "，".join(f"{name} {value:.1f} s" for name, value in times.items() if name not in ("executed", "changed_chapter"))
        print(f"{count} chapters: {shown}", flush=True)
        print(f"{count} chapters: nothing changed / from nothing = {times['nothing_changed'] / times['from_nothing']:.2f}, "
              f"one changed / from nothing = {times['one_changed'] / times['from_nothing']:.2f}", flush=True)
    if len(counts) > 1:
        for name in ("from_nothing", "nothing_changed", "one_changed"):
            slope, fixed = np.polyfit(counts, [result["tiny"][count][name] for count in counts], 1)
            result.setdefault("growth", {})[name] = {"seconds_per_chapter": float(slope), "fixed_seconds": float(fixed)}
            print(f"{name}: {fixed:.1f} s and {slope:.2f} s for each chapter", flush=True)
    if options.real:
        from utils.book.chapters import find

        (chapter,) = find([options.real], common.ROOT)
        real = result["real"] = three_times(common.ROOT, chapter.path, options.command, from_nothing=options.force)
        print(f"real book: nothing changed {real['nothing_changed']:.1f} s, chapter {chapter.label} changed {real['one_changed']:.1f} s "
              f"(itself {real['changed_chapter']:.1f} s), ratio {real['one_changed'] / real['nothing_changed']:.2f}")
        if options.force:
            print(f"real book: from nothing {real['from_nothing'] / 60:.1f} min for {real['executed']} notebooks, "
                  f"one changed / from nothing = {real['one_changed'] / real['from_nothing']:.3f}")
    common.finish("book", result, options.keep)


if __name__ == "__main__":
    main()
