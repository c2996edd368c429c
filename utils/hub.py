"""Models and data sets from the Hugging Face hub or a mirror of it: fetched whole, or refused in one clear line.

HF_ENDPOINT (a mirror), HF_HUB_OFFLINE and HF_HOME are read by huggingface_hub; the book sets none of them.
"""

from __future__ import annotations

from pathlib import Path

from .errors import BookError, CheckpointError, DataError

MODEL_FILES = ("config.json", "vocab.txt", "tokenizer*.json", "special_tokens_map.json", "model.safetensors")
DATASET_FILES = ("README.md", "*.parquet")


def model_folder(name: str, revision: str | None = None) -> Path:
    """Local folder with the files that the book reads of a model.

    Args:
        name: hub id, "owner/name".
        revision: commit, tag or branch; None takes the hub's default branch.

    Raises:
        CheckpointError: it cannot be had.
    """
    return _snapshot("model", name, revision, MODEL_FILES, CheckpointError)


def dataset_folder(name: str, revision: str | None = None) -> Path:
    """Local folder with the parquet files of a data set and its card; arguments as in `model_folder`.

    Raises:
        DataError: it cannot be had.
    """
    return _snapshot("dataset", name, revision, DATASET_FILES, DataError)


def _snapshot(kind: str, name: str, revision: str | None, patterns: tuple[str, ...], failure: type[BookError]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type=kind, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        what = {"model": "模型", "dataset": "数据"}[kind]
        raise failure(
            f"取不到{what} {name}（版本 {revision or '默认'}）：{reason}。可设 HF_ENDPOINT 换镜像，"
            "已下载过可设 HF_HUB_OFFLINE=1，或改用 PROFILE = \"mini\""
        ) from error
