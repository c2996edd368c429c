"""The article's recipe on the last TensorFlow classes of transformers: run once by `make museum`, never by CI.

A script of our own after section 5.2 of the article: every sentence padded to 128, labels O on the padding and counted
in the loss, a tape executed eagerly, AdamW at 2e-5, batches of 16, five epochs, no dropout switch, no early stopping.
Three things are mended, because without them there is nothing to compare: labels stand at the first pieces of their
words, the loss is sparse cross-entropy, and the score is entity F1 on real places. Data and start are chapter 13's: the
same 2,000 training sentences and the checkpoint that the book ships.

Needs the environment of requirements.txt in this folder: TensorFlow 2.21, tf-keras, transformers 4.57.6, safetensors
below 0.8. The pure functions below import NumPy only, so that a test can call them in the book's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "chapters" / "_recorded" / "museum.json"
RECIPE = {"sentences": 2000, "epochs": 5, "batch_size": 16, "learning_rate": 2e-5, "width": 128}


def sample(count: int, total: int, seed: int = 0) -> np.ndarray:
    """Indices of the sentences that chapter 13 trains on: `count` of `total`, as its `sample` draws them."""
    return np.random.default_rng(seed).choice(total, count, replace=False) if count < total else np.arange(total)


def article_features(tokenizer, sentence: list[str], tags: list[int], width: int) -> dict[str, np.ndarray]:
    """One sentence as the article pads it, with labels at first pieces.

    Args:
        tokenizer: a fast transformers tokenizer.
        sentence: words (or characters).
        tags: a label id for each word; 0 is O.
        width: pieces, [CLS], [SEP] and padding included; what is longer is cut off.

    Returns:
        input_ids, attention_mask, labels (0 on padding, specials and later pieces) and first (1 at first pieces), all (width,).
    """
    encoded = tokenizer(sentence, is_split_into_words=True, truncation=True, max_length=width, padding="max_length")
    labels, first, previous = np.zeros(width, np.int32), np.zeros(width, np.int32), None
    for place, word in enumerate(encoded.word_ids()):
        if word is not None and word != previous:
            labels[place], first[place] = tags[word], 1
        previous = word
    return {"input_ids": np.array(encoded["input_ids"], np.int32),
            "attention_mask": np.array(encoded["attention_mask"], np.int32), "labels": labels, "first": first}


def tags_of(predicted: np.ndarray, first: np.ndarray, length: int) -> list[int]:
    """Label ids of the `length` words of a sentence from predictions (width,); words cut off are O."""
    found = predicted[first == 1].tolist()
    return (found + [0] * (length - len(found)))[:length]


def features(tokenizer, rows, width: int) -> dict[str, np.ndarray]:
    """`article_features` of many sentences, stacked: (sentences, width) each."""
    every = [article_features(tokenizer, s, t, width) for s, t in zip(rows["tokens"], rows["ner_tags"])]
    return {name: np.stack([one[name] for one in every]) for name in every[0]}


def load_model(folder: Path, labels: int):
    """The old class filled from the shipped checkpoint; refuses if the embeddings are not those of the file.

    `from_pretrained` of 4.57.6 iterates over the open safetensors file, which that package does not allow; the function
    below it takes a dictionary of arrays as well. Only the classifier may be new.
    """
    from safetensors.numpy import load_file
    from transformers import BertConfig, TFBertForTokenClassification
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    stored = {name: array.astype("float32") for name, array in load_file(folder / "model.safetensors").items()}
    model = TFBertForTokenClassification(BertConfig.from_pretrained(str(folder), num_labels=labels))
    model, told = load_pytorch_state_dict_in_tf2_model(model, stored, allow_missing_keys=True, output_loading_info=True)
    new = sorted(name for name in told["missing_keys"] if not name.startswith("classifier."))
    if new or not np.allclose(stored["bert.embeddings.word_embeddings.weight"], model.bert.embeddings.weight.numpy()):
        raise SystemExit(f"museum: the checkpoint was not loaded into the TensorFlow class ({new}); check transformers and safetensors")
    return model


def train(model, data: dict[str, np.ndarray], recipe: dict) -> float:
    """The article's loop, eagerly; returns seconds."""
    import tensorflow as tf
    import tf_keras

    optimizer = tf_keras.optimizers.AdamW(learning_rate=recipe["learning_rate"])
    dataset = tf.data.Dataset.from_tensor_slices({k: data[k] for k in ("input_ids", "attention_mask", "labels")})
    started = time.perf_counter()
    for epoch in range(recipe["epochs"]):
        losses = []
        for batch in dataset.shuffle(len(data["labels"]), seed=epoch).batch(recipe["batch_size"]):
            with tf.GradientTape() as tape:
                logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
                loss = tf.reduce_mean(tf.keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            pairs = [(g, v) for g, v in zip(gradients, model.trainable_variables) if g is not None]
            optimizer.apply_gradients(pairs)
            losses.append(loss.numpy())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    return time.perf_counter() - started


def predict(model, data: dict[str, np.ndarray], batch_size: int = 64) -> np.ndarray:
    """Best label ids (sentences, width)."""
    found = []
    for start in range(0, len(data["labels"]), batch_size):
        part = slice(start, start + batch_size)
        logits = model(data["input_ids"][part], attention_mask=data["attention_mask"][part], training=False).logits
        found.append(logits.numpy().argmax(-1))
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in RECIPE.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = vars(parser.parse_args())
    result_file = options.pop("result")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(ROOT))
    import tensorflow as tf
    from transformers import BertTokenizerFast

    from utils import corpora, metrics, profiles
    from utils.book.museum import code
    from utils.book.recording import circumstances

    tf.keras.utils.set_random_seed(1)
    news = corpora.people_daily("silver")
    names = news["train"].features["ner_tags"].feature.names
    # The rows as chapter 13 draws them, in its order.
    train_rows = news["train"].select(sample(options["sentences"], len(news["train"])))
    tokenizer = BertTokenizerFast.from_pretrained(str(profiles.CHECKPOINT))
    model = load_model(profiles.CHECKPOINT, len(names))
    data = features(tokenizer, train_rows, options["width"])
    seconds = train(model, data, options)
    test = features(tokenizer, news["test"], options["width"])
    best = predict(model, test)
    true = [[names[i] for i in row] for row in news["test"]["ner_tags"]]
    found = [[names[i] for i in tags_of(p, f, len(t))] for p, f, t in zip(best, test["first"], true)]
    real = options["epochs"] * int(data["attention_mask"].sum())
    result = {
        "recipe": options, "test_f1": metrics.entity_scores(true, found).f1,
        "conlleval": metrics.entity_scores(true, found, mode="conlleval").f1,
        "train_seconds": seconds, "real_tokens_per_second": real / seconds,
        "padded_tokens_per_second": options["epochs"] * data["input_ids"].size / seconds,
        **circumstances(ROOT), "code": code(ROOT),
    }
    result_file.parent.mkdir(parents=True, exist_ok=True)
    result_file.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
