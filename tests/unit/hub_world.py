"""A hub on loopback with a tiny checkpoint and tiny data, and processes that fetch from it.

Each fetch runs in a process of its own, because the clients read HF_ENDPOINT and its kin when they are imported.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow
import pyarrow.parquet

from tests.unit.loopback_hub import Hub, digest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "bert" / "token_classifier"
MODEL, DATA = "someone/tiny-bert", "someone/tiny-ner"
FETCH = """
import json, os, pathlib, sys
from utils import hub, profiles
from utils.errors import BookError
hub.PAUSE = 0.05
if "TEST_PINS" in os.environ:
    profiles.PINS = pathlib.Path(os.environ["TEST_PINS"])
kind, name, revision, *part = sys.argv[1:]
try:
    folder = getattr(hub, kind + "_folder")(name, revision or None, *part)
    files = {path.relative_to(folder).as_posix(): hub.file_hash(path, 64) for path in folder.rglob("*") if path.is_file()}
    print(json.dumps({"commit": folder.name, "files": files}))
except BookError as error:
    print(json.dumps({"error": str(error), "class": type(error).__name__}))
"""


def parquet(features: dict, rows: list[dict]) -> bytes:
    """A parquet file of these rows, as `datasets` writes it: with the features in its metadata."""
    import datasets

    features = datasets.Features(features)
    data = datasets.Dataset.from_list(rows, features=features)
    stream = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(data.data.table.replace_schema_metadata(features.arrow_schema.metadata), stream)
    return stream.getvalue().to_pybytes()


def table(rows: int) -> bytes:
    """A tiny parquet file of tokens and tags."""
    import datasets

    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    # Sequence(ClassLabel) is spelled so that datasets 4 and 5 both read it.
    features = {"tokens": datasets.Sequence(datasets.Value("string")),
                "ner_tags": datasets.Sequence(datasets.ClassLabel(names=names))}
    return parquet(features, [{"tokens": ["王", "明"], "ner_tags": [1, 2]}] * rows)


def pins_of(hub: Hub) -> dict[str, dict]:
    """The table that `make pin` would write here: for every id the commit of its branch and the hashes of all files."""
    return {name: {"revision": commit, "files": {path: digest(path, text) for path, text in hub.repositories[kind, name][commit].items()}}
            for (kind, name), commit in hub.branches.items()}


@dataclass
class World:
    """A hub with one model and one data set, and a cache that belongs to this test alone."""

    hub: Hub
    home: pathlib.Path
    model: dict[str, bytes]
    commit: str
    environment: dict[str, str] = field(default_factory=dict)

    def variables(self, **more: str) -> dict[str, str]:
        mine = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.home), "HF_HUB_DOWNLOAD_TIMEOUT": "1",
                "HF_HUB_ETAG_TIMEOUT": "2", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "no_proxy": "*", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **self.environment, **more}
        base = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        base.pop("HF_HUB_OFFLINE", None)
        return base | mine

    def start(self, *arguments: str, **more: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, *arguments], env=self.variables(**more), cwd=ROOT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def fetch(self, kind: str = "model", name: str = MODEL, revision: str = "", part: str | None = None, **more: str) -> dict:
        """What `hub.model_folder` or `hub.dataset_folder` gives in a fresh process."""
        running = self.start("-c", FETCH, kind, name, revision, *([part] if part else []), **more)
        out, complaint = running.communicate(timeout=120)
        assert running.returncode == 0, complaint
        return json.loads(out.splitlines()[-1])

    def is_whole(self, result: dict) -> bool:
        wanted = {name: digest("x.parquet", content) for name, content in self.model.items() if name != "README.md"}
        return result.get("files") == wanted and result["commit"] == self.commit


@contextlib.contextmanager
def make_world(home: pathlib.Path) -> Iterator[World]:
    """A running hub with the fixture's checkpoint and a tiny data set, and an empty cache in `home`."""
    files = {name: (FIXTURE / name).read_bytes() for name in ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors")}
    with Hub() as hub:
        commit = hub.add("model", MODEL, dict(files))
        hub.add("dataset", DATA, {f"data/{split}-00000-of-00001.parquet": table(rows)
                                  for split, rows in (("train", 5), ("validation", 3), ("test", 2))})
        yield World(hub, home, files, commit)
