"""The book on paper before it is printed: one page of HTML, unique places, links within, numbered figures, contents."""

import pytest
from lxml import html

from utils.book import browser, paper, pdf
from utils.errors import RunError

PAGES = {
    "index": "<h1>书</h1><p>见<a href='one/01-a.html#sec'>第 1 章</a>与<a href='https://example.org/'>外面</a>。</p>",
    "one/01-a": "<section id='ch-01'><h1>第 1 章 甲<a class='headerlink' href='#ch-01'>#</a></h1>"
                "<div class='cell tag_setup'>import utils</div><section id='sec'><h2>节 <span class='math'>\\(x&lt;1\\)</span></h2>"
                "<div class='cell_output'><img src='../_images/a.svg' alt='甲图'>后文<img src='../_images/b.svg' alt='乙图'></div>"
                "<details><summary><p class='collapsed'>展开答案</p><p class='expanded'>收起答案</p></summary>答</details>"
                "<p id='end'><a href='../_sources/one/01-a.ipynb'>文件</a> <a href='#sec'>上文</a> <a href='B-x.html'>附录</a></p>"
                "<script>x()</script></section></section>",
    "one/B-x": "<section id='app'><h1>附录 B 乙</h1><section id='sec'><h2>另一节</h2><div class='cell_output'><img src='../_images/c.svg' alt='丙图'></div>"
               "</section></section>",
}


@pytest.fixture
def book(tmp_path):
    """A site of three pages and the table of contents that names them."""
    for name, body in PAGES.items():
        for path, text in ((tmp_path / "html" / f"{name}.html", f"<article class='bd-article'>{body}</article>"),
                           (tmp_path / "chapters" / f"{name}.md", "# x")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"<!doctype html><html><body>{text}</body></html>" if path.suffix == ".html" else text, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\nparts:\n- caption: 甲部\n  chapters:\n  - file: one/01-a\n"
                                       "- caption: 附录\n  chapters:\n  - file: one/B-x\n", encoding="utf-8")
    (tmp_path / "_config.yml").write_text("title: 书名\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def printed(book):
    made = paper.assemble(book / "html", "../html/", "书名", "版本一", book)
    return made, html.fromstring(made.text)


def test_every_place_has_a_name_of_its_own_and_every_link_leads_to_one(printed):
    _, tree = printed
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    inside = [link[1:] for link in tree.xpath("//a/@href") if link.startswith("#")]
    assert inside and set(inside) <= set(ids)
    assert tree.xpath("//a[.='第 1 章']/@href") == ["#p1-sec"] and tree.xpath("//a[.='附录']/@href") == ["#p2"]
    assert tree.xpath("//a[.='外面']/@href") == ["https://example.org/"] and tree.xpath("//a[.='文件']/@href") == []


def test_figures_are_numbered_by_chapter_and_carry_their_text(printed):
    made, tree = printed
    assert tree.xpath("//figcaption/text()") and [one.text_content() for one in tree.xpath("//figcaption")] == [
        "图 1.1　甲图", "图 1.2　乙图", "图 B.1　丙图"]
    assert made.figures == 3 and tree.xpath("//figure/img/@src") == ["../html/_images/a.svg", "../html/_images/b.svg", "../html/_images/c.svg"]
    assert tree.xpath("//figure[1]")[0].tail == "后文"


def test_the_contents_name_parts_pages_and_sections_in_the_order_of_the_book(printed):
    made, tree = printed
    assert made.targets == ["p0", "p1", "p1-sec", "p2", "p2-sec"]
    assert [link.get("href")[1:] for link in tree.xpath("//div[contains(@class, 'contents')]//a")] == made.targets
    assert tree.xpath("//p[@class='part']/text()") == ["甲部", "附录"]
    assert "节" in tree.xpath("//a[@href='#p1-sec']")[0].text_content()


def test_what_only_a_screen_can_do_is_gone_and_what_was_folded_is_open(printed):
    _, tree = printed
    text = tree.xpath("//div[@id='p1']")[0]
    assert not text.xpath(".//script | .//*[contains(@class, 'headerlink')]")
    assert "import utils" not in text.text_content() and "展开" not in text.text_content()
    assert text.xpath("string(.//summary)").strip() == "答案" and text.xpath(".//details/@open")


def test_a_page_that_was_not_built_is_named(book):
    (book / "html" / "one" / "B-x.html").unlink()
    with pytest.raises(RunError, match="B-x"):
        paper.assemble(book / "html", "../html/", "书名", "", book)


def test_without_a_site_or_a_browser_one_line_says_what_to_do(book, monkeypatch):
    with pytest.raises(RunError, match="make book"):
        pdf.write(book / "x.pdf", book / "nowhere", book)
    monkeypatch.setattr(browser, "PROGRAMS", ("no-such-browser",))
    with pytest.raises(RunError, match="no-such-browser"):
        browser.program()


def test_pages_that_break_elsewhere_in_a_second_print_of_one_document_do_no_harm(book, monkeypatch):
    """Chromium does so where a heading just fits: from print to print the rest of a chapter moved to and fro by a page."""
    class Moody:
        filled = []

        def __enter__(self):
            return self

        def __exit__(self, *problem):
            pass

        def open(self, path, width):
            self.prints = 0

        def evaluate(self, expression):
            if expression == paper.FIT:
                return {"broken": 0, "errors": 0, "wide": []}
            self.filled.append(expression)

        def print(self, **options):
            self.prints += 1
            return b"even" if self.prints % 2 == 0 else b"odd"

    moody = Moody()
    monkeypatch.setattr(pdf, "Browser", lambda: moody)
    monkeypatch.setattr(pdf, "page_numbers", lambda printed: dict.fromkeys(("p0", "p1", "p1-sec", "p2", "p2-sec"), len(printed)))
    monkeypatch.setattr(pdf, "_pages", lambda printed: [1])
    assert pdf.write(book / "x.pdf", book / "html", book) == (1, 3)
    assert (book / "x.pdf").read_bytes() == b"odd" and moody.filled == [pdf._fill(pdf.page_numbers(b"odd"))]


def test_page_numbers_are_read_in_the_order_of_the_pages():
    text = (b"5 0 obj\n<</Type /Page\n/Parent 9 0 R>>\nendobj\n2 0 obj\n<</Type /Page\n/Parent 8 0 R>>\nendobj\n"
            b"8 0 obj\n<</Type /Pages\n/Kids [2 0 R]\n/Parent 7 0 R>>\nendobj\n9 0 obj\n<</Type /Pages\n/Kids [5 0 R]\n/Parent 7 0 R>>\nendobj\n"
            b"7 0 obj\n<</Type /Pages\n/Kids [9 0 R 8 0 R]>>\nendobj\n10 0 obj\n<</p1 [2 0 R /XYZ 1 2 0]\n/p1-a#2fb [5 0 R /XYZ 1 2 0]>>\nendobj\n")
    assert pdf.page_numbers(text) == {"p1": 2, "p1-a/b": 1}
    with pytest.raises(RunError):
        pdf.page_numbers(b"1 0 obj\n<<>>\nendobj\n")
