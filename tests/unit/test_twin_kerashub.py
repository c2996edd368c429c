"""The book's encoder against its twin, KerasHub's BERT, on the same Hugging Face folder.

KerasHub always uses the tanh approximation of GELU and needs a pooler (it reads neither `hidden_act` nor the dropout
rates), so the comparison takes the fixture with a pooler and tells our encoder to use that GELU.
"""

import pathlib

import numpy as np
import pytest

from tests.tools import needed
from utils import checkpoints

keras_hub = needed("keras_hub")

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "bert" / "backbone"


@pytest.fixture(scope="module")
def batch():
    with np.load(FOLDER / "outputs.npz") as stored:
        return {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


@pytest.fixture(scope="module")
def twin_outputs(batch):
    # `load_weights=True` reads model.safetensors; the folder is local, so nothing is fetched.
    twin = keras_hub.models.BertBackbone.from_preset(str(FOLDER))
    outputs = twin.predict_on_batch(
        {
            "token_ids": batch["input_ids"],
            "padding_mask": batch["attention_mask"],
            "segment_ids": batch["token_type_ids"],
        }
    )
    return {name: np.asarray(value) for name, value in outputs.items()}


def ours(batch, activation):
    encoder = checkpoints.load_encoder(FOLDER, hidden_act=activation)
    states = encoder(batch, training=False)
    return np.asarray(states), np.asarray(encoder.pool(states))


def test_hidden_states_and_pooled_output_equal_kerashubs_bert_with_tanh_gelu(batch, twin_outputs):
    states, pooled = ours(batch, "gelu_new")
    real = batch["attention_mask"].astype(bool)
    np.testing.assert_allclose(states[real], twin_outputs["sequence_output"][real], rtol=0, atol=1e-5)
    np.testing.assert_allclose(pooled, twin_outputs["pooled_output"], rtol=0, atol=1e-5)


def test_exact_gelu_differs_from_kerashubs_by_far_more_than_the_tolerance(batch, twin_outputs):
    """Shows that the comparison above can fail, and that the fixture's own `gelu` is not the twin's."""
    states, _ = ours(batch, "gelu")
    real = batch["attention_mask"].astype(bool)
    assert np.abs(states[real] - twin_outputs["sequence_output"][real]).max() > 1e-4


def test_kerashubs_own_lora_of_rank_8_trains_the_number_of_parameters_that_chapter_6_explains():
    """A twelfth of bert-base: counts of LoRA depend on neither the vocabulary nor the feed-forward width."""
    block = keras_hub.models.BertBackbone(8, 1, 12, 768, 16, max_sequence_length=8)
    block.enable_lora(8)
    assert 12 * sum(int(np.prod(v.shape)) for v in block.trainable_variables) == 1_800_192
