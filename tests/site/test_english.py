"""The English edition of the small book in a real browser: whole, linked page by page with the Chinese, and it says what stays Chinese."""

import pytest
from lxml import html

from utils.book import build, links

from .conftest import SmallBook
from .test_browser import opened, pages, settle


@pytest.fixture(scope="module")
def site(tmp_path_factory, root):
    """Folder of the small book, with its English edition in `en`; nothing of it but the interface is translated."""
    book = SmallBook(tmp_path_factory.mktemp("english"), root)
    return build.build([book.result()], book.root, editions=["en"]).parent


def chinese(site):
    return [name for name in pages(site) if not name.startswith("en/")]


def test_every_page_leads_to_the_same_page_of_the_other_edition_and_back(site):
    for name in chinese(site):
        for here, there, language in ((site / name, site / "en" / name, "en"), (site / "en" / name, site / name, "zh-CN")):
            (link,) = html.parse(str(here)).getroot().xpath("//nav[@class='edition-switch']//a")
            assert (here.parent / link.get("href")).resolve() == there.resolve() and link.get("hreflang") == language, here
    assert links.faults(site, site.parents[1]) == []


def test_every_english_page_says_what_stays_chinese_and_the_front_page_counts_it(site):
    for name in chinese(site):
        tree = html.parse(str(site / "en" / name)).getroot()
        assert tree.get("lang") == "en"
        if name == "search.html":  # nothing on it is of the book
            continue
        (notice,) = tree.xpath("(//article//blockquote[contains(@class, 'callout')])[1]")
        assert "stay in Chinese" in notice.text_content() and "not translated yet" in notice.text_content(), name
    front = html.parse(str(site / "en" / "index.html")).getroot().xpath("string(//article)")
    assert " strings are not translated yet; " in front


def test_the_english_edition_is_complete_without_anything_from_outside_and_its_search_answers_in_english(browser, site):
    with opened(browser, site.as_uri()) as page:
        for name in chinese(site):
            page.goto(f"{site.as_uri()}/en/{name}")
            settle(page)
            assert page.faults == [] and page.locator("mjx-merror").count() == 0, name
            assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], name
        page.goto(f"{site.as_uri()}/en/{SmallBook.page}.html")
        assert page.locator(".bd-article").inner_text().count("This run") == 1
        page.goto(f"{site.as_uri()}/en/search.html?q=BERT")
        page.wait_for_selector("#search-results li a")
        assert "pages found" in page.locator(".search-summary").inner_text() and page.faults == []
