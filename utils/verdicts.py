"""Whether a method beats its rival, in one printed line that is computed from the scores and claims no more than they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

DEVIATIONS = 2  # of the seeds (in `paired`: standard errors), that a lead must reach to count


def verdict(name: str, values: Sequence[float], rival: str, bar: float, scale: float = 100) -> str:
    """The line for the mean of some runs against a rival's score.

    Args:
        name: what was run, and how it is scored.
        values: scores, one a seed. One run alone has no spread, so of it the line says only that it was higher this time.
        rival: what it is compared with.
        bar: the rival's score.
        scale: what the gap is printed in: 100 turns shares into percentage points, 1 leaves scores as they are.
    """
    gap, spread = np.mean(values) - bar, np.std(values, ddof=1) if len(values) > 1 else 0.0
    if gap <= 0:
        word = "没有赢过"
    elif len(values) == 1:
        word = "这一次高过"
    else:
        word = "没有明显赢过" if gap < DEVIATIONS * spread else "赢过"
    return f"结论：{name}（{len(values)} 次运行）{word}“{rival}”，差 {scale * gap:+.1f}"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, str]:
    """Two methods by the same seeds: mean difference, its standard error, and 更高, 更低 or 分不出 (two errors must be passed).

    Args:
        ours, theirs: scores, one a seed, in the same order of seeds; two seeds or more.
    """
    gaps = np.asarray(ours, float) - np.asarray(theirs, float)
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return mean, error, "分不出" if abs(mean) <= DEVIATIONS * error else "更高" if mean > 0 else "更低"


def verdict_on_best(name: str, rows: Sequence[Mapping[str, float]], rivals: Mapping[str, Mapping[str, float]],
                    titles: Mapping[str, str], scale: float = 100) -> str:
    """A line for each kind of score, against the rival that is best by it.

    Args:
        name: what was run.
        rows: scores by kind, one row a seed.
        rivals: name of a rival -> its scores by kind.
        titles: kind of score -> how it is printed.
        scale: as in `verdict`.
    """
    lines = []
    for kind, title in titles.items():
        best = max(rivals, key=lambda rival: rivals[rival][kind])
        lines.append(verdict(f"{name}，{title}", [row[kind] for row in rows], best, rivals[best][kind], scale))
    return "\n".join(lines)
