"""Editions in other languages: strings found and put back, catalogues kept, faults refused, the stage translated."""

import importlib.util
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

from tests.tools import needed
from utils import profiles
from utils.book import build, catalogues, editions, gettext_files, interface, stage, translation_check
from utils.book.results import ChapterResult
from utils.book.strings import HAN, strings_of, translate_markdown, translate_notebook
from utils.errors import RunError

ROOT = profiles.ROOT
# The README names the same pages.
IN_FULL = ("index", "1-concepts/04-pretraining", "1-concepts/06-peft", "2-mathematics/10-cross-entropy", "3-code/13-ner")
PAGE = """(ch-01)=
# 第 1 章 标题

一段话，有 $x|y$ 和 `代码|一`。

| 甲 | 乙 $a|b$ |
|---|---|
| `x|y` 丙 | 2 |

> **勘误** 引用。

1. 条目

```python
# 代码里的中文
```

```{glossary}
微调
fine-tuning
  解释。
```

$$
a_{\\text{真}} \\tag{1.1}
$$
"""


def test_each_line_cell_item_and_quotation_is_a_string_and_code_and_terms_are_none():
    found = [text for text, _ in strings_of(PAGE, is_notebook=False)]
    assert found == ["第 1 章 标题", "一段话，有 $x|y$ 和 `代码|一`。", "甲", "乙 $a|b$", "`x|y` 丙", "**勘误** 引用。", "条目", "解释。",
                     "a_{\\text{真}} \\tag{1.1}"]


def test_only_strings_change_when_a_page_is_translated():
    changed = translate_markdown(PAGE, lambda text: "T")
    assert "# T\n" in changed and "| T | T |\n|---|---|\n| T | 2 |" in changed and "> T\n" in changed and "1. T\n" in changed
    assert "# 代码里的中文" in changed and "微调\nfine-tuning\n  T" in changed and "(ch-01)=" in changed


@pytest.mark.parametrize("page", stage.pages(ROOT))
def test_every_page_of_the_book_survives_a_translation_into_itself(page):
    source = stage.source_of(page, ROOT)
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".md":
        assert translate_markdown(text, str) == text
        return
    notebook, twin = nbformat.reads(text, as_version=4), nbformat.reads(text, as_version=4)
    translate_notebook(twin, str)
    assert twin == notebook


def test_the_alternative_text_of_a_figure_is_translated():
    cell = nbformat.v4.new_code_cell("x = '中'", metadata={"mystnb": {"image": {"alt": "一条线"}}})
    translate_notebook(nbformat.v4.new_notebook(cells=[cell]), lambda text: "a line")
    assert cell.metadata.mystnb.image.alt == "a line" and cell.source == "x = '中'"


@pytest.mark.parametrize("source, good, bad", [
    ("式 $x$ 与 $y$", "The formulas $y$ and $x$", "The formula $x$"),
    ("见 {cite}`a2020b`。", "See {cite}`a2020b`.", "See {cite}`a2020c`."),
    ("见[第 9 章](#ch-09)", "See [chapter 9](#ch-09)", "See [chapter 9](#ch-10)"),
    ("运行 `make book`", "Run `make book`", "Run make book"),
    ("共 3,000 句", "3000 sentences", "300 sentences"),
    ("1998 年 1 月", "January 1998", "January 1997"),
    ("1.1 亿个参数", "110 million parameters", "1.1 million parameters"),
    ("33 亿词，2 万句", "3.3 billion words, 20,000 sentences", "33 billion words, 20,000 sentences"),
    ("标 `B-类型`", "Write `B-type`", "Write `I-type`"),
    ("**掩码**很重要", "The **mask** matters", "The mask matters"),
    ("比如“李雷”", "For example “李雷”", "For example “韩梅”"),
    ("一句话。", "A sentence.", "A sentence。"),
    ("**提示**：想", "**Hint**: think", "The **hint**: think"),
    ("a_{\\text{真}} \\tag{1.1}", "a_{\\text{true}} \\tag{1.1}", "a_{\\text{true}} \\tag{1.2}"),
    ("见 {term}`微调`", "See {term}`fine-tuning`", "See {term}`finetuning`"),
])
def test_a_translation_that_changes_a_formula_number_link_role_or_code_is_refused(source, good, bad):
    terms = {"微调": "fine-tuning"}
    assert not translation_check.faults(source, good, terms)
    assert translation_check.faults(source, bad, terms)


def test_the_glossary_is_read_whole():
    terms = translation_check.glossary(ROOT)
    text = (ROOT / "chapters" / "appendix" / "A-glossary.md").read_text(encoding="utf-8")
    alone = re.findall(r"(?m)^([A-Za-z]+)\n  ", text)  # WordPiece, BERT, … are written the same in both languages
    alone = [word for word in alone if f"\n\n{word}\n" in text or f"{{glossary}}\n{word}\n" in text]
    assert len(terms) + len(alone) == text.count("。见[第") and terms["微调"] == "fine-tuning" and terms["预训练"] == "pre-training"


