"""Profile `full` without a network: the real clients against a hub on loopback that breaks in every way that hubs break.

Each fetch runs in a process of its own, because the clients read HF_ENDPOINT and its kin when they are imported.
"""

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from tests.tools import mounted
from tests.unit import loopback_hub
from tests.unit.hub_world import DATA, FETCH, FIXTURE, MODEL, ROOT, make_world, pins_of, table
from tests.unit.loopback_hub import short, silent, slow, status, truncated, wrong

WEIGHTS = r"GET /large/"


@pytest.fixture
def world(tmp_path):
    with make_world(tmp_path / "home") as made:
        yield made


def check_line(result: dict, *parts: str) -> None:
    """One line that names what was wanted and what to set."""
    line = result["error"]
    assert "\n" not in line
    for part in (*parts, "HF_ENDPOINT", "HF_HUB_OFFLINE", 'PROFILE = "mini"'):
        assert part in line, (part, line)


# --- success ------------------------------------------------------------------------------------------------------------


def test_cold_start_fetches_what_the_book_reads_and_nothing_else_and_a_warm_cache_no_file_again(world):
    world.hub.repositories["model", MODEL][world.commit]["pytorch_model.bin"] = b"pickle"
    result = world.fetch()
    assert world.is_whole(result), result
    assert world.hub.asked("pytorch_model.bin") == 0
    before = list(world.hub.requests)
    assert world.is_whole(world.fetch())
    assert not [request for request in world.hub.requests[len(before):] if "/resolve/" in request or "/large/" in request]


def test_a_commit_is_what_is_fetched_even_after_the_branch_has_moved(world):
    newer = world.hub.add("model", MODEL, {**world.model, "config.json": b'{"model_type": "bert"}'})
    assert world.is_whole(world.fetch(revision=world.commit))
    assert world.fetch()["commit"] == newer


@pytest.fixture
def pinned(world, tmp_path):
    """Writes the table of pins that the fetches of this test are to read; returns the variable that names it."""
    def write(pins):
        (tmp_path / "hub.json").write_text(json.dumps(pins))
        return {"TEST_PINS": str(tmp_path / "hub.json")}

    return write


def test_without_a_revision_the_pinned_commit_is_fetched_online_and_offline_and_a_branch_only_by_its_name(world, pinned):
    pins = pinned({MODEL: {"revision": world.commit, "files": {}}})
    newer = world.hub.add("model", MODEL, {**world.model, "config.json": b'{"model_type": "bert"}'})
    assert world.is_whole(world.fetch(**pins))
    count = len(world.hub.requests)
    assert world.is_whole(world.fetch(HF_HUB_OFFLINE="1", **pins))
    assert world.is_whole(world.fetch(revision=world.commit, HF_HUB_OFFLINE="1", **pins))
    assert len(world.hub.requests) == count
    assert world.fetch(revision="main", **pins)["commit"] == newer


def test_without_a_revision_the_pinned_hashes_are_checked(world, pinned):
    pins = pins_of(world.hub)
    assert world.is_whole(world.fetch(**pinned(pins)))
    pins[MODEL]["files"]["vocab.txt"] = "0" * 40
    check_line(world.fetch(**pinned(pins)), world.commit, "vocab.txt", "哈希")


def test_offline_with_a_full_cache_needs_no_hub(world):
    world.fetch()
    count = len(world.hub.requests)
    assert world.is_whole(world.fetch(HF_HUB_OFFLINE="1"))
    assert world.is_whole(world.fetch(revision=world.commit, HF_HUB_OFFLINE="1"))
    assert len(world.hub.requests) == count


def test_a_hub_that_has_gone_away_is_replaced_by_the_cache(world):
    world.fetch(revision=world.commit)
    assert world.is_whole(world.fetch(revision=world.commit, HF_ENDPOINT="http://127.0.0.1:9"))


@pytest.mark.parametrize("fault", [status(429, Retry_After="0"), status(503)], ids=["429", "503"])
@pytest.mark.parametrize("place", [r"/api/models/", r"HEAD .*/resolve/.*config.json", WEIGHTS], ids=["api", "head", "body"])
def test_a_refusal_that_passes_is_repeated_until_it_succeeds(world, fault, place):
    world.hub.fail(place, fault)
    assert world.is_whole(world.fetch())
    assert world.hub.faults[0].times == 0


