"""The functions that chapter 21 defines, pulled out of the notebook and compared with counts by hand and brute force."""

import itertools
import math
import re
import unicodedata
from collections import Counter

import keras
import numpy as np
import pytest
from keras import ops
from nltk.tokenize import NLTKWordTokenizer

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, encoder, prediction, profiles, training


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function and class of the notebook; no cell is executed."""
    names = {"np": np, "re": re, "unicodedata": unicodedata, "Counter": Counter, "keras": keras, "ops": ops,
             "batching": batching, "prediction": prediction, "checkpoints": checkpoints, "CONTEXT": 110, "QUESTION": 60,
             "MAX_LENGTH": 192, "LONGEST": 12, "EVALUATED": None, "LIVE": {"count": 400, "epochs": 2, "learning_rate": 1e-3},
             "tokenizer": checkpoints.load_tokenizer(profiles.CHECKPOINT)}
    return definitions("4-applications/21-question-answering", names, constants=("BLANK", "REMOVED", "WORD", "UNIT", "SpanModel", "BM25", "METHODS"))


@pytest.fixture(scope="module")
def tiny(chapter):
    """A random model of one small layer over the shipped vocabulary."""
    keras.utils.set_random_seed(0)
    shape = encoder.EncoderConfig(len(chapter["tokenizer"]), 16, 1, 2, 32)
    return chapter["SpanModel"](encoder.Encoder(shape))


def row(question, context, *answers, **more):
    return {"question": question, "context": context, "answers": list(answers), "candidates": [], **more}


# --- questions ----------------------------------------------------------------------------------------------------------


def test_spans_join_b_with_the_i_of_its_own_kind(chapter):
    assert chapter["spans"]([0, 1, 2, 2, 0, 3, 1, 2, 3, 4]) == [(1, 4), (5, 6), (6, 8), (8, 10)]
    assert chapter["spans"]([0, 0]) == [] and chapter["spans"]([1, 4, 2]) == [(0, 1)]


def test_a_cloze_takes_its_question_out_and_its_answer_stands_in_the_rest(chapter):
    sentences = [("王芳到了南京。", [(0, 2), (4, 6)]), ("南京下雨,李雷没伞。", [(0, 2), (5, 7)]), ("甲在南京等着王芳。", [(2, 4), (6, 8)])]
    found = chapter["clozes"](sentences)
    assert Counter(r["answers"][0] for r in found) == {"南京": 3, "王芳": 2}  # 李雷 stands nowhere else
    for r in found:
        answer, whole = r["answers"][0], "".join(text for text, _ in sentences)
        question = r["question"].replace("□", answer)
        assert question in whole and question not in r["context"] and answer in r["context"]
        assert sorted(question + r["context"]) == sorted(whole)
        assert all(r["context"][a:b] in ("王芳", "南京", "李雷") for a, b in r["candidates"])
    assert chapter["clozes"]([("南京和南京。", [(0, 2), (3, 5)]), ("去南京。", [(1, 3)])])[0]["question"] == "去□。"


def test_days_are_counted_by_weather_reports_and_a_paragraph_gives_one_question(chapter):
    first, second = "记者王芳昨天到了南京,天气很冷。", "南京的街道上有许多人在等着看雪,王芳也在。"
    sentences, tags, names = [], [], []
    for number in range(6):
        lines = ["明天气象预报(一月一日)"] if number in (0, 3) else [first, second]
        for place, text in enumerate(lines):
            marks = [0] * len(text)
            for name, begin in (("王芳", 1), ("南京", 3)):
                if name in text:
                    marks[text.index(name) : text.index(name) + 2] = [begin, begin + 1]
            sentences.append(list(text)), tags.append(marks), names.append(f"{number}-{place}")
    found = chapter["newspaper_questions"]({"tokens": sentences, "ner_tags": tags, "id": names})
    assert [(r["paragraph"], r["day"]) for r in found] == [(1, 1), (2, 1), (4, 2), (5, 2)]


def test_an_unanswerable_question_gets_another_paragraph_of_its_day_without_its_answer(chapter):
    rows = [row("□一", "甲甲在", "甲甲", paragraph=1, day=1), row("□二", "乙乙和甲甲", "乙乙", paragraph=2, day=1),
            row("□三", "丙丙在", "丙丙", paragraph=3, day=1), row("□四", "丁丁在", "丁丁", paragraph=4, day=2)]
    found = chapter["unanswerable"](rows)
    assert [r["question"] for r in found] == ["□一", "□二", "□三"]  # the fourth is alone on its day
    assert found[0]["context"] == "丙丙在"  # the second paragraph holds its answer
    assert all(not r["answers"] for r in found) and found[1]["context"] in ("甲甲在", "丙丙在")


# --- scores and baselines -----------------------------------------------------------------------------------------------


def test_common_length_is_that_of_the_longest_shared_substring(chapter):
    random = np.random.default_rng(0)
    for _ in range(60):
        a, b = ("".join(random.choice(list("甲乙丙"), random.integers(0, 8))) for _ in range(2))
        pieces = {a[i:j] for i in range(len(a)) for j in range(i + 1, len(a) + 1)}
        assert chapter["common_length"](a, b) == max([len(p) for p in pieces if p in b], default=0)


OFFICIAL_MARKS = ["-", ":", "_", "*", "^", "/", "\\", "~", "`", "+", "=", "，", "。", "：", "？", "！", "“", "”", "；", "’", "《", "》", "……",
                  "·", "、", "「", "」", "（", "）", "－", "～", "『", "』"]  # the list of cmrc2018_evaluate.py (ymcui/cmrc2018)


def official_units(text):
    """What that program cuts a text into, with the rules of nltk's word_tokenize for one sentence (they need no data)."""
    kept = [character for character in text.lower().strip() if character not in OFFICIAL_MARKS]
    found = []
    for chinese, run in itertools.groupby(kept, lambda character: "\u4e00" <= character <= "\u9fa5"):
        found += run if chinese else NLTKWordTokenizer().tokenize("".join(run))
    return found


