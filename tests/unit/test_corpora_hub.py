"""Which revision of a data set of profile `full` is read before `make pin` has resolved it, and after, from a hub on loopback.

The hub is that of `hub_world`: each load runs in a process of its own, because the clients read HF_ENDPOINT when imported.
"""

import json

import pytest

from tests.unit.hub_world import DATA, make_world, table
from utils import profiles

BRANCH = "refs/convert/parquet"
LOAD = """
import json, sys
from utils import hub, profiles
from utils.corpora import hub as data
from utils.errors import DataError
hub.PAUSE = 0.05
entry, part = json.loads(sys.argv[1]), json.loads(sys.argv[2])
profiles.HUB_DATASETS["tiny"] = profiles.HubEntry(**entry)
try:
    print(json.dumps({name: len(rows) for name, rows in data.load("tiny", part).items()}))
except DataError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def world(tmp_path):
    """The data set has no parquet on its main branch; on another one it has two rows, and before that had one."""
    with make_world(tmp_path / "home") as made:
        made.earlier = made.hub.add("dataset", DATA, files(1), branch=BRANCH)
        made.hub.add("dataset", DATA, files(2), branch=BRANCH)
        made.hub.add("dataset", DATA, {"README.md": b"lines of JSON", "train.jsonl": b"{}"})
        yield made


def files(rows):
    return {f"{folder}/train-00000-of-00001.parquet": table(rows * number) for number, folder in ((1, "default"), (10, "other"))}


def load(world, part=None, **entry):
    running = world.start("-c", LOAD, json.dumps({"id": DATA, **entry}), json.dumps(part))
    out, complaint = running.communicate(timeout=120)
    assert running.returncode == 0, complaint[-2000:]
    return json.loads(out.splitlines()[-1])


def test_without_a_pin_the_fallbacks_revision_is_read_whole_or_in_part(world):
    assert load(world, "default", fallback=f"revision {BRANCH}") == {"train": 2}
    assert load(world, "other", fallback=f"revision {BRANCH}") == {"train": 20}


def test_a_pinned_commit_goes_before_the_fallback(world):
    assert load(world, "default", fallback=f"revision {BRANCH}", revision=world.earlier) == {"train": 1}


@pytest.mark.parametrize("fallback", [None, "someone/else", f"someone/else, revision {BRANCH}"])
def test_without_a_pin_a_fallback_that_is_no_revision_of_it_leaves_the_default_branch(world, fallback):
    assert "缺少文件 *.parquet" in load(world, fallback=fallback)["error"]


def test_the_data_sets_whose_parquet_lies_beside_the_main_branch_are_read_from_there():
    beside = {key: entry.fallback for key, entry in profiles.HUB_DATASETS.items() if (entry.fallback or "").startswith("revision ")}
    assert beside == {"lcsts": "revision refs/convert/parquet", "massive": "revision refs/pr/6"}
