"""Which statements of a notebook a recorded function rests on, read from syntax trees: comments never count.

Limits: a global that a function changes when it is called elsewhere is not seen; nor is what an error that is raised, and
caught again by the code behind a table, changes on the way; nor that a condition such as `any(x)` uses up an iterator.
"""

from __future__ import annotations

import ast
import copy
import symtable
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .dependencies import CodeCell, parse


@dataclass(frozen=True)
class Statement:
    """A top-level statement: the global names that it sets or changes, and those that it reads."""

    node: ast.stmt
    defines: frozenset[str]
    uses: frozenset[str]


# What a condition may call and still change nothing: these read their arguments, and that is all.
PURE_FUNCTIONS = {"all", "any", "abs", "isinstance", "len", "list", "max", "min", "set", "sorted", "str", "sum", "tuple", "type"}
PURE_METHODS = {"array_equal", "endswith", "exists", "get", "is_dir", "is_file", "isfinite", "issubset", "items", "keys",
                "signature", "startswith", "values"}
PURE_MODULES = {"inspect", "math", "numbers"}  # where they are used shows in the statements that use them


def only_stops(node: Any) -> bool:
    """Whether a statement can stop a run and do nothing else: `if <what changes nothing>: raise …`, and imports for it."""
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").rpartition(".")[2] == "errors"
    if isinstance(node, ast.Import):
        return all(alias.name in PURE_MODULES and not alias.asname for alias in node.names)
    if not isinstance(node, ast.If) or not _only_raise(node.body + node.orelse):
        return False
    inside = list(ast.walk(node.test))
    calls = [child.func for child in inside if isinstance(child, ast.Call)]
    pure = all(isinstance(call, ast.Name) and call.id in PURE_FUNCTIONS
               or isinstance(call, ast.Attribute) and call.attr in PURE_METHODS for call in calls)
    return pure and not any(isinstance(child, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)) for child in inside)


def _only_raise(nodes: list[ast.stmt]) -> bool:
    return all(isinstance(node, ast.Raise) or only_stops(node) for node in nodes)


def _that_matter(nodes: list[Any]) -> list[Any]:
    """The nodes without those that can only stop a run; of `try` whose handlers all raise, the statements it guards."""
    kept = []
    for node in nodes:
        if isinstance(node, ast.Try) and not node.finalbody and all(_only_raise(handler.body) for handler in node.handlers):
            kept += _that_matter(node.body + node.orelse)
        elif not only_stops(node):
            kept.append(node)
    return kept


def canonical(node: Any) -> str:
    """Text of a syntax tree without what cannot change a result, the same under every version of Python.

    Left out are positions, comments, docstrings, and statements that can only stop a run: a better error makes no record stale.
    """
    if isinstance(node, list):
        return "[" + ",".join(canonical(entry) for entry in _that_matter(node)) + "]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__}:{node!r}"
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            value = value[1:] if ast.get_docstring(node, clean=False) is not None else value
        if value is not None and value != [] and name not in ("ctx", "kind", "type_comment", "type_ignores"):
            fields.append(f"{name}={canonical(value)}")
    return f"{type(node).__name__}({' '.join(fields)})"


def _root_name(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _changed_names(node: ast.stmt) -> set[str]:
    """Names whose object a statement changes in place: `x[0] = 1`, `x.y = 1`, or `x.append(1)` on a line of its own."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return set()
    changed = set()
    for child in ast.walk(node):
        stored = isinstance(child, (ast.Attribute, ast.Subscript)) and not isinstance(child.ctx, ast.Load)
        called = (
            isinstance(child, ast.Expr) and isinstance(child.value, ast.Call) and isinstance(child.value.func, ast.Attribute)
        )
        if stored or called:
            changed.add(_root_name(child.value.func if called else child))
    return changed - {None}


class _Scopes(ast.NodeTransformer):
    """Writes comprehensions as generators: since Python 3.12 only these have a table of symbols to themselves."""

    def _as_generator(self, node: ast.ListComp | ast.SetComp | ast.DictComp) -> ast.GeneratorExp:
        self.generic_visit(node)
        item = ast.Tuple([node.key, node.value], ast.Load()) if isinstance(node, ast.DictComp) else node.elt
        return ast.GeneratorExp(item, node.generators)

    visit_ListComp = visit_SetComp = visit_DictComp = _as_generator


def _globals_of(node: ast.AST, mode: str) -> tuple[set[str], set[str]]:
    """Global names (set, read) of a statement ("exec") or expression ("eval"), the same under every version of Python."""
    plain = _Scopes().visit(copy.deepcopy(node))
    return _global_names(symtable.symtable(ast.unparse(plain), "cell", mode))


def _global_names(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """Global names (set, read) in a scope and the scopes inside it."""
    top = table.get_type() == "module"
    symbols = [symbol for symbol in table.get_symbols() if top or symbol.is_global()]
    defines = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    uses = {symbol.get_name() for symbol in symbols if symbol.is_referenced()}
    for child in table.get_children():
        inner = _global_names(child)
        defines, uses = defines | inner[0], uses | inner[1]
    return defines, uses


def _loop_names(node: ast.stmt) -> set[str]:
    """Names that a loop binds itself before any line of it reads them: other loops with the same names do not matter."""
    if not isinstance(node, ast.For) or node.orelse:
        return set()
    return {part.id for part in ast.walk(node.target) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)} - {
        part.id for part in ast.walk(node.iter) if isinstance(part, ast.Name)}


def statements(cells: Iterable[CodeCell]) -> list[Statement]:
    """The top-level statements of a notebook, in order. The set-up cell, the same in every chapter, is left out."""
    trees = [parse(cell.source) for cell in cells if "setup" not in cell.tags]
    nodes = [node for tree in trees if tree for node in tree.body]
    modules = {
        (alias.asname or alias.name.split(".")[0])
        for node in nodes
        for alias in (node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else [])
    }
    found = []
    for node in nodes:
        defines, uses = _globals_of(node, "exec")
        found.append(Statement(node, frozenset(defines | (_changed_names(node) - modules)), frozenset(uses - _loop_names(node))))
    return found


def rests_on(all_statements: list[Statement], expression: ast.expr) -> list[Statement]:
    """The statements that give the names in `expression` their meaning, and theirs, in the notebook's order."""
    # By scope, not by name: the variable of a comprehension is nobody else's, even where a loop of the notebook is called so.
    wanted = set(_globals_of(expression, "eval")[1])
    chosen: set[int] = set()
    while True:
        more = {i for i, statement in enumerate(all_statements) if i not in chosen and statement.defines & wanted}
        if not more:
            return [all_statements[i] for i in sorted(chosen)]
        chosen |= more
        wanted |= {name for i in more for name in all_statements[i].uses}