@pytest.mark.parametrize("text, expected", [
    ("1998年，GDP增长3.5%。", ["1998", "年", "gdp", "增", "长", "3.5", "%"]),
    ("《人民日报》", ["人", "民", "日", "报"]),
    ("1,000元", ["1,000", "元"]),
    ("New York, USA", ["new", "york", ",", "usa"]),
    ("NBA，CBA", ["nbacba"]),  # the mark between them has gone before the cut
    ("1998-01-04", ["19980104"]),
    ("一九九〇年", ["一", "九", "九", "〇", "年"]),
    ("O'Neil(中锋)", ["o'neil", "(", "中", "锋", ")"]),
    ("走了......等他", ["走", "了", "......", "等", "他"]),
    ("深圳—北京", ["深", "圳", "—", "北", "京"]),
    ("等……", ["等", "……"]), ("", []), ("，。", [])])
def test_a_text_is_cut_as_by_the_official_program_of_cmrc_2018(chapter, text, expected):
    assert chapter["units"](text) == expected == official_units(text)


@pytest.mark.parametrize("alphabet", ["南京1a.,%《，- ", "南京12a,%(?;@&×℃〇…—“‘’·", "a1,b2%$()", "南1a.'"])
def test_random_texts_are_cut_as_by_the_official_program_but_for_half_width_marks_side_by_side(chapter, alphabet):
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list(alphabet), random.integers(1, 9))) for _ in range(500)]
    plain = [text for text in texts if not re.search(r"[.,%(?;@&—$)'‘]{2}|\.\s", chapter["normalize"](text))]
    assert len(plain) > 150
    assert [chapter["units"](text) for text in plain] == [official_units(text) for text in plain]


@pytest.mark.parametrize("prediction, answers, exact, f1", [
    ("“南京”。", ["南京"], 1, 1),
    ("南京,", ["南京"], 0, 2 * 2 / 5),  # a half-width comma is not in the official list
    ("到了南京", ["南京"], 0, 2 * 2 / 6),
    ("南方的京城", ["南京"], 0, 2 * 1 / 7),  # contiguous, not merely in order
    ("北京", ["上海", "北京市"], 0, 2 * 2 / 5),  # the best of several answers
    ("北京市", ["上海", "北京", "北京市"], 1, 1),
    ("GDP", ["gdp"], 1, 1),
    ("1998年", ["1997年"], 0, 2 * 1 / 4),  # a number is one unit: by characters it would be 8 / 10
    ("3.5", ["3.5%"], 0, 2 * 1 / 3),
    ("1-0", ["10"], 1, 1),  # the hyphen is in the list
    ("New York", ["NewYork"], 0, 0), ("NewYork队", ["New York队"], 0, 2 * 1 / 5),
    ("", ["南京"], 0, 0), ("。", ["南京"], 0, 0),
    ("", [], 1, 1), ("南京", [], 0, 0), ("。", [], 0, 0)])
def test_exact_match_and_f1_are_those_counted_by_hand(chapter, prediction, answers, exact, f1):
    assert chapter["score_one"](prediction, answers) == (exact, pytest.approx(f1))


