"""Parameters from the command line: `-p NAME=VALUE`."""

from __future__ import annotations

import ast
import json
import warnings
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
