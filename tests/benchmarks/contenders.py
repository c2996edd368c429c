"""Four ways to fine-tune the same encoder for entities: the book's, the article's, PyTorch's defaults, Keras's defaults.

Each is a generator of epochs. It yields (seconds of training, sentences seen, predict), where `predict` gives the label ids
of a list of sentences; what is compiled at the start and the prediction are not counted as training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.museum.museum import article_features, tags_of

WIDTH = 128  # pieces to which the article and Keras pad; longer sentences are cut, by the book into two windows
Epoch = tuple[float, int, Callable[[Sequence[Sequence[str]]], list[list[int]]]]


def padded(tokenizer, rows, width: int = WIDTH) -> dict[str, np.ndarray]:
    """`article_features` of sentences and their label ids, stacked: (sentences, width) each."""
    every = [article_features(tokenizer, sentence, tags, width) for sentence, tags in zip(*rows)]
    return {name: np.stack([one[name] for one in every]) for name in every[0]}


def padded_predictor(tokenizer, logits: Callable[[dict], np.ndarray]):
    """`predict` for a model of padded batches."""

    def predict(sentences):
        found = []
        for start in range(0, len(sentences), 64):
            part = sentences[start : start + 64]
            data = padded(tokenizer, (part, [[0] * len(sentence) for sentence in part]))
            best = logits(data).argmax(-1)
            found += [tags_of(row, first, len(sentence)) for row, first, sentence in zip(best, data["first"], part)]
        return found

    return predict


def book(folder: Path, rows, labels, epochs: int, **options) -> Iterator[Epoch]:
    """Buckets without much padding, one compiled step for all lengths, warm-up and decay, 1,024 pieces a batch."""
    from utils import batching, checkpoints, prediction, profiles, training

    profile = profiles.get("mini")
    tokenizer = checkpoints.load_tokenizer(folder / "classifier")
    model = checkpoints.load("token", folder / "classifier")
    windows = batching.encode_words(tokenizer, rows[0], rows[1])
    order = batching.batch_plan(windows.piece_counts(), profile.batch_tokens, epochs)
    plan = training.Plan(len(order), options.get("learning_rate") or profile.learning_rate)
    trainer = training.Trainer(model, training.token_loss, batching.token_batches(windows, order), plan, label=None)
    warm_up(trainer, model)

    def predict(sentences):
        found = prediction.predict_words(model, batching.encode_words(tokenizer, sentences))
        return [row.tolist() for row in found]

    each = len(order) // epochs
    for epoch in range(epochs):
        before = trainer.history.seconds
        trainer.run(until=(epoch + 1) * each)
        yield trainer.history.seconds - before, len(rows[0]), predict


def warm_up(trainer, model) -> None:
    """Compile the training step and leave weights and optimiser as they were."""
    variables = [*model.variables, *trainer.optimizer.variables]
    kept = [np.array(variable) for variable in variables]
    trainer.run(until=1)
    for variable, value in zip(variables, kept):
        variable.assign(value)
    trainer.step, trainer.history = 0, type(trainer.history)()


def article(folder: Path, rows, labels, epochs: int, **options) -> Iterator[Epoch]:
    """The museum's recipe on our encoder: all padded to 128, pads counted in the loss, an eager tape, AdamW 2e-5, batch 16."""
    import keras
    import tensorflow as tf

    from utils import checkpoints

    tokenizer = checkpoints.load_tokenizer(folder / "classifier")
    model = checkpoints.load("token", folder / "classifier")
    data = padded(tokenizer, rows)
    optimizer = keras.optimizers.AdamW(learning_rate=2e-5)
    dataset = tf.data.Dataset.from_tensor_slices({name: data[name] for name in ("input_ids", "attention_mask", "labels")})

    def logits(batch):
        return model({name: batch[name] for name in ("input_ids", "attention_mask")}, training=False).numpy()

    for epoch in range(epochs):
        started = time.perf_counter()
        for batch in dataset.shuffle(len(data["labels"]), seed=epoch).batch(16):
            with tf.GradientTape() as tape:
                scores = model({name: batch[name] for name in ("input_ids", "attention_mask")}, training=True)
                loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(batch["labels"], scores, from_logits=True))
            optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
            loss.numpy()
        yield time.perf_counter() - started, len(rows[0]), padded_predictor(tokenizer, logits)


