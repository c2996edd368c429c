"""Execute one notebook with papermill, under a limit on its whole time, and say what came of it."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from .. import obstacles
from ..records import RESULT_MIME
from .chapters import Chapter
from .kernels import Launch, Zygote

logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would say is in the result and in the log
LONGEST_FOLDER = 70  # bytes
TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Execution:
    """What one execution gave: the executed notebook's bytes, or an error (one line in Chinese)."""

    seconds: float
    peak_memory_mb: float | None
    notebook: bytes = b""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str | None = None


class Executor:
    """Executes chapters; one executor may be used by several threads at once.

    Args:
        zygote: what to fork kernels from; None starts ordinary ones.
        environment: of every kernel.

    Attributes:
        stopped: whether `kill_all` was called; nothing starts any more.
    """

    def __init__(self, zygote: Zygote | None, environment: dict[str, str]) -> None:
        self._zygote, self._environment = zygote, environment
        self._running: set[Launch] = set()
        self.stopped = False

    def execute(
        self,
        chapter: Chapter,
        parameters: dict[str, Any],
        side: Path,
        log: Path,
        timeout: float | None = None,
        extra_environment: dict[str, str] | None = None,
        stream: TextIO | None = None,
    ) -> Execution:
        """Execute a chapter in a kernel of its own, in the notebook's folder.

        Args:
            chapter: the notebook.
            parameters: injected after the cell tagged `parameters`.
            side: where papermill keeps the unfinished notebook; it stays after a failure.
            log: text file for all that the notebook prints, and for the traceback.
            timeout: seconds for the whole notebook; None means no limit.
            extra_environment: added to the kernel's environment.
            stream: where the notebook's printed lines go besides the log.
        """
        for file in (side, log):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
        sockets = Path(tempfile.mkdtemp(prefix="book-", dir=short_folder()))
        environment = {**self._environment, **(extra_environment or {})}
        launch = Launch(self._zygote, sockets, log, chapter.path.parent, environment)
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            launch.kill()

        watch = threading.Timer(timeout or 0, stop)
        watch.daemon = True
        error: str | None = None
        started = time.monotonic()
        self._running.add(launch)
        if self.stopped:
            launch.kill()
        try:
            with log.open("a", encoding="utf-8") as written:
                if timeout:
                    watch.start()
                try:
                    papermill.execute_notebook(
                        str(chapter.path), str(side), parameters=parameters, progress_bar=False,
                        kernel_manager_class=launch.manager_class(), shutdown_kernel="immediate",
                        stdout_file=_Tee(written, stream), stderr_file=_Tee(written, None),
                    )
                    error = _unexecuted(chapter, side)
                except Exception as exception:  # noqa: BLE001 (whatever it is, the other chapters go on)
                    if timed_out.is_set():
                        error = f"{_place(chapter, side)}：超过整本时限 {timeout:.0f} 秒，已终止（--timeout 可以放宽）"
                    else:
                        error = _describe(exception, chapter, side, written)
        finally:
            watch.cancel()
            launch.kill()
            self._running.discard(launch)
            shutil.rmtree(sockets, ignore_errors=True)
        seconds = round(time.monotonic() - started, 2)
        if error:
            with log.open("a", encoding="utf-8") as written:
                written.write(f"\n{error}\n")
            return Execution(seconds, launch.peak_memory_mb, error=error)
        content = side.read_bytes()
        side.unlink()
        return Execution(seconds, launch.peak_memory_mb, content, reported_results(json.loads(content)))

    def kill_all(self) -> None:
        """Kill the kernels of all executions under way; none starts any more."""
        self.stopped = True
        for launch in list(self._running):
            launch.kill()


def short_folder() -> str | None:
    """Where sockets go: the path of one has at most 107 bytes, so not below a long TMPDIR. None: wherever `tempfile` says."""
    too_long = len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER
    return "/tmp" if too_long and os.access("/tmp", os.W_OK) else None


class _Tee:
    """A file to which papermill writes; passes on to one or two others, at once."""

    def __init__(self, *streams: TextIO | None) -> None:
        self._streams = [stream for stream in streams if stream]

    def write(self, text: str) -> None:
        for stream in self._streams:
            stream.write(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()


def reported_results(notebook: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What an executed notebook passed to `records.Chapter.report`: name -> {"value", "band"} and perhaps {"note"}."""
    found = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            result = output.get("data", {}).get(RESULT_MIME)
            if result:
                found[result["name"]] = {part: result[part] for part in ("value", "band", "note") if part in result}
    return found


def _cells(path: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(path.read_bytes())["cells"]
    except (OSError, ValueError, KeyError):
        return []


def _name_cell(cell: dict[str, Any], chapter: Chapter) -> str:
    """How a reader finds a cell of the executed copy in the source: its place there, and its id."""
    ids = [source.get("id") for source in _cells(chapter.path)]
    if cell.get("id") in ids:
        return f"{chapter.id} 第 {ids.index(cell['id']) + 1} 个单元格（id={cell['id']}）"
    return f"{chapter.id} 注入参数的单元格"


def _place(chapter: Chapter, side: Path) -> str:
    """The cell at which the execution stopped, read from the unfinished copy."""
    # papermill marks every cell as completed when the kernel has died, so the last one with a start is the one
    begun = [
        cell
        for cell in _cells(side)
        if cell["cell_type"] == "code" and cell["metadata"].get("papermill", {}).get("start_time")
    ]
    failed = [cell for cell in begun if cell["metadata"]["papermill"].get("exception")]
    for cell in [*failed, *reversed(begun)]:
        return _name_cell(cell, chapter)
    return f"{chapter.id}（启动内核时）"


def _describe(exception: Exception, chapter: Chapter, side: Path, log: TextIO) -> str:
    """One line about a failure; the traceback goes to the log."""
    if isinstance(exception, PapermillExecutionError):
        log.write("\n" + TERMINAL_COLOUR.sub("", "\n".join(exception.traceback)) + "\n")
        message = " ".join(TERMINAL_COLOUR.sub("", exception.evalue).split())
        return f"{_place(chapter, side)}：{exception.ename}: {message[:500]}"
    if isinstance(exception, DeadKernelError):
        return f"{_place(chapter, side)}：内核意外退出（常见原因是内存不足）"
    reason = obstacles.explain(exception) or f"{type(exception).__name__}: {' '.join(str(exception).split())[:500]}"
    return f"{_place(chapter, side)}：{reason}"


def _unexecuted(chapter: Chapter, side: Path) -> str | None:
    """`sys.exit()` ends a notebook early without an error: a copy with cells not executed is no success."""
    for cell in _cells(side):
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "code" and source and cell.get("execution_count") is None:
            return f"{_name_cell(cell, chapter)}：没有执行到，前面的单元格提前结束了笔记本"
    return None