def test_the_score_of_a_set_is_the_mean_of_its_questions_in_per_cent(chapter):
    assert chapter["score"](["南京", ""], [row("", "", "南京"), row("", "", "北京")]) == (50.0, 50.0)


def test_baselines_choose_what_their_names_say(chapter):
    context = "甲一去了乙二家,乙二不在家里也没有人应门于是,丙三开着门等"  # 乙二 stands too far from the words in question
    names = [(0, 2), (4, 6), (8, 10), (context.index("丙三"), context.index("丙三") + 2)]
    question = row("后来□开着门等他", context, "丙三") | {"candidates": names}
    random = np.random.default_rng(0)
    chosen = {method: chapter["pick"](question, method, random) for method in ("第一个", "最多", "邻近词重合")}
    assert chosen == {"第一个": "甲一", "最多": "乙二", "邻近词重合": "丙三"}
    drawn = Counter(chapter["pick"](question, "随机", random) for _ in range(800))
    assert drawn["乙二"] == pytest.approx(400, abs=60) and drawn["甲一"] == pytest.approx(200, abs=50)
    assert chapter["pick"](row("□", "无"), "最多", random) == ""


# --- model --------------------------------------------------------------------------------------------------------------


def test_the_best_span_equals_brute_force_over_all_valid_spans(chapter):
    random = np.random.default_rng(3)
    for longest in (1, 3, 40):
        for _ in range(40):
            logits, allowed = random.normal(size=(25, 2)), random.random(25) < 0.6
            spans = [(s, e) for s, e in itertools.product(range(25), repeat=2)
                     if allowed[s] and allowed[e] and s <= e < s + longest]
            best = max(spans, key=lambda p: logits[p[0], 0] + logits[p[1], 1])
            start, end, value = chapter["best_span"](logits, allowed, longest)
            assert (start, end) == best and value == pytest.approx(logits[best[0], 0] + logits[best[1], 1])
    assert chapter["best_span"](logits, np.zeros(25, bool), 3)[2] == -math.inf


def test_characters_lead_back_to_the_paragraph_also_over_several_windows(chapter):
    context = "".join(chr(0x4E00 + i % 500) for i in range(400))
    windows = chapter["encode"]([row("在□的", context, "")])
    assert len(windows) > 1
    seen = np.concatenate([w["characters"][w["characters"] >= 0] for w in windows])
    assert set(seen) == set(range(400))
    for window in windows:
        assert window["ids"][window["query"]] == chapter["tokenizer"].mask_token_id and len(window["ids"]) <= 192
        for token, place in zip(window["ids"], window["characters"]):
            piece = chapter["tokenizer"].convert_ids_to_tokens(int(token))
            assert place < 0 or piece in (context[place], "[UNK]")


def test_every_occurrence_of_the_answer_is_marked_and_no_answer_is_the_first_place(chapter):
    present = row("在□的", "南京人爱南京。", "南京")
    window = chapter["encode"]([present])[0]
    marks = chapter["targets"](window, present)
    assert list(window["characters"][np.flatnonzero(marks[:, 0])]) == [0, 4]
    assert list(window["characters"][np.flatnonzero(marks[:, 1])]) == [1, 5]
    absent = chapter["targets"](window, present | {"answers": []})
    assert absent[0].tolist() == [1.0, 1.0] and absent.sum() == 2


def test_the_loss_is_minus_the_log_of_the_summed_probability_of_the_right_places(chapter):
    logits = np.random.default_rng(0).normal(size=(2, 6, 2)).astype("float32")
    goal = np.zeros((2, 6, 2), "float32")
    goal[0, [1, 4], 0] = goal[0, [2, 5], 1] = goal[1, 0] = 1.0
    value = float(chapter["span_loss"](lambda batch, training: ops.convert_to_tensor(logits), {"targets": goal}, False))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert value == pytest.approx(-np.log((chances * goal).sum(axis=1)).mean(), rel=1e-5)


def test_padding_and_the_question_cannot_be_chosen_and_change_no_score(chapter, tiny):
    rows = [row("在□的", "南京人爱南京。", "南京"), row("他住在□的家里很久", "北京的冬天比南京冷得多,他不喜欢那里的冬天。", "北京")]
    windows = chapter["encode"](rows)
    alone = prediction.batch_logits(tiny, chapter["pad"](windows, [0]))[0]
    together = prediction.batch_logits(tiny, chapter["pad"](windows, [0, 1]))[0]
    length = len(windows[0]["ids"])
    assert np.allclose(alone[:length], together[:length], atol=1e-4)
    free = np.flatnonzero(alone[:, 0] > -1e8)
    assert set(free) == {0} | set(np.flatnonzero(windows[0]["characters"] >= 0))


