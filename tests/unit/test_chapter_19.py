"""The functions that chapter 19 defines, pulled out of the notebook and compared with references."""

import keras
import numpy as np
import pytest
from keras import ops
from sklearn import metrics
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.class_weight import compute_class_weight

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, finetuning, prediction, profiles, training
from utils.encoder import Encoder, EncoderConfig


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function and class of the notebook; no cell is executed."""
    names = {
        "np": np, "keras": keras, "ops": ops, "batching": batching, "finetuning": finetuning, "prediction": prediction,
        "training": training, "profile": profiles.get("mini"), "epochs": 1, "pieces": 16, "mini": True, "tested": 3,
        "SHUFFLE_LABELS": False, "TfidfVectorizer": TfidfVectorizer, "LogisticRegression": LogisticRegression,
        "make_pipeline": make_pipeline, "tokenizer": checkpoints.load_tokenizer(profiles.CHECKPOINT),
    }
    return definitions("4-applications/19-classification", names, ("TwoTowers", "KEYWORDS"))


@pytest.fixture
def random():
    return np.random.default_rng(0)


def tiny():
    keras.utils.set_random_seed(0)
    return Encoder(EncoderConfig(60, 16, 1, 2, 32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


# --- scores ---------------------------------------------------------------------------------------------------------------


def test_confusion_accuracy_and_macro_f1_are_those_of_sklearn(chapter, random):
    truth, predicted = random.integers(0, 3, 50), random.integers(0, 4, 50)  # class 3 is predicted, never true; 4 is neither
    matrix = chapter["confusion"](truth, predicted, 5)
    assert np.array_equal(matrix, metrics.confusion_matrix(truth, predicted, labels=range(5)))
    assert chapter["accuracy"](matrix) == pytest.approx(metrics.accuracy_score(truth, predicted))
    expected = metrics.f1_score(truth, predicted, labels=[0, 1, 2], average="macro")
    assert chapter["macro_f1"](matrix) == pytest.approx(expected)


def test_folding_keeps_the_total_and_the_kept_counts(chapter, random):
    matrix = random.integers(0, 9, (5, 5))
    small = chapter["fold"](matrix, np.array([3, 1]))
    assert small.sum() == matrix.sum() and small[0, 1] == matrix[3, 1]
    assert small[0, 2] == matrix[3, [0, 2, 4]].sum() and small[2, 2] == matrix[np.ix_([0, 2, 4], [0, 2, 4])].sum()


def test_majority_is_the_most_frequent_training_label(chapter):
    assert list(chapter["majority"](np.array([2, 0, 2]), 3)) == [2, 2, 2]


def test_the_majority_of_a_task_is_scored_on_its_test_texts(chapter):
    parts = (None, np.array([1, 1, 0])), None, (None, np.array([1, 0, 0, 2]))
    stand_ins = {"task_parts": lambda task, examples: (parts, 3) if (task, examples) == ("甲", 5) else None, "sizes": {"甲": 5}}
    original = {name: chapter.get(name) for name in stand_ins}
    chapter.update(stand_ins)
    try:
        found = chapter["majority_scores"]("甲")
    finally:
        chapter.update(original)
    truth, guesses = [1, 0, 0, 2], [1, 1, 1, 1]
    expected = metrics.f1_score(truth, guesses, average="macro", zero_division=0)
    assert found == (pytest.approx(metrics.accuracy_score(truth, guesses)), pytest.approx(expected))


def test_precision_recall_curve_is_that_of_sklearn(chapter, random):
    truth, scores = random.random(60) < 0.4, np.round(random.random(60), 1)
    expected = metrics.precision_recall_curve(truth, scores)
    found = chapter["precision_recall"](truth, scores)
    for ours, theirs in zip(found, (expected[0][:-1], expected[1][:-1], expected[2])):
        assert ours == pytest.approx(theirs)


def test_thresholds_are_found_by_brute_force(chapter, random):
    truth, scores = random.random(40) < 0.5, random.random(40)
    best = max(metrics.f1_score(truth, scores >= t) for t in scores)
    assert metrics.f1_score(truth, scores >= chapter["best_threshold"](truth, scores)) == pytest.approx(best)
    fits = [t for t in scores if metrics.precision_score(truth, scores >= t) >= 0.7]
    expected = min(fits) if fits else max(scores)
    assert chapter["threshold_for_precision"](truth, scores, 0.7) == expected
    assert chapter["threshold_for_precision"]([1, 0], [0.1, 0.2], 0.9) == 0.2  # never reached


def test_multi_label_scores_are_those_of_sklearn(chapter, random):
    truth, predicted = random.integers(0, 2, (2, 30, 3))
    found = chapter["multi_scores"](truth, predicted)
    assert found["f1"] == pytest.approx(metrics.f1_score(truth, predicted, average=None))
    assert found["micro"] == pytest.approx(metrics.f1_score(truth, predicted, average="micro"))
    assert found["all"] == pytest.approx(metrics.accuracy_score(truth, predicted))


def test_negative_probability_is_the_softmax_of_the_first_class(chapter, random):
    logits = random.normal(size=(6, 2)).astype("float32")
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    assert chapter["negative_probability"](logits) == pytest.approx(expected, rel=1e-5)


# --- losses ---------------------------------------------------------------------------------------------------------------


def test_class_weights_are_those_of_sklearn(chapter):
    labels = np.array([0, 1, 1, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert chapter["class_weights"](labels, 3) == pytest.approx(expected)


def test_weighted_loss_is_sklearns_log_loss_with_sample_weights(chapter, random):
    logits, labels, weights = random.normal(size=(8, 3)), random.integers(0, 3, 8), [0.5, 1.0, 4.0]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = metrics.log_loss(labels, probability, labels=[0, 1, 2], sample_weight=np.take(weights, labels))
    model = lambda batch, training: ops.convert_to_tensor(logits, "float32")
    assert float(chapter["weighted_loss"](weights)(model, {"labels": labels}, False)) == pytest.approx(expected, rel=1e-5)


def test_sigmoid_loss_is_keras_binary_cross_entropy_and_stays_finite(chapter, random):
    logits, labels = random.normal(size=(5, 2)).astype("float32"), random.integers(0, 2, (5, 2))
    expected = float(ops.mean(keras.losses.binary_crossentropy(labels, logits, from_logits=True)))
    model = lambda batch, training: ops.convert_to_tensor(logits)
    assert float(chapter["sigmoid_loss"](model, {"labels": labels}, False)) == pytest.approx(expected, rel=1e-5)
    huge = lambda batch, training: ops.convert_to_tensor([[1000.0]])
    assert float(chapter["sigmoid_loss"](huge, {"labels": np.array([[0]])}, False)) == pytest.approx(1000.0)


# --- data -----------------------------------------------------------------------------------------------------------------


def test_thinning_keeps_every_common_text_and_the_wanted_share(chapter):
    labels = np.array([0] * 50 + [1] * 90)
    texts, kept = chapter["thin"](([str(i) for i in range(140)], labels))
    assert (kept == 1).sum() == 90 and (kept == 0).sum() == 10
    assert all(labels[int(text)] == label for text, label in zip(texts, kept))


def test_overlap_is_jaccard_of_bigrams(chapter):
    assert chapter["overlap"]("开客厅灯", "关客厅灯") == pytest.approx(2 / 4)
    assert chapter["overlap"]("开", "关") == 0.0


def test_pairs_are_half_same_intent_and_never_of_one_template(chapter):
    rows = {"text": [f"句{i}" for i in range(12)], "intent": [i // 4 for i in range(12)], "template": [i // 2 for i in range(12)]}
    place = {text: i for i, text in enumerate(rows["text"])}
    first, second, labels = chapter["make_pairs"](rows, 40)
    assert labels.sum() == 20
    for a, b, label in zip(first, second, labels):
        i, j = place[a], place[b]
        assert (rows["intent"][i] == rows["intent"][j]) == bool(label)
        assert not label or rows["template"][i] != rows["template"][j]


def test_pairs_stand_in_one_input_between_separators(chapter):
    ids = chapter["encode_pairs"]((["开灯"], ["关灯"])).input_ids[0]
    assert chapter["tokenizer"].convert_ids_to_tokens(ids) == ["[CLS]", "开", "灯", "[SEP]", "关", "灯", "[SEP]"]


# --- long texts -------------------------------------------------------------------------------------------------------------


def test_head_and_tail_keep_the_special_pieces(chapter):
    ids = np.arange(9)
    assert list(chapter["head"](ids, 4)) == [0, 1, 2, 8]
    assert list(chapter["tail"](ids, 4)) == [0, 6, 7, 8]
    assert chapter["head"](ids, 9) is ids and chapter["tail"](ids, 9) is ids


@pytest.mark.parametrize("length, longest", [(2, 5), (5, 5), (6, 5), (20, 5), (21, 8)])
def test_windows_hold_every_inner_piece_once(chapter, length, longest):
    ids = np.arange(length)
    cut = chapter["split_windows"](ids, longest)
    assert all(len(rows) <= longest and rows[0] == 0 and rows[-1] == length - 1 for rows in cut)
    assert [i for rows in cut for i in rows[1:-1]] == list(range(1, length - 1))


def test_window_logits_are_the_mean_over_the_windows_of_each_text(chapter):
    model = finetuning.MeanClassifier(tiny(), 3)
    documents = [np.arange(2, 13, dtype=np.int32), np.arange(2, 6, dtype=np.int32)]
    found = chapter["window_logits"](model, documents, 6)
    for ids, row in zip(documents, found):
        each = [model({"input_ids": part[None], "attention_mask": np.ones_like(part[None])}, training=False).numpy()[0]
                for part in chapter["split_windows"](ids, 6)]
        assert row == pytest.approx(np.mean(each, axis=0), abs=1e-5)


# --- two towers -------------------------------------------------------------------------------------------------------------


def test_towers_compare_the_mean_states_and_do_not_care_which_sentence_is_first(chapter):
    model = chapter["TwoTowers"](tiny())
    a, b, mask = np.array([[1, 2, 3, 0]]), np.array([[4, 5, 0, 0]]), (np.array([[1, 1, 1, 0]]), np.array([[1, 1, 0, 0]]))
    batch = {"input_ids": a, "attention_mask": mask[0], "second_ids": b, "second_mask": mask[1]}
    u = model.encoder({"input_ids": a[:, :3]}).numpy()[0].mean(axis=0)
    v = model.encoder({"input_ids": b[:, :2]}).numpy()[0].mean(axis=0)
    expected = np.concatenate([abs(u - v), u * v]) @ model.classifier.kernel.numpy()
    assert model(batch).numpy()[0] == pytest.approx(expected, abs=1e-5)
    swapped = {"input_ids": b, "attention_mask": mask[1], "second_ids": a, "second_mask": mask[0]}
    assert model(swapped).numpy() == pytest.approx(model(batch).numpy(), abs=1e-6)


def test_tower_logits_keep_the_order_of_the_pairs(chapter):
    checkpoint_size = EncoderConfig(len(chapter["tokenizer"]), 16, 1, 2, 32)
    keras.utils.set_random_seed(0)
    model = chapter["TwoTowers"](Encoder(checkpoint_size))
    pairs = (["开灯", "现在几点了", "关"] * 30, ["把灯打开", "几点", "停止播放音乐"] * 30)
    found = chapter["tower_logits"](model, pairs)
    alone = [chapter["tower_logits"](model, ([a], [b]))[0] for a, b in list(zip(*pairs))[:3]]
    assert found == pytest.approx(np.array(alone * 30), abs=1e-5)


@pytest.fixture
def small_encoder(chapter):
    """The chapter starts from a random encoder of one small layer."""
    shipped = chapter["load_encoder"]

    def load(seed):
        keras.utils.set_random_seed(seed)
        return Encoder(EncoderConfig(len(chapter["tokenizer"]), 16, 1, 2, 32))

    chapter["load_encoder"] = load
    yield
    chapter["load_encoder"] = shipped


def test_every_kind_of_model_takes_a_step_and_scores_each_text(chapter, small_encoder):
    """They are trained in the recorded tables only, so no executed notebook shows that they still work."""
    pairs = ["开灯", "几点了"], ["把灯打开", "停止播放"], np.array([1, 0])
    towers = chapter["fit_towers"](pairs, pairs, rounds=1)
    assert chapter["tower_logits"](towers, pairs).shape == (2, 2)
    cross = chapter["fit_cross"](pairs, pairs, rounds=1)
    assert prediction.predict_texts(cross, chapter["encode_pairs"](pairs)).shape == (2,)
    texts = ["房间很好", "电脑太慢"], np.array([[0, 1], [1, 0]])
    multi = chapter["fit_multi"](texts, texts, rounds=1)
    assert prediction.text_logits(multi, chapter["encode"](texts[0])).shape == (2, 2)


def test_ngram_model_takes_the_strength_that_it_is_told(chapter):
    train = ["好吃", "好看", "坏了", "坏人"], np.array([1, 1, 0, 0])
    assert chapter["ngram_model"](train, train, 2, strengths=(7,))[-1].C == 7


def test_ngram_model_learns_what_characters_tell(chapter):
    train = ["好吃", "好看", "好听", "坏了", "坏人", "坏掉"], np.array([1, 1, 1, 0, 0, 0])
    model = chapter["ngram_model"](train, train, 2)
    assert list(model.predict(["好笑", "坏笑"])) == [1, 0]


def test_aspects_are_read_off_the_keywords(chapter):
    assert list(chapter["aspects"]("前台态度差,床不错")) == [0, 1, 1, 0]


# --- the reader's own sentences -------------------------------------------------------------------------------------------


def test_an_empty_input_is_named(chapter):
    assert chapter["empty_ones"](text="房间很好") == ""
    assert chapter["empty_ones"](command=" \t", other="开灯").startswith("command 是空的")
    assert chapter["empty_ones"](command="", other="").startswith("command、other 是空的")


@pytest.mark.parametrize("text", ["房", "房间很好。" * 300, "\x00\u200b"])
def test_a_sentence_of_any_length_gets_probabilities(chapter, small_encoder, text):
    model = finetuning.MeanClassifier(chapter["load_encoder"](1), 3)
    found = chapter["probabilities"](model, text)
    assert found.shape == (3,) and found.sum() == pytest.approx(1) and (found > 0).all()
