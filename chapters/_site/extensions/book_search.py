"""The book's own search: an index of sections with their text, and the script that reads it in the browser.

Sphinx's search wants words, and Chinese has no spaces; its index also knows pages only. Here each section, each entry of
the glossary, each row of the table of symbols and each paragraph or list item with a bold lead is an entry with an anchor
and its text; the browser looks through the text itself (`book_search.js`), so phrases of any language are found exactly,
excerpts need no second request, and all of it works from a folder. Sphinx's own index stays empty.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search import SearchLanguage, languages

LONGEST_OUTPUT = 400  # characters of one printed output that are indexed
SKIPPED_CELLS = {"tag_setup"}  # the same in every chapter
LONGEST_REFERENCE = 80  # characters of a reference that make its heading
SHORTEST_LEAD = 6  # a bold beginning of fewer characters (注意, 提示) is no heading
GREEK = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "
         "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega").split()
LETTERS = dict(zip(GREEK, "αβγδεζηθικλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ", strict=True))
SIGNS = {"nabla": "∇", "sqrt": "√", "sum": "Σ", "cdot": "·", "times": "×", "le": "≤", "ge": "≥", "in": "∈", "to": "→",
         "varepsilon": "ε", "partial": "∂", "lVert": "‖", "rVert": "‖", "Vert": "‖", "mid": "|", "infty": "∞"}
LAYOUT = {"mathcal", "mathbb", "mathrm", "mathbf", "left", "right", "text", "operatorname", "begin", "end", "hat", "tilde",
          "bar", "frac", "quad", "qquad", "displaystyle", "lvert", "rvert", "underbrace", "limits"}
FULL_WIDTH = {code: code - 0xFEE0 for start, end in ((0xFF10, 0xFF19), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A))
              for code in range(start, end + 1)}


class NoWords(SearchLanguage):
    """Keeps Sphinx from filling an index that nothing reads."""

    lang = "zh"
    language_name = "Chinese"
    stopwords: set[str] = set()

    def split(self, input: str) -> list[str]:  # noqa: A002 (Sphinx names it so)
        return []


def plain_formula(source: str) -> str:
    """A formula as a reader would type it: `\\mathcal{L}(\\theta)` becomes L(θ)."""

    def sign(command: re.Match) -> str:
        name = command.group(1)
        return LETTERS.get(name) or SIGNS.get(name) or ("" if name in LAYOUT else f" {name} ")

    return re.sub(r"[{}\\&]|(?<=\s)\s+", "", re.sub(r"\\([A-Za-z]+)\s?", sign, source)).strip()


def words_of_code(source: str) -> str:
    """Each name and word of a piece of code once; its punctuation and bare digits are nothing to search for."""
    words = re.split(r"[\s()\[\]{}'\"`,;:=<>+*/|&%@!#]+", source)
    return " ".join(dict.fromkeys(word for word in words if len(word) > 1 and re.search(r"[^\W\d]", word)))


def tidy(text: str) -> str:
    """Spaces merged, full-width letters and digits replaced by the usual ones; the browser lowers the case."""
    return " ".join(text.split()).translate(FULL_WIDTH)


class Entries:
    """The entries of one page: [anchor, heading, text, code, kind, chapter that the entry points to]."""

    def __init__(self) -> None:
        self.found: list[list[Any]] = []

    def section(self, node: nodes.Element) -> None:
        """Make an entry of a section (or of a page without one) and go on to those inside it."""
        title = next((child for child in node.children if isinstance(child, nodes.title)), None)
        ids = node.get("ids", [])
        labels = [name for name in ids if not re.fullmatch(r"id\d+", name)]
        entry = [(labels or ids or [""])[-1], tidy(self.text(title)) if title is not None else "", [], [], "section", ""]
        self.found.append(entry)
        for child in node.children:
            if child is not title:
                self.walk(child, entry)

    def walk(self, node: nodes.Node, entry: list[Any]) -> None:
        """Add what a node says to an entry, or make a new one of it."""
        if isinstance(node, nodes.section):
            self.section(node)
        elif isinstance(node, nodes.definition_list_item) and any(term.get("ids") for term in node.findall(nodes.term)):
            self.term(node)
        elif isinstance(node, (nodes.literal_block, nodes.doctest_block)):
            self.code(node, entry)
        elif isinstance(node, nodes.citation):
            text = self.text(node.children[-1])
            self.found.append([(node.get("ids") or [entry[0]])[0], tidy(text)[:LONGEST_REFERENCE], [text], [], "lead", ""])
        elif isinstance(node, nodes.table) and self.first_cell(node) == "符号":
            for row in list(node.findall(nodes.row))[1:]:
                cells = [tidy(self.text(cell)) for cell in row.children]
                self.found.append([entry[0], " ".join(cells[:2]), [" ".join(cells)], [], "symbol", ""])
        elif isinstance(node, (nodes.paragraph, nodes.list_item)) and (lead := self.lead(node)):
            self.found.append([entry[0], lead, [self.text(node)], [], "lead", ""])
        elif isinstance(node, (nodes.TextElement, nodes.row)):
            entry[2].append(self.text(node))
        elif isinstance(node, nodes.Element) and not SKIPPED_CELLS & set(node.get("classes", [])):
            for child in node.children:
                self.walk(child, entry)

    def code(self, node: nodes.Element, entry: list[Any]) -> None:
        """The words of a cell's code, or the beginning of what it printed."""
        parent = node.parent
        while parent is not None and "nb_element" not in parent:
            parent = parent.parent
        printed = parent is not None and parent["nb_element"] != "cell_code_source"
        entry[3].append(node.astext()[:LONGEST_OUTPUT] if printed else words_of_code(node.astext()))

    def term(self, node: nodes.Element) -> None:
        """An entry of the glossary; its heading holds all its names, and its text the explanation."""
        names = [name for term in node.findall(nodes.term) for name in re.split(r"\s*[,，]\s*", self.text(term).strip())]
        first = next(term for term in node.findall(nodes.term))
        explained = next(iter(node.findall(nodes.definition)))
        links = [link["refuri"] for link in explained.findall(nodes.reference) if link.get("refuri")]
        page = re.sub(r"^(\.\./)*|\.html.*$", "", links[0]) if links else ""
        self.found.append([first["ids"][0], "；".join(filter(None, names)), [self.text(explained)], [], "term", page])

    def lead(self, node: nodes.Element) -> str:
        """The bold words with which a paragraph or list item begins, if they are a sentence; else nothing."""
        inside = node if isinstance(node, nodes.paragraph) else node.children[0] if node.children else None
        shown = [child for child in inside.children if child.astext()] if isinstance(inside, nodes.paragraph) else []
        first = shown[0] if shown else None
        text = tidy(self.text(first)) if isinstance(first, nodes.strong) else ""
        return text if len(text) >= SHORTEST_LEAD else ""

    def first_cell(self, table: nodes.Element) -> str:
        return next((cell.astext().strip() for cell in table.findall(nodes.entry)), "")

    def text(self, node: nodes.Node) -> str:
        """Text of a node, formulas in plain letters, the cells of a table and the items of a list apart."""
        if isinstance(node, (nodes.math, nodes.math_block)):
            return plain_formula(node.astext())
        if isinstance(node, nodes.Text):
            return node.astext()
        if isinstance(node, (nodes.image, nodes.raw, nodes.comment)):
            return ""
        between = "" if isinstance(node, nodes.TextElement) else " "
        return between.join(self.text(child) for child in node.children)

    def ready(self) -> list[list[Any]]:
        """The entries as plain values, those without any text left out."""
        kept = [[anchor, heading, tidy(" ".join(text)), tidy(" ".join(code)), kind, page]
                for anchor, heading, text, code, kind, page in self.found]
        return [entry for entry in kept if entry[1] or entry[2] or entry[3]]


