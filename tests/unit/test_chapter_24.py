"""Chapter 24: state, policy and judging of the assistant, against the scripts and hand-made cases."""

import copy
import random
import re
import types
import unicodedata
from collections import Counter

import numpy as np
import pytest

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, metrics, profiles
from utils.corpora import home_dialogues, home_intents, hub
from utils.corpora.home_dialogues import Meaning, Turn, parse_meaning
from utils.errors import ConfigError, DataError

CONSTANTS = ("DEVICES", "DOMAIN_OF", "SWITCHES", "SETTINGS", "Home", "Assistant", "NUMBERS", "WORDS_OF", "UNITS", "EXTREMES",
             "ACTS", "OUTSIDE")
SPLITS = ("development", "test")


@pytest.fixture(scope="module")
def chapter():
    names = {"np": np, "re": re, "copy": copy, "random": random, "unicodedata": unicodedata, "Counter": Counter,
             "metrics": metrics, "Meaning": Meaning, "home_intents": home_intents, "home_dialogues": home_dialogues,
             "keras": types.SimpleNamespace(Model=object)}
    found = definitions("4-applications/24-dialogue", names, CONSTANTS)
    found["Assistant"].command, found["Assistant"].act = found["command"], found["act"]
    found["LONGEST"] = 254
    return found


@pytest.fixture
def home(chapter):
    return chapter["Home"]()


meaning = parse_meaning


def turns_of(split):
    return [turn for turns in home_dialogues.home_dialogues(split).values() for turn in turns]


# --- the scripts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_with_perfect_understanding_the_assistant_does_what_every_script_says(chapter, split):
    turns, success, wrong = chapter["evaluate"](None, home_dialogues.home_dialogues(split))
    assert wrong == [] and turns == 1 and success == 1


@pytest.mark.parametrize("split", SPLITS)
def test_every_command_of_the_scripts_reaches_a_device_or_the_log(chapter, split):
    for turn in turns_of(split):
        if turn.kind in ("做", "改", "确认") and chapter["controls"](turn.target):
            assert chapter["Home"]().find(turn.target), turn.text


@pytest.mark.parametrize("split", SPLITS)
def test_the_scripts_use_only_labels_and_slots_that_can_be_learned(chapter, split):
    templates = home_intents.templates("zh-CN")
    known = {t.intent + ("/" + t.domain if t.domain else "") for t in templates} | set(chapter["ACTS"]) | {"unknown"}
    data = home_intents.home_intents("zh-CN", per_template=2)
    slots = {name[2:] for name in data["train"].features["slots"].feature.names} | {"value"}
    for turn in turns_of(split):
        label = turn.meaning.act + ("/" + turn.meaning.domain if turn.meaning.domain else "")
        assert label in known and {name for name, _ in turn.meaning.slots} <= slots, turn.text


@pytest.mark.parametrize("split", SPLITS)
def test_the_values_of_a_meaning_stand_in_the_words(split):
    for turn in turns_of(split):
        assert all(value in turn.text for _, value in turn.meaning.slots if "最" not in turn.text), turn.text


def test_no_conversation_stands_in_both_parts():
    parts = [home_dialogues.home_dialogues(split) for split in SPLITS]
    whole = [{tuple(turn.text for turn in turns) for turns in part.values()} for part in parts]
    assert len(whole[1]) >= 20 and not whole[0] & whole[1]


def test_a_line_that_is_no_turn_is_named():
    with pytest.raises(DataError, match="第 2 行"):
        home_dialogues.parse("# a\n打开灯 | HassTurnOn\n")
    with pytest.raises(DataError, match="飞"):
        home_dialogues.parse("# a\n打开灯 | HassTurnOn | 飞 x\n")
    with pytest.raises(DataError, match="用过了"):
        home_dialogues.parse("# a\n好 | confirm | 不懂\n# a\n")
    with pytest.raises(ConfigError, match="development"):
        home_dialogues.home_dialogues("train")
    assert home_dialogues.parse("# a\n好 | confirm | 不懂") == {"a": [Turn("好", Meaning("confirm"), "不懂", Meaning("-"))]}


# --- home, state, policy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, devices", [
    ("HassTurnOn/light area=客厅", {"客厅灯", "落地灯"}),
    ("HassTurnOn name=小夜灯", {"小夜灯"}),
    ("HassTurnOn area=书房 name=空调", {"书房空调"}),
    ("HassSetPosition/cover area=卧室 device_class=窗帘", {"卧室窗帘"}),
    ("HassTurnOff/fan", {"循环扇", "排风扇"}),
    ("HassTurnOn area=阳台 name=空调", set()),
    ("HassTurnOn name=空调", {"客厅空调", "卧室空调", "书房空调"}),
])
def test_a_command_reaches_exactly_its_devices(home, text, devices):
    assert set(home.find(meaning(text))) == devices


