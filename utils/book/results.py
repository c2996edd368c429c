"""What one run of a chapter leaves behind: the record that the cache stores and the site reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "cached", "failed"]


@dataclass
class ChapterResult:
    """One chapter of one run.

    Attributes:
        chapter: path relative to `chapters/`, without suffix, e.g. "3-code/13-ner".
        source: the notebook in the repository.
        executed: the executed copy in the cache; None if the chapter failed.
        status: "ok" (executed now), "cached" (an earlier run still holds) or "failed".
        seconds: wall-clock time of the execution (of the earlier one if cached).
        peak_memory_mb: most memory in MiB that the kernel held together with the processes below it (`zygote.memory_mb`); None
            where the system does not tell.
        results: what the chapter passed to `records.Chapter.report`: name -> {"value": float, "band": [low, high] or None};
            "note" says why there is no band, where a run has none on purpose.
        error: one line in Chinese (chapter, cell, class, message) if it failed, else None.
        log: text file with the kernel's own output and, after a failure, the traceback.
        profile: "mini" or "full".
        device: "CPU" or the name of the GPU.
        run_at: start of the execution, ISO 8601 with time zone.
        stale: why recorded tables that the chapter shows no longer fit its code or data; empty if all do.
        versions: package -> version, "python" among them; empty for entries of an older cache.
        hardware: processor, cores, memory and device, as `recording.circumstances` gives them; may be empty, too.
    """

    chapter: str
    source: Path
    executed: Path | None
    status: Status
    seconds: float
    peak_memory_mb: float | None
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str | None = None
    log: Path = Path()
    profile: str = "mini"
    device: str = "CPU"
    run_at: str = ""
    stale: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)

    @property
    def out_of_band(self) -> list[str]:
        """Names of the results that lie outside their recorded band."""
        return [name for name, result in self.results.items() if not in_band(result)]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values; paths become strings."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def in_band(result: dict[str, Any]) -> bool:
    """Whether a result {"value", "band"} lies in its band. Without a band it does; NaN never lies in one."""
    band = result.get("band")
    return band is None or band[0] <= result["value"] <= band[1]
