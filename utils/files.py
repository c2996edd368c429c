"""Files that are whole whatever is killed."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from .errors import RunError
from .obstacles import explain


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, whenever it looks and whatever is killed, sees the old or the new one, whole.

    Raises:
        RunError: the system refuses: a full disk, a folder that cannot be written; nothing half-written is left.
    """
    side = path.with_name(f".{path.name}.{threading.get_ident()}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with side.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(side, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            side.unlink(missing_ok=True)
        if reason := explain(error, path):
            raise RunError(reason) from error
        raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself reaches the disk with the folder; Windows has no such call
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