def collect(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Note the entries of a page, once its references and outputs are resolved."""
    if app.builder.format != "html":
        return
    entries = Entries()
    for child in doctree.children:
        entries.walk(child, ["", "", [], [], "section", ""])
    title = app.env.titles.get(docname)
    app.book_entries[docname] = [docname, tidy(entries.text(title)) if title is not None else docname, entries.ready()]


def start(app: Sphinx) -> None:
    app.book_entries = {}


def add_style(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if pagename == "search":
        app.add_css_file("search.css")


def write(app: Sphinx, exception: Exception | None) -> None:
    """Put index and script where the theme's search page looks for Sphinx's."""
    if exception is not None or app.builder.format != "html":
        return
    out, here = Path(app.outdir), Path(__file__).parent
    pages = [app.book_entries[name] for name in sorted(app.book_entries)]
    index = json.dumps(pages, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    (out / "searchindex.js").write_text(f"Search.setIndex({index})", encoding="utf-8")
    script = "\n".join((here / name).read_text(encoding="utf-8") for name in ("book_ranking.js", "book_search.js"))
    (out / "_static" / "searchtools.js").write_text(script, encoding="utf-8")
    shutil.copyfile(here / "book_search.css", out / "_static" / "search.css")
    (out / "_static" / "language_data.js").write_text("", encoding="utf-8")  # Sphinx's stemmer and stop words


def setup(app: Sphinx) -> dict[str, bool]:
    languages["zh"] = NoWords
    app.connect("builder-inited", start)
    app.connect("doctree-resolved", collect)
    app.connect("html-page-context", add_style)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
