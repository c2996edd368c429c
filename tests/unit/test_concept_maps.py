"""Concept maps: the corrected ones hold, each contradiction of the article is refused, and every map can be read."""

import itertools

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

from utils import concept_maps, figures  # noqa: E402
from utils.concept_maps import ARTICLE, CONCEPTS, CORRECTED, FACTS, Edge, drawing, rules  # noqa: E402

SECTIONS = ["2.1", "2.2.1", "2.2.2", "2.2.3", "2.2.4", "2.3", "3.2"]
CHARTS = [*CORRECTED.values(), *ARTICLE.values()]


def named(chart):
    return f"{type(chart).__name__} {chart.section}"


# --- what the maps say --------------------------------------------------------------------------------------------------


def test_there_is_a_corrected_map_for_each_of_the_seven_charts():
    assert list(CORRECTED) == list(ARTICLE) == SECTIONS


def test_the_corrected_maps_hold_alone_and_together():
    assert [str(fault) for chart in CORRECTED.values() for fault in concept_maps.faults(chart)] == []
    assert [str(fault) for fault in concept_maps.contradictions(FACTS)] == []


def test_every_place_is_joined_and_every_edge_has_its_places():
    for chart in CHARTS:
        edges = chart.edges if chart in CORRECTED.values() else [arrow.edge for arrow in chart.arrows]
        assert {node for edge in edges for node in (edge.source, edge.target)} == set(chart.places), named(chart)
        assert len(set(edges)) == len(edges), named(chart)


def brute_force_circle(edges, relation):
    """Whether some edge of the relation begins and ends a walk, by powers of the adjacency matrix."""
    nodes = sorted({node for edge in edges for node in (edge.source, edge.target)})
    matrix = np.zeros((len(nodes), len(nodes)), dtype=int)
    for edge in edges:
        if edge.relation == relation:
            matrix[nodes.index(edge.source), nodes.index(edge.target)] = 1
    power, found = matrix.copy(), False
    for _ in nodes:
        found |= bool(np.trace(power))
        power = np.minimum(power @ matrix, 1)
    return found


@pytest.mark.parametrize("relation", ["is-a", "precedes", "part-of"])
def test_a_circle_is_found_exactly_when_there_is_one(relation, monkeypatch):
    """Random graphs over concepts of one kind, so that no other rule speaks."""
    monkeypatch.setattr(rules, "DEFINITIONS", ())
    methods = [node for node, concept in CONCEPTS.items() if concept.kind == "method"][:6]
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(200):
        pairs = [pair for pair in itertools.permutations(methods, 2) if random.random() < 0.12]
        edges = [Edge(a, relation, b) for a, b in pairs]
        found = any(fault.rule == "circle" for fault in concept_maps.contradictions(edges))
        assert found == brute_force_circle(edges, relation)
        outcomes.add(found)
    assert outcomes == {True, False}
    assert not brute_force_circle(FACTS, relation)


# --- what is refused ----------------------------------------------------------------------------------------------------

# The article's arrows that no kind reading saves: (section, tail, head) -> rule.
REFUSED = {
    ("2.1", "neural-network", "nlp"): "definition",
    ("2.1", "fine-tuning", "zero-shot"): "definition",
    ("2.1", "peft", "full-fine-tuning"): "alternatives",
    ("2.1", "prompt-learning", "full-fine-tuning"): "definition",
    ("2.2.1", "deep-learning", "neural-network"): "definition",
    ("2.2.1", "nlp", "pre-training"): "kind",
    ("2.2.2", "pre-training", "neural-network"): "kind",
    ("2.2.2", "neural-network", "deep-learning"): "kind",
    ("2.2.2", "fine-tuning", "downstream"): "circle",
    ("2.2.2", "downstream", "task-head"): "circle",
    ("2.2.3", "bitfit", "freeze-all"): "definition",
    ("2.2.3", "freeze-all", "update-few"): "definition",
    ("2.2.4", "incremental", "growing"): "definition",
    ("2.2.4", "incremental", "distillation"): "definition",
    **{("2.2.4", method, "large-language-model"): "definition"
       for method in ("regularisation", "replay", "growing", "distillation")},
    ("2.3", "pre-training", "neural-network"): "kind",
    ("2.3", "unlabelled", "continual"): "definition",
    ("3.2", "encoder", "decoder"): "definition",
    ("3.2", "test", "score-before"): "definition",
    ("3.2", "test", "train"): "circle",
}


def test_the_articles_arrows_are_refused_each_for_its_reason_and_no_other():
    found = {}
    for section, chart in ARTICLE.items():
        faults = {fault.edge: fault.rule for fault in concept_maps.faults(chart) if fault.rule != "missing"}
        found |= {(section, arrow.tail, arrow.head): faults[arrow.edge] for arrow in chart.arrows if arrow.edge in faults}
    assert found == REFUSED


