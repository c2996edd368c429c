"""The functions that chapter 25 defines, pulled out of the notebook and compared with references on tiny inputs."""

import ast
import functools
import hashlib
import io
import keyword
import re
import textwrap
import tokenize
from collections import Counter, defaultdict
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy import special, stats

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, encoder, generation, heads, prediction, pretraining, profiles, training
from utils.baselines import best_rates
from utils.corpora import hub
from utils.decoder import Decoder, EncoderDecoder
from utils.verdicts import DEVIATIONS, verdict

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"冬夏天比冷热好差房间干净"]
CONSTANTS = ("NGram", "ITEMS", "GROUPS", "LENGTH", "COPIED", "CHINESE")


class Tokenizer:
    """A character tokenizer with the few members that the chapter uses."""

    cls_token_id, mask_token_id = 2, 4

    def __call__(self, text, add_special_tokens=True, **_):
        if not isinstance(text, str):
            return {"input_ids": [self(one, add_special_tokens)["input_ids"] for one in text]}
        ids = [PIECES.index(c) for c in text]
        return {"input_ids": [2, *ids, 3] if add_special_tokens else ids}

    def convert_ids_to_tokens(self, ids):
        return [PIECES[i] for i in ids]


def tiny_model(is_decoder=False, seed=0):
    keras.utils.set_random_seed(seed)
    config = encoder.EncoderConfig(
        len(PIECES), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, is_decoder=is_decoder,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=32, initializer_range=0.5)
    return heads.LanguageModel(encoder.Encoder(config))


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"ast": ast, "hashlib": hashlib, "io": io, "keyword": keyword, "textwrap": textwrap, "tokenize": tokenize,
             "Counter": Counter, "defaultdict": defaultdict, "keras": keras, "np": np, "stats": stats, "prediction": prediction,
             "pretraining": pretraining, "tokenizer": Tokenizer(), "END": 3, "BANNED": [0, 1, 2, 4], "ALPHA": 0.1, "COPIES": 2}
    names |= {"functools": functools, "re": re, "batching": batching, "encoder": encoder, "generation": generation,
              "training": training, "Decoder": Decoder, "EncoderDecoder": EncoderDecoder, "verdict_on_seeds": verdict, "DEVIATIONS": DEVIATIONS,
              "best_rates": best_rates}
    names["KEPT"] = {"def", "return", "self", "NEWLINE", "INDENT", "DEDENT", "."}
    return definitions("4-applications/25-generation", names, CONSTANTS)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


# --- sampling ----------------------------------------------------------------------------------------------------------


def test_the_plain_distribution_is_the_softmax_of_scaled_logits(chapter, generator):
    logits = generator.normal(0, 4, (5, 9))
    for temperature in (0.3, 1.0, 2.5):
        found = chapter["next_distribution"](logits, temperature=temperature)
        np.testing.assert_allclose(found, special.softmax(logits / temperature, axis=1), rtol=1e-12)


def test_temperature_zero_is_the_argmax_and_huge_logits_stay_finite(chapter):
    found = chapter["next_distribution"]([[1.0, 3.0, 2.0], [1e4, -1e4, 0.0]], temperature=0)
    np.testing.assert_array_equal(found, [[0, 1, 0], [1, 0, 0]])
    assert np.isfinite(chapter["next_distribution"]([[1e4, -1e4, 0.0]], temperature=0.5, top_p=0.9)).all()


@pytest.mark.parametrize(("settings", "expected"), [
    ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0, 0]),
    ({"top_k": 1}, [1, 0, 0, 0, 0]),
    ({"top_k": 99}, [0.4, 0.3, 0.15, 0.1, 0.05]),
    ({"top_p": 0.69}, [4 / 7, 3 / 7, 0, 0, 0]),
    ({"top_p": 0.71}, [8 / 17, 6 / 17, 3 / 17, 0, 0]),
    ({"top_p": 0.01}, [1, 0, 0, 0, 0]),
    ({"top_p": 1.0}, [0.4, 0.3, 0.15, 0.1, 0.05]),
])
def test_truncated_distributions_equal_their_closed_form(chapter, settings, expected):
    order = [3, 0, 4, 1, 2]  # the places in the vocabulary must not matter
    logits = np.log([0.4, 0.3, 0.15, 0.1, 0.05])
    found = chapter["next_distribution"](logits[np.argsort(order)][None], **settings)[0]
    np.testing.assert_allclose(found[order], expected, atol=1e-12)


