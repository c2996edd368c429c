"""The English edition of the real book: every page is there and leads to the Chinese one; the translated pages are whole.

It is made from the stage of the Chinese site, so nothing is executed again: one more run of jupyter-book, half a minute.
"""

import re

import pytest
from lxml import html

from tests.unit.test_editions import IN_FULL
from utils.book import links, stage

from .test_browser import PHONE, opened, pages, settle

HAN = re.compile(r"[\u4e00-\u9fff]")


def parsed(path):
    return html.parse(str(path), html.HTMLParser(encoding="utf-8")).getroot()


def test_every_page_of_the_book_is_there_in_english_and_leads_to_its_chinese_twin(english_site, root):
    chinese = [f"{page}.html" for page in stage.pages(root)]
    assert set(pages(english_site / "en")) == {*chinese, "search.html"} and set(chinese) >= {f"{page}.html" for page in IN_FULL}
    for name in [*chinese, "search.html"]:
        page, twin = english_site / "en" / name, english_site / name
        tree = parsed(page)
        assert tree.get("lang") == "en", name
        (link,) = tree.xpath("//nav[@class='edition-switch']//a")
        assert link.get("hreflang") == "zh-CN" and (page.parent / link.get("href")).resolve() == twin.resolve(), name
        assert twin.is_file() and parsed(twin).get("lang") == "zh-CN", name


def test_no_link_of_the_english_edition_leads_nowhere(english_site, root):
    assert links.faults(english_site, root) == []


@pytest.mark.parametrize("page", IN_FULL)
def test_a_translated_page_reads_english_and_only_what_the_run_shows_is_marked_as_chinese(english_site, page):
    tree = parsed(english_site / "en" / f"{page}.html")
    (article,) = tree.xpath("//article")
    assert not HAN.search(tree.xpath("string(//title)")) and not article.xpath(".//section[@lang]")
    said = [one.text_content() for one in article.xpath(".//p[not(ancestor::*[@lang='zh-CN'])]")]
    chinese = [text for text in said if len(HAN.findall(text)) > len(text) / 3]
    assert len(said) > 20 and len(chinese) <= len(said) / 20, chinese  # strings that have just changed wait for a translator
    cells = article.xpath(".//div[starts-with(@class, 'cell_input') or starts-with(@class, 'cell_output')]")
    assert {one.get("lang") for one in cells} == {"zh-CN"}


@pytest.mark.parametrize("page", IN_FULL)
def test_a_translated_page_is_complete_in_a_browser_and_fits_a_phone(browser, english_site, page):
    with opened(browser, english_site.as_uri()) as window:
        window.goto(f"{english_site.as_uri()}/en/{page}.html")
        settle(window)
        assert window.faults == [] and window.locator("mjx-merror").count() == 0
        assert window.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
