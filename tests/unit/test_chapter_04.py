"""The functions that chapter 4 defines, pulled out of the notebook and compared with references on tiny inputs."""

import functools
import math
import tempfile
import unicodedata

import keras
import numpy as np
import pytest

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, corpora, metrics, pretraining, profiles, training
from utils.book import pretrain
from utils.encoder import Encoder, EncoderConfig
from utils.heads import LanguageModel

CONSTANTS = ("COLUMNS", "RATES", "EPOCHS", "VARIANTS", "ABLATION_STEPS")
TEXTS = ["今天天气很好，我们去公园玩。", "我们明天再去公园，今天不去。", "天气不好，我们就不去公园玩了。"] * 6


@pytest.fixture
def chapter():
    """Namespace with every function and plain constant of the notebook; no cell is executed."""
    modules = (batching, checkpoints, corpora, functools, keras, metrics, pretrain, pretraining, profiles,
               tempfile, training, unicodedata)
    namespace = {module.__name__.rpartition(".")[2]: module for module in modules} | {"np": np}
    return definitions("1-concepts/04-pretraining", namespace, CONSTANTS)


@pytest.fixture(scope="module")
def stream():
    texts = [unicodedata.normalize("NFKC", text) for text in TEXTS]
    return pretraining.TextStream(texts, pretraining.build_vocabulary(texts, min_count=1))


def make_model(stream, **changes):
    keras.utils.set_random_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
             "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5}
    return LanguageModel(Encoder(EncoderConfig(vocab_size=len(stream.vocabulary), **small | changes)))


@pytest.fixture(scope="module")
def tokenizer(stream, tmp_path_factory):
    folder = checkpoints.save(make_model(stream), tmp_path_factory.mktemp("tiny"), vocabulary=stream.vocabulary)
    return checkpoints.load_tokenizer(folder)


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# --- counting and scoring -----------------------------------------------------------------------------------------------


def test_count_changes_sorts_places_as_a_loop_does(chapter):
    random = np.random.default_rng(0)
    sequences = random.integers(pretraining.FIRST_WORD, 60, (8, 40)).astype(np.int32)
    batch = pretraining.mask_batch(sequences, random, 0.3, 60)
    counts = [0, 0, 0]
    for place, label in zip(batch["positions"], batch["labels"]):
        shown = batch["input_ids"].reshape(-1)[place]
        counts[0 if shown == pretraining.MASK else 2 if shown == label else 1] += 1
    assert chapter["count_changes"](batch).tolist() == counts


def test_neighbours_are_those_of_the_largest_cosine(chapter, stream):
    chapter["vocabulary"] = stream.vocabulary
    table = np.random.default_rng(1).normal(size=(len(stream.vocabulary), 6))
    found = chapter["neighbours"](table, "天", count=3)
    centre = table[stream.vocabulary.index("天")]
    cosine = {piece: table[i] @ centre / np.linalg.norm(table[i]) / np.linalg.norm(centre)
              for i, piece in enumerate(stream.vocabulary) if i >= pretraining.FIRST_WORD and piece != "天"}
    assert found == sorted(cosine, key=cosine.get, reverse=True)[:3]


def test_tokens_at_adds_up_short_and_long_batches(chapter):
    facts = {"steps": 20, "long_every": 4, "batch": 3, "length": 7, "long_batch": 2, "long_length": 11}
    seen = 0
    for step in range(20):
        seen += 2 * 11 if step in (3, 7, 11, 15, 19) else 3 * 7
        assert chapter["tokens_at"](step + 1, facts) == seen


def test_hide_places_hides_the_share_asked_for_and_no_special_piece(chapter, tokenizer):
    everything = unicodedata.normalize("NFKC", "".join(TEXTS))
    long = [everything, everything[15:], "短"]
    hidden = chapter["hide_places"](tokenizer, long, length=32, share=0.25)
    assert hidden["input_ids"].shape == (2, 32)
    shown = hidden["input_ids"].reshape(-1)[hidden["positions"]]
    assert (shown == tokenizer.mask_token_id).all() and len(shown) == int(0.25 * 2 * 30)
    assert not np.isin(hidden["labels"], tokenizer.all_special_ids).any()
    assert (hidden["input_ids"] == tokenizer.mask_token_id).sum() == len(shown)


