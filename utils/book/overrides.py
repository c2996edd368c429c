"""Parameters from the command line: `-p NAME=VALUE`."""

from __future__ import annotations

import ast
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError


def parse_override(text: str) -> tuple[str, Any]:
    """`NAME=VALUE` from the command line; the value is a Python literal, or else text.

    Raises:
        ConfigError: no `=`, a parameter that has an option of its own, or a value that JSON cannot hold (a set, bytes).
    """
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise ConfigError(f"-p {text}：要写成 NAME=VALUE")
    if name in ("PROFILE", "RECORD"):
        raise ConfigError(f"-p {text}：请改用 {'--profile' if name == 'PROFILE' else 'record 命令'}")
    try:
        with warnings.catch_warnings(action="ignore"):  # "1if" is text, and no reason to warn
            parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        parsed = value
    try:
        json.dumps(parsed, sort_keys=True, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ConfigError(f"-p {name}：值只能是数、文本、True、False、None，或由它们组成的列表和字典") from None
    return name, parsed


def located(value: Any, default: ast.expr | None) -> Any:
    """A relative path to something that exists becomes absolute: the notebook runs in a folder of its own.

    Args:
        value: of a parameter, as `parse_override` gives it.
        default: of the same parameter. Text counts as a path where the default is empty text, or where it has a separator;
            otherwise a folder that happens to be called as a data set would stand in for it.
    """
    empty = isinstance(default, ast.Constant) and default.value == ""
    if not (isinstance(value, str) and value and (empty or "/" in value or os.sep in value)):
        return value
    try:
        path = Path(value).expanduser()
        return str(path.resolve()) if path.exists() else value
    except (OSError, ValueError, RuntimeError):  # no path at all, or a home that nobody has
        return value


def replaced_texts(given: Mapping[str, Any], defaults: Mapping[str, ast.expr]) -> list[str]:
    """The parameters that say in words what a run works on (data, model, …) and are not what the book's run uses.

    Recorded bands say nothing about such a run. Numbers and switches keep the bands: a wrong value shall be noticed.
    """
    return [name for name, value in given.items()
            if name != "PROFILE" and isinstance(value, str)
            and not (isinstance(defaults.get(name), ast.Constant) and defaults[name].value == value)]
