"""What there is on this machine, as plain facts; `utils.doctor` judges them.

It must speak on a broken machine: this file needs nothing but the standard library and parses under Python 3.8; anything
else is imported inside the function that looks for it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

from . import profiles

HUB = "https://huggingface.co"
SITE_GROUP = "建站"  # this word in a heading of requirements.txt: a notebook runs without the packages below it
PROBE = "import json; from utils import machine; print(json.dumps(machine.tensorflow_facts()))"


def satisfies(version: str, ranges: str) -> bool:
    """Whether "2.21.0" lies in ">=2.20,<2.22". Numbers only: 3.0rc1 counts as after 3.0, local parts (+cpu) as absent."""

    def numbers(text):
        parts = [int(part) for part in re.findall(r"\d+", text.split("+")[0])]
        while parts and parts[-1] == 0:
            parts.pop()  # 3.0 and 3 are equal
        return parts

    tests = {"==": lambda a, b: a == b, "!=": lambda a, b: a != b, ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b,
             ">": lambda a, b: a > b, "<": lambda a, b: a < b}
    found = re.findall(r"(==|!=|>=|<=|>|<)\s*([^,\s]+)", ranges)
    return all(tests[sign](numbers(version), numbers(bound)) for sign, bound in found)


def required(path: Path = profiles.ROOT / "requirements.txt") -> list[tuple[str, str, bool]]:
    """(package, ranges, whether a notebook needs it) for each line of requirements.txt."""
    rows, needed = [], True
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            needed = SITE_GROUP not in line
        elif match := re.match(r"([A-Za-z0-9._-]+)\s*([^;#]*)", line):
            rows.append((match.group(1), match.group(2).strip(), needed))
    return rows


def installed(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def tensorflow_facts() -> dict:
    """Import TensorFlow and Keras, multiply two matrices, and say what is there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # do not take the memory of a running notebook
    import keras
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
    return {"tensorflow": tf.__version__, "keras": keras.__version__, "backend": keras.backend.backend(), "gpus": names,
            "works": float(tf.reduce_sum(tf.matmul(tf.ones((2, 2)), tf.ones((2, 2))))) == 8.0}


def probe() -> dict:
    """`tensorflow_facts`, in a process of its own if TensorFlow is not loaded: a crash there is a finding, not the end."""
    if "tensorflow" in sys.modules:
        return tensorflow_facts()
    result = subprocess.run([sys.executable, "-c", PROBE], cwd=profiles.ROOT, capture_output=True, text=True, timeout=300)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        raise RuntimeError(lines[-1] if result.returncode > 0 and lines else f"进程以 {result.returncode} 结束")
    return json.loads(result.stdout.splitlines()[-1])


def memory_bytes() -> int | None:
    """Memory that this process may use: the machine's, or the container's limit if that is lower; None if unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total


def hub_endpoint() -> str:
    """The hub or its mirror: HF_ENDPOINT if set. It is read, never set."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB


def shown_endpoint() -> str:
    """`hub_endpoint` for a message: without a password, if there is one."""
    return re.sub(r"//[^/@]*@", "//", hub_endpoint())


def http_status(url: str, timeout: float) -> int | str:
    """Status of a HEAD request, or why there is none. Never longer than `timeout`: a name look-up knows no limit."""
    outcome: list = [f"{timeout:g} 秒内没有回答"]

    def ask():
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout) as reply:
                outcome[0] = reply.status
        except urllib.error.HTTPError as error:
            outcome[0] = error.code
        except Exception as error:  # urllib, http.client, ssl and socket each have their own
            outcome[0] = f"连不上（{getattr(error, 'reason', error)}）"

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout + 0.5)
    return outcome[0]


def safetensors_sizes(path: Path) -> tuple[int, int, int]:
    """(number of tensors, bytes that the header promises, bytes that are there) of a safetensors file.

    Raises:
        ValueError: this is no safetensors file (a Git LFS pointer, say).
    """
    content = path.read_bytes()
    try:
        size = struct.unpack("<Q", content[:8])[0]
        tensors = json.loads(content[8 : 8 + size])
        tensors.pop("__metadata__", None)
        return len(tensors), 8 + size + max(entry["data_offsets"][1] for entry in tensors.values()), len(content)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"{path.name} 不是 safetensors 文件") from error
