"""The figure style: Chinese is drawn, equal data give equal bytes, wrong input gets a clear line."""

import io
import logging
import warnings

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

from utils import figures  # noqa: E402
from utils.errors import ConfigError  # noqa: E402


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        figures.use_style()
        yield
    plt.close("all")


def draw_all() -> list:
    counts = np.array([[8, 2], [1, 9]])
    weights = np.full((14, 14), 1 / 14)
    return [
        figures.curves({"训练（损失）": ([1, 2, 3], [3.0, 2.0, -1.0]), "验证": ([1, 2, 3], [3.1, 2.4, 2.2])},
                       "步数（千步）", "损失（奈特）", "学习曲线：训练与验证"),
        figures.bars({"词典匹配": 0.4, "条件随机场": 0.8}, "实体 F1", spread={"词典匹配": 0.01}),
        figures.bars({"词典": {"人名": 0.4, "地名": 0.2}, "编码器": {"人名": 0.9, "机构名": 0.7}}, "实体 F1（→ 越大越好）"),
        figures.confusion(counts, ["人名", "其他"]),
        figures.attention(weights[:3, :3], ["[CLS]", "我", "们"]),
        figures.attention(weights, list("神经网络自然语言处理的新突破")),
    ]


def render(axes, image_format="svg") -> bytes:
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format=image_format, metadata={"Date": None} if image_format == "svg" else None)
    return buffer.getvalue()


def test_chinese_is_drawn_without_missing_glyphs_or_fonts(caplog):
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        for axes in draw_all():
            render(axes, "png")
    said = [str(warning.message) for warning in caught] + [record.getMessage() for record in caplog.records]
    assert not [line for line in said if "Glyph" in line or "findfont" in line]


def test_the_check_above_can_fail():
    with matplotlib.rc_context({"font.family": ["DejaVu Sans"]}), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        render(figures.curves({"一": ([1], [1])}, "步", "值"), "png")
    assert any("Glyph" in str(warning.message) for warning in caught)


def test_equal_data_give_equal_bytes():
    first, second = ([render(axes) for axes in draw_all()] for _ in range(2))
    assert first == second


def test_svg_needs_no_font_of_the_reader():
    assert b"<text" not in render(draw_all()[0])


def contrast(colour: str) -> float:
    """Contrast with white (WCAG 2.1)."""
    channels = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return 1.05 / (float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)


def test_ink_and_palette_stand_out_from_the_ground():
    assert contrast(figures.INK) >= 7
    assert min(map(contrast, figures.PALETTE)) >= 4.5


def test_every_number_of_a_heatmap_stands_out_from_its_tile():
    shades = np.linspace(0, 1, 100).reshape(10, 10)
    names = [str(i) for i in range(10)]
    ax = figures.heat(shades, names, names)
    picture = ax.images[0]
    for text in ax.texts:
        column, row = (round(place) for place in text.get_position())
        tile, letters = (contrast(matplotlib.colors.to_hex(colour)) for colour in (picture.to_rgba(shades[row, column]), text.get_color()))
        assert max(tile, letters) / min(tile, letters) >= 4.5, shades[row, column]


def test_figures_show_the_numbers_that_they_are_given():
    ax = figures.curves({"甲": ([1, 2, 3], [3.0, 2.5, 2.0]), "乙": ([1, 2], [0.5, -1.0])}, "步", "值")
    assert {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines} == {
        "甲": ([1, 2, 3], [3.0, 2.5, 2.0]), "乙": ([1, 2], [0.5, -1.0])}
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 2
    ax = figures.bars({"甲": {"人名": 0.25, "地名": 0.5}, "乙": {"人名": 1.0}}, "F1")
    assert sorted(patch.get_width() for patch in ax.patches) == [0.25, 0.5, 1.0]
    assert sorted(text.get_text() for text in ax.texts) == ["0.25", "0.5", "1"]
    counts = np.array([[8, 2], [3, 0]])
    ax = figures.confusion(counts, ["人名", "其他"])
    written = {tuple(map(round, text.get_position())): text.get_text() for text in ax.texts}  # (column, row)
    assert written == {(column, row): str(counts[row, column]) for row in range(2) for column in range(2)}
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), [[0.8, 0.2], [1.0, 0.0]])  # shares of the true class
    weights = np.array([[0.9, 0.1], [0.25, 0.75]])
    np.testing.assert_allclose(np.asarray(figures.attention(weights, ["甲", "乙"]).images[0].get_array()), weights)


@pytest.mark.parametrize("call", [
    lambda: figures.curves({"甲": ([1, 2], [1])}, "x", "y"),
    lambda: figures.bars({}, "y"),
    lambda: figures.confusion(np.zeros((2, 3), dtype=int), ["a", "b"]),
    lambda: figures.use_style("gif"),
])
def test_wrong_input_gets_one_clear_line(call):
    with pytest.raises(ConfigError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_missing_font_package_is_named(monkeypatch):
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install pylopdf-fonts-zh-cn"):
        figures.font_path()
