"""The live box in a real browser: from a served site it marks entities, from a file it says what to do."""

import shutil

import nbformat
import pytest

from utils.book import livebox

from .conftest import SmallBook, faint
from .test_browser import opened, settle

SENTENCE = "张伟昨天从上海去北京大学参观，王芳在北京。"
SECTION = "(sec-13-live)=\n## 在网页上试\n\n写一句中文。"


@pytest.fixture(scope="module")
def site(tmp_path_factory, root):
    """A small site whose chapter has the section for the box, with the shipped model; the other pages have none."""
    book = SmallBook(tmp_path_factory.mktemp("live"), root)
    book.notebook.cells.insert(6, nbformat.v4.new_markdown_cell(SECTION, id="live"))
    book.save()
    shutil.copytree(livebox.FOLDER, book.root / "utils" / "assets" / "livebox")
    return book.build().parent


def page_of(base):
    return f"{base}/{SmallBook.page}.html"


def marked(page, sentence=None, press="Enter"):
    """Type a sentence, press a key, wait for the answer: [(text, kind)] of the marks."""
    box = page.get_by_label("一句中文")
    if sentence is not None:
        box.fill(sentence)
    box.press(press)
    page.wait_for_function("!document.querySelector('form.livebox[aria-busy]') && document.querySelector('.livebox .status').innerText")
    script = "marks => marks.map(mark => [mark.firstChild.data, mark.querySelector('.kind').innerText])"
    return page.eval_on_selector_all(".livebox mark", script)


def test_enter_marks_the_entities_and_the_model_is_loaded_only_then_and_once(browser, address, site):
    with opened(browser, address(site)) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
        page.goto(page_of(address(site)))
        settle(page)
        assert livebox.MODEL not in asked and "worker.js" not in asked
        found = marked(page, SENTENCE)
        assert ["上海", "地名"] in found and ["张伟", "人名"] in found, found
        assert page.locator(".livebox .result").inner_text().replace("人名", "").replace("地名", "").replace("机构名", "") == SENTENCE
        assert "上海（地名）" in page.get_by_role("status").inner_text()
        assert marked(page, "今天天气很好，我们都很高兴。") == []
        assert "没有找到" in page.get_by_role("status").inner_text()
        assert asked.count(livebox.MODEL) == 1
        assert page.faults == []


def test_the_keyboard_is_enough(browser, address, site):
    with opened(browser, address(site)) as page:
        page.goto(page_of(address(site)))
        page.get_by_label("一句中文").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == "标出实体"
        page.keyboard.press("Space")
        page.wait_for_selector(".livebox mark")
        page.get_by_label("一句中文").press("Shift+Enter")  # a new line, no answer
        assert page.get_by_label("一句中文").input_value().count("\n") == 1
        assert page.faults == []


def test_an_input_method_keeps_its_enter(browser, address, site):
    with opened(browser, address(site)) as page:
        page.goto(page_of(address(site)))
        fire = "options => document.getElementById('livebox-text').dispatchEvent(new KeyboardEvent('keydown', options))"
        page.evaluate(fire, {"key": "Enter", "isComposing": True, "bubbles": True, "cancelable": True})
        assert page.locator(".livebox .status").inner_text() == ""


def test_what_cannot_be_marked_is_said(browser, address, site):
    with opened(browser, address(site)) as page:
        page.goto(page_of(address(site)))
        marked(page, "  \n ")
        assert "先写一句话" in page.get_by_role("status").inner_text()
        marked(page, "长" * 501)
        assert "501" in page.get_by_role("status").inner_text()
        assert marked(page, "我在北京" + "长" * 400 + "，去上海。")[0] == ["北京", "地名"]  # several windows


@pytest.mark.parametrize("fault", ["missing", "cut"])
def test_a_model_that_does_not_come_is_said_and_can_be_asked_for_again(browser, address, site, fault):
    with opened(browser, address(site)) as page:
        page.goto(page_of(address(site)))
        answer = {"status": 404} if fault == "missing" else {"body": (livebox.FOLDER / livebox.MODEL).read_bytes()[:100_000]}
        page.context.route("**/*.safetensors", lambda route: route.fulfill(**answer))
        assert marked(page, SENTENCE) == []
        assert ("404" if fault == "missing" else "不完整") in page.get_by_role("status").inner_text()
        page.context.unroute("**/*.safetensors")
        assert marked(page, SENTENCE)


def test_what_is_typed_is_shown_as_text(browser, address, site):
    with opened(browser, address(site)) as page:
        page.goto(page_of(address(site)))
        marked(page, "<img src=x onerror=alert(1)>北京")
        assert page.locator(".livebox .result img").count() == 0
        assert page.locator(".livebox .result").inner_text().startswith("<img src=x onerror=alert(1)>")


def test_from_a_file_it_says_what_to_do(browser, site):
    with opened(browser, site.as_uri()) as page:
        page.goto(page_of(site.as_uri()))
        settle(page)
        advice = page.locator(".livebox").inner_text()
        assert all(part in advice for part in ("index.html", "python -m http.server", "http://localhost:8000", "make serve")), advice
        assert page.locator("form.livebox").count() == 0 and page.faults == []


def test_without_javascript_the_section_is_its_text_and_nothing_broken(browser, address, site):
    with opened(browser, address(site), java_script_enabled=False) as page:
        page.goto(page_of(address(site)))
        assert page.locator("#sec-13-live").inner_text().replace("#", "").split() == ["在网页上试", "写一句中文。"]
        assert page.locator(".livebox").count() == 0


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_box_fits_a_phone_and_stands_out_from_its_ground(browser, address, site, mode):
    """The page does not scroll sideways, fingers can hit the button, and text has a contrast of 4.5 (WCAG AA)."""
    with opened(browser, address(site), color_scheme=mode) as page:
        page.goto(page_of(address(site)))
        settle(page)
        assert marked(page, SENTENCE + "长安街" * 60)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        assert page.get_by_role("button", name="标出实体").bounding_box()["height"] >= 44
        assert faint(page, ".livebox :is(label, textarea, button, p, mark, .kind)") == []


def test_pages_without_the_section_load_nothing_of_it(site):
    assert "livebox" not in (site / "texts" / "both.html").read_text(encoding="utf-8")
    assert "livebox/box.js?v=" in (site / f"{SmallBook.page}.html").read_text(encoding="utf-8")
