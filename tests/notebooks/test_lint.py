"""Each rule of the lint fires on a bad example and is silent on the template; the book itself passes."""

import copy
import json
import re
import shutil

import nbformat
import pytest
import yaml

from utils import files
from utils.book import lint, template
from utils.errors import ConfigError, RunError


@pytest.fixture
def chapter():
    return template.chapter(19, "文本分类与匹配")


@pytest.fixture
def findings(tmp_path):
    """A function that writes a notebook (canonical unless text is given) and returns the rules that fire, by cell."""

    def run(notebook=None, name="19-classification.ipynb", text=None):
        path = tmp_path / name
        path.write_text(template.canonical(notebook) if text is None else text, encoding="utf-8")
        lines = lint.check([path], tmp_path)
        assert all(re.fullmatch(r"[^:\n]+\.ipynb: [^:\n]+: \[[a-z-]+\] [^\n]+", line) for line in lines), lines
        return {(line.split(": ")[1], re.search(r"\[([a-z-]+)\]", line).group(1)) for line in lines}

    return run


def cell_of(notebook, name):
    return next(cell for cell in notebook.cells if cell.id == name)


def without(notebook, *names):
    notebook.cells = [cell for cell in notebook.cells if cell.id not in names]


def test_the_book_itself_passes():
    assert lint.check() == []


def test_the_template_passes(chapter, findings):
    assert findings(chapter) == set()


def add(source, name="question"):
    return lambda notebook: setattr(cell_of(notebook, name), "source", cell_of(notebook, name).source + "\n\n" + source)


def replace(name, old, new):
    def change(notebook):
        assert old in cell_of(notebook, name).source
        cell_of(notebook, name).source = cell_of(notebook, name).source.replace(old, new)

    return change


def drop(*names):
    return lambda notebook: without(notebook, *names)


def retag(name, **metadata):
    return lambda notebook: cell_of(notebook, name).metadata.update(metadata)


def rename(name, new):
    return lambda notebook: setattr(cell_of(notebook, name), "id", new)


def more(count, text=True, name="more"):
    """`count` further code cells after the first one of the body, each after a text of its own unless `text` is False."""
    def change(notebook):
        place = 1 + [cell.id for cell in notebook.cells].index("question-numbers")
        for number in range(count):
            cells = [nbformat.v4.new_markdown_cell("看打印的数。", id=f"{name}-text-{number}")] if text else []
            cells += [nbformat.v4.new_code_cell(f"print({number})", id=f"{name}-{number}")]
            notebook.cells[place:place] = cells
            place += len(cells)

    return change


