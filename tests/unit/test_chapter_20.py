"""The functions that chapter 20 defines, pulled out of the notebook and compared with references."""

import re
import unicodedata
from collections import Counter
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.metrics import average_precision_score, cohen_kappa_score, precision_recall_fscore_support

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, metrics, profiles
from utils.corpora import relations
from utils.encoder import Encoder, EncoderConfig, dense

CONSTANTS = ("LETTERS", "JOIN", "CHAIN", "SHARE", "FUNCTIONS", "MARKERS", "CONTEXT", "LONGEST", "RelationModel", "JointModel",
             "TAGS", "GROUPS", "READINGS")


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function and class of the notebook; no cell is executed."""
    import tensorflow as tf

    names = {"np": np, "re": re, "Counter": Counter, "relations": relations, "keras": keras, "ops": ops, "dense": dense, "tf": tf,
             "batching": batching, "metrics": metrics, "tokenizer": checkpoints.load_tokenizer(profiles.CHECKPOINT),
             "CONTEXT": 8, "LONGEST": 128, "unicodedata": unicodedata}
    return definitions("4-applications/20-relations", names, CONSTANTS)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def pair(chapter, text, first, second, **words):
    """The pair of a made-up sentence whose two words are these."""
    rows = relations.pairs_of(chapter["make_sentence"](text, **words))
    return next(p for p in rows if p.words() == (first, second))


# --- agreement and scores -----------------------------------------------------------------------------------------------


def test_kappa_is_that_of_sklearn(chapter, random):
    for classes in (2, 3):
        a, b = random.integers(0, classes, (2, 60))
        assert chapter["kappa"](list(a), list(b)) == pytest.approx(cohen_kappa_score(a, b))
    assert chapter["kappa"]([1, 1, 0], [1, 1, 0]) == 1.0


def test_weighted_f1_and_average_precision_are_those_of_sklearn(chapter, random):
    truth, probability, weights = random.random(80) < 0.4, np.round(random.random(80), 1), random.random(80) + 0.1
    expected = precision_recall_fscore_support(truth, probability > 0.5, average="binary", sample_weight=weights)[:3]
    assert chapter["f1"](truth, probability > 0.5, weights) == pytest.approx(expected)
    expected = average_precision_score(truth, probability, sample_weight=weights)
    assert chapter["average_precision"](truth, probability, weights) == pytest.approx(expected)


def test_the_best_threshold_is_found_by_brute_force(chapter, random):
    truth, probability, weights = random.random(40) < 0.5, random.random(40), np.ones(40)
    best = max(chapter["f1"](truth, probability > t, weights)[2] for t in np.linspace(-0.01, 1, 2000))
    found = chapter["best_threshold"](truth, probability, weights)
    assert chapter["f1"](truth, probability > found, weights)[2] >= best - 1e-12


def test_semeval_f1_is_the_official_formula_with_wrong_directions_counted_twice(chapter):
    true = ["A(e1,e2)", "A(e2,e1)", "A(e1,e2)", "B(e1,e2)", "Other"]
    found = ["A(e1,e2)", "A(e1,e2)", "Other", "B(e1,e2)", "B(e1,e2)"]
    # A: one right, one wrong direction, one missed: P = 1/(1+0+1), R = 1/(1+1+1). B: P = 1/2, R = 1.
    a, b = 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3), 2 * (1 / 2) * 1 / (1 / 2 + 1)
    assert chapter["semeval_f1"](true, found) == pytest.approx((a + b) / 2)
    assert chapter["semeval_f1"](true, true) == 1.0


# --- patterns and the label model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, first, second, form, votes", [
    ("甲国总统李雷到了", "李雷", "总统", "", (1, 0, 0, 0, 0, 0)),
    ("甲国总书记、国家主席李雷到了", "李雷", "总书记", "、国家O", (0, 0, 1, 0, 0, 0)),
    ("副总理李雷、韩梅到了", "韩梅", "副总理", "P、", (0, 0, 0, 1, 0, 0)),  # shared, so not another's
    ("韩梅说,总统李雷到了", "韩梅", "总统", "说,", (0, -1, 0, 0, -1, 1)),
])
def test_holds_votes_are_those_read_off_the_sentence(chapter, text, first, second, form, votes):
    people = [name for name in ("李雷", "韩梅") if name in text]
    offices = [word for word in ("总书记", "国家主席"[2:], "副总理", "总统") if word in text]
    row = pair(chapter, text, first, second, person=people, office=offices)
    assert chapter["between"](row) == form
    assert chapter["vote"](row, {"holds": Counter([("韩梅", "总统")]), "of": Counter()}) == votes


def test_of_votes_look_at_order_neighbours_and_shared_units(chapter):
    facts = {"holds": Counter(), "of": Counter()}
    words = dict(person=["李雷"], office=["总理", "国务委员"], place=["国务院", "乙国"])
    text = "国务院总理李雷、国务委员访问乙国"
    assert chapter["vote"](pair(chapter, text, "总理", "国务院", **words), facts) == (1, 0, 0, 0, 0, 0)
    assert chapter["vote"](pair(chapter, text, "国务委员", "国务院", **words), facts) == (0, 0, 1, 0, 0, 0)
    assert chapter["vote"](pair(chapter, text, "总理", "乙国", **words), facts) == (0, -1, 0, -1, 0, 0)


def test_a_fact_counts_only_where_another_sentence_gave_it(chapter):
    row = pair(chapter, "总统李雷到了", "李雷", "总统", person=["李雷"], office=["总统"])
    for count, expected in ((0, 0), (1, 0), (2, 1)):
        assert chapter["vote"](row, {"holds": Counter({("李雷", "总统"): count}), "of": Counter()})[5] == expected
    assert chapter["harvest"]([row, row])["holds"] == {("李雷", "总统"): 2}


def test_the_posterior_is_bayes_rule_over_both_classes(chapter):
    votes, reliability, prior = np.array([[1, 0, -1], [0, 0, 0], [1, 1, 0]]), np.array([0.9, 0.7, 0.6]), 0.3
    for row, q in zip(votes, chapter["posterior"](votes, reliability, prior)):
        joint = {y: p * np.prod([a if v == y else 1 - a for v, a in zip(row, reliability) if v]) for y, p in ((1, prior), (-1, 1 - prior))}
        assert q == pytest.approx(joint[1] / sum(joint.values()))


def test_the_label_model_recovers_the_reliabilities_that_made_the_votes(chapter, random):
    true = np.array([0.95, 0.85, 0.7, 0.6])
    y = np.where(random.random(6000) < 0.5, 1, -1)
    votes = np.where(random.random((6000, 4)) < true, y[:, None], -y[:, None]) * (random.random((6000, 4)) < 0.7)
    assert chapter["label_model"](votes) == pytest.approx(true, abs=0.04)


# --- models -----------------------------------------------------------------------------------------------------------------


def test_markers_enclose_the_two_words_and_closing_comes_before_opening(chapter):
    row = pair(chapter, "甲国总统李雷到了", "李雷", "总统", person=["李雷"], office=["总统"], place=["甲国"])
    ids, starts = chapter["encode_pair"](row)
    tokens = chapter["tokenizer"].convert_ids_to_tokens(ids)
    text = "[CLS] 甲 国 [unused3] 总 统 [unused4] [unused1] 李 雷 [unused2] 到 了 [SEP]"
    assert " ".join(tokens) == text and [tokens[i] for i in starts] == ["[unused1]", "[unused3]"]
    plain, places = chapter["encode_pair"](row, marked=False)
    assert plain == chapter["tokenizer"]("甲国总统李雷到了")["input_ids"]
    assert [chapter["tokenizer"].convert_ids_to_tokens(plain)[i] for i in places] == ["李", "总"]


def test_marked_text_loses_its_tags_and_keeps_its_offsets(chapter):
    text, (first, second) = chapter["read_marked"]("The <e2>cat</e2> sat on <e1>a mat</e1>.")
    assert (text, text[slice(*first)], text[slice(*second)]) == ("The cat sat on a mat.", "a mat", "cat")


def tiny():
    keras.utils.set_random_seed(0)
    return Encoder(EncoderConfig(50, 16, 1, 2, 32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


def test_the_relation_model_reads_the_two_start_states_or_the_first(chapter):
    encoder, inputs = tiny(), {"input_ids": np.array([[1, 2, 3, 4], [4, 3, 2, 1]]), "starts": np.array([[1, 3], [2, 0]])}
    states = np.array(encoder({"input_ids": inputs["input_ids"]}))
    for read, vector in (("starts", np.stack([np.r_[states[0, 1], states[0, 3]], np.r_[states[1, 2], states[1, 0]]])), ("cls", states[:, 0])):
        model = chapter["RelationModel"](encoder, read=read)
        kernel, bias = model.classifier.get_weights()
        assert np.array(model(inputs)) == pytest.approx(vector @ kernel + bias, abs=1e-5)


def test_the_noise_aware_loss_has_the_gradient_sigma_minus_q(chapter):
    import tensorflow as tf

    logits, q = tf.Variable([[0.3, -0.4], [2.0, 1.0]]), np.array([0.2, 1.0])
    with tf.GradientTape() as tape:
        loss = chapter["noise_aware_loss"](lambda batch, training: logits, {"targets": tf.constant(np.stack([1 - q, q], 1), tf.float32)}, True)
    z = logits.numpy()[:, 1] - logits.numpy()[:, 0]
    assert tape.gradient(loss, logits).numpy()[:, 1] == pytest.approx((1 / (1 + np.exp(-z)) - q) / 2, abs=1e-6)


def test_tags_and_mentions_are_inverse_and_questions_point_at_first_characters(chapter):
    row = chapter["make_sentence"]("甲国总统李雷到了", person=["李雷"], office=["总统"], place=["甲国"])
    assert chapter["read_mentions"](row, chapter["tags_of"](row)).mentions == row.mentions
    windows = batching.encode_words(chapter["tokenizer"], [list("到了"), list(row.text)])
    ids = batching.pad_ids(windows, [0, 1])["input_ids"]
    asked = chapter["asked"](windows, [0, 1], ids.shape[1], {0: [], 1: list(relations.pairs_of(row))})
    tokens = chapter["tokenizer"].convert_ids_to_tokens
    assert tokens(ids.reshape(-1)[asked["first"]]) == ["李", "总"] and tokens(ids.reshape(-1)[asked["second"]]) == ["总", "甲"]
    assert all(value.dtype == np.int32 for value in asked.values())
    assert chapter["asked"](windows, [0], 8, {0: []})["group"].shape == (0,)


def test_groups_number_relation_order_and_distance_without_collision(chapter):
    found = set()
    for kind in relations.KINDS:
        for gap in (0, 3, 10, 25):
            for first, second in ((0, 1 + gap), (1 + gap, 0)):
                mentions = [relations.Mention(start, start + 1, "x") for start in (first, second)]
                found.add(chapter["group_of"](relations.Pair(relations.Sentence("x", "train", "", ()), kind, *mentions)))
    assert found == set(range(chapter["GROUPS"]))


def test_the_joint_model_scores_the_two_states_with_their_group(chapter):
    model = chapter["JointModel"](tiny(), 3)
    states, tags = model.read({"input_ids": np.array([[1, 2, 3], [3, 2, 1]])})
    first, second, group = np.array([1, 5]), np.array([2, 3]), np.array([0, 9])
    flat = np.array(states).reshape(-1, 16)
    a, b = flat[first], flat[second]
    hidden = np.c_[a, b, a * b] @ model.mix.get_weights()[0] + model.mix.get_weights()[1] + model.group.get_weights()[0][group]
    hidden = np.array(keras.activations.gelu(hidden.astype("float32")))
    expected = hidden @ model.scorer.get_weights()[0][:, 0] + model.scorer.get_weights()[1]
    assert np.array(model.relate(states, first, second, group)) == pytest.approx(expected, abs=1e-5)
    assert tags.shape == (2, 3, 3)


def test_the_pipeline_scores_every_pair_that_it_reads(chapter):
    texts = ["甲国总统李雷到了", "没有人", "乙国外长韩梅"]
    rows = [relations.Sentence(str(i), "test", text, ()) for i, text in enumerate(texts)]
    answers, kinds = {texts[0]: "BIBIBIOO", texts[1]: "OOO", texts[2]: "BIBIBI"}, ["place"] * 2 + ["office"] * 2 + ["person"] * 2

    def read(batch):  # a stand-in for the network
        tags = np.zeros((*batch["input_ids"].shape, len(chapter["TAGS"])))
        for b, ids in enumerate(batch["input_ids"]):
            text = "".join(chapter["tokenizer"].convert_ids_to_tokens(ids, skip_special_tokens=True))
            for place, letter in enumerate(answers[text]):
                tags[b, place + 1, chapter["TAGS"].index(f"{letter}-{kinds[place]}" if letter != "O" else "O")] = 1
        return None, [SimpleNamespace(numpy=lambda row=row: row) for row in tags]

    def relate(states, first, second, group):  # each pair's own place as its score
        return SimpleNamespace(numpy=lambda: np.where(group >= chapter["GROUPS"] // 2, 5.0, -5.0))

    found = chapter["extract"]((read, relate), rows)
    assert [s.text for s, _ in found] == texts
    assert [{p.kind: round(c) for p, c in table.items()} for _, table in found] == [{"holds": 0, "of": 1}, {}, {"holds": 0, "of": 1}]


def test_the_dictionary_holds_the_words_of_its_sentences_and_reads_the_longest_from_the_left(chapter, monkeypatch):
    rows = [chapter["make_sentence"]("甲国总统李雷到了", person=["李雷"], office=["总统"], place=["甲国"]),
            chapter["make_sentence"]("甲国总统府的韩梅", person=["韩梅"], place=["甲国总统府"])]
    monkeypatch.setitem(chapter, "sentences", {"train": rows})
    first = int(np.random.default_rng(0).permutation(2)[0])
    few, table = (chapter["word_table"](count) for count in (1, 2))
    assert set(few) == [{"甲国", "总统", "李雷"}, {"甲国总统府", "韩梅"}][first]
    assert table == {"甲国": "place", "总统": "office", "李雷": "person", "甲国总统府": "place", "韩梅": "person"}
    read = chapter["look_up"](chapter["make_sentence"]("韩梅在甲国总统府见到总统李四"), table)
    assert [(read.text[m.start:m.end], m.kind) for m in read.mentions] == [
        ("韩梅", "person"), ("甲国总统府", "place"), ("总统", "office")]


def test_the_dictionary_gives_a_pair_a_chance_only_where_both_of_its_words_are_read(chapter, monkeypatch):
    row = chapter["make_sentence"]("甲国总统李雷到了", person=["李雷"], office=["总统"], place=["甲国"])
    rows = [SimpleNamespace(pair=p) for p in relations.pairs_of(row)]
    monkeypatch.setitem(chapter, "labelled", {"validation": rows, "test": rows})
    monkeypatch.setitem(chapter, "word_table", lambda count: {"总统": "office", "李雷": "person"})
    monkeypatch.setitem(chapter, "votes_of", lambda pairs: [p.words() for p in pairs])
    monkeypatch.setitem(chapter, "weak_labels", lambda votes, kinds: {"标签模型": [0.75] * len(votes)})
    probability, words = chapter["by_dictionary"](1)
    assert [p.pair.words() for p in rows] == [("李雷", "总统"), ("总统", "甲国")]
    assert probability["test"].tolist() == [0.75, -1.0] and words.recall == pytest.approx(2 / 3)


def test_triples_join_at_the_same_mention_and_take_the_likeliest_place(chapter):
    row = chapter["make_sentence"]("甲国总统李雷会见乙国外长韩梅", person=["李雷", "韩梅"], office=["总统", "外长"], place=["甲国", "乙国"])
    chance = {("李雷", "总统"): 0.9, ("韩梅", "外长"): 0.8, ("总统", "甲国"): 0.7, ("总统", "乙国"): 0.6, ("外长", "甲国"): 0.1}
    table = {p: chance.get(p.words(), 0.0) for p in relations.pairs_of(row)}
    assert sorted(chapter["join"](table, 0.5)) == sorted([("李雷", "总统", "甲国"), ("韩梅", "外长", "")])


def test_the_layout_keeps_offices_of_different_places_apart(chapter):
    triples = [("甲", "总统", "A"), ("乙", "总统", "B"), ("丙", "总统", ""), ("甲", "总统", "A")]
    (people, offices, places), tallest = chapter["layout"](triples)
    assert (len(people), len(offices), len(places), tallest) == (3, 3, 2, 3)
    for column, spots in enumerate((people, offices, places)):
        assert {x for x, _ in spots.values()} == {column} and len({y for _, y in spots.values()}) == len(spots)
        assert all(-tallest < y < 0 for _, y in spots.values())


# --- the reader's own sentence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, expected", [
    ("", []), (" \n\u3000", []), ("甲国总统李雷到了。韩梅２０日走了！", ["甲国总统李雷到了。", "韩梅20日走了!"]), ("好", ["好"]),
])
def test_own_sentences_are_cut_at_full_stops_and_none_is_left_of_blanks(chapter, text, expected):
    assert [row.text for row in chapter["own_sentences"](text)] == expected


def test_a_very_long_sentence_is_read_in_pieces_and_a_sentence_without_words_gives_no_pair(chapter):
    rows = chapter["own_sentences"]("无" * 1000 + "。好。")
    assert "".join(row.text for row in rows) == "无" * 1000 + "。好。" and max(len(row.text) for row in rows) == relations.LONGEST
    keras.utils.set_random_seed(0)
    encoder = Encoder(EncoderConfig(len(chapter["tokenizer"]), 16, 1, 2, 32, max_position_embeddings=128))
    model = chapter["JointModel"](encoder, len(chapter["TAGS"]))
    weights, bias = model.tagger.get_weights()
    model.tagger.set_weights([0 * weights, np.eye(len(bias))[0]])  # every character is outside
    found = chapter["extract"](chapter["joint_call"](model), rows)
    assert [(row.text, table) for row, table in found] == [(row.text, {}) for row in rows]
