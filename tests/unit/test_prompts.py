"""Cloze prompts against one unpadded question at a time, tokenised as one string."""

import keras
import numpy as np
import pytest

from utils import checkpoints, profiles, prompts
from utils.errors import ConfigError

TEXTS = ["房间很大,服务也好。", "差", "屏幕坏了,售后不理人,再也不买了。"]


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.load_tokenizer(profiles.CHECKPOINT)


@pytest.mark.parametrize("template", ["总之很[MASK]。{text}", "{text}总之很[MASK]。", "说:{text}真[MASK]!"])
def test_windows_equal_the_filled_template_tokenised_as_one_string(tokenizer, template):
    windows, places = prompts.encode_cloze(tokenizer, TEXTS, template)
    for text, ids, place in zip(TEXTS, windows.input_ids, places):
        expected = tokenizer(template.replace("{text}", text))["input_ids"]
        assert ids.tolist() == expected and expected.index(tokenizer.mask_token_id) == place


def test_a_long_text_is_cut_and_the_template_is_not(tokenizer):
    windows, places = prompts.encode_cloze(tokenizer, ["好" * 100], "很[MASK],{text}完了。", max_length=20)
    assert tokenizer.decode(windows.input_ids[0]).replace(" ", "") == "[CLS]很[MASK]," + "好" * 12 + "完了。[SEP]"
    assert places.tolist() == [2]


def test_an_empty_text_leaves_the_bare_template(tokenizer):
    windows, _ = prompts.encode_cloze(tokenizer, [""], "{text}总之很[MASK]。")
    assert windows.input_ids[0].tolist() == tokenizer("总之很[MASK]。")["input_ids"]


def test_a_mask_in_the_text_is_not_taken_for_the_templates(tokenizer):
    _, places = prompts.encode_cloze(tokenizer, ["很[MASK]。"], "{text}总之[MASK]")
    assert places.tolist() == [6]  # [CLS] 很 [MASK] 。 总 之 [MASK]


@pytest.mark.parametrize("template", ["很好。{text}", "[MASK]", "{text}[MASK][MASK]", "{text}{text}[MASK]"])
def test_a_template_without_exactly_one_of_each_is_refused(tokenizer, template):
    with pytest.raises(ConfigError, match="恰好"):
        prompts.encode_cloze(tokenizer, TEXTS, template)


def test_a_template_that_leaves_no_room_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="max_length=8"):
        prompts.encode_cloze(tokenizer, TEXTS, "这一家酒店很[MASK]。{text}", max_length=8)


def test_word_logits_equal_one_unpadded_question_at_a_time(tokenizer):
    model = checkpoints.load("language", profiles.CHECKPOINT)
    word_ids = tokenizer.convert_tokens_to_ids(["差", "好", "快"])
    windows, places = prompts.encode_cloze(tokenizer, TEXTS, "{text}总之很[MASK]。")
    found = prompts.word_logits(model, windows, places, word_ids)
    for ids, place, row in zip(windows.input_ids, places, found):
        logits = keras.ops.convert_to_numpy(model({"input_ids": ids[None]}))[0, place]
        np.testing.assert_allclose(row, logits[word_ids], atol=1e-3)
