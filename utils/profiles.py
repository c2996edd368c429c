"""The two profiles, `mini` and `full`: which model, how much data, how long.

`mini` is the embedded default: no network, two CPU cores. `full` is for a GPU and the model hub.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = Path(__file__).resolve().parent / "assets" / "checkpoint"
PINS = Path(__file__).resolve().parent / "assets" / "hub.json"  # written by `make pin`


@dataclass(frozen=True)
class HubEntry:
    """A model or data set on the hub.

    Attributes:
        id: "owner/name".
        licence: what its page states; None where it states nothing.
        megabytes: size of the files that the book reads, as its page shows them; None if unknown.
        fallback: what to try by hand if the id is gone.
        revision: commit, from `PINS`; None while nobody has resolved it.
        files: path -> hash of the hub (SHA-256 of a large file, git's hash of a small one), from `PINS`.
    """

    id: str
    licence: str | None = None
    megabytes: float | None = None
    fallback: str | None = None
    revision: str | None = None
    files: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def branch(self) -> str | None:
        """The revision that `fallback` names ("revision NAME"): there the files are that the main one lacks; else None."""
        kind, _, name = (self.fallback or "").partition(" ")
        return name if kind == "revision" and name and " " not in name else None


def pins(path: Path) -> dict[str, dict]:
    """Hub id -> {"revision", "files", "source"}; empty where there is no such file.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for pin in found.values():
            if not isinstance(pin.get("revision"), (str, type(None))) or not isinstance(pin.get("files", {}), dict):
                raise TypeError("revision、files")
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} 损坏（{error}）；请用 git 恢复它") from error
    return found


def _entry(id: str, **facts: object) -> HubEntry:
    pin = _PINS.get(id, {})
    return HubEntry(id, revision=pin.get("revision"), files=pin.get("files", {}), **facts)


_PINS = pins(PINS)
# One table of everything that profile `full` fetches. Licence and size are those of the hub's page, seen in 2026.
HUB_MODELS = {
    "bert-base-chinese": _entry("google-bert/bert-base-chinese", licence="Apache-2.0", megabytes=412),
    "bert-base-cased": _entry("google-bert/bert-base-cased", licence="Apache-2.0", megabytes=437),
}
HUB_DATASETS = {
    # The page states no licence; that of the original (eriktks/conll2003) says "other": Reuters text, for research.
    "conll2003": _entry("lhoestq/conll2003", megabytes=1.8, fallback="eriktks/conll2003, revision refs/convert/parquet"),
    "chnsenticorp": _entry("lansinuote/ChnSentiCorp", fallback="seamew/ChnSentiCorp"),
    "cmrc2018": _entry("hfl/cmrc2018", licence="CC-BY-SA-4.0", megabytes=4.9),
    "opus-100": _entry("Helsinki-NLP/opus-100"),
    "lcsts": _entry("hugcyp/LCSTS", fallback="revision refs/convert/parquet"),  # columns text, summary
    "semeval2010": _entry("SemEvalWorkshop/sem_eval_2010_task_8"),
    # A folder of parquet files for each language, "zh-CN" and "en-US" among them.
    "massive": _entry("AmazonScience/massive", licence="CC-BY-4.0", fallback="revision refs/pr/6"),
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


# Parameters that a profile changes in a chapter when the runner executes it: number of the chapter -> name -> value.
# With the sizes of `mini` a live run of `full` would end after a dozen updates: its batches are larger, its rate is lower.
CHAPTER_PARAMETERS = {
    "mini": {},
    "full": {
        14: {"LIVE_SENTENCES": 5000},
        16: {"LIVE_SIZE": 5000, "NEWS_SIZE": 5000},
        21: {"DATASET": "cmrc2018"},
    },
}


def get(name: str) -> Profile:
    """Return the profile called `name`; without a GPU, XLA stays off whatever it says.

    Raises:
        ConfigError: the name is unknown; the message lists the valid ones.
    """
    if name not in PROFILES:
        raise ConfigError(f"没有名为 {name!r} 的档位 PROFILE；可选：{'、'.join(PROFILES)}")
    profile = PROFILES[name]
    tensorflow = sys.modules.get("tensorflow")  # loaded by `utils.setup()`; who only asks for the values need not load it
    if profile.jit_compile and tensorflow and not tensorflow.config.list_physical_devices("GPU"):
        profile = replace(profile, jit_compile=False)
    return profile