def test_an_ellipsis_keeps_intent_and_value_and_replaces_the_room(chapter, home):
    merged = lambda old, new: chapter["merged"](meaning(old), meaning(new), home)
    old = "HassLightSet/light area=书房 brightness=80"
    assert merged(old, "inform area=卧室") == meaning("HassLightSet/light area=卧室 brightness=80")
    assert merged(old, "correct value=40") == meaning("HassLightSet/light area=书房 brightness=40")
    assert merged("HassTurnOn name=小夜灯", "inform area=客厅") == meaning("HassTurnOn/light area=客厅")
    assert merged("HassTurnOn/light area=客厅", "inform name=排风扇") == meaning("HassTurnOn name=排风扇")


def test_a_room_is_filled_in_only_where_it_is_known(chapter, home):
    filled = lambda text, words, last=None: chapter["completed"](meaning(text), words, last and meaning(last), home)
    assert filled("HassTurnOff/light", "关闭全部的灯") == meaning("HassTurnOff/light area=全屋")
    assert filled("HassTurnOff/light", "关灯") == meaning("HassTurnOff/light")
    assert filled("HassLightSet/light brightness=20", "调到20", "HassTurnOn/light area=厨房").slot("area") == "厨房"
    assert filled("HassClimateSetTemperature temperature=20", "空调20度", "HassTurnOn/light area=客厅").slot("area") is None
    assert filled("HassSetVolume volume_level=20", "音量20").slot("area") == "客厅"  # the only player stands there
    assert filled("HassTurnOn/light area=卧室", "打开卧室所有的灯").slot("area") == "卧室"


def test_a_name_that_several_rooms_share_is_asked_about(chapter):
    assistant = chapter["Assistant"](home := chapter["Home"]())
    assert assistant.hear(meaning("HassClimateSetTemperature name=空调 temperature=26"), "空调26度")[0] == "问"
    assert assistant.hear(meaning("inform area=卧室"), "卧室")[0] == "做"
    assert [name for name, one in home.devices.items() if "temperature" in one] == ["卧室空调"]


@pytest.mark.parametrize("first", ["HassTurnOff name=大门锁", "HassTurnOff/light area=全屋"])
@pytest.mark.parametrize("second", ["HassNevermind", "unknown", "inform area=卧室", "HassTurnOn/light area=阳台"])
def test_nothing_risky_is_done_without_a_yes(chapter, first, second):
    assistant = chapter["Assistant"](home := chapter["Home"]())
    assert assistant.hear(meaning(first), "")[0] == "确认"
    assert not any("on" in one for one in home.devices.values())
    assistant.hear(meaning(second), "")
    assert "on" not in home.devices["大门锁"]
    assert assistant.hear(meaning("confirm"), "")[0] == "做" if second == "unknown" else True


def test_a_yes_unlocks_and_a_second_yes_means_nothing(chapter):
    assistant = chapter["Assistant"](home := chapter["Home"]())
    assistant.hear(meaning("HassTurnOff name=大门锁"), "")
    assert assistant.hear(meaning("confirm"), "")[0] == "做" and home.devices["大门锁"]["on"] is False
    assert assistant.hear(meaning("confirm"), "")[0] == "不懂"


def test_a_correction_undoes_what_was_done_before(chapter):
    for correction in (True, False):
        assistant = chapter["Assistant"](home := chapter["Home"](), correction=correction)
        assistant.hear(meaning("HassTurnOn/light area=书房"), "")
        kind, _ = assistant.hear(meaning("correct area=阳台"), "")
        assert home.devices["阳台灯"]["on"] is True
        assert ("on" in home.devices["书房灯"]) is not correction
        assert kind == ("改" if correction else "做")


def test_without_memory_a_fragment_means_nothing(chapter):
    assistant = chapter["Assistant"](chapter["Home"](), memory=False)
    said = ("HassTurnOn/light area=书房", "inform area=卧室", "HassTurnOff name=大门锁", "confirm")
    assert [assistant.hear(meaning(text), "")[0] for text in said] == ["做", "不懂", "确认", "不懂"]


