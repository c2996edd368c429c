"""The interface strings: catalogues read as Python's gettext reads them, placeholders there and back, an honest split."""

import gettext
import hashlib
import io
from collections import Counter

import pytest

from utils.corpora import interface_strings as strings
from utils.corpora import describe
from utils.errors import DataError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data():
    return strings.interface_strings()


def test_every_catalogue_reads_as_gettext_reads_it():
    for distribution in strings.PACKAGES:
        for name, content in strings.catalogues(distribution):
            catalogue = gettext.GNUTranslations(io.BytesIO(content))._catalog
            expected = Counter()
            for source, translation in catalogue.items():
                if source and not isinstance(source, tuple):
                    expected[source.rpartition("\x04")[2], translation] += 1
            plural = Counter(translation for source, translation in catalogue.items() if isinstance(source, tuple))
            ours = strings.read_catalogue(content)
            single = Counter(ours) - (Counter(ours) - expected)
            assert single == expected, name
            assert Counter(target for _, target in (Counter(ours) - expected).elements()) == plural, name


def test_an_entry_with_a_plural_gives_the_english_plural():
    pairs = dict(pair for _, content in strings.catalogues("django") for pair in strings.read_catalogue(content))
    assert any("%(count)" in source or "%(num)d" in source for source in pairs)
    assert "%(num)d years" in pairs and "%(num)d year" not in pairs


def test_other_files_are_refused_with_both_hashes_and_the_remedy(monkeypatch):
    version, module, pattern, expected = strings.PACKAGES["sphinx"]
    monkeypatch.setitem(strings.PACKAGES, "sphinx", (version, module, "locale/zh_TW/LC_MESSAGES/sphinx.mo", expected))
    with pytest.raises(DataError) as caught:
        strings.catalogues("sphinx")
    assert expected in str(caught.value) and f"sphinx=={version}" in str(caught.value)
    monkeypatch.setitem(strings.PACKAGES, "sphinx", (version, "no_such_module", pattern, expected))
    with pytest.raises(DataError, match="pip install"):
        strings.catalogues("sphinx")
    with pytest.raises(DataError, match=".mo"):
        strings.read_catalogue(b"msgid")


@pytest.mark.parametrize("text, found", [
    ("Select %s of %(name)s", ["%s", "%(name)s"]),
    ("%1 files in {path!r}", ["%1", "{path!r}"]),
    ("Set `mode` to <b>on</b>", ["`mode`", "<b>", "</b>"]),
    ("See https://docs.example.org/a?b=1 for help", ["https://docs.example.org/a?b=1"]),
    ("100% of it", []),
    ("use the {{ variable }} tag", ["{{ variable }}"]),
    ("x < y and y > z", []),
])
def test_placeholders_are_found_and_nothing_else(text, found):
    assert strings.placeholders(text) == found


def test_marks_go_in_and_come_out_again():
    source, values = strings.protect("Move %s from <b>%s</b> to {place}")
    assert source == "Move <1> from <2><1><3> to <4>" and values == ["%s", "<b>", "</b>", "{place}"]
    target, same = strings.protect("把 %s 从 <b>%s</b> 移到 {place}", values)
    assert target == "把 <1> 从 <2><1><3> 移到 <4>" and same == values
    assert strings.restore(target, values) == "把 %s 从 <b>%s</b> 移到 {place}"
    assert strings.restore("<5> 没有这个值", values) == "<5> 没有这个值"
    assert strings.protect("多出来的 %d", values)[0] == "多出来的 <5>"


def test_protect_and_restore_are_inverse_on_every_string(data):
    for split in SPLITS:
        for source, target in zip(data[split]["source"], data[split]["target"]):
            for text in (source, target):
                marked, values = strings.protect(text)
                assert strings.restore(marked, values) == text
                assert not strings.placeholders(strings.MARK.sub("", marked))


def test_a_lost_doubled_or_invented_placeholder_is_noticed():
    assert strings.intact("%s has %s", "%s 有 %s")
    assert not strings.intact("%s has %s", "%s 有")
    assert not strings.intact("%s", "%s%s")
    assert not strings.intact("{name}", "{姓名}")


def test_no_source_repeats_within_or_across_splits(data):
    keys = ["".join(c for c in strings.PLACEHOLDER.sub("#", source).casefold() if c.isalnum() or c == "#")
            for split in SPLITS for source in data[split]["source"]]
    assert len(set(keys)) == len(keys) == 4218
    shares = [data[split].num_rows / len(keys) for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_the_split_depends_on_the_source_alone(data):
    for split in SPLITS:
        for source in data[split]["source"]:
            place = int(hashlib.sha256(strings.key(source).encode()).hexdigest()[:16], 16) % 10
            assert split == {8: "validation", 9: "test"}.get(place, "train")


def test_every_pair_is_english_and_chinese_with_the_same_placeholders(data):
    for split in SPLITS:
        for row in data[split]:
            assert strings.CHINESE.search(row["target"]) and any(c.isascii() and c.isalpha() for c in row["source"])
            assert Counter(strings.placeholders(row["source"])) == Counter(strings.placeholders(row["target"]))
            assert len(row["source"]) <= 160 and "\n" not in row["source"] + row["target"]
    assert {row for split in SPLITS for row in data[split]["domain"]} == {"jupyterlab", "sphinx", "django"}


def test_the_description_states_licence_and_what_was_left_out(data):
    text = describe(data)
    assert "BSD-3-Clause" in text and "占位符不符" in text and "原文重复" in text
