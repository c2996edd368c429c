"""Git, where there is one: an archive that somebody downloaded has none, and the book works without it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def answer(root: Path, *arguments: str) -> str:
    """What a git command prints, without the spaces around it.

    Args:
        root: the repository.
        arguments: of git.

    Returns:
        Empty where git is not installed, where there is no repository, and where the command fails.
    """
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, encoding="utf-8",
                              errors="replace", check=False)
    except OSError:  # not installed, or not to be run
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
