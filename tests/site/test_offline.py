"""The zip of the site: equal for equal sites, whole, and readable from the folder that it unpacks to."""

import zipfile

import pytest

from utils.book import offline
from utils.errors import RunError

from .conftest import SmallBook
from .test_browser import opened, settle


def test_equal_sites_give_equal_bytes_and_nothing_is_missing(small_site, tmp_path):
    first, second = (offline.write(tmp_path / name, small_site).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    names = set(zipfile.ZipFile(tmp_path / "a.zip").namelist())
    files = {f"book/{path.relative_to(small_site).as_posix()}" for path in small_site.rglob("*") if path.is_file()}
    assert names <= files and {name.split("/", 1)[1] for name in files - names} <= offline.LEFT_OUT


def test_the_zip_holds_no_other_copy_of_itself(small_site, tmp_path):
    first = offline.write(tmp_path / "a.zip", small_site).read_bytes()
    inside = offline.write(small_site / "book.zip", small_site)
    try:
        assert offline.write(tmp_path / "b.zip", small_site).read_bytes() == first
    finally:
        inside.unlink()


def test_what_is_left_out_is_left_out_of_each_edition_too(tmp_path):
    site = tmp_path / "html"
    (site / "en" / "en").mkdir(parents=True)
    for name in ("index.html", "en/index.html", ".book-stamp", "en/.book-stamp", "en/.buildinfo", "en/objects.inv", "en/en/objects.inv"):
        (site / name).write_text(name)
    names = zipfile.ZipFile(offline.write(tmp_path / "a.zip", site)).namelist()
    assert names == ["book/en/en/objects.inv", "book/en/index.html", "book/index.html"]


def test_what_it_unpacks_to_opens_from_the_folder(browser, small_site, tmp_path):
    zipfile.ZipFile(offline.write(tmp_path / "a.zip", small_site)).extractall(tmp_path / "书 offline")
    folder = tmp_path / "书 offline" / "book"
    with opened(browser, folder.as_uri()) as page:
        for name in ("index.html", f"{SmallBook.page}.html", "search.html"):
            page.goto(f"{folder.as_uri()}/{name}")
            settle(page)
            assert page.faults == [], name
        assert page.locator("input[name=q]").count()


def test_without_a_site_it_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="make book"):
        offline.write(tmp_path / "a.zip", tmp_path)
