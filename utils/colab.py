"""Colab: what the book needs and Colab lacks is installed when it is first imported, and nothing that is there changes.

Thus a chapter installs only what it uses. TensorFlow and Keras are never installed: Colab's own are used.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import machine
from .errors import RunError

# Module -> package of requirements.txt, for those that a notebook may lack and may get.
MODULES = {
    "datasets": "datasets", "django": "django", "fastapi": "fastapi", "hassil": "hassil",
    "home_assistant_intents": "home-assistant-intents", "httpx": "httpx", "huggingface_hub": "huggingface-hub",
    "jupyterlab_language_pack_zh_CN": "jupyterlab-language-pack-zh-CN", "matplotlib": "matplotlib",
    "matplotlib_inline": "matplotlib-inline", "pycrfsuite": "python-crfsuite",
    "pylopdf_fonts_zh_cn": "pylopdf-fonts-zh-cn", "rouge_score": "rouge-score", "sacrebleu": "sacrebleu",
    "safetensors": "safetensors", "scipy": "scipy", "seqeval": "seqeval", "sklearn": "scikit-learn",
    "snownlp": "snownlp", "tokenizers": "tokenizers", "transformers": "transformers", "uvicorn": "uvicorn",
}


class Installer(importlib.abc.MetaPathFinder):
    """The last finder that Python asks for a module: installs its package, if it is one of `MODULES`.

    Args:
        modules: module -> package.
        ranges: package -> versions, as in requirements.txt.
    """

    def __init__(self, modules: dict[str, str], ranges: dict[str, str]) -> None:
        self.modules, self.ranges, self.tried = modules, ranges, set()

    def find_spec(self, name, path=None, target=None):
        """Spec of a module that no other finder knows; None leaves it missing."""
        if path is not None or name not in self.modules or name in self.tried:
            return None
        self.tried.add(name)
        package = self.modules[name]
        install(package + self.ranges.get(package, ""))
        importlib.invalidate_caches()
        return importlib.util.find_spec(name)


def installed() -> str:
    """Every installed package at its version, as a constraints file: pip may add packages, but change none."""
    found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions() if one.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if re.fullmatch(r"[\w.+!-]+", version))


def install(requirement: str) -> None:
    """Install one package beside what is there.

    Raises:
        RunError: pip refuses, because a package that is there would have to change, or cannot be reached.
    """
    print(f"正在安装 {requirement} …", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text(installed(), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
                   "--constraint", str(constraints), requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise RunError(f"装不上 {requirement}：{lines[-1] if lines else '没有消息'}。已有的包一个也没有动；可新开一个运行时再试")


def in_colab() -> bool:
    """Whether this is a Colab notebook, or its container."""
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def prepare() -> None:
    """In Colab, install missing packages when they are imported; elsewhere, and the second time, do nothing."""
    if in_colab() and not any(isinstance(finder, Installer) for finder in sys.meta_path):
        sys.meta_path.append(Installer(MODULES, {name: ranges for name, ranges, _ in machine.required()}))
