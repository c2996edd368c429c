"""Hugging Face BERT checkpoints to and from the book's encoder: `config.json`, the vocabulary and `model.safetensors`.

Only safetensors are read (no pickle). Every tensor of the encoder must be there and fit; a head that is missing starts
anew, and the report says so. Format: transformers' `BertModel`, `BertForTokenClassification`,
`BertForSequenceClassification`, `BertForMaskedLM`, `BertLMHeadModel`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np

from . import hub
from .encoder import Encoder, EncoderConfig
from .errors import CheckpointError, ConfigError
from .files import write_atomically
from .heads import LanguageModel, SequenceClassifier, TokenClassifier
from .tensor_names import TIED, tensor_names

WEIGHTS = "model.safetensors"
KINDS = {
    "encoder": "BertModel",
    "token": "BertForTokenClassification",
    "sequence": "BertForSequenceClassification",
    "language": "BertForMaskedLM",
}
OTHER_NAMES = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}  # TensorFlow-era checkpoints


@dataclass
class LoadReport:
    """What happened to each tensor: read, in the file but not used, or started anew."""

    loaded: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    initialised: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"读入 {len(self.loaded)} 个张量"]
        if self.unused:
            parts.append(f"文件里有而没有用到：{'、'.join(self.unused)}")
        if self.initialised:
            parts.append(f"新初始化：{'、'.join(self.initialised)}")
        return "；".join(parts)


def resolve(source: str | os.PathLike, revision: str | None = None) -> Path:
    """The folder of a checkpoint: `source` itself, or the hub's snapshot of that id; CheckpointError if it is neither."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or str(source).startswith(".") or str(source).count("/") > 1:
        raise CheckpointError(f"检查点文件夹 {source} 不存在；请检查路径")
    return hub.model_folder(str(source), revision)


def read_config(folder: Path) -> dict:
    """`config.json` of a checkpoint folder as a dict.

    Raises:
        CheckpointError: the file is missing, is no JSON, or describes no BERT.
    """
    path = Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} 不存在：这不是 Hugging Face 格式的检查点文件夹") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} 不是有效的 JSON：{error}；请重新下载") from error
    if not isinstance(values, dict) or values.get("model_type", "bert") != "bert":
        raise CheckpointError(f"{path} 的 model_type 不是 bert：本书的编码器只读 BERT")
    missing = [name for name in ("vocab_size", "hidden_size", "num_hidden_layers") if name not in values]
    if missing:
        raise CheckpointError(f"{path} 缺少 {'、'.join(missing)}")
    return values


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of `model.safetensors`, named as today's Hugging Face BERT names them.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{path} 不存在；本书只读 safetensors（pytorch_model.bin 请先用 transformers 转换）")
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path} 读不出来（{error}）：文件不完整或类型不支持，请重新下载") from error
    for new, old in OTHER_NAMES.items():
        tensors = {n.removesuffix(old) + new if n.endswith(old) else n: t for n, t in tensors.items()}
    return tensors


def load_weights(model: keras.Model, folder: str | os.PathLike, new_head: bool = False) -> LoadReport:
    """Fill a built encoder or head from a checkpoint folder.

    Args:
        model: an `Encoder` or a model of `utils.heads`.
        folder: checkpoint folder.
        new_head: leave the head as it is, even if the file has one.

    Raises:
        CheckpointError: a tensor of the encoder is missing, or a shape does not fit (names file, tensor and both shapes), or
            the output of a language model is not the table of its embeddings.
    """
    path = Path(folder) / WEIGHTS
    tensors = {name.removeprefix("bert."): tensor for name, tensor in read_tensors(folder).items()}
    report = LoadReport()
    for name, variable, transposed in tensor_names(model):
        name = name.removeprefix("bert.")
        is_new = name.startswith(("pooler.", "classifier.", "cls."))
        if (new_head and name.startswith("classifier.")) or (is_new and name not in tensors):
            report.initialised.append(name)
            continue
        value = _fitting(tensors, name, tuple(variable.shape)[::-1] if transposed else tuple(variable.shape), path)
        variable.assign((value.T if transposed else value).astype("float32"))
        report.loaded.append(name)
    if "cls.predictions.bias" in report.loaded and not np.array_equal(
            tensors.get("cls.predictions.decoder.weight", tensors["embeddings.word_embeddings.weight"]),
            tensors["embeddings.word_embeddings.weight"]):
        raise CheckpointError(f"{path} 的输出层 cls.predictions.decoder.weight 与词嵌入 embeddings.word_embeddings.weight 不同："
                              "本书的语言模型头与词嵌入共用权重，读不了不共用的检查点（tie_word_embeddings=false）")
    used = set(report.loaded) | {name for name in TIED if "cls.predictions.bias" in report.loaded}
    report.unused = sorted(set(tensors) - used - {"embeddings.position_ids"})
    return report


def _fitting(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """The tensor called `name`; CheckpointError if it is missing or has another shape than the model needs."""
    if name not in tensors:
        raise CheckpointError(f"{path} 里没有张量 {name}（模型需要形状 {shape}）；文件与 config.json 不符")
    if tensors[name].shape != shape:
        raise CheckpointError(f"{path} 的张量 {name} 形状是 {tensors[name].shape}，模型需要 {shape}（见 config.json）")
    return tensors[name]


def _check_size(config: EncoderConfig, folder: Path) -> None:
    """CheckpointError if config.json asks for more than the file holds, before any memory is taken for it."""
    tensors = {name.removeprefix("bert."): tensor for name, tensor in read_tensors(folder).items()}
    last = f"encoder.layer.{config.num_hidden_layers - 1}.intermediate.dense.weight"
    for name, rows in (("embeddings.word_embeddings.weight", config.vocab_size),
                       ("embeddings.position_embeddings.weight", config.max_position_embeddings),
                       ("embeddings.token_type_embeddings.weight", config.type_vocab_size),
                       (last, config.intermediate_size)):
        _fitting(tensors, name, (rows, config.hidden_size), folder / WEIGHTS)


def _labels_of(values: dict, folder: Path) -> list[str] | None:
    """The label names in a `config.json`, in their order; None if it has none."""
    if "id2label" not in values:
        return None
    try:
        return [str(values["id2label"][str(i)]) for i in range(len(values["id2label"]))]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} 的 id2label 不是从 0 起编号的标签表（{error}）") from error


