"""Parameter-efficient fine-tuning: each method changes an encoder (or the encoder of a head) in place.

    adaptation = peft.lora(model, rank=8, targets=("query", "value"))
    ...train `model` as always: its trainable variables are those of the method and the head...
    adaptation.save("task.safetensors")
    peft.load(fresh_model, "task.safetensors")
    adaptation.remove()

Chapter 6 builds each method step by step; chapter 15 compares them.
"""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path

import keras

from ..errors import CheckpointError, ConfigError
from .adaptation import Adaptation, variables_by_path
from .bottleneck import adapters
from .in_place import bitfit, head_only
from .low_rank import LowRank, lora
from .prompts import deep_prompts, prompt_tuning

__all__ = [
    "METHODS", "Adaptation", "LowRank", "adapters", "bitfit", "deep_prompts", "head_only", "load", "lora",
    "prompt_tuning", "variables_by_path",
]
METHODS = {method.__name__: method for method in (adapters, prompt_tuning, deep_prompts, lora, bitfit, head_only)}


def load(model: keras.Model, path: str | os.PathLike) -> Adaptation:
    """Put a saved adaptation on a fresh base.

    Args:
        model: a model of the same kind, with the base's weights, as it was before the adaptation was made.
        path: file written by `Adaptation.save`.

    Raises:
        CheckpointError: the file is missing, damaged or no adaptation; a tensor is missing, superfluous or of another
            shape (names the tensor and both shapes); or the base has other weights. The model is left as it was.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} 不存在：请检查路径")
    try:
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            about = json.loads((file.metadata() or {})["peft"])
        method, settings, base = METHODS[about["method"]], about["settings"], about["base"]
        inspect.signature(method).bind(model, **settings)  # TypeError where they are not its arguments
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} 不是 utils.peft 保存的文件，或者不完整（{error}）") from error
    try:
        adaptation = method(model, **settings)
    except ConfigError as error:
        raise CheckpointError(f"{path} 装不到这个模型上：{error}") from None
    needed = adaptation.trainable()
    fault = None
    for name in [*needed, *(name for name in tensors if name not in needed)]:
        wanted = tuple(needed[name].shape) if name in needed else "没有它"
        found = tensors[name].shape if name in tensors else "没有它"
        if wanted != found:
            fault = f"{path} 与模型不符：张量 {name}，文件里 {found}，模型要 {wanted}"
            break
    if fault is None and adaptation.base != base:
        fault = f"{path} 是在另一个底座上训练的：形状相同，权重不同；请先载入当初的检查点"
    if fault:
        adaptation.remove()
        raise CheckpointError(fault)
    for name, variable in needed.items():
        variable.assign(tensors[name])
    return adaptation
