"""Parameter-efficient fine-tuning: counts against closed forms, exact starts, merges, files and removals."""

import json

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from utils import checkpoints, peft, prediction, training
from utils.encoder import Encoder, EncoderConfig
from utils.errors import CheckpointError, ConfigError
from utils.heads import LanguageModel, SequenceClassifier, TokenClassifier, layers_by_path
from utils.peft.adaptation import Adaptation

WIDTH, LAYERS, INNER = 16, 2, 24
CONFIG = EncoderConfig(50, WIDTH, LAYERS, 4, INNER, max_position_embeddings=32, initializer_range=0.2,
                       hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
METHODS = {
    "lora": lambda m: peft.lora(m, rank=3, alpha=6),
    "lora everywhere": lambda m: peft.lora(m, 2, ("query", "key", "value", "projection", "expand", "contract")),
    "houlsby": lambda m: peft.adapters(m, size=5),
    "pfeiffer": lambda m: peft.adapters(m, size=5, placement="pfeiffer"),
    "prompt tuning": lambda m: peft.prompt_tuning(m, length=3),
    "deep prompts": lambda m: peft.deep_prompts(m, length=3),
    "bitfit": peft.bitfit,
    "head only": peft.head_only,
}
# Trainable parameters in the encoder, from the papers' descriptions.
COUNTS = {
    "lora": LAYERS * 2 * 2 * WIDTH * 3,
    "lora everywhere": LAYERS * 2 * (4 * 2 * WIDTH + 2 * (WIDTH + INNER)),
    "houlsby": LAYERS * 2 * (2 * WIDTH * 5 + 5 + WIDTH) + (2 * LAYERS + 1) * 2 * WIDTH,
    "pfeiffer": LAYERS * (2 * WIDTH * 5 + 5 + WIDTH),
    "prompt tuning": 3 * WIDTH,
    "deep prompts": LAYERS * 2 * 3 * WIDTH,
    "bitfit": LAYERS * (4 * WIDTH + INNER + WIDTH + 2 * WIDTH) + WIDTH,
    "head only": 0,
}
EXACT_START = ("lora", "lora everywhere", "houlsby", "pfeiffer", "bitfit", "head only")
INPUTS = {
    "input_ids": np.array([[1, 5, 9, 7, 2], [1, 8, 2, 0, 0]], np.int32),
    "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32),
}
BATCH = INPUTS | {"labels": np.array([1, 0], np.int32)}


def model_of(kind=SequenceClassifier, seed=0, config=CONFIG):
    keras.utils.set_random_seed(seed)
    encoder = Encoder(config)
    for path, layer in layers_by_path(encoder).items():  # biases away from zero, so that a forgotten one is seen
        for variable in layer.weights:
            if variable.name in ("bias", "beta"):
                variable.assign(np.random.default_rng(len(path)).normal(0, 0.1, variable.shape))
    return encoder if kind is Encoder else kind(encoder) if kind is LanguageModel else kind(encoder, 2)


def weights_of(model):
    return {path: np.array(variable) for path, variable in peft.variables_by_path(model).items()}


def train(model, steps=3, rate=0.05):
    plan = training.Plan(steps, rate, warmup=0.0, decay="constant")
    return training.Trainer(model, training.sequence_loss, lambda step: BATCH, plan, label=None).run()


def disturb(model):
    """As if trained: every trainable weight gets another value."""
    random = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(np.array(variable) + random.normal(0, 0.3, variable.shape))


@pytest.fixture(scope="module")
def bert_base():
    """bert-base-cased's blocks; the tables of pieces and places are left small, they have no bias and no projection."""
    return Encoder(EncoderConfig(8, 768, 12, 12, 3072, max_position_embeddings=8, add_pooler=True))


def test_bitfit_counts_on_bert_base_are_those_of_the_paper(bert_base):
    adaptation = peft.bitfit(bert_base)
    names = adaptation.trainable()
    assert adaptation.count() == 102_912
    assert adaptation.count() - int(np.prod(names["pooler.bias"].shape)) == 102_144
    assert {name.rpartition(".")[2] for name in names} == {"bias", "beta"}
    adaptation.remove()


def test_lora_counts_on_bert_base_are_those_of_the_paper(bert_base):
    adaptation = peft.lora(bert_base, rank=8, targets=("query", "value"))
    assert adaptation.count() == 294_912
    adaptation.remove()


@pytest.mark.parametrize("name", METHODS)
def test_trainable_counts_equal_the_closed_forms(name):
    model = model_of()
    adaptation = METHODS[name](model)
    assert adaptation.count() == COUNTS[name]
    assert adaptation.count(head=True) == COUNTS[name] + 2 * WIDTH + 2
    listed = {id(v) for v in adaptation.trainable().values()}
    assert listed == {id(v) for v in model.trainable_variables}


@pytest.mark.parametrize("name", EXACT_START)
@pytest.mark.parametrize("kind", (Encoder, LanguageModel))
def test_an_adapted_model_starts_as_the_base(name, kind):
    model = model_of(kind)
    before = np.array(model(INPUTS))
    METHODS[name](model)
    np.testing.assert_allclose(np.array(model(INPUTS)), before, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_training_step_changes_what_is_listed_and_nothing_else(name):
    model = model_of()
    adaptation = METHODS[name](model)
    before = weights_of(model)
    train(model)
    changed = {path for path, value in weights_of(model).items() if not np.array_equal(value, before[path])}
    listed = set(adaptation.trainable())
    assert changed <= listed
    # A bias added to every key shifts all scores of a row alike, and softmax does not see it.
    still = {path for path in listed - changed if not path.endswith("key.bias")}
    assert still == set()


@pytest.mark.parametrize("name", METHODS)
def test_removing_restores_outputs_weights_and_freedom_bit_by_bit(name):
    model = model_of()
    before, outputs, free = weights_of(model), np.array(model(INPUTS)), len(model.trainable_variables)
    adaptation = METHODS[name](model)
    disturb(model)
    if name != "head only":
        assert not np.allclose(np.array(model(INPUTS)), outputs)
    assert adaptation.remove() is model
    after = weights_of(model)
    assert list(after) == list(before) and all(np.array_equal(after[path], before[path]) for path in before)
    assert np.array_equal(np.array(model(INPUTS)), outputs)
    assert len(model.trainable_variables) == free
    METHODS[name](model)  # and it can be adapted again


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_adaptation_gives_the_same_outputs_on_a_fresh_base(name, tmp_path):
    model = model_of()
    adaptation = METHODS[name](model)
    disturb(model)
    file = adaptation.save(tmp_path / "task.safetensors")
    stored = load_file(file)
    assert set(stored) == set(adaptation.trainable())
    assert sum(array.size for array in stored.values()) == adaptation.count(head=True)
    fresh = model_of()
    again = peft.load(fresh, file)
    assert (again.method, again.settings) == (adaptation.method, adaptation.settings)
    assert np.array_equal(np.array(fresh(INPUTS)), np.array(model(INPUTS)))


@pytest.mark.parametrize("name", METHODS)
def test_predictions_compiled_before_adapting_are_not_used_after(name):
    model = model_of(TokenClassifier)
    prediction.batch_logits(model, INPUTS).argmax(-1)
    adaptation = METHODS[name](model)
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(0, 1, variable.shape))

    def agrees():
        return np.array_equal(prediction.batch_logits(model, INPUTS).argmax(-1), np.argmax(np.array(model(INPUTS)), axis=-1))

    assert agrees()
    if name.startswith("lora"):
        adaptation.merge()
        assert agrees()
    adaptation.remove()
    assert agrees()


@pytest.mark.parametrize("name", ("lora", "lora everywhere"))
def test_merged_lora_equals_unmerged_and_is_a_plain_model(name, tmp_path):
    model = model_of()
    base = weights_of(model)
    adaptation = METHODS[name](model)
    disturb(model)
    outputs, trained = np.array(model(INPUTS)), weights_of(model)
    adaptation.merge()
    np.testing.assert_allclose(np.array(model(INPUTS)), outputs, atol=1e-6)
    assert list(weights_of(model)) == list(base)
    with pytest.raises(ConfigError, match="unmerge"):
        adaptation.save(tmp_path / "merged.safetensors")
    model.labels = ["a", "b"]
    checkpoints.save(model, tmp_path, vocabulary=[str(i) for i in range(50)])
    plain = checkpoints.load("sequence", tmp_path, add_pooler=False)
    np.testing.assert_allclose(np.array(plain(INPUTS)), outputs, atol=1e-6)
    adaptation.unmerge()
    again = weights_of(model)
    assert all(np.array_equal(again[path], trained[path]) for path in trained)
    assert np.array_equal(np.array(model(INPUTS)), outputs)


def test_the_update_of_lora_has_the_rank_asked_for_and_equals_the_formula():
    model = model_of(Encoder)
    adaptation = peft.lora(model, rank=3, targets=("expand",), alpha=12)
    layer = layers_by_path(model)["blocks.1.expand"]
    random = np.random.default_rng(0)
    a, b = random.normal(size=(WIDTH, 3)).astype("float32"), random.normal(size=(3, INNER)).astype("float32")
    layer.lora_a.assign(a)
    layer.lora_b.assign(b)
    x = random.normal(size=(7, WIDTH)).astype("float32")
    kernel, bias = np.array(layer.base.kernel), np.array(layer.base.bias)
    expected = keras.activations.gelu(x @ (kernel + 12 / 3 * a @ b) + bias, approximate=False)
    np.testing.assert_allclose(np.array(layer(x)), np.array(expected), atol=2e-5)
    adaptation.merge()
    assert np.linalg.matrix_rank(np.array(layer.base.kernel) - kernel, tol=1e-4) == 3


def test_deep_prompts_equal_attention_computed_by_hand():
    model = model_of(Encoder)
    peft.deep_prompts(model, length=3)
    attention = model.blocks[0].attention
    x = np.random.default_rng(0).normal(size=(1, 4, WIDTH)).astype("float32")
    mask = np.array([0, 0, 0, -1e9], "float32")[None, None, None]
    base = attention.base
    query, key, value = (np.array(layer(x)).reshape(4, 4, 4) for layer in (base.query, base.key, base.value))
    heads = []
    for head in range(4):
        keys = np.concatenate([np.array(attention.prefix_key)[head], key[:, head]])
        values = np.concatenate([np.array(attention.prefix_value)[head], value[:, head]])
        scores = query[:, head] @ keys.T / 2 + np.array([0, 0, 0, 0, 0, 0, -1e9])
        weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        heads.append(weights @ values)
    expected = np.array(base.projection(np.concatenate(heads, axis=1)[None].astype("float32")))
    np.testing.assert_allclose(np.array(attention(x, mask)), expected, atol=1e-5)


def test_adapters_stand_where_their_papers_put_them():
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 3, WIDTH)).astype("float32")
    for placement, name in (("houlsby", "contract_dropout"), ("pfeiffer", "contract_norm")):
        model = model_of(Encoder)
        peft.adapters(model, size=5, placement=placement)
        layer = layers_by_path(model)[f"blocks.0.{name}"]
        layer.adapter.up.kernel.assign(random.normal(size=(5, WIDTH)))
        down, up = np.array(layer.adapter.down.kernel), np.array(layer.adapter.up.kernel)
        branch = lambda z: np.array(keras.activations.gelu(z @ down, approximate=False)) @ up
        norm = lambda z: (z - z.mean(-1, keepdims=True)) / z.std(-1, keepdims=True) + np.array(layer.base.beta)
        expected = x + branch(x) if placement == "houlsby" else norm(x + branch(norm(x)))
        np.testing.assert_allclose(np.array(layer(x)), expected, atol=1e-4)


