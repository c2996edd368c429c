"""Kernels for the runner: forked from a process that has imported TensorFlow, or ordinary ones elsewhere than on Linux.

A fork spares each chapter the seconds that importing takes, and is a process of its own all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from ..errors import RunError

PRELOADED = (
    "tensorflow", "keras", "numpy", "matplotlib.pyplot", "transformers", "tokenizers", "safetensors.numpy",
    "datasets", "seqeval.metrics", "seqeval.scheme", "sklearn", "ipykernel.kernelapp", "ipykernel.ipkernel", "IPython",
)
CAN_FORK = sys.platform == "linux"
# glibc gives every large tensor fresh pages and takes them back at once; kept instead, a training step needs a
# tenth of the system time. Read by glibc alone, at the start of a process.
ALLOCATION = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**28),
}


def environment(ipython_folder: Path) -> dict[str, str]:
    """Environment of every kernel: this process's, with what makes runs quiet and repeatable."""
    fixed = {
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TQDM_DISABLE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "BOOK_QUIET": "1",  # progress bars would only fill the page
        **ALLOCATION,
        "IPYTHONDIR": str(ipython_folder),  # the reader's own start-up files do not belong to the book
    }
    return {**os.environ, **fixed}


class ForkedProcess:
    """A kernel forked by the zygote, with the attributes of `subprocess.Popen` that jupyter_client uses."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.peak_memory_mb: float | None = None
        self.pid: int = self._receive().get("pid", 0)
        if not self.pid:
            raise RunError("内核母进程意外结束，没有启动内核")
        connection.setblocking(False)

    def poll(self) -> int | None:
        """Exit status, or None while the kernel runs."""
        with self._lock:
            if self.returncode is None:
                try:
                    message = self._receive()
                except BlockingIOError:
                    return None
                # an empty message means that the zygote has died, and its kernels with it
                self.returncode = message.get("returncode", -signal.SIGKILL)
                self.peak_memory_mb = message.get("peak_memory_mb")
                self._connection.close()
            return self.returncode

    def wait(self) -> int:
        """Exit status, once the kernel has ended."""
        while self.poll() is None:
            time.sleep(0.02)
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _receive(self) -> dict[str, Any]:
        packet = self._connection.recv(1 << 16)
        return json.loads(packet) if packet else {}


def _opened(log: Path | None) -> tuple[Path | None, BinaryIO]:
    """The log opened for writing. Where it cannot be written (a read-only folder), none: chapters then say so themselves."""
    if log:
        with contextlib.suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            return log, log.open("wb")
    return None, open(os.devnull, "wb")


class Zygote:
    """The process from which kernels are forked. Use it as a context manager; leaving it ends all of them.

    Args:
        environment: of the process in which the heavy packages are imported.
        log: file for what that process prints, written anew; None for none.
    """

    def __init__(self, environment: dict[str, str], log: Path | None = None) -> None:
        self._log, printed = _opened(log)
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        program = [sys.executable, str(Path(__file__).with_name("zygote.py")), str(other.fileno()), *PRELOADED]
        with other, printed:
            self._process = subprocess.Popen(
                program, pass_fds=[other.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=printed,
            )

    def wait_until_ready(self) -> None:
        """Return when the imports are done.

        Raises:
            RunError: the process has died, or packages are missing.
        """
        packet = self._control.recv(1 << 16)
        where = f"（详见 {self._log}）" if self._log else ""
        if not packet:
            raise RunError(f"导入各个包的进程意外结束（退出码 {self._process.wait()}）{where}；请运行 make doctor，看这台机器缺什么")
        missing = dict.fromkeys(name.partition(".")[0] for name in json.loads(packet)["missing"])
        if missing:
            raise RunError(f"{sys.executable} 不能导入 {'、'.join(missing)}{where}；请运行 make doctor，按它说的安装")

    def fork(self, arguments: list[str], cwd: str, environment: dict[str, str], log: Path) -> ForkedProcess:
        """Start a kernel with the arguments of `python -m ipykernel_launcher`; what it prints itself goes to `log`."""
        request = {"arguments": arguments, "cwd": cwd, "environment": environment, "log": str(log)}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno()])
        return ForkedProcess(ours)

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *exception: object) -> None:
        self._control.close()
        self._process.wait()


class ForkProvisioner(LocalProvisioner):
    """Starts a kernel by a fork of the zygote instead of a new interpreter."""

    zygote: Zygote
    log_file: Path
    forked: ForkedProcess | None = None  # stays when `process` is reset at the end

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """As the base class does; of `cmd`, the kernel's command line, only the arguments count."""
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        self.cwd = kwargs.get("cwd") or str(Path.cwd())
        self.process = self.forked = self.zygote.fork(arguments, self.cwd, kwargs["env"], self.log_file)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class Launch:
    """How the kernel of one chapter starts; afterwards, a handle on it that other threads may use.

    Args:
        zygote: what to fork the kernel from; None starts an ordinary process.
        folder: a private folder with a short path, for sockets.
        log: file for what a forked kernel prints itself.
        cwd: folder in which the kernel runs.
        environment: of the kernel.
    """

    def __init__(self, zygote: Zygote | None, folder: Path, log: Path, cwd: Path, environment: dict[str, str]) -> None:
        self._zygote, self._folder, self._log = zygote, folder, log
        self._start = {"cwd": str(cwd), "env": environment}
        self._provisioner: LocalProvisioner | None = None
        self._killed = False

    def manager_class(self) -> type[AsyncKernelManager]:
        """The class to give papermill as `kernel_manager_class`; it makes an instance by itself."""
        launch = self

        class ChapterKernelManager(AsyncKernelManager):
            def __init__(self, **kwargs: Any) -> None:
                if launch._zygote:  # sockets in a folder of our own: kernels started together cannot collide on a port
                    kwargs.update(transport="ipc", connection_file=str(launch._folder / "kernel.json"))
                super().__init__(**kwargs)
                if launch._zygote:
                    self.provisioner = ForkProvisioner(kernel_id="chapter", kernel_spec=self.kernel_spec, parent=self)
                    self.provisioner.zygote, self.provisioner.log_file = launch._zygote, launch._log

            async def start_kernel(self, **kwargs: Any) -> None:
                await super().start_kernel(**{**kwargs, **launch._start})
                launch._provisioner = self.provisioner
                if launch._killed:  # while it was starting
                    await self.provisioner.kill()

        return ChapterKernelManager

    def kill(self) -> None:
        """Kill the kernel and the processes that it has started; one that is only just starting ends as well."""
        self._killed = True
        if self._provisioner is not None and self._provisioner.has_process:
            asyncio.run(self._provisioner.kill())

    @property
    def peak_memory_mb(self) -> float | None:
        """Most memory in MiB of the kernel with the processes below it, known once it has ended; None if it was not forked."""
        forked = getattr(self._provisioner, "forked", None)
        if forked is None:
            return None
        forked.wait()
        return forked.peak_memory_mb
