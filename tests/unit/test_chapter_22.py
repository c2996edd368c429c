"""The functions that chapter 22 defines, against sacreBLEU, Keras, scikit-learn, brute force and numbers counted by hand."""

import dataclasses
import functools
import itertools
import re
from collections import Counter, namedtuple
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from sacrebleu.metrics import BLEU, CHRF
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from tests.unit.notebook_code import definitions, run_with_text
from utils import batching, generation, training
from utils.corpora import interface_strings
from utils.decoder import Decoder, EncoderDecoder
from utils.encoder import Encoder, EncoderConfig

Pair = namedtuple("Pair", "source target marked marked_target values")
CONSTANTS = ("PAD", "SPECIALS", "WORD", "LONGEST_MEMORY", "SMOOTHING", "bleu")
SENTENCES = [("Open file", "打开文件"), ("Open the folder", "打开文件夹"), ("Delete file <1>", "删除文件 <1>"),
             ("Delete the folder", "删除文件夹"), ("Rename file", "重命名文件"), ("Save all", "全部保存")]


def pair(source, target):
    marked, values = interface_strings.protect(source)
    return Pair(source, target, marked, interface_strings.protect(target, values)[0], values)


@pytest.fixture
def chapter():
    names = {"np": np, "tf": tf, "re": re, "functools": functools, "Counter": Counter, "keras": keras, "ops": ops, "Pair": Pair,
             "generation": generation, "batching": batching, "training": training, "interface_strings": interface_strings,
             "BLEU": BLEU, "CHRF": CHRF, "TfidfVectorizer": TfidfVectorizer, "Regex": Regex, "Tokenizer": Tokenizer,
             "models": models, "pre_tokenizers": pre_tokenizers, "trainers": trainers, "Encoder": Encoder,
             "EncoderConfig": EncoderConfig, "Decoder": Decoder, "EncoderDecoder": EncoderDecoder, "dataclasses": dataclasses,
             "bleu": BLEU(tokenize="zh"), "chrf": CHRF(), "PAD": 0, "UNK": 1, "BOS": 2, "EOS": 3, "SMOOTHING": 0.1,
             "LONGEST_MEMORY": 1000, "recipe": SimpleNamespace(width=16, layers=1, dropout=0.0, vocabulary=200),
             "WORD": re.compile(r"<\d+>|[A-Za-z]+|[^\sA-Za-z]"),
             "SPECIALS": ["[PAD]", "[UNK]", "[BOS]", "[EOS]"] + [f"<{i}>" for i in range(1, 16)]}
    found = definitions("4-applications/22-translation", names)
    found["train"] = [pair(*sentence) for sentence in SENTENCES]
    found["tokenizer"] = found["train_tokenizer"](found["train"], 200)
    found["encoded_train"] = found["encode"](found["train"])
    return found


@pytest.fixture
def model(chapter):
    return chapter["build_model"](seed=5)


# --- search ---


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
def test_exhaustive_search_lists_every_sentence_once_with_its_probability(chapter, alpha):
    world = chapter["toy_world"](3)
    found = chapter["exhaustive_search"](world, 0, 3, alpha)
    expected = {}
    for words in itertools.chain([()], *(itertools.product([1, 2, 3], repeat=n) for n in (1, 2, 3))):
        total = sum(world(words[:i])[word] for i, word in enumerate(words)) + (world(words)[0] if len(words) < 3 else 0.0)
        expected[words] = total, total / ((5 + min(len(words) + 1, 3)) / 6) ** alpha
    assert len(found) == len(expected) == 40
    for words, total, score in found:
        assert (total, score) == pytest.approx(expected[words])
    assert [score for *_, score in found] == sorted((score for *_, score in found), reverse=True)
    assert sum(np.exp(total) for _, total, _ in found) == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
def test_a_wide_beam_equals_exhaustive_search_and_one_beam_is_greedy(chapter, alpha):
    for seed in range(20):
        world = chapter["toy_world"](seed)
        wide, every = chapter["slow_beam_search"](world, 0, 1000, 4, alpha), chapter["exhaustive_search"](world, 0, 4, alpha)
        assert [item[0] for item in wide] == [item[0] for item in every]
        assert [item[2] for item in wide] == pytest.approx([item[2] for item in every])
        words = ()
        while len(words) < 4 and (best := int(np.argmax(world(words)))):
            words += (best,)
        assert chapter["slow_beam_search"](world, 0, 1, 4, alpha)[0][0] == words


def test_narrow_beams_do_miss_the_best_sentence_in_some_worlds(chapter):
    worlds = [chapter["toy_world"](seed) for seed in range(100)]
    best = [chapter["exhaustive_search"](world, 0, 5)[0][0] for world in worlds]
    hits = [np.mean([chapter["slow_beam_search"](world, 0, beams, 5)[0][0] == words for world, words in zip(worlds, best)])
            for beams in (1, 4, 64)]
    assert hits[0] < hits[1] < hits[2]


