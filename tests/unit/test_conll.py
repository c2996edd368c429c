"""The reader's own files: everything that is well formed is read whole, everything else is named row by row."""

import pathlib
import random
import re

import pytest

from utils import corpora
from utils.corpora import labels as label_schemes
from utils.errors import ConfigError, DataError


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def tags_of(data):
    names = data.features["ner_tags"].feature.names
    return [[names[tag] for tag in tags] for tags in data["ner_tags"]]


def conll_text(data, separator="\t", convert=list):
    """A data set as a CoNLL file, written independently of the reader."""
    blocks = [
        "".join(f"{token}{separator}{label}\n" for token, label in zip(tokens, convert(labels)))
        for tokens, labels in zip(data["tokens"], tags_of(data))
    ]
    return "\n".join(blocks)


def iob1(tags):
    """IOB2 -> IOB1: B- only where an entity touches another of its type."""
    return [
        "I" + tag[1:] if tag[0] == "B" and (place == 0 or tags[place - 1][1:] != tag[1:]
                                            and tags[place - 1][2:] != tag[2:]) else tag
        for place, tag in enumerate(tags)
    ]


def bracketed(letters):
    """IOB2 -> BIOES, BMES or BILOU, whose letters for inside, end and single are given."""
    inside, end, single = letters

    def convert(tags):
        result = []
        for place, tag in enumerate(tags):
            goes_on = place + 1 < len(tags) and tags[place + 1] == "I" + tag[1:]
            if tag == "O":
                result.append(tag)
            elif tag[0] == "B":
                result.append(tag if goes_on else single + tag[1:])
            else:
                result.append((inside if goes_on else end) + tag[1:])
        return result

    return convert


@pytest.mark.parametrize(
    ("scheme", "convert"),
    [("IOB2", list), ("IOB1", iob1), ("BIOES", bracketed("IES")), ("BMES", bracketed("MES")), ("BILOU", bracketed("ILU"))],
)
def test_a_corpus_written_in_any_scheme_comes_back_the_same(write, scheme, convert):
    data = corpora.people_daily()["test"].select(range(0, 5060, 5))
    again = corpora.read_conll(write(conll_text(data, convert=convert)))
    assert again["tokens"] == data["tokens"]
    assert tags_of(again) == tags_of(data)
    assert scheme in again.info.description


def test_the_whole_test_split_survives_the_round_trip(write):
    data = corpora.people_daily()["test"]
    again = corpora.read_conll(write(conll_text(data, separator=" ")), scheme="IOB2")
    assert again["tokens"] == data["tokens"] and tags_of(again) == tags_of(data)


def test_byte_order_mark_windows_line_ends_and_blank_lines_do_not_matter(write):
    plain = "王 B-PER\n芳 I-PER\n\n来 O\n"
    expected = [["王", "芳"], ["来"]]
    for content in (
        plain.encode(),
        b"\xef\xbb\xbf" + plain.encode(),
        plain.replace("\n", "\r\n").encode(),
        ("\n \n" + plain + "\n\t\n\n").encode(),
        plain.rstrip("\n").encode(),
        plain.replace(" ", "\t").encode(),
        plain.replace(" ", "   ").encode(),
    ):
        data = corpora.read_conll(write(content))
        assert data["tokens"] == expected and tags_of(data) == [["B-PER", "I-PER"], ["O"]]


def test_document_starts_and_comments_are_borders_but_hash_tokens_are_kept(write):
    data = corpora.read_conll(
        write("-DOCSTART- -X- O\n\n# sent_id = 1\n# text = 甲 乙\n甲 n B-X\n# = O\n# n O\n\n# id 3f domain=zh\n# id O\n乙 n O\n")
    )
    assert data["tokens"] == [["甲", "#", "#"], ["#", "乙"]]
    assert data["id"] == ["5", "10"]


