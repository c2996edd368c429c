"""Staging and building: outputs joined by cell, faults refused, nothing rebuilt in vain. No browser needed."""

import hashlib
import pathlib
import re
import sys

import nbformat
import pytest

from utils.book import build, serve, stage
from utils.errors import RunError

from .conftest import SmallBook


def staged(book: SmallBook, **changes) -> nbformat.NotebookNode:
    folder = stage.prepare([book.result(**changes)], book.root / "_build" / "stage", book.root).folder
    return nbformat.read(folder / f"{book.page}.ipynb", as_version=4)


def test_prose_comes_from_the_source_and_outputs_from_the_run(book):
    result = book.result()
    title = book.notebook.cells[0]
    title.source = title.source.replace("读完本章", "学完这一章")
    book.save()
    notebook = stage.compose(book.source, result, book.page)
    assert "学完这一章" in notebook.cells[0].source
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.outputs[0].text.startswith(f"printed by {cell.id} ") for cell in code)


def test_printed_text_stays_beside_the_table_it_was_printed_for():
    printed = lambda text, name="stdout": nbformat.v4.new_output("stream", name=name, text=text)
    shown = nbformat.v4.new_output("display_data", {"text/markdown": "| a |"})
    outputs = [printed("a"), printed("w", "stderr"), printed("b"), nbformat.v4.new_output("display_data", {}), printed("c"), shown, printed("d")]
    merged = stage.merge_streams(outputs)
    assert [output.get("text") for output in merged if output.get("name") == "stdout"] == ["abc", "d"]
    assert merged[-2] == shown and sum(output.get("name") == "stderr" for output in merged) == 1


def test_code_that_differs_from_the_run_is_refused(book):
    result = book.result()
    next(cell for cell in book.notebook.cells if cell.id == "question-numbers").source += "\nprint(1)"
    book.save()
    with pytest.raises(RunError, match="question-numbers"):
        stage.compose(book.source, result, book.page)


def test_run_card_states_profile_device_time_and_memory(book):
    card = staged(book, profile="full", device="NVIDIA L4").cells[1].source
    assert all(fact in card for fact in ("`full`", "NVIDIA L4", "1 分 12 秒", "1.5 GiB", "2026-11-24"))


def test_failed_and_stale_chapters_say_so_and_show_no_old_numbers(book):
    failed = staged(book, executed=None, status="failed", error="单元 math：ValueError")
    text = "\n".join(cell.source for cell in failed.cells)
    assert "运行失败" in text and "单元 math" in text
    assert not any(cell.outputs for cell in failed.cells if cell.cell_type == "code")
    assert "过期" not in text
    stale = staged(book, stale=["ner_all：代码变了"])
    assert "过期" in stale.cells[2].source and "代码变了" in stale.cells[2].source


def test_error_text_cannot_break_the_page(book):
    notebook = staged(book, executed=None, status="failed", error="\x1b[31mKeyError\x1b[0m: <script>`[x](y)$\n# 标题")
    warning = notebook.cells[1].source
    assert "\n" not in warning and "\x1b" not in warning and "\\<script\\>" in warning


def test_setup_is_folded_and_solutions_are_named(book):
    cells = {cell.id: cell for cell in staged(book).cells}
    assert "hide-cell" in cells["setup"].metadata.tags
    assert cells["exercise-1-solution"].metadata.mystnb.code_prompt_show == "展开答案"


def test_a_chapter_without_a_run_is_refused_unless_allowed(book):
    folder = book.root / "_build" / "stage"
    with pytest.raises(RunError, match="10-cross-entropy"):
        stage.prepare([], folder, book.root)
    assert stage.prepare([], folder, book.root, allow_missing=True).missing == [book.page]


