"""How the shipped checkpoint is trained, and resumed after a kill; the command, and what it writes, is `pretrain_run`.

State and milestones live in `_build/pretrain/`, out of git. The finished folder is `utils/assets/checkpoint/`. `train`
goes on from any state of the same shapes: `pretrain_run` sees to it that it is one of the same recipe and text.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from .. import corpora, training
from ..pretraining import Recipe, TextStream, build_model, build_vocabulary, masked_batches, masked_loss, masked_scores
from ..profiles import ROOT

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