def test_judge_in_batches_equals_the_whole_at_once(chapter, tokenizer, stream):
    model = make_model(stream)
    hidden = chapter["hide_places"](tokenizer, ["".join(TEXTS)] * 5, length=24)
    losses, hits = chapter["judge"](model, hidden, rows=2)
    logits = np.array(model({"input_ids": hidden["input_ids"]})).reshape(-1, len(stream.vocabulary))[hidden["positions"]]
    wanted = -log_softmax(logits)[np.arange(len(logits)), hidden["labels"]]
    np.testing.assert_allclose(losses, wanted, atol=1e-4)
    np.testing.assert_array_equal(hits, logits.argmax(-1) == hidden["labels"])


def test_every_kind_of_character_is_named(chapter):
    chapter["han_rank"] = {"的": 0, "乙": 700, "丙": 2500} | {f"字 {i}": i for i in range(3000)}
    kind_of = chapter["kind_of"]
    assert [kind_of(piece) for piece in ("的", "乙", "丙", "龘", "##7", "3", "##a", "b", "。", "%", "±")] == [
        "最常见的 500 字", "第 501–2000 字", "更罕见的汉字", "更罕见的汉字", "数字", "数字", "拉丁字母", "拉丁字母",
        "标点与符号", "标点与符号", "标点与符号"]


def test_fill_gives_the_best_pieces_with_their_softmax(chapter, tokenizer, stream):
    model = make_model(stream)
    first, second = chapter["fill"](model, tokenizer, "今天天[MASK]很好，[MASK]们去。", best=3)
    ids = np.array([tokenizer("今天天[MASK]很好,[MASK]们去。")["input_ids"]], np.int32)  # NFKC makes the comma narrow
    probabilities = np.exp(log_softmax(model({"input_ids": ids})[0]))
    for found, place in zip((first, second), np.flatnonzero(ids[0] == tokenizer.mask_token_id)):
        order = np.argsort(-probabilities[place])[:3]
        assert [piece for piece, _ in found] == [stream.vocabulary[i] for i in order]
        np.testing.assert_allclose([p for _, p in found], probabilities[place][order], atol=1e-5)


# --- causal model -------------------------------------------------------------------------------------------------------


def test_influence_is_zero_before_the_change_for_a_causal_model_only(chapter, stream):
    ids = stream.sequences(np.random.default_rng(0), 1, 12)
    causal = chapter["influence"](make_model(stream, is_decoder=True), ids, 5, pretraining.FIRST_WORD)
    both = chapter["influence"](make_model(stream), ids, 5, pretraining.FIRST_WORD)
    assert causal.shape == (12,) and causal[:5].max() == 0 and causal[5:].min() > 0
    assert both[:5].min() > 0


def test_causal_loss_is_the_mean_over_ordinary_next_pieces(chapter, stream):
    model = make_model(stream, is_decoder=True)
    batch = chapter["causal_batches"](stream, 3, 16)(4)
    log_probabilities = log_softmax(model(batch))
    losses = [-log_probabilities[row, place, batch["input_ids"][row, place + 1]]
              for row in range(3) for place in range(15) if batch["input_ids"][row, place + 1] >= pretraining.FIRST_WORD]
    assert float(chapter["causal_loss"](model, batch, training=False)) == pytest.approx(np.mean(losses), abs=1e-5)


def test_the_bigram_model_is_a_distribution_and_equals_counting_by_hand(chapter):
    train, unigram, strength = np.array([0, 1, 2, 1, 2, 2, 0, 1]), np.array([0.25, 0.375, 0.375]), 10
    for before in range(3):
        pairs = np.array([[before, after] for after in range(3)])
        losses = [chapter["bigram_losses"](train, pair, unigram, strength)[0] for pair in pairs]
        assert np.exp(-np.array(losses)).sum() == pytest.approx(1)
        for after, loss in enumerate(losses):
            together = sum(1 for a, b in zip(train, train[1:]) if (a, b) == (before, after))
            alone = sum(1 for a in train[:-1] if a == before)
            wanted = (together + strength * unigram[after]) / (alone + strength)
            assert loss == pytest.approx(-math.log(wanted))


