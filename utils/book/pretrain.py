"""`python -m utils.book.pretrain`: train the shipped checkpoint again, resume after a kill, export it with its card.

State and milestones live in `_build/pretrain/`, out of git. The finished folder is `utils/assets/checkpoint/`. `train`
goes on from any state of the same shapes: `pretrain_run` sees to it that it is one of the same recipe and text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import corpora, training
from ..errors import RunError
from ..pretraining import Recipe, TextStream, batch_shape, build_model, build_vocabulary, masked_batches, masked_loss, masked_scores
from ..profiles import CHECKPOINT, ROOT

WORK = ROOT / "_build" / "pretrain"
MILESTONES = (0.05, 0.1, 0.25, 0.5, 1.0)  # shares of the steps whose weights are kept for chapter 4
EVALUATIONS = 25


def training_text() -> list[str]:
    """Train split of People's Daily, then the train part of the hotel and book reviews; nothing else."""
    reviews = corpora.reviews(domains=("hotel", "book"))["train"]["text"]
    return list(corpora.people_daily_text("train")) + list(reviews)


def text_hash(texts: list[str]) -> str:
    """sha256 of the texts, one a line."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def plan(recipe: Recipe) -> training.Plan:
    """The recipe's optimiser as a training plan."""
    return training.Plan(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        decay=recipe.decay,
        weight_decay=recipe.weight_decay,
        beta_2=recipe.beta_2,
        evaluate_every=max(1, recipe.steps // EVALUATIONS),
    )


def make_trainer(recipe: Recipe, texts: list[str], dev_texts: list[str], state: Path | None, label: str | None = "预训练"):
    """A trainer at step 0 (its state, if any, is read by `run`) and the text streams (train, dev)."""
    vocabulary = build_vocabulary(texts, recipe.min_count)
    stream, dev_stream = TextStream(texts, vocabulary), TextStream(dev_texts, vocabulary)
    model = build_model(stream, recipe)
    trainer = training.Trainer(
        model,
        masked_loss,
        masked_batches(stream, recipe),
        plan(recipe),
        evaluate=lambda m: masked_scores(m, dev_stream, recipe),
        state=state,
        save_every=50,
        label=label,
    )
    return trainer, stream


def train(recipe: Recipe) -> tuple[training.Trainer, TextStream, str]:
    """Run (or go on with) the recipe, keeping a copy of the state at each milestone."""
    texts = training_text()
    trainer, stream = make_trainer(recipe, texts, list(corpora.people_daily_text("validation")), WORK / "state.npz")
    for share in MILESTONES:
        step = max(1, round(share * recipe.steps))
        kept = WORK / f"step-{step}.npz"
        trainer.run(until=step)
        if trainer.step == step and not kept.exists():
            trainer.save_state()
            shutil.copy(trainer.state, kept.with_suffix(".partial"))
            os.replace(kept.with_suffix(".partial"), kept)
    return trainer, stream, text_hash(texts)


def curve(history: training.History, points: int = 200) -> list[dict]:
    """The training loss, averaged over equal stretches: at most `points` rows."""
    losses = np.array(history.losses)
    parts = np.array_split(np.arange(len(losses)), min(points, len(losses)))
    return [{"step": int(p[-1]) + 1, "loss": round(float(losses[p].mean()), 4)} for p in parts]


def export(trainer: training.Trainer, stream: TextStream, recipe: Recipe, data_hash: str, folder: Path) -> None:
    """Write the Hugging Face folder (half precision), `training.json` with the curve, and the card."""
    from .. import checkpoints

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
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "final": next(row for row in history.evaluations if row["step"] == history.best_step),
        "curve": curve(history),
        "evaluations": history.evaluations,
    }
    (side / "training.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf8")
    template = (Path(__file__).parent / "checkpoint_card.md").read_text(encoding="utf8")
    card = template.format(parameters=trainer.model.count_params(), vocabulary=len(stream.vocabulary), **facts)
    (side / "README.md").write_text(card, encoding="utf8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(side, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="updates in all")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder to write")
    options = parser.parse_args()
    recipe = Recipe(steps=options.steps)
    trainer, stream, data_hash = train(recipe)
    if trainer.step < recipe.steps:
        raise RunError(f"预训练停在第 {trainer.step} 步；再运行一次会从这里继续")
    export(trainer, stream, recipe, data_hash, options.out)
    print(f"检查点写好了：{options.out}；验证集遮盖位置的准确率 {trainer.history.evaluations[-1]['accuracy']:.3f}")


if __name__ == "__main__":
    # The command is `pretrain_run.main`, which checks whose the state is and says what was exported. `main` above waits
    # for the next recording of chapter 4: all of its tables rest on this file, and a change here would make them stale.
    raise SystemExit(__import__("utils.book.pretrain_run", fromlist=["main"]).main())

if __name__ == "__main__":
    main()
