"""Files that are whole whatever is killed."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, whenever it looks and whatever is killed, sees the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = path.with_name(f".{path.name}.{threading.get_ident()}.{os.getpid()}.part")
    with side.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(side, path)
    if hasattr(os, "O_DIRECTORY"):  # the rename itself reaches the disk with the folder; Windows has no such call
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