def test_columns_can_be_chosen_and_tokens_may_hold_spaces_between_tabs(write):
    path = write("New York\tB-LOC\tNNP\n甲\tO\tn\n")
    data = corpora.read_conll(path, label_column=1)
    assert data["tokens"] == [["New York", "甲"]] and tags_of(data) == [["B-LOC", "O"]]
    swapped = corpora.read_conll(write("O 甲\nB-LOC 乙\n"), token_column=1, label_column=0)
    assert swapped["tokens"] == [["甲", "乙"]]


def test_label_set_is_built_from_the_data(write):
    data = corpora.read_conll(write("甲 B-疾病\n乙 I-疾病\n丙 B-DRUG-NAME\n"))
    assert data.features["ner_tags"].feature.names == ["O", "B-DRUG-NAME", "I-DRUG-NAME", "B-疾病", "I-疾病"]


MALFORMED = {
    "missing label": (b"\xe7\x94\xb2", "只有 1 列"),
    "empty label": ("甲\t".encode(), "标签为空"),
    "empty token": (b"\tO", "词元为空"),
    "blank token": ("\u3000\tO".encode(), "词元为空或不可见"),
    "zero-width token": ("\u200b O".encode(), "词元为空或不可见"),
    "unknown label": ("甲 PER".encode(), "标签 'PER'"),
    "label without type": ("甲 B-".encode(), "标签 'B-'"),
    "lower-case label": ("甲 b-per".encode(), "标签 'b-per'"),
    "too many columns": ("甲 n O".encode(), "有 3 列"),
    "not UTF-8": ("甲".encode("gbk") + b" O", "第 1 个字节不是 UTF-8"),
    "NUL": (b"a\x00 O", "U+0000"),
    "lone carriage return": (b"a O\rb O", "U+000D"),
    "line separator": ("甲\u2028 O".encode(), "U+2028"),
    "replacement character": ("\ufffd O".encode(), "U+FFFD"),
    "byte order mark in mid-file": ("\ufeff甲 O".encode(), "U+FEFF"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_row_is_named_with_file_line_and_reason(write, kind):
    row, reason = MALFORMED[kind]
    path = write("王 B-PER\n芳 I-PER\n".encode() + row + "\n来 O\n".encode())
    with pytest.raises(DataError) as caught:
        corpora.read_conll(path)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("1 处") and len(lines) == 2
    assert lines[1].startswith(f"{path}:3: ") and reason in lines[1]


def test_every_malformed_row_among_good_ones_is_named_once_and_no_other(write):
    generator = random.Random(11)
    for _ in range(100):
        kinds = [generator.choice([None, None, *MALFORMED]) for _ in range(30)]
        kinds = [kind if kinds[:place].count(None) + 20 > place else None for place, kind in enumerate(kinds)]  # 20 at most
        rows = ["甲 O".encode() if kind is None else MALFORMED[kind][0] for kind in kinds]
        path = write(b"\n".join(["甲 O".encode()] * 31 + rows))  # most rows have two columns
        expected = {32 + place: MALFORMED[kind][1] for place, kind in enumerate(kinds) if kind}
        with pytest.raises(DataError) as caught:
            corpora.read_conll(path)
        found = [re.fullmatch(re.escape(str(path)) + r":(\d+): (.*)", line).groups() for line in str(caught.value).split("\n")[1:]]
        assert [int(line) for line, _ in found] == list(expected)
        assert all(expected[int(line)] in reason for line, reason in found)


def test_twenty_problems_are_printed_and_all_are_written_down(write, monkeypatch):
    path = write("甲 O\n" * 5 + "乙\n" * 33)
    with pytest.raises(DataError) as caught:
        corpora.read_conll(path)
    lines = str(caught.value).split("\n")
    report = pathlib.Path(lines[-1].removeprefix("……另有 13 处；全部 33 处写在 "))
    assert lines[0].startswith("33 处") and report.is_file()
    numbers = lambda lines: [int(re.search(r":(\d+): ", line).group(1)) for line in lines]
    assert numbers(lines[1:-1]) == list(range(6, 26)) and numbers(report.read_text("utf-8").splitlines()) == list(range(6, 39))
    monkeypatch.setattr("tempfile.tempdir", str(report))  # no folder: then all are printed
    with pytest.raises(DataError) as caught:
        corpora.read_conll(path)
    assert numbers(str(caught.value).split("\n")[1:]) == list(range(6, 39))


@pytest.mark.parametrize(
    ("rows", "scheme", "line"),
    [
        ("甲 B-A|乙 I-B", "auto", 2),  # one entity opens with B- alone: not IOB1, so the I- is an orphan
        ("甲 O|乙 I-A", "IOB2", 2),
        ("甲 B-A|乙 O", "IOB1", 1),
        ("甲 B-A|乙 O|丙 S-A", "auto", 1),  # never ended
        ("甲 O|乙 E-A", "auto", 2),
        ("甲 B-A|乙 M-A|丙 I-A|丁 E-A", "auto", 3),
        ("甲 B-A|乙 E-B", "BIOES", 1),
        ("甲 B-A|乙 L-A|丙 S-A", "auto", 3),
    ],
)
def test_labels_that_break_their_scheme_are_named(write, rows, scheme, line):
    path = write(rows.replace("|", "\n"))
    with pytest.raises(DataError, match=re.escape(f"{path}:{line}: ")):
        corpora.read_conll(path, scheme=scheme)


def test_files_without_sentences_and_foreign_encodings_are_refused(write, tmp_path):
    for content in (b"", b"\n\n", b"-DOCSTART- O\n", b"\xef\xbb\xbf"):
        with pytest.raises(DataError, match="没有任何句子"):
            corpora.read_conll(write(content))
    with pytest.raises(DataError, match="UTF-16"):
        corpora.read_conll(write("甲 O\n".encode("utf-16")))
    for missing in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(DataError, match="读不到"):
            corpora.read_conll(missing)


def test_impossible_options_are_refused(write):
    path = write("甲 O\n")
    for options in ({"scheme": "BIO"}, {"token_column": -1}, {"label_column": "ner"}):
        with pytest.raises(ConfigError):
            corpora.read_conll(path, **options)
    with pytest.raises(DataError, match="没有第 5 列"):
        corpora.read_conll(path, label_column=5)
    with pytest.raises(DataError, match="同一列"):
        corpora.read_conll(path, token_column=1)


def random_file(generator):
    """Bytes of a file put together from good and bad rows, borders and broken bytes."""
    good = ["甲 O", "乙 B-A\n丙 I-A", "丁 B-B", "# O", "= O"]
    bad = ["甲", "\tO", "乙 X", "丙  ", "丁 B-", "戊 n O", "\u3000", "#", "# x", "a\x0bO", "\u2028 O", "甲 I-C", "甲 E-A"]
    border = ["", "  ", "\t", "-DOCSTART- O", "# text = 甲"]
    share = generator.choice([0.0, 0.05, 0.5])
    rows = []
    for _ in range(generator.randint(0, 25)):
        kind = generator.random()
        rows.append(generator.choice(bad if kind < share else border if kind > 0.8 else good))
    content = generator.choice(["\n", "\r\n"]).join(rows).encode()
    if generator.random() < 0.2 and content:
        place = generator.randrange(len(content))
        content = content[:place] + bytes([generator.randrange(256)]) + content[place + 1 :]
    return content


def count_rows(content):
    """Trivial count of the rows that must come out as tokens: all that are neither blank, nor document start, nor comment."""
    rows = content.replace(b"\r\n", b"\n").split(b"\n")
    skipped = (b"-DOCSTART-", b"# text = ")
    return sum(1 for row in rows if row.strip(b" \t") and not row.startswith(skipped))


def test_800_random_files_give_the_named_error_or_parse_without_losing_a_row(write):
    generator = random.Random(20)
    outcomes = {"parsed": 0, "refused": 0}
    for _ in range(800):
        content = random_file(generator)
        path = write(content)
        try:
            data = corpora.read_conll(path)
        except DataError as error:
            outcomes["refused"] += 1
            first, *rest = str(error).split("\n")
            assert rest or "没有任何句子" in first or "UTF-16" in first, first
            if rest:
                printed = [line for line in rest if line.startswith(f"{path}:")]
                more = re.search(r"另有 (\d+) 处", rest[-1])
                assert int(first.split()[0]) == len(printed) + (int(more.group(1)) if more else 0)
                if more:
                    written = pathlib.Path(rest[-1].rpartition(" ")[2]).read_text("utf-8").splitlines()
                    assert len(written) == int(first.split()[0]) and written[:20] == printed
                assert all(re.match(re.escape(str(path)) + r":\d+: \S", line) for line in printed)
        else:
            outcomes["parsed"] += 1
            assert sum(map(len, data["tokens"])) == count_rows(content)
            assert list(map(len, data["tokens"])) == list(map(len, data["ner_tags"]))
            assert all(data["tokens"])
    assert min(outcomes.values()) > 150, outcomes


def test_scheme_detection_agrees_with_the_conversion_on_random_sentences():
    generator = random.Random(4)
    converters = {"IOB1": iob1, "BIOES": bracketed("IES"), "BMES": bracketed("MES"), "BILOU": bracketed("ILU")}
    for _ in range(300):
        tags = []
        for _ in range(generator.randint(1, 8)):
            kind = generator.choice(["O", "A", "B"])
            tags += ["O"] if kind == "O" else [f"B-{kind}"] + [f"I-{kind}"] * generator.randint(0, 3)
        for scheme, convert in converters.items():
            converted = convert(tags)
            assert label_schemes.faults([converted], scheme) == []
            assert label_schemes.to_iob2(converted, scheme) == tags


def test_a_folder_gives_three_splits_with_one_label_set(tmp_path):
    for name, content in {"train.txt": "甲 B-A\n", "dev.txt": "乙 B-B\n", "test.txt": "丙 O\n", "readme.md": "x"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    data = corpora.load_conll_dir(tmp_path)
    assert list(data) == ["train", "validation", "test"]
    names = {split: data[split].features["ner_tags"].feature.names for split in data}
    assert set(map(tuple, names.values())) == {("O", "B-A", "I-A", "B-B", "I-B")}
    assert data["validation"]["tokens"] == [["乙"]]


@pytest.mark.parametrize(
    "names",
    [("train.char.bmes", "dev.char.bmes", "test.char.bmes"), ("eng.train", "eng.testa", "eng.testb"),
     ("Train.conll", "valid.conll", "test.conll"), ("train.bio", "validation.bio", "test.bio")],
)
def test_usual_file_names_are_found(tmp_path, names):
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"词{number} O\n", encoding="utf-8")
    data = corpora.load_conll_dir(tmp_path)
    assert [data[split]["tokens"] for split in ("train", "validation", "test")] == [[["词0"]], [["词1"]], [["词2"]]]


def test_a_folder_that_lacks_or_doubles_a_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="找不到数据文件夹"):
        corpora.load_conll_dir(tmp_path / "none")
    (tmp_path / "train.txt").write_text("甲 O\n", encoding="utf-8")
    with pytest.raises(DataError, match="缺少 validation、test"):
        corpora.load_conll_dir(tmp_path)
    (tmp_path / "train.bio").write_text("甲 O\n", encoding="utf-8")
    with pytest.raises(DataError, match="train.bio 与 train.txt"):
        corpora.load_conll_dir(tmp_path)


def test_malformed_rows_of_all_files_are_reported_together(tmp_path):
    for name, content in {"train.txt": "甲 O\n乙\n", "dev.txt": "乙 X\n", "test.txt": "丙 O\n"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        corpora.load_conll_dir(tmp_path)
    assert "train.txt:2: " in str(caught.value) and "dev.txt:1: " in str(caught.value)
