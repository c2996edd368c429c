"""A process that imports the heavy packages once and forks a Jupyter kernel whenever it is asked to (Linux only).

It is run as a program by `kernels.Zygote`, and imports nothing of the book: each kernel finds `utils` by itself. No
TensorFlow operation may run here, because its threads would not survive the fork.

Messages are JSON, one a packet, over the socket whose descriptor is the first argument:
    {"arguments": [...], "cwd": "...", "environment": {...}, "log": "..."}  with one socket attached
starts a kernel; over the attached socket come back {"pid": n} and, at its end, {"returncode": n, "peak_memory_mb": x},
the most memory (MiB) of the kernel together with all processes below it.
When the other end of that socket is closed the kernel is killed; when the first is, this process ends with all kernels.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable

POLL_SECONDS = 0.05  # how often the ends of kernels are looked for
SAMPLE_SECONDS = 1.0  # how often their memory is looked at, which takes about two milliseconds
PROCESSES = "/proc"
MIB = 2**20


def preload(modules: list[str]) -> list[str]:
    """Import what kernels will need; returns those that cannot be imported; why is printed."""
    missing = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
            traceback.print_exc()
    return missing


def run_kernel(request: dict) -> None:
    """In the child: become a kernel of the book, and run until the client shuts it down."""
    os.setsid()  # a group of its own, so that the kernel can be killed with everything it starts
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["ipykernel_launcher", *request["arguments"]]
    from ipykernel.kernelapp import IPKernelApp

    # parent_handle: the kernel ends by itself if this zygote is killed
    IPKernelApp.launch_instance(argv=request["arguments"], parent_handle=os.getppid())


def serve(control: socket.socket) -> None:
    """Fork a kernel for each request until the other end of `control` is closed."""
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    kernels: dict[int, socket.socket] = {}
    peaks: dict[int, float] = {}
    next_sample = 0.0
    while True:
        for ready, _ in selector.select(POLL_SECONDS):
            if ready.fileobj is not control:  # the client sends nothing here: this is the end of its socket
                selector.unregister(ready.fileobj)
                _kill(next(pid for pid, connection in kernels.items() if connection is ready.fileobj))
                continue
            packet, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 1)
            if not packet:
                for pid in kernels:
                    _kill(pid)
                return
            connection = socket.socket(fileno=descriptors[0])
            pid = os.fork()
            if pid == 0:
                _child(json.loads(packet), [control, connection, *kernels.values()], selector)
            kernels[pid] = connection
            selector.register(connection, selectors.EVENT_READ)
            connection.send(json.dumps({"pid": pid}).encode())
        if kernels and time.monotonic() >= next_sample:
            next_sample = time.monotonic() + SAMPLE_SECONDS
            for pid, megabytes in memory_mb(kernels).items():
                peaks[pid] = max(megabytes, peaks.get(pid, 0.0))
        _collect(kernels, peaks, selector)


def _child(request: dict, sockets: list[socket.socket], selector: selectors.BaseSelector) -> None:
    status = 1
    try:
        selector.close()
        for inherited in sockets:
            inherited.close()
        run_kernel(request)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 (nothing may climb into the parent's loop)
        traceback.print_exc(file=sys.__stderr__)
    finally:
        sys.__stderr__.flush()
        os._exit(status)


def memory_mb(kernels: Iterable[int], processes: str = PROCESSES) -> dict[int, float]:
    """What each kernel holds now together with the processes below it, in MiB; a kernel that has just ended is left out.

    Nothing where the system has no such folder.

    Of the kernel the resident memory counts, of the others what is not backed by files: the pages of the libraries that
    they share with the kernel are there once. What a plain fork shares with its parent is counted for both.

    Args:
        kernels: process ids.
        processes: the folder that proc(5) describes.
    """
    if not os.path.isdir(processes):  # macOS
        return {}
    children: dict[int, list[int]] = {}
    for name in os.listdir(processes):
        if name.isdecimal() and (fields := _fields(f"{processes}/{name}/stat")):
            children.setdefault(int(fields[1]), []).append(int(name))
    page, found = os.sysconf("SC_PAGE_SIZE"), {}
    for kernel in kernels:
        if not (own := _fields(f"{processes}/{kernel}/statm")):
            continue
        pages, below = int(own[1]), list(children.get(kernel, ()))
        while below:
            pid = below.pop()
            below += children.get(pid, ())
            if fields := _fields(f"{processes}/{pid}/statm"):
                pages += int(fields[1]) - int(fields[2])  # resident, and of these backed by files or shared
        found[kernel] = pages * page / MIB
    return found


def _fields(path: str) -> list[str]:
    """Fields of a line of proc(5); of `stat` those after the program's name, which may hold anything. [] if it is gone."""
    try:
        with open(path, errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return []


def _collect(kernels: dict[int, socket.socket], peaks: dict[int, float], selector: selectors.BaseSelector) -> None:
    """Report the kernels that have ended; `peaks` holds the most that was seen of each with the processes below it, in MiB."""
    for pid in list(kernels):
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            connection = kernels.pop(pid)
            if connection.fileno() in selector.get_map():
                selector.unregister(connection)
            # The system knows the highest mark of one process exactly; the sum over several is seen in samples only.
            peak = max(usage.ru_maxrss / 1024, peaks.pop(pid, 0.0))
            message = {"returncode": os.waitstatus_to_exitcode(status), "peak_memory_mb": peak}
            try:
                connection.send(json.dumps(message).encode())
            except OSError:
                pass  # the client is gone
            connection.close()


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the group does not exist yet if the child has only just been forked
        try:
            kill(pid, signal.SIGKILL)
            return
        except ProcessLookupError:
            continue


def main() -> None:
    """Arguments: descriptor of the control socket, then the modules to import beforehand."""
    del sys.path[0]  # the folder of this file, whose modules are no top-level modules
    control = socket.socket(fileno=int(sys.argv[1]))
    control.send(json.dumps({"missing": preload(sys.argv[2:])}).encode())
    serve(control)


if __name__ == "__main__":
    main()
