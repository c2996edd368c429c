"""Draw a map narrow enough for a phone: boxes in rows, relations told apart by dash, arrow head and label.

Everything is measured in points, so text keeps its size: at 350 CSS pixels, the width of a phone's page, the smallest
letters are still about 10 pixels high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import figures
from .article import ArticleChart
from .corrected import ConceptMap
from .nodes import CONCEPTS
from .rules import RELATIONS, Contradiction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, ROW, MARGIN = 330.0, 64.0, 20.0
FONT, SMALL, PADDING = 11.0, 10.0, 7.0
FILLS = {"data": "#eaf2f9", "parameters": "#fdf0e6", "setting": "#eef6f2", "measure": "#f5eef7"}
# relation -> (dashes, colour, arrow head at the target)
STYLES = {
    "is-a": ("-", figures.PALETTE[0], "hollow"),
    "part-of": ("-", figures.PALETTE[3], "diamond"),
    "uses": ((0, (5, 3)), figures.PALETTE[2], "open"),
    "precedes": ("-", figures.INK, "full"),
    "alternative-to": ((0, (1, 2)), figures.PALETTE[4], None),
    "accepted": ("-", figures.PALETTE[5], "full"),
    "refused": ((0, (4, 2)), figures.PALETTE[1], "full"),
}


@dataclass(frozen=True)
class Box:
    """A node's box: centre, width and height in points, from the lower left corner of the picture."""

    x: float
    y: float
    width: float
    height: float
    label: str

    def holds(self, points: np.ndarray, gap: float = 0.0) -> np.ndarray:
        """Which of the points, (n, 2), lie in the box widened by `gap` on every side."""
        return (abs(points[:, 0] - self.x) <= self.width / 2 + gap) & (abs(points[:, 1] - self.y) <= self.height / 2 + gap)


@dataclass(frozen=True)
class Line:
    """A relation's line: points from one box's edge to the other's, style, and the words on it with their place."""

    points: np.ndarray
    style: str
    label: str
    place: tuple[float, float] = (0.0, 0.0)


def text_width(text: str, size: float) -> float:
    """Estimated width in points: a Han character is as wide as it is high, a letter 0.6 of that."""
    return max(sum(size if ord(letter) > 0x2000 else 0.6 * size for letter in line) for line in text.split("\n"))


def layout(chart: ConceptMap | ArticleChart, faults: Sequence[Contradiction] = ()) -> tuple[dict[str, Box], list[Line], float]:
    """Boxes by concept, lines, and the height of the picture in points."""
    lowest = max(row for _, row in chart.places.values())
    height = 2 * MARGIN + lowest * ROW
    names = getattr(chart, "labels", {})
    boxes = {}
    for node, (x, row) in chart.places.items():
        label = names.get(node, CONCEPTS[node].label)
        size = text_width(label, FONT) + 2 * PADDING, FONT * (1 + 1.3 * label.count("\n")) + 2 * PADDING
        boxes[node] = Box(x, height - MARGIN - row * ROW, *size, label)
    lines: list[Line] = []
    if isinstance(chart, ConceptMap):
        for edge in chart.edges:
            points = _curve(boxes[edge.source], boxes[edge.target])
            lines.append(Line(points, edge.relation, RELATIONS[edge.relation]))
    else:
        number = {fault.edge: f"✕ {index}" for index, fault in enumerate(faults, start=1)}
        for arrow in chart.arrows:
            points = _curve(boxes[arrow.tail], boxes[arrow.head], chart.bends.get((arrow.tail, arrow.head), 0.0))
            label = number.get(arrow.edge, "")
            lines.append(Line(points, "refused" if label else "accepted", label))
    return boxes, _place_labels(lines, list(boxes.values())), height


def _curve(start: Box, end: Box, bend: float = 0.0) -> np.ndarray:
    """Points of a curve from centre to centre, without what the two boxes cover."""
    first, last = np.array([start.x, start.y]), np.array([end.x, end.y])
    along = last - first
    normal = np.array([-along[1], along[0]]) / np.hypot(*along)
    control = (first + last) / 2 + 2 * bend * normal
    t = np.linspace(0, 1, 401)[:, None]
    points = (1 - t) ** 2 * first + 2 * t * (1 - t) * control + t**2 * last
    return points[~(start.holds(points, 1.5) | end.holds(points, 2.5))]