@pytest.mark.parametrize("placement", ("houlsby", "pfeiffer"))
def test_a_block_with_adapters_equals_the_sums_of_its_paper(placement):
    model = model_of(Encoder)
    peft.adapters(model, size=5, placement=placement)
    disturb(model)
    block = model.blocks[0]
    x, mask = np.random.default_rng(0).normal(size=(2, 3, WIDTH)).astype("float32"), np.zeros((2, 1, 1, 3), "float32")

    def branch(layer, z):
        return layer.adapter.up(layer.adapter.down(z))

    attended = block.attention(x, mask)
    if placement == "houlsby":  # each sub-layer's output goes through an adapter, then the residual sum is normalised
        attended += branch(block.attention_dropout, attended)
        middle = block.attention_norm(x + attended)
        transformed = block.contract(block.expand(middle))
        expected = block.contract_norm(middle + transformed + branch(block.contract_dropout, transformed))
    else:  # only the block's last sum: normalised, adapted, added, normalised again
        middle = block.attention_norm(x + attended)
        last, norm = middle + block.contract(block.expand(middle)), block.contract_norm.base
        expected = norm(last + branch(block.contract_norm, norm(last)))
    np.testing.assert_allclose(np.array(block(x, mask)), np.array(expected), atol=1e-5)


