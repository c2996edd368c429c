"""Headlines and leads: found again by a plainer reading of the file, split by time, without datelines."""

import re
import unicodedata

import pytest

from utils import corpora
from utils.corpora import headlines, newspaper, sources

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data():
    return headlines.headlines()


@pytest.fixture(scope="module")
def lines():
    raw = (sources.package_folder() / newspaper.FILE).read_text(encoding="utf-8").split("\n")[:-1]
    return [unicodedata.normalize("NFKC", re.sub(r"(\S+)/[A-Za-z]+\s*", r"\1", line)) for line in raw]


def test_there_are_as_many_pairs_as_measured_and_leads_are_longer(data):
    counts = {split: data[split].num_rows for split in SPLITS}
    assert counts == {"train": 973, "validation": 118, "test": 163}
    for split in SPLITS:
        assert all(5 <= len(title) <= 40 for title in data[split]["headline"])
        assert all(len(lead) >= 20 for lead in data[split]["lead"])


def test_each_pair_is_two_neighbouring_paragraphs_of_the_file_in_its_days(data, lines):
    for split in SPLITS:
        first, last = newspaper.BORDERS[split]
        for headline, lead, name in zip(data[split]["headline"], data[split]["lead"], data[split]["id"]):
            assert first <= int(name) < last
            assert lines[int(name) - 1] == headline
            assert lines[int(name)].endswith(lead)
            opening = lines[int(name)].removesuffix(lead)
            assert re.match("(据?新华社|本报)", opening) and len(opening) <= 80


def test_no_headline_and_no_lead_stands_twice(data):
    for column in ("headline", "lead"):
        texts = [text for split in SPLITS for text in data[split][column]]
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("text, rest", [
    ("本报讯为期三天的展览今天闭幕。", "为期三天的展览今天闭幕。"),
    ("本报北京1月4日讯记者张三报道:会议今天召开。", "会议今天召开。"),
    ("新华社莫斯科1月4日电(记者李四)两国签署协定。", "两国签署协定。"),
    ("据新华社北京1月4日电(记者王五、赵六)专家指出,", "专家指出,"),
    ("本报上海1月4日电新华社记者张三、本报记者李四报道:上海,", "上海,"),
    ("会议今天召开。", None),
    ("我读了本报讯息之后,", None),
])
def test_datelines_and_reporters_are_taken_off(text, rest):
    assert headlines.strip_dateline(text) == rest


@pytest.mark.parametrize("text, good", [
    ("两国签署合作协定", True), ("会议今天召开。", False), ("(附图片1张)", False), ("本报记者张三", False), ("1998", False),
    ("甲" * 41, False), ("甲乙丙", False),
])
def test_a_headline_is_short_and_no_sentence_or_caption(text, good):
    assert headlines.is_headline(text) is good


def test_names_join_surname_and_given_name_and_keep_the_order():
    line = "江/nr 泽民/nr 会见/v 法国/ns 外长/n 韦德里纳/nr 和/c 新华社/nt 记者/n"
    assert headlines.names(line) == ["江泽民", "法国", "韦德里纳", "新华社"]


def test_every_name_stands_in_its_headline(data):
    for split in SPLITS:
        for headline, names in zip(data[split]["headline"], data[split]["names"]):
            assert all(name in headline for name in names)


def test_the_description_states_provenance_and_licence(data):
    text = corpora.describe(data)
    assert "PFR" in text and "不再分发" in text and "电头" in text
