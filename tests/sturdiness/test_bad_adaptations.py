"""Whatever is given to `utils.peft`, or stands in one of its files: it is taken, or refused in one line and nothing changed."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save

from tests.soak import cases, scaled
from tests.sturdiness.mutations import damaged_bytes, damaged_json, values
from utils import peft
from utils.encoder import EncoderConfig
from utils.errors import BookError, CheckpointError
from utils.heads import SequenceClassifier

CONFIG = EncoderConfig(20, 8, 1, 2, 12, max_position_embeddings=16, hidden_dropout_prob=0.0)
INPUTS = {"input_ids": np.array([[1, 5, 9]], np.int32), "attention_mask": np.ones((1, 3), np.int32)}
METHODS = {  # what the files below are made with
    "lora": lambda m: peft.lora(m, rank=2),
    "adapters": lambda m: peft.adapters(m, size=3),
    "prompt_tuning": lambda m: peft.prompt_tuning(m, length=2),
    "deep_prompts": lambda m: peft.deep_prompts(m, length=2),
    "bitfit": peft.bitfit,
}


def outputs_of(model):
    return np.array(model(INPUTS))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    from utils.encoder import Encoder

    return SequenceClassifier(Encoder(CONFIG), 2)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Method -> (its tensors, what the file says about them, the bytes)."""
    made = {}
    for name, method in METHODS.items():
        adaptation = method(model)
        path = adaptation.save(tmp_path_factory.mktemp("peft") / name)
        adaptation.remove()
        with safe_open(path, "numpy") as file:
            made[name] = load_file(path), json.loads(file.metadata()["peft"]), path.read_bytes()
    return made


sizes = values | st.integers(-1, 20)
arguments = st.one_of(
    st.tuples(st.just("lora"), st.fixed_dictionaries({}, optional={
        "rank": sizes, "alpha": sizes, "targets": values | st.lists(st.sampled_from(["query", "pooler", "x", 3]), max_size=3)})),
    st.tuples(st.just("adapters"), st.fixed_dictionaries({}, optional={
        "size": sizes, "placement": values | st.sampled_from(["houlsby", "pfeiffer"])})),
    st.tuples(st.sampled_from(["prompt_tuning", "deep_prompts"]), st.fixed_dictionaries({"length": sizes})),
)


@scaled
@cases(60)  # each takes a tenth of a second: a model is adapted, asked and set free
@given(arguments)
def test_arguments_make_an_adaptation_or_are_refused(model, given_arguments):
    method, settings = given_arguments
    before, weights = outputs_of(model), len(model.trainable_variables)
    try:
        adaptation = peft.METHODS[method](model, **settings)
    except BookError as error:
        assert "\n" not in str(error) and str(error)
    else:
        assert adaptation.count() > 0 and np.isfinite(outputs_of(model)).all()
        adaptation.remove()
    assert np.array_equal(outputs_of(model), before) and len(model.trainable_variables) == weights == len(model.weights)


@scaled
@cases(60)  # likewise
@given(st.data())
def test_a_damaged_file_is_loaded_or_refused_and_leaves_the_model_as_it_was(model, files, tmp_path, data):
    tensors, about, content = files[data.draw(st.sampled_from([*METHODS]))]
    path = tmp_path / "task.safetensors"
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged_bytes(content)))
    else:
        path.write_bytes(save(tensors, metadata={"peft": json.dumps(data.draw(damaged_json(about)))}))
    before = outputs_of(model)
    try:
        adaptation = peft.load(model, path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert adaptation.trainable().keys() == tensors.keys()
        adaptation.remove()
    assert np.array_equal(outputs_of(model), before) and len(model.trainable_variables) == len(model.weights)
