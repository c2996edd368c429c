"""Serve the built site on this machine only."""

from __future__ import annotations

import functools
import http.server
from pathlib import Path

from .. import profiles
from ..errors import RunError

SITE = profiles.ROOT / "_build" / "html"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Files of one folder, without a line for each request."""

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # a rebuilt page shows at the next reload
        super().end_headers()


def server(port: int = 0, folder: Path = SITE) -> http.server.ThreadingHTTPServer:
    """A server on the loopback address; port 0 takes any free one (`server_port` tells it).

    Raises:
        RunError: the site is not built, or the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise RunError(f"{folder} 里还没有网站：请先运行 make book。")
    handler = functools.partial(QuietHandler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise RunError(f"端口 {port} 不能用（{error.strerror}）：请换一个，例如 make serve PORT={port + 1}。") from error


def serve(port: int = 8000) -> None:
    """Serve until Ctrl+C.

    Raises:
        RunError: the site is not built, or the port is taken.
    """
    with server(port) as running:
        print(f"网站在 http://127.0.0.1:{running.server_port}/ ，按 Ctrl+C 结束。", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
