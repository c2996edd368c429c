"""A table that the book records is the same to the last digit when it is made again on the same machine."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.sturdiness.books import linux
from tests.unit.tiny_book import REPOSITORY
from utils.book.spot_check import MEASURED

OTHER = {"PYTHONHASHSEED": "7", "HOME": "/dev/null/nowhere"}  # what must change nothing


def recorded(folder, chapter, table, **environment):
    """The rows of one table of a chapter, made by the book's command in a copy of the book, without what was measured."""
    for part in ("utils", "chapters"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_toc.yml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, folder)
    record = folder / "chapters" / "_recorded" / f"{chapter}.json"
    tables = json.loads(record.read_bytes())
    del tables["tables"][table]  # else its rows would be taken from it
    record.write_text(json.dumps(tables), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "utils.book", "record", chapter, "--only", table], cwd=folder, text=True,
                          capture_output=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = json.loads(record.read_bytes())["tables"][table]["rows"]
    return [[row["case"], {column: value for column, value in row["result"].items() if not column.endswith(MEASURED)}]
            for row in rows]


@linux
@pytest.mark.soak  # the whole notebook is executed, twice: one minute and two
@pytest.mark.parametrize("chapter, table", [("02", "base"), ("10", "padding")])  # networks in NumPy; fine-tuned encoders
def test_a_table_that_is_recorded_twice_is_the_same_to_the_last_digit(tmp_path, chapter, table):
    one, two = recorded(tmp_path / "a", chapter, table), recorded(tmp_path / "b", chapter, table, **OTHER)
    assert len(one) >= 3 and json.dumps(one) == json.dumps(two)
    assert len({json.dumps(result) for _, result in one}) == len(one), "another seed gives another result"