def pytorch(folder: Path, rows, labels, epochs: int, **options) -> Iterator[Epoch]:
    """The defaults of Hugging Face's token-classification example: batch 8, padded to its longest, AdamW 5e-5, linear decay."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    from tests.benchmarks.common import THREADS

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(str(folder / "classifier"))
    model = AutoModelForTokenClassification.from_pretrained(str(folder / "classifier"))
    longest = model.config.max_position_embeddings
    examples = []
    for sentence, tags in zip(*rows):
        encoded = tokenizer(sentence, is_split_into_words=True, truncation=True, max_length=longest)
        words = encoded.word_ids()
        target = [-100 if word is None or word == before else tags[word] for before, word in zip([None, *words], words)]
        examples.append((encoded["input_ids"], target))

    def collate(chosen):
        width = max(len(ids) for ids, _ in chosen)
        ids, mask, target = (torch.full((len(chosen), width), fill) for fill in (tokenizer.pad_token_id, 0, -100))
        for row, (one, tags) in enumerate(chosen):
            ids[row, : len(one)], mask[row, : len(one)], target[row, : len(one)] = torch.tensor(one), 1, torch.tensor(tags)
        return {"input_ids": ids, "attention_mask": mask, "labels": target}

    loader = torch.utils.data.DataLoader(examples, batch_size=8, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / (epochs * len(loader))))

    @torch.no_grad()
    def predict(sentences):
        model.eval()
        found = []
        for start in range(0, len(sentences), 16):
            part = sentences[start : start + 16]
            encoded = tokenizer(part, is_split_into_words=True, truncation=True, max_length=longest, padding=True, return_tensors="pt")
            best = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits.argmax(-1)
            for row, sentence in enumerate(part):
                tags = [0] * len(sentence)
                for place, word in reversed(list(enumerate(encoded.word_ids(row)))):
                    if word is not None:
                        tags[word] = int(best[row, place])
                found.append(tags)
        return found

    for _ in range(epochs):
        model.train()
        started = time.perf_counter()
        for batch in loader:
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            loss.item()
        yield time.perf_counter() - started, len(rows[0]), predict


def keras_fit(folder: Path, rows, labels, epochs: int, **options) -> Iterator[Epoch]:
    """KerasHub's encoder under `compile` and `fit` with their defaults: batch 32, all padded to 128, pads not counted."""
    import keras
    import keras_hub

    from utils import checkpoints

    keras.utils.set_random_seed(1)
    tokenizer = checkpoints.load_tokenizer(folder / "classifier")
    backbone = keras_hub.models.BertBackbone.from_preset(str(folder / "backbone"))
    scores = keras.layers.Dense(len(labels), name="labels")(keras.layers.Dropout(0.1)(backbone.output["sequence_output"]))
    model = keras.Model(backbone.input, scores)
    model.compile(optimizer=keras.optimizers.AdamW(5e-5), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    whole = len(rows[0]) // 32 * 32 or len(rows[0])  # no smaller batch at the end, for which Keras would compile once more
    data = {name: values[:whole] for name, values in padded(tokenizer, rows).items()}

    def inputs(data):
        return {"token_ids": data["input_ids"], "padding_mask": data["attention_mask"], "segment_ids": np.zeros_like(data["input_ids"])}

    given, weights = inputs(data), data["first"].astype("float32")
    model.predict(inputs({name: values[:32] for name, values in data.items()}), verbose=0)
    for epoch in range(epochs):
        clock = Clock(whole, skip=2 if epoch == 0 else 0)
        model.fit(given, data["labels"], sample_weight=weights, epochs=1, verbose=0, callbacks=[clock.callback()])
        predictor = padded_predictor(tokenizer, lambda data: model.predict(inputs(data), verbose=0))
        yield clock.seconds, clock.sentences, predictor


class Clock:
    """Time of `fit` from the end of its first `skip` batches, in which Keras compiles; `sentences` were seen in it."""

    def __init__(self, sentences: int, skip: int, batch: int = 32) -> None:
        skip = min(skip, sentences // batch - 1) if sentences > batch else 0
        self.skip, self.sentences, self.seconds = skip, sentences - skip * batch, 0.0

    def callback(self):
        import keras

        clock = self

        class Watch(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                clock.started = time.perf_counter()

            def on_train_batch_end(self, batch, logs=None):
                if batch + 1 == clock.skip:
                    clock.started = time.perf_counter()

            def on_train_end(self, logs=None):
                clock.seconds = time.perf_counter() - clock.started

        return Watch()


CONTENDERS = {"book": book, "article": article, "pytorch": pytorch, "keras": keras_fit}
