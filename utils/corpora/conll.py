"""The reader's own files in CoNLL form: one token a row, columns by tab or spaces, a blank line between sentences.

Nothing is lost silently: a file is either read whole, or refused with every malformed row named.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, DatasetDict, DatasetInfo

from ..errors import ConfigError, DataError
from .labels import LABEL, check_scheme, detect, faults, to_iob2
from .tables import SPLITS, dataset, label_names, tag_features

PRINTED_PROBLEMS = 20
HIDDEN = "\ufeff\ufffd"  # a byte order mark in mid-file, and what a failed decoding leaves
DOCUMENT_START = "-DOCSTART-"
# "# text = …" (CoNLL-U) and "# id …" (MultiCoNER), and only before the first token of a sentence: a bare # is a token.
COMMENT = re.compile(r"# (id|[\w ]+ =) ")
FILE_NAME = re.compile(
    r"(?:eng\.)?(?P<split>train|dev|valid|val|validation|test|testa|testb)(?:\.char)?"
    r"(?:\.(?:txt|conll|bio|bmes|bioes|iob|iob2|tsv))?",
    re.IGNORECASE,
)
SPLIT_OF_NAME = {
    "train": "train", "test": "test", "testb": "test",
    "dev": "validation", "valid": "validation", "val": "validation", "validation": "validation", "testa": "validation",
}


@dataclass
class _File:
    """What one file holds. `lines[i][j]` is the 1-based line of token j of sentence i."""

    path: Path
    tokens: list[list[str]] = field(default_factory=list)
    labels: list[list[str]] = field(default_factory=list)
    lines: list[list[int]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    scheme: str = "IOB2"


def _columns(line: str) -> list[str]:
    """Cells of a row: by tab if it has one (so that an empty cell shows), otherwise by runs of spaces."""
    if "\t" in line:
        return [cell.strip(" ") for cell in line.split("\t")]
    return [cell for cell in line.split(" ") if cell]


def _decode(row: bytes) -> tuple[str, str | None]:
    """Text of a row and what is wrong with its characters, if anything."""
    try:
        line = row.decode("utf-8")
    except UnicodeDecodeError as error:
        return "", f"第 {error.start + 1} 个字节不是 UTF-8 编码"
    for character in line:
        if character != "\t" and (unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in HIDDEN):
            return line, f"含有控制字符或编码残留 U+{ord(character):04X}"
    return line, None


def _invisible(token: str) -> bool:
    """Whether nothing of the token can be seen: blanks and format characters (U+3000, U+200B, U+FEFF, …) only."""
    return all(character.isspace() or unicodedata.category(character) == "Cf" for character in token)


def _rows(content: bytes, file: _File) -> list[tuple[int, list[str] | None]]:
    """(line, cells) of every row, cells None for a sentence border; rows that cannot be read become problems."""
    rows = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        line, problem = _decode(raw.removesuffix(b"\r"))
        if problem:
            file.problems.append((number, problem))
        elif not line.strip(" \t"):
            rows.append((number, None))
        else:
            cells = _columns(line)
            is_first = not rows or rows[-1][1] is None
            is_comment = is_first and COMMENT.match(line) and not LABEL.fullmatch(cells[-1])
            if cells[0] == DOCUMENT_START or is_comment:
                rows.append((number, None))
            else:
                rows.append((number, cells))
    return rows


def _problem_of_cells(cells: list[str], width: int, token_column: int, label_column: int) -> str | None:
    if len(cells) < 2:
        return f"只有 {len(cells)} 列，至少要有词元和标签两列"
    if len(cells) != width:
        return f"有 {len(cells)} 列，而本文件多数行有 {width} 列"
    for column in (token_column, label_column):
        if not -width <= column < width:
            return f"只有 {width} 列，没有第 {column} 列（从 0 数起）"
    if token_column % width == label_column % width:
        return f"词元（{token_column}）与标签（{label_column}）指向同一列"
    if _invisible(cells[token_column]):
        return "词元为空或不可见"
    label = cells[label_column]
    if not LABEL.fullmatch(label):
        return f"标签 {label[:20]!r} 不是 O 或 B-类型、I-类型（也可用 E- S- M- L- U-）" if label else "标签为空"
    return None


def _parse(path: Path, token_column: int, label_column: int, scheme: str) -> _File:
    """Read one file; its malformed rows end up in `problems`, each once."""
    file = _File(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"读不到数据文件 {path}（{error.strerror}）：请检查路径") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} 是 UTF-16 编码：请另存为 UTF-8")
    rows = _rows(content, file)
    widths = Counter(len(cells) for _, cells in rows if cells is not None and len(cells) > 1)
    width = widths.most_common(1)[0][0] if widths else 2
    is_new = True
    for number, cells in rows:
        if cells is None:
            is_new = True
            continue
        problem = _problem_of_cells(cells, width, token_column, label_column)
        if problem:
            file.problems.append((number, problem))
            continue
        if is_new:
            for group in (file.tokens, file.labels, file.lines):
                group.append([])
            is_new = False
        file.tokens[-1].append(cells[token_column])
        file.labels[-1].append(cells[label_column])
        file.lines[-1].append(number)
    if not file.problems:  # with rows missing, the order of labels says nothing
        if not file.tokens:
            raise DataError(f"{path} 里没有任何句子：每行应为“词元 标签”，句子之间空一行")
        file.scheme = detect(file.labels) if scheme == "auto" else scheme
        found = faults(file.labels, file.scheme)
        file.problems = [(file.lines[sentence][token], reason) for sentence, token, reason in found]
    return file


def _refuse_problems(files: list[_File]) -> None:
    """Raise DataError if any row is malformed, each as file:line: reason; what is beyond twenty stands in a file it names."""
    problems = [(file.path, line, reason) for file in files for line, reason in sorted(file.problems)]
    if not problems:
        return
    found = [f"{path}:{line}: {reason}" for path, line, reason in problems]
    if len(found) > PRINTED_PROBLEMS and (report := _report(found)):
        found[PRINTED_PROBLEMS:] = [f"……另有 {len(problems) - PRINTED_PROBLEMS} 处；全部 {len(problems)} 处写在 {report}"]
    raise DataError("\n".join([f"{len(problems)} 处格式错误，请改正后再读（没有读入任何句子）：", *found]))


def _report(lines: list[str]) -> Path | None:
    """Write all problems into a file of the system's temporary folder; None where it cannot be written."""
    try:
        report = Path(tempfile.mkdtemp(prefix="conll-")) / "problems.txt"
        report.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return None
    return report


