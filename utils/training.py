"""One way to train: AdamW, warm-up and decay, clipping, early stopping, best weights, exact resume, a progress bar.

The data are a function of the step: `batches(step)` returns the batch of that step, always the same one. So the place in
the data is the step number, and a run that was killed goes on exactly where it stood.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .errors import ConfigError, DataError
from .files import write_atomically
from .optimizers import NO_DECAY as NO_DECAY
from .optimizers import AdamW, WarmupDecay
from .progress import Progress


@dataclass(frozen=True)
class Plan:
    """How to train. Defaults are BERT's for fine-tuning, where it states them (Devlin et al. 2019, appendix A).

    Attributes:
        steps: updates in all.
        learning_rate: peak rate, reached after the warm-up.
        warmup: share of the steps in which the rate grows linearly from zero.
        decay: "linear" or "cosine" down to zero, or "constant".
        weight_decay: decoupled decay (AdamW), off for biases and LayerNorm.
        clip_norm: bound on the norm of all gradients together.
        beta_2: decay rate of AdamW's second moment.
        evaluate_every: steps between evaluations; None: only at the end.
        patience: evaluations without improvement before stopping early; None: never.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.1
    decay: str = "linear"
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    beta_2: float = 0.999
    evaluate_every: int | None = None
    patience: int | None = None

    def __post_init__(self):
        possible = 1 <= self.steps < math.inf and 0 < self.learning_rate < math.inf and 0 <= self.warmup <= 1
        if not (possible and 0 <= self.weight_decay < math.inf and 0 < self.clip_norm < math.inf and 0 <= self.beta_2 < 1):
            raise ConfigError(f"训练计划不合理：{self}")
        if any(count is not None and count < 1 for count in (self.evaluate_every, self.patience)):
            raise ConfigError(f"evaluate_every={self.evaluate_every!r}、patience={self.patience!r} 不合理：要正整数，或者 None")
        if self.decay not in ("linear", "cosine", "constant"):
            raise ConfigError(f"decay={self.decay!r} 不认识；可选：linear、cosine、constant")


def make_optimizer(plan: Plan) -> AdamW:
    """AdamW as `plan` says, not yet built."""
    schedule = WarmupDecay(plan.learning_rate, plan.steps, plan.warmup, plan.decay)
    return AdamW(schedule, plan.weight_decay, beta_2=plan.beta_2, global_clipnorm=plan.clip_norm)


@dataclass
class History:
    """What a run left behind: a loss per step, the evaluations, which was best, seconds spent in training."""

    losses: list[float] = field(default_factory=list)
    evaluations: list[dict] = field(default_factory=list)  # {"step": …, "score": …, and what evaluate returned}
    best_step: int = 0
    best_score: float = -math.inf
    seconds: float = 0.0
    stopped_early: bool = False


