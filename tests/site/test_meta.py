"""What stands around a page's text: description, OpenGraph, sitemap, links to its files, date, run card, prerequisites."""

import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest
from lxml import html

from utils.book import address, build, links
from utils.book.chapters import all_chapters

from .conftest import SmallBook

OWNER = address.Address("someone/book", "gpu")
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


def pages(site):
    """Page -> parsed page, for every page of a site."""
    found = {path.relative_to(site).as_posix(): html.parse(str(path)).getroot() for path in sorted(site.rglob("*.html"))
             if "_static" not in path.parts}
    assert "index.html" in found
    return found


def meta(page):
    """Name -> content of a page's meta tags; a name that occurs twice is an error."""
    tags = [(tag.get("name") or tag.get("property"), tag.get("content")) for tag in page.xpath("//head/meta[@content]")]
    assert len({name for name, _ in tags}) == len(tags), tags
    return dict(tags)


@pytest.fixture(scope="module")
def adopted(tmp_path_factory, root):
    """The small book after `make adopt`, built as for publication; its folder."""
    book = SmallBook(tmp_path_factory.mktemp("adopted"), root)
    settings = book.root / "_config.yml"
    settings.write_text(address._settings(settings.read_text(encoding="utf-8"), OWNER), encoding="utf-8")
    (book.root / address.FILE).parent.mkdir(parents=True)
    (book.root / address.FILE).write_text(json.dumps(vars(OWNER)), encoding="utf-8")
    return build.build([book.result()], book.root, editions=["en"]).parent


def test_every_page_has_a_title_and_a_description_of_its_own(site):
    found = {name: (page.xpath("string(//head/title)").strip(), meta(page)["description"]) for name, page in pages(site).items()}
    for name, (title, description) in found.items():
        assert re.search("[\u4e00-\u9fff]", title), name
        assert re.search("[\u4e00-\u9fff]{2}", description) and len(description) <= 150 and "\\" not in description, (name, description)
    assert len({title for title, _ in found.values()}) == len(found)
    assert len({description for _, description in found.values()}) == len(found)


def test_opengraph_repeats_title_and_description(site):
    for name, page in pages(site).items():
        tags = meta(page)
        assert tags["og:title"] and tags["og:title"] in page.xpath("string(//head/title)"), name
        assert tags["og:description"] == tags["description"]
        assert tags["og:type"] == ("website" if name == "index.html" else "article")


def test_without_an_address_no_page_names_one(small_site):
    assert not (small_site / "sitemap.xml").exists()
    for name, page in pages(small_site).items():
        assert not page.xpath("//link[@rel='canonical']"), name
        assert not {"og:url", "og:image"} & set(meta(page)), name
        assert not [link for link in page.xpath("//a/@href") if "github" in link or "colab" in link], name


def test_with_an_address_every_page_and_the_sitemap_name_it(adopted):
    listed = {loc.text for loc in ElementTree.parse(adopted / "sitemap.xml").iter(f"{SITEMAP}loc")}
    found = pages(adopted)
    assert listed == {f"{OWNER.site}{name}" for name in found if not name.endswith("search.html")}
    assert f"{OWNER.site}en/index.html" in listed
    for name, page in found.items():
        assert page.xpath("//link[@rel='canonical']/@href") == [f"{OWNER.site}{name}"]
        assert meta(page)["og:url"] == f"{OWNER.site}{name}"
        picture = adopted / meta(page)["og:image"].removeprefix(OWNER.site)
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_with_an_address_every_page_tells_machines_of_itself_in_both_editions(adopted, small_site):
    found = pages(adopted)
    for name, page in found.items():
        chinese = name.removeprefix("en/")
        told = {link.get("hreflang"): link.get("href") for link in page.xpath("//head/link[@rel='alternate']")}
        assert told == {"zh-CN": f"{OWNER.site}{chinese}", "en": f"{OWNER.site}en/{chinese}"}, name
        assert {chinese, f"en/{chinese}"} <= found.keys()
    assert not [name for name, page in pages(small_site).items() if page.xpath("//head/link[@rel='alternate']")]


def test_a_page_links_to_its_executed_notebook_its_source_and_its_colab_copy(adopted):
    page = pages(adopted)[f"{SmallBook.page}.html"]
    shown = {link.text_content(): link.get("href") for link in page.xpath("//nav[@class='page-links']//a")}
    assert shown["执行过的笔记本"] == f"../_sources/{SmallBook.page}.ipynb"
    assert shown["源文件"] == OWNER.source(f"{SmallBook.page}.ipynb")
    assert shown["在 Colab 中打开"] == OWNER.colab(SmallBook.page)
    text = pages(adopted)["texts/both.html"].xpath("//nav[@class='page-links']//a/@href")
    assert text[:2] == ["../_sources/texts/both.md", OWNER.source("texts/both.md")] and not any("colab" in link for link in text)


def test_publication_finds_every_link_without_a_target(adopted, tmp_path):
    root, published = adopted.parents[1], tmp_path / "html"
    shutil.copytree(adopted, published)
    for name in ("book.zip", "book.pdf"):  # publication writes them before it looks
        (published / name).touch()
    assert links.faults(published, root, [SmallBook.page]) == []
    assert any("Colab" in fault for fault in links.faults(published, root))
    for name in ("book.pdf", "texts/bert.html"):
        (published / name).unlink()
    page = published / "texts" / "lora.html"
    page.write_text(page.read_text(encoding="utf-8").replace("</article>", '<a href="both.html#nowhere">x</a></article>'), encoding="utf-8")
    found = links.faults(published, root, [SmallBook.page])
    assert any(fault.endswith("没有 book.pdf") for fault in found)
    assert any(fault.endswith("没有 texts/bert.html") for fault in found)
    assert "texts/lora.html: texts/both.html 里没有 #nowhere" in found
    assert any(fault.startswith("texts/both.html: 网站上没有") for fault in found) is False


def test_no_link_of_the_real_site_leads_nowhere(real_site, root):
    assert links.faults(real_site, root, {chapter.id for chapter in all_chapters(root)}) == []


def test_every_chapter_shows_its_date_its_run_card_and_what_it_asks_of_the_reader(real_site, root):
    with_git = subprocess.run(["git", "-C", str(root), "rev-parse"], capture_output=True).returncode == 0
    for chapter in all_chapters(root):
        if chapter.number is None:
            continue
        page = html.parse(str(real_site / f"{chapter.id}.html")).getroot()
        article = page.xpath("string(//article)")
        assert "本次运行" in article or "运行失败" in article, chapter.id
        assert "需要的预备知识：" in article, chapter.id
        assert not with_git or re.search(r"最后更新于 20\d\d-\d\d-\d\d", page.xpath("string(//footer[contains(@class, 'bd-footer-content')])")), chapter.id
