"""`make container`: run the chapters with the Python that is here, as a reader's Colab does, without the book's `.venv`.

It needs what Colab's container has: nbclient, nbformat, and the packages that the chapters use; what is missing there
is installed by `utils.colab`, as it would be for the reader.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .. import profiles
from .chapters import Chapter, find

TIMEOUT = 1800  # seconds for one cell; Colab's two cores are slower than ours


def execute(chapter: Chapter) -> str | None:
    """Run one notebook from top to bottom in its own folder; the error in one line, or None."""
    import nbclient
    import nbformat

    notebook = nbformat.read(chapter.path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3",
                                     resources={"metadata": {"path": str(chapter.path.parent)}})
    try:
        client.execute()
    except Exception as error:  # a cell's error, a dead kernel, a time-out: each has a class of its own
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[-1] if lines else ''}"
    return None


def main(arguments: Sequence[str] | None = None, root: Path = profiles.ROOT) -> int:
    """Run chapters one after another; the exit status says whether all of them ran."""
    parser = argparse.ArgumentParser(prog="python -m utils.book.in_colab", description="用这里的 Python 执行各章")
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER")
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    os.environ.setdefault("COLAB_RELEASE_TAG", "container")  # by which `utils.colab` knows Colab; the image alone may not set it
    failed = 0
    chosen = find(parser.parse_args(arguments).chapters, root)
    for chapter in chosen:
        started = time.monotonic()
        error = execute(chapter)
        failed += error is not None
        print(f"{'失败' if error else '完成'} {chapter.id}，{time.monotonic() - started:.0f} 秒" + (f"：{error}" if error else ""), flush=True)
    print(f"{len(chosen) - failed} 章完成，{failed} 章失败")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
