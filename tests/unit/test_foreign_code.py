"""No file of the book runs code that comes with data or weights: no pickle, no remote code, no torch.load."""

import ast

import pytest

from tests.unit.test_packaging import ROOT, notebook_code, tracked_files

PICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}
SWITCHES = {"allow_pickle", "trust_remote_code"}  # only ever off


def foreign(source: str) -> list[str]:
    """What in a source would run code out of a file that it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLING]
            found += [f"{alias.name} as {alias.asname}" for alias in node.names if alias.name == "torch" and alias.asname]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            found += [module] if module.split(".")[0] in PICKLING else []
            found += [f"{module}.{alias.name}" for alias in node.names if (module, alias.name) == ("torch", "load")]
        elif isinstance(node, ast.keyword) and node.arg in SWITCHES:
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.append(f"{node.arg}={ast.unparse(node.value)}")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.append("torch.load")
    return found


@pytest.mark.parametrize("source", [
    "import pickle", "import joblib.memory as m", "from dill import loads", "def f():\n    import shelve", "torch.load(path)",
    "from torch import load", "import torch as t", "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=x)",
    "load(name, trust_remote_code=1)",
])
def test_the_search_finds_each_way(source):
    assert len(foreign(source)) == 1


def test_no_file_runs_code_out_of_data_or_weights():
    files = [path for path in tracked_files() if path.suffix in (".py", ".ipynb")]
    assert len(files) > 100
    sources = {path: notebook_code(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8") for path in files}
    assert {str(path.relative_to(ROOT)): found for path, source in sources.items() if (found := foreign(source))} == {}
