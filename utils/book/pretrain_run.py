"""The command behind `make pretrain`: whose state lies in `_build/pretrain/`, and the way from there to the finished folder.

`pretrain` trains. Here the finished folder is written, and here stands for which recipe and texts its state and milestones were made
(`plan.json` beside them); those of another are refused. The tables of chapter 4 rest on `pretrain`, and none on this.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from .. import checkpoints, corpora, machine
from ..errors import BookError, ConfigError, DataError
from ..files import write_atomically
from ..pretraining import Recipe, TextStream, batch_shape
from ..profiles import CHECKPOINT, ROOT
from ..training import Trainer
from . import pretrain, recording

PLAN = "plan.json"
AFRESH = "要从头训练，运行 make pretrain OPTIONS=--again（先删除那里的存档）"


def identity(recipe: Recipe, texts: list[str], dev_texts: list[str]) -> dict:
    """What decides the weights, as JSON values: the recipe, the training text, and the text that chooses the step to keep."""
    return {"recipe": asdict(recipe), "data_sha256": pretrain.text_hash(texts), "validation_sha256": pretrain.text_hash(dev_texts)}


def differences(found: dict, wanted: dict) -> list[str]:
    """Where two identities differ, in words; fields of the recipe that only one of them knows count."""
    old, new = found.get("recipe", {}), wanted["recipe"]
    fields = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    texts = {"data_sha256": "训练文本", "validation_sha256": "验证文本"}
    return [f"{name} 原来是 {old.get(name)}，现在是 {new.get(name)}" for name in fields] + [
        text for key, text in texts.items() if found.get(key) != wanted[key]]


def stored() -> list[Path]:
    """The state and the milestones in the working folder."""
    return sorted([*pretrain.WORK.glob("state.npz"), *pretrain.WORK.glob("step-*.npz")])


def read_plan() -> dict | None:
    """For which recipe and texts the stored files were made; None if nothing says so.

    Raises:
        DataError: the file is damaged.
    """
    path = pretrain.WORK / PLAN
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} 读不出来（{error}）；{AFRESH}") from None
    if not isinstance(found, dict) or not isinstance(found.get("recipe"), dict):
        raise DataError(f"{path} 里没有配方；{AFRESH}")
    return found


def claim(wanted: dict, folder: Path) -> None:
    """Make the working folder that of `wanted` (an `identity`), or find that it is.

    Args:
        folder: where the finished checkpoint is to go.

    Raises:
        ConfigError: what is stored belongs to another recipe or text, or to nobody knows which; or it is finished.
        DataError: the plan file is damaged.
    """
    path, files = pretrain.WORK / PLAN, stored()
    found = read_plan() if files else None  # a plan without a state holds nothing back
    if files and found is None:
        raise ConfigError(f"{pretrain.WORK} 里有 {files[0].name} 等存档，却没有 {PLAN} 写明它们的配方与文本；{AFRESH}")
    if found and (changed := differences(found, wanted)):
        raise ConfigError(f"{path}：那里的存档属于另一个配方或另一份文本（{'；'.join(changed)}），接着训练会把两者混在一起；{AFRESH}")
    if found and found.get("finished") == str(folder) and folder.is_dir():
        raise ConfigError(f"这个配方已经训练完，检查点在 {folder}；{AFRESH}")
    write_atomically(path, _json({**(found or {}), **wanted}))


def discard() -> None:
    """Remove state, milestones and plan, and nothing else: a finished folder may lie beside them."""
    for path in [*stored(), *pretrain.WORK.glob("step-*.partial"), pretrain.WORK / PLAN]:  # the plan last: it tells whose the rest is
        path.unlink(missing_ok=True)


def hardware() -> str:
    """Processor, cores and memory of this machine in one line."""
    facts, memory = recording.circumstances(ROOT)["hardware"], machine.memory_bytes()
    parts = [facts["processor"], f"{facts['cores']} CPU cores", f"{memory / 2**30:.1f} GiB" if memory else ""]
    return ", ".join(part for part in (*parts, facts["device"] if facts["device"] != "CPU" else "") if part)


def card(facts: dict, parameters: int, vocabulary: int) -> str:
    """The model card: the template beside this file, filled with what `training.json` holds.

    Args:
        facts: content of `training.json`.
        parameters: how many numbers the model has.
        vocabulary: how many pieces.
    """
    template = (Path(__file__).parent / "checkpoint_card.md").read_text(encoding="utf8")
    return template.format(parameters=parameters, vocabulary=vocabulary, **facts)


def export(trainer: Trainer, stream: TextStream, recipe: Recipe, data_hash: str, folder: Path) -> dict:
    """Write the Hugging Face folder (half precision), `training.json` with the curve, and the card.

    The old folder stands until the new one is complete.

    Returns:
        content of `training.json`; "final" are the scores of the weights that were written.
    """
    side = folder.with_name(folder.name + ".partial")
    shutil.rmtree(side, ignore_errors=True)
    checkpoints.save(trainer.model, side, vocabulary=stream.vocabulary, dtype="float16")
    history = trainer.history
    tokens = sum(math.prod(batch_shape(recipe, step)) for step in range(trainer.step))
    facts = {
        "recipe": asdict(recipe),
        "data_sha256": data_hash,
        "corpora": {name: corpora.fingerprint(name) for name in ("people_daily", "reviews")},
        "characters": int(stream.ids.shape[1]),
        "tokens": int(tokens),
        "seconds": round(history.seconds),
        "hardware": hardware(),
        "final": next(row for row in history.evaluations if row["step"] == history.best_step),
        "curve": pretrain.curve(history),
        "evaluations": history.evaluations,
    }
    (side / "training.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf8")
    (side / "README.md").write_text(card(facts, trainer.model.count_params(), len(stream.vocabulary)), encoding="utf8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(side, folder)
    return facts


def run(recipe: Recipe, folder: Path, again: bool = False) -> dict:
    """Train `recipe`, or go on with it, and write `folder`; returns what `export` does.

    Args:
        again: throw away what is stored and start afresh.

    Raises:
        ConfigError, DataError: as `claim`.
    """
    if again:
        discard()
    wanted = identity(recipe, pretrain.training_text(), list(corpora.people_daily_text("validation")))
    claim(wanted, folder)
    trainer, stream, data_hash = pretrain.train(recipe)
    facts = export(trainer, stream, recipe, data_hash, folder)
    write_atomically(pretrain.WORK / PLAN, _json(wanted | {"finished": str(folder)}))
    return facts


def _json(value: dict) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m utils.book.pretrain_run", description=__doc__)
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="updates in all")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder to write")
    parser.add_argument("--again", action="store_true", help="throw away the stored state and start afresh")
    options = parser.parse_args(arguments)
    folder = options.out.resolve()
    try:
        facts = run(Recipe(steps=options.steps), folder, options.again)
    except BookError as error:
        print(f"错误：{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("已中断；再运行一次会从最近的存档继续。", file=sys.stderr)
        return 130
    final = facts["final"]
    print(f"检查点写好了：{folder}；存下的是第 {final['step']} 步的参数，验证集遮盖位置的准确率 {final['accuracy']:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
