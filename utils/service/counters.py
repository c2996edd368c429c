"""What the service counts, and the text in which a monitoring system reads it.

Format: Prometheus text exposition, version 0.0.4. All changes happen in the server's event loop, so there is no lock.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32)
REMEMBERED = 2048  # latencies kept for the quantiles: bounded memory, recent past


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); nan if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else float("nan")


class Counters:
    """Requests by status, texts, batches by size, latencies of answered requests."""

    def __init__(self):
        self.requests: Counter[int] = Counter()
        self.texts = 0
        self.failures = 0  # texts on which the model itself failed
        self.batches = [0] * (len(BATCH_BOUNDS) + 1)
        self.batched_texts = 0
        self.seconds: deque[float] = deque(maxlen=REMEMBERED)

    def request(self, status: int, seconds: float) -> None:
        """A request to /predict has been answered."""
        self.requests[status] += 1
        if status == 200:
            self.seconds.append(seconds)

    def batch(self, size: int) -> None:
        """The model has been called with `size` texts."""
        self.batches[bisect_left(BATCH_BOUNDS, size)] += 1
        self.batched_texts += size

    def mean_batch(self) -> float:
        """Texts per call of the model; nan before the first."""
        calls = sum(self.batches)
        return self.batched_texts / calls if calls else float("nan")

    def text(self, model: str, waiting: int) -> str:
        """Everything in Prometheus's text format."""
        lines = ["# TYPE book_requests_total counter"]
        lines += [f'book_requests_total{{status="{status}"}} {count}' for status, count in sorted(self.requests.items())]
        lines += ["# TYPE book_texts_total counter", f"book_texts_total {self.texts}"]
        lines += ["# TYPE book_model_failures_total counter", f"book_model_failures_total {self.failures}"]
        lines += ["# TYPE book_waiting_texts gauge", f"book_waiting_texts {waiting}"]
        lines += ["# TYPE book_model_info gauge", f'book_model_info{{version="{_escape(model)}"}} 1']
        lines.append("# TYPE book_batch_size histogram")
        total = 0
        for bound, count in zip((*BATCH_BOUNDS, "+Inf"), self.batches):
            total += count
            lines.append(f'book_batch_size_bucket{{le="{bound}"}} {total}')
        lines += [f"book_batch_size_sum {self.batched_texts}", f"book_batch_size_count {total}"]
        lines.append("# TYPE book_seconds summary")
        for share in (0.5, 0.95):
            lines.append(f'book_seconds{{quantile="{share}"}} {percentile(self.seconds, share):.6f}')
        lines += [f"book_seconds_sum {sum(self.seconds):.6f}", f"book_seconds_count {len(self.seconds)}"]
        return "\n".join(lines) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
