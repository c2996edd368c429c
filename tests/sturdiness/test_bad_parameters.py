"""Parameters from the command line, names of chapters and profiles, limits of the service, plans and shapes."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak import cases, scaled
from tests.sturdiness.mutations import numbers
from tests.unit.tiny_book import TinyBook
from utils import profiles
from utils.book import cache, runner
from utils.book.overrides import parse_override
from utils.book.chapters import find
from utils.encoder import EncoderConfig
from utils.errors import BookError, ConfigError
from utils.service import Limits
from utils.training import Plan


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    book = TinyBook(tmp_path_factory.mktemp("book"))
    book.notebook("01-a", "x = 1", parameters='PROFILE = "mini"\nSIZE = 1')
    return book


literals = st.recursive(
    st.sampled_from(["1", "-2.5", "1e999", "True", "None", "'x'", "b'x'", "1j", "...", "0x" + "f" * 4000, "'\\ud800'", "{1, 2}"])
    | st.integers().map(str) | st.text(max_size=5).map(repr),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
    | st.lists(st.tuples(inner, inner), max_size=2).map(lambda pairs: "{" + ", ".join(f"{a}: {b}" for a, b in pairs) + "}"),
    max_leaves=5)
deep = st.tuples(st.sampled_from(["(", "[", "-", "{1:", "not "]), st.integers(0, 5000)).map(lambda made: made[0] * made[1] + "1")
overrides = st.tuples(st.sampled_from(["SIZE", "PROFILE", "RECORD", "x y", "", "字", "ＳＩＺＥ"]) | st.text(max_size=4),
                      st.sampled_from(["=", "=", "=", " ", "=="]), literals | deep | st.text(max_size=10)).map("".join)


@scaled
@cases(1_000)
@given(overrides | st.text(max_size=12))
def test_any_parameter_of_the_command_line_reaches_the_cache_key_or_is_refused(book, text):
    (chapter,) = find(["1"], book.root)
    try:
        name, value = parse_override(text)
        parameters = runner.parameters_of(chapter, runner.Settings(root=book.root, overrides=((name, value),)))
    except ConfigError as error:
        assert str(error)
    else:
        assert name == "SIZE" and parameters["SIZE"] == value or value != value
        assert len(cache.key_of(cache.inputs(chapter, parameters, "mini", "CPU", book.root))) == 64
        json.dumps(parameters)


@scaled
@cases(1_000)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
       | st.sampled_from(["9" * 5000, "1" * 300, "²", "１", "../" * 50, "01-a", "~"]))
def test_any_name_of_a_chapter_means_one_or_is_refused(book, name):
    try:
        assert find([name], book.root)[0].path.is_file()
    except BookError as error:
        assert "01-a" in str(error)


@scaled
@cases(1_000)
@given(st.text(max_size=8))
def test_any_profile_exists_or_is_refused(name):
    try:
        assert profiles.get(name).name == name
    except ConfigError as error:
        assert "mini" in str(error)


@scaled
@cases(1_000)
@given(st.dictionaries(st.sampled_from([*Limits.__dataclass_fields__]), numbers, max_size=4))
def test_any_limits_of_the_service_make_sense_or_are_refused(changes):
    try:
        limits = Limits(**changes)
    except ConfigError as error:
        assert str(error)
    else:
        assert all(value >= 0 for value in vars(limits).values())


@scaled
@cases(1_000)
@given(st.fixed_dictionaries({"steps": numbers, "learning_rate": numbers}, optional={
    "warmup": numbers, "weight_decay": numbers, "clip_norm": numbers, "patience": st.none() | numbers,
    "decay": st.sampled_from(["linear", "cosine", "constant", "x"])}))
def test_any_plan_of_a_training_can_be_followed_or_is_refused(values):
    try:
        plan = Plan(**values)
    except ConfigError as error:
        assert str(error)
    else:
        assert plan.steps >= 1 and plan.learning_rate > 0 and 0 <= plan.warmup <= 1
        assert math.isfinite(plan.learning_rate)


@scaled
@cases(1_000)
@given(st.fixed_dictionaries({"vocab_size": numbers}, optional={
    "hidden_size": numbers, "num_attention_heads": numbers, "num_hidden_layers": numbers, "hidden_act": st.text(max_size=4),
    "hidden_dropout_prob": numbers, "layer_norm_eps": numbers}))
def test_any_shape_of_an_encoder_is_possible_or_is_refused(values):
    try:
        config = EncoderConfig.from_dict(values)
    except ConfigError as error:
        assert str(error)
    else:
        assert config.hidden_size % config.num_attention_heads == 0
