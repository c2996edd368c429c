"""The set-up cell at home and in Colab, what is installed there, and the Colab copies."""

import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import nbformat
import pytest

from utils import colab, machine
from utils.book import address, colab_copies, template
from utils.errors import RunError

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = address.Address("someone/book", "gpu")

# --- the set-up cell ----------------------------------------------------------------------------------------------------

TINY_UTILS = {"profiles.py": "", "__init__.py": "def setup():\n    print('set up', __file__)\n", "colab.py": "def prepare():\n    print('prepared')\n"}


def run_cell(source, folder, colab_there=False, **variables):
    """Run a set-up cell in a fresh process, with or without a module google.colab."""
    fake = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n" if colab_there else ""
    return subprocess.run([sys.executable, "-I", "-c", fake + source], cwd=folder, capture_output=True, text=True, env={**os.environ, **variables})


def make_book(folder):
    (folder / "utils").mkdir(parents=True)
    for name, text in TINY_UTILS.items():
        (folder / "utils" / name).write_text(text)


def test_the_set_up_cell_has_at_most_eight_lines_and_is_the_same_in_every_chapter():
    assert len(template.SETUP.splitlines()) <= template.LONGEST_SETUP == 8
    notebooks = [path for path in (ROOT / "chapters").rglob("*.ipynb") if "_" not in path.parts[-2][:1]]
    cells = {"".join(cell["source"]) for path in notebooks for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
             if "setup" in cell["metadata"].get("tags", [])}
    assert cells == {template.SETUP}


@pytest.mark.parametrize("inside", [".", "chapters/3-code", "book/chapters"])
def test_at_home_the_cell_finds_the_repository_from_any_folder_in_it(tmp_path, inside):
    make_book(tmp_path / "仓库")
    folder = tmp_path / "仓库" / inside
    folder.mkdir(parents=True, exist_ok=True)
    done = run_cell(template.setup_cell(HOME), folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "prepared" and str(tmp_path / "仓库" / "utils") in done.stdout


def test_outside_the_repository_the_cell_stops_with_one_line(tmp_path):
    done = run_cell(template.setup_cell(HOME), tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "README" in done.stderr


def test_in_colab_the_cell_stops_with_one_line_until_the_book_has_an_address(tmp_path):
    done = run_cell(template.setup_cell(address.Address()), tmp_path, colab_there=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "Colab" in done.stderr and "make adopt" in done.stderr


def test_in_colab_a_failed_fetch_is_told_as_such(tmp_path):
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{(tmp_path / 'nowhere').as_uri()}.insteadOf",
                "GIT_CONFIG_VALUE_0": "https://github.com/someone/book"}
    done = run_cell(template.setup_cell(HOME, "v1.0"), tmp_path, colab_there=True, **settings)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "没有取到 someone/book 的 v1.0" in last and "make adopt" not in done.stderr
    assert not (tmp_path / "book").exists()  # the next run tries again


def test_in_colab_the_cell_fetches_the_repository_at_its_tag_once(tmp_path):
    there = tmp_path / "there"
    make_book(there)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "v1.0"]):
        subprocess.run([*git, *command], cwd=there, check=True)
    (there / "utils" / "__init__.py").write_text("1/0")
    subprocess.run([*git, "commit", "-qam", "after the tag"], cwd=there, check=True)
    here = tmp_path / "here"
    here.mkdir()
    # git itself is told that the address lies in a folder; the cell is the real one.
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{there.as_uri()}.insteadOf",
                "GIT_CONFIG_VALUE_0": "https://github.com/someone/book"}
    for _ in range(2):
        done = run_cell(template.setup_cell(HOME, "v1.0"), here, colab_there=True, **settings)
        assert done.returncode == 0, done.stderr
        assert str(here / "book" / "utils") in done.stdout
        settings = {}  # the second time nothing is fetched


# --- what is installed --------------------------------------------------------------------------------------------------


def wheel(folder, name, version, requires=()):
    """A wheel with one module that holds its version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {f"{module}.py": f"version = {version!r}\n",
             f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {one}\n" for one in requires),
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    hashes = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode() for path, text in files.items()}
    files[f"{info}/RECORD"] = "".join(f"{path},sha256={hashes[path]},{len(text)}\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder of wheels that pip takes its packages from, and one on sys.path that it installs them into."""
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    wheels.mkdir()
    target.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_TARGET": str(target), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(target))
    modules = {"book_needs": "book-needs", "book_conflicts": "book-conflicts", "book_absent": "book-absent"}
    finder = colab.Installer(modules, {"book-needs": ">=1,<2"})
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    yield wheels
    for module in modules:
        sys.modules.pop(module, None)


def test_a_missing_package_is_installed_when_it_is_imported_within_its_range(shop, capsys):
    wheel(shop, "book-needs", "1.5")
    wheel(shop, "book-needs", "2.0")
    import book_needs

    assert book_needs.version == "1.5"
    assert "book-needs" in capsys.readouterr().out


def test_other_missing_modules_stay_missing_and_nothing_is_installed(shop, monkeypatch):
    monkeypatch.setattr(colab, "install", lambda requirement: pytest.fail(f"tried to install {requirement}"))
    with pytest.raises(ModuleNotFoundError):
        import somebody_elses_module  # noqa: F401


