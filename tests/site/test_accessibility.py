"""axe-core on the pages, light and dark, everything unfolded; and the keyboard. What is the theme's own is named here."""

import re

import pytest
from lxml import etree
from matplotlib.colors import to_rgb

from tests.tools import npm_package
from tests.unit.test_editions import IN_FULL
from tests.unit.test_figures import contrast

from .conftest import SmallBook
from .test_browser import opened, pages, settle

VERSION = "4.14.1"  # of the npm package axe-core
DESK = {"width": 1280, "height": 900}
# For every run, one page of each kind in the light and two in the dark; all pages in both with `-m soak`.
CHOSEN = {"light": ("index.html", "3-code/13-ner.html", "appendix/A-glossary.html", "search.html?q=模型"),
          "dark": ("index.html", "3-code/13-ner.html")}
# Rule -> (selector that must match, why the book cannot mend it).
THEMES_OWN: dict[str, tuple[str, str]] = {
    "aria-allowed-role": (r"^#[\w-]+$", "docutils gives each entry of the bibliography role=doc-biblioentry"),
    "aria-deprecated-role": (r"^#[\w-]+$", "likewise"),
    "aria-required-children": (r"^\.citation-list$", "and wraps them in a list"),
}


@pytest.fixture(scope="session")
def axe():
    """Text of axe-core from npm, installed outside the repository."""
    return (npm_package("axe-core", VERSION) / "axe.min.js").read_text(encoding="utf-8")


def findings(page, axe):
    """Lines "rule: selector" of what axe finds and the theme is not known for."""
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    page.wait_for_timeout(400)  # the theme makes scrolling boxes focusable 300 ms after a change
    page.evaluate(axe)
    options = "{resultTypes: ['violations'], preload: false}"
    found = page.evaluate(f"axe.run(document, {options}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => [n.target.join(' '), n.failureSummary])]))")
    lines = []
    for rule, places in found:
        known = THEMES_OWN.get(rule)
        lines += [f"{rule}: {target}: {summary}" for target, summary in places if not (known and re.search(known[0], target))]
    return lines


def check(browser, axe, base, names, mode):
    with opened(browser, base, color_scheme=mode) as page:
        page.set_viewport_size(DESK)
        for name in names:
            page.goto(f"{base}/{name}")
            settle(page)
            assert page.evaluate("document.documentElement.dataset.theme") == mode
            assert findings(page, axe) == [], name


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_new_on_one_page_of_each_kind(browser, axe, real_site, mode):
    check(browser, axe, real_site.as_uri(), CHOSEN[mode], mode)


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_new_on_any_page(browser, axe, real_site, mode):
    check(browser, axe, real_site.as_uri(), pages(real_site), mode)


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_new_on_any_translated_page(browser, axe, english_site, mode):
    check(browser, axe, english_site.as_uri(), [f"en/{page}.html" for page in IN_FULL], mode)


def test_axe_would_find_a_picture_without_text_and_faint_letters(browser, axe, small_site):
    with opened(browser, small_site.as_uri()) as page:
        page.goto(f"{small_site.as_uri()}/texts/both.html")
        page.evaluate("""document.querySelector('.bd-article').insertAdjacentHTML('beforeend',
            '<img src="../_static/favicon.svg"><p style="color:#bbb;background:#fff">淡得看不清的一行字</p>')""")
        rules = {line.split(":")[0] for line in findings(page, axe)}
        assert {"image-alt", "color-contrast"} <= rules


def letters(picture):
    """Colours of the texts of a figure that Matplotlib wrote, faded ones as they look on white; and whether tiles lie under them."""
    tree, found = etree.parse(str(picture)), set()
    for group in tree.xpath("//*[starts-with(@id, 'text_')]//*[local-name() = 'g' and @style]"):  # a path with a style is the box around a text
        style = dict(part.split(":", 1) for part in group.get("style").replace(" ", "").split(";") if ":" in part)
        opacity = float(style.get("opacity", 1)) * float(style.get("fill-opacity", 1))
        found.add(tuple(opacity * channel + 1 - opacity for channel in to_rgb(style.get("fill", "#000000"))))
    return found, bool(tree.xpath("//*[local-name() = 'image']"))


def test_the_letters_of_every_figure_stand_out_from_its_white_ground(real_site):
    """axe does not look into pictures. White and black on the tiles of a heat map: tests/unit/test_figures.py."""
    figures = sorted((real_site / "_images").glob("*.svg"))
    seen = {figure.name: letters(figure) for figure in figures}
    assert len(figures) > 100 and sum(bool(colours) for colours, _ in seen.values()) > 100
    faint = {name: [colour for colour in colours if contrast(colour) < 4.5 and not (tiles and colour == (1, 1, 1))]
             for name, (colours, tiles) in seen.items()}
    assert {name: colours for name, colours in faint.items() if colours} == {}


def test_a_page_can_be_read_with_the_keyboard_alone(browser, small_site):
    with opened(browser, small_site.as_uri()) as page:
        page.set_viewport_size(DESK)
        page.goto(f"{small_site.as_uri()}/{SmallBook.page}.html")
        settle(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('#pst-skip-link') !== null"), "the first stop skips the menus"
        page.wait_for_timeout(500)  # it slides in
        box = page.locator("#pst-skip-link a").bounding_box()
        assert box and box["y"] >= 0 and box["height"] > 10, "and is seen"
        page.keyboard.press("Enter")
        page.wait_for_url("**#main-content")  # the address is told by an event, after the key has been handled
        stops = set()
        for _ in range(120):
            page.keyboard.press("Tab")
            stops.add(page.evaluate("""(() => { const e = document.activeElement; const s = getComputedStyle(e);
                return [e.tagName, s.outlineStyle !== 'none' || s.boxShadow !== 'none'].join(' '); })()"""))
            if page.evaluate("document.activeElement.tagName === 'SUMMARY'"):
                break
        assert page.evaluate("document.activeElement.tagName === 'SUMMARY'")
        assert not [stop for stop in stops if stop.endswith("false")], "focus is seen at every stop"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.parentElement.open")
        page.keyboard.press("Control+k")
        assert page.evaluate("document.querySelector('#pst-search-dialog').open")
        page.keyboard.press("Escape")
        assert not page.evaluate("document.querySelector('#pst-search-dialog').open")


def test_every_icon_is_drawn_without_the_themes_script(browser, small_site):
    with opened(browser, small_site.as_uri()) as page:
        page.set_viewport_size(DESK)
        page.goto(f"{small_site.as_uri()}/{SmallBook.page}.html")
        settle(page)
        masks = page.evaluate("""[...document.querySelectorAll('i, span')].filter(e => /\\bfa-/.test(e.className))
            .map(e => [e.className, getComputedStyle(e, '::before').maskImage])""")
        assert len(masks) > 5 and not [name for name, mask in masks if not mask.startswith('url("data:image/svg+xml')]


def test_paper_is_light_and_unfolded_and_the_screen_is_as_before_afterwards(browser, small_site):
    with opened(browser, small_site.as_uri(), color_scheme="dark") as page:
        page.goto(f"{small_site.as_uri()}/{SmallBook.page}.html")
        settle(page)
        state = "[document.documentElement.dataset.theme, document.querySelectorAll('.bd-article details:not([open])').length]"
        theme, folded = page.evaluate(state)
        assert theme == "dark" and folded > 1
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(state) == ["light", 0]
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(state) == ["dark", folded]