def test_draws_from_the_best_follow_the_renormalised_probabilities(chapter, generator):
    logits = np.log([0.5, 0.05, 0.3, 0.15])
    drawn = chapter["draw_top"](np.tile(logits, (20_000, 1)), 3, generator)
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, np.array([0.5, 0, 0.3, 0.15]) / 0.95, atol=0.015)


def test_greedy_generation_equals_a_loop_over_single_rows(chapter):
    model = tiny_model(is_decoder=True)
    prompt = [[2, 5, 7], [2, 6, 8]]
    found = chapter["generate"](model, prompt, 6, {"temperature": 0}, 1, [0, 1, 2, 4], 3)
    for row, start in zip(found, prompt):
        ids = list(start)
        for _ in range(6):
            logits = np.array(model({"input_ids": np.array([ids], np.int32)}, training=False))[0, -1]
            logits[[0, 1, 2, 4]] = -np.inf
            ids.append(int(logits.argmax()))
            if ids[-1] == 3:
                break
        assert row == [i for i in ids[3:] if i != 3]


def test_sampled_generation_follows_the_model(chapter):
    model = tiny_model(is_decoder=True)
    rows = chapter["generate"](model, [[2, 5]] * 4000, 1, {}, 0, [0, 1, 2, 4], 3)
    logits = np.array(model({"input_ids": np.array([[2, 5]], np.int32)}, training=False))[0, -1].astype(float)
    logits[[0, 1, 2, 4]] = -np.inf
    counts = np.bincount([row[0] if row else 3 for row in rows], minlength=len(PIECES)) / 4000
    np.testing.assert_allclose(counts, special.softmax(logits), atol=0.03)


# --- losses ------------------------------------------------------------------------------------------------------------


def test_batches_ask_for_each_piece_at_the_place_before_it(chapter):
    sequences = [[2, 7, 8, 5, 6, 3], [2, 7, 8, 9]]
    batch = chapter["causal_batch"](sequences, 3)
    width = batch["input_ids"].shape[1]
    wanted = [(row * width + place - 1, sequence[place]) for row, sequence in enumerate(sequences) for place in range(3, len(sequence))]
    assert list(zip(batch["positions"].tolist(), batch["labels"].tolist())) == wanted
    np.testing.assert_array_equal(batch["input_ids"][1], [2, 7, 8, 9, 0, 0])


def test_losses_equal_the_cross_entropy_of_each_text_alone(chapter):
    model, sequences = tiny_model(is_decoder=True), [[2, 7, 8, 5, 6, 3], [2, 7, 8, 9]]
    found = chapter["losses_of"](model, sequences, 3)
    for loss, sequence in zip(found, sequences):
        logits = np.array(model({"input_ids": np.array([sequence], np.int32)}, training=False))[0]
        expected = -np.mean([special.log_softmax(logits[i - 1])[sequence[i]] for i in range(3, len(sequence))])
        assert loss == pytest.approx(expected, rel=1e-4)


# --- measures ----------------------------------------------------------------------------------------------------------


def test_distinct_n_counts_unique_over_all(chapter):
    assert chapter["distinct"](["abab", "ab"], 1) == pytest.approx(2 / 6)
    assert chapter["distinct"](["abab", "ab"], 2) == pytest.approx(2 / 4)
    assert chapter["distinct"](["a"], 2) == 0.0