def test_effects_differ_when_the_home_would_differ_and_only_then(chapter):
    effect = lambda kind, text: chapter["effect"](kind, meaning(text))
    light = effect("做", "HassTurnOn/light area=厨房")
    assert light == effect("做", "HassTurnOn name=厨房灯")
    assert light not in (effect("确认", "HassTurnOn/light area=厨房"), effect("做", "HassTurnOff/light area=厨房"))
    assert effect("做", "HassLightSet/light area=厨房 brightness=1") != effect("做", "HassLightSet/light area=厨房 brightness=2")
    assert effect("做", "HassStartTimer minutes=1") != effect("做", "HassStartTimer minutes=2")


def test_a_reply_says_the_values_and_the_device_of_its_command(chapter, home):
    say = lambda kind, text: chapter["say"](kind, meaning(text), home)
    done = say("做", "HassClimateSetTemperature area=卧室 temperature=26")
    assert "卧室空调" in done and "26" in done
    ask = say("确认", "HassTurnOff name=大门锁")
    assert "解锁" in ask and ask.endswith("吗？")
    assert say("问", "HassTurnOff/light").startswith("哪个房间")
    assert "关闭" in say("做", "HassTurnOff/light area=厨房") and "打开" in say("做", "HassTurnOn/light area=厨房")


# --- learning -----------------------------------------------------------------------------------------------------------


def test_the_scores_equal_those_counted_by_hand(chapter):
    rows = [("打开客厅", "x", ["O", "O", "B-area", "I-area"]), ("卧室", "y", ["B-area", "I-area"])]
    found = [("x", ["O", "O", "B-area", "I-area"]), ("y", ["B-name", "I-name"])]
    assert chapter["scores"](found, rows) == {"标签正确率": 1.0, "槽位 F1": 0.5, "整句全对": 0.5}


def test_the_recall_is_split_by_what_training_has_shown(chapter):
    train = [("客厅", "x", ["B-area", "I-area"])]
    rows = [("客厅阳台5", "x", ["B-area", "I-area", "B-area", "I-area", "B-n"])]
    found = [("x", ["B-area", "I-area", "O", "O", "O"])]
    assert chapter["recall_by_seen"](found, rows, train) == {"见过的值": (1.0, 1), "没见过的值": (0.0, 1)}


def test_the_threshold_rejects_the_given_share_of_right_answers(chapter):
    found = [("x", [], i / 100) for i in range(101)] + [("y", [], 0.0)] * 50  # wrong answers do not count
    assert chapter["threshold_for"](found, [("", "x", [])] * 151, share=0.05) == pytest.approx(0.05)


def test_the_dictionary_takes_the_longest_known_value_and_guesses_numbers_by_what_follows(chapter):
    rows = [("客厅", "a", ["B-area", "I-area"]), ("客厅灯", "b", ["B-name", "I-name", "I-name"]),
            ("26度", "c", ["B-temperature", "I-temperature", "O"]), ("5分", "d", ["B-minutes", "O"])]
    tag = chapter["dictionary_slots"](rows)
    assert tag("开客厅灯18度") == ["O", "B-name", "I-name", "I-name", "B-temperature", "I-temperature", "O"]
    assert tag("7分") == ["B-minutes", "O"] and tag("") == [] and tag("7") == ["O"]


def test_act_templates_are_split_and_the_wrong_room_is_no_slot(chapter):
    training, testing = chapter["act_rows"](False), chapter["act_rows"](True)
    assert {row[1] for row in training} == {row[1] for row in testing} == set(chapter["ACTS"])
    assert all(len(text) == len(tags) for text, _, tags in training + testing)
    kinds = {tag[2:] for _, _, tags in training + testing for tag in tags if tag != "O"}
    assert not kinds & {"wrong", "number"} and {"area", "name", "value", "temperature"} <= kinds
    both = [tags for text, _, tags in training if re.match("不是.+是", text) and "B-area" in tags]
    assert both and all(tags[2] == "O" and tags.count("B-area") == 1 for tags in both)  # what was wrong comes first


def test_meanings_are_cleaned_thresholded_and_normalised(chapter):
    predictor = lambda texts: [("HassLightSet/light", ["B-brightness", "I-brightness"], 0.9), ("inform", ["O"], 0.1)]
    found = chapter["meanings"](["最亮。", "嗯"], predictor, 0.5)
    assert found == [meaning("HassLightSet/light brightness=100"), Meaning("unknown")]
    assert chapter["cleaned"]("２６ 度，好吗？") == "26度好吗"


def test_the_outside_sentences_are_no_commands(chapter):
    regexes = [home_intents.sentences_of(template, "zh-CN") for template in home_intents.templates("zh-CN")]
    assert len(set(chapter["OUTSIDE"])) >= 16
    assert not any(regex.fullmatch(text) for text in chapter["OUTSIDE"] for regex in regexes)


