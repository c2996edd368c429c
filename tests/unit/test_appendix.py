"""The appendix: terms unique and used rightly, symbols and errata listed and linked, every command it names exists."""

import json
import re

import pytest

from utils import concept_maps
from utils.book import __main__ as command_line
from utils.book import chapters, lint_text, stage

EXTRA = {"bibliography"}  # the one directive beside those of the lint, in the list of references
EXPLAINED = re.compile(r"[^。]+。见(\[第 \d+ 章\]\(#ch-\d\d\))(?:，最早在(\[第 \d+ 章\]\(#ch-\d\d\)))?。")


def folder(root):
    return root / "chapters" / "appendix"


def markdown(path):
    """The Markdown of a page or notebook, one text for each cell."""
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def pages(root):
    return [stage.source_of(page, root) for page in stage.pages(root)]


@pytest.fixture(scope="module")
def prose(root):
    """Number of a chapter -> its Markdown, in the order of the contents."""
    paths = [path for path in pages(root) if path.stem[:2].isdigit()]
    return {int(path.stem[:2]): "\n\n".join(markdown(path)) for path in paths}


def chapters_of(text):
    """The chapters that the end of an entry names: the one that treats the term, then the first that explains it."""
    return [int(re.search(r"\d+", link).group()) for link in EXPLAINED.fullmatch(text).groups() if link]


@pytest.fixture(scope="module")
def glossary(root):
    """Lines of terms -> explanation, for each entry."""
    text = (folder(root) / "A-glossary.md").read_text(encoding="utf-8")
    entries = []
    for block in re.findall(r"```\{glossary\}\n(.*?)```", text, re.S):
        for entry in block.strip().split("\n\n"):
            lines = entry.split("\n")
            assert lines[-1].startswith("  ") and not any(line.startswith(" ") for line in lines[:-1]), entry
            entries.append((lines[:-1], lines[-1].strip()))
    return entries


# --- glossary -----------------------------------------------------------------------------------------------------------


def test_each_term_stands_once_whatever_its_case(glossary):
    terms = [term.casefold() for names, _ in glossary for term in names]
    assert sorted(terms) == sorted(set(terms))
    assert len(glossary) >= 100


def test_each_entry_is_a_chinese_sentence_with_its_chapter(glossary, prose):
    order = list(prose)
    for names, text in glossary:
        assert EXPLAINED.fullmatch(text), names
        for number, label in re.findall(r"\[第 (\d+) 章\]\(#ch-(\d\d)\)", text):
            assert int(number) == int(label) and 1 <= int(number) <= chapters.LAST, names
        treated, *first = map(order.index, chapters_of(text))
        assert all(place < treated for place in first), names


def test_a_written_chapter_uses_the_terms_that_name_it(glossary, root):
    written = {found.number: found.path.read_text(encoding="utf-8").casefold() for found in chapters.all_chapters(root)}
    for names, text in glossary:
        spelled = [part.strip().casefold() for name in names for part in name.split(",")]
        for number in chapters_of(text):
            assert number not in written or any(name in written[number] for name in spelled), (number, names)


def test_no_chapter_before_the_first_one_named_introduces_the_term(glossary, prose):
    """A term is introduced in bold with a word in Latin letters after it, or with one of its English names."""
    order = list(prose)
    for (term, *english), text in glossary:
        names = "|".join(re.escape(part.strip()) for name in english for part in name.split(",")) or "(?!)"
        bold, named = rf"\*\*{re.escape(term)}\*\*（[^）]*[A-Za-z]{{3}}", rf"(?i){re.escape(term)}(?:\*\*)?（(?:{names})"
        for number in order[:min(map(order.index, chapters_of(text)))]:
            found = re.search(bold, prose[number]) or re.search(named, prose[number])
            assert not found, f"{term}：第 {number} 章已经介绍（{found.group()}），附录 A 要写上它"


def test_every_term_role_of_the_book_finds_its_term(glossary, root):
    known = {term.casefold() for names, _ in glossary for term in names}
    for path in pages(root):
        for text in markdown(path):
            for role in re.findall(r"\{term\}`([^`]+)`", text):
                wanted = (re.search(r"<(.+)>$", role) or re.search(r"(.+)", role)).group(1)
                assert wanted.casefold() in known, f"{path.name}: {role}"


def test_every_concept_of_the_maps_is_explained(glossary):
    known = {term for names, _ in glossary for term in names}
    assert {concept.term for concept in concept_maps.CONCEPTS.values()} - known == set()


# --- symbols ------------------------------------------------------------------------------------------------------------


def pieces(formula):
    """The commands and characters of a formula; braces and spaces that only group are left out."""
    return re.findall(r"\\[A-Za-z]+|\\.|[^\s{}]", formula)


def holds(formulas, wanted):
    return any(formula[i:i + len(wanted)] == wanted for formula in formulas for i in range(len(formula)))