def test_longest_shared_run_equals_brute_force(chapter, generator):
    for _ in range(60):
        text, corpus = ("".join(generator.choice(list("abc"), size)) for size in (12, 40))
        brute = max((j - i for i in range(12) for j in range(i + 1, 13) if text[i:j] in corpus), default=0)
        assert chapter["longest_shared"](text, corpus) == brute
    assert chapter["longest_shared"]("xyz", "abc") == 0 and chapter["longest_shared"]("", "abc") == 0
    assert chapter["longest_shared"]("abcabd", "abcabd") == 6


def test_a_sample_that_shares_twenty_characters_with_the_training_text_is_not_shown(chapter, monkeypatch, capsys):
    corpus = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥"
    monkeypatch.setitem(chapter, "train_text", corpus)
    assert chapter["COPIED"] == 20
    chapter["show"](["天" + corpus[:20], "天" + corpus[:19], "天地"], [("hotel", "negative")] * 3)
    hidden, longest_allowed, free = capsys.readouterr().out.splitlines()
    assert corpus[:4] not in hidden and "20" in hidden
    assert "天" + corpus[:19] in longest_allowed and "天地" in free


def test_loops_are_repeated_runs_of_four(chapter):
    assert chapter["loops"]("很好很好很好") and not chapter["loops"]("很好很好") and not chapter["loops"]("")


def test_interval_equals_clopper_pearson(chapter):
    low, high = chapter["interval"](7, 20)
    assert low == pytest.approx(stats.beta.ppf(0.025, 7, 14)) and high == pytest.approx(stats.beta.ppf(0.975, 8, 13))


def test_ngrams_use_the_longest_context_seen(chapter):
    model = chapter["NGram"]([[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 4], [0, 5, 2, 6]], 3)
    assert model.next_counts([0, 1, 2]) == Counter({4: 2, 3: 1})
    assert model.next_counts([9, 9, 2]) == Counter({4: 2, 3: 1, 6: 1})  # only the last piece is known
    assert model.next_counts([9]) == Counter({2: 4, 1: 3, 4: 2, 3: 1, 5: 1, 6: 1})
    assert model.sample([0], 9, np.random.default_rng(0), 4, greedy=True) == [1, 2]


# --- common sense ------------------------------------------------------------------------------------------------------


def test_pseudo_likelihood_equals_its_definition_one_mask_at_a_time(chapter):
    model, tokenizer, sentences = tiny_model(), Tokenizer(), ["冬天比夏天冷", "好"]
    found = chapter["pseudo_log_likelihood"](model, tokenizer, sentences, size=4)
    for score, sentence in zip(found, sentences):
        ids, total = tokenizer(sentence)["input_ids"], 0.0
        for place in range(1, len(ids) - 1):
            hidden = np.array([ids], np.int32)
            hidden[0, place] = tokenizer.mask_token_id
            total += special.log_softmax(np.array(model({"input_ids": hidden}, training=False))[0, place])[ids[place]]
        assert score == pytest.approx(total, abs=1e-3)


def test_there_are_thirty_or_more_items_and_a_taste_for_one_word_gets_exactly_half(chapter):
    groups = chapter["GROUPS"]
    assert 2 * len(groups) >= 30 and len({group[1:3] for group in groups}) == len(groups)
    for _, first, second, a, b in groups:
        assert first != second and a != b and len(a) == len(b)
        assert first.count("□") == second.count("□") == 1
    taste = {word: len(word) * hash(word) for *_, a, b in groups for word in (a, b)}
    right = [taste[a] > taste[b] for *_, a, b in groups] + [taste[b] > taste[a] for *_, a, b in groups]
    assert np.mean(right) == 0.5