def load(
    kind: str,
    source: str | os.PathLike,
    revision: str | None = None,
    labels: list[str] | None = None,
    random_start: bool = False,
    **changes,
) -> keras.Model:
    """Build a model from a checkpoint and fill it.

    Args:
        kind: "encoder", "token", "sequence" or "language".
        source: folder or hub id.
        revision: commit, tag or branch of a hub id.
        labels: label names of a classifier; None takes those of the checkpoint's config.
        random_start: take only the shape and leave the weights as initialised.
        changes: fields of `EncoderConfig` to set otherwise (dropout, is_decoder, add_pooler…).

    Returns:
        the model, with `report` (a `LoadReport`) and, for classifiers, `labels`.
    """
    if kind not in KINDS:
        raise ConfigError(f"没有种类 {kind!r}；可选：{'、'.join(KINDS)}")
    folder = resolve(source, revision)
    values = read_config(folder)
    own_labels = _labels_of(values, folder)
    names = labels or own_labels
    if kind in ("token", "sequence") and not names:
        raise CheckpointError(f"{folder / 'config.json'} 没有 id2label；请用 labels=[…] 给出标签")
    if "add_pooler" not in changes:
        has_pooler = not random_start and any("pooler." in name for name in read_tensors(folder))
        changes["add_pooler"] = kind == "sequence" or (kind == "encoder" and has_pooler)
    try:
        config = replace(EncoderConfig.from_dict(values), **changes)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}：{error}") from error
    if not random_start:
        _check_size(config, folder)
    encoder = Encoder(config)
    if kind == "encoder":
        model = encoder
    elif kind == "language":
        model = LanguageModel(encoder)
    else:
        model = (TokenClassifier if kind == "token" else SequenceClassifier)(encoder, len(names))
        model.labels = list(names)
    new_head = labels is not None and labels != own_labels
    model.report = LoadReport() if random_start else load_weights(model, folder, new_head=new_head)
    return model


def load_encoder(source: str | os.PathLike, revision: str | None = None, **changes) -> Encoder:
    """`load("encoder", …)`."""
    return load("encoder", source, revision, **changes)


def load_tokenizer(source: str | os.PathLike, revision: str | None = None):
    """The fast `transformers.BertTokenizer` of a checkpoint.

    Raises:
        CheckpointError: the folder holds no vocabulary (transformers would silently make an empty one), or a damaged one.
    """
    folder = resolve(source, revision)
    if not any((folder / name).is_file() for name in ("vocab.txt", "tokenizer.json")):
        raise CheckpointError(f"{folder} 里没有 vocab.txt 或 tokenizer.json，无法切分文本")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)  # unset, it would ask the reader
        tokenizer("\U0010ffff")  # a vocabulary without [UNK] is found out only now
    except Exception as error:  # transformers and tokenizers raise whatever their parsers do
        raise CheckpointError(f"{folder} 的词表读不出来（{' '.join(str(error).split())}）：文件损坏，请重新下载") from error
    return tokenizer


def save(
    model: keras.Model,
    folder: str | os.PathLike,
    *,
    tokenizer=None,
    vocabulary: list[str] | None = None,
    dtype: str = "float32",
) -> Path:
    """Write `model` as a Hugging Face folder that transformers and `load` read.

    Args:
        model: an `Encoder` or a model of `utils.heads`.
        folder: where to; made if missing. Each file is replaced only when its successor is complete.
        tokenizer: a transformers tokenizer to store beside it, or
        vocabulary: pieces for a `vocab.txt` (uncased).
        dtype: "float32" or "float16" on disk.
    """
    from safetensors.numpy import save as to_bytes

    folder = Path(folder)
    encoder = model if isinstance(model, Encoder) else model.encoder
    kind = {Encoder: "encoder", TokenClassifier: "token", SequenceClassifier: "sequence"}.get(type(model), "language")
    values = asdict(encoder.config)
    del values["add_pooler"]
    architecture = "BertLMHeadModel" if kind == "language" and encoder.config.is_decoder else KINDS[kind]
    values |= {"model_type": "bert", "architectures": [architecture], "tie_word_embeddings": True}
    if getattr(model, "labels", None):
        values["id2label"] = {str(i): label for i, label in enumerate(model.labels)}
        values["label2id"] = {label: i for i, label in enumerate(model.labels)}
    tensors = {}
    for name, variable, transposed in tensor_names(model):
        array = keras.ops.convert_to_numpy(variable).astype(dtype)
        tensors[name] = np.ascontiguousarray(array.T if transposed else array)
    files = {
        "config.json": (json.dumps(values, ensure_ascii=False, indent=2) + "\n").encode(),
        WEIGHTS: to_bytes(tensors, metadata={"format": "pt"}),
    }
    if vocabulary is not None:
        limit = encoder.config.max_position_embeddings
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": limit}
        files["vocab.txt"] = ("\n".join(vocabulary) + "\n").encode()
        files["tokenizer_config.json"] = (json.dumps(settings, indent=2) + "\n").encode()
    for name, content in files.items():
        write_atomically(folder / name, content)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    return folder