@pytest.mark.parametrize("edition", catalogues.EDITIONS)
def test_no_translation_of_the_book_has_a_fault(edition):
    assert not translation_check.check(edition, ROOT)


@pytest.mark.parametrize("page", IN_FULL)
def test_the_pages_that_the_readme_names_are_translated_in_full(page):
    assert not catalogues.counts("en", ROOT)[page].missing, page


def test_every_title_and_every_text_of_the_interface_is_translated():
    for name in (catalogues.TITLES, catalogues.INTERFACE):
        known = catalogues.translations(name, "en", ROOT)
        assert not [text for text, _ in catalogues.wanted(name, ROOT) if text not in known], name


def test_babel_reads_the_same_from_a_catalogue(tmp_path):
    pofile = needed("babel.messages.pofile")
    for path in catalogues.folder_of("en", ROOT).rglob("*.po"):
        ours = catalogues.read(path)
        with path.open("rb") as stream:
            theirs = pofile.read_po(stream, abort_invalid=True)
        assert {entry.id: (entry.string, entry.fuzzy) for entry in ours.entries.values()} == {
            message.id: (message.string, message.fuzzy) for message in theirs if message.id}, path


def test_a_catalogue_is_read_as_it_was_written():
    entry = gettext_files.Entry('a "b" \\theta\tc', "译\\n", ["cell"], fuzzy=True)
    catalogue = gettext_files.Catalogue({entry.id: entry}, {"old": gettext_files.Entry("old", "alt")})
    assert gettext_files.parse(gettext_files.compose(catalogue, "en"), "x.po") == catalogue


@pytest.mark.parametrize("text", ['msgid "a', 'msgid "a"\nmsgstr "b" c', "nonsense", 'msgid "a"\nmsgstr "x"\n\nmsgid "a"\nmsgstr "y"'])
def test_a_broken_catalogue_is_refused_in_one_line(text):
    with pytest.raises(RunError) as caught:
        gettext_files.parse(text, "x.po")
    assert "x.po" in str(caught.value) and "\n" not in str(caught.value)


def test_a_changed_string_keeps_its_old_translation_but_falls_back_until_someone_looks():
    catalogue = gettext_files.Catalogue()
    catalogue.update([("这一段话说的是掩码。", "a"), ("另一段完全不同", "b")])
    for entry in catalogue.entries.values():
        entry.string = "English " + entry.id
    catalogue.update([("这一段话说的是掩码与填充。", "a")])
    (entry,) = catalogue.entries.values()
    assert entry.fuzzy and entry.string == "English 这一段话说的是掩码。"
    assert "这一段话说的是掩码与填充。" not in catalogue.translations()
    catalogue.update([("另一段完全不同", "b")])
    assert catalogue.translations()["另一段完全不同"] == "English 另一段完全不同", "it has come back"


def test_there_is_no_edition_but_those_that_there_are():
    with pytest.raises(RunError, match="en"):
        catalogues.folder_of("fr", ROOT)


