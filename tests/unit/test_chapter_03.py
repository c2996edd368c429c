"""The functions that chapter 3 defines, pulled out of the notebook and compared with references on tiny inputs."""

import collections
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from keras import ops
from scipy import optimize, special

from tests.unit.notebook_code import definitions
from utils import checkpoints, figures
from utils.corpora import newspaper
from utils.encoder import Encoder, EncoderConfig

CONSTANTS = ("SPECIAL", "FORBIDDEN", "ACTIVATIONS")
FIXTURES = ["backbone", "legacy_names", "sequence_classifier"]


@pytest.fixture
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"collections": collections, "checkpoints": checkpoints, "figures": figures, "keras": keras, "np": np,
             "newspaper": newspaper, "ops": ops, "optimize": optimize, "special": special, "tf": tf, "tokenizers": tokenizers,
             "SYMBOLS": 5, "PLACES": 6}
    return definitions("1-concepts/03-transformer", names, CONSTANTS)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def with_weights(chapter, root, name):
    """Let the chapter's functions read the fixture checkpoint `name`; returns what Hugging Face computed on it."""
    folder = root / "tests" / "fixtures" / "bert" / name
    config = EncoderConfig.from_dict(checkpoints.read_config(folder))
    tensors = checkpoints.read_tensors(folder)
    chapter.update(config=config, heads=config.num_attention_heads, width=config.hidden_size,
                   size=config.hidden_size // config.num_attention_heads,
                   WEIGHTS={key.removeprefix("bert."): value.astype("float64") for key, value in tensors.items()})
    return np.load(folder / "outputs.npz")


# --- tokens -------------------------------------------------------------------------------------------------------------


def test_repeated_paragraphs_are_dropped_across_splits(chapter, monkeypatch):
    monkeypatch.setattr(newspaper, "BORDERS", {"train": (0, 3), "validation": (3, 5)})
    chapter["LINES"] = ["甲/n 乙/v", "", "甲乙/n", "甲/n 乙/v", "丙/n"]
    seen = set()
    assert chapter["segmented"]("train", seen) == [["甲", "乙"]]
    assert chapter["segmented"]("validation", seen) == [["丙"]]


def test_unknown_share_equals_a_count_by_hand(chapter):
    shares = dict(chapter["unknown_share"](list("甲甲甲乙乙丙"), list("甲乙丙丁"), [1, 2, 4]))
    assert shares == {1: 0.75, 2: 0.5, 3: 0.25}


def test_wordpiece_takes_the_longest_piece_and_gives_up_on_the_whole_word(chapter):
    vocabulary = {"un": 0, "una": 1, "##b": 2, "##ble": 3, "##able": 4, "[UNK]": 5}
    model = tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")
    for word in ("unable", "unble", "unab", "unx", "b"):
        assert chapter["wordpiece"](word, vocabulary) == [token.value for token in model.tokenize(word)]
    assert chapter["wordpiece"]("unable", vocabulary) == ["una", "##ble"]


def test_trained_pieces_keep_to_the_cut_and_repeat(chapter):
    texts = ["北京大学在北京。", "大学生去北京大学", "北京2026年2026"] * 3
    chapter_train = chapter["train_wordpiece"]
    vocabularies = {cut: chapter_train(texts, 60, cut).get_vocab() for cut in ("逐字", "分句")}
    assert vocabularies["逐字"] == chapter_train(texts, 60, "逐字").get_vocab()
    chinese = lambda pieces: {p.removeprefix("##") for p in pieces if any("\u4e00" <= c <= "\u9fff" for c in p)}
    assert {len(piece) for piece in chinese(vocabularies["逐字"])} == {1}
    assert "##北京" in vocabularies["分句"] or "北京" in vocabularies["分句"]
    words = chapter_train(["北京 大学", "大学 生"] * 3, 60, "分词").get_vocab()
    assert "大学" in words and not any("京大" in piece for piece in words)


def test_one_strange_character_swallows_its_clause_only_where_characters_are_not_cut(chapter):
    texts = ["北京大学在北京。"] * 3
    chapter["as_characters"] = [[], list("北京鑫大学。")]
    lost = {cut: chapter["encoded"](chapter["train_wordpiece"](texts, 60, cut), ["北京鑫大学。"])[-1] for cut in ("逐字", "分句")}
    assert lost == {"逐字": f"{100 / 6:.2f}%", "分句": f"{500 / 6:.2f}%"}
    assert chapter["looked_up"](["北京", "。"], ["北京", "鑫大学", "。"]) == ["7", "50.0", "33.33%", "50.00%"]


# --- attention, heads, masks --------------------------------------------------------------------------------------------


