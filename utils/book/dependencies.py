"""What a notebook depends on, read from its source without running it.

Which helper modules does it import, and what do they import? Syntax trees are read, so comments never count. Which of its
statements a function rests on is answered in `statements`.

Limit: an import through `importlib` is not seen.
"""

from __future__ import annotations

import ast
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import RunError

PACKAGE = "utils"
PYTHON_CELL_MAGICS = ("%%time", "%%timeit", "%%capture")
# Chapters are planned in threads, and `ast.parse` in two threads at once may fail before Python 3.11.8 and 3.12.2
# (SystemError: AST constructor recursion depth mismatch; python/cpython#106905).
_PARSING = threading.Lock()


@dataclass(frozen=True)
class CodeCell:
    """A code cell: its id, its source and its tags in alphabetical order."""

    id: str
    source: str
    tags: tuple[str, ...]


def digest(text: str | bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook as JSON.

    Raises:
        RunError: the file is missing or is no notebook.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["metadata"].get("kernelspec", {}).get("name", "")
        for cell in notebook["cells"]:
            "".join(cell["source"]), sorted(cell["metadata"].get("tags", [])), cell["cell_type"] + cell.get("id", "")
    except FileNotFoundError:
        raise RunError(f"{path}：没有这个笔记本") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}：不是有效的笔记本（{type(error).__name__}: {error}）；请用 git 恢复它") from None
    return notebook


def code_cells(notebook: dict[str, Any]) -> list[CodeCell]:
    """The code cells of a notebook, in order."""
    return [
        CodeCell(cell.get("id", ""), "".join(cell["source"]), tuple(sorted(cell["metadata"].get("tags", []))))
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def parse(source: str) -> ast.Module | None:
    """Syntax tree of a cell or module, with IPython's magics and shell lines blanked; None if it is not Python."""
    lines = source.splitlines()
    first = lines[0].split() if lines else []
    if first and first[0].startswith("%%") and first[0] not in PYTHON_CELL_MAGICS:
        return ast.Module([], [])
    blanked = [
        line[: len(line) - len(line.lstrip())] + "pass" if line.lstrip().startswith(("%", "!")) else line
        for line in lines
    ]
    for candidate in (source, "\n".join(blanked)):
        try:
            with _PARSING:
                return ast.parse(candidate)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return None


def parameters(cells: Iterable[CodeCell]) -> dict[str, ast.expr]:
    """Names and default values (as syntax trees) that the cell tagged `parameters` assigns."""
    found: dict[str, ast.expr] = {}
    for cell in cells:
        tree = parse(cell.source) if "parameters" in cell.tags else None
        for node in tree.body if tree else []:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found.update({t.id: node.value for t in targets if isinstance(t, ast.Name) and getattr(node, "value", None)})
    return found


# --- helper modules ---------------------------------------------------------------------------------------------------


def _imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that `tree` imports, anywhere in it; `package` is what its relative imports start from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _files_of(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """The modules of the helper package that importing `name` loads: (dotted name, file)."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1) if parts[0] == PACKAGE else ():
        folder = root.joinpath(*parts[:count])
        for file in (folder / "__init__.py", folder.with_suffix(".py")):
            if file.is_file():
                yield ".".join(parts[:count]), file


@lru_cache(maxsize=None)
def _module_imports(name: str, file: Path, version: tuple[int, int]) -> tuple[str, ...]:
    """What a helper module imports. `version` (time and size of the file) makes an edited file a new entry."""
    tree = parse(file.read_text(encoding="utf-8"))
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return tuple(_imported_names(tree, package)) if tree else ()


def helper_files(trees: Iterable[ast.AST | None], root: Path, exclude: Iterable[str] = ()) -> dict[str, Path]:
    """Helper modules that code imports, directly and through one another: dotted name -> file.

    Args:
        trees: syntax trees of cells or statements; None (a cell that is not Python) counts as importing everything.
        root: folder that holds the package `utils`.
        exclude: modules that are neither listed nor followed; of a package, neither are the modules in it.
    """
    excluded, found, queue, seen = tuple(exclude), {}, [], set()
    for tree in trees:
        queue.extend(_imported_names(tree, "") if tree is not None else _all_modules(root))
    while queue:
        imported = queue.pop()
        if imported in seen:
            continue
        seen.add(imported)
        for name, file in _files_of(imported, root):
            if name not in found and not any(f"{name}.".startswith(f"{module}.") for module in excluded):
                found[name] = file
                status = file.stat()
                queue.extend(_module_imports(name, file, (status.st_mtime_ns, status.st_size)))
    return dict(sorted(found.items()))


def _all_modules(root: Path) -> Iterator[str]:
    for file in sorted((root / PACKAGE).rglob("*.py")):
        yield ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