def test_the_score_of_a_blank_is_the_sum_of_its_characters_with_all_of_them_masked(chapter, monkeypatch):
    model, tokenizer = tiny_model(), Tokenizer()
    contexts, words = ("冬天比夏天□。", "□好"), ("冷", "热", "干净", "房间")
    groups = [("一", contexts[0].rstrip("。"), contexts[1], *words[:2]), ("二", contexts[1], contexts[0].rstrip("。"), *words[2:])]
    monkeypatch.setitem(chapter, "GROUPS", groups)
    monkeypatch.setitem(chapter, "masked_model", model)
    found = chapter["blank_scores"]()
    assert found.shape == (2, 2, 2)
    for group, (_, *both, a, b) in enumerate(groups):
        for place, context in enumerate(both):
            start = 1 + context.index("□")
            ids = np.array([tokenizer(context.replace("□", a))["input_ids"]], np.int32)
            ids[0, start: start + len(a)] = tokenizer.mask_token_id
            chances = special.log_softmax(np.array(model({"input_ids": ids}, training=False))[0], axis=-1)
            for candidate, word in enumerate((a, b)):
                expected = sum(chances[start + i, PIECES.index(c)] for i, c in enumerate(word))
                assert found[group, place, candidate] == pytest.approx(expected, abs=1e-4)


def test_swapped_neighbours_differ_in_one_adjacent_pair(chapter, generator):
    for _ in range(30):
        found = chapter["swap_neighbours"]("冬天比夏天冷。", generator)
        changed = [i for i, (x, y) in enumerate(zip("冬天比夏天冷。", found)) if x != y]
        assert len(changed) == 2 and changed[1] == changed[0] + 1 and found[-1] == "。"


# --- code --------------------------------------------------------------------------------------------------------------

SOURCE = '''def area(self, r):
    """Says what it does."""
    if r < 0:
        raise ValueError(f"bad {r!r:>{10}}" "text")
    return [3.14 * x ** 2 for x in (r,)][0]
'''


def test_code_survives_the_way_to_tokens_and_back(chapter):
    tokens = chapter["code_tokens"](SOURCE)
    expected = SOURCE.replace('    """Says what it does."""\n', "").replace('f"bad {r!r:>{10}}" "text"', '"" ""')
    for number in ("3.14", "2", "[0]"):
        expected = expected.replace(number, "[0]" if number == "[0]" else "0")
    assert ast.dump(ast.parse(chapter["to_source"](tokens))) == ast.dump(ast.parse(expected))
    assert chapter["parses"](tokens) and not chapter["parses"](tokens[:-4] + ["("])


def test_a_function_of_nothing_but_its_docstring_keeps_it(chapter):
    assert chapter["parses"](chapter["code_tokens"]('def f():\n    """Only this."""\n'))


def test_rare_names_are_numbered_by_first_appearance(chapter):
    tokens = ["def", "area", "self", ".", "r", "area", '""', "0", "r"]
    assert chapter["rename"](tokens) == ["def", "v0", "self", ".", "v1", "v0", '""', "0", "v1"]


# --- augmentation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["房", "房间干净", "房间干净好" * 8])
def test_easy_edits_keep_what_they_promise(chapter, generator, text):
    changes = max(1, round(0.1 * len(text)))
    for _ in range(20):
        deleted, swapped, inserted = (chapter[name](text, generator) for name in ("delete", "swap", "insert"))
        remaining = iter(text)
        assert 1 <= len(deleted) <= len(text) and all(c in remaining for c in deleted)  # a subsequence
        assert sorted(swapped) == sorted(text) and sum(x != y for x, y in zip(swapped, text)) <= 2 * changes
        assert len(inserted) == len(text) + changes and not Counter(text) - Counter(inserted)
        assert set(inserted) == set(text)


def test_deletion_removes_the_stated_share(chapter, generator):
    text = "房间干净" * 2500
    assert len(chapter["delete"](text, generator, 0.3)) / len(text) == pytest.approx(0.7, abs=0.02)


def test_substitution_changes_exactly_the_hidden_places_to_other_characters(chapter, generator):
    chapter["masked_model"] = tiny_model()
    texts = ["房间干净好" * 4, "好"]
    for before, after in zip(texts, chapter["substitute"](texts, generator, alpha=0.25, top=5)):
        assert len(after) == len(before)
        assert sum(x != y for x, y in zip(before, after)) == max(1, round(0.25 * len(before)))


