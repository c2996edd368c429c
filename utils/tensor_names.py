"""What the variables of the book's encoder and heads are called in a Hugging Face BERT checkpoint.

Source: the parameter names of transformers' `BertModel` and its task models.
"""

from __future__ import annotations

import keras

from .encoder import Encoder
from .errors import ConfigError
from .heads import LanguageModel, layers_by_path

# Attribute path of a layer in `Encoder` or a head -> name of the module in Hugging Face's BERT.
BLOCK_MODULES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.projection": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "contract_norm": "output.LayerNorm",
}
MODULES = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.token_type": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "pooler": "pooler.dense",
}
HEAD_MODULES = {
    "classifier": "classifier",
    "transform": "cls.predictions.transform.dense",
    "transform_norm": "cls.predictions.transform.LayerNorm",
}
TENSORS = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")  # copies of the embedding table and the bias


def tensor_names(model: keras.Model) -> list[tuple[str, keras.Variable, bool]]:
    """Every weight of an encoder or head, frozen or not: (name in a checkpoint, variable, whether it is transposed).

    Raises:
        ConfigError: the encoder holds layers of `utils.peft`, for which a checkpoint has no names.
    """
    encoder = model if isinstance(model, Encoder) else model.encoder
    if getattr(encoder, "adapted", None) == "changed":
        raise ConfigError("编码器里装着高效微调的层，检查点里没有它们的名字：先 merge()（LoRA）或 remove()，或用它自己的 save()")
    prefix = "" if model is encoder else "bert."
    modules = {path: prefix + name for path, name in MODULES.items()}
    for i in range(len(encoder.blocks)):
        modules |= {f"blocks.{i}.{p}": f"{prefix}encoder.layer.{i}.{name}" for p, name in BLOCK_MODULES.items()}
    layers = {modules[path]: layer for path, layer in layers_by_path(encoder).items() if path in modules}
    if model is not encoder:
        layers |= {HEAD_MODULES[p]: layer for p, layer in layers_by_path(model).items() if p in HEAD_MODULES}
    found = [
        (f"{module}.{TENSORS[variable.name]}", variable, variable.name == "kernel")
        for module, layer in layers.items()
        for variable in layer.weights
    ]
    if isinstance(model, LanguageModel):
        found.append(("cls.predictions.bias", model.bias, False))
    return found
