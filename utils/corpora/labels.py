"""Labelling schemes of entity corpora: which one a file uses, whether it keeps to it, and its IOB2 form.

IOB2 opens every entity with B-; IOB1 (CoNLL-2003 as distributed) only an entity that touches another of its type;
BIOES, BMES and BILOU also mark the last token and the entity of one token.
"""

from __future__ import annotations

import re

from ..errors import ConfigError

# Letters of the schemes that mark ends: inside, end, single.
BRACKETED = {"BIOES": "IES", "BMES": "MES", "BILOU": "ILU"}
SCHEMES = ("auto", "IOB2", "IOB1", *BRACKETED)
LABEL = re.compile(r"O|[BIMESLU]-[^\s-](?:\S*[^\s-])?")  # a type neither begins nor ends with a hyphen

Sentence = list[str]  # the labels of one sentence
Fault = tuple[int, int, str]  # sentence, token (both 0-based), reason


def check_scheme(scheme: str) -> None:
    """Raise ConfigError unless `scheme` is one of `SCHEMES`."""
    if scheme not in SCHEMES:
        raise ConfigError(f"没有名为 {scheme!r} 的标注方案 scheme；可选：{'、'.join(SCHEMES)}")


def _inside_previous(labels: Sentence, place: int) -> bool:
    """Whether the token before belongs to an entity of the same type."""
    return place > 0 and labels[place - 1] != "O" and labels[place - 1][2:] == labels[place][2:]


def _iob_faults(sentences: list[Sentence], scheme: str) -> list[Fault]:
    """IOB2: an I- that continues nothing. IOB1: a B- that separates nothing."""
    letter, reason = {
        "IOB2": ("I", "前面没有同类型的 B- 或 I-（按 IOB2，实体须以 B- 开头）"),
        "IOB1": ("B", "前面没有同类型的实体（按 IOB1，B- 只用来隔开相邻的同类实体）"),
    }[scheme]
    return [
        (number, place, f"标签 {label} {reason}")
        for number, labels in enumerate(sentences)
        for place, label in enumerate(labels)
        if label[0] == letter and not _inside_previous(labels, place)
    ]


def _bracket_faults(sentences: list[Sentence], scheme: str) -> list[Fault]:
    """Tokens at which an entity of BIOES, BMES or BILOU is continued without being open, or left open."""
    inside, end, _ = BRACKETED[scheme]
    faults = []
    for number, labels in enumerate(sentences):
        open_type = None
        for place, label in enumerate([*labels, "O"]):
            continues = label[0] in (inside, end)
            if open_type is not None and not (continues and label[2:] == open_type):
                faults.append((number, place - 1, f"实体 {open_type} 没有以 {end}-{open_type} 结束（按 {scheme}）"))
            elif open_type is None and continues:
                faults.append((number, place, f"标签 {label} 前面没有 B-{label[2:]}（按 {scheme}）"))
            open_type = label[2:] if label[0] in ("B", inside) else None
    return faults


def detect(sentences: list[Sentence]) -> str:
    """The scheme of a file by the letters it uses; IOB1 only if every label agrees with it, otherwise IOB2."""
    letters = {label[0] for labels in sentences for label in labels} - {"O"}
    if letters <= set("BI"):
        is_iob1 = _iob_faults(sentences, "IOB2") and not _iob_faults(sentences, "IOB1")
        return "IOB1" if is_iob1 else "IOB2"
    if letters & set("LU"):
        return "BILOU"
    return "BMES" if "M" in letters else "BIOES"


def faults(sentences: list[Sentence], scheme: str) -> list[Fault]:
    """Every label that breaks the scheme (not "auto"), in order of place."""
    letters = set("OB") | set(BRACKETED.get(scheme, "I"))
    foreign = [
        (number, place, f"标签 {label} 的前缀不属于 {scheme}")
        for number, labels in enumerate(sentences)
        for place, label in enumerate(labels)
        if label[0] not in letters
    ]
    if foreign:  # the order of labels means nothing while some are from another scheme
        return foreign
    return _bracket_faults(sentences, scheme) if scheme in BRACKETED else _iob_faults(sentences, scheme)


def to_iob2(labels: Sentence, scheme: str) -> Sentence:
    """Labels of one sentence, free of faults, in IOB2."""
    if scheme == "IOB2":
        return list(labels)
    opens = {"B"} if scheme == "IOB1" else {"B", BRACKETED[scheme][2]}
    result = []
    for place, label in enumerate(labels):
        first = label[0] in opens or (scheme == "IOB1" and not _inside_previous(labels, place))
        result.append("O" if label == "O" else ("B" if first else "I") + label[1:])
    return result