def test_gains_are_taken_against_the_same_seed(chapter):
    rows = [{"method": method, "size": 50, "seed": seed, "dev": dev}
            for method, seed, dev in (("不增强", 1, 0.5), ("不增强", 2, 0.7), ("删字", 1, 0.6), ("删字", 2, 0.6))]
    gain, score = chapter["gains"](rows, "dev")["删字", 50]
    np.testing.assert_allclose(gain, [0.1, -0.1])
    np.testing.assert_allclose(score, [0.6, 0.6])


# --- the public data of profile `full` ---------------------------------------------------------------------------------

PUBLIC = {
    "train": [("房间 很干净，早餐也好！", 1), ("太差了，空调不冷。", 0), ("好", 1), ("差", 0), ("  ", 1), ("服务很好，下次还来。", 1),
              ("床很硬，一晚没睡好。", 0), ("电脑很快，屏幕清楚。", 1), ("用了三天就坏了！", 0)],
    "validation": [("很好", 1), ("很差", 0)], "test": [("干净，安静。", 1), ("又脏又吵", 0), ("不好。", 0), ("喜欢", 1), ("", 0)],
}


@pytest.fixture
def public():
    """The functions of the chapter with the lowest layer of the shipped checkpoint (tracing takes the time) and its tokenizer."""
    profile = profiles.get("mini")
    lowest = SimpleNamespace(load=functools.partial(checkpoints.load, num_hidden_layers=1))
    names = {"np": np, "keras": keras, "functools": functools, "batching": batching, "checkpoints": lowest, "prediction": prediction,
             "pretraining": pretraining, "training": training, "profile": profile, "ALPHA": 0.3, "COPIES": 2,
             "tokenizer": checkpoints.load_tokenizer(profile.checkpoint), "POLARITIES": ("negative", "positive")}
    return definitions("4-applications/25-generation", names, ("EDITS", "PUBLIC_PIECES", "ROUNDS"))


def test_the_public_reviews_are_scored_once_on_the_test_split_with_and_without_augmentation(public, monkeypatch):
    import datasets

    asked, fits, plans, scored = [], [], [], []
    columns = {split: dict(zip(("text", "label"), map(list, zip(*rows)))) for split, rows in PUBLIC.items()}
    data = datasets.DatasetDict({split: datasets.Dataset.from_dict(one) for split, one in columns.items()})
    monkeypatch.setattr(hub, "load", lambda name: asked.append(name) or data)
    fit, score, mixed = public["fit_public"], public["public_score"], public["mixed"]

    def kept_fit(rows, method, dev, seed):
        scored.append([])
        fits.append((rows, method, dev, fit(rows, method, dev, seed)))
        return fits[-1][-1]

    class Trainer(training.Trainer):
        def __init__(self, model, loss, batches, plan, **options):
            plans.append((plan, sum(len(batches(step)["labels"]) for step in range(plan.steps))))
            super().__init__(model, loss, batches, plan, **options)

    texts = []
    public["mixed"] = lambda *given: texts.append(mixed(*given)) or texts[-1]
    public["public_score"] = lambda model, rows: scored[-1].append(len(rows)) or score(model, rows)
    public["fit_public"] = kept_fit
    monkeypatch.setattr(training, "Trainer", Trainer)
    found = public["run_public"](sizes=(4, None))

    assert asked == ["chnsenticorp"]
    assert list(found) == [(4, "不增强"), (4, "EDA"), (8, "不增强"), (8, "EDA")]  # the text of blanks alone is left out
    assert [len(one) for one, _ in texts] == [4, 12, 8, 24] and [len(labels) for _, labels in texts] == [4, 12, 8, 24]
    assert plans[0] == plans[1] and plans[2] == plans[3] and plans[2][0].steps == 2  # 24 texts seen, 16 a step
    assert all(counts[-1] == 5 and set(counts[:-1]) == {2} for counts in scored)  # of the test split only at the very end
    assert {row[0] for row in fits[0][0]} < {row[0] for row in fits[2][0]}
    truth = {public["plain"](text): label for text, label in PUBLIC["train"]}
    for (rows, method, _, model), accuracy, (shown, labels) in zip(fits, found.values(), texts):
        assert [truth[row[0]] for row in rows] == list(labels[: len(rows)]) == list(labels[-len(rows):])
        assert shown[: len(rows)] == [row[0] for row in rows]
        right = 0
        for text, label in PUBLIC["test"]:
            ids = np.array([public["tokenizer"](text)["input_ids"]], np.int32)
            logits = model({"input_ids": ids, "attention_mask": np.ones_like(ids)}, training=False)
            right += int(np.argmax(logits[0]) == label)
        assert accuracy == pytest.approx(right / 5)