def test_the_matching_head_is_the_written_formula(chapter, tiny):
    batch = chapter["pad"](chapter["encode"]([row("在□的", "南京人爱南京。", "南京")]), [0])
    states = ops.convert_to_numpy(tiny.encoder(batch))[0]
    kernel, bias = (ops.convert_to_numpy(v) for v in tiny.linear.weights)
    matrix, offset = (ops.convert_to_numpy(v) for v in tiny.key.weights)
    keys = (states[batch["query"][0]] @ matrix + offset).reshape(2, 16)
    expected = states @ kernel + bias + states @ keys.T / 4.0
    inside = batch["allowed"][0].astype(bool)
    assert np.allclose(prediction.batch_logits(tiny, batch)[0][inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize("match, extra", [(True, 2), (False, 0)])
def test_a_step_of_training_reaches_every_layer_of_either_head(chapter, match, extra):
    keras.utils.set_random_seed(0)
    model = chapter["SpanModel"](encoder.Encoder(encoder.EncoderConfig(len(chapter["tokenizer"]), 16, 1, 2, 32)), match)
    rows = [row("在□的", "南京人爱南京。", "南京"), row("谁?", "北京的冬天很冷。")]
    windows = chapter["encode"](rows)
    marks = [chapter["targets"](window, rows[window["row"]]) for window in windows]
    batch = {name: ops.convert_to_tensor(value) for name, value in chapter["pad"](windows, [0, 1], marks).items()}
    trainer = training.Trainer(model, chapter["span_loss"], None, training.Plan(1, 1e-2), label=None)
    before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    assert len(before) == len(model.encoder.trainable_variables) + 2 + extra
    assert math.isfinite(float(trainer.train_step(batch)))
    moved = [np.abs(ops.convert_to_numpy(v) - old).max() for v, old in zip(model.trainable_variables, before)]
    head = [change for change, old in zip(moved, before) if old.shape in ((16, 2), (16, 32))][-1 - match :]
    assert min(head) > 1e-3 and moved[0] > 1e-3  # kernels of the head (a bias adds the same to every place), embeddings


def test_reading_returns_a_piece_of_the_paragraph_no_longer_than_allowed(chapter, tiny):
    rows = [row("在□的", "南京人爱南京。", "南京"), row("谁?", "北京的冬天比南京冷得多,他不喜欢那里的冬天。", "北京")]
    for (text, sure), r in zip(chapter["read"](tiny, rows), rows):
        assert text and text in r["context"] and len(text) <= 12 and math.isfinite(sure)


def test_the_threshold_is_the_best_of_all_thresholds(chapter):
    random = np.random.default_rng(0)
    rows = [row("", "", *(["甲"] if i % 2 else [])) for i in range(40)]
    found = [("甲" if random.random() < 0.8 else "乙", float(random.normal() + i % 2)) for i in range(40)]
    threshold, _, values = chapter["choose_threshold"](found, rows)
    reached = chapter["score"](chapter["answered"](found, threshold), rows)[1]
    assert reached == max(values)
    assert all(chapter["score"](chapter["answered"](found, t), rows)[1] <= reached for t in np.linspace(-5, 5, 400))


def test_a_recorded_row_holds_the_scores_of_both_kinds_of_questions(chapter):
    """With stand-ins for training and reading: on the mixed questions, the threshold of the validation set decides."""
    answerable, absent = row("□一", "甲甲在", "甲甲"), row("□二", "乙乙在")
    chance = {"甲甲在": ("甲甲", 3.0), "乙乙在": ("乙乙", 1.0)}
    stand_ins = {"dev_all": [answerable, absent], "test_all": [answerable, absent, absent], "test_rows": [answerable],
                 "build": lambda *_: None, "training_rows": lambda *_: [], "read": lambda _, rows: [chance[r["context"]] for r in rows],
                 "fit": lambda *_: training.History(best_score=40.0)}
    original = {name: chapter.get(name) for name in stand_ins}
    chapter.update(stand_ins)
    try:
        found = chapter["run_reader"]("shipped", True, 1, 1, 1e-3, 1)
    finally:
        chapter.update(original)
    assert found == {"exact": 100.0, "f1": 100.0, "dev_f1": 40.0, "threshold": 2.0, "mixed_f1": 100.0}


# --- retrieval ----------------------------------------------------------------------------------------------------------


def test_bm25_equals_the_formula_computed_term_by_term(chapter):
    texts = ["南京下雨了", "南京南京的人", "北京的雪很大很大", "雨"]
    grams = [[t[i : i + 2] for i in range(len(t) - 1)] for t in texts]
    mean = sum(map(len, grams)) / 4
    expected = []
    for words in grams:
        total = 0.0
        for term in {"南京", "京的", "大很"}:
            holders, f = sum(term in g for g in grams), words.count(term)
            weight = math.log(1 + (4 - holders + 0.5) / (holders + 0.5))
            total += weight * f * 2.5 / (f + 1.5 * (0.25 + 0.75 * len(words) / mean))
        expected.append(total)
    assert np.allclose(chapter["BM25"](texts).scores("南京的□大很"), expected)


def test_recall_counts_questions_whose_paragraph_is_among_the_first(chapter):
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 3.0, 1.0]])
    gold = [{0}, {0}, {0, 2}]
    assert [chapter["recall"](scores, gold, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_the_pool_holds_the_paragraphs_without_their_questions(chapter):
    rows = [row("□", "甲" * 30, "甲", paragraph=1)]
    pool = chapter["build_pool"](rows, [(1, "甲" * 40), (2, "乙" * 40), (3, "短"), (4, "长" * 500)], 5)
    assert pool == ["甲" * 30, "乙" * 40]


def test_the_answer_comes_from_the_surest_of_the_first_k_paragraphs(chapter):
    original = chapter["read"]
    chapter["read"] = lambda model, rows: [(r["context"], float(r["context"])) for r in rows]
    try:
        found = chapter["answer_from"](None, [row("", ""), row("", "")], np.array([[3, 2, 1], [1, 2, 3]]), ["1", "5", "9"], (1, 2, 3))
    finally:
        chapter["read"] = original
    assert found == {1: [("1", 1.0, 0), ("9", 9.0, 2)], 2: [("5", 5.0, 1), ("9", 9.0, 2)], 3: [("9", 9.0, 2), ("9", 9.0, 2)]}


def test_places_of_a_paragraph_are_those_of_its_sentences_moved_to_where_they_stand(chapter):
    sentences = [("王芳到了南京。", [(0, 2), (4, 6)]), ("没有。", []), ("李雷没伞。", [(0, 2)])]
    whole = "".join(text for text, _ in sentences)
    assert [whole[a:b] for a, b in chapter["entity_places"](sentences)] == ["王芳", "南京", "李雷"]


def test_the_rival_takes_the_candidate_with_the_likest_neighbours_of_the_first_k_paragraphs(chapter):
    texts = ["昨天李雷走了", "昨天王芳到了北京", "无关"]
    places = {texts[0]: [(2, 4)], texts[1]: [(2, 4), (6, 8)], texts[2]: []}
    questions, scores = [row("昨天□到了", "")], np.array([[3.0, 2.0, 1.0]])
    answers = [chapter["answer_by_overlap"](questions, scores, texts, places, k) for k in (1, 2, 3)]
    assert answers == [["李雷"], ["王芳"], ["王芳"]]  # 昨天 alone, then 昨天 and 到了
    assert chapter["answer_by_overlap"](questions, -scores, texts, places, 1) == [""]  # no candidate at all


# --- the reader's own question --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "texts", "begin"), [
    ("", ["南京下雨"], "question 是空的"), (" □ ", ["南京下雨"], "question 是空的"), ("\x00□", ["南京下雨"], "question 是空的"),
    ("□" + "长" * 60, ["南京下雨"], "question 有 61 个字"),
    ("□" + "㍿" * 20, ["南京下雨"], "question 有 81 个字"),  # NFKC writes four characters for one
    ("在□的", [""], "paragraph 是空的"), ("在□的", [], "paragraph 是空的"),
    ("在□的", [" \t", "\u3000\u200b\x00"], "paragraph 是空的")])
def test_what_cannot_be_asked_is_told_in_one_line(chapter, question, texts, begin):
    line = chapter["fault_of"](question, texts)
    assert line.startswith(begin) and "\n" not in line


@pytest.mark.parametrize("question", ["在□的", "谁在南京?", "□" + "字" * 59, "\x00□在"])
@pytest.mark.parametrize("texts", [["南京人爱南京。"], ["", "南京人爱南京。"], ["南京人爱南京。" * 200], ["😀\x00"]])
def test_what_can_be_asked_is_answered_out_of_the_texts(chapter, tiny, question, texts):
    assert chapter["fault_of"](question, texts) == ""
    reply, sure, span = chapter["ask"](tiny, question, texts, -math.inf)
    assert reply == span and any(span in text for text in texts) and math.isfinite(sure)