def label_box(line: Line, place: tuple[float, float] | None = None) -> Box:
    """The ground of a line's words."""
    return Box(*(place or line.place), text_width(line.label, SMALL) + 2, SMALL + 3, line.label)


def _place_labels(lines: list[Line], boxes: list[Box]) -> list[Line]:
    """Put each line's words where they cover neither a box nor other words, and few other lines; near the middle."""
    placed: list[Line] = []
    for line in lines:
        others = [other.points for other in lines if other is not line]
        taken = [*boxes, *(label_box(other) for other in placed if other.label)]

        def cost(share: float) -> float:
            place = tuple(line.points[int(share * (len(line.points) - 1))])
            ground = label_box(line, place)
            covered = sum(abs(ground.x - box.x) < (ground.width + box.width) / 2 + 1
                          and abs(ground.y - box.y) < (ground.height + box.height) / 2 + 1 for box in taken)
            crossed = sum(bool(ground.holds(points, 1).any()) for points in others)
            return 10 * covered + 2 * crossed + abs(share - 0.46)

        share = min(np.linspace(0.2, 0.75, 23), key=cost) if line.label else 0.5
        x, y = line.points[int(share * (len(line.points) - 1))]
        placed.append(replace(line, place=(float(x), float(y))))
    return placed


def draw(chart: ConceptMap | ArticleChart, faults: Sequence[Contradiction] = (), title: str | None = None) -> Axes:
    """Draw a corrected map with its relations, or a chart of the article with its refused arrows numbered.

    Args:
        chart: what to draw.
        faults: for a chart of the article, what `faults` found; the arrows of these edges are marked ✕ 1, ✕ 2, …
        title: written above; says which of the two it is if None.
    """
    import matplotlib.pyplot as plt

    boxes, lines, height = layout(chart, faults)
    corrected = isinstance(chart, ConceptMap)
    title = title or (f"改正后：{chart.title}" if corrected else f"原文 {chart.section}")
    head = 24.0
    figure = plt.figure(figsize=(WIDTH / 72, (height + head) / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height + head))
    axes.set_axis_off()
    axes.text(8, height + head - 8, title, fontsize=FONT + 1, va="top", color=figures.INK)
    for line in lines:
        _draw_line(axes, line)
    for line in lines:
        if line.label:
            axes.text(*line.place, line.label, fontsize=SMALL, color=STYLES[line.style][1], ha="center", va="center", zorder=3,
                      bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"})
    for node, box in boxes.items():
        _draw_box(axes, box, CONCEPTS[node].kind)
    return axes


def _draw_box(axes: Axes, box: Box, kind: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = box.x - box.width / 2 + 3, box.y - box.height / 2 + 3
    axes.add_patch(FancyBboxPatch(corner, box.width - 6, box.height - 6, boxstyle="round,pad=3,rounding_size=4",
                                  facecolor=FILLS.get(kind, "white"), edgecolor=figures.INK, linewidth=1.0, zorder=4))
    axes.text(box.x, box.y, box.label, ha="center", va="center_baseline", fontsize=FONT, color=figures.INK, zorder=5)


def _draw_line(axes: Axes, line: Line) -> None:
    from matplotlib.patches import Polygon

    dashes, colour, head = STYLES[line.style]
    points = line.points
    tip, back = points[-1], points[int(0.9 * (len(points) - 1))]
    direction = (tip - back) / np.hypot(*(tip - back))
    side = np.array([-direction[1], direction[0]])
    length = {"hollow": 9.0, "diamond": 11.0, "full": 8.0}.get(head, 0.0)
    keep = np.hypot(*(points - tip).T) >= length
    axes.plot(*points[keep].T, linestyle=dashes, color=colour, linewidth=1.4, zorder=2, solid_capstyle="butt")
    if head == "open":
        wings = np.array([tip - 8 * direction + 4 * side, tip, tip - 8 * direction - 4 * side])
        axes.plot(*wings.T, color=colour, linewidth=1.4, zorder=2)
    elif head:
        base = tip - length * direction
        shape = {"hollow": [tip, base + 5 * side, base - 5 * side], "full": [tip, base + 4 * side, base - 4 * side],
                 "diamond": [tip, tip - 5.5 * direction + 4 * side, base, tip - 5.5 * direction - 4 * side]}[head]
        axes.add_patch(Polygon(shape, facecolor="white" if head == "hollow" else colour, edgecolor=colour, linewidth=1.4, zorder=2))
