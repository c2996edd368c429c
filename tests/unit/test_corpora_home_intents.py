"""The commands to a home: split by template, labels that hassil's own recogniser confirms."""

import random

import pytest

from utils import metrics
from utils.corpora import home_intents as corpus
from utils.errors import ConfigError, DataError

LANGUAGES = ("zh-CN", "en")


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request):
    return request.param


@pytest.fixture(scope="module")
def data(language):
    return corpus.home_intents(language, per_template=4)


def recogniser(language, keep=lambda template: True):
    """hassil with the templates to keep, our words, and no question about the kind of device."""
    from hassil import Intents
    from hassil.intents import TextSlotList

    content = corpus.read(language)
    for name, intent in content["intents"].items():
        for group, block in enumerate(intent["data"]):
            block["sentences"] = [s for i, s in enumerate(block["sentences"]) if keep(f"{name}-{group}-{i}")]
            block.pop("requires_context", None)
        intent["data"] = [block for block in intent["data"] if block["sentences"]]
    lists = {name: TextSlotList.from_strings(corpus.words(language, name)) for name in corpus.WORDS[language]}
    lists["name"] = TextSlotList.from_strings(corpus.words(language, "name"))
    return Intents.from_dict(content), lists


def spans(row, names):
    return {(kind, row["text"][start:end]) for kind, start, end in metrics.entities([names[i] for i in row["slots"]])}


def test_every_template_stands_in_one_split_and_every_intent_in_training(data, language):
    place = corpus.split_of(language)
    for split, part in data.items():
        assert {place[name] for name in part["template"]} == {split}
        assert all(name.startswith(part.features["intent"].int2str(intent) + "-")
                   for name, intent in zip(part["template"], part["intent"]))
    assert set(data["train"]["intent"]) == set(range(data["train"].features["intent"].num_classes))
    assert set(data["test"]["intent"]) <= set(data["train"]["intent"])


def test_no_sentence_occurs_twice_in_the_whole(data):
    texts = [text for part in data.values() for text in part["text"]]
    assert len(texts) == len(set(texts)) > 1500


def test_no_training_template_recognises_a_test_sentence(data, language):
    """Asked of hassil itself, with the training templates of the sentence's own kinds of names (a sample: it is slow)."""
    from hassil import recognize

    place = corpus.split_of(language)
    known, lists = recogniser(language, lambda template: place[template] == "train")
    by_id = {template.id: template for template in corpus.templates(language)}
    train = random.Random(0).sample(list(data["train"]), 15)
    assert all(recognize(row["text"], known, slot_lists=lists) for row in train)  # the question can be answered with yes
    for row in random.Random(0).sample(list(data["test"]), 40):
        answer = recognize(row["text"], known, slot_lists=lists)
        if answer is not None:  # only by a name of a kind that the template does not take, which we told hassil to ignore
            assert "name" in answer.entities, row["text"]
            made = [t for t in by_id.values() if place[t.id] == "train" and t.intent == answer.intent.name]
            assert not any(corpus.sentences_of(t, language).fullmatch(row["text"].replace(" ", "")) for t in made)


def test_hassil_recognises_each_sentence_with_a_slot_for_each_label(data, language):
    from hassil import recognize_all

    known, lists = recogniser(language)
    part = data["test"]
    names = part.features["slots"].feature.names
    for row in random.Random(1).sample(list(part), 40):
        intent = part.features["intent"].int2str(row["intent"])
        wanted = {kind for kind, _ in spans(row, names)}
        found = [set(r.entities) for r in recognize_all(row["text"], known, slot_lists=lists) if r.intent.name == intent]
        assert any(wanted <= entities for entities in found), row["text"]


def test_the_labels_cover_exactly_the_values_and_blanks_are_single():
    text, labels = corpus.spell([("  打开  ", None), ("客厅", "area"), (" 的", None), ("", "name"), (" 灯 ", None)])
    assert text == "打开 客厅 的 灯"
    assert labels == ["O", "O", "O", "B-area", "I-area", "O", "O", "O", "O"]


def test_labels_and_text_have_equal_length_and_are_valid(data):
    for part in data.values():
        names = part.features["slots"].feature.names
        for row in part:
            assert len(row["slots"]) == len(row["text"]) > 0 and row["text"] == row["text"].strip()
            labels = [names[i] for i in row["slots"]]
            assert all(not label.startswith("I-") or labels[i - 1][2:] == label[2:] for i, label in enumerate(labels))


def test_a_part_of_our_words_never_occurs_in_training(data, language):
    names = data["train"].features["slots"].feature.names
    areas = {text for row in data["train"] for kind, text in spans(row, names) if kind == "area"}
    assert areas == set(corpus.words(language, "area", training=True)) < set(corpus.words(language, "area"))


def test_the_sentences_are_the_same_every_time(data, language):
    corpus.home_intents.cache_clear()
    again = corpus.home_intents(language, per_template=4)
    assert all(again[split]["text"][:] == data[split]["text"][:] for split in data)


def test_an_altered_or_missing_package_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="zh-CN"):
        corpus.read("zh")
    monkeypatch.setitem(corpus.SHA256, "en", "0" * 64)
    with pytest.raises(DataError, match="sha256"):
        corpus.read("en")
    monkeypatch.setattr(corpus, "PACKAGE", "no_such_package")
    with pytest.raises(DataError, match="pip install"):
        corpus.read("en")


@pytest.mark.parametrize("source, inside, outside", [
    ("[把]{area}(灯|大灯)", ["客厅灯", "把地下室大灯"], ["客厅", "把灯", "纱帘灯"]),
    ("(a;b)c", ["abc", "bac"], ["ac", "abcb"]),
])
def test_the_expression_of_a_template_matches_what_it_makes_and_nothing_else(source, inside, outside):
    from hassil.parse_expression import parse_sentence

    template = corpus.Template("t", "T", "", parse_sentence(source).expression, {}, {}, ())
    known = corpus.sentences_of(template, "zh-CN")
    assert all(known.fullmatch(text) for text in inside) and not any(known.fullmatch(text) for text in outside)


def test_every_sentence_is_one_that_its_own_template_can_make(data, language):
    by_id = {template.id: template for template in corpus.templates(language)}
    for row in random.Random(2).sample(list(data["train"]), 100):
        assert corpus.sentences_of(by_id[row["template"]], language).fullmatch(row["text"].replace(" ", "")), row["text"]
