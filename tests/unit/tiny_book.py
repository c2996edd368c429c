"""A tiny book in a temporary folder: its own helper package, without TensorFlow, and notebooks made in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SETUP = """import pathlib, sys
root = next(p for p in pathlib.Path.cwd().parents if (p / "utils" / "profiles.py").exists())
sys.path.insert(0, str(root))
import utils
utils.setup()"""
HELPERS = {
    "__init__": "def setup():\n    from . import figures\n",
    "figures": "STYLE = 1\n",
    "alpha": "from .beta import double\n\ndef value():\n    return double(21)\n",
    "beta": "def double(x):\n    return 2 * x\n",
    "gamma": "def value():\n    import utils.delta\n    return utils.delta.VALUE\n",
    "delta": "VALUE = 7\n",
}
LIGHT_PRELOAD = ("ipykernel.kernelapp", "ipykernel.ipkernel", "IPython", "decimal", "matplotlib.pyplot")


class TinyBook:
    """The folder of a tiny book.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "utils").mkdir()
        (root / "chapters" / "_recorded").mkdir(parents=True)
        for name in ("records", "record_files", "leaks", "errors", "profiles", "files", "obstacles"):
            shutil.copy(REPOSITORY / "utils" / f"{name}.py", root / "utils")
        for name, source in HELPERS.items():
            self.helper(name, source)
        (root / "requirements.lock").write_text("numpy==2.0\n")

    def helper(self, name: str, source: str) -> Path:
        """Write a module of the helper package."""
        path = self.root / "utils" / f"{name}.py"
        path.write_text(source)
        return path

    def notebook(self, name: str, *sources: str, prose: str = "正文", parameters: str = 'PROFILE = "mini"\nRECORD = False') -> Path:
        """Write a notebook `chapters/3-code/NAME.ipynb` with cells `cell-1`, `cell-2`, … after the usual first ones."""
        cells = [_cell("setup", SETUP, "setup"), _cell("parameters", parameters, "parameters")]
        cells += [_cell(f"cell-{index}", source) for index, source in enumerate(sources, start=1)]
        text = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": prose}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = self.root / "chapters" / "3-code" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        notebook = {"cells": [text, *cells], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1))
        return path

    def corpora(self) -> Path:
        """Add data sets whose one file is the returned one."""
        data = self.root / "data.txt"
        data.write_text("one")
        (self.root / "utils" / "corpora").mkdir()
        (self.root / "utils" / "corpora" / "__init__.py").write_text("x = 1\n")
        shutil.copy(REPOSITORY / "utils" / "corpora" / "sources.py", self.root / "utils" / "corpora")
        return data

    def add_command_line(self) -> None:
        """Add the real `utils.book`, so that `python -m utils.book` works in this folder, with light imports."""
        shutil.copytree(REPOSITORY / "utils" / "book", self.root / "utils" / "book")
        with (self.root / "utils" / "book" / "kernels.py").open("a") as stream:
            stream.write(f"\nPRELOADED = {LIGHT_PRELOAD!r}\n")


def _cell(name: str, source: str, *tags: str) -> dict:
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "code", "id": name, "metadata": metadata, "source": source, "outputs": [], "execution_count": None}
