"""Chromium without a package for it: started with its remote debugging pipe, driven by JSON messages.

Protocol: https://chromedevtools.github.io/devtools-protocol/ ; messages end with a zero byte, the browser reads
descriptor 3 and writes descriptor 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..errors import RunError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--allow-file-access-from-files",
         "--hide-scrollbars", "--force-color-profile=srgb")
# Puts the two ends of the pipes where the browser looks for them; through high numbers, because either may be 3 or 4.
LAUNCH = ("import fcntl, os, sys; ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]; "
          "os.dup2(ends[0], 3); os.dup2(ends[1], 4); os.execv(sys.argv[3], sys.argv[3:])")


def program() -> str:
    """Path of an installed browser.

    Raises:
        RunError: there is none, or this system has no such pipes.
    """
    if os.name == "nt":
        raise RunError("打印 PDF 要用 Linux 或 macOS 的管道：在 Windows 上请在 WSL 里运行。")
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise RunError(f"没有找到浏览器（{'、'.join(PROGRAMS)}）：请先安装，例如 apt-get install chromium。")
    return found


class Browser:
    """One browser with one page; use it in a `with` statement.

    Args:
        limit: seconds that a single command may take.
    """

    def __init__(self, limit: float = 600.0) -> None:
        self.limit, self._buffer, self._count, self._events = limit, b"", 0, []
        self._home = tempfile.TemporaryDirectory(prefix="book-browser-")
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        # Chromium refuses to run as root or in most containers otherwise; it opens nothing but the book's own pages.
        bare = ("--no-sandbox",) if os.geteuid() == 0 or os.environ.get("CI") else ()
        command = [sys.executable, "-c", LAUNCH, str(read), str(write), program(), *FLAGS, *bare,
                   f"--user-data-dir={self._home.name}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read), os.close(write)
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.page("Page.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *problem: object) -> None:
        try:
            self.send("Browser.close")
        except (RunError, OSError):
            self._process.kill()
        self._process.wait()
        os.close(self._read), os.close(self._write)
        self._home.cleanup()

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result.

        Raises:
            RunError: the browser refused it, died, or took longer than the limit.
        """
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RunError(f"浏览器拒绝了 {method}：{answer['error'].get('message')}")
                return answer["result"]
            if "method" in answer:
                self._events.append(answer["method"])

    def page(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to the page."""
        return self.send(method, self._session, **parameters)

    def open(self, path: Path, width: int) -> None:
        """Load a file as paper of a width in CSS pixels, and wait until everything has come."""
        self.page("Emulation.setEmulatedMedia", media="print")
        self.page("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)
        self._events.clear()
        self.page("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self._events:
            answer = self._receive("Page.navigate")
            self._events.append(answer.get("method", ""))

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is awaited.

        Raises:
            RunError: it threw an error.
        """
        answer = self.page("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RunError(f"网页里的脚本出错：{answer['exceptionDetails'].get('exception', {}).get('description', '')[:300]}")
        return answer["result"].get("value")

    def print(self, **options: Any) -> bytes:
        """The page as PDF."""
        stream = self.page("Page.printToPDF", transferMode="ReturnAsStream", **options)["stream"]
        parts, done = [], False
        while not done:
            answer = self.page("IO.read", handle=stream, size=1 << 20)
            parts.append(base64.b64decode(answer["data"]) if answer.get("base64Encoded") else answer["data"].encode())
            done = answer["eof"]
        self.page("IO.close", handle=stream)
        return b"".join(parts)

    def _receive(self, method: str) -> dict[str, Any]:
        """The next message."""
        deadline = time.monotonic() + self.limit
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                why = "没有回答" if not ready else "已经退出"
                raise RunError(f"浏览器在 {method} 时{why}：请确认 {program()} 能在这台机器上运行。")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)
