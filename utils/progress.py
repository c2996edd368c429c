"""The progress of a training run as one line of text."""

from __future__ import annotations

import os
import sys
import time

import numpy as np


class Progress:
    """A line of plain text that is rewritten in place on a terminal or notebook, and silent in recorded executions."""

    def __init__(self, label: str | None, start: int, steps: int):
        self.label, self.first, self.steps = label, start, steps
        self.started = self.shown = time.perf_counter()
        self.quiet = label is None or bool(os.environ.get("BOOK_QUIET"))

    def show(self, step: int, losses: list[float], score: float | None):
        """After `step` steps with these losses so far; `score` is that of the last evaluation."""
        now = time.perf_counter()
        if self.quiet or (now - self.shown < 2 and step < self.steps):
            return
        self.shown = now
        rate = (step - self.first) / max(now - self.started, 1e-9)
        left = (self.steps - step) / max(rate, 1e-9)
        note = "" if score is None else f" · 验证 {score:.3f}"
        loss = np.mean(losses[-20:])
        text = f"{self.label} {step}/{self.steps} · 损失 {loss:.3f}{note} · {rate:.1f} 步/秒 · 还需 {left:.0f} 秒"
        sys.stdout.write(f"\r{text:<90}")
        sys.stdout.flush()

    def close(self):
        if not self.quiet:
            sys.stdout.write("\n")