def test_the_template_rules_turn_extremes_into_numbers_like_the_other_systems(chapter):
    understood = chapter["template_rules"]()(["把厨房的亮度调到最亮", "今天天气不错"])
    assert understood == [meaning("HassLightSet/light area=厨房 brightness=100"), Meaning("unknown")]


# --- MASSIVE ------------------------------------------------------------------------------------------------------------

MARKED = [  # as in annot_utt, as in utt, tags
    ("今天 天气 很好", "今天 天气 很好", ["O"] * 6),
    ("[date : 明天] 下雨 吗", "明天 下雨 吗", ["B-date", "I-date", "O", "O", "O"]),
    ("叫我[time : 五 点]", "叫我五 点", ["O", "O", "B-time", "I-time"]),
    ("[date : 明天][time : 五点] 叫我", "明天五点 叫我", ["B-date", "I-date", "B-time", "I-time", "O", "O"]),
    ("[place_name : 北京] [place_name : 上海]", "北京 上海", ["B-place_name", "I-place_name"] * 2),
    ("[ time:5:30 ]\u3000[date : 今]", "5:30\u3000今", ["B-time"] + ["I-time"] * 3 + ["B-date"]),
    ("[time : ]走", "走", ["O"]),
    ("放[首]歌：a b]", "放[首]歌：a b]", ["O"] * 9),  # brackets without a name are text
    ("", "", []),
]


@pytest.mark.parametrize("marked, spoken, tags", MARKED)
def test_marked_text_without_its_brackets_and_blanks_is_what_was_said(chapter, marked, spoken, tags):
    text, found = chapter["read_marked"](marked)
    assert text == "".join(spoken.split()) and found == tags


@pytest.mark.parametrize("kept_as", ["numbers", "names"])
def test_rows_of_massive_have_the_form_of_the_commands(chapter, monkeypatch, kept_as):
    import datasets

    names = ["alarm_set", "weather_query"]
    intent = datasets.ClassLabel(names=names) if kept_as == "numbers" else datasets.Value("string")
    features = datasets.Features({"intent": intent, "utt": datasets.Value("string"), "annot_utt": datasets.Value("string")})
    rows = [{"intent": names[i % 2], "utt": spoken, "annot_utt": marked} for i, (marked, spoken, _) in enumerate(MARKED)]
    part = datasets.Dataset.from_list(rows, features=features)
    asked = []
    monkeypatch.setattr(hub, "load", lambda *words: asked.append(words) or {"test": part})
    assert chapter["massive_rows"]("test") == [
        ("".join(spoken.split()), names[i % 2], tags) for i, (_, spoken, tags) in enumerate(MARKED)]
    assert asked == [("massive", "zh-CN")]


def test_the_label_lists_are_those_of_the_rows_in_a_fixed_order_with_o_first(chapter):
    rows = [("ab", "y", ["B-z", "O"]), ("c", "x", ["B-a"]), ("d", "y", ["O"])]
    assert chapter["label_lists"](rows) == chapter["label_lists"](rows[::-1]) == (["x", "y"], ["O", "B-a", "B-z"])
    assert chapter["label_lists"]([("c", "x", ["B-a"])]) == (["x"], ["O", "B-a"])


# --- the reader's own conversation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sentences, heard, deaf, cut", [
    ([], [], 0, False),
    ("打开灯", ["打开灯"], 0, False),
    (["", " ，。", "打开灯！"], ["打开灯"], 2, False),
    (["灯" * 5000], ["灯" * 254], 0, True),
])
def test_a_conversation_may_be_empty_one_string_or_very_long(chapter, monkeypatch, capsys, sentences, heard, deaf, cut):
    asked = []
    monkeypatch.setitem(chapter, "learned", lambda texts: asked.extend(texts) or [meaning("HassTurnOn/light area=客厅")])
    home = chapter["chat"](sentences)
    printed = capsys.readouterr().out
    assert asked == heard and home.devices["客厅灯"].get("on", False) is bool(heard)
    assert printed.count("没听懂") == deaf and ("只听了前 254" in printed) is cut


def test_the_longest_sentence_of_a_conversation_fits_the_encoder_in_one_window(chapter):
    tokenizer = checkpoints.load_tokenizer(profiles.CHECKPOINT)
    windows = batching.encode_words(tokenizer, [list("灯" * chapter["LONGEST"])], max_length=256)
    assert len(windows) == 1 and len(windows.words[0]) == chapter["LONGEST"]