def test_a_package_that_would_change_what_is_there_is_refused_in_one_line(shop):
    present = machine.installed("numpy")
    wheel(shop, "book-conflicts", "1.0", requires=["numpy<1.0"])
    with pytest.raises(RunError) as caught:
        import book_conflicts  # noqa: F401
    assert "\n" not in str(caught.value) and "book-conflicts" in str(caught.value)
    assert machine.installed("numpy") == present


def test_a_package_that_cannot_be_had_is_tried_once(shop):
    with pytest.raises(RunError, match="book-absent"):
        import book_absent  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        import book_absent  # noqa: F401, F811


def test_tensorflow_and_keras_are_never_installed_and_every_package_is_a_requirement():
    needed = {name for name, _, notebook in machine.required() if notebook}
    assert set(colab.MODULES.values()) <= needed
    assert not {"tensorflow", "keras"} & {*colab.MODULES, *colab.MODULES.values()}
    # What a notebook may need and Colab's image may lack has an entry: all but what Colab itself runs on.
    own = {"tensorflow", "keras", "numpy", "papermill", "nbclient", "nbformat", "jupyter-client", "ipykernel", "ipython"}
    assert needed - own - set(colab.MODULES.values()) == set()


def test_only_in_colab_is_the_finder_put_in_place_and_only_once(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    before = list(sys.meta_path)
    colab.prepare()
    assert sys.meta_path == before
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    colab.prepare()
    colab.prepare()
    assert len(sys.meta_path) == len(before) + 1


# --- copies -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colab")
    colab_copies.write(folder, tag="v9.9")
    return folder


def test_every_notebook_has_a_copy_with_a_gpu_folded_solutions_and_no_myst(copies):
    sources = sorted(path.relative_to(ROOT / "chapters") for path in (ROOT / "chapters").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    assert sorted(path.relative_to(copies) for path in copies.rglob("*.ipynb")) == sources
    for name in sources:
        notebook = nbformat.read(copies / name, as_version=4)
        nbformat.validate(notebook)
        assert notebook.metadata.accelerator == "GPU"
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                text = re.sub(r"(?s)```.*?```|\$\$.*?\$\$", "", cell.source)
                assert not re.search(r"\{(cite|eq|numref|term|ref|doc)\}`|^\([a-z]+-[\w-]*\)=|\$\$ \(eq", text, re.M), (name, cell.id)
                assert not re.search(r"\]\(#|\]\([^)]*\.ipynb\)(?<!colab)", text) or address.read(ROOT).repository, (name, cell.id)
            elif "setup" in cell.metadata.get("tags", []):
                assert cell.source == template.setup_cell(address.read(ROOT), "v9.9")
            elif "solution" in cell.metadata.get("tags", []):
                assert cell.source.startswith("#@title") and cell.metadata.cellView == "form", (name, cell.id)


CITED = {"devlin2019bert": ("Devlin 等，2019", "Devlin（2019）. BERT."), "a": ("A，2001", "A（2001）. B.")}
PAGES = {"3-code/13-ner": colab_copies.Chapter("3-code/13-ner", pathlib.Path("13-ner.ipynb"))}


def plain(text, where=HOME, page="index"):
    used = []
    numbers = {"eq-10-a": 1, "eq-10-b": 2}
    return colab_copies.plain(text, numbers, CITED, used, lambda target: colab_copies.link(target, page, where, PAGES)), used


@pytest.mark.parametrize("source, wanted", [
    ("(sec-10-x)=\n## 题", "## 题"),
    ("见 {cite}`devlin2019bert, a`。", "见 （Devlin 等，2019；A，2001）。"),
    ("见式 {eq}`eq-10-b`", "见式 (2)"),
    ("{term}`词元`、{term}`token <词元>`", "词元、token"),
    ("$$\nx\n$$ (eq-10-a)", "$$\nx \\tag{1}$$"),
    ("[第 13 章](#ch-13)", f"[第 13 章]({HOME.colab('3-code/13-ner')})"),
    ("[实体](3-code/13-ner.ipynb)", f"[实体]({HOME.colab('3-code/13-ner')})"),
    ("[第 9 章](#ch-09)、[这里](#sec-10-x)", "第 9 章、这里"),
    ("[外面](https://example.com/a)", "[外面](https://example.com/a)"),
    ("`a[0](x)` 与 $p(x)$", "`a[0](x)` 与 $p(x)$"),
])
def test_myst_becomes_plain_markdown(source, wanted):
    assert plain(source)[0] == wanted


def test_without_an_address_no_link_leads_to_a_copy():
    assert plain("[第 13 章](#ch-13)", address.Address())[0] == "第 13 章"


def test_myst_that_the_copy_does_not_know_and_solutions_that_do_not_fold_are_refused():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("{doc:x}`y`", id="odd")])
    with pytest.raises(RunError, match="odd"):
        colab_copies.copy(notebook, "index", HOME, "main", CITED, PAGES)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("#@title 答案", id="open")])
    with pytest.raises(RunError, match="open"):
        colab_copies.copy(notebook, "index", HOME, "main", CITED, PAGES)
