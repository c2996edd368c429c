"""`make pin`: ask a hub which commit each model and data set of profile `full` is at, and what its files hash to."""

from __future__ import annotations

import datetime
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .. import profiles
from ..errors import RunError
from ..files import write_atomically


def entries() -> list[tuple[str, profiles.HubEntry]]:
    """("model" or "dataset", entry) for everything in the tables of `utils.profiles`."""
    return [*(("model", entry) for entry in profiles.HUB_MODELS.values()),
            *(("dataset", entry) for entry in profiles.HUB_DATASETS.values())]


def unpinned() -> list[str]:
    """Ids whose commit nobody has resolved, or of whose files no hash was read: then there is nothing to check them with."""
    return [entry.id for _, entry in entries() if not entry.revision or not entry.files]


def pin(update: bool = False, path: Path = profiles.PINS) -> list[str]:
    """Resolve every entry at the hub that HF_ENDPOINT names, and write the table.

    Args:
        update: move each entry to the present commit of its default branch; otherwise a commit that is known stays,
            and only its files' hashes are read.
        path: the table.

    Returns:
        One line for each entry.

    Raises:
        RunError: an entry cannot be resolved. The others are written all the same; what the table had of it stays.
    """
    known = profiles.pins(path)
    found = {entry.id: known[entry.id] for _, entry in entries() if entry.id in known}
    lines, failures = [], []
    for kind, entry in entries():
        before = known.get(entry.id, {}).get("revision")
        try:
            now = resolve(kind, entry.id, None if update else before, entry.branch)
        except RunError as error:
            failures.append(str(error))
            continue
        found[entry.id] = now
        change = "不变" if before == now["revision"] else f"原为 {before or '空'}"
        lines.append(f"{entry.id}：{now['revision']}（{change}），{len(now['files'])} 个文件")
    if lines:
        text = json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        write_atomically(path, text.encode())
    if failures:
        raise RunError(f"{'；'.join(failures)}。查明并写入表的有 {len(lines)} 项；可设 HF_ENDPOINT 换镜像")
    return lines


def resolve(kind: str, name: str, revision: str | None, beside: str | None = None) -> dict[str, Any]:
    """The commit of an entry, the hashes of the files that the book reads, and where and when they were read.

    Args:
        kind: "model" or "dataset".
        name: hub id.
        revision: commit, tag or branch; None takes the default branch.
        beside: branch to read where the default one has not what the book needs, such as the hub's own parquet copy.

    Raises:
        RunError: the hub does not answer, or has not what the book needs.
    """
    from huggingface_hub import HfApi

    from .. import hub, machine

    patterns = hub.MODEL_FILES if kind == "model" else hub.DATASET_FILES
    api = HfApi()
    try:
        commit = api.repo_info(name, repo_type=kind, revision=revision).sha
        tree = list(api.list_repo_tree(name, repo_type=kind, revision=commit, recursive=True))
    except Exception as error:  # as in utils.hub: a dozen classes
        reason, _ = hub.explain(error)
        raise RunError(f"查不到 {name}（{machine.shown_endpoint()}）：{reason}") from error
    files = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in tree
             if hasattr(file, "blob_id") and any(fnmatch(file.path, pattern) for pattern in patterns)}
    if not any(fnmatch(path, hub.NEEDED[kind]) for path in files):
        if revision is None and beside:
            return resolve(kind, name, beside)
        raise RunError(f"{name}（{commit}）里没有 {hub.NEEDED[kind]}")
    today = datetime.date.today().isoformat()
    return {"revision": commit, "files": dict(sorted(files.items())), "source": f"{machine.shown_endpoint()}, {today}"}
