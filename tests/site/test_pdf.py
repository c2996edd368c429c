"""The printed book: real pages from the small site, and with `-m soak` the whole book."""

import re
import shutil
import subprocess
import time

import pytest

from tests.tools import lacking
from utils.book import pdf


@pytest.fixture(scope="module")
def printed(browser, tmp_path_factory, small_site):
    """(path, pages, figures) of the printed small book; `browser` skips the test where none is installed."""
    path = tmp_path_factory.mktemp("printed") / "book.pdf"
    return path, *pdf.write(path, small_site, small_site.parents[1])


def words(path):
    """Text of a PDF, page by page."""
    if not shutil.which("pdftotext"):
        lacking("没有 pdftotext，看印出的文字的测试跳过；Debian：apt-get install poppler-utils")
    done = subprocess.run(["pdftotext", "-layout", str(path), "-"], capture_output=True, text=True, check=True)
    return done.stdout.split("\f")[:-1]


def test_the_book_is_printed_with_fonts_of_its_own_and_an_outline(printed):
    path, pages, _ = printed
    content = path.read_bytes()
    assert content.startswith(b"%PDF") and pages > 8
    fonts = set(re.findall(rb"/FontName /(?:[A-Z]{6}\+)?([\w-]+)", content))
    assert b"NotoSansSC-Regular" in fonts and any(name.startswith(b"DejaVuSansMono") for name in fonts), fonts
    assert b"/Outlines" in content


def test_every_entry_of_the_contents_names_the_page_of_its_heading(printed):
    path, pages, _ = printed
    text = words(path)
    assert len(text) == pages
    entries = re.findall(r"(?m)^\s*(\S.*?)\s+(\d+)$", next(page for page in text if "目录" in page))
    assert len(entries) > 8
    for name, number in entries:
        if not number or int(number) > pages or len(name) < 3 or "$" in name:
            continue
        assert name.replace(" ", "")[:8] in text[int(number) - 1].replace(" ", ""), (name, number)


def test_long_lines_of_code_and_output_are_whole(printed):
    path, _, _ = printed
    text = re.sub(r"\s", "", "".join(words(path)))
    printed_cells = text.count("printedby")
    assert printed_cells > 5 and text.count("长") == 90 * printed_cells
    assert "在Colab里，要等本书公布仓库地址" not in text, "the set-up cell is left out"


def test_no_folder_is_left_beside_the_site(printed, small_site):
    assert not (small_site.parent / "print").exists()


@pytest.mark.soak
def test_the_whole_book_is_printed_with_all_its_figures(browser, real_site, root, tmp_path):
    start = time.monotonic()
    pages, figures = pdf.write(tmp_path / "book.pdf", real_site, root)
    print(f"{pages} pages, {figures} figures, {(tmp_path / 'book.pdf').stat().st_size / 1e6:.1f} MB, {time.monotonic() - start:.0f} s")
    assert pages > 200 and figures >= len(list((real_site / "_images").glob("*.svg")))
    assert "命名实体识别：完整实现" in "".join(words(tmp_path / "book.pdf"))
