"""The definitions of a chapter, pulled out of its notebook without executing a cell."""

import ast
import json
import re
from pathlib import Path

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


def definitions(page: str, namespace: dict, constants: tuple[str, ...] = ()) -> dict:
    """`namespace` with every function, named lambda, and listed constant or class of `chapters/<page>.ipynb`."""
    path = CHAPTERS / f"{page}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for node in (node for source in code for node in ast.parse(source).body):
        named = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in constants
        named = named or isinstance(node, ast.ClassDef) and node.name in constants
        if named or isinstance(node, ast.FunctionDef) or isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            exec(compile(ast.Module([node], []), str(path), "exec"), namespace)
    return namespace


def run_cells(page: str, last: str, **parameters: object) -> dict:
    """Execute the code cells of `chapters/<page>.ipynb` up to the one with the id `last`, in one namespace; returns it.

    Args:
        page: part and name of the chapter.
        last: id of the last cell.
        parameters: values that replace those of the parameters cell. The setup cell is left out.
    """
    path, namespace = CHAPTERS / f"{page}.ipynb", {}
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    for cell in cells[: [cell["id"] for cell in cells].index(last) + 1]:
        if "setup" not in cell["metadata"].get("tags", ()):
            exec(compile("".join(cell["source"]), f"{path.name}[{cell['id']}]", "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert parameters.keys() <= namespace.keys(), f"{page}: no such parameter"
            namespace |= parameters
    return namespace


def run_with_text(page: str, cell: str, text: str, namespace: dict) -> None:
    """Execute the cell with this id of `chapters/<page>.ipynb` in a namespace, with `text` as what the reader writes there."""
    path = CHAPTERS / f"{page}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = next("".join(one["source"]) for one in cells if one["id"] == cell)
    changed, count = re.subn(r"(?m)^text = .*$", lambda _: f"text = {text!r}", source)
    assert count == 1
    exec(compile(changed, f"{path.name}[{cell}]", "exec"), namespace)