def test_attention_equals_keras_and_the_loop(chapter, generator):
    query, key, value = generator.normal(size=(3, 2, 4, 7, 5))  # each (b, h, t, d)
    expected = ops.dot_product_attention(*(np.swapaxes(part, 1, 2) for part in (query, key, value)))  # (b, t, h, d)
    ours = chapter["attention"](query, key, value)
    np.testing.assert_allclose(ours, np.swapaxes(expected, 1, 2), atol=1e-6)
    np.testing.assert_allclose(chapter["attention_loop"](query[0, 0], key[0, 0], value[0, 0]), ours[0, 0], atol=1e-12)
    np.testing.assert_allclose(chapter["softmax"](1e4 * query), special.softmax(1e4 * query, -1), atol=1e-12)


def test_scores_have_unit_deviation_only_when_scaled(chapter):
    for d in (16, 256):
        scaled, raw = chapter["saturation"](d, d**-0.5), chapter["saturation"](d, 1.0)
        assert scaled[0] == pytest.approx(1.0, abs=0.05) and raw[0] == pytest.approx(math.sqrt(d), rel=0.05)
    assert raw[2] < 0.7 * scaled[2] and raw[1] > scaled[1]


def test_slopes_of_the_softmax_equal_automatic_differentiation(chapter, monkeypatch):
    scores = np.random.default_rng(1).normal(size=(1, 6))
    variable = tf.Variable(scores[0])
    with tf.GradientTape() as tape:
        weights = tf.nn.softmax(variable)
    expected = np.linalg.norm(tape.jacobian(weights, variable))

    class Fixed:  # saturation() draws query and key: a unit query and these scores as keys
        def __init__(self):
            self.draws = [np.ones((1, 1, 1)), scores[:, :, None]]

        def normal(self, size):
            return self.draws.pop(0)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Fixed())
    assert chapter["saturation"](1, 1.0, trials=1, keys=6)[2] == pytest.approx(expected, abs=1e-12)


def test_splitting_heads_is_undone_by_merging_and_keeps_the_halves_apart(chapter, generator):
    chapter.update(heads=2, width=6)
    x = generator.normal(size=(4, 5, 6))
    parts = chapter["split_heads"](x)
    np.testing.assert_array_equal(parts[:, 1], x[:, :, 3:])
    np.testing.assert_array_equal(chapter["merge_heads"](parts), x)


def test_masks_say_who_may_look_where(chapter):
    causal = chapter["causal_mask"](4)
    assert all((causal[i, j] == 0) == (j <= i) for i, j in np.ndindex(4, 4))
    padding = chapter["padding_mask"](np.array([[1, 1, 0]]))
    np.testing.assert_array_equal(padding == 0, [[[[True, True, False]]]])
    weights = chapter["softmax"](np.zeros((4, 4)) + causal)
    np.testing.assert_array_equal(weights[np.triu_indices(4, 1)], 0.0)


# --- residual, feed-forward, positions ----------------------------------------------------------------------------------


def test_layer_norm_equals_keras(chapter, generator):
    x, gain, bias = generator.normal(2, 3, (4, 8)), generator.normal(size=8), generator.normal(size=8)
    judge = keras.layers.LayerNormalization(epsilon=1e-3, dtype="float64")
    judge.build(x.shape)
    judge.set_weights([gain, bias])
    np.testing.assert_allclose(chapter["layer_norm"](x, gain, bias, 1e-3), judge(x), atol=1e-12)


def test_similarity_is_one_for_equal_and_zero_for_orthogonal_rows(chapter, generator):
    assert chapter["similarity"](np.ones((3, 2)) * [[1], [2], [5]]) == pytest.approx(1.0)
    assert chapter["similarity"](np.eye(4)) == pytest.approx(0.0)
    x = generator.normal(size=(3, 5))
    pairs = [x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for i in range(3) for j in range(3) if i != j]
    assert chapter["similarity"](x) == pytest.approx(np.mean(pairs))


def test_pure_attention_makes_tokens_alike_and_residuals_delay_it(chapter):
    alone, residual, normalised = (chapter["deep"](*switches, layers=6)[0] for switches in ((0, 0), (1, 0), (1, 1)))
    assert alone[3] > 0.99 > residual[3] and normalised[3] < 0.99
    np.testing.assert_allclose(chapter["deep"](True, True, layers=3)[1], 1.0, atol=1e-6)


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_new"])
def test_activations_equal_keras(chapter, name):
    from utils.encoder import ACTIVATIONS

    z = np.linspace(-5, 5, 41)
    np.testing.assert_allclose(chapter["ACTIVATIONS"][name](z), ACTIVATIONS[name](z), atol=1e-7)


