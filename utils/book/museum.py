"""The museum's record, of the article's own recipe (`make museum`, chapter 14): does it still fit the script that made it?

The script runs in an environment of its own, so its record is no table of a chapter, and `recording` does not see it.
"""

from __future__ import annotations

import json
from pathlib import Path

from . import dependencies, statements

SCRIPT = "tests/museum/museum.py"
RECORD = "chapters/_recorded/museum.json"


def code(root: Path) -> str:
    """Hash of the script by the rule of the other records: without comments, docstrings and what can only stop a run."""
    tree = dependencies.parse((root / SCRIPT).read_text(encoding="utf-8"))
    return dependencies.digest(statements.canonical(tree))


def faults(root: Path) -> list[str]:
    """Why the record must not be shown; empty if it fits the script, or where there is no record or no script."""
    if not ((root / SCRIPT).is_file() and (root / RECORD).is_file()):
        return []
    try:
        made_by = json.loads((root / RECORD).read_bytes())["code"]
    except (ValueError, KeyError, TypeError):
        return [f"{RECORD} 损坏，或没有写明由哪个脚本生成"]
    return [] if made_by == code(root) else [f"脚本 {SCRIPT} 已改"]