BAD = {
    "four code cells after one text": (more(3, text=False), "more-2", "text"),
    "too many code cells": (more(50), "-", "steps"),
    "machine id": (rename("question", "3f2a9c1b"), "3f2a9c1b", "id"),
    "id with capitals": (rename("question", "Question_1"), "Question_1", "id"),
    "set-up altered": (replace("setup", "import utils, ", "import  utils, "), "setup", "setup"),
    "set-up missing": (drop("setup"), "parameters", "order"),
    "parameters untagged": (retag("parameters", tags=[]), "parameters", "order"),
    "profile not taken": (replace("profile", "profiles.get(PROFILE)", "profiles.get('mini')"), "profile", "order"),
    "long cell": (replace("question-numbers", "axes =", "x = 1\n" * 19 + "axes ="), "question-numbers", "length"),
    "figure without alt": (retag("question-numbers", mystnb={}), "question-numbers", "alt"),
    "figure by pyplot without alt": (replace("profile", "print(profile.name)", "import matplotlib.pyplot as plt\nplt.plot([1])"), "profile", "alt"),
    "figure by a function without alt": (
        replace("profile", "print(profile.name)", "def draw():\n    figures.bars({}, '')\n\ndraw()"), "profile", "alt"),
    "concept map without alt": (
        replace("profile", "print(profile.name)", "from utils import concept_maps\nconcept_maps.draw(1)"), "profile", "alt"),
    "two titles": (add("(ch-19)=\n# 又一个"), "-", "heading"),
    "title without label": (replace("title", "(ch-19)=\n", ""), "title", "label"),
    "label of another chapter": (replace("question", "sec-19", "sec-18"), "question", "label"),
    "section without label": (add("## 无标签"), "question", "label"),
    "label twice": (add("(sec-19-summary)=\n## 又一次"), "summary", "label"),
    "no summary": (drop("summary"), "-", "parts"),
    "no reading": (drop("reading"), "-", "parts"),
    "reading without citation": (replace("reading", "{cite}`devlin2019bert`", "原文"), "reading", "parts"),
    "two exercises": (drop(*(f"exercise-3{part}" for part in ("", "-check", "-yours", "-hint", "-solution"))), "-", "exercise"),
    "exercise without own cell": (drop("exercise-2-check", "exercise-2-yours"), "exercise-2", "exercise"),
    "exercise without hint": (drop("exercise-2-hint"), "exercise-2", "exercise"),
    "exercise without solution": (drop("exercise-2-solution"), "exercise-2", "exercise"),
    "exercise without check": (lambda notebook: (without(notebook, "exercise-2-check"),
                               replace("exercise-2-yours", "check_2(answer_2);", "")(notebook)), "exercise-2", "exercise"),
    "solution not folded": (retag("exercise-2-solution", tags=[]), "exercise-2-solution", "exercise"),
    "solution not folded in Colab": (retag("exercise-2-solution", cellView=""), "exercise-2-solution", "exercise"),
    "solution unchecked": (replace("exercise-2-solution", "assert check_2(answer_2)", "print(1)"), "exercise-2-solution", "exercise"),
    "directive": (add("```{note}\n你好\n```"), "question", "myst"),
    "colon fence": (add(":::{note}\n你好\n:::"), "question", "myst"),
    "role": (add("见 {ref}`sec-19-summary`。"), "question", "myst"),
    "comment": (add("% 注释"), "question", "myst"),
    "HTML block": (add("<div>你好</div>"), "question", "markdown"),
    "inline HTML": (add("一个<br>两个"), "question", "markdown"),
    "footnote": (add("有注[^1]。\n\n[^1]: 注"), "question", "markdown"),
    "plain quote": (add("> 没有粗体词"), "question", "markdown"),
    "broken line": (add("这一段分成\n两行。"), "question", "one-line"),
    "broken line in a list": (add("- 这一项分成\n  两行。"), "question", "one-line"),
    "image without alt": (add("![](a.png)"), "question", "alt"),
    "no space before Latin": (add("用BERT 模型。"), "question", "typography"),
    "no space after digit": (add("共 3个。"), "question", "typography"),
    "half-width comma": (add("先读,再写。"), "question", "typography"),
    "half-width full stop": (add("写完了."), "question", "typography"),
    "half-width brackets": (add("模型 (小) 很快。"), "question", "typography"),
    "straight quotes": (add('叫"银标"。'), "question", "typography"),
    "space beside full-width mark": (add("先读， 再写。"), "question", "typography"),
}


@pytest.mark.parametrize("name", BAD)
def test_rule_fires_on_its_bad_example(name, chapter, findings):
    change, cell, rule = BAD[name]
    change(chapter)
    assert (cell, rule) in findings(chapter)


