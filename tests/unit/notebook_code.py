"""The definitions of a chapter, pulled out of its notebook without executing a cell."""

import ast
import json
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
