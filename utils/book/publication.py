"""What publication needs: a reason to refuse, the list of jobs, the outputs of other machines, a manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import profiles
from ..errors import RunError
from ..files import write_atomically
from . import address, cache, museum, pins, recording, runner
from .chapters import Chapter, all_chapters
from .dependencies import digest
from .results import ChapterResult

MANIFEST = "manifest.json"


def faults(root: Path = profiles.ROOT) -> list[str]:
    """Why the book must not be published as it is; empty if it may."""
    lines = []
    if not address.read(root).repository:
        lines.append("还没有地址：先运行 make adopt REPO=所有者/仓库 GPU_RUNNER=标签")
    lines += [f"{name} 没有钉好（要提交和各文件的哈希）：在能访问模型库的机器上运行 make pin" for name in pins.unpinned()]
    for name, reasons in recording.stale_all(root).items():
        lines += [f"{name}：记录不能用：{reason}（make record）" for reason in reasons]
    return lines + [f"博物馆（第 14 章）：记录不能用：{reason}（make museum）" for reason in museum.faults(root)]


def moving_ref(ref: str) -> list[str]:
    """Why a workflow must not publish what it was started for: Colab copies fetch the book by name, and a branch moves.

    Args:
        ref: GITHUB_REF, such as "refs/tags/v1.0"; empty outside a workflow.
    """
    if not ref or ref.startswith("refs/tags/"):
        return []
    return [f"{ref} 不是标签：Colab 副本按名字取本书，分支以后会移动。推送一个标签 v…，或手动启动时选一个标签"]


def plan(root: Path = profiles.ROOT) -> list[str]:
    """Lines `name=value` for a workflow: the runner's label, and the chapters as JSON, one job each."""
    return [f"runner={address.read(root).gpu_runner}", f"chapters={json.dumps([one.path.stem for one in all_chapters(root)])}"]


def gather(folder: Path, profile: str, root: Path = profiles.ROOT) -> list[ChapterResult]:
    """The results of all chapters that other machines have executed, each checked against today's source.

    A cache entry is named by a hash of everything that it depends on, its device included; so each is looked for under
    the name that the source gives to it for the device that it says it ran on.

    Args:
        folder: holds copies of those machines' caches of this profile, `<chapter>/<key>.json` and `.ipynb`, at any depth.
        profile: "mini" or "full".
        root: the repository.

    Raises:
        RunError: a chapter is missing, or was executed from another source; all of them are named.
    """
    results, missing = [], []
    for chapter in all_chapters(root):
        found = next(filter(None, (_entry(path, chapter, profile, root) for path in sorted(folder.rglob("*.json")))), None)
        results.append(found) if found else missing.append(chapter.id)
    if missing:
        raise RunError(f"{folder} 里没有这些章由现在的源文件执行出的结果：{'、'.join(missing)}")
    return results


def _entry(record: Path, chapter: Chapter, profile: str, root: Path) -> ChapterResult | None:
    """The result in one file of a cache, if it is this chapter's and fits its source."""
    if not record.parent.as_posix().endswith(chapter.id):
        return None
    try:
        device = json.loads(record.read_bytes())["device"]
    except (ValueError, KeyError, TypeError):
        return None
    settings = runner.Settings(profile=profile, root=root)
    parameters = runner.parameters_of(chapter, settings)
    key = cache.key_of(cache.inputs(chapter, parameters, profile, device, root))
    store = cache.Store(root, profile)
    store.folder = Path(record.as_posix().removesuffix(f"{chapter.id}/{record.name}"))
    return store.load(chapter, key)


def manifest(results: Sequence[ChapterResult], root: Path = profiles.ROOT) -> dict[str, Any]:
    """What was published: versions, hardware and commit; hashes of weights and hub files; each chapter's run and results."""
    weights = profiles.CHECKPOINT / "model.safetensors"
    return {
        "address": address.read(root).url,
        **recording.circumstances(root),
        "checkpoint_sha256": digest(weights.read_bytes()) if weights.is_file() else None,
        "hub": {name: pin["revision"] for name, pin in profiles.pins(profiles.PINS).items()},
        "packages": _locked(root),
        "chapters": {
            result.chapter: {
                "profile": result.profile, "device": result.device, "run_at": result.run_at,
                "seconds": round(result.seconds, 1), "peak_memory_mb": result.peak_memory_mb,
                "source_sha256": digest(result.source.read_bytes()),
                "executed_sha256": digest(result.executed.read_bytes()) if result.executed else None,
                "results": result.to_json().get("results"), "stale": result.stale,
            }
            for result in results
        },
    }


def write_manifest(results: Sequence[ChapterResult], site: Path, root: Path = profiles.ROOT) -> Path:
    """Put the manifest beside the pages of a site."""
    path = site / MANIFEST
    write_atomically(path, (json.dumps(manifest(results, root), ensure_ascii=False, indent=1) + "\n").encode())
    return path


def _locked(root: Path) -> dict[str, str]:
    """Package -> version of the lock."""
    text = (root / "requirements.lock").read_text(encoding="utf-8") if (root / "requirements.lock").is_file() else ""
    return dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", text))