def test_the_chapter_of_each_symbol_uses_it_and_no_earlier_one_unless_its_row_says_so(root, prose):
    """Lone letters are asked only whether the chapter has them: earlier ones stand inside words and other symbols."""
    text = (folder(root) / "B-symbols.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (\$.+?) \| (.+) \| \[(\d+)\]\(#ch-(\d\d)\) \|$", text)
    assert len(rows) == len(re.findall(r"(?m)^\| \$", text)) >= 60
    formulas = {number: [pieces(one or other) for one, other in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", page, re.DOTALL)]
                for number, page in prose.items()}
    order = list(prose)
    for symbols, meaning, number, label in rows:
        assert int(number) == int(label), symbols
        said = {int(other) for group in re.findall(r"第 ([\d、]+) 章", meaning) for other in group.split("、")}
        for symbol in map(pieces, re.findall(r"\$([^$]+)\$", symbols)):
            assert holds(formulas[int(number)], symbol), (symbols, number)
            earlier = set(order[:order.index(int(number))]) - said
            assert len("".join(symbol)) == 1 or not [other for other in earlier if holds(formulas[other], symbol)], symbols


# --- errata -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def errata(root):
    return markdown(folder(root) / "C-errata.ipynb")


@pytest.mark.parametrize("cells, count", [
    (["app-errata-environment"], 5),
    (["app-errata-code-imports", "app-errata-code-data", "app-errata-code-training", "app-errata-code-evaluation"], 30),
    (["app-errata-concepts", "app-errata-mathematics"], 22),
])
def test_every_point_stands_in_order_and_names_where_the_book_shows_it(errata, cells, count):
    items = []
    for label in cells:
        (text,) = [text for text in errata if text.startswith(f"({label})=")]
        items += re.findall(r"(?m)^(\d+)\. (.+)$", text)
    assert [int(number) for number, _ in items] == list(range(1, count + 1))
    for number, text in items:
        assert re.match(r"\*\*.+?\*\*", text) and re.search(r"\]\(#(sec|app)-", text), number  # the place, not only the chapter


def test_both_maps_of_every_section_are_drawn_and_put_into_words(root):
    cells = json.loads((folder(root) / "C-errata.ipynb").read_text(encoding="utf-8"))["cells"]
    drawn = {}
    for cell in cells:
        if match := re.fullmatch(r'compare\("(.+)"\)', "".join(cell["source"])):
            drawn[match.group(1)] = cell["metadata"]["mystnb"]["image"]["alt"]
            assert "side-by-side" in cell["metadata"]["tags"]
    assert list(drawn) == list(concept_maps.CORRECTED)
    for section, alt in drawn.items():
        for edge in concept_maps.CORRECTED[section].edges:
            assert str(edge).replace("“", "").replace("”", "") in alt, (section, edge)
        assert alt.count("（✕）") == sum(fault.rule != "missing" for fault in concept_maps.faults(concept_maps.ARTICLE[section]))


def test_the_map_of_chapter_4_is_put_into_words(root):
    text = (root / "chapters" / "1-concepts" / "04-pretraining.ipynb").read_text(encoding="utf-8")
    for edge in concept_maps.CORRECTED["2.2.2"].edges:
        assert str(edge).replace("“", "").replace("”", "") in text, edge


# --- all pages ----------------------------------------------------------------------------------------------------------


def test_the_pages_keep_the_rules_of_the_books_prose(root):
    for path in folder(root).glob("*.md"):
        found = [fault for fault in lint_text.check_text(path.read_text(encoding="utf-8"))
                 if not any(f"{{{name}}}" in fault[1] for name in EXTRA)]
        assert found == [], path.name


def test_every_command_that_the_appendix_names_exists(root):
    targets = set(re.findall(r"(?m)^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8")))
    commands = next(action for action in command_line.parser()._actions if action.dest == "command").choices
    text = "\n".join(text for path in folder(root).iterdir() for text in markdown(path))
    assert set(re.findall(r"`make ([a-z]+)", text)) <= targets
    named = re.findall(r"python -m utils\.book ([a-z]+)", text)
    assert named and set(named) <= set(commands)


def test_every_page_of_the_appendix_is_listed_in_the_contents(root):
    listed = {page for page in stage.pages(root) if page.startswith("appendix/")}
    assert listed == {f"appendix/{path.stem}" for path in folder(root).iterdir()}


def test_links_go_to_chapters_of_the_plan_or_to_labels_that_exist(root):
    written = {found.number for found in chapters.all_chapters(root)}
    labels = {label for path in pages(root) for text in markdown(path) for label in re.findall(r"(?m)^\(([^)]+)\)=$", text)}
    for path in folder(root).iterdir():
        for text in markdown(path):
            for label in re.findall(r"\]\(#([^)]+)\)", text):
                planned = re.fullmatch(r"ch-(\d\d)", label)
                known = label in labels or planned and int(planned[1]) not in written and 1 <= int(planned[1]) <= chapters.LAST
                assert known, f"{path.name}: {label}"


def test_every_reference_of_the_bibliography_has_a_key_of_its_own(root):
    keys = re.findall(r"^@\w+\{([^,]+),", (root / "chapters" / "references.bib").read_text(encoding="utf-8"), re.M)
    assert len(keys) > 50 and sorted(keys) == sorted(set(keys))


def test_every_reference_of_the_bibliography_has_a_link(root):
    entries = re.split(r"(?m)^(?=@)", (root / "chapters" / "references.bib").read_text(encoding="utf-8"))[1:]
    assert [entry.splitlines()[0] for entry in entries if not re.search(r"\b(url|doi) = \{", entry)] == []