def test_prompt_tuning_equals_the_base_on_vectors_put_before_the_embedded_text():
    model = model_of(Encoder)
    text, ids = np.array(model.embeddings(INPUTS["input_ids"])), INPUTS["input_ids"]
    table = np.array(model.embeddings.norm(model.embeddings.word.embeddings + model.embeddings.token_type.embeddings[0]))
    peft.prompt_tuning(model, length=3)
    prompt = np.array(model.embeddings.prompt)
    assert all(np.abs(table - row).max(axis=1).min() < 1e-5 for row in prompt)  # starts as pieces, without position
    states = np.concatenate([np.broadcast_to(prompt, (2, 3, WIDTH)), text], axis=1)
    mask = np.where(np.pad(INPUTS["attention_mask"], ((0, 0), (3, 0)), constant_values=1), 0.0, -1e9)[:, None, None]
    for block in model.blocks:
        states = block(states, mask.astype("float32"))
    np.testing.assert_allclose(np.array(model(INPUTS)), np.array(states)[:, 3:], atol=1e-5)
    assert model(INPUTS).shape[1] == ids.shape[1]


@pytest.mark.parametrize("decoder", (False, True))
def test_prompts_lengthen_attention_but_not_the_outputs(decoder):
    config = EncoderConfig(50, WIDTH, LAYERS, 4, INNER, max_position_embeddings=32, is_decoder=decoder)
    for method in (peft.prompt_tuning, peft.deep_prompts):
        model = model_of(Encoder, config=config)
        method(model, length=3)
        assert [tuple(state.shape) for state in model.hidden_states(INPUTS)] == [(2, 5, WIDTH)] * (LAYERS + 1)
        weights = np.array(model.attention_weights(INPUTS)[0])
        assert weights.shape == ((2, 4, 8, 8) if method is peft.prompt_tuning else (2, 4, 5, 8))
        text = weights[:, :, -5:]
        np.testing.assert_allclose(text.sum(axis=-1), 1.0, atol=1e-5)
        assert (text[..., :3] > 0).all() and (text[1, ..., 6:] == 0).all()  # prompts are seen, padding is not
        if decoder:
            assert (text[0, :, 0, 4:] == 0).all()


