"""Pins, the reasons that forbid publication, the address, results from other machines, the manifest."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.unit.hub_world import DATA, MODEL, ROOT, make_world
from tests.unit.loopback_hub import digest, status
from tests.unit.tiny_book import LIGHT_PRELOAD, TinyBook
from utils import profiles
from utils.book import __main__ as command_line
from utils.book import address, kernels, lint, museum, pins, publication, runner, template
from utils.errors import ConfigError, RunError

# --- pins ---------------------------------------------------------------------------------------------------------------

PIN = """
import pathlib, sys
from utils import hub, profiles
from utils.book import pins
from utils.errors import BookError
hub.PAUSE = 0.05
profiles.HUB_MODELS = {"tiny": profiles.HubEntry(sys.argv[1])}
profiles.HUB_DATASETS = {"tiny": profiles.HubEntry(sys.argv[2], fallback="revision refs/convert/parquet")}
profiles.PINS = path = pathlib.Path(sys.argv[3])
try:
    if sys.argv[4] == "fetch":
        print(hub.model_folder(sys.argv[1], profiles.pins(path)[sys.argv[1]]["revision"]).name)
    else:
        print("\\n".join(pins.pin(sys.argv[4] == "update", path)))
except BookError as error:
    print("ERROR", error)
"""


@pytest.fixture
def world(tmp_path):
    with make_world(tmp_path / "home") as made:
        yield made


def run_pin(world, path, what="pin", **more):
    running = world.start("-c", PIN, MODEL, DATA, str(path), what, **more)
    out, complaint = running.communicate(timeout=120)
    assert running.returncode == 0, complaint
    return out.strip()


def test_pin_writes_the_hubs_commits_and_the_hashes_of_the_files_that_the_book_reads(world, tmp_path):
    table = tmp_path / "hub.json"
    run_pin(world, table)
    found = json.loads(table.read_text())
    assert set(found) == {MODEL, DATA} and found[MODEL]["revision"] == world.commit
    assert found[MODEL]["files"] == {name: digest(name, content) for name, content in world.model.items()}
    assert len(found[DATA]["files"]) == 3 and world.hub.url in found[DATA]["source"]


def test_pin_keeps_a_known_commit_when_the_branch_moves_and_moves_it_only_when_told_to(world, tmp_path):
    table = tmp_path / "hub.json"
    run_pin(world, table)
    newer = world.hub.add("model", MODEL, {**world.model, "README.md": b"newer"})
    assert "不变" in run_pin(world, table)
    assert json.loads(table.read_text())[MODEL]["revision"] == world.commit
    run_pin(world, table, "update")
    assert json.loads(table.read_text())[MODEL]["revision"] == newer


def test_where_the_default_branch_has_no_parquet_pin_takes_the_commit_of_the_fall_back_branch(world, tmp_path):
    table = tmp_path / "hub.json"
    parquet = world.hub.repositories["dataset", DATA][world.hub.branches["dataset", DATA]]
    world.hub.add("dataset", DATA, {"README.md": b"a script", "tiny.py": b"script"})
    line = run_pin(world, table)
    assert line.startswith("ERROR") and "\n" not in line and DATA in line
    assert set(json.loads(table.read_text())) == {MODEL}, "one that cannot be resolved does not keep the others out"
    beside = world.hub.add("dataset", DATA, parquet, branch="refs/convert/parquet")
    run_pin(world, table)
    found = json.loads(table.read_text())[DATA]
    assert found["revision"] == beside and set(found["files"]) == set(parquet)
    assert "不变" in run_pin(world, table, "update")


def test_without_a_hub_pin_says_so_in_one_line_and_leaves_the_table_alone(world, tmp_path):
    table = tmp_path / "hub.json"
    table.write_text("{}")
    for more in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        line = run_pin(world, table, **more)
        assert line.startswith("ERROR") and "\n" not in line and "HF_ENDPOINT" in line
    world.hub.fail("/api/", status(503), times=1000)
    assert "503" in run_pin(world, table)
    assert table.read_text() == "{}"


def test_a_mirror_that_serves_other_content_under_the_pinned_commit_is_refused(world, tmp_path):
    table = tmp_path / "hub.json"
    run_pin(world, table)
    assert run_pin(world, table, "fetch") == world.commit
    shutil.rmtree(world.home)
    files = world.hub.repositories["model", MODEL][world.commit]
    files["model.safetensors"] = files["model.safetensors"][:-1] + b"?"  # its ETag fits, the pin does not
    line = run_pin(world, table, "fetch")
    assert "model.safetensors" in line and "哈希" in line


def test_every_commit_in_the_table_is_whole_and_says_where_it_was_read():
    table = profiles.pins(profiles.PINS)
    assert set(table) <= {entry.id for _, entry in pins.entries()}  # what nobody has resolved yet is not in the file
    for name, pin in table.items():
        assert re.fullmatch("[0-9a-f]{40}", pin["revision"]), name
        assert pin["source"], name
        assert all(re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", value) for value in pin["files"].values()), name
    assert profiles.PROFILES["full"].revision == table[profiles.PROFILES["full"].checkpoint]["revision"]


# --- publication is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "ROOT", tmp_path)
    monkeypatch.setattr(kernels, "PRELOADED", LIGHT_PRELOAD)
    return TinyBook(tmp_path)


def adopted(root):
    (root / address.FILE).parent.mkdir(parents=True, exist_ok=True)
    (root / address.FILE).write_text(json.dumps({"repository": "someone/book", "gpu_runner": "gpu"}))


def test_publication_is_refused_without_address_with_an_unpinned_entry_and_with_a_missing_record(book, monkeypatch):
    for table in ("HUB_MODELS", "HUB_DATASETS"):
        entries = getattr(profiles, table).items()
        pinned = {name: dataclasses.replace(entry, revision="0" * 40, files={"README.md": "0" * 40}) for name, entry in entries}
        monkeypatch.setattr(profiles, table, pinned)
    book.notebook("01-a", "x = 1")
    assert any("make adopt" in line for line in publication.faults(book.root))
    adopted(book.root)
    assert publication.faults(book.root) == []
    for pin in ({}, {"revision": "0" * 40}, {"files": {"README.md": "0" * 40}}):  # a commit without hashes is no pin
        monkeypatch.setitem(profiles.HUB_MODELS, "new", profiles.HubEntry("someone/new", **pin))
        (line,) = publication.faults(book.root)
        assert "someone/new" in line and "make pin" in line
    monkeypatch.delitem(profiles.HUB_MODELS, "new")
    book.notebook("01-a", "from utils import records\nbook = records.Chapter(1, record=RECORD)",
                  "book.collect('main', lambda: {'x': 1}, cases=[{}])")
    (line,) = publication.faults(book.root)
    assert "main" in line and "尚无记录" in line


def test_a_branch_is_not_published_because_it_moves_under_the_colab_copies(book, monkeypatch, capsys):
    adopted(book.root)
    monkeypatch.setattr(publication, "faults", lambda: [])
    for ref, code in (("", 0), ("refs/tags/v1.0", 0), ("refs/heads/main", 1), ("refs/pull/1/merge", 1)):
        monkeypatch.setenv("GITHUB_REF", ref)
        assert command_line.main(["publishable"]) == code
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1 + code and (not code or ref in lines[0] and "标签" in lines[0])


SCRIPT = "def main():\n    return 0.5\n"


@pytest.mark.parametrize("change, fits", [
    (lambda text: f'"""What it does."""\n# A comment.\n{text}', True), (lambda text: text.replace("0.5", "0.6"), False)])
def test_the_museums_record_is_stale_once_the_code_of_its_script_has_changed(book, monkeypatch, capsys, change, fits):
    adopted(book.root)
    monkeypatch.setattr(pins, "unpinned", lambda: [])
    script, record = book.root / museum.SCRIPT, book.root / museum.RECORD
    for path in (script, record):
        path.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPT)
    assert museum.faults(book.root) == [], "no record: chapter 14 says so itself"
    record.write_text("{}")
    assert "损坏" in museum.faults(book.root)[0]
    record.write_text(json.dumps({"code": museum.code(book.root)}))
    script.write_text(change(SCRIPT))
    assert command_line.main(["records", "--strict"]) == (0 if fits else 1)
    assert ("make museum" in capsys.readouterr().out) == ("make museum" in "".join(publication.faults(book.root))) == (not fits)


# --- results of other machines ------------------------------------------------------------------------------------------


def test_results_from_other_machines_are_taken_if_they_fit_the_source_and_refused_if_not(book, tmp_path, monkeypatch):
    book.notebook("01-a", "print(1)")
    book.notebook("02-b", "print(2)")
    monkeypatch.setattr(runner.fingerprints, "device_name", lambda: "Some GPU")
    runner.run((), runner.Settings(root=book.root), say=lambda line: None)
    monkeypatch.undo()
    there = tmp_path / "executed" / "deep"
    shutil.copytree(book.root / "_build" / "cache" / "mini", there)
    shutil.rmtree(book.root / "_build")
    results = publication.gather(there.parent, "mini", book.root)
    assert [(result.chapter, result.device) for result in results] == [("3-code/01-a", "Some GPU"), ("3-code/02-b", "Some GPU")]

    found = publication.manifest(results, book.root)
    assert set(found["chapters"]) == {"3-code/01-a", "3-code/02-b"}
    entry = found["chapters"]["3-code/01-a"]
    assert entry["device"] == "Some GPU" and re.fullmatch("[0-9a-f]{64}", entry["executed_sha256"])
    assert found["versions"]["python"] and "commit" in found and json.dumps(found)

    book.notebook("02-b", "print(3)")
    with pytest.raises(RunError, match="3-code/02-b") as caught:
        publication.gather(there.parent, "mini", book.root)
    assert "01-a" not in str(caught.value)


# --- the address --------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """The files that name the address, in a folder of their own, with two chapters."""
    for name in ("_config.yml", "_toc.yml", "README.md", str(address.FILE)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    address.adopt("", "", tmp_path) if address.read(tmp_path).repository else None
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    for slug in ("19-classification", "20-relations"):
        template.new(slug, "应用", "题目", tmp_path)
    lint.fix(None, tmp_path, setup=template.setup_cell(address.Address()))
    return tmp_path


def test_adopt_writes_the_address_everywhere_and_can_take_it_away_again(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    changed = address.adopt("Some-One/the.book", "gpu-1", copy)
    assert {path.name for path in changed} == {"address.json", "_config.yml", "README.md", "19-classification.ipynb", "20-relations.ipynb"}
    settings = yaml.safe_load((copy / "_config.yml").read_text(encoding="utf-8"))
    assert settings["repository"] == {"url": "https://github.com/Some-One/the.book", "branch": "colab"}
    assert settings["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
    readme = (copy / "README.md").read_text(encoding="utf-8")
    assert "https://some-one.github.io/the.book/" in readme
    assert "https://colab.research.google.com/github/Some-One/the.book/blob/colab/index.ipynb" in readme
    assert 'REPO, TAG = \\"Some-One/the.book\\", \\"main\\"' in (copy / "chapters/4-applications/20-relations.ipynb").read_text()
    assert publication.plan(copy)[0] == "runner=gpu-1"
    assert address.adopt("Some-One/the.book", "gpu-1", copy) == []
    address.adopt("", "", copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("repository, runner_label", [
    ("book", "gpu"), ("a/b/c", "gpu"), ("https://github.com/a/b", "gpu"), ("a/b", ""), ("", "gpu"), ("a/b", "two words"), ('a/"b', "gpu"),
])
def test_adopt_refuses_what_is_no_repository_or_no_label(copy, repository, runner_label):
    with pytest.raises(ConfigError):
        address.adopt(repository, runner_label, copy)
    assert address.read(copy) == address.Address()


def test_no_file_names_an_address_on_github_unless_it_is_the_adopted_one():
    mine = address.read(ROOT)
    listed = subprocess.run(["git", "ls-files", "*.md", "*.yml", "*.ipynb", "utils/*.py"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git here")
    if not mine.repository:
        for name in filter(None, listed.stdout.split("\n")):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"colab\.research\.google\.com/github/\w", text), name
        assert f"{address.START}\n{address.END}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
        settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
        assert settings["repository"]["url"] == settings["launch_buttons"]["colab_url"] == ""
    else:
        assert mine.url in (ROOT / "_config.yml").read_text(encoding="utf-8")
        assert f'REPO, TAG = "{mine.repository}", "main"' in template.SETUP


def test_the_command_line_says_what_stands_in_the_way_and_fails(book):
    book.add_command_line()
    book.notebook("01-a", "x = 1")
    done = subprocess.run([sys.executable, "-m", "utils.book", "publishable"], cwd=book.root, capture_output=True, text=True)
    assert done.returncode == 1 and "make adopt" in done.stdout and "不能发布" in done.stdout, done.stderr
