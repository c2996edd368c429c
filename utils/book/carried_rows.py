"""Rows of a record that a new recording need not compute again: those of tables of which only the list of cases has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import records
from . import recording
from .chapters import Chapter


def carry(chapter: Chapter, root: Path, profile: str, parameters: dict[str, Any], only: str | None = None) -> list[str]:
    """Give an unfinished recording the rows of the record whose code and data are still the same.

    A table that holds as it is (same cases too) is left out: who records it anew wants it computed anew.

    Args:
        chapter, root, parameters, only: as for `recording.entries_of`.
        profile: of the recording to come; a record of another profile gives nothing.

    Returns:
        The names of the tables that were given rows.
    """
    saved, recorded, given = records.read_partial(chapter.number), records.read_recorded(chapter.number), []
    for name, table in recording.tables(chapter, root, parameters).items():
        old = recorded.get(name)
        if only not in (None, name) or old is None or old["cases"] == table.cases:
            continue
        if (old["code"], old["data"], old["profile"], old["parameters"]) != (table.code, table.data, profile, parameters):
            continue
        known = {records.case_key(line["case"]) for line in saved
                 if (line["table"], line["key"]) == (name, table.key) and "complete" not in line}
        lines = [{"table": name, "key": table.key, **row} for row in old["rows"] if records.case_key(row["case"]) not in known]
        file = records.partial_file(chapter.number)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(b"".join(b"\n" + json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines))
        given.append(name)
    return given