def test_prompted_texts_do_not_depend_on_padding_or_on_a_missing_mask():
    for method in (peft.prompt_tuning, peft.deep_prompts):
        model = model_of(Encoder)
        method(model, length=3)
        alone = np.array(model({"input_ids": INPUTS["input_ids"][1:, :3]}))
        np.testing.assert_allclose(np.array(model(INPUTS))[1:, :3], alone, atol=1e-5)


def test_a_file_that_does_not_fit_is_refused_with_file_tensor_and_both_shapes(tmp_path):
    file = METHODS["lora"](model_of()).save(tmp_path / "task.safetensors")
    wide = model_of(config=EncoderConfig(50, 32, LAYERS, 4, INNER, max_position_embeddings=32))
    outputs = np.array(wide(INPUTS))
    with pytest.raises(CheckpointError) as caught:
        peft.load(wide, file)
    message = str(caught.value)
    assert str(file) in message and "lora_a" in message and "(16, 3)" in message and "(32, 3)" in message
    assert np.array_equal(np.array(wide(INPUTS)), outputs) and "lora" not in " ".join(weights_of(wide))
    with pytest.raises(CheckpointError, match="blocks.2"):
        peft.load(model_of(config=EncoderConfig(50, WIDTH, 3, 4, INNER, max_position_embeddings=32)), file)
    with pytest.raises(CheckpointError, match="transform.kernel"):
        peft.load(model_of(kind=LanguageModel), file)
    with pytest.raises(CheckpointError, match="另一个底座"):
        peft.load(model_of(seed=1), file)


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_is_complete_or_refused(name, tmp_path):
    model = model_of(Encoder)
    whole = set(load_file(checkpoints.save(model, tmp_path / "base") / "model.safetensors"))
    METHODS[name](model)
    if name in ("bitfit", "head only"):
        assert set(load_file(checkpoints.save(model, tmp_path / "frozen") / "model.safetensors")) == whole
    else:
        with pytest.raises(ConfigError, match="remove"):
            checkpoints.save(model, tmp_path / "adapted")