class Trainer:
    """Trains `model` on `batches` after `plan`.

    Args:
        model: a built Keras model.
        loss: loss(model, batch, training) -> scalar tensor.
        batches: batches(step) -> dict of NumPy arrays; the same step gives the same batch.
        plan: how to train.
        evaluate: evaluate(model) -> dict with the key "score" (higher is better), or None.
        state: file in which the run is kept for resuming (`.npz`), or None.
        save_every: steps between two saves of the state.
        jit_compile: let XLA compile the step (slower on CPU, faster on GPU).
        label: name shown in the progress bar; None for silence.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Callable,
        batches: Callable[[int], dict],
        plan: Plan,
        evaluate: Callable[[keras.Model], dict] | None = None,
        state: str | os.PathLike | None = None,
        save_every: int = 200,
        jit_compile: bool = False,
        label: str | None = "训练",
    ):
        self.model, self.loss, self.batches, self.plan, self.evaluate = model, loss, batches, plan, evaluate
        self.state, self.save_every, self.label = Path(state) if state else None, save_every, label
        self.optimizer = make_optimizer(plan)
        self.optimizer.build(model.trainable_variables)
        self.history = History()
        self.step = 0
        self.best: list[np.ndarray] | None = None
        self._jit_compile, self._compiled = jit_compile, None

    def train_step(self, batch: dict) -> tf.Tensor:
        """One update; returns the loss. In `strategy.run` each replica clips its own gradient; chapter 18 clips their sum."""
        with tf.GradientTape() as tape:
            loss = self.loss(self.model, batch, training=True)
        # An embedding's gradient has a row per occurrence; Keras 3.15 takes the norm of the rows, not of their sums.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, self.model.trainable_variables)]
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables))
        return loss

    def run(self, until: int | None = None) -> History:
        """Train to the end of the plan (or to step `until`); keeps the best weights if there is an evaluation."""
        if self.step == 0 and self.state and self.state.exists():
            self.load_state()
        until = min(until or self.plan.steps, self.plan.steps)
        stream = self._stream(until)
        started = time.perf_counter()
        bar = Progress(self.label, self.step, self.plan.steps)
        while self.step < until and not self.history.stopped_early:
            self.history.losses.append(float(self._compiled(next(stream))))
            self.step += 1
            if not math.isfinite(self.history.losses[-1]):
                raise ConfigError(f"第 {self.step} 步的损失不是有限数：学习率 {self.plan.learning_rate} 太大，请调小")
            every = self.plan.evaluate_every or self.plan.steps
            if self.evaluate and (self.step % every == 0 or self.step == self.plan.steps):
                self._evaluate()
            scores = self.history.evaluations
            bar.show(self.step, self.history.losses, scores[-1]["score"] if scores else None)
            if self.state and (self.step % self.save_every == 0 or self.step == until):
                self.history.seconds += time.perf_counter() - started
                started = time.perf_counter()
                self.save_state()
        self.history.seconds += time.perf_counter() - started
        bar.close()
        finished = self.step >= self.plan.steps or self.history.stopped_early
        if finished and self.best is not None:
            for variable, value in zip(self.model.trainable_variables, self.best):
                variable.assign(value)
        return self.history

    def _stream(self, until: int):
        """The batches from the present step on, prepared one ahead of the training."""
        if self.step >= until:
            return iter(())
        first = self.batches(self.step)
        signature = {k: tf.TensorSpec([None] * np.ndim(v), np.asarray(v).dtype) for k, v in first.items()}
        if self._compiled is None:  # one trace for batches of every size: tracing costs as much as dozens of steps
            self._compiled = tf.function(self.train_step, input_signature=[signature], jit_compile=self._jit_compile,
                                         autograph=False)
        start = self.step
        dataset = tf.data.Dataset.from_generator(
            lambda: (self.batches(step) for step in range(start, until)), output_signature=signature
        )
        # Tuning has nothing to gain here, and its thread, which sleeps for up to a minute, would be waited for at the end.
        options = tf.data.Options()
        options.autotune.enabled = False
        return iter(dataset.prefetch(2).with_options(options))

    def _evaluate(self):
        result = {"step": self.step, **self.evaluate(self.model)}
        history = self.history
        history.evaluations.append(result)
        if result["score"] > history.best_score:
            history.best_score, history.best_step = result["score"], self.step
            self.best = [keras.ops.convert_to_numpy(v) for v in self.model.trainable_variables]
        elif self.plan.patience is not None:
            since_best = sum(e["step"] > history.best_step for e in history.evaluations)
            history.stopped_early = since_best >= self.plan.patience

    def _variables(self) -> list:
        # `variables` holds dropout's seed state too, which `weights` (and Keras's own callback) leaves out.
        return list(self.model.variables) + list(self.optimizer.variables)

    def save_state(self):
        """Write everything that a resumed run needs; the old file stands until the new one is complete."""
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        arrays |= {f"b{i}": v for i, v in enumerate(self.best or [])}
        meta = {"step": self.step, "plan": asdict(self.plan), "history": asdict(self.history)}
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, **arrays)
        write_atomically(self.state, content.getvalue())

    def load_state(self):
        """Continue from a state file of the same model and plan.

        Raises:
            ConfigError: the file belongs to another plan or another model.
            DataError: the file is damaged.
        """
        try:
            with np.load(self.state) as file:
                arrays = dict(file)
            meta = json.loads(arrays["meta"].tobytes())
            history = History(**meta["history"])
        except Exception as error:  # zipfile, zlib, json and NumPy have a dozen classes for what is damaged
            raise DataError(f"{self.state} 读不出来（{error}）：文件损坏；请删除它，训练会从头开始") from error
        variables, trainable = self._variables(), self.model.trainable_variables
        shapes = {f"v{i}": tuple(v.shape) for i, v in enumerate(variables)}
        if "b0" in arrays:
            shapes |= {f"b{i}": tuple(v.shape) for i, v in enumerate(trainable)}
        if meta["plan"] != asdict(self.plan) or {n: a.shape for n, a in arrays.items() if n != "meta"} != shapes:
            raise ConfigError(f"{self.state} 属于另一个训练计划或模型；请删除它，或换一个 state 文件名")
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"v{i}"])
        self.best = [arrays[f"b{i}"] for i in range(len(trainable))] if "b0" in arrays else None
        self.step, self.history = meta["step"], history


def token_loss(model: keras.Model, batch: dict, training: bool):
    """Cross-entropy of `batch["labels"]` (b, t), averaged over the places that `batch["weights"]` counts."""
    logits = model(batch, training=training)
    losses = keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True)
    return keras.ops.sum(losses * batch["weights"]) / keras.ops.maximum(keras.ops.sum(batch["weights"]), 1.0)


def sequence_loss(model: keras.Model, batch: dict, training: bool):
    """Mean cross-entropy of `batch["labels"]` (b,)."""
    logits = model(batch, training=training)
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True))