def test_sinusoids_follow_the_formula_and_their_products_depend_on_distance(chapter):
    table = chapter["sinusoids"](9, 6)
    for t, i in np.ndindex(9, 3):
        angle = t / 10000 ** (2 * i / 6)
        np.testing.assert_allclose(table[t, 2 * i : 2 * i + 2], [math.sin(angle), math.cos(angle)], atol=1e-12)
    products = table @ table.T
    assert all(np.ptp(np.diagonal(products, k)) < 1e-12 for k in range(9))
    np.testing.assert_allclose(np.diagonal(chapter["cosines"](table, 3 * table)), 1.0)


# --- the arena ----------------------------------------------------------------------------------------------------------


def test_the_arena_asks_for_the_symbol_before(chapter, generator):
    ids, answers = chapter["arena_batch"](generator, 8)
    assert ids.shape == (8, 6) and ids.max() < 5
    np.testing.assert_array_equal(answers[:, 1:], ids[:, :-1])


def test_the_arena_model_is_the_attention_of_the_chapter(chapter, generator):
    variables = chapter["arena_variables"]("学来的", 8, seed=1)
    ids, _ = chapter["arena_batch"](generator, 3)
    values = {name: variable.numpy().astype("float64") for name, variable in variables.items()}
    x = values["table"][ids] + values["position"][:6]
    mixed = chapter["attention"](*(x @ values[part] for part in ("query", "key", "value"))) @ values["output"]
    np.testing.assert_allclose(chapter["arena_logits"](variables, ids, 8**-0.5), mixed, atol=1e-4)
    assert not chapter["arena_variables"]("正弦", 8, 1)["position"].trainable
    assert not chapter["arena_variables"]("无", 8, 1)["position"].numpy().any()


def test_the_arena_gradient_equals_differences(chapter, generator):
    variables = chapter["arena_variables"]("学来的", 4, seed=1)
    ids, answers = chapter["arena_batch"](generator, 4)
    slopes = chapter["arena_slopes"](variables, [variables["key"]], tf.constant(ids), tf.constant(answers), 0.5)[0]

    def loss(shift):
        variables["key"].assign_add(shift)
        logits = chapter["arena_logits"](variables, ids, 0.5).numpy().astype("float64")[:, 1:]
        variables["key"].assign_sub(shift)
        return -np.take_along_axis(special.log_softmax(logits, -1), answers[:, 1:, None], -1).mean()

    step = np.zeros((4, 4), "float32")
    step[1, 2] = 1e-2
    assert slopes[1, 2].numpy() == pytest.approx((loss(step) - loss(-step)) / 2e-2, abs=2e-3)


def test_positions_decide_the_arena(chapter):
    cases = {place: chapter["arena_case"](place, True, 16, 3e-2, seed=1, steps=60)["test"] for place in ("无", "学来的")}
    assert cases["学来的"] > 0.8 > 0.5 > cases["无"], "without positions nobody can know who comes before"


def test_averages_leave_out_other_cases(chapter):
    rows = [{"rate": 1, "test": 0.5}, {"rate": 1, "test": 0.7}, {"rate": 2, "test": 0.0}]
    assert chapter["average"](rows, "test", rate=1) == pytest.approx((60.0, np.std([50, 70], ddof=1)))
    assert all(np.isnan(chapter["average"](rows, "test", rate=3)))


# --- the whole encoder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIXTURES)
def test_blocks_equal_hugging_face(chapter, root, name):
    expected = with_weights(chapter, root, name)
    states, mask = expected["hidden_states"].astype("float64"), chapter["padding_mask"](expected["attention_mask"])
    real = expected["attention_mask"].astype(bool)
    for layer in range(2):
        ours = chapter["block"](states[layer], layer, mask)
        np.testing.assert_allclose(ours[real], states[layer + 1][real], atol=2e-5)
    first = expected["token_type_ids"] == 0  # the chapter's sentences have one segment
    np.testing.assert_allclose(chapter["embed"](expected["input_ids"])[first], states[0][first], atol=1e-5)


def test_causal_blocks_equal_hugging_face(chapter, root):
    expected = with_weights(chapter, root, "causal_lm")
    states, real = expected["hidden_states"].astype("float64"), expected["attention_mask"].astype(bool)
    mask = np.minimum(chapter["padding_mask"](expected["attention_mask"]), chapter["causal_mask"](states.shape[2]))
    np.testing.assert_allclose(chapter["block"](states[0], 0, mask)[real], states[1][real], atol=2e-5)


def test_encoding_by_hand_gives_every_layer(chapter, root):
    expected = with_weights(chapter, root, "backbone")
    states = chapter["encode_by_hand"](expected["input_ids"])
    assert len(states) == 3
    np.testing.assert_array_equal(states[2], chapter["block"](chapter["block"](states[0], 0), 1))
    assert np.abs(chapter["embed"](expected["input_ids"], positions=False) - states[0]).max() > 0.1


