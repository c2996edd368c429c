"""Helper package of the book. `utils.setup()` is the first call of every chapter."""

from __future__ import annotations

import os

THREADS = 2  # fixed, because the order of floating point sums depends on it


def setup(seed: int = 42) -> None:
    """Make a notebook repeatable and readable, and print one line about the machine.

    Sets the seeds of Python, NumPy and TensorFlow, op determinism, a fixed number of threads, GPU memory growth,
    and the figure style (Chinese font). Calling it again only resets the seeds.

    Args:
        seed: seed of every random generator.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import platform

    import keras
    import tensorflow as tf

    from . import figures

    gpus = tf.config.list_physical_devices("GPU")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(2)  # side by side, but each sum in its own order
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        pass  # TensorFlow is already running (set-up cell executed twice): the first call has set them
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    figures.use_style()
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
    print(
        f"Python {platform.python_version()} · TensorFlow {tf.__version__} · Keras {keras.__version__}"
        f" · {device} · 随机种子 {seed}"
    )