def test_the_slow_search_without_a_cache_equals_the_fast_one_with_it(chapter, model):
    for source, _ in chapter["encoded_train"][:3]:
        for beams, alpha in ((1, 0.0), (3, 0.6)):
            slow = chapter["slow_beam_search"](chapter["from_model"](model, source), 3, beams, 2 * len(source) + 6, alpha)
            fast = chapter["translate"](model, [(source, source)], beams, alpha)[0]
            assert [words for words, _, _ in slow] == [hypothesis.pieces for hypothesis in fast]
            np.testing.assert_allclose([s for *_, s in slow], [h.score for h in fast], atol=1e-3)


def test_translations_come_in_the_order_of_the_sources_however_they_are_batched(chapter, model):
    encoded = [(source[:2], target) for source, target in chapter["encoded_train"]]  # of one length: the room is the same
    together = chapter["translate"](model, encoded, 2, at_once=64)
    apart = [chapter["translate"](model, [one], 2)[0] for one in encoded]
    assert [a[0].pieces for a in together] == [a[0].pieces for a in apart]
    assert len({a[0].pieces for a in together}) > 1


# --- scores ---


def test_score_is_sacrebleu_on_texts_with_their_placeholders_back(chapter):
    pairs = [pair("Delete %s", "删除 %s 文件"), pair("Open it now", "现在打开它吧"), pair("Move %s to %d", "把 %s 移到 %d 处")]
    outputs = ["删除 <1> 的文件", "现在打开吧", "移到 <2> 处"]
    found = chapter["score"](outputs, pairs)
    texts, references = ["删除 %s 的文件", "现在打开吧", "移到 %d 处"], [[p.target for p in pairs]]
    assert found["bleu"] == BLEU(tokenize="zh").corpus_score(texts, references).score
    assert found["chrf"] == CHRF().corpus_score(texts, references).score
    assert found["intact"] == 0.5


def test_my_bleu_of_the_exercise_is_sacrebleu(chapter):
    random = np.random.default_rng(0)
    references = [["甲乙丙丁"[i] for i in random.integers(0, 4, n)] for n in (7, 9, 12, 5)]
    hypotheses = [row[: len(row) - 1] + ["戊"] + row[-2:] for row in references]
    expected = BLEU(tokenize="none").corpus_score([" ".join(r) for r in hypotheses], [[" ".join(r) for r in references]]).score
    assert chapter["my_bleu"](hypotheses, references) == pytest.approx(expected)
    short = [row[:4] for row in references]
    expected = BLEU(tokenize="none").corpus_score([" ".join(r) for r in short], [[" ".join(r) for r in references]]).score
    assert chapter["my_bleu"](short, references) == pytest.approx(expected)


# --- baselines ---


def test_the_memory_returns_the_nearest_source_by_cosine(chapter):
    queries = [pair("Open file now", ""), pair("Delete every folder", "")]
    found, similarity = chapter["translation_memory"](chapter["train"])(queries)
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    fold = lambda text: " ".join(word.lower() for word in text.split())
    stored = vectorizer.fit_transform([fold(p.marked) for p in chapter["train"]]).toarray()
    asked = vectorizer.transform([fold(p.marked) for p in queries]).toarray()
    cosine = asked @ stored.T / np.outer(np.linalg.norm(asked, axis=1), np.linalg.norm(stored, axis=1))
    assert found.tolist() == cosine.argmax(axis=1).tolist() == [0, 3]
    np.testing.assert_allclose(similarity, cosine.max(axis=1), atol=1e-9)


def test_the_dictionary_maximises_dice_counted_by_hand(chapter):
    pairs = chapter["train"]
    dictionary = chapter["learn_dictionary"](pairs)
    assert dictionary["delete"] == "删除文件" and dictionary["folder"] == "文件夹" and dictionary["rename"] == "重命名文"
    assert dictionary["open"] == "打开文件"  # always together, like 打开: of equal ones the longer
    assert dictionary["file"] == "文件"  # 文件 in five pairs, three with file: 6/8; 件 likewise, but shorter
    assert chapter["word_by_word"](dictionary, pair("Delete %s folder xyz", "")) == "删除文件<1>文件夹xyz"


def test_fold_lowers_plain_words_and_leaves_names(chapter):
    assert chapter["fold"]("Open HTML in JupyterLab with Python") == "open HTML in JupyterLab with python"


# --- tokens and training ---


