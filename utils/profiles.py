"""The two profiles, `mini` and `full`: which model, how much data, how long.

`mini` is the embedded default: no network, two CPU cores. `full` is for a GPU and the model hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = Path(__file__).resolve().parent / "assets" / "checkpoint"


@dataclass(frozen=True)
class Model:
    """A model or data set on the hub. `revision` is a commit, or None while nobody has resolved it."""

    id: str
    licence: str | None = None
    revision: str | None = None


# One table of everything that profile `full` fetches. The licence is given where the hub page states one.
HUB_MODELS = {
    "bert-base-chinese": Model("google-bert/bert-base-chinese"),
    "bert-base-cased": Model("google-bert/bert-base-cased", licence="Apache-2.0"),
}
HUB_DATASETS = {
    "conll2003": Model("lhoestq/conll2003"),
    "opus-100": Model("Helsinki-NLP/opus-100"),  # its page states no licence; nor does the next
    "lcsts": Model("hugcyp/LCSTS", revision="refs/convert/parquet"),  # columns text, summary
}


@dataclass(frozen=True)
class Profile:
    """What a chapter needs to know about the run it is in.

    Attributes:
        name: "mini" or "full".
        checkpoint: folder or hub id of the Chinese encoder that chapters start from.
        revision: commit of a hub checkpoint; None for a folder.
        train_sentences: how many training sentences a live run uses; None means all.
        learning_rate: peak rate for fine-tuning that encoder.
        epochs: upper bound of passes over the training data in a live run.
        batch_tokens: pieces (padding included) in one batch.
        jit_compile: whether XLA compiles the training step (slower on CPU, faster on GPU).
    """

    name: str
    checkpoint: str
    revision: str | None
    train_sentences: int | None
    learning_rate: float
    epochs: int
    batch_tokens: int
    jit_compile: bool


PROFILES = {
    "mini": Profile("mini", str(CHECKPOINT), None, 2000, 1e-3, 3, 1024, False),
    "full": Profile(
        "full",
        HUB_MODELS["bert-base-chinese"].id,
        HUB_MODELS["bert-base-chinese"].revision,
        None,
        3e-5,
        3,
        4096,
        True,
    ),
}


def get(name: str) -> Profile:
    """Return the profile called `name`.

    Raises:
        ConfigError: the name is unknown; the message lists the valid ones.
    """
    if name not in PROFILES:
        raise ConfigError(f"没有名为 {name!r} 的档位 PROFILE；可选：{'、'.join(PROFILES)}")
    return PROFILES[name]