def _dataset(file: _File, kinds: list[str]) -> Dataset:
    names = label_names(kinds)
    index = {name: number for number, name in enumerate(names)}
    info = DatasetInfo(
        description=f"读者自己的文件 {file.path.name}，标注方案 {file.scheme}"
        + ("。" if file.scheme == "IOB2" else "，已转成 IOB2。"),
        license="由读者自行确认",
        features=tag_features(names),
    )
    columns = {
        "tokens": file.tokens,
        "ner_tags": [[index[label] for label in to_iob2(labels, file.scheme)] for labels in file.labels],
        "id": [str(lines[0]) for lines in file.lines],
    }
    return dataset(columns, info)


def _kinds(files: list[_File]) -> list[str]:
    return sorted({label[2:] for file in files for labels in file.labels for label in labels if label != "O"})


def _check_columns(token_column: int, label_column: int, scheme: str) -> None:
    check_scheme(scheme)
    for name, column in (("token_column", token_column), ("label_column", label_column)):
        if not isinstance(column, int):
            raise ConfigError(f"{name}={column!r} 不是整数；0 是第一列，-1 是最后一列")
    if token_column == label_column:
        raise ConfigError(f"token_column 与 label_column 都是 {label_column}：词元和标签须在不同的列")


def read_conll(path: str | Path, *, token_column: int = 0, label_column: int = -1, scheme: str = "auto") -> Dataset:
    """Read one CoNLL file with any label set.

    Blank lines and -DOCSTART- rows end a sentence; comments are only what `COMMENT` describes. All rows must have the
    same number of columns. UTF-8, with or without byte order mark; line ends of Unix or Windows.

    Args:
        path: the file.
        token_column: 0-based column of the token; negative counts from the right.
        label_column: column of the label.
        scheme: "auto", "IOB2", "IOB1", "BIOES", "BMES" or "BILOU"; whatever it is, the result is IOB2.

    Returns:
        Columns tokens, ner_tags (ClassLabel, IOB2; types in alphabetical order), id (line of the first token).
        `info.description` names the scheme found.

    Raises:
        ConfigError: an unknown scheme or impossible columns.
        DataError: the file is missing, holds no sentence, or has malformed rows; each is listed as file:line: reason
            (beyond 20, in a file that the message names).
    """
    _check_columns(token_column, label_column, scheme)
    file = _parse(Path(path), token_column, label_column, scheme)
    _refuse_problems([file])
    return _dataset(file, _kinds([file]))


def load_conll_dir(
    folder: str | Path, *, token_column: int = 0, label_column: int = -1, scheme: str = "auto"
) -> DatasetDict:
    """Read train, validation and test files of a folder; all share one label set.

    File names: train, dev (or valid, val, validation), test, with .txt, .conll, .bio, .char.bmes and the like;
    also eng.train, eng.testa, eng.testb of CoNLL-2003. Arguments and columns as in `read_conll`.

    Raises:
        ConfigError: an unknown scheme or impossible columns.
        DataError: a split is missing or stands there twice, or a file is malformed; all files are checked first.
    """
    _check_columns(token_column, label_column, scheme)
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"找不到数据文件夹 {folder}：请检查路径")
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = FILE_NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        split = SPLIT_OF_NAME[match["split"].lower()]
        if split in paths:
            raise DataError(f"{folder} 里 {split} 有两个文件：{paths[split].name} 与 {path.name}，请只留一个")
        paths[split] = path
    missing = [split for split in SPLITS if split not in paths]
    if missing:
        raise DataError(
            f"{folder} 里缺少 {'、'.join(missing)} 的文件：需要 train、dev、test 三个，例如 train.txt、dev.txt、test.txt"
        )
    files = [_parse(paths[split], token_column, label_column, scheme) for split in SPLITS]
    _refuse_problems(files)
    kinds = _kinds(files)
    return DatasetDict({split: _dataset(file, kinds) for split, file in zip(SPLITS, files)})
