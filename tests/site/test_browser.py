"""Every page in a real browser: nothing from outside, no error, formulas, alt text, phone width."""

import contextlib
import functools
import json
import re

import pytest

from .conftest import SmallBook, faint

PHONE = {"width": 360, "height": 740}
ARTICLE_TEXT = ".bd-article :is(p, li, dt, td, th, h1, h2, h3, h4, a, summary, figcaption, pre, pre span)"


def pages(site):
    found = [page.relative_to(site).as_posix() for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]
    assert "index.html" in found
    return found


@contextlib.contextmanager
def opened(browser, base, **options):
    """A page that notes every request outside `base` and every error."""
    context = browser.new_context(viewport=PHONE, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.faults = []
    # A browser that reaches out would hang or fail; so it is noted and stopped.
    context.route(re.compile(r"^(https?|wss?)://"), functools.partial(_only, base, page))
    page.on("pageerror", lambda error: page.faults.append(f"error: {error}"))
    page.on("console", lambda message: message.type == "error" and page.faults.append(f"console: {message.text}"))
    # Going on to the next page aborts what the last one was still loading: that is no fault of a page.
    page.on("requestfailed", lambda request: "ERR_ABORTED" in (request.failure or "")
            or page.faults.append(f"failed: {request.url}"))
    page.on("response", lambda response: response.status >= 400 and page.faults.append(f"{response.status}: {response.url}"))
    yield page
    context.close()


def _only(base, page, route):
    if route.request.url.startswith(base):
        route.continue_()
    else:
        page.faults.append(f"outside: {route.request.url}")
        route.abort()


def settle(page):
    """Wait until the page is drawn, formulas included."""
    page.wait_for_load_state("networkidle")
    if page.locator("span.math, div.math").count():
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("MathJax.startup.promise.then(() => null)")


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_every_page_is_complete_without_anything_from_outside(browser, address, site, scheme):
    base = address(site) if scheme == "http" else site.as_uri()
    with opened(browser, base) as page:
        for name in pages(site):
            page.goto(f"{base}/{name}")
            settle(page)
            assert page.faults == [], name
            formulas = page.locator(".bd-article span.math, .bd-article div.math")
            assert formulas.count() == page.locator(".bd-article :is(span, div).math:has(mjx-container)").count(), name
            assert page.locator("mjx-merror").count() == 0, name
            broken = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"
            assert page.evaluate(broken) == [], name


def test_formulas_are_really_there(browser, small_site):
    with opened(browser, small_site.as_uri()) as page:
        page.goto(f"{small_site.as_uri()}/{SmallBook.page}.html")
        settle(page)
        assert page.locator("mjx-container").count() >= 2


SURVEY = """() => {
  document.querySelectorAll('details').forEach(part => part.open = true);
  // What overflows to the left of a scrolling box is lost; what overflows to the right is not.
  const lost = [...document.querySelectorAll('.bd-article div.math')].filter(box => {
    const left = Math.min(...[...box.querySelectorAll('mjx-math *')].map(e => e.getBoundingClientRect().left));
    return left < box.getBoundingClientRect().left - 2; });
  return {
    width: document.documentElement.scrollWidth,
    lost: lost.map(box => box.innerText.slice(0, 40)),
    alts: [...document.querySelectorAll('.bd-article img')].map(image => image.alt),
    maps: [...document.querySelectorAll('.tag_side-by-side .cell_output img, .cell_output img[alt^="概念图"]')].map(
      image => image.getBoundingClientRect().right - image.closest('.cell_output').getBoundingClientRect().right),
  }; }"""


def faint_in_both_modes(page):
    """[mode, contrast, class or tag, text] of the article's text that stands out too little in the light or in the dark."""
    page.add_style_tag(content="* { transition: none !important; }")  # colours at once, not on their way
    found = []
    for mode in ("light", "dark"):
        page.evaluate("mode => { document.documentElement.dataset.theme = mode; }", mode)
        found += [[mode, *one] for one in faint(page, ARTICLE_TEXT)]
    return found


@pytest.fixture(scope="session")
def on_a_phone(browser, site):
    """What each page looks like 360 pixels wide, everything unfolded: page -> facts; each page is visited once."""
    facts = {}
    with opened(browser, site.as_uri()) as page:
        for name in pages(site):
            page.goto(f"{site.as_uri()}/{name}")
            settle(page)
            facts[name] = {**page.evaluate(SURVEY), "faint": faint_in_both_modes(page) if name != "search.html" else []}
    return facts


def test_no_page_scrolls_sideways_on_a_phone(on_a_phone):
    assert {name: facts["width"] for name, facts in on_a_phone.items() if facts["width"] > PHONE["width"]} == {}


def test_concept_maps_are_seen_whole_on_a_phone(on_a_phone):
    beyond = {name: max(facts["maps"]) for name, facts in on_a_phone.items() if facts["maps"]}
    assert {name: pixels for name, pixels in beyond.items() if pixels > 0.5} == {}
    assert "appendix/C-errata.html" in beyond or "appendix/C-errata.html" not in on_a_phone, "the maps were looked for"


def test_every_part_of_a_wide_formula_can_be_reached_on_a_phone(on_a_phone):
    assert {name: facts["lost"] for name, facts in on_a_phone.items() if facts["lost"]} == {}


def test_every_figure_has_alt_text_that_is_no_file_name(on_a_phone):
    alts = {name: [alt for alt in facts["alts"] if not re.search(r"[\u4e00-\u9fff]", alt)] for name, facts in on_a_phone.items()}
    assert {name: bad for name, bad in alts.items() if bad} == {}


def test_no_line_begins_with_the_mark_after_a_formula(browser, small_site):
    with opened(browser, small_site.as_uri()) as page:
        page.goto(f"{small_site.as_uri()}/{SmallBook.page}.html")
        settle(page)
        tied = page.locator(".bd-article .nobreak:has(mjx-container)").all_inner_texts()
        assert any(text.endswith("，") for text in tied) and any(text.endswith("）。") for text in tied)


def test_the_text_of_every_page_stands_out_from_its_ground_in_the_light_and_in_the_dark(on_a_phone):
    assert {name: facts["faint"] for name, facts in on_a_phone.items() if facts["faint"]} == {}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser, small_site, mode):
    """Contrast of 4.5 (WCAG AA) for the text of an article, boxes included."""
    with opened(browser, small_site.as_uri(), color_scheme=mode) as page:
        page.goto(f"{small_site.as_uri()}/{SmallBook.page}.html")
        settle(page)
        assert page.evaluate("document.documentElement.dataset.theme") == mode
        assert faint(page, ARTICLE_TEXT) == []


def test_no_output_tells_of_a_missing_glyph_or_font(real_site, root):
    """In the staged notebooks: the site itself leaves out what a cell wrote to stderr, and there Matplotlib warns."""
    notebooks = sorted((root / "_build" / "stage").rglob("*.ipynb"))
    assert len(notebooks) > 20
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        said = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", ()))
        assert not re.search(r"Glyph \d+|missing from font|findfont", said), path.name
