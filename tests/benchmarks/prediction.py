"""Prediction: sentences per second and the time of one sentence, against Hugging Face's pipeline; int8 against float.

    make bench OPTIONS="prediction --sentences 500 --repeats 200"

(book) `prediction.predict_words`, buckets by length. (pipeline) transformers' token-classification pipeline on the same
weights, one by one as is its default, and in batches of 16. (litert) the same model as a LiteRT file, one sentence of 64
pieces, in float32 and with int8 weights, as in chapter 17. Labels are compared with the book's, so that all compute the same.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from tests.benchmarks import common

LENGTH = 64  # pieces of a LiteRT sentence, padding included
BATCH = 16
JOINED = re.compile("[A-Za-z0-9]{2}")  # the pipeline makes one piece of these, the book's characters are a piece each
LONGEST = 126  # characters: the pipeline does not cut, and the book makes one window of them


def latency(predict, sentences, repeats: int) -> dict[str, float]:
    """Milliseconds of one sentence at a time: median and 95th percentile, after a warm-up."""
    for sentence in sentences[:5]:
        predict(sentence)
    times = []
    for index in range(repeats):
        started = time.perf_counter()
        predict(sentences[index % len(sentences)])
        times.append(1000 * (time.perf_counter() - started))
    return {"p50_ms": float(np.percentile(times, 50)), "p95_ms": float(np.percentile(times, 95))}


def rate(predict_all, sentences) -> float:
    """Sentences per second of all of them, after a warm-up on a few."""
    predict_all(sentences[:BATCH])
    started = time.perf_counter()
    predict_all(sentences)
    return len(sentences) / (time.perf_counter() - started)


def book(folder: Path, sentences, repeats: int) -> dict:
    """`predict_words` without transitions: what the pipeline does, too."""
    from utils import batching, checkpoints, prediction

    common.tf_threads()
    tokenizer = checkpoints.load_tokenizer(folder)
    model = checkpoints.load("token", folder)

    def tags(rows):
        return [row.tolist() for row in prediction.predict_words(model, batching.encode_words(tokenizer, rows))]

    return {"sentences_per_second": rate(tags, sentences), **latency(lambda one: tags([one]), sentences, repeats),
            "tags": tags(sentences)}


def pipeline(folder: Path, sentences, repeats: int, batch_size: int = 1) -> dict:
    """transformers' pipeline on the text; its labels are put back onto the characters."""
    import torch
    from transformers import pipeline as make

    torch.set_num_threads(common.THREADS)
    tagger = make("token-classification", model=str(folder), tokenizer=str(folder), device="cpu", ignore_labels=[])
    numbers = tagger.model.config.label2id

    def tags(rows):
        found = []
        for row, pieces in zip(rows, tagger(["".join(row) for row in rows], batch_size=batch_size)):
            ends = np.cumsum([len(word) for word in row])
            labels = [0] * len(row)
            for piece in reversed(pieces):
                labels[int(np.searchsorted(ends, piece["start"], side="right"))] = numbers[piece["entity"]]
            found.append(labels)
        return found

    return {"sentences_per_second": rate(tags, sentences), **latency(lambda one: tags([one]), sentences, repeats),
            "tags": tags(sentences)}


