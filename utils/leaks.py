"""Memory that TensorFlow would never give back.

The default graph keeps the Python function of every `tf.data.Dataset.from_generator` for as long as the process lives,
and with it all that the function holds: here a trainer, so a model and its optimiser (130 MB a training in profile mini).
A chapter trains a few models and can bear it; a recording trains a hundred, one after the other.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

FUNCTIONS = "_py_funcs_used_in_graph"  # of tf.Graph; TensorFlow has no public name for them


@contextlib.contextmanager
def generators_released() -> Iterator[None]:
    """What was trained inside the block can be freed after it; data sets that were made before it go on working."""
    tensorflow = sys.modules.get("tensorflow")
    kept = getattr(tensorflow.compat.v1.get_default_graph(), FUNCTIONS, None) if tensorflow is not None else None
    before = len(kept) if kept is not None else 0
    try:
        yield
    finally:
        if kept is not None:
            del kept[before:]
            gc.collect()