def test_what_the_article_leaves_out_is_named():
    missing = {section: {fault.edge for fault in concept_maps.faults(chart) if fault.rule == "missing"}
               for section, chart in ARTICLE.items()}
    assert Edge("pre-training", "uses", "unlabelled") in missing["2.2.2"]  # no data
    assert Edge("theta-start", "precedes", "fine-tuning") in missing["2.2.2"]  # no θ0
    assert Edge("bitfit", "uses", "biases") in missing["2.2.3"]
    assert Edge("class-incremental", "is-a", "incremental") in missing["2.2.4"]
    assert Edge("continual", "uses", "backward-transfer") in missing["2.2.4"]  # forgetting must be measured
    assert Edge("continual", "uses", "theta-tuned") in missing["2.3"]  # continual learning hangs off the corpus
    assert Edge("few-shot", "uses", "in-context") in missing["2.1"]
    assert Edge("test", "uses", "baselines") in missing["3.2"]


# Part D3 of the errata and statements like it, whatever words a map puts them in.
WRONG = {
    "deep learning is no superset of neural networks": ("neural-network", "is-a", "deep-learning"),
    "nor is a deep network's family": ("neural-network", "part-of", "deep-learning"),
    "NLP is no part of neural networks": ("nlp", "part-of", "neural-network"),
    "NLP does not come before pre-training": ("nlp", "precedes", "pre-training"),
    "PEFT is not full fine-tuning": ("peft", "is-a", "full-fine-tuning"),
    "full fine-tuning is not PEFT": ("full-fine-tuning", "is-a", "peft"),
    "LoRA is not full fine-tuning": ("lora", "is-a", "full-fine-tuning"),
    "PEFT does not lead to full fine-tuning": ("peft", "precedes", "full-fine-tuning"),
    "fine-tuning does not lead to zero-shot": ("fine-tuning", "precedes", "zero-shot"),
    "zero-shot uses no fine-tuning": ("zero-shot", "uses", "fine-tuning"),
    "zero-shot uses no kind of fine-tuning": ("zero-shot", "uses", "lora"),
    "zero-shot needs no labels": ("zero-shot", "uses", "labelled"),
    "zero-shot needs no examples of the task": ("zero-shot", "uses", "training-set"),
    "prompt learning does not lead to full fine-tuning": ("prompt-learning", "precedes", "full-fine-tuning"),
    "prompt learning is not full fine-tuning": ("prompt-learning", "is-a", "full-fine-tuning"),
    "full fine-tuning is not prompt learning": ("full-fine-tuning", "is-a", "prompt-learning"),
    "in-context learning is no fine-tuning": ("in-context", "is-a", "fine-tuning"),
    "in-context learning uses no kind of fine-tuning": ("in-context", "uses", "lora"),
    "full fine-tuning is not frozen features": ("full-fine-tuning", "is-a", "freeze-all"),
    "full fine-tuning freezes nothing": ("full-fine-tuning", "uses", "freeze-all"),
    "frozen features are not full fine-tuning": ("freeze-all", "is-a", "full-fine-tuning"),
    "frozen features use no full fine-tuning": ("freeze-all", "uses", "full-fine-tuning"),
    "not all fine-tuning freezes": ("fine-tuning", "is-a", "freeze-all"),
    "BitFit freezes not everything": ("bitfit", "uses", "freeze-all"),
    "BitFit adds no parameters": ("bitfit", "is-a", "additive"),
    "frozen parameters are not updated": ("freeze-all", "uses", "update-few"),
    "pre-training makes no neural network": ("pre-training", "precedes", "neural-network"),
    "a network does not come before deep learning": ("neural-network", "precedes", "deep-learning"),
    "pre-training is not supervised": ("pre-training", "is-a", "supervised"),
    "pre-training needs no labels": ("pre-training", "uses", "labelled"),
    "fine-tuning starts from one place": ("random-parameters", "precedes", "fine-tuning"),
    "what fine-tuning gives does not come before pre-training": ("theta-tuned", "precedes", "theta-start"),
    "continual learning does not hang off the corpus": ("continual", "uses", "unlabelled"),
    "the corpus does not lead to continual learning": ("unlabelled", "precedes", "continual"),
    "distillation is no setting": ("distillation", "is-a", "incremental"),
    "a growing network is no setting": ("growing", "is-a", "incremental"),
    "an encoder is no large language model": ("encoder", "is-a", "large-language-model"),
    "a large language model is no encoder": ("large-language-model", "is-a", "encoder"),
    "an encoder has no decoder": ("decoder", "part-of", "encoder"),
    "an encoder uses no decoder": ("encoder", "uses", "decoder"),
    "prompt tuning is not prompt learning": ("prompt-tuning", "is-a", "prompt-learning"),
    "prompt learning is not prompt tuning": ("prompt-learning", "is-a", "prompt-tuning"),
    "deployment does not come before training": ("test", "precedes", "prepare"),
    "a score before training is compared with nothing": ("test", "uses", "score-before"),
    "a score before training is no baseline": ("score-before", "is-a", "baselines"),
    "a method is no alternative to a setting": ("fine-tuning", "alternative-to", "few-shot"),
    "data use nothing": ("labelled", "uses", "fine-tuning"),
    "an unknown relation": ("lora", "causes", "peft"),
    "an unknown concept": ("lora", "is-a", "lroa"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_contradiction_is_refused_beside_the_corrected_maps(what):
    edge = Edge(*WRONG[what])
    assert [fault.edge for fault in concept_maps.contradictions([edge], FACTS)] == [edge]


@pytest.mark.parametrize("edge", [fact for fact in FACTS if fact.relation in ("is-a", "precedes")], ids=str)
def test_the_reverse_of_a_true_edge_is_refused(edge):
    assert concept_maps.contradictions([Edge(edge.target, edge.relation, edge.source)], FACTS)


@pytest.mark.parametrize("section", [section for section in SECTIONS if CORRECTED[section].required])
def test_a_map_without_one_of_its_required_edges_is_refused(section):
    chart = CORRECTED[section]
    for edge in chart.required:
        rest = [other for other in chart.edges if other != edge]
        assert edge in [fault.edge for fault in concept_maps.contradictions(rest, required=chart.required)]


def test_a_reason_is_one_chinese_sentence_that_names_both_ends():
    for chart in ARTICLE.values():
        for fault in concept_maps.faults(chart):
            assert CONCEPTS[fault.edge.source].label in str(fault) and CONCEPTS[fault.edge.target].label in str(fault)
            assert "\n" not in str(fault) and not str(fault).endswith("。")


# --- how they look ------------------------------------------------------------------------------------------------------


@pytest.fixture
def style():
    with matplotlib.rc_context():
        figures.use_style()
        yield
    plt.close("all")


def overlap(one, other, gap):
    return (abs(one.x - other.x) < (one.width + other.width) / 2 + gap
            and abs(one.y - other.y) < (one.height + other.height) / 2 + gap)


def parts(chart):
    faults = concept_maps.faults(chart) if chart in ARTICLE.values() else ()
    return drawing.layout(chart, faults)


@pytest.mark.parametrize("chart", CHARTS, ids=named)
def test_boxes_stand_apart_and_inside_the_picture(chart):
    boxes, _, height = parts(chart)
    for box in boxes.values():
        assert 3 <= box.x - box.width / 2 and box.x + box.width / 2 <= drawing.WIDTH - 3, box
        assert 0 < box.y - box.height / 2 and box.y + box.height / 2 < height, box
    assert [(a.label, b.label) for a, b in itertools.combinations(boxes.values(), 2) if overlap(a, b, 6)] == []


@pytest.mark.parametrize("chart", CHARTS, ids=named)
def test_no_line_runs_through_a_box_and_no_words_cover_others(chart):
    boxes, lines, _ = parts(chart)
    for line in lines:
        assert len(line.points) > 20
        assert [box.label for box in boxes.values() if box.holds(line.points, 0.5).any()] == []
    words = [drawing.label_box(line) for line in lines if line.label]
    assert [(a.label, b.label) for a, b in itertools.product(words, boxes.values()) if overlap(a, b, 0)] == []
    assert [(a, b) for a, b in itertools.combinations(words, 2) if overlap(a, b, 0)] == []


@pytest.mark.parametrize("chart", CHARTS, ids=named)
def test_a_phone_shows_the_smallest_letters_at_ten_pixels_or_more(chart, style):
    """390 pixels less the page's margins; a notebook's figure has 96 pixels to an inch and a rim of a tenth of an inch."""
    axes = concept_maps.draw(chart, concept_maps.faults(chart) if chart in ARTICLE.values() else ())
    width = (axes.figure.get_size_inches()[0] + 0.2) * 96
    shown = min(1.0, 350 / width)
    assert min(text.get_fontsize() for text in axes.texts) * 96 / 72 * shown >= 10


@pytest.mark.parametrize("chart", CHARTS, ids=named)
def test_words_fit_their_boxes(chart, style):
    axes = concept_maps.draw(chart)
    axes.figure.canvas.draw()
    boxes, _, _ = parts(chart)
    widths = {text.get_text(): text.get_window_extent().width * 72 / axes.figure.dpi for text in axes.texts}
    assert [box.label for box in boxes.values() if widths[box.label] > box.width - drawing.PADDING] == []


def test_relations_differ_without_colour():
    looks = {name: (str(dashes), head) for name, (dashes, _, head) in drawing.STYLES.items() if name in concept_maps.RELATIONS}
    assert set(looks) == set(concept_maps.RELATIONS) and len(set(looks.values())) == len(looks)
    assert len(set(concept_maps.RELATIONS.values())) == len(concept_maps.RELATIONS)
