"""Entity precision, recall and F1.

`strict` (the book's score): IOB2 taken literally, what does not open with B- is no entity.
`conlleval` (beside every published score): the rules of the CoNLL-2000/2003 script, which repairs invalid sequences.
The entities of both are found by seqeval (Nakayama 2018, https://github.com/chakki-works/seqeval); on valid IOB2 the
two agree.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Tokens

from .errors import ConfigError, DataError

MODES = ("strict", "conlleval")
Entity = tuple[str, int, int]  # type, first token, one past the last token
TypeScore = tuple[float, float, float, int]  # precision, recall, F1 (each 0 to 1), number of true entities


@dataclass(frozen=True)
class EntityScores:
    """Micro-averaged scores (0 to 1) over all entities.

    Attributes:
        precision: share of predicted entities that are right in type and both borders.
        recall: share of true entities that were found so.
        f1: harmonic mean of the two.
        support: number of true entities.
        per_type: type -> (precision, recall, F1, support), sorted by type; also types that were only predicted.
    """

    precision: float
    recall: float
    f1: float
    support: int
    per_type: dict[str, TypeScore] = field(default_factory=dict)


def _check_tags(tags: list[str], where: str = "") -> None:
    """Refuse labels that are not IOB2, before seqeval makes something else of them."""
    names = [str(tag) for tag in tags]
    for tag in dict.fromkeys(names):  # each name once: a corpus has millions of tags
        kind = tag[2:] if tag[:2] in ("B-", "I-") else ""
        if tag != "O" and (not kind or kind != kind.strip("-")):
            place = names.index(tag) + 1
            raise DataError(f"{where}第 {place} 个标签 {tag!r} 不是 O、B-类型 或 I-类型；其他标注方案请先转成 IOB2")


@lru_cache(maxsize=2**15)  # the tags of one test set are scored against again and again
def _extract(tags: tuple[str, ...], mode: str) -> tuple[Entity, ...]:
    if set(tags) <= {"O"}:
        return ()
    if mode == "strict":
        return tuple((found.tag, found.start, found.end) for found in Tokens(list(tags), IOB2).entities)
    return tuple((kind, first, last + 1) for kind, first, last in get_entities(list(tags)))


def entities(tags: list[str]) -> list[Entity]:
    """Entities of one sentence by strict IOB2: [(type, start, end)], end exclusive, counted in tokens.

    Raises:
        DataError: a tag is not IOB2.
    """
    _check_tags(tags)
    return list(_extract(tuple(tags), "strict"))


def _ratios(right: int, predicted: int, true: int) -> TypeScore:
    precision = right / predicted if predicted else 0.0
    recall = right / true if true else 0.0
    f1 = 2 * right / (predicted + true) if right else 0.0
    return precision, recall, f1, true


def entity_scores(true: list[list[str]], predicted: list[list[str]], mode: str = "strict") -> EntityScores:
    """Score predicted IOB2 tags against true ones. A ratio over nothing is 0.

    Args:
        true: tags of each sentence.
        predicted: the same shape.
        mode: "strict" (seqeval's strict mode with scheme IOB2) or "conlleval" (seqeval's default mode).

    Raises:
        ConfigError: an unknown mode.
        DataError: sentences that do not match in number or length, or a tag that is not IOB2; names the sentence.
    """
    if mode not in MODES:
        raise ConfigError(f"没有名为 {mode!r} 的评分方式 mode；可选：{'、'.join(MODES)}")
    if len(true) != len(predicted):
        raise DataError(f"标注有 {len(true)} 句，预测有 {len(predicted)} 句：两者须一一对应")
    counts = {"right": Counter(), "predicted": Counter(), "true": Counter()}
    for number, (true_tags, predicted_tags) in enumerate(zip(true, predicted), start=1):
        if len(true_tags) != len(predicted_tags):
            raise DataError(
                f"第 {number} 句：标注有 {len(true_tags)} 个标签，预测有 {len(predicted_tags)} 个，长度须相同"
            )
        _check_tags(true_tags, f"第 {number} 句（标注）：")
        _check_tags(predicted_tags, f"第 {number} 句（预测）：")
        expected, found = (set(_extract(tuple(tags), mode)) for tags in (true_tags, predicted_tags))
        for name, group in (("true", expected), ("predicted", found), ("right", expected & found)):
            counts[name].update(kind for kind, _, _ in group)
    per_type = {
        kind: _ratios(counts["right"][kind], counts["predicted"][kind], counts["true"][kind])
        for kind in sorted(counts["true"] | counts["predicted"])
    }
    return EntityScores(*_ratios(*(counts[name].total() for name in ("right", "predicted", "true"))), per_type)


def scores_line(scores: EntityScores) -> str:
    """One line for printing: F1, precision, recall in per cent, and the number of entities."""
    return (
        f"F1 {100 * scores.f1:.1f}（精确率 {100 * scores.precision:.1f}，召回率 {100 * scores.recall:.1f}，"
        f"{scores.support} 个实体）"
    )


def scores_table(scores: dict[str, EntityScores]) -> str:
    """A Markdown table, one row a system: micro F1, precision, recall, then F1 of each type, all in per cent.

    Args:
        scores: name of the system -> its scores. A type that a system never met shows as a dash.
    """
    kinds = sorted({kind for one in scores.values() for kind in one.per_type})
    header = ["方法", "F1", "精确率", "召回率", *(f"{kind} F1" for kind in kinds)]
    rows = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for name, one in scores.items():
        values = [one.f1, one.precision, one.recall]
        cells = [f"{100 * value:.1f}" for value in values]
        cells += [f"{100 * one.per_type[kind][2]:.1f}" if kind in one.per_type else "–" for kind in kinds]
        rows.append([name.replace("|", "\\|"), *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