def test_what_is_no_adaptation_is_refused(tmp_path):
    plain, broken = tmp_path / "plain.safetensors", tmp_path / "broken.safetensors"
    save_file({"x": np.zeros(3, "float32")}, plain)
    good = METHODS["lora"](model_of()).save(tmp_path / "good.safetensors")
    broken.write_bytes(good.read_bytes()[:-10])
    for file in (plain, broken, tmp_path / "nothing.safetensors"):
        with pytest.raises(CheckpointError, match=file.name):
            peft.load(model_of(), file)
    with safe_open(good, "numpy") as opened:
        assert json.loads(opened.metadata()["peft"])["settings"] == {"rank": 3, "targets": ["query", "value"], "alpha": 6}


def test_bad_arguments_list_the_valid_ones():
    model = model_of()
    with pytest.raises(ConfigError, match="query、key、value、projection、expand、contract"):
        peft.lora(model, targets=("attention",))
    for bad in ({"rank": 0}, {"rank": 2.5}, {"rank": "8"}, {"rank": WIDTH + 1}, {"alpha": -1}, {"alpha": float("inf")},
                {"targets": None}, {"targets": [1]}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            peft.lora(model, **bad)
    for placement in ("parallel", ["houlsby"], None):
        with pytest.raises(ConfigError, match="houlsby、pfeiffer"):
            peft.adapters(model, placement=placement)
    for size in (0, 2.5, 4 * WIDTH + 1):
        with pytest.raises(ConfigError, match=f"size=.*1 到 {4 * WIDTH} 的整数"):
            peft.adapters(model, size=size)
    for method in (peft.prompt_tuning, peft.deep_prompts):
        for length in (0, 1.5, "3", 33):
            with pytest.raises(ConfigError, match="length=.*1 到 32 的整数"):
                method(model, length=length)
    with pytest.raises(ConfigError, match="编码器"):
        peft.bitfit(keras.Sequential())
    assert len(model.trainable_variables) == len(model.weights)  # nothing of this has left a trace
    peft.bitfit(model)
    with pytest.raises(ConfigError, match="remove"):
        peft.lora(model)


@pytest.mark.parametrize("name", METHODS)
def test_what_has_been_removed_leaves_a_later_adaptation_alone(name, tmp_path):
    model = model_of()
    first = METHODS[name](model)
    first.remove()
    later = peft.lora(model, rank=2)
    before = {path: np.array(variable) for path, variable in later.trainable().items()}
    first.remove()
    assert [*later.trainable()] == [*before] and any("lora_a" in path for path in before)
    for action in (lambda: first.save(tmp_path / "file"), *((first.merge, first.unmerge) if name.startswith("lora") else ())):
        with pytest.raises(ConfigError, match="撤下"):
            action()
    later.save(tmp_path / "later.safetensors")
    fresh = peft.load(model_of(), tmp_path / "later.safetensors")
    assert all(np.array_equal(np.array(variable), before[path]) for path, variable in fresh.trainable().items())


def test_an_adaptation_that_cannot_be_finished_leaves_the_model_as_it_was():
    model = model_of()
    before, outputs = weights_of(model), np.array(model(INPUTS))
    made = []

    def make(layer):
        made.append(layer)
        if len(made) == 2:
            raise MemoryError
        return layer

    adaptation = Adaptation(model, "adapters", {})
    with pytest.raises(MemoryError):
        adaptation.replace(make, "blocks.0.contract_norm", "blocks.1.contract_norm")
    assert weights_of(model).keys() == before.keys() and np.array_equal(np.array(model(INPUTS)), outputs)
    assert len(model.trainable_variables) == len(model.weights)
    peft.bitfit(model)
