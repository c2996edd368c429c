"""Models and data sets from the Hugging Face hub or a mirror of it: fetched whole, or refused in one clear line.

HF_ENDPOINT (a mirror), HF_HUB_OFFLINE and HF_HOME are read by huggingface_hub; the book sets none of them. The client
compares sizes only; here every file's hash is compared as well, with the commit's (`profiles.PINS`) or with the name
that the cache has given to it, which is its hash.
"""

from __future__ import annotations

import errno
import hashlib
import re
import time
from fnmatch import fnmatch
from pathlib import Path

from . import machine, profiles
from .errors import BookError, CheckpointError, DataError, causes

MODEL_FILES = ("config.json", "vocab.txt", "tokenizer*.json", "special_tokens_map.json", "model.safetensors")
DATASET_FILES = ("README.md", "dataset_infos.json", "*.parquet")
NEEDED = {"model": "config.json", "dataset": "*.parquet"}  # without this, a folder is not what was asked for
ATTEMPTS = 3  # of a whole snapshot; the client itself repeats single requests
PAUSE = 2.0  # seconds before the second attempt, doubled before each further one
NAMES = {"model": "模型", "dataset": "数据"}
HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_verified: set[tuple[str, int, int]] = set()  # (file, size, time) that this process has hashed


def model_folder(name: str, revision: str | None = None) -> Path:
    """Local folder with the files that the book reads of a model.

    Args:
        name: hub id, "owner/name".
        revision: commit, tag or branch; None takes the commit that `profiles.PINS` gives, else the hub's default branch.

    Raises:
        CheckpointError: it cannot be had; the message says what to set.
    """
    return _snapshot("model", name, revision, MODEL_FILES, CheckpointError)


def dataset_folder(name: str, revision: str | None = None, part: str | None = None) -> Path:
    """Local folder with the parquet files of a data set and its card; arguments as in `model_folder`.

    Args:
        part: only this folder of the data set, such as a language pair; then that folder is returned.

    Raises:
        DataError: it cannot be had; the message says what to set.
    """
    if part is None:
        return _snapshot("dataset", name, revision, DATASET_FILES, DataError)
    return _snapshot("dataset", name, revision, (f"{part}/*.parquet",), DataError) / part


def _snapshot(kind: str, name: str, revision: str | None, patterns: tuple[str, ...], failure: type[BookError]) -> Path:
    from huggingface_hub import constants, snapshot_download

    revision = revision or profiles.pins(profiles.PINS).get(name, {}).get("revision")
    reason, passing, cause = "", True, None
    for attempt in range(ATTEMPTS):
        if not passing:
            break
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            folder = Path(snapshot_download(name, repo_type=kind, revision=revision, allow_patterns=list(patterns)))
        except Exception as error:  # OSError, and a dozen classes of huggingface_hub and of two versions of httpx
            (reason, passing), cause = explain(error), error
            continue
        missing, damaged = _faults(folder, patterns, _known_hashes(name, revision), NEEDED[kind])
        if not missing and not damaged:
            return folder
        for file in damaged:  # the next attempt, or the next run, fetches it again
            file.resolve().unlink(missing_ok=True)
            file.unlink(missing_ok=True)
        offline = "；现在不联网（HF_HUB_OFFLINE）" if constants.HF_HUB_OFFLINE else ""
        what = [file.relative_to(folder).as_posix() for file in damaged]
        reason = f"{what[0]} 的内容与它的哈希不符，已从缓存删去{offline}" if what else f"缺少文件 {missing[0]}{offline}"
        passing, cause = not offline and bool(what), None
    raise failure(
        f"取不到{NAMES[kind]} {name}（版本 {revision or '默认'}，{machine.shown_endpoint()}）：{reason}。"
        '可设 HF_ENDPOINT 换镜像；下载过的可设 HF_HUB_OFFLINE=1 只用缓存；或改用 PROFILE = "mini"'
    ) from cause


def _known_hashes(name: str, revision: str | None) -> dict[str, str]:
    """Path -> hash, as `make pin` has read them for this very commit."""
    pin = profiles.pins(profiles.PINS).get(name, {})
    return pin.get("files", {}) if revision is not None and revision == pin.get("revision") else {}


def _faults(folder: Path, patterns: tuple[str, ...], known: dict[str, str], needed: str) -> tuple[list[str], list[Path]]:
    """Paths that should be there and are not, and files whose content is not what their hash says."""
    found = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    wanted = {path: file for path, file in found.items() if any(fnmatch(path, pattern) for pattern in patterns)}
    # Of the commit's files only those that were asked for: a part of a data set lacks the other parts.
    missing = [path for path in known if path not in found and any(fnmatch(path, pattern) for pattern in patterns)]
    if not any(fnmatch(path, needed) for path in wanted):
        missing.append(needed)
    return missing, [file for path, file in wanted.items() if not _holds(file, known.get(path))]


def _holds(file: Path, expected: str | None) -> bool:
    """Whether a file has its hash; without a known one, the name of the cache's blob is it (where there are symlinks)."""
    blob = file.resolve()
    expected = expected or (blob.name if blob.parent.name == "blobs" and HASH.fullmatch(blob.name) else None)
    status = blob.stat()
    key = (str(blob), status.st_size, status.st_mtime_ns)
    if expected is None or key in _verified:
        return True
    if file_hash(blob, len(expected)) != expected:
        return False
    _verified.add(key)
    return True


def file_hash(file: Path, length: int) -> str:
    """The hub's hash of a file: SHA-256 (64 digits), or git's hash of a blob (40 digits)."""
    digest = hashlib.sha256() if length == 64 else hashlib.sha1(b"blob %d\0" % file.stat().st_size)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def explain(error: Exception) -> tuple[str, bool]:
    """Why a download failed, in Chinese, and whether another attempt may succeed."""
    chain = list(causes(error))
    classes = {kind.__name__ for one in chain for kind in type(one).__mro__}
    numbers = {one.errno for one in chain if isinstance(one, OSError)}
    codes = [response.status_code for one in chain if (response := getattr(one, "response", None)) is not None]
    if errno.ENOSPC in numbers or errno.EDQUOT in numbers:
        return "磁盘满了：腾出空间，或用 HF_HOME 把缓存放到别的盘上", False
    if "OfflineModeIsEnabled" in classes:
        return "HF_HUB_OFFLINE 要求不联网，而缓存里没有它或者不全：先联网运行一次", False
    if "RevisionNotFoundError" in classes:
        return "模型库里没有这个版本：用 make pin 重新查明，或换一个镜像", False
    if "GatedRepoError" in classes or "RepositoryNotFoundError" in classes or {401, 403} & set(codes):
        return "模型库里没有这个名字，或者要授权才能取", False
    if "HFValidationError" in classes:
        return "这不是文件夹，也不是模型库里的名字（所有者/名字）", False
    if codes:
        hint = "请求太多，过几分钟再试" if codes[0] == 429 else "服务出错，过一会儿再试"
        return f"模型库回答 {codes[0]}（{hint}）", codes[0] in (408, 429) or codes[0] >= 500
    if numbers & {errno.EACCES, errno.EROFS, errno.EPERM}:
        return "缓存文件夹不能写：用 HF_HOME 换一个位置", False
    if any("Consistency check failed" in str(one) for one in chain):
        return "文件没有收全，已丢弃", True
    if "TimeoutException" in classes or isinstance(error, TimeoutError):
        return "模型库没有及时回答", True
    if "TransportError" in classes or "ConnectionError" in classes:
        return "连不上模型库，或传到一半断了", True
    return (str(error).strip() or type(error).__name__).splitlines()[0], False
