"""What the chapters on fine-tuning share, against unpadded single texts, closed forms, scikit-learn and a run by hand."""

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from utils import batching, finetuning, prediction, training
from utils.batching import Windows
from utils.encoder import Encoder, EncoderConfig
from utils.errors import ConfigError
from utils.heads import SequenceClassifier, TokenClassifier

CONFIG = EncoderConfig(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
                       max_position_embeddings=64, initializer_range=0.5)
LENGTHS = (9, 4, 20, 13, 6, 31, 5, 17)


def make_model(kind=finetuning.MeanClassifier, seed=0, classes=3):
    keras.utils.set_random_seed(seed)
    return kind(Encoder(CONFIG), classes)


@pytest.fixture
def windows():
    random = np.random.default_rng(0)
    ids = [np.concatenate([[2], random.integers(5, 40, length - 1)]).astype(np.int32) for length in LENGTHS]
    empty = [np.zeros(0, np.int32)] * len(ids)
    return Windows(ids, empty, list(empty), np.arange(len(ids)), np.array(LENGTHS))


@pytest.fixture
def labels():
    return np.arange(len(LENGTHS)) % 3


def alone(ids):
    return {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int32)}


@pytest.mark.parametrize("kind", [finetuning.MeanClassifier, SequenceClassifier])
def test_logits_of_padded_batches_equal_those_of_each_text_alone_in_the_texts_order(kind, windows):
    model = make_model(kind)
    found = prediction.text_logits(model, windows, batch_tokens=64)
    for ids, row in zip(windows.input_ids, found):
        np.testing.assert_allclose(row, model(alone(ids), training=False).numpy()[0], atol=1e-5)


def test_mean_states_equal_the_plain_average_of_each_text_alone(windows):
    encoder = make_model().encoder
    found = finetuning.mean_states(encoder, windows, batch_tokens=64)
    assert found["mean"].shape == found["first"].shape == (4, len(LENGTHS), 16)
    for index, ids in enumerate(windows.input_ids):
        for layer, states in enumerate(encoder.hidden_states(alone(ids))):
            np.testing.assert_allclose(found["mean"][layer, index], states.numpy()[0].mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(found["first"][layer, index], states.numpy()[0, 0], atol=1e-5)


def test_the_mean_classifier_is_linear_in_the_mean_of_the_last_layer(windows):
    model = make_model()
    features = finetuning.mean_states(model.encoder, windows)["mean"][-1]
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.classifier.weights)
    np.testing.assert_allclose(prediction.text_logits(model, windows), features @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize("top", [0, 1, 2, 3, None])
def test_training_moves_the_chosen_parts_and_leaves_the_others_bit_by_bit(top, windows, labels):
    model, before = make_model(), make_model()
    finetuning.freeze(model, top)
    finetuning.fine_tune(model, windows, labels, learning_rate=1e-2, warmup=0.0, epochs=1, batch_tokens=256)

    def moved(part):
        pairs = zip(part(model).get_weights(), part(before).get_weights())
        return any(not np.array_equal(a, b) for a, b in pairs)

    assert moved(lambda m: m.classifier)
    assert moved(lambda m: m.encoder.embeddings) == (top is None)
    for place in range(3):
        assert moved(lambda m: m.encoder.blocks[place]) == (top is None or place >= 3 - top)


def test_the_number_of_trainable_parameters_equals_the_closed_form():
    width, inner = CONFIG.hidden_size, CONFIG.intermediate_size
    block = 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
    model = make_model()
    for top in (0, 1, 3):
        assert finetuning.trainable_count(finetuning.freeze(model, top)) == top * block + 3 * width + 3
    assert finetuning.trainable_count(finetuning.freeze(model, None)) == model.count_params()


@pytest.mark.parametrize("top", [-1, 4])
def test_freezing_more_blocks_than_there_are_is_refused(top):
    with pytest.raises(ConfigError, match="3 层"):
        finetuning.freeze(make_model(), top)


def test_fine_tuning_is_the_trainer_with_the_same_batches(windows, labels):
    model, twin = make_model(), make_model()
    mine = finetuning.fine_tune(model, windows, labels, learning_rate=1e-3, epochs=2, batch_tokens=64, seed=5, weight_decay=0.1)
    order = batching.batch_plan(windows.piece_counts(), 64, 2, 5)
    theirs = training.Trainer(twin, training.sequence_loss, batching.sequence_batches(windows, labels, order),
                              training.Plan(len(order), 1e-3, weight_decay=0.1), label=None).run()
    assert mine.losses == theirs.losses


def test_a_token_classifier_takes_its_labels_from_the_windows(windows):
    model, twin = make_model(TokenClassifier), make_model(TokenClassifier)
    windows.positions = [np.array([1, 2], np.int32) for _ in LENGTHS]
    windows.labels = [ids[1:3] % 3 for ids in windows.input_ids]
    mine = finetuning.fine_tune(model, windows, learning_rate=1e-3, epochs=2, batch_tokens=64, seed=5)
    order = batching.batch_plan(windows.piece_counts(), 64, 2, 5)
    theirs = training.Trainer(twin, training.token_loss, batching.token_batches(windows, order),
                              training.Plan(len(order), 1e-3), label=None).run()
    assert mine.losses == theirs.losses


def test_the_weights_of_the_best_evaluation_stay(windows, labels):
    seen = []

    def measure(model):  # the second evaluation is the best
        seen.append([keras.ops.convert_to_numpy(v) for v in model.trainable_variables])
        return {"score": [0.1, 0.9, 0.5][len(seen) - 1]}

    model = make_model()
    finetuning.fine_tune(model, windows, labels, learning_rate=1e-2, epochs=3, batch_tokens=512, measure=measure, evaluations=3)
    assert len(seen) == 3
    for kept, wanted in zip(model.trainable_variables, seen[1]):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(kept), wanted)


def test_a_missing_label_is_refused(windows, labels):
    for wrong in (None, labels[:-1]):
        with pytest.raises(ConfigError, match="8 条文本"):
            finetuning.fine_tune(make_model(), windows, wrong, learning_rate=1e-3, epochs=1, batch_tokens=64)


def test_batches_of_many_sizes_are_traced_once(windows, labels):
    traces = []

    def loss(model, batch, training):
        traces.append(1)
        return keras.ops.mean(model(batch, training=training) ** 2)

    history = finetuning.fine_tune(make_model(), windows, labels, learning_rate=1e-3, epochs=2, batch_tokens=64, loss=loss)
    assert len(history.losses) > 4 and len(traces) == 1


def test_scores_equal_scikit_learn_also_for_huge_logits():
    random = np.random.default_rng(1)
    logits, labels = random.normal(0, 2, (50, 4)), random.integers(0, 4, 50)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = finetuning.sequence_scores(logits, labels)
    assert found["loss"] == pytest.approx(log_loss(labels, probabilities, labels=range(4)))
    assert found["accuracy"] == accuracy_score(labels, logits.argmax(-1))
    assert finetuning.sequence_scores([[1e4, -1e4]], [1])["loss"] == pytest.approx(2e4)


def test_selected_windows_are_those_texts(windows):
    chosen = finetuning.select(windows, [5, 0])
    assert [list(ids) for ids in chosen.input_ids] == [list(windows.input_ids[5]), list(windows.input_ids[0])]
    assert list(chosen.piece_counts()) == [31, 9] and list(chosen.lengths) == [31, 9]
    windows.labels = []
    with pytest.raises(ConfigError, match="encode_texts"):
        finetuning.select(windows, [0])
