"""The decoder against Keras's own attention, a NumPy formula, and itself without a cache; search against trying everything."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from utils import decoder as decoding
from utils import generation
from utils.encoder import Encoder, EncoderConfig
from utils.errors import ConfigError

PAD, START, END = 0, 1, 2
SHAPE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, initializer_range=0.5)
SOURCES = {
    "input_ids": np.array([[3, 4, 5, 3], [5, 4, PAD, PAD]], np.int32),
    "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int32),
}


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def config():
    return EncoderConfig(vocab_size=6, max_position_embeddings=12, **SHAPE)


@pytest.fixture(scope="module")
def model(config):
    keras.utils.set_random_seed(3)
    encoder = Encoder(config)
    built = decoding.EncoderDecoder(encoder, decoding.Decoder(config, word=encoder.embeddings.word))
    random = np.random.default_rng(3)
    for variable in built.trainable_variables:  # biases and norms start at zero and one, where mistakes do not show
        variable.assign(numpy(variable) + 0.1 * random.normal(size=variable.shape))
    return built


def test_cross_attention_equals_keras_multi_head_attention(config):
    random = np.random.default_rng(0)
    queries, memory = random.normal(size=(2, 3, 16)).astype("float32"), random.normal(size=(2, 4, 16)).astype("float32")
    ours, theirs = decoding.CrossAttention(config), keras.layers.MultiHeadAttention(num_heads=2, key_dim=8)
    ours.build()
    theirs.build((2, 3, 16), (2, 4, 16))
    for layer in (ours.query, ours.key, ours.value, ours.projection):
        layer.bias.assign(random.normal(size=16))
    theirs.set_weights([
        *(array for layer in (ours.query, ours.key, ours.value)
          for array in (numpy(layer.kernel).reshape(16, 2, 8), numpy(layer.bias).reshape(2, 8))),
        numpy(ours.projection.kernel).reshape(2, 8, 16), numpy(ours.projection.bias),
    ])
    real = SOURCES["attention_mask"]
    ours.keep_weights = True
    mixed = ours(queries, memory, decoding.padding_mask(real, "float32"))
    expected, weights = theirs(queries, memory, attention_mask=real[:, None, :].astype(bool), return_attention_scores=True)
    np.testing.assert_allclose(numpy(mixed), numpy(expected), atol=1e-5)
    np.testing.assert_allclose(numpy(ours.last_weights), numpy(weights), atol=1e-5)


def test_one_head_of_cross_attention_is_the_formula():
    config = EncoderConfig(vocab_size=6, **(SHAPE | {"num_attention_heads": 1}))
    random = np.random.default_rng(1)
    queries, memory = random.normal(size=(1, 3, 16)), random.normal(size=(1, 4, 16))
    layer = decoding.CrossAttention(config)
    layer.build()
    query, key, value = (x[0] @ numpy(part.kernel) for x, part in ((queries, layer.query), (memory, layer.key), (memory, layer.value)))
    scores = np.exp(query @ key.T / 4)
    expected = scores / scores.sum(-1, keepdims=True) @ value @ numpy(layer.projection.kernel)
    mixed = layer(queries.astype("float32"), memory.astype("float32"), memory_mask=0.0)
    np.testing.assert_allclose(numpy(mixed)[0], expected, atol=1e-4)


def test_a_place_sees_its_past_but_not_its_future(model):
    targets = np.array([[1, 3, 4, 5, 3]] * 2, np.int32)
    changed = targets.copy()
    changed[:, 3:] = [4, 4]
    before, after = (numpy(model(SOURCES | {"decoder_input_ids": ids})) for ids in (targets, changed))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


def test_padding_of_the_source_changes_nothing_and_the_source_does(model):
    targets = np.array([[1, 3, 4]] * 2, np.int32)
    before = numpy(model(SOURCES | {"decoder_input_ids": targets}))
    other = {**SOURCES, "input_ids": np.array([[3, 4, 5, 3], [5, 4, 3, 5]], np.int32)}
    np.testing.assert_allclose(numpy(model(other | {"decoder_input_ids": targets})), before, atol=1e-6)
    other["input_ids"] = np.array([[3, 4, 5, 3], [3, 4, 3, 5]], np.int32)
    assert np.abs(numpy(model(other | {"decoder_input_ids": targets}))[1] - before[1]).max() > 1e-3


def test_one_step_at_a_time_equals_all_at_once(model):
    targets = np.array([[1, 3, 4, 5, 3], [1, 5, 5, 4, 3]], np.int32)
    everything = numpy(ops.log_softmax(model(SOURCES | {"decoder_input_ids": targets}), axis=-1))
    cache = model.start(SOURCES)
    for place in range(targets.shape[1]):
        log_probabilities, cache = model.step(targets[:, place], cache, SOURCES)
        np.testing.assert_allclose(numpy(log_probabilities), everything[:, place], atol=1e-5)


def test_cross_attention_looks_at_real_pieces_only_and_sums_to_one(model):
    targets = np.array([[1, 3, 4]] * 2, np.int32)
    for weights in map(numpy, model.cross_attention(SOURCES | {"decoder_input_ids": targets})):
        assert weights.shape == (2, 2, 3, 4)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        assert weights[1, :, :, 2:].max() == 0


def test_a_shared_table_of_pieces_is_one_variable(config):
    encoder = Encoder(config)
    shared = decoding.EncoderDecoder(encoder, decoding.Decoder(config, word=encoder.embeddings.word))
    separate = decoding.EncoderDecoder(Encoder(config), decoding.Decoder(config))
    table = config.vocab_size * config.hidden_size
    count = lambda model: sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert count(separate) - count(shared) == table
    assert shared.decoder.embeddings.word is encoder.embeddings.word


def test_widths_that_do_not_fit_are_refused(config):
    other = EncoderConfig(vocab_size=6, **(SHAPE | {"hidden_size": 8}))
    with pytest.raises(ConfigError, match="16.*8"):
        decoding.EncoderDecoder(Encoder(config), decoding.Decoder(other))


# --- search ---

SEARCH = dict(start_id=START, end_id=END, max_length=4, forbidden=(PAD, START))


@pytest.fixture(scope="module")
def everything(model):
    """For each source every possible output of at most four pieces: (pieces without END, sum of log-probabilities, length)."""
    words = [3, 4, 5]
    full = [[*start, last] for length in (1, 2, 3, 4) for start in itertools.product(words, repeat=length - 1)
            for last in ([END] if length < 4 else [END, *words])]
    padded = np.array([row + [PAD] * (4 - len(row)) for row in full], np.int32)
    read = np.concatenate([np.full((len(full), 1), START), padded[:, :-1]], axis=1).astype(np.int32)
    found = []
    for row in range(2):
        inputs = {name: np.repeat(value[row : row + 1], len(full), axis=0) for name, value in SOURCES.items()}
        steps = numpy(ops.log_softmax(model(inputs | {"decoder_input_ids": read}), axis=-1))
        totals = np.take_along_axis(steps, padded[:, :, None], axis=2)[:, :, 0]
        found.append([(tuple(p for p in pieces if p != END), sum(totals[i, : len(pieces)]), len(pieces))
                      for i, pieces in enumerate(full)])
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_beam_wide_enough_finds_what_trying_everything_finds(model, everything, alpha):
    found = generation.beam_search(model, SOURCES, beams=200, alpha=alpha, **SEARCH)
    for hypotheses, outputs in zip(found, everything):
        ranked = sorted(outputs, key=lambda output: -output[1] / ((5 + output[2]) / 6) ** alpha)
        assert len(hypotheses) == len(ranked) == 121
        for hypothesis, (pieces, total, length) in zip(hypotheses[:10], ranked):
            assert hypothesis.pieces == pieces
            assert hypothesis.log_probability == pytest.approx(total, abs=1e-4)
            assert hypothesis.score == pytest.approx(total / ((5 + length) / 6) ** alpha, abs=1e-4)


def test_one_beam_takes_the_likeliest_piece_at_every_step(model):
    found = generation.beam_search(model, SOURCES, beams=1, **SEARCH)
    for row in range(2):
        inputs = {name: value[row : row + 1] for name, value in SOURCES.items()}
        written = [START]
        while len(written) <= 4 and written[-1] != END:
            logits = numpy(model(inputs | {"decoder_input_ids": np.array([written], np.int32)}))[0, -1]
            logits[[PAD, START]] = -np.inf
            written.append(int(logits.argmax()))
        assert found[row][0].pieces == tuple(p for p in written[1:] if p != END)


def test_a_wider_beam_is_here_no_worse_and_a_narrow_one_misses_something(model, everything):
    best = [max(total for _, total, _ in outputs) for outputs in everything]
    wide, narrow = (
        [hypotheses[0].log_probability for hypotheses in generation.beam_search(model, SOURCES, beams=beams, **SEARCH)]
        for beams in (50, 2)
    )
    assert wide == pytest.approx(best, abs=1e-4)
    assert all(low <= high + 1e-4 for low, high in zip(narrow, wide))


def test_sources_do_not_disturb_one_another(model):
    together = generation.beam_search(model, SOURCES, beams=3, alpha=0.6, **SEARCH)
    for row in range(2):
        alone = generation.beam_search(model, {k: v[row : row + 1] for k, v in SOURCES.items()}, beams=3, alpha=0.6, **SEARCH)[0]
        assert [h.pieces for h in alone] == [h.pieces for h in together[row]]


def test_the_length_penalty_is_that_of_wu_et_al():
    assert generation.length_penalty(1, 0.7) == 1.0
    assert generation.length_penalty(7, 1.0) == 2.0
    assert generation.length_penalty(9, 0.0) == 1.0
