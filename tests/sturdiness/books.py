"""Tiny books that the tests of sturdiness run, and what must be true of their cache."""

import subprocess
import sys

import pytest

from utils.book import cache, kernels
from utils.book.chapters import find

linux = pytest.mark.skipif(not kernels.CAN_FORK, reason="only on Linux")
CELL = "import pathlib, os\nwith open(f'{root}/executed', 'a') as stream: stream.write('.')\nprint('x' * 3000)"


def command(folder, *arguments, **options):
    """Run `python -m utils.book` in a folder."""
    return subprocess.run([sys.executable, "-m", "utils.book", *arguments], cwd=folder, capture_output=True, text=True,
                          check=False, **options)


def whole_entries(root):
    """Chapters with an entry in the cache; each entry must be whole."""
    store, found = cache.Store(root, "mini"), []
    for chapter in find([], root):
        for record in (store.folder / chapter.id).glob("*.json"):
            assert store.load(chapter, record.stem) is not None, f"{record} is damaged"
            found.append(chapter.id)
    return found
