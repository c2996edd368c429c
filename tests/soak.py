"""How much of a long test to run: all of it under `make soak`, a small share in continuous integration.

A test that is the same in both but for a count is marked `scaled`; `make soak` runs these with the full count, and the
tests marked `soak`, which continuous integration leaves out.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

SOAK = bool(os.environ.get("BOOK_SOAK"))
scaled = pytest.mark.scaled
PART = 10  # continuous integration runs one part in so many, unless a test says otherwise
CASES = 10_000  # of every property-based test


def rounds(full, part=None):
    """`full` under `make soak`, else `part` (default: a tenth of the number `full`)."""
    return full if SOAK else max(1, full // PART) if part is None else part


def cases(part: int) -> settings:
    """Settings of a property-based test: `CASES` examples under `make soak`, else `part`, the same ones every time.

    Only `make soak` looks for the smallest failing example, which can take minutes.
    """
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if SOAK else [])]
    return settings(
        max_examples=rounds(CASES, part), deadline=None, derandomize=not SOAK, database=None, phases=phases,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