def test_links_to_chapters_come_alive_when_the_chapter_is_written(book):
    book.notebook.cells[0].source += "\n\n见[本章](#ch-10)、[第 9 章](#ch-09)与[第 77 章](#ch-77)。"
    book.save()
    (book.root / "chapters" / "texts" / "both.md").write_text("# 页\n\n[第 10 章](#ch-10)、[第 25 章](#ch-25)\n", encoding="utf-8")
    assert "见[本章](#ch-10)、第 9 章（计划中）与[第 77 章](#ch-77)。" in staged(book).cells[0].source
    text = (book.root / "_build" / "stage" / "texts" / "both.md").read_text(encoding="utf-8")
    assert text == "# 页\n\n[第 10 章](#ch-10)、第 25 章（计划中）\n"


def test_a_page_of_the_contents_that_does_not_exist_is_named(book):
    book.source.unlink()
    with pytest.raises(RunError, match="10-cross-entropy"):
        stage.pages(book.root)


def snapshot(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(folder.rglob("*")) if path.is_file()}


def test_nothing_changed_means_no_build_and_a_change_means_one(book, capfd):
    site = book.build().parent
    assert capfd.readouterr() == ("", "")
    first = snapshot(site)
    assert book.build(seconds=72.0).parent == site
    assert snapshot(site) == first
    book.notebook.cells[0].source += "\n\n多一段。"
    book.save()
    book.build()
    changed = snapshot(site)
    assert changed["index.html"] != first["index.html"]
    assert "多一段" in (site / f"{book.page}.html").read_text(encoding="utf-8")


def test_a_warning_fails_the_build_names_the_place_and_keeps_the_old_site(book):
    site = book.build().parent
    before = snapshot(site)
    book.notebook.cells[0].source += "\n\n见 {numref}`sec-99-nowhere`。"
    book.save()
    for _ in range(2):  # a warning must not be lost in a second build
        with pytest.raises(RunError, match=r"10-cross-entropy\.ipynb.*sec-99-nowhere"):
            book.build()
    assert snapshot(site) == before


def test_a_kill_between_the_moves_leaves_the_old_site(book):
    site = book.build().parent
    before = snapshot(site)
    site.rename(site.with_name("html.old"))
    assert book.build().parent == site
    assert snapshot(site) == before


def test_download_is_the_executed_copy(small_site):
    notebook = nbformat.read(small_site / "_sources" / f"{SmallBook.page}.ipynb", as_version=4)
    assert sum(bool(cell.outputs) for cell in notebook.cells if cell.cell_type == "code") > 5


def test_pages_hold_no_placeholder_and_no_button_of_a_repository(small_site):
    for page in small_site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"OWNER|example\.org|github\.com/executablebooks|title=\"(Source repository|Open an issue)", text), page


def test_serving_an_unbuilt_site_or_a_taken_port_gives_one_clear_line(tmp_path, small_site):
    with pytest.raises(RunError, match="make book"):
        serve.server(0, tmp_path)
    with serve.server(0, small_site) as running, pytest.raises(RunError, match=str(running.server_port)):
        serve.server(running.server_port, small_site)


def test_the_stamp_knows_every_staged_file(book):
    folder = stage.prepare([book.result()], book.root / "_build" / "stage", book.root).folder
    before = build.fingerprint(folder)
    (folder / "_static" / "book.css").write_text("/* */")
    assert build.fingerprint(folder) != before


def test_no_chapter_of_the_real_site_needs_3_gibibytes(real_build, root):
    """The least machine of the book has 4 GiB; measured is the most that a kernel held with the processes below it."""
    shown = dict(re.findall(r"^(\S+/\S+|index)  +(?:完成|缓存|失败)  +[\d.]+  +([\d.]+|–)", real_build.stdout, re.MULTILINE))
    assert len(shown) >= len(list(root.glob("chapters/[0-9]-*/*.ipynb"))), real_build.stdout[-3000:]
    measured = {chapter: float(memory) for chapter, memory in shown.items() if memory != "–"}
    assert measured or sys.platform != "linux"
    assert {chapter: memory for chapter, memory in measured.items() if memory >= 3072} == {}


def test_the_real_site_builds_and_no_chapter_fails(real_build, real_site):
    assert real_build.returncode == 0, real_build.stdout[-3000:]