def test_tokens_join_to_the_text_and_marks_are_never_cut(chapter):
    tokenizer = chapter["tokenizer"]
    for text in ("打开文件夹", "删除文件 <1>", "delete file <1>", "保存 all 文件"):
        ids = tokenizer.encode(chapter["mark_words"](text)).ids
        assert 1 not in ids and chapter["write_out"](ids) == text
    assert tokenizer.encode("<12>").tokens == ["<12>"]
    assert [tokenizer.token_to_id(name) for name in ("[PAD]", "[UNK]", "[BOS]", "[EOS]")] == [0, 1, 2, 3]


def test_words_are_marked_where_they_begin_and_only_there(chapter):
    assert chapter["mark_words"]("open file2 与 JupyterLab, a_b <1> 3D") == "▁open ▁file2 与 ▁JupyterLab, ▁a_b <1> 3D"


def test_training_the_tokenizer_again_gives_the_same_tokens(chapter):
    rows = interface_strings.interface_strings()["train"][:1500]
    pairs = [pair(*row) for row in zip(rows["source"], rows["target"])]
    first, second = (chapter["train_tokenizer"](pairs, 1500).get_vocab() for _ in range(2))
    assert first == second


def test_a_batch_shifts_the_target_by_one_and_pads_both_sides(chapter):
    batch = chapter["make_batch"]([(np.array([7, 8, 9]), np.array([10, 3])), (np.array([7]), np.array([11, 12, 3]))])
    assert batch["input_ids"].tolist() == [[7, 8, 9], [7, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["decoder_input_ids"].tolist() == [[2, 10, 3], [2, 11, 12]]
    assert batch["labels"].tolist() == [[10, 3, 0], [11, 12, 3]]
    assert batch["weights"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_the_loss_is_kerass_smoothed_cross_entropy_over_real_places(chapter, model):
    batch = chapter["make_batch"](chapter["encoded_train"][:3])
    logits, size = model(batch, training=False), chapter["tokenizer"].get_vocab_size()
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction=None)(
        keras.utils.to_categorical(batch["labels"], size), logits)
    expected = np.sum(np.array(expected) * batch["weights"]) / batch["weights"].sum()
    assert float(chapter["smoothed_loss"](model, batch, False)) == pytest.approx(expected, rel=1e-5)


def test_teacher_scores_are_the_mean_over_all_words_of_all_sentences(chapter, model):
    encoded = chapter["encoded_train"]
    found = chapter["teacher_scores"](model, encoded)
    losses, hits = [], []
    for source, target in encoded:  # one sentence at a time: no padding at all
        logits = np.array(model({"input_ids": source[None], "attention_mask": np.ones((1, len(source)), np.int32),
                                 "decoder_input_ids": np.array([[2, *target[:-1]]], np.int32)}))[0].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses += list(-logs[np.arange(len(target)), target])
        hits += list(logits.argmax(-1) == target)
    assert found["score"] == pytest.approx(-np.mean(losses), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(hits))


def test_attention_on_marks_is_read_at_the_step_that_writes_the_mark(chapter):
    mark = chapter["tokenizer"].token_to_id("<1>")
    encoded = [(np.array([20, mark, 21]), np.array([30, mark, 3]))]
    weights = np.zeros((1, 2, 3, 3))
    weights[0, 0, 1], weights[0, 1, 1] = [0.2, 0.7, 0.1], [0.3, 0.5, 0.2]
    fake = SimpleNamespace(cross_attention=lambda batch: [weights])
    np.testing.assert_allclose(chapter["mark_attention"](fake, encoded), [[0.6, 1 / 3]])


def test_sampling_at_temperature_one_follows_the_distribution(chapter):
    world, random = chapter["toy_world"](11), np.random.default_rng(1)
    draws = Counter(chapter["sample"](world, 0, 3, 1.0, random) for _ in range(3000))
    exact = {words: np.exp(total) for words, total, _ in chapter["exhaustive_search"](world, 0, 3)}
    assert sum(exact.values()) == pytest.approx(1)
    assert max(abs(draws[words] / 3000 - share) for words, share in exact.items()) < 0.04


def test_the_mix_takes_the_memory_from_the_threshold_on(chapter):
    assert chapter["mix"](["a", "b", "c"], ["x", "y", "z"], [0.5, 0.8, 0.9], 0.8) == ["a", "y", "z"]


# --- the reader's own input ---


@pytest.mark.parametrize("text, printed", [
    ("", "是空的"), ("  ", "是空的"), ("Open file", "翻译记忆"), ("囍", "翻译记忆"), ("Open %s" * 400, "只译前 200 个"),
])
def test_own_text_may_be_empty_unknown_or_very_long(chapter, model, capsys, text, printed):
    chapter |= {"model": model, "lookup": chapter["translation_memory"](chapter["train"])}
    run_with_text("4-applications/22-translation", "own-text", text, chapter)
    assert printed in capsys.readouterr().out
