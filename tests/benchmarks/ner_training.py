"""Fine-tuning for entities: sentences per second of the book against three others, and how near to the machine's peak.

    make bench OPTIONS="ner_training --sizes 4x256 --sentences 2000"
    make bench OPTIONS="ner_training --until-equal 0.85"      goes on until the validation F1 is reached (at most 20 epochs)

Compared: (article) the museum's recipe mended, (pytorch) a loop with the defaults of Hugging Face's token-classification
example, (keras) KerasHub's encoder under `fit`. All start from the same files; each has its recipe's own learning rate.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import common

SENTENCES, MOST_EPOCHS = 2000, 20


def flops(config, lengths: np.ndarray, classes: int) -> float:
    """Floating-point operations of one training pass over texts of these lengths (pieces), without any padding.

    Matrix products only, two operations a multiplication; the backward pass costs twice the forward one.
    """
    w, i = config.hidden_size, config.intermediate_size
    pieces, pairs = float(lengths.sum()), float((lengths.astype(float) ** 2).sum())
    forward = config.num_hidden_layers * (2 * pieces * (4 * w * w + 2 * w * i) + 2 * 2 * pairs * w) + 2 * pieces * w * classes
    return 3 * forward


def breakdown(folder: Path, rows) -> dict:
    """Where the time of the book's step goes: seconds of one batch of usual length, forward, with gradients, with the update."""
    import time

    import tensorflow as tf

    from utils import batching, checkpoints, profiles, training

    model = checkpoints.load("token", folder / "classifier")
    windows = batching.encode_words(checkpoints.load_tokenizer(folder / "classifier"), rows[0], rows[1])
    order = batching.batch_plan(windows.piece_counts(), profiles.get("mini").batch_tokens, 1)
    batches = batching.token_batches(windows, order)
    trainer = training.Trainer(model, training.token_loss, batches, training.Plan(len(order), 1e-5), label=None)
    middle = sorted(range(len(order)), key=lambda step: batches(step)["input_ids"].shape[1])[len(order) // 2]
    batch = batches(middle)

    def gradients(batch):
        with tf.GradientTape() as tape:
            loss = training.token_loss(model, batch, training=True)
        return [tf.reduce_sum(tf.convert_to_tensor(one)) for one in tape.gradient(loss, model.trainable_variables)]

    parts = {"forward": lambda batch: training.token_loss(model, batch, training=True), "with_gradients": gradients,
             "with_update": trainer.train_step}
    seconds = {}
    for name, function in parts.items():
        compiled = tf.function(function)
        times = []
        for _ in range(8):
            started = time.perf_counter()
            tf.nest.map_structure(lambda tensor: tensor.numpy(), compiled(batch))
            times.append(time.perf_counter() - started)
        seconds[name] = float(np.median(times[2:]))
    started = time.perf_counter()
    sizes = [batches(step)["input_ids"].size for step in range(len(order))]
    seconds["making_one_batch"] = (time.perf_counter() - started) / len(order)
    return {"seconds_per_batch": seconds, "padding_share": 1 - float(windows.piece_counts().sum()) / sum(sizes),
            "batch_shape": list(batch["input_ids"].shape)}


def run_contender(name: str, folder: str, sentences: int, epochs: int, until: float | None, seed: int) -> dict:
    """In the contender's own process: train, score on validation after each epoch."""
    from tests.benchmarks.contenders import CONTENDERS

    if name != "pytorch":
        common.tf_threads()
    data = common.ner_data(sentences, seed)
    labels, (texts, gold) = data["labels"], data["validation"]
    from utils import metrics

    true = [[labels[tag] for tag in row] for row in gold]
    epochs = MOST_EPOCHS if until else epochs
    result, seconds, seen = {"epochs": []}, 0.0, 0
    extra = {}
    if name == "book":
        from utils import batching, checkpoints

        tokenizer = checkpoints.load_tokenizer(Path(folder) / "classifier")
        lengths = batching.encode_words(tokenizer, data["train"][0]).piece_counts()
        from utils.encoder import EncoderConfig

        config = EncoderConfig.from_dict(checkpoints.read_config(Path(folder) / "classifier"))
        extra = {"peak_flops": common.matmul_peak(), "flops_per_epoch": flops(config, lengths, len(labels))}
    for spent, count, predict in CONTENDERS[name](Path(folder), data["train"], labels, epochs):
        seconds, seen = seconds + spent, seen + count
        found = [[labels[tag] for tag in row] for row in predict(texts)]
        f1 = metrics.entity_scores(true, found).f1
        result["epochs"].append({"seconds": round(seconds, 2), "sentences": seen, "f1": round(f1, 4)})
        if until and f1 >= until:
            break
    result["sentences_per_second"] = seen / seconds
    result["f1"] = result["epochs"][-1]["f1"]
    if until:
        result["seconds_until_equal"] = seconds if f1 >= until else None
    if extra:
        reached = extra["flops_per_epoch"] * seen / sentences / seconds
        result |= extra | {"share_of_peak": reached / extra["peak_flops"], **breakdown(Path(folder), data["train"])}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(common.SIZES), help="4x256, 6x384, or both with a comma")
    parser.add_argument("--contenders", default="book,article,pytorch,keras")
    parser.add_argument("--sentences", type=int, default=SENTENCES, help="training sentences")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--until-equal", type=float, metavar="F1", help="train until this entity F1 on validation")
    parser.add_argument("--seed", type=int, default=0, help="which sentences")
    if (options := common.options(parser, run_contender)) is None:
        return
    result = {**common.circumstances("ner_training"), "sentences": options.sentences, "sizes": {}}
    labels = common.ner_data(1)["labels"]
    for size in options.sizes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            common.write_checkpoint(size, Path(folder), labels)
            rows = {}
            for name in options.contenders.split(","):
                rows[name] = common.contend("tests.benchmarks.ner_training", name, folder=folder, sentences=options.sentences,
                                            epochs=options.epochs, until=options.until_equal, seed=options.seed)
                shown = rows[name].get("error") or f"{rows[name]['sentences_per_second']:.1f} sentences/s, F1 {rows[name]['f1']:.3f}"
                print(f"{size} {name}: {shown}", flush=True)
        result["sizes"][size] = {"contenders": rows, "ratios": ratios(rows)}
        for name, ratio in result["sizes"][size]["ratios"].items():
            print(f"{size}: book / {name} = {ratio:.2f}", flush=True)
        if options.until_equal:
            missed = not_reached(rows)
            result["sizes"][size] |= {"until_equal": options.until_equal, "not_reached": missed}
            for name, best in missed.items():
                print(f"{size} {name}: 未达到 F1 {options.until_equal:g}（{'运行失败' if best is None else f'最好 {best:.3f}'}）", flush=True)
        if "share_of_peak" in rows.get("book", {}):
            print(f"{size}: share of the matrix-product peak = {rows['book']['share_of_peak']:.2f}", flush=True)
    common.finish("ner_training", result, options.keep)


def not_reached(rows: dict) -> dict[str, float | None]:
    """Whose training ended without the score of `--until-equal`: name -> best F1 of an epoch, None if the run failed."""
    return {name: max((epoch["f1"] for epoch in row.get("epochs", ())), default=None) for name, row in rows.items()
            if row.get("seconds_until_equal") is None}


def ratios(rows: dict) -> dict[str, float]:
    """Speed of the book over that of each other; with `--until-equal`, of the times until the score was reached.

    Who failed has no ratio, and who never reached the score (`not_reached`) none of times.
    """
    found = {}
    for name, row in rows.items():
        if name == "book" or "error" in row or "error" in rows.get("book", {"error": ""}):
            continue
        found[name] = rows["book"]["sentences_per_second"] / row["sentences_per_second"]
        if row.get("seconds_until_equal") and rows["book"].get("seconds_until_equal"):
            found[f"{name} until equal"] = row["seconds_until_equal"] / rows["book"]["seconds_until_equal"]
    return found


if __name__ == "__main__":
    main()
