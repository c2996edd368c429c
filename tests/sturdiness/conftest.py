"""A tiny book with the real command line."""

import pytest

from tests.sturdiness.books import CELL
from tests.unit.tiny_book import TinyBook


@pytest.fixture
def book(tmp_path):
    """Two chapters that note each execution in the file `executed`."""
    book = TinyBook(tmp_path)
    book.add_command_line()
    for number in (1, 2):
        book.notebook(f"0{number}-a", CELL, "print(6 * 7)")
    return book