def test_generate_draws_from_the_models_next_piece(chapter, stream, tokenizer):
    model = make_model(stream, is_decoder=True)
    text = chapter["generate"](model, tokenizer, "今天", length=5, seed=3)
    assert text.startswith("今天") and len(text) >= 7
    random, ids = np.random.default_rng(3), tokenizer("今天")["input_ids"][:-1]
    for _ in range(5):
        row = np.array(model({"input_ids": np.array([ids], np.int32)})[0, -1], np.float64)[pretraining.FIRST_WORD:]
        p = np.exp(row - row.max())
        p = np.concatenate([np.zeros(pretraining.FIRST_WORD), p])
        ids.append(int(random.choice(len(p), p=p / p.sum())))
    assert text == "".join(tokenizer.convert_ids_to_tokens(ids[1:])).replace("##", "")


# --- downstream ---------------------------------------------------------------------------------------------------------


def test_the_best_choice_is_the_one_of_the_highest_validation_score(chapter):
    rows = [{"task": "ner", "start": start, "rate": rate, "epochs": epochs, "validation": score}
            for start, rate, epochs, score in (("random", 1e-3, 6, 0.2), ("random", 3e-4, 18, 0.3), ("shipped", 1e-3, 18, 0.6),
                                               ("shipped", 1e-3, 6, 0.5))]
    assert chapter["best_choice"](rows, "ner", "random") == (3e-4, 18)
    assert chapter["best_choice"](rows, "ner", "shipped") == chapter["best_choice"](rows, "ner", "step-225") == (1e-3, 18)
    assert chapter["best_choice"](rows, "reviews", "random") == (chapter["RATES"][0], chapter["EPOCHS"]["reviews"][0])


def test_a_variant_of_the_recipe_changes_what_its_name_says(chapter):
    known = {field: getattr(pretraining.Recipe(), field) for field in ("ppmi", "sinusoids", "readers", "scale", "learning_rate")}
    assert chapter["VARIANTS"]["完整配方"] == {}
    for name, changes in chapter["VARIANTS"].items():
        assert all(known[field] != value for field, value in changes.items()), name
    assert set(chapter["VARIANTS"]["朴素配方"]) == set(known) - {"learning_rate"}


def test_training_operations_count_two_passes_back_and_one_forward(chapter):
    layers, width, tokens = 3, 8, 5
    encoder = Encoder(EncoderConfig(vocab_size=30, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
                                    intermediate_size=4 * width))
    kernels = sum(math.prod(v.shape) for block in encoder.blocks for v in block.trainable_variables if v.name == "kernel")
    assert chapter["training_operations"](layers, width, tokens) == 3 * 2 * kernels * tokens


# --- exercises ----------------------------------------------------------------------------------------------------------


def test_the_checks_pass_the_solutions_and_refuse_common_mistakes(chapter, stream, tokenizer):
    assert chapter["check_ppmi"](chapter["ppmi_solution"])
    assert not chapter["check_ppmi"](lambda counts, power: chapter["ppmi_solution"](counts, 1.0))  # no smoothing
    assert not chapter["check_ppmi"](lambda counts, power: np.log(counts + 1))
    assert not chapter["check_ppmi"](chapter["ppmi"])
    chapter |= {"book_tokenizer": tokenizer, "both_ways": make_model(stream)}
    solution = chapter["pseudo_log_likelihood_solution"]
    assert chapter["check_pseudo"](solution)
    assert not chapter["check_pseudo"](lambda *arguments: -solution(*arguments))
    assert not chapter["check_pseudo"](lambda *arguments: solution(*arguments) / 6)  # a mean, not a sum
    assert chapter["check_whole_words"](chapter["choose_whole_words_solution"])
    assert not chapter["check_whole_words"](lambda words, limit, random: sorted(random.permutation(15)[:limit]))
    assert not chapter["check_whole_words"](lambda words, limit, random: words[0] + words[2])  # always the same
    assert not chapter["check_whole_words"](lambda words, limit, random: None)
