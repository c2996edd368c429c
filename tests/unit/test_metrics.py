"""Entity scores against a brute-force counter written from the definitions, and against seqeval's own figures."""

import random

import pytest
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_precision_recall_fscore_support
from seqeval.scheme import IOB2

from utils import metrics
from utils.errors import ConfigError, DataError

TAGS = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]


def random_tags(generator: random.Random, length: int, valid: bool) -> list[str]:
    tags = [generator.choice(TAGS) for _ in range(length)]
    if valid:
        for place, tag in enumerate(tags):
            if tag[0] == "I" and (place == 0 or tags[place - 1][2:] != tag[2:]):
                tags[place] = "B" + tag[1:]
    return tags


def strict_entities(tags):
    """Every span (i, j) that reads B-X I-X … I-X and is not continued by I-X."""
    found = set()
    for start in range(len(tags)):
        for end in range(start + 1, len(tags) + 1):
            kind = tags[start][2:]
            opens = tags[start].startswith("B-")
            inside = all(tag == f"I-{kind}" for tag in tags[start + 1 : end])
            stops = end == len(tags) or tags[end] != f"I-{kind}"
            if opens and inside and stops:
                found.add((kind, start, end))
    return found


def conlleval_entities(tags):
    """The Perl script's rules: a token starts a chunk if it is B, or if the token before has another type or is O."""
    starts = [
        tag != "O" and (tag[0] == "B" or place == 0 or tags[place - 1] == "O" or tags[place - 1][2:] != tag[2:])
        for place, tag in enumerate(tags)
    ]
    found = set()
    for start, is_start in enumerate(starts):
        if is_start:
            end = start + 1
            while end < len(tags) and tags[end] != "O" and not starts[end]:
                end += 1
            found.add((tags[start][2:], start, end))
    return found


def brute_force(true, predicted, extract, kind=None):
    right = found = expected = 0
    for one, other in zip(true, predicted):
        one = {entity for entity in extract(one) if kind in (None, entity[0])}
        other = {entity for entity in extract(other) if kind in (None, entity[0])}
        right, found, expected = right + len(one & other), found + len(other), expected + len(one)
    precision = right / found if found else 0
    recall = right / expected if expected else 0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    return precision, recall, f1, expected


BRUTE_FORCE = {"strict": strict_entities, "conlleval": conlleval_entities}


@pytest.mark.parametrize("mode", metrics.MODES)
@pytest.mark.parametrize("valid", [True, False])
def test_scores_equal_brute_force_on_500_random_sequences_each(mode, valid):
    generator = random.Random(13)
    for _ in range(125):
        lengths = [generator.randint(0, 12) for _ in range(4)]
        true = [random_tags(generator, length, valid) for length in lengths]
        predicted = [
            [tag if generator.random() < 0.7 else other for tag, other in zip(tags, random_tags(generator, length, False))]
            for tags, length in zip(true, lengths)
        ]
        scores = metrics.entity_scores(true, predicted, mode)
        extract = BRUTE_FORCE[mode]
        expected = brute_force(true, predicted, extract)
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(expected)
        kinds = {entity[0] for tags in true + predicted for entity in extract(tags)}
        assert set(scores.per_type) == kinds
        for kind in kinds:
            assert scores.per_type[kind] == pytest.approx(brute_force(true, predicted, extract, kind))


def test_both_modes_equal_the_figures_that_seqeval_prints():
    generator = random.Random(7)
    true = [random_tags(generator, 20, False) for _ in range(200)]
    predicted = [random_tags(generator, 20, False) for _ in range(200)]
    for mode, reference in (
        ("strict", lambda **options: strict_precision_recall_fscore_support(true, predicted, scheme=IOB2, **options)),
        ("conlleval", lambda **options: precision_recall_fscore_support(true, predicted, **options)),
    ):
        scores = metrics.entity_scores(true, predicted, mode)
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(reference(average="micro"))
        per_type = list(zip(*reference(average=None)))
        assert [scores.per_type[kind] for kind in sorted(scores.per_type)] == [pytest.approx(row) for row in per_type]


def test_modes_agree_on_valid_sequences_and_differ_on_an_orphan_inside_tag():
    generator = random.Random(3)
    true, predicted = ([random_tags(generator, 15, True) for _ in range(100)] for _ in range(2))
    assert metrics.entity_scores(true, predicted) == metrics.entity_scores(true, predicted, "conlleval")
    orphan = [["O", "I-PER"]]
    assert metrics.entity_scores([["O", "B-PER"]], orphan).f1 == 0
    assert metrics.entity_scores([["O", "B-PER"]], orphan, "conlleval").f1 == 1


def test_entities_are_those_of_strict_iob2():
    generator = random.Random(5)
    assert metrics.entities(["B-PER", "I-PER", "B-PER", "I-LOC", "O", "I-LOC"]) == [("PER", 0, 2), ("PER", 2, 3)]
    for _ in range(300):
        tags = random_tags(generator, generator.randint(0, 15), False)
        assert metrics.entities(tags) == sorted(strict_entities(tags), key=lambda entity: entity[1])


def test_type_names_with_hyphens_and_chinese_are_kept_whole():
    tags = ["B-DRUG-NAME", "I-DRUG-NAME", "B-地名"]
    for mode in metrics.MODES:
        assert set(metrics.entity_scores([tags], [tags], mode).per_type) == {"DRUG-NAME", "地名"}


@pytest.mark.parametrize("mode", metrics.MODES)
def test_nothing_to_score_gives_zeros_not_an_error(mode):
    for tags in ([], [[]], [["O", "O"]]):
        assert metrics.entity_scores(tags, tags, mode) == metrics.EntityScores(0.0, 0.0, 0.0, 0, {})


def test_wrong_shapes_and_tags_name_the_sentence():
    with pytest.raises(DataError, match="2 句.*1 句"):
        metrics.entity_scores([["O"], ["O"]], [["O"]])
    with pytest.raises(DataError, match="第 2 句.*3 个标签.*1 个"):
        metrics.entity_scores([["O"], ["O", "O", "O"]], [["O"], ["O"]])
    for bad in ("E-PER", "PER", "B-", "B", "", "B-PER-", "I--", 3, None):
        with pytest.raises(DataError, match="第 2 句（预测）：第 1 个标签"):
            metrics.entity_scores([["O"], ["O"]], [["O"], [bad]])
    with pytest.raises(ConfigError, match="strict、conlleval"):
        metrics.entity_scores([["O"]], [["O"]], "loose")


def test_printed_forms_hold_the_numbers():
    scores = metrics.entity_scores([["B-PER", "O", "B-LOC"]], [["B-PER", "O", "O"]])
    assert metrics.scores_line(scores) == "F1 66.7（精确率 100.0，召回率 50.0，2 个实体）"
    table = metrics.scores_table({"甲": scores, "乙|丙": metrics.entity_scores([["B-PER"]], [["B-PER"]])})
    assert table.splitlines() == [
        "| 方法 | F1 | 精确率 | 召回率 | LOC F1 | PER F1 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| 甲 | 66.7 | 100.0 | 50.0 | 0.0 | 100.0 |",
        "| 乙\\|丙 | 100.0 | 100.0 | 100.0 | – | 100.0 |",
    ]