def litert(folder: Path, sentences, repeats: int, int8: bool = False) -> dict:
    """A LiteRT file of the model, one sentence of `LENGTH` pieces at a time; longer sentences are left out."""
    import keras
    import tensorflow as tf

    from utils import batching, checkpoints

    common.tf_threads()
    tokenizer = checkpoints.load_tokenizer(folder)
    model = checkpoints.load("token", folder)

    def logits(input_ids, attention_mask):
        return model({"input_ids": input_ids, "attention_mask": attention_mask}, training=False)

    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec([1, LENGTH], tf.int32, name=name) for name in ("input_ids", "attention_mask")]
    archive.add_endpoint("one", logits, input_signature=signature)
    with tempfile.TemporaryDirectory() as place:
        archive.write_out(place, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(place, signature_keys=["one"])
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        content = converter.convert()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=common.THREADS)
    run = interpreter.get_signature_runner("one")

    def tags(row):
        windows = batching.encode_words(tokenizer, [row], max_length=LENGTH)
        given = batching.pad_ids(windows, [0])
        padded = {name: np.pad(values, ((0, 0), (0, LENGTH - values.shape[1]))) for name, values in given.items()}
        best = next(iter(run(**padded).values()))[0].argmax(-1)
        return best[windows.positions[0]].tolist()

    short = [index for index, row in enumerate(sentences) if len(row) <= LENGTH - 2]
    chosen = [sentences[index] for index in short]
    return {"sentences_per_second": rate(lambda rows: [tags(row) for row in rows], chosen), **latency(tags, chosen, repeats),
            "megabytes": len(content) / 1e6, "tags": [tags(row) for row in chosen], "of": short}


CONTENDERS = {"book": book, "pipeline": pipeline, "pipeline, batches": lambda *given: pipeline(*given, batch_size=BATCH),
              "litert float": litert, "litert int8": lambda *given: litert(*given, int8=True)}


def run_contender(name: str, folder: str, sentences: int, repeats: int) -> dict:
    """In the contender's own process."""
    rows = [row for row in common.ner_data(1)["validation"][0] if len(row) <= LONGEST and not JOINED.search("".join(row))]
    rows = rows[:sentences]
    return CONTENDERS[name](Path(folder) / "classifier", rows, repeats)


def agreement(reference: list, result: dict) -> float:
    """Share of the characters that have the same label as in the book's prediction."""
    expected = [reference[index] for index in result.get("of", range(len(reference)))]
    same = [a == b for one, other in zip(expected, result["tags"], strict=True) for a, b in zip(one, other)]
    return float(np.mean(same))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="4x256", choices=list(common.SIZES))
    parser.add_argument("--sentences", type=int, default=500, help="validation sentences, at most 600")
    parser.add_argument("--repeats", type=int, default=200, help="calls with one sentence")
    parser.add_argument("--contenders", default=";".join(CONTENDERS), help="separated by semicolons")
    if (options := common.options(parser, run_contender)) is None:
        return
    result = {**common.circumstances("prediction"), "size": options.size, "sentences": options.sentences}
    rows: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        common.write_checkpoint(options.size, Path(folder), common.ner_data(1)["labels"])
        for name in options.contenders.split(";"):
            rows[name] = common.contend("tests.benchmarks.prediction", name, folder=folder, sentences=options.sentences,
                                        repeats=options.repeats)
    reference = rows.get("book", {}).get("tags")
    for name, row in rows.items():
        if "error" in row:
            print(f"{name}: {row['error']}")
            continue
        if reference:
            row["same_labels"] = agreement(reference, row)
        row.pop("tags"), row.pop("of", None)
        print(f"{name}: {row['sentences_per_second']:.1f} sentences/s, one: p50 {row['p50_ms']:.1f} ms, p95 {row['p95_ms']:.1f} ms")
    result |= {"contenders": rows, "ratios": ratios(rows)}
    for name, ratio in result["ratios"].items():
        print(f"{name} = {ratio:.2f}")
    common.finish("prediction", result, options.keep)


def ratios(rows: dict[str, dict]) -> dict[str, float]:
    """The book against the pipeline, and int8 against float: above 1, the first is faster."""
    found = {}
    for first, second in (("book", "pipeline"), ("book", "pipeline, batches"), ("litert int8", "litert float")):
        if any("sentences_per_second" not in rows.get(name, {}) for name in (first, second)):
            continue
        found[f"{first} / {second}, sentences per second"] = rows[first]["sentences_per_second"] / rows[second]["sentences_per_second"]
        found[f"{first} / {second}, p50 of one"] = rows[second]["p50_ms"] / rows[first]["p50_ms"]
        found[f"{first} / {second}, p95 of one"] = rows[second]["p95_ms"] / rows[first]["p95_ms"]
    return found


if __name__ == "__main__":
    main()
