"""A small training as a process of its own, so that tests can kill it, take its disk away, or run it twice.

    training_run.py whole FOLDER                     one run; its result is the last line printed
    training_run.py kill FOLDER --count 3 --seed 1   runs killed with -9 at random moments, and gone on with, until as many
                                                     kills have hit; then one that finds no room for its state, three times
Each line printed is a JSON object. TensorFlow is imported once; every run is a fork of this process, which itself runs no
operation, so that a fork is as good as a new process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
SAVE_EVERY, EPOCHS = 3, 8


def train(folder: Path, options: argparse.Namespace, say) -> dict:
    """Train with the book's own routine, as a chapter would after `utils.setup`; `say` hears of each saved step.

    Returns:
        digests of weights and predictions, the losses, the scores and the step from which this process started.
    """
    import keras
    import numpy as np

    import utils
    from utils import batching, prediction, training
    from utils.encoder import Encoder, EncoderConfig
    from utils.heads import TokenClassifier

    class Reporting(training.Trainer):
        def save_state(self):
            super().save_state()
            say(self.step)

    with open(os.devnull, "w") as nowhere:
        sys.stdout, shown = nowhere, sys.stdout
        utils.setup(seed=11)
        sys.stdout = shown
    width = options.width
    model = TokenClassifier(Encoder(EncoderConfig(60, width, options.layers, 2, 2 * width, max_position_embeddings=64)), 3)
    chance = np.random.default_rng(5)
    ids = [chance.integers(5, 60, chance.integers(4, 40)).astype(np.int32) for _ in range(options.sentences)]
    places = [np.arange(len(row), dtype=np.int32) for row in ids]
    windows = batching.Windows(ids, places, places, np.arange(len(ids)), np.array([len(row) for row in ids]),
                               [row % 3 for row in ids])
    order = batching.batch_plan(windows.piece_counts(), 256, EPOCHS)

    def evaluate(model):
        found = prediction.predict_words(model, windows)
        return {"score": float(np.mean(np.concatenate(found) == np.concatenate(windows.labels)))}

    trainer = Reporting(model, training.token_loss, batching.token_batches(windows, order),
                        training.Plan(len(order), 2e-2, evaluate_every=len(order) // EPOCHS), evaluate,
                        state=folder / "state.npz", save_every=SAVE_EVERY, label=None)
    if trainer.state.exists():
        trainer.load_state()
    start = trainer.step
    say("ready")
    history = trainer.run()
    weights = b"".join(keras.ops.convert_to_numpy(variable).tobytes() for variable in model.variables)
    logits = b"".join(rows.tobytes() for rows in prediction.word_scores(model, windows))
    return {"weights": hashlib.sha256(weights).hexdigest(), "logits": hashlib.sha256(logits).hexdigest(), "start": start,
            "losses": history.losses, "evaluations": history.evaluations, "best_step": history.best_step}


def forked(folder: Path, options: argparse.Namespace, kill_after: float | None = None, early: bool = False,
           room: int | None = None) -> dict:
    """Train in a fork.

    Args:
        folder: where the state lies.
        options: size of the training.
        kill_after: kill -9 so many seconds after this run has saved for the first time,
        early: or after its model was made, before the step is compiled.
        room: most bytes that a file may have (what is larger fails as on a full disk).

    Returns:
        result (None if it did not end well), saved (the steps whose saving was reported), seconds (from the first save to
        the end), early_seconds (from the making of the model to the first save), error, killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)

        def say(message):
            os.write(writing, (json.dumps(message) + "\n").encode())

        try:
            if room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            say({"result": train(folder, options, say)})
        except BaseException as error:  # noqa: BLE001 (the parent is told; nothing may climb into its code)
            say({"error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(0)
    os.close(writing)
    buffer, ready, first_save, done = b"", None, None, False
    while not done:
        began = ready if early else first_save
        left = None if kill_after is None or began is None else began + kill_after - time.monotonic()
        if left is not None and left <= 0 or not select.select([reading], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            kill_after = None
            continue
        part = os.read(reading, 1 << 16)
        done, buffer = not part, buffer + part
        if ready is None and b'"ready"\n' in buffer:
            ready = time.monotonic()
        if first_save is None and re.search(rb"^\d+\n", buffer, re.MULTILINE):
            first_save = time.monotonic()
    end = time.monotonic()
    os.close(reading)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    lines = [json.loads(line) for line in buffer.split(b"\n") if line]
    ends = {name: value for line in lines if isinstance(line, dict) for name, value in line.items()}
    return {"result": None if killed else ends.get("result"), "saved": [line for line in lines if isinstance(line, int)],
            "seconds": end - first_save if first_save else 0.0, "error": ends.get("error"), "killed": killed,
            "early_seconds": first_save - ready if first_save else 0.0}


def saved_step(folder: Path) -> int:
    """The step of the state on disk; 0 if there is none. Raises whatever NumPy raises on a file that is not whole."""
    import numpy as np

    if not (folder / "state.npz").exists():
        return 0
    with np.load(folder / "state.npz") as arrays:
        for name in arrays.files:
            arrays[name]
        return json.loads(arrays["meta"].tobytes())["step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["whole", "kill"])
    parser.add_argument("folder", type=Path)
    for name, default in {"count": 3, "seed": 1, "width": 16, "layers": 1, "sentences": 60}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras  # noqa: F401 (imported here, used in the forks)

    import utils.figures  # noqa: F401
    from utils import batching, heads, prediction, training  # noqa: F401

    def tell(**facts):
        print(json.dumps(facts), flush=True)

    options.folder.mkdir(parents=True, exist_ok=True)
    whole = forked(options.folder, options)
    tell(kind="whole", **whole)
    if options.mode == "whole":
        return
    chance, hits, seconds = random.Random(options.seed), 0, {False: whole["seconds"], True: whole["early_seconds"]}
    folder = options.folder / "killed"
    for _ in range(4 * options.count):
        if hits == options.count:
            break
        folder.mkdir(exist_ok=True)
        early = chance.random() < 0.2
        run = forked(folder, options, kill_after=chance.uniform(0, 0.9 * seconds[early]), early=early)
        hits += run["killed"]
        tell(kind="killed" if run["killed"] else "finished", on_disk=saved_step(folder), **run)
        if not run["killed"]:
            shutil.rmtree(folder)
    if folder.exists():
        tell(kind="finished", on_disk=saved_step(folder), **forked(folder, options))
    # No room for the next state: the file may be no longer than half of it.
    folder = options.folder / "full"
    folder.mkdir()
    first = forked(folder, options, kill_after=0)
    before = saved_step(folder)
    starved = forked(folder, options, room=(options.folder / "state.npz").stat().st_size // 2)
    left = sorted(path.name for path in folder.iterdir())
    tell(kind="full", before=before, on_disk=saved_step(folder), left=left, first=first["killed"], **starved)
    tell(kind="finished", on_disk=0, **forked(folder, options))


if __name__ == "__main__":
    main()