GOOD = {
    "the short list": "见式 {eq}`eq-19-a`、{numref}`fig-a`、{term}`词元` 与 {cite}`devlin2019bert,vaswani2017attention`。",
    "formulas": "当 $f(x)=1,y:2$ 时，$$a,b;c$$ 成立。\n\n$$\nf(x) = 1, y\n$$ (eq-19-a)",
    "code": "`print(1,2)` 与 `用BERT`。\n\n```python\nx = '用BERT'  # 中文,半角\n```",
    "addresses": "见 [文档](https://example.com/用BERT,x) 与 <https://example.com/a,b>。",
    "English sentence": "Attention is all you need (Vaswani et al., 2017): a paper.",
    "numbers": "F1 是 0.91，占 12.5 %，每批 32 句；CoNLL-2003 与 v1.2 不同。",
    "quotes": "> **注意**：这里要小心。\n\n> **勘误**：原文有误。",
    "glossary": "```{glossary}\n词元\n  token\n```",
    "table": "| 甲 | 乙 |\n|---|---|\n| 一 | $x$ |",
    "list": "1. 第一项，\n2. 第二项。\n   - 里层。",
    "bold and emphasis": "**提示**：用 *BERT* 试试，**一定**要快。",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_prose_passes(name, chapter, findings):
    add(GOOD[name])(chapter)
    assert findings(chapter) == set()


def test_three_code_cells_may_follow_a_text_and_set_up_and_exercises_do_not_count(chapter, findings):
    more(2, text=False)(chapter)
    more(47, name="others")(chapter)
    assert findings(chapter) == set()


def test_a_chapter_that_may_be_longer_has_a_bound_of_its_own(findings):
    longer = template.chapter(25, "生成")
    more(69)(longer)
    assert findings(longer, "25-generation.ipynb") == set()
    longer.cells.insert(6, nbformat.v4.new_code_cell("print(0)", id="one-more"))
    assert findings(longer, "25-generation.ipynb") == {("-", "steps")}


def test_duplicate_ids_outputs_and_foreign_metadata_are_found(chapter, findings):
    data = json.loads(template.canonical(chapter))
    data["cells"][3]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    data["cells"][2]["metadata"]["collapsed"] = True
    found = findings(text=json.dumps(data, ensure_ascii=False))
    assert {("profile", "outputs"), ("parameters", "metadata"), ("-", "json")} <= found
    data["cells"][5]["id"] = data["cells"][4]["id"]
    assert ("question", "id") in findings(text=json.dumps(data, ensure_ascii=False))


@pytest.mark.parametrize("change", [
    lambda text: text.rstrip("\n"),
    lambda text: json.dumps(json.loads(text), ensure_ascii=True, indent=1) + "\n",
    lambda text: json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n",
    lambda text: text.replace('"nbformat_minor": 5', '"nbformat_minor": 4'),
    lambda text: text[:-40],
    lambda text: "",
    lambda text: "[]",
    lambda text: '{"cells": [{}]}',
])
def test_json_that_is_not_canonical_is_found_and_never_crashes(change, chapter, findings):
    assert any(rule == "json" for _, rule in findings(text=change(template.canonical(chapter))))


def test_fix_makes_json_canonical_and_keeps_the_content(tmp_path, chapter):
    dirty = copy.deepcopy(chapter)
    dirty.metadata["colab"] = {"name": "x"}
    for cell in dirty.cells:
        cell.metadata["collapsed"] = True
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="1")], 3
    path = tmp_path / "19-classification.ipynb"
    nbformat.write(dirty, path)
    assert lint.check([path]) != []
    assert lint.fix([path]) == [path]
    assert lint.check([path]) == []
    assert path.read_text(encoding="utf-8") == template.canonical(chapter)
    assert lint.fix([path]) == []


def test_the_front_page_needs_no_exercises(chapter, findings):
    chapter.cells = chapter.cells[:1]
    assert findings(chapter, name="index.ipynb") == set()


@pytest.fixture
def appendix(chapter):
    """A notebook of the appendix: title, set-up, one section."""
    chapter.cells = [cell_of(chapter, name) for name in ("title", "setup", "question")]
    replace("title", "(ch-19)=", "(app-errata)=")(chapter)
    replace("question", "(sec-19-question)=", "(app-errata-question)=")(chapter)
    return chapter


def test_a_notebook_of_the_appendix_needs_no_exercises_but_set_up_and_labels(appendix, findings, tmp_path):
    (tmp_path / "appendix").mkdir()
    name = "appendix/C-errata.ipynb"
    assert findings(appendix, name) == set()
    assert ("-", "name") in findings(appendix, "C-errata.ipynb")  # only there
    replace("question", "(app-errata-question)=", "(sec-19-question)=")(appendix)
    assert findings(appendix, name) == {("question", "label")}
    without(appendix, "setup")
    assert ("-", "order") in findings(appendix, name)