@pytest.mark.parametrize("kind, name", [("model", MODEL), ("dataset", DATA)], ids=["weights", "parquet"])
@pytest.mark.parametrize("fault", [truncated, short, wrong, silent(1.5)], ids=["truncated", "short", "wrong", "silent"])
def test_a_bad_body_is_thrown_away_and_fetched_again(world, fault, kind, name):
    files = world.hub.repositories[kind, name][world.hub.branches[kind, name]]
    large = sum(path.endswith(loopback_hub.LARGE) for path in files)
    world.hub.fail(WEIGHTS, fault)
    assert world.fetch(kind, name)["files"] == {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    assert world.hub.asked(WEIGHTS) > large


def test_a_damaged_small_file_is_noticed_by_gits_hash(world):
    world.hub.fail(r"GET .*/resolve/.*/vocab.txt", wrong)
    assert world.is_whole(world.fetch())


def test_a_slow_body_is_waited_for_as_long_as_something_comes(world):
    world.hub.fail(WEIGHTS, slow(parts=5, pause=0.5))  # 2.5 s in all, with a limit of 1 s for silence
    assert world.is_whole(world.fetch())
    assert world.hub.asked(WEIGHTS) == 1


# --- failure ------------------------------------------------------------------------------------------------------------


def test_offline_without_a_cache_says_so_at_once(world):
    check_line(world.fetch(HF_HUB_OFFLINE="1"), MODEL, "不联网")
    assert world.hub.requests == []


def test_an_unknown_revision_is_named_and_not_tried_again(world):
    check_line(world.fetch(revision="0" * 40), "0" * 40, "没有这个版本", "make pin")
    check_line(world.fetch(revision="v9"), "v9", "没有这个版本")


def test_an_unknown_name_says_that_the_hub_has_no_such_name(world):
    check_line(world.fetch(name="someone/else"), "someone/else", "没有这个名字")


def test_no_hub_at_all_is_one_line(world):
    check_line(world.fetch(HF_ENDPOINT="http://me:secret@127.0.0.1:9"), MODEL, "http://127.0.0.1:9")
    assert "secret" not in world.fetch(HF_ENDPOINT="http://me:secret@127.0.0.1:9")["error"]


def test_a_hub_that_goes_on_refusing_is_one_line_with_its_status(world):
    world.hub.fail(r"/api/models/", status(503), times=1000)
    check_line(world.fetch(), "503")
    world.hub.faults[:] = []
    world.hub.fail(r"/api/models/", status(429), times=1000)
    check_line(world.fetch(), "429", "请求太多")


def test_a_body_that_stays_wrong_is_refused_and_never_used_later(world):
    world.hub.fail(WEIGHTS, wrong, times=1000)
    check_line(world.fetch(), "model.safetensors", "哈希")
    check_line(world.fetch(HF_HUB_OFFLINE="1"), MODEL)
    world.hub.faults[:] = []
    assert world.is_whole(world.fetch())


@pytest.mark.parametrize("fault, reason", [(short, "没有收全"), (truncated, "传到一半断了")], ids=["short", "truncated"])
def test_a_body_that_stays_short_is_refused_and_never_used_later(world, fault, reason):
    world.hub.fail(WEIGHTS, fault, times=1000)
    check_line(world.fetch(), reason)
    check_line(world.fetch(HF_HUB_OFFLINE="1"), MODEL)
    world.hub.faults[:] = []
    assert world.is_whole(world.fetch())


def test_a_download_killed_half_way_leaves_nothing_that_is_used(world):
    world.hub.fail(WEIGHTS, slow(parts=20, pause=0.2))
    running = world.start("-c", FETCH, "model", MODEL, "")
    end = time.monotonic() + 60
    while not list(world.home.rglob("*.incomplete")) and time.monotonic() < end:
        time.sleep(0.02)
    running.kill()
    running.communicate()
    check_line(world.fetch(HF_HUB_OFFLINE="1"), MODEL)
    assert world.is_whole(world.fetch())


def test_a_cached_file_that_has_rotted_is_removed_offline_and_fetched_again_online(world):
    folder = world.fetch()["commit"]
    file = next(world.home.rglob(f"snapshots/{folder}/model.safetensors")).resolve()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    check_line(world.fetch(HF_HUB_OFFLINE="1"), "model.safetensors", "哈希")
    check_line(world.fetch(HF_HUB_OFFLINE="1"), MODEL)  # it does not come back
    assert world.is_whole(world.fetch())


FULL_DISK = """
import errno, huggingface_hub.file_download as client
def http_get(url, temp_file, **options):
    temp_file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")
client.http_get = http_get
"""


def test_no_space_left_names_hf_home_and_is_not_tried_again(world):
    running = world.start("-c", FULL_DISK + FETCH, "model", MODEL, "")
    result = json.loads(running.communicate(timeout=60)[0])
    check_line(result, "磁盘满了", "HF_HOME")
    check_line(world.fetch(HF_HUB_OFFLINE="1"), MODEL)
    assert world.is_whole(world.fetch())


def test_no_space_left_on_a_real_full_disk(world):
    """A file system of 64 KiB."""
    world.home.mkdir()
    fetch = shlex.join([sys.executable, "-c", FETCH, "model", MODEL, ""])
    script = f"mount -t tmpfs -o size=64k tmpfs {shlex.quote(str(world.home))}; cd {shlex.quote(str(ROOT))}; {fetch}"
    done = mounted(script, world.home.parent, world.variables())
    assert done.returncode == 0, done.stderr
    check_line(json.loads(done.stdout.splitlines()[-1]), "磁盘满了", "HF_HOME")


# --- the book's own loaders, and the clients beneath them -----------------------------------------------------------------

LOAD = """
import json, sys
import numpy as np
from utils import checkpoints, profiles
from utils.corpora import hub
from utils.errors import BookError
model_name, data_name, commit = sys.argv[1:4]
model = checkpoints.load("token", model_name, commit)
tokenizer = checkpoints.load_tokenizer(model_name, commit)
profiles.HUB_DATASETS["tiny"] = profiles.HubEntry(data_name)
data = hub.load("tiny")
import datasets, transformers
direct = datasets.load_dataset(data_name)
same = transformers.AutoTokenizer.from_pretrained(model_name)
outputs = np.load(sys.argv[4])
logits = model({name: outputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
real = outputs["attention_mask"].astype(bool)
print(json.dumps({
    "loaded": len(model.report.loaded), "labels": model.labels, "gap": float(np.abs(np.array(logits) - outputs["logits"])[real].max()),
    "rows": {name: len(part) for name, part in data.items()}, "names": data["train"].features["ner_tags"].feature.names,
    "direct": {name: part.to_dict() == data[name].to_dict() for name, part in direct.items()},
    "tokens": same("你好")["input_ids"] == tokenizer("你好")["input_ids"]}))
"""


def test_checkpoint_tokenizer_and_data_set_load_by_id_as_they_do_from_the_folder_and_again_offline(world):
    for offline in ("0", "1"):
        running = world.start("-c", LOAD, MODEL, DATA, world.commit, str(FIXTURE / "outputs.npz"), HF_HUB_OFFLINE=offline)
        out, complaint = running.communicate(timeout=240)
        assert running.returncode == 0, complaint[-2000:]
        found = json.loads(out.splitlines()[-1])
        assert found["gap"] < 1e-5 and found["loaded"] > 30 and found["labels"][1] == "B-PER"
        assert found["rows"] == {"train": 5, "validation": 3, "test": 2} and found["names"][3] == "B-LOC"
        assert found["direct"] == {"train": True, "validation": True, "test": True} and found["tokens"]


def test_a_data_set_that_cannot_be_had_is_a_data_error_in_one_line(world):
    result = world.fetch("dataset", "someone/nothing")
    check_line(result, "数据 someone/nothing")
    assert result["class"] == "DataError"
    world.hub.add("dataset", "someone/empty", {"README.md": b"nothing"})
    check_line(world.fetch("dataset", "someone/empty"), ".parquet")


def test_a_part_of_a_data_set_brings_only_its_own_folder(world):
    world.hub.add("dataset", "someone/pairs", {f"{pair}/{split}-00000-of-00001.parquet": table(2)
                                               for pair in ("en-zh", "en-fr") for split in ("train", "test")})
    result = world.fetch("dataset", "someone/pairs", part="en-zh")
    assert sorted(result["files"]) == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    check_line(world.fetch("dataset", "someone/pairs", part="en-de"), ".parquet")


def test_a_part_of_a_pinned_data_set_does_not_miss_the_other_parts(world, pinned):
    world.hub.add("dataset", "someone/pairs", {"README.md": b"pairs", **{f"{pair}/train-00000-of-00001.parquet": table(rows)
                                               for pair, rows in (("en-zh", 2), ("en-fr", 3))}})
    pins = pins_of(world.hub)
    assert len(pins["someone/pairs"]["files"]) == 3
    assert list(world.fetch("dataset", "someone/pairs", part="en-zh", **pinned(pins))["files"]) == ["train-00000-of-00001.parquet"]
    pins["someone/pairs"]["files"]["en-zh/test-00000-of-00001.parquet"] = "0" * 64
    check_line(world.fetch("dataset", "someone/pairs", part="en-zh", **pinned(pins)), "en-zh/test-00000-of-00001.parquet")


def test_the_loopback_hub_names_files_as_git_does(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hello\n")
    if not shutil.which("git"):
        pytest.skip("no git on this machine")
    wanted = subprocess.run(["git", "hash-object", "a.txt"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert loopback_hub.git_hash(b"hello\n") == wanted