# --- verdicts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "word"), [(40, "没有赢过"), (50, "没有赢过"), (55, "没有明显赢过"), (80, "赢过")])
def test_the_verdict_on_two_shares_rests_on_fishers_test(chapter, hits, word):
    assert chapter["verdict"]("甲", hits, 100, "乙", 50, 100).startswith(f"甲：{word}乙（{hits}% 对 50%")
    once = {"赢过": "这一次高过"}.get(word, word)  # a single training never wins for good
    assert chapter["verdict"]("甲", hits, 100, "乙", 50, 100, runs=1).startswith(f"甲：{once}乙（{hits}% 对 50%")


def rows_of(scores, size=50):
    return [{"method": method, "size": size, "seed": seed, "dev": value, "test": value} for method, values in scores.items()
            for seed, value in enumerate(values)]


def test_the_verdict_on_gains_takes_the_better_baseline_and_the_same_seeds(chapter, capsys):
    rows = rows_of({"不增强": (0.60, 0.62), "重复": (0.61, 0.63), "删字": (0.64, 0.66), "换位": (0.50, 0.50)})
    chapter["gain_verdicts"](rows, "dev")
    assert capsys.readouterr().out == ("结论：50 条，删字（2 次运行）赢过“重复”，差 +3.0\n"
                                       "结论：50 条，不增强（2 次运行）赢过“换位”，差 +11.0\n")
    chapter["gain_verdicts"]([row for row in rows if row["method"] not in ("删字", "重复")], "dev")
    assert capsys.readouterr().out.startswith("结论：50 条，换位（2 次运行）没有赢过“不增强”，差 -11.0")


def test_harm_is_clear_only_if_it_passes_twice_its_spread(chapter, capsys):
    chapter["gain_verdicts"](rows_of({"不增强": (0.60, 0.62), "换位": (0.59, 0.58)}), "dev")
    assert capsys.readouterr().out.splitlines()[1] == "结论：50 条，不增强（2 次运行）没有明显赢过“换位”，差 +2.5"


def test_every_cell_of_an_edit_is_held_to_the_same_rule_as_the_verdicts(chapter, capsys):
    scores = {"不增强": (0.60, 0.60, 0.60), "重复": (0.50, 0.50, 0.50), "删字": (0.65, 0.66, 0.64), "换位": (0.58, 0.59, 0.585),
              "插字": (0.55, 0.61, 0.60), "填空替换": (0.60, 0.60, 0.60)}
    chapter["clear_cells"](rows_of(scores) + rows_of(scores | {"删字": (0.58, 0.58, 0.58)}, 200), "test")
    compared, higher, lower, chance = capsys.readouterr().out.splitlines()
    assert compared.endswith("比了 8 格")
    assert higher == "明显高的 1 格：50 条的删字" and lower == "明显低的 3 格：50 条的换位、200 条的删字、200 条的换位"
    # t distribution with two degrees of freedom, in closed form: P(|t| > x) = 1 - x / sqrt(2 + x²)
    assert f"平均也有 {8 * (1 - np.sqrt(12 / 14)):.1f} 格" in chance


def test_the_number_of_cells_that_chance_makes_clear_is_what_simulation_finds(chapter, generator):
    gains = generator.normal(size=(200_000, 3))
    simulated = np.mean(abs(gains.mean(axis=1)) >= 2 * gains.std(axis=1, ddof=1))
    assert 1 - np.sqrt(12 / 14) == pytest.approx(simulated, abs=0.003)