def test_the_run_card_and_the_buttons_are_english():
    look = interface.translator(catalogues.translations(catalogues.INTERFACE, "en", ROOT))
    code = nbformat.v4.new_code_cell("corpora.people_daily(x)\ncorpora.reviews()\nload_encoder(profile.checkpoint)")
    result = ChapterResult(chapter="3-code/13-ner", source=Path("a"), executed=Path("b"), status="ok", profile="mini",
                           device="CPU", seconds=71.8, peak_memory_mb=1536.0, run_at="2026-11-24T10:00:00+00:00")
    card = look(stage.run_card(nbformat.v4.new_notebook(cells=[code]), result))
    assert card.startswith("**This run**: profile `mini`; device CPU; time 1 min 12 s; peak memory 1.5 GiB; data: People's Daily")
    assert not HAN.search(card), card
    for call, name in stage.DATA_NAMES.items():
        card = look(stage.run_card(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"reviews(x)\n{call}(x)")]), result))
        assert "data: " in card and not HAN.search(card), name
    reasons = ["a_b：尚无记录", "t：代码已改：notebook、utils/x.py", "t：数据已改：people_daily", "u：实验列表已改"]
    stale = look(stage.warnings(ChapterResult(**{**vars(result), "stale": reasons}))[0])
    assert stale.startswith("**Note**: Some records") and not HAN.search(stale), stale
    assert stale.count("; ") == 3 and "notebook, utils/x.py" in stale.replace("\\", "")
    for tags in ((), ("solution",), ("setup",)):
        cell = nbformat.v4.new_code_cell("x", metadata={"tags": list(tags)})
        stage.decorate(cell)
        options = cell.metadata["mystnb"]
        assert not HAN.search(look(options["code_prompt_show"]) + look(options["code_prompt_hide"])), tags


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A book of a front page in Markdown and one notebook, with the real site and catalogue of the interface."""
    shutil.copytree(ROOT / "chapters" / "_site", tmp_path / "chapters" / "_site")
    locale = tmp_path / "chapters" / "_site" / "locale" / "en" / "LC_MESSAGES"
    for path in locale.rglob("*.po"):
        if path.name != "interface.po":
            path.unlink()
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "chapters" / "references.bib").write_text("")
    toc = {"format": "jb-book", "root": "index", "parts": [{"caption": "概念", "chapters": [{"file": "1-x/01-y"}]}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc, allow_unicode=True))
    (tmp_path / "chapters" / "index.md").write_text("# 书\n\n一句话。\n")
    cells = [nbformat.v4.new_markdown_cell("# 章\n\n未译的话。", id="title"), nbformat.v4.new_code_cell("print('中')", id="code")]
    (tmp_path / "chapters" / "1-x").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "chapters" / "1-x" / "01-y.ipynb")
    catalogues.fill("titles", "en", {"概念": "Concepts", "书": "Book", "章": "Chapter"}, tmp_path)
    catalogues.fill("index", "en", {"一句话。": "A sentence."}, tmp_path)
    return tmp_path


def test_a_stage_is_translated_where_there_is_a_translation_and_stays_chinese_elsewhere(small):
    staged = stage.prepare([], small / "stage", small, allow_missing=True)
    found = editions.localise(staged, "en", small)
    front = (staged.folder / "index.md").read_text()
    assert front.startswith("# Book\n\n> **Note**") and "A sentence." in front and "stay in Chinese" in front
    assert "2 pages" in front and "1 of 4 strings" in front, "the count of the whole book"
    notebook = nbformat.read(staged.folder / "1-x" / "01-y.ipynb", as_version=4)
    assert notebook.cells[0].source.startswith("# Chapter 1. Chapter\n") and "未译的话。" in notebook.cells[0].source
    assert "\n\n> **Note**" in notebook.cells[0].source and "not translated yet" in notebook.cells[0].source
    assert notebook.cells[1].source == "print('中')"
    assert found["1-x/01-y"].missing == 1 and found["index"].missing == 0
    assert yaml.safe_load((staged.folder / "_toc.yml").read_text())["parts"][0]["caption"] == "Concepts"
    config = yaml.safe_load((staged.folder / "_config.yml").read_text())
    assert config["sphinx"]["config"]["language"] == "en" and not HAN.search(config["html"]["extra_footer"])
    assert config["sphinx"]["config"]["chinese_pages"] == ["1-x/01-y"]
    assert '"本页目录"' not in (staged.folder / "_static" / "book.js").read_text()


def load_extension():
    spec = importlib.util.spec_from_file_location("book_editions", ROOT / "chapters/_site/extensions/book_editions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["index", "1-x/01-y"])
def test_the_switch_leads_to_the_same_page_of_the_other_edition_and_back(page):
    extension = load_extension()
    chinese, english = {**editions.SWITCHES["en"], "prefix": "en"}, {**editions.SWITCHES["zh"], "prefix": ".."}
    places = {"zh-CN": f"/{page}.html", "en": f"/en/{page}.html"}
    for language, switch, goal in (("zh_CN", chinese, "en"), ("en", english, "zh-CN")):
        config = SimpleNamespace(edition_switch=switch, language=language, chinese_pages=[], html_baseurl="")
        context = {"body": "<section>x</section>"}
        extension.add_switch(SimpleNamespace(config=config), page, "page.html", context, object())
        (link,) = [part.split('"')[0] for part in context["body"].split('href="')[1:]]
        start = Path(places["en" if goal == "zh-CN" else "zh-CN"]).parent
        assert Path(start, link).resolve() == Path(places[goal]), link


def test_an_english_page_says_which_parts_are_chinese():
    config = SimpleNamespace(edition_switch=editions.SWITCHES["zh"] | {"prefix": ".."}, language="en", chinese_pages=["a"],
                             html_baseurl="")
    context = {"body": '<section id="x"><div class="cell_output docutils container"></div></section>'}
    load_extension().add_switch(SimpleNamespace(config=config), "a", "page.html", context, object())
    assert '<section lang="zh-CN" id="x">' in context["body"] and '<div lang="zh-CN" class="cell_output' in context["body"]


def test_the_english_edition_lies_in_the_chinese_site_and_neither_is_built_in_vain(small, monkeypatch):
    built = []

    def fake(stage_folder: Path, work: Path, log: Path) -> None:
        language = yaml.safe_load((stage_folder / "_config.yml").read_text())["sphinx"]["config"]["language"]
        built.append(language)
        (work / "_build" / "html").mkdir(parents=True)
        (work / "_build" / "html" / "index.html").write_text(language)

    monkeypatch.setattr(build, "run_jupyter_book", fake)
    page = build.build([], small, small / "_build", allow_missing=True, editions=["en"])
    assert page.read_text() == "zh_CN" and (page.parent / "en" / "index.html").read_text() == "en"
    build.build([], small, small / "_build", allow_missing=True, editions=["en"])
    assert built == ["zh_CN", "en"]
    (small / "chapters" / "_site" / "static" / "more.css").write_text("x")  # changes both
    build.build([], small, small / "_build", allow_missing=True, editions=["en"])
    assert built == ["zh_CN", "en"] * 2
    build.build([], small, small / "_build", allow_missing=True)
    assert built[4:] == ["zh_CN"] and not (page.parent / "en").exists(), "without an edition no page links to one"