def test_parameters_are_counted_as_keras_counts_them(chapter):
    for shape in ({"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 20}, {}):
        config = EncoderConfig(vocab_size=50, num_hidden_layers=3, **shape)
        assert chapter["count_parameters"](config) == Encoder(config).count_params()


def test_cloze_hides_ordinary_pieces_only_and_keeps_the_answers(chapter, root):
    tokenizer = checkpoints.load_tokenizer(root / "tests" / "fixtures" / "bert" / "backbone")
    chapter["book_tokenizer"] = tokenizer
    texts = ["我你他们的是在中国北京上海"] * 20 + ["我你"]
    batch, answers = chapter["cloze_batch"](texts, length=12)
    whole = tokenizer(texts, truncation=True, max_length=12, padding="max_length", return_tensors="np")["input_ids"]
    hidden = batch["input_ids"].ravel() == tokenizer.mask_token_id
    np.testing.assert_array_equal(np.flatnonzero(hidden), batch["positions"])
    np.testing.assert_array_equal(whole.ravel()[hidden], answers)
    np.testing.assert_array_equal(whole.ravel()[~hidden], batch["input_ids"].ravel()[~hidden])
    assert not np.isin(answers, tokenizer.all_special_ids).any() and 0.05 < len(answers) / 202 < 0.3


def test_shares_of_attention_equal_a_count_by_hand(chapter):
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
    previous = np.zeros((2, 1, 4, 4))
    previous[:, 0] = np.eye(4, k=-1)
    previous[:, 0, 0, 0] = 1.0
    found = chapter["shares"](previous, mask)[0]
    np.testing.assert_allclose(found, [(3 / 4 + 2 / 3) / 2, (1 / 4 + 1 / 3) / 2, 0.0, (2 / 4 + 2 / 3) / 2])


# --- cost ---------------------------------------------------------------------------------------------------------------


def test_operations_equal_those_of_the_matrix_products_in_a_block(chapter, root):
    with_weights(chapter, root, "backbone")
    chapter["WEIGHTS"].update({name: np.zeros((rows, columns)) for name, rows, columns in (
        ("encoder.layer.0.intermediate.dense.weight", 128, 32), ("encoder.layer.0.output.dense.weight", 32, 128))})
    chapter["WEIGHTS"]["encoder.layer.0.intermediate.dense.bias"] = np.zeros(128)
    counted = []

    class Counting(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            plain = [np.asarray(part) if isinstance(part, Counting) else part for part in inputs]
            options.pop("out", None)  # the caller takes the result anyway
            result = getattr(ufunc, method)(*plain, **options)
            if ufunc is np.matmul:
                counted.append(2 * result.size * plain[0].shape[-1])
            return result.view(Counting) if isinstance(result, np.ndarray) else result

    chapter["block"](np.random.default_rng(0).normal(size=(10, 32)).view(Counting), 0)
    assert sum(counted) == chapter["block_flops"](10, 32)


def test_the_fit_finds_the_coefficients_again(chapter):
    lengths = np.array([64, 128, 256, 512, 1024])
    found = chapter["fit_cost"](lengths, 1e-3 + 2e-5 * lengths + 3e-8 * lengths**2.0)
    np.testing.assert_allclose(found, [1e-3, 2e-5, 3e-8], rtol=1e-6)
    assert (chapter["fit_cost"](lengths, 2e-5 * lengths - 1e-4) >= 0).all()


def test_attention_memory_is_the_size_of_the_tensors(chapter):
    assert chapter["attention_bytes"](7, 3, layers=2, batch=5) == np.zeros((2, 5, 3, 7, 7), "float32").nbytes


# --- exercises ----------------------------------------------------------------------------------------------------------


def test_checks_accept_the_solutions_and_refuse_the_rest(chapter, capsys):
    window, share, length_for, chunked = (chapter[name] for name in ("window_mask", "quadratic_share", "length_for", "chunked_attention"))
    assert chapter["check_1"](window) and chapter["check_2"](share, length_for) and chapter["check_3"](chunked)
    empty = lambda *arguments: None
    assert not chapter["check_1"](empty) and not chapter["check_2"](empty, empty) and not chapter["check_3"](empty)
    assert not chapter["check_1"](lambda length, reach: window(length, reach + 1))
    assert not chapter["check_2"](lambda length, width: length / (length + width), length_for)
    assert not chapter["check_3"](lambda query, key, value, chunk: chapter["attention"](query, key, value)), "uses all keys at once"
    assert not chapter["check_3"](lambda query, key, value, chunk: chunked(query, key, value, 100)), "takes chunks too large"
