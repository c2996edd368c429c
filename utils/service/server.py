"""Run a service on 127.0.0.1 in a thread of this process: `with Server(service) as server: …server.url…`.

uvicorn bounds the time between two requests of a connection, not the time in which the head of a request must come; the
protocol here adds that, so a client that sends a byte a second cannot hold a connection for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import RunError
from .app import Service

HOST = "127.0.0.1"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def timed_protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, with a bound on the time from opening (or first byte) to a complete request head."""

    class TimedProtocol(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport):
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, self._close_if_waiting)

        def data_received(self, data):
            super().data_received(data)
            if not self._is_waiting():
                self._cancel()
            elif self._late is None:  # the head of a further request on the same connection has begun
                self._late = self.loop.call_later(seconds, self._close_if_waiting)

        def connection_lost(self, exc):
            self._cancel()
            super().connection_lost(exc)

        def _is_waiting(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _cancel(self):
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close_if_waiting(self):
            self._late = None
            if self._is_waiting() and not self.transport.is_closing():
                self.transport.write(TOO_SLOW)
                self.transport.close()

    return TimedProtocol


class Server:
    """A running service; a context manager.

    Args:
        service: what to serve.
        port: 0 = any free one.
        stop_seconds: how long accepted requests may take to finish when the server stops.

    Attributes:
        url: address, without a slash at the end.
    """

    def __init__(self, service: Service, port: int = 0, stop_seconds: float = 10.0):
        self.service, self.stop_seconds = service, stop_seconds
        # With the protocol named, asyncio sets TCP_NODELAY; else every answer waits some 40 ms for the client to acknowledge.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((HOST, port))
        except OSError as error:
            self._socket.close()
            raise RunError(f"端口 {port} 用不了（{error}）：换一个，或用 0 让系统挑一个空闲的") from None
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> "Server":
        """Start and wait until requests are answered.

        Raises:
            RunError: the server did not come up.
        """
        limits = self.service.limits
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # malformed requests are counted, not printed
        config = uvicorn.Config(
            self.service.app, http=timed_protocol(limits.head_seconds), ws="none", loop="asyncio", lifespan="on",
            log_config=None, log_level="critical", access_log=False, server_header=False,
            limit_concurrency=limits.connections, backlog=1024, timeout_keep_alive=limits.head_seconds,
            timeout_graceful_shutdown=max(1, round(self.stop_seconds)),
        )
        self._uvicorn = uvicorn.Server(config)
        run = self._uvicorn.run
        self._thread = threading.Thread(target=run, kwargs={"sockets": [self._socket]}, name="service", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._uvicorn.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise RunError("服务没有启动起来：请看上面的错误信息")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Take no new connection, answer what was accepted, end. Twice is harmless."""
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
            self._thread.join(self.stop_seconds + 5)
            if self._thread.is_alive():
                self._uvicorn.force_exit = True
                self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *exception) -> None:
        self.stop()
