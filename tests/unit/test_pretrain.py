"""Whose state `make pretrain` goes on with: runs of a tiny recipe, stopped, resumed, refused; and the card of the shipped one."""

import dataclasses
import json

import numpy as np
import pytest

from utils import checkpoints, corpora, pretraining, profiles
from utils.book import pretrain, pretrain_run
from utils.errors import ConfigError, DataError

TEXTS = ["今天天气很好,我们去公园玩。", "他买了三台机器,又去了公园。", "预训练不需要标注:文本自己就是答案!"] * 8
DEV_TEXTS = ["明天我们再去公园,他不去。", "文本就是答案,不需要标注。"] * 8
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
RECIPE = pretraining.Recipe(steps=10, length=16, batch=4, long_every=5, long_length=32, long_batch=2, min_count=1)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A world in which pre-training takes seconds; returns the folder for the checkpoint."""
    build, scores = pretraining.build_model, pretraining.masked_scores
    monkeypatch.setattr(pretrain, "WORK", tmp_path / "work")
    monkeypatch.setattr(pretrain, "training_text", lambda: TEXTS)
    monkeypatch.setattr(corpora, "people_daily_text", lambda split: DEV_TEXTS)
    monkeypatch.setattr(pretrain, "build_model", lambda stream, recipe: build(stream, recipe, **TINY))
    monkeypatch.setattr(pretrain, "masked_scores", lambda *arguments: scores(*arguments, batches=1))
    return tmp_path / "checkpoint"


def pretend(recipe, texts=TEXTS, finished=None):
    """Leave behind what an earlier run would have: a plan, a state and a milestone."""
    pretrain.WORK.mkdir(parents=True, exist_ok=True)
    for name in ("state.npz", "step-5.npz"):
        (pretrain.WORK / name).write_bytes(b"earlier")
    plan = pretrain_run.identity(recipe, texts, DEV_TEXTS) | ({"finished": str(finished)} if finished else {})
    (pretrain.WORK / pretrain_run.PLAN).write_text(json.dumps(plan), encoding="utf-8")


def contents():
    return {path.name: path.read_bytes() for path in pretrain.WORK.iterdir()}


def milestones():
    """Step -> file of the weights kept on the way."""
    return {int(path.stem.removeprefix("step-")): path for path in pretrain_run.stored() if path.name != "state.npz"}


def test_a_run_that_was_stopped_ends_with_the_same_bits_and_a_finished_one_is_left_alone(tiny, monkeypatch):
    one = pretrain_run.run(RECIPE, tiny)
    weights = (tiny / checkpoints.WEIGHTS).read_bytes()
    kept = {step: dict(np.load(path)) for step, path in milestones().items()}
    assert sorted(kept) == [1, 2, 5, 10]
    before = contents()
    with pytest.raises(ConfigError, match="已经训练完.*--again"):
        pretrain_run.run(RECIPE, tiny)
    assert contents() == before

    scored, calls = pretrain.masked_scores, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 8:  # after the eighth step; what is stored is the fifth
            raise KeyboardInterrupt
        return scored(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "masked_scores", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain_run.run(RECIPE, tiny, again=True)
    assert sorted(milestones()) == [1, 2, 5]
    two = pretrain_run.run(RECIPE, tiny)
    assert (tiny / checkpoints.WEIGHTS).read_bytes() == weights
    for part in ("curve", "evaluations", "final", "tokens"):
        assert two[part] == one[part], part
    for step, path in milestones().items():
        now, then = dict(np.load(path)), kept[step]
        assert all(np.array_equal(now[name], then[name]) for name in then.keys() - {"meta"}), step  # "meta" holds seconds


def test_the_command_names_the_weights_that_it_wrote_and_the_machine(tiny, capsys, monkeypatch):
    monkeypatch.setattr(pretrain_run, "Recipe", lambda steps: dataclasses.replace(RECIPE, steps=steps, learning_rate=0.03))
    pretrain_run.Recipe.steps = RECIPE.steps
    assert pretrain_run.main(["--out", str(tiny), "--steps", "6"]) == 0
    facts = json.loads((tiny / "training.json").read_text(encoding="utf-8"))
    best = max(facts["evaluations"], key=lambda row: row["accuracy"])
    assert best["accuracy"] > facts["evaluations"][-1]["accuracy"], "the last step must not be the best one here"
    assert facts["final"]["accuracy"] == best["accuracy"]
    printed = capsys.readouterr().out
    assert f"第 {facts['final']['step']} 步" in printed and printed.rstrip().endswith(f"{best['accuracy']:.3f}")
    card = (tiny / "README.md").read_text(encoding="utf-8")
    assert facts["hardware"] == pretrain_run.hardware() and facts["hardware"] in card and "GiB" in card
    assert not list(tiny.parent.glob("checkpoint.*"))
    assert pretrain_run.main(["--out", str(tiny), "--steps", "6"]) == 1  # finished: one line, no traceback
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("recipe, texts, named", [
    (dataclasses.replace(RECIPE, seed=2), TEXTS, "seed 原来是 1，现在是 2"),
    (dataclasses.replace(RECIPE, learning_rate=2e-3, masked=0.3), TEXTS, "learning_rate 原来是 0.001，现在是 0.002；masked"),
    (RECIPE, TEXTS[1:], "训练文本"),
])
def test_what_is_stored_for_another_recipe_or_text_is_refused_and_not_taken(tiny, recipe, texts, named):
    pretend(RECIPE)
    before = contents()
    with pytest.raises(ConfigError, match=named) as refused:
        pretrain_run.claim(pretrain_run.identity(recipe, texts, DEV_TEXTS), tiny)
    assert "plan.json" in str(refused.value) and "--again" in str(refused.value) and "\n" not in str(refused.value)
    assert contents() == before


def test_a_state_that_nothing_explains_is_refused(tiny):
    wanted = pretrain_run.identity(RECIPE, TEXTS, DEV_TEXTS)
    pretend(RECIPE)
    plan = pretrain.WORK / pretrain_run.PLAN
    for content in (b"{", b"[]", b"\xff", b'{"finished": "there"}'):
        plan.write_bytes(content)
        with pytest.raises(DataError, match="plan.json.*--again"):
            pretrain_run.claim(wanted, tiny)
    plan.unlink()
    with pytest.raises(ConfigError, match="没有 plan.json"):
        pretrain_run.claim(wanted, tiny)


def test_starting_afresh_removes_what_is_stored_and_nothing_beside_it(tiny):
    pretend(RECIPE)
    for name in ("again/model.safetensors", "step-10.partial", "notes.txt"):
        (pretrain.WORK / name).parent.mkdir(exist_ok=True)
        (pretrain.WORK / name).write_bytes(b"x")
    pretrain_run.discard()
    assert sorted(path.name for path in pretrain.WORK.iterdir()) == ["again", "notes.txt"]
    pretrain_run.claim(pretrain_run.identity(RECIPE, TEXTS, DEV_TEXTS), tiny)  # and another recipe may have the folder
    pretrain_run.claim(pretrain_run.identity(dataclasses.replace(RECIPE, seed=2), TEXTS, DEV_TEXTS), tiny)


def test_a_finished_folder_that_is_gone_is_written_again(tiny):
    pretend(RECIPE, finished=tiny)
    pretrain_run.claim(pretrain_run.identity(RECIPE, TEXTS, DEV_TEXTS), tiny)
    tiny.mkdir()
    with pytest.raises(ConfigError, match="已经训练完"):
        pretrain_run.claim(pretrain_run.identity(RECIPE, TEXTS, DEV_TEXTS), tiny)


def test_the_shipped_card_is_the_template_filled_with_what_was_measured():
    facts = json.loads((profiles.CHECKPOINT / "training.json").read_text(encoding="utf-8"))
    model = checkpoints.load("language", profiles.CHECKPOINT)
    card = pretrain_run.card(facts, model.count_params(), model.encoder.config.vocab_size)
    assert (profiles.CHECKPOINT / "README.md").read_text(encoding="utf-8") == card