@pytest.fixture
def empty_book(tmp_path, root):
    shutil.copy(root / "_toc.yml", tmp_path / "_toc.yml")
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    (tmp_path / "chapters" / "index.md").write_text("# 书\n", encoding="utf-8")
    return tmp_path


def test_new_chapters_pass_and_stand_in_the_contents_in_the_order_of_the_book(empty_book):
    for slug, part in (("19-classification", "应用"), ("02-networks", "1-concepts"), ("01-background", "概念")):
        path = template.new(slug, part, "题目", empty_book)
        assert path.is_file()
    assert lint.check(None, empty_book) == []
    toc = yaml.safe_load((empty_book / "_toc.yml").read_text(encoding="utf-8"))
    assert [(part["caption"], [entry["file"] for entry in part["chapters"]]) for part in toc["parts"]] == [
        ("概念", ["1-concepts/01-background", "1-concepts/02-networks"]), ("应用", ["4-applications/19-classification"])]


@pytest.mark.parametrize("slug, part, title", [
    ("classification", "应用", "题"), ("19-Classification", "应用", "题"), ("19-classification", "别的", "题"),
    ("19-classification", "应用", " "), ("../19-x", "应用", "题"),
])
def test_new_refuses_what_it_cannot_place(empty_book, slug, part, title):
    with pytest.raises(ConfigError):
        template.new(slug, part, title, empty_book)


def test_new_never_overwrites_a_chapter(empty_book):
    template.new("19-classification", "应用", "题目", empty_book)
    with pytest.raises(ConfigError, match="第 19 章已经有了"):
        template.new("19-other", "应用", "题目", empty_book)


@pytest.mark.parametrize("toc", ["", "parts: [", "root: index\nparts:\n- chapters: []\n", "[]", None])
def test_new_with_damaged_contents_says_so_and_leaves_nothing_behind(empty_book, toc):
    path = empty_book / "_toc.yml"
    path.unlink() if toc is None else path.write_text(toc, encoding="utf-8")
    for _ in range(2):  # the second time, too, it is the contents that are at fault
        with pytest.raises(RunError, match=r"^[^\n]*_toc\.yml[^\n]*$"):
            template.new("26-dialogue", "应用", "题目", empty_book)
    assert not list(empty_book.rglob("*.ipynb"))


def test_new_that_cannot_write_the_contents_leaves_no_chapter_behind(empty_book, monkeypatch):
    def full(path, content):
        if path.name == "_toc.yml":
            raise RunError("磁盘满了")
        files.write_atomically(path, content)

    monkeypatch.setattr(template, "write_atomically", full)
    with pytest.raises(RunError, match="磁盘满了"):
        template.new("26-dialogue", "应用", "题目", empty_book)
    assert not list(empty_book.rglob("*.ipynb"))


def test_a_page_that_is_missing_on_either_side_of_the_contents_is_named(empty_book):
    path = template.new("19-classification", "应用", "题目", empty_book)
    (empty_book / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    assert any("19-classification" in line for line in lint.check(None, empty_book))
    template.add_to_toc("4-applications/19-classification", empty_book)
    path.unlink()
    assert any("19-classification" in line for line in lint.check(None, empty_book))


def test_the_code_of_the_template_runs_and_its_solutions_pass(chapter):
    names: dict = {}
    for cell in chapter.cells:
        if cell.cell_type == "code" and cell.id.startswith("exercise"):
            exec(compile(cell.source, cell.id, "exec"), names)  # the solution asserts that its check passes


def test_the_contents_name_each_part_once_and_the_chapters_in_order(root):
    parts = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    captions = [part["caption"] for part in parts]
    pages = [page["file"].split("/")[-1] for part in parts for page in part["chapters"]]
    chapters = [page for page in pages if page[:2].isdigit()]
    assert len(set(captions)) == len(captions) and chapters == sorted(chapters), (captions, chapters)