def test_of_each_method_and_size_only_the_rows_at_the_best_validation_rate_are_kept(chapter):
    dev = {("不增强", 1): (0.6, 0.7), ("不增强", 2): (0.8, 0.6), ("EDA", 1): (0.5, 0.5), ("EDA", 2): (0.9, 0.6)}
    rows = [{"method": method, "size": 50, "rate": rate, "seed": seed, "dev": value}
            for (method, rate), values in reversed(dev.items()) for seed, value in enumerate(values)]
    kept = [(row["method"], row["rate"], row["seed"]) for row in chapter["at_best_rate"](rows)]
    assert kept == [("不增强", 2, 0), ("不增强", 2, 1), ("EDA", 2, 0), ("EDA", 2, 1)]


@pytest.mark.parametrize(("back", "words"), [
    (((0.3, 0.3), (0.4, 0.4)), "一档比一档高，每一档都是负的"), (((0.4, 0.4), (0.3, 0.3)), "并不是一档比一档高，每一档都是负的"),
    (((0.3, 0.3), (0.7, 0.7)), "一档比一档高，不是每一档都是负的")])
def test_what_is_said_of_back_translation_follows_from_its_rows(chapter, monkeypatch, capsys, back, words):
    monkeypatch.setitem(chapter, "print_gains", lambda rows, column: None)
    rows = [row for size, values in zip((1000, 50), reversed(back))  # the order of the rows must not matter
            for row in rows_of({"不增强": (0.6, 0.6), "回译": values}, size)]
    chapter["print_back"](rows)
    assert capsys.readouterr().out.splitlines()[-1] == f"标注由少到多，回译的平均增益{words}"


# --- linear classifiers ------------------------------------------------------------------------------------------------


def test_scores_of_the_linear_classifier_equal_a_pipeline_fitted_for_each_strength(chapter, monkeypatch, generator):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    letters = {"positive": list("好干净快"), "negative": list("差脏慢好")}
    parts = [[("".join(generator.choice(letters[label], 6)), None, label) for label in ("positive", "negative") * 12] for _ in range(3)]
    rows, dev, test = parts
    names = {"dev_rows": dev, "test_rows": test, "STRENGTHS": (0.01, 2.0), "POLARITIES": ("negative", "positive"),
             "TfidfVectorizer": TfidfVectorizer, "LogisticRegression": LogisticRegression}
    for name, value in names.items():
        monkeypatch.setitem(chapter, name, value)
    texts, labels = [row[0] for row in rows] * 2, chapter["polarity_of"](rows + rows)
    found = chapter["linear_scores"](rows, texts, labels)
    features = TfidfVectorizer(analyzer="char", ngram_range=(1, 2)).fit(texts[: len(rows)])
    pipelines = {strength: make_pipeline(features, LogisticRegression(C=strength, solver="liblinear")) for strength in names["STRENGTHS"]}
    scores = {}
    for strength, pipeline in pipelines.items():
        pipeline[-1].fit(features.transform(texts), labels)
        scores[strength] = [pipeline.score([row[0] for row in part], chapter["polarity_of"](part)) for part in (dev, test)]
    best = max(scores, key=lambda strength: scores[strength][0])
    assert found == {"strength": best, "dev": pytest.approx(scores[best][0]), "test": pytest.approx(scores[best][1])}


def test_ngrams_that_share_their_counts_equal_those_counted_alone(chapter, monkeypatch):
    rows = [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 4], [0, 5, 2, 6]]
    monkeypatch.setitem(chapter, "code_sequences", {"train": rows})
    for order, model in chapter["ngrams_to"](3).items():
        alone = chapter["NGram"](rows, order)
        for context in ([0, 1, 2], [9, 9, 2], [9], [0, 5], []):
            assert model.next_counts(context) == alone.next_counts(context)


# --- back-translation --------------------------------------------------------------------------------------------------


@pytest.fixture
def interface(chapter):
    """A tiny corpus of interface strings in place of the installed one."""
    rows = {"source": ["Open file", "Close file", "Open all", "Close all"], "target": ["打开文件", "关闭文件", "全部打开", "全部关闭"]}
    chapter["interface_strings"] = SimpleNamespace(interface_strings=lambda: {"train": rows})
    chapter["LENGTH"] = 6
    chapter["interface_text"].cache_clear(), chapter["translator"].cache_clear()
    return chapter


