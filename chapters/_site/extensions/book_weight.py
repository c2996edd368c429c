"""What a page must not load: 1.5 MB of icons for the dozen that it shows, and the search index outside the search.

The theme draws its icons with a script that holds all of Font Awesome; `icons.css` holds those that occur on the pages,
as masks in the colour of the text, so they are there without a script, too. The theme's search as one types is
switched off, yet every page would load the index, in front of its text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ICONS = "icons.css"
SCRIPT = re.compile(r"[ \t]*<script\b[^>]*\bsrc=\"[^\"]*?/?(fontawesome|searchtools|language_data|searchindex)\.js[^\"]*\"[^>]*></script>\n?")
VIEWPORT = re.compile(r'[ \t]*<meta name="viewport"[^>]*>\n?')
COMMENT = re.compile(r"[ \t]*<!--.*?-->\n?", re.S)
CLASS = re.compile(r"\bfa-([a-z][a-z0-9-]*)")
STYLES = {"solid", "regular", "brands", "lg"}  # classes that say how, not which
UNUSED = ("_static/scripts/fontawesome.js", "_static/scripts/fontawesome.js.LICENSE.txt", "_static/sphinx-thebe.js",
          "_static/sphinx-thebe.css", "_static/webpack-macros.html", "_static/sbt-webpack-macros.html")
HEAD = """/* Icons of the pages, from Font Awesome Free (https://fontawesome.com, icons: CC BY 4.0), made by book_weight.py. */
:is(.fa-solid, .fas) { font-family: inherit; }
:is(.fa-solid, .fas)::before {
  content: ""; display: inline-block; width: 1em; height: 1em; vertical-align: -.125em;
  background: currentColor; mask: var(--icon) center / contain no-repeat;
}
/* The theme's icon of a box, drawn with the font of all icons: 156 kB for the lid of a folded cell. */
.bd-article details.hide .admonition-title::after { content: none; }
.fa-lg { font-size: 1.25em; line-height: .05em; vertical-align: -.075em; }
"""


def lighten(html: str) -> str:
    """The head of a page without the scripts named above; Sphinx has written the viewport already."""
    return COMMENT.sub("", VIEWPORT.sub("", SCRIPT.sub("", html)))


def set_function(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Make `lighten` known to the template."""
    context["lighten"] = lighten


def icon_rules(names: set[str], library: str) -> str:
    """One rule for each icon; `library` is the text of the theme's script.

    Raises:
        ExtensionError: the script has no such icon.
    """
    rules = []
    for name in sorted(names):
        found = re.findall(rf'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^\]]*\],"[0-9a-f]+","([^"]+)"', library)
        if not found:
            raise ExtensionError(f"主题的图标里没有 {name}。")
        width, height, path = found[-1]  # of one name, the solid one comes last
        drawing = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'><path d='{path}'/></svg>"
        address = "data:image/svg+xml," + quote(drawing, safe="=/:'")
        rules.append(f'.fa-{name} {{ --icon: url("{address}"); }}\n')
    return "".join(rules)


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write the icons that occur on the pages or in the theme's own script, and drop what no page loads."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    pages = [page.read_text(encoding="utf-8") for page in out.rglob("*.html") if static not in page.parents]
    used = {name for text in pages for classes in re.findall(r'class="([^"]*\bfa-[^"]*)"', text) for name in CLASS.findall(classes)}
    used |= set(CLASS.findall((static / "scripts" / "pydata-sphinx-theme.js").read_text(encoding="utf-8")))
    library = (static / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    (static / ICONS).write_text(HEAD + icon_rules(used - STYLES, library), encoding="utf-8")
    spare = [*static.rglob("*.map"), *(static / "vendor").rglob("*.ttf"), *(out / name for name in UNUSED)]
    for path in spare:
        path.unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", set_function)
    app.connect("build-finished", finish)
    app.add_css_file(ICONS)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
