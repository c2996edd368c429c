"""The encoder, its heads and the checkpoint reader against Hugging Face's own BERT (outputs stored by
tests/fixtures/make_bert_fixtures.py)."""

import ast
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from utils import checkpoints, encoder, heads, prediction
from utils.errors import CheckpointError, ConfigError
from utils.heads import layers_by_path, replace_layer
from utils.tensor_names import tensor_names

FIXTURES = Path(__file__).parent.parent / "fixtures" / "bert"
KIND = {
    "backbone": "encoder",
    "token_classifier": "token",
    "masked_lm": "language",
    "sequence_classifier": "sequence",
    "legacy_names": "language",
    "causal_lm": "language",
}


def inputs_of(stored):
    return {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def real(stored, array, axis=0):
    """Rows at real places only: what stands at padding is nobody's business."""
    return np.moveaxis(array, axis, 0)[stored["attention_mask"].astype(bool)]


@pytest.mark.parametrize("name", KIND)
def test_every_hidden_state_and_output_equals_hugging_face(name):
    model = checkpoints.load(KIND[name], FIXTURES / name)
    stored = np.load(FIXTURES / name / "outputs.npz")
    inputs = inputs_of(stored)
    encoder = model if KIND[name] == "encoder" else model.encoder
    ours = encoder.hidden_states(inputs)
    assert len(ours) == len(stored["hidden_states"])
    for mine, theirs in zip(ours, stored["hidden_states"]):
        np.testing.assert_allclose(real(stored, np.array(mine)), real(stored, theirs), atol=1e-5)
    if "pooled" in stored and KIND[name] == "encoder":
        np.testing.assert_allclose(np.array(encoder.pool(ours[-1])), stored["pooled"], atol=1e-5)
    if "logits" in stored:
        logits = np.array(model(inputs))
        theirs = stored["logits"]
        if logits.ndim == 3:
            logits, theirs = real(stored, logits), real(stored, theirs)
        np.testing.assert_allclose(logits, theirs, atol=2e-5)


@pytest.mark.parametrize("name", KIND)
def test_the_bare_encoder_is_read_from_a_checkpoint_with_any_head_with_or_without_prefix_and_pooler(name):
    bare = checkpoints.load_encoder(FIXTURES / name)
    stored = np.load(FIXTURES / name / "outputs.npz")
    for mine, theirs in zip(bare.hidden_states(inputs_of(stored)), stored["hidden_states"], strict=True):
        np.testing.assert_allclose(real(stored, np.array(mine)), real(stored, theirs), atol=1e-5)
    tensors = set(load_file(FIXTURES / name / "model.safetensors"))
    assert (bare.pooler is not None) == any("pooler" in tensor for tensor in tensors)
    if bare.pooler is not None:
        np.testing.assert_allclose(np.array(bare.pool(bare(inputs_of(stored)))), stored["pooled"], atol=1e-5)
    assert not bare.report.initialised
    today = {tensor.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias") for tensor in tensors}
    assert set(bare.report.unused) == {tensor for tensor in today if tensor.startswith(("cls.", "classifier."))}


def test_encoder_and_heads_import_no_backend_of_keras_and_call_nothing_but_keras():
    """Any backend can run them; the tests run them on TensorFlow only."""
    allowed = set(sys.stdlib_module_names) | {"keras"}
    for module in (encoder, heads):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {name.split(".")[0] for name in names} <= allowed, (module.__name__, names)


def test_attention_probabilities_equal_hugging_face_and_sum_to_one():
    stored = np.load(FIXTURES / "backbone" / "outputs.npz")
    weights = checkpoints.load_encoder(FIXTURES / "backbone").attention_weights(inputs_of(stored))
    for mine, theirs in zip(weights, stored["attentions"]):
        np.testing.assert_allclose(np.array(mine).sum(-1), 1, atol=1e-5)
        mask = stored["attention_mask"].astype(bool)
        np.testing.assert_allclose(
            np.moveaxis(np.array(mine), 1, 2)[mask], np.moveaxis(theirs, 1, 2)[mask], atol=1e-5
        )


def test_language_model_at_positions_equals_all_places():
    model = checkpoints.load("language", FIXTURES / "masked_lm")
    stored = np.load(FIXTURES / "masked_lm" / "outputs.npz")
    everywhere = np.array(model(inputs_of(stored))).reshape(-1, model.encoder.config.vocab_size)
    positions = np.array([1, 5, 13, 30])
    at = np.array(model(inputs_of(stored) | {"positions": positions}))
    np.testing.assert_allclose(at, everywhere[positions], atol=1e-6)


def test_causal_encoder_does_not_see_the_future():
    model = checkpoints.load("language", FIXTURES / "causal_lm")
    ids = np.array([[2, 6, 7, 8, 9, 10]])
    changed = ids.copy()
    changed[0, 4:] = [20, 21]
    before, after = np.array(model({"input_ids": ids})), np.array(model({"input_ids": changed}))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).max() > 1e-3


def test_compiled_logits_are_the_same_with_and_without_a_mask_of_ones():
    """One model, two sets of inputs, one after the other: each has a graph of its own, and a causal mask a text."""
    model = checkpoints.load("language", FIXTURES / "causal_lm")
    ids = np.random.default_rng(0).integers(5, 30, (3, 6)).astype("int32")
    whole, ones = {"input_ids": ids}, {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    assert model.encoder.mask(whole).shape == model.encoder.mask(ones).shape == (3, 1, 6, 6)
    bare, masked, again = (prediction.batch_logits(model, inputs) for inputs in (whole, ones, whole))
    np.testing.assert_array_equal(bare, again)
    np.testing.assert_allclose(bare, masked, atol=1e-5)
    np.testing.assert_allclose(bare, np.array(model(whole)), atol=1e-5)


@pytest.mark.parametrize("name", KIND)
def test_save_and_load_is_exact_and_keeps_the_tensor_names(name, tmp_path):
    model = checkpoints.load(KIND[name], FIXTURES / name)
    checkpoints.save(model, tmp_path / "again", vocabulary=["[PAD]"])
    again = checkpoints.load(KIND[name], tmp_path / "again")
    assert not again.report.unused and not again.report.initialised
    for (_, mine, _), (_, theirs, _) in zip(tensor_names(model), tensor_names(again)):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    if name != "legacy_names":
        written = set(load_file(tmp_path / "again" / "model.safetensors"))
        assert written <= set(load_file(FIXTURES / name / "model.safetensors"))


def test_the_report_names_what_is_left_out_and_what_is_new():
    model = checkpoints.load("token", FIXTURES / "masked_lm", labels=["O", "B-X", "I-X"])
    assert model.report.initialised == ["classifier.weight", "classifier.bias"]
    assert "cls.predictions.transform.dense.weight" in model.report.unused
    assert "新初始化：classifier.weight" in str(model.report)


def test_a_pooler_or_a_language_head_that_the_file_lacks_is_told_as_new_and_one_that_is_not_wanted_as_left_out():
    assert checkpoints.load("sequence", FIXTURES / "token_classifier", labels=["a", "b"]).report.initialised == [
        "pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"]
    assert checkpoints.load("language", FIXTURES / "backbone").report.initialised == [
        "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias", "cls.predictions.bias"]
    assert checkpoints.load("token", FIXTURES / "backbone", labels=["O"]).report.unused == ["pooler.dense.bias", "pooler.dense.weight"]


def test_other_labels_start_a_new_head_and_the_same_labels_keep_it():
    own = json.loads((FIXTURES / "token_classifier" / "config.json").read_text())["id2label"]
    labels = [own[str(i)] for i in range(len(own))]
    assert not checkpoints.load("token", FIXTURES / "token_classifier", labels=labels).report.initialised
    assert checkpoints.load("token", FIXTURES / "token_classifier", labels=["O", "B-A"]).report.initialised


def damaged(tmp_path, change):
    folder = tmp_path / "broken"
    shutil.copytree(FIXTURES / "backbone", folder)
    change(folder)
    return folder


def drop(name):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        del tensors[name]
        save_file(tensors, folder / "model.safetensors")

    return change


def reshape(name):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        tensors[name] = np.ascontiguousarray(tensors[name][:, :-1])
        save_file(tensors, folder / "model.safetensors")

    return change


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    "change, words",
    [
        (drop(QUERY), ["model.safetensors", QUERY, "(32, 32)"]),
        (reshape(QUERY), ["model.safetensors", QUERY, "(32, 31)", "(32, 32)"]),
        (truncate, ["model.safetensors", "不完整"]),
        (lambda f: (f / "model.safetensors").unlink(), ["model.safetensors", "不存在"]),
        (lambda f: (f / "config.json").unlink(), ["config.json", "不存在"]),
        (lambda f: (f / "config.json").write_text("{"), ["config.json", "JSON"]),
        (lambda f: (f / "config.json").write_text('{"model_type": "gpt2"}'), ["config.json", "bert"]),
    ],
)
def test_a_damaged_checkpoint_gives_one_line_that_names_file_tensor_and_shapes(tmp_path, change, words):
    folder = damaged(tmp_path, change)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load_encoder(folder)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_language_model_whose_output_is_not_its_table_of_embeddings_is_refused(tmp_path):
    folder = tmp_path / "tied"
    shutil.copytree(FIXTURES / "masked_lm", folder)
    tensors = load_file(folder / "model.safetensors")
    table = tensors["bert.embeddings.word_embeddings.weight"]
    name = "cls.predictions.decoder.weight"
    save_file(tensors | {name: table.copy()}, folder / "model.safetensors")
    assert name not in checkpoints.load("language", folder).report.unused
    save_file(tensors | {name: table + 1}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{name}.*tie_word_embeddings=false"):
        checkpoints.load("language", folder)
    checkpoints.load_encoder(folder)  # which has no output


def test_a_folder_without_vocabulary_is_refused(tmp_path):
    folder = damaged(tmp_path, lambda f: (f / "vocab.txt").unlink())
    with pytest.raises(CheckpointError, match="vocab.txt"):
        checkpoints.load_tokenizer(folder)


def test_a_missing_folder_is_named():
    with pytest.raises(CheckpointError, match="no/such/folder"):
        checkpoints.load_encoder("./no/such/folder")


def test_layers_are_reached_and_replaced_by_path():
    encoder = checkpoints.load_encoder(FIXTURES / "backbone")
    query = layers_by_path(encoder)["blocks.1.attention.query"]
    assert query is encoder.blocks[1].attention.query
    stored = np.load(FIXTURES / "backbone" / "outputs.npz")
    before = np.array(encoder(inputs_of(stored)))
    other = checkpoints.load_encoder(FIXTURES / "backbone").blocks[1].attention.query
    other.kernel.assign(other.kernel * 0)
    assert replace_layer(encoder, "blocks.1.attention.query", other) is query
    assert np.abs(np.array(encoder(inputs_of(stored))) - before).max() > 1e-3
    assert any(v is other.kernel for v in encoder.trainable_variables)
    assert not any(v is query.kernel for v in encoder.trainable_variables)
    with pytest.raises(ConfigError, match="blocks.9"):
        replace_layer(encoder, "blocks.9.attention.query", other)
