"""One figure style for the whole book: a Chinese font, colours, and the plots that several chapters share.

Figures have a white ground of their own, because no single text colour reaches a contrast of 4.5 on a white and on a
dark page at once; so they can be read on the site, in Colab and in Jupyter, in light and in dark. They are SVG with
text as paths: the reader needs no font, and equal data give equal bytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT_PACKAGE = "pylopdf_fonts_zh_cn"
FONT_FILE = "NotoSansSC-Regular.otf"
INK = "#2b2f36"
FAINT = "#d9dce1"
# Every colour has a contrast of at least 4.5 against white.
PALETTE = ("#0067a5", "#c44e00", "#00785a", "#8e3b9c", "#7a5230", "#5f6670")
LINES = ("-", "--", "-.", ":")


def font_path() -> Path:
    """Path of the Chinese font file; the package is found, not imported.

    Raises:
        ConfigError: the font package is not installed or lacks the file.
    """
    spec = importlib.util.find_spec(FONT_PACKAGE)
    path = Path(spec.submodule_search_locations[0]) / FONT_FILE if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        raise ConfigError(f"找不到中文字体 {FONT_FILE}：请运行 pip install pylopdf-fonts-zh-cn。")
    return path


def use_style(image_format: str = "svg") -> None:
    """Register the Chinese font and set the book's style; `utils.setup()` calls this.

    Args:
        image_format: format of figures in a notebook: "svg", or "png" for figures of many thousand points.

    Raises:
        ConfigError: unknown format, or the font is not installed.
    """
    if image_format not in ("svg", "png"):
        raise ConfigError(f"图的格式只能是 svg 或 png，不能是 {image_format!r}。")
    import matplotlib
    from cycler import cycler
    from matplotlib import font_manager

    path = str(font_path())
    if not any(entry.fname == path for entry in font_manager.fontManager.ttflist):
        font_manager.fontManager.addfont(path)
    name = font_manager.FontProperties(fname=path).get_name()
    matplotlib.rcParams.update({
        "font.family": [name, "DejaVu Sans"],  # the second has the symbols that the first lacks
        "font.size": 11, "axes.titlesize": 12, "axes.titleweight": "normal", "axes.titlelocation": "left",
        "axes.unicode_minus": False,
        "figure.figsize": (6.4, 3.6), "figure.dpi": 110, "savefig.dpi": 110,
        "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
        "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.edgecolor": INK, "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": FAINT, "grid.linewidth": 0.7,
        "axes.prop_cycle": cycler(color=PALETTE),
        "lines.linewidth": 1.8, "legend.frameon": False, "image.cmap": "Blues",
        "svg.fonttype": "path", "svg.hashsalt": "book",
    })
    if _in_notebook():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        options = {"metadata": {"Date": None}} if image_format == "svg" else {}
        set_matplotlib_formats(image_format, **options)


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _axes(ax: Axes | None, width: float = 6.4, height: float = 3.6) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw lines that differ in colour and in dash.

    Args:
        series: name -> (x, y), two sequences of equal length.
        xlabel, ylabel: what stands on the axes, with its unit in brackets.
        title: optional title.
        ax: axes to draw into; a new figure otherwise.

    Raises:
        ConfigError: x and y of a series differ in length.
    """
    ax = _axes(ax)
    for index, (name, (x, y)) in enumerate(series.items()):
        if len(x) != len(y):
            raise ConfigError(f"曲线“{name}”的横、纵坐标个数不同：{len(x)} 与 {len(y)}。")
        marker = "o" if len(x) <= 12 else None  # few points: show that they are points
        ax.plot(x, y, LINES[index % len(LINES)], color=PALETTE[index % len(PALETTE)], marker=marker, markersize=4,
                label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if title:
        ax.set_title(title)
    if len(series) > 1:
        ax.legend()
    return ax


def bars(
    values: Mapping[str, float] | Mapping[str, Mapping[str, float]],
    label: str,
    title: str | None = None,
    spread: Mapping[str, float] | None = None,
    number: str = "{:.3g}",
    ax: Axes | None = None,
) -> Axes:
    """Draw lying bars with their values written beside them; names stay horizontal and legible.

    Args:
        values: name -> value, or name -> {group: value} for grouped bars (then the legend shows the groups).
        label: what the value is, with its unit.
        title: optional title.
        spread: name -> half width of the error bar (plain bars only), for example a standard deviation.
        number: how a value is written, a format string for one number.
        ax: axes to draw into; a new figure otherwise.

    Raises:
        ConfigError: no value at all.
    """
    if not values:
        raise ConfigError("没有可画的数值：bars() 收到的是空字典。")
    rows = {name: dict(value) if isinstance(value, Mapping) else {"": value} for name, value in values.items()}
    groups = list(dict.fromkeys(group for row in rows.values() for group in row))
    ax = _axes(ax, height=0.9 + 0.36 * max(2, len(rows) * (len(groups) + (len(groups) > 1))))
    thickness = 0.8 / len(groups)
    for index, group in enumerate(groups):
        names = [name for name in rows if group in rows[name]]
        centres = [list(rows).index(name) + (index - (len(groups) - 1) / 2) * thickness for name in names]
        heights = [rows[name][group] for name in names]
        errors = [spread.get(name, 0.0) for name in names] if spread and len(groups) == 1 else None
        drawn = ax.barh(centres, heights, thickness * 0.92, color=PALETTE[index % len(PALETTE)], label=group or None,
                        xerr=errors, error_kw={"ecolor": INK, "capsize": 3})
        ax.bar_label(drawn, labels=[number.format(value) for value in heights], padding=4, color=INK, fontsize=10)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.12)
    ax.set_xlabel(label)
    if title:
        ax.set_title(title)
    if len(groups) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def heat(
    matrix: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    number: str = "{:.2f}",
    shade: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of numbers as coloured cells.

    Args:
        matrix: (rows, columns) numbers, written into the cells when there are at most 400.
        rows, columns: names.
        number: how a value is written.
        shade: (rows, columns) values in [0, 1] that colour the cells; the matrix itself otherwise.
        ax: axes to draw into; a new figure otherwise.

    Raises:
        ConfigError: the matrix does not have one row and one column for each name.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(rows), len(columns)):
        raise ConfigError(f"矩阵的形状是 {matrix.shape}，而名称有 {len(rows)} 行、{len(columns)} 列。")
    side = 0.55 if matrix.size <= 400 else 0.28
    ax = _axes(ax, width=min(10.0, 1.6 + side * len(columns)), height=min(10.0, 1.2 + side * len(rows)))
    shade = np.asarray(matrix if shade is None else shade, dtype=float)
    picture = ax.imshow(shade, vmin=0.0, vmax=max(1.0, float(shade.max(initial=0.0))))
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    if any(len(name) > 3 for name in columns):
        ax.tick_params(axis="x", rotation=45)
        for label in ax.get_xticklabels():  # a slanted name ends under its own column
            label.set(ha="right", rotation_mode="anchor")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if matrix.size <= 400:
        for (row, column), value in np.ndenumerate(matrix):
            red, green, blue = ((v + 0.055) ** 2.4 / 1.055**2.4 if v > 0.04045 else v / 12.92
                                for v in picture.to_rgba(shade[row, column])[:3])
            light = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # WCAG 2.1; at 0.179 black and white stand out equally
            ax.text(column, row, number.format(value), ha="center", va="center", fontsize=9,
                    color="white" if light < 0.179 else "black")
    return ax


def confusion(matrix: np.ndarray, labels: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix: counts in the cells, colour by the share of the true class.

    Args:
        matrix: (true, predicted) counts.
        labels: names of the classes, in the order of the matrix.
        ax: axes to draw into; a new figure otherwise.
    """
    matrix = np.asarray(matrix)
    totals = matrix.sum(axis=1, keepdims=True) if matrix.ndim == 2 else 1
    ax = heat(matrix, labels, labels, number="{:d}", shade=matrix / np.maximum(totals, 1), ax=ax)
    ax.set(xlabel="预测类别", ylabel="真实类别")
    return ax


def attention(weights: np.ndarray, tokens: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw the attention of one head.

    Args:
        weights: (query, key) probabilities; each row sums to one.
        tokens: the tokens, for both axes.
        ax: axes to draw into; a new figure otherwise.
    """
    ax = heat(weights, tokens, tokens, number="{:.2f}" if len(tokens) <= 12 else "", ax=ax)
    ax.set(xlabel="被注意的词元（键）", ylabel="发出注意的词元（查询）")
    return ax
