"""What a function costs in a process of its own.

A peak of memory is a mark that never sinks, and an allocator keeps what it once had; so in a process that has run other
things the number says nothing about the function. Each measurement here starts a new Python. Chapter 15 explains it.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import profiles
from .errors import RunError

STATUS = Path("/proc/self/status")  # Linux; its VmHWM begins anew with each program, ru_maxrss is inherited from the parent
MARK = "footprint-result:"


def _gpu() -> str | None:
    tensorflow = sys.modules.get("tensorflow")
    return "GPU:0" if tensorflow is not None and tensorflow.config.list_physical_devices("GPU") else None


def _status(name: str) -> int | None:
    try:
        found = re.search(rf"(?m)^{name}:\s+(\d+) kB", STATUS.read_text())
    except OSError:  # not Linux
        return None
    return 1024 * int(found[1]) if found else None


def resident_bytes() -> int:
    """Memory in use now: of the first GPU if TensorFlow sees one, else of this process (elsewhere than on Linux: its peak)."""
    if gpu := _gpu():
        return sys.modules["tensorflow"].config.experimental.get_memory_info(gpu)["current"]
    return _status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """The most memory since the start of the program or the last `reset_peak`; of the first GPU, or of this process.

    Raises:
        RunError: the system does not say (Windows).
    """
    if gpu := _gpu():
        return sys.modules["tensorflow"].config.experimental.get_memory_info(gpu)["peak"]
    if (found := _status("VmHWM")) is not None:
        return found
    try:
        import resource
    except ImportError:
        raise RunError("这个系统不提供进程的内存峰值：请在 Linux 或 macOS 上测量") from None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


def reset_peak() -> bool:
    """Let the peak begin anew from what is in use now; False where the system cannot."""
    if gpu := _gpu():
        sys.modules["tensorflow"].config.experimental.reset_memory_stats(gpu)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def in_new_process(*functions: Callable, arguments: dict[str, Any], timeout: float = 600.0) -> Any:
    """Call the last of `functions` with `arguments` in a new Python, where the others are defined too.

    The functions travel as source text: they must import what they use, and rest on no other global name.

    Args:
        functions: functions defined with `def`, in a file or a notebook.
        arguments: keyword arguments, plain JSON values.
        timeout: seconds after which the process is killed.

    Returns:
        What the function returned, as plain JSON values.

    Raises:
        RunError: the process failed or took too long; gives its last line.
    """
    source = "\n\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions)
    task = json.dumps({"source": source, "call": functions[-1].__name__, "arguments": arguments})
    try:
        done = subprocess.run([sys.executable, "-m", "utils.footprint"], input=task, capture_output=True, text=True,
                              timeout=timeout, cwd=profiles.ROOT, encoding="utf-8")
    except subprocess.TimeoutExpired:
        raise RunError(f"{functions[-1].__name__} 在新进程里超过 {timeout:g} 秒还没有完成") from None
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"进程以 {done.returncode} 结束"]
    raise RunError(f"{functions[-1].__name__} 在新进程里失败：{lines[-1]}")


def main() -> None:
    """In the new process: a task as JSON on standard input, the result as the last line of standard output."""
    task = json.load(sys.stdin)
    namespace: dict[str, Any] = {"__name__": "footprint_task"}
    exec(compile(task["source"], "<footprint>", "exec"), namespace)
    print("\n" + MARK + json.dumps(namespace[task["call"]](**task["arguments"])), flush=True)


if __name__ == "__main__":
    main()
