"""One process at a time: a lock on a file, which the system lets go when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import RunError

try:
    import fcntl
except ImportError:  # Windows: no lock, as if nobody else were there
    fcntl = None

PAUSE = 0.1  # seconds between two attempts


@contextlib.contextmanager
def alone(path: Path, what: str, goes_on: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold a lock while the block runs; yields whether another process had to be waited for.

    Args:
        path: file of the lock; made if missing, and left there, because another process may be waiting for it.
        what: what is being done, for the message.
        goes_on: asked again and again while another process holds the lock; False gives up.

    Raises:
        RunError: another process holds the lock, and `goes_on` says not to wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    with path.open("ab") as stream:
        while not _taken(stream.fileno()):
            if not goes_on():
                raise RunError(f"另一个进程正在{what}：等它做完再试")
            waited = True
            time.sleep(PAUSE)
        yield waited


def _taken(descriptor: int) -> bool:
    """Try to take the lock; where the file system knows no locks, go on without."""
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