def test_words_are_numbered_over_both_languages_and_the_rare_ones_unknown(interface):
    sides, words = interface["interface_text"]()
    assert sides["source"][0] == ["open", "file"] and sides["target"][0] == list("打开文件")
    assert words[:4] == ["[PAD]", "[UNK]", "[BOS]", "[EOS]"] and set(words[4:]) == {"open", "close", "file", "all", *"打开关闭文件全部"}
    ids, mask = interface["numbered"]([["open", "door"], ["[BOS]"]])
    assert ids.tolist() == [[words.index("open"), 1], [2, 0]] and mask.tolist() == [[1, 1], [1, 0]]


def test_a_translation_batch_moves_the_target_one_place_to_the_right(interface):
    batch = interface["translation_batch"]([(list("打开"), ["open"]), (["文"], ["close", "file"])])
    assert batch["labels"][:, -1].tolist() == [0, 3] and batch["labels"][0, 1] == 3  # the shorter one is padded behind its end
    np.testing.assert_array_equal(batch["decoder_input_ids"][:, 0], [2, 2])
    np.testing.assert_array_equal(batch["decoder_input_ids"][1, 1:], batch["labels"][1, :-1])
    assert batch["weights"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_back_translations_come_as_copies_in_the_order_of_the_texts(interface):
    original = interface["translator"]
    built = {}

    def one_step(source, target):  # one update on four pairs is enough to have a model
        if (source, target) not in built:
            built[source, target] = original(source, target, epochs=1)
        return built[source, target]

    interface["translator"] = one_step
    texts = ["打开文件", "好", "全部"]
    english, chinese = interface["back_translate"](texts)
    assert len(english) == 3 and all(len(copies) == 2 and all(isinstance(text, str) for text in copies) for copies in chinese)
    for text, words, copies in zip(texts, english, chinese):
        assert interface["back_translate"]([text]) == ([words], [copies])
    interface["translator"] = original


# --- the reader's own input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pair", "part"), [
    (["", ""], "都要有字"), (["", "冬天"], "都要有字"), (["冬天", "冬天"], "一处不同"), (["冬天冷", "夏天热好"], "3 个和 4 个词元"),
    (["冬" * 73, "夏" * 73], "73 个词元，最多 72 个"), (["冬" * 72, "夏" * 72], ""), (["冬天冷", "夏天冷"], "")])
def test_two_sentences_that_cannot_be_compared_are_told_in_one_line(chapter, monkeypatch, pair, part):
    monkeypatch.setitem(chapter, "LENGTH", 36)
    line = chapter["pair_fault"](pair)
    assert part in line and bool(line) == bool(part) and "\n" not in line


@pytest.fixture
def code_ids(chapter):
    tokens = ["<pad>", "<start>", "<end>", *"v0 v1 def ( ) : self NEWLINE INDENT".split()]
    chapter["code_id"] = {token: number for number, token in enumerate(tokens)}
    yield chapter["code_id"]
    del chapter["code_id"]


def test_a_header_ends_at_its_indent_and_unknown_tokens_become_the_first_name(chapter, code_ids):
    names = list(code_ids)
    found = chapter["header_ids"]("  def area(self, radius):  # a comment")
    # Of rare names the first is v0; a comma is not in this small vocabulary, so it reads as v0, too.
    assert [names[i] for i in found] == ["<start>", "def", "v0", "(", "self", "v0", "v1", ")", ":", "NEWLINE", "INDENT"]


@pytest.mark.parametrize("header", ["", "  ", "def f(x)", "def f(x:", "x = 1", "if x:", "class A:", "async def f():", "def f(): return 1",
                                    "\x00", "(" * 10_000, "def f():\n    pass\ndef g():"])
def test_what_is_no_header_gives_no_ids(chapter, code_ids, header):
    assert chapter["header_ids"](header) == []
