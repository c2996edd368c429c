"""The door of the service: what a request may be, and how it is read without trusting it.

Nothing here calls the model. Every fault is a `Refusal` with a status of 4xx and one line that says what to change.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields

from starlette.requests import ClientDisconnect, Request

from ..errors import BookError, ConfigError


class Refusal(BookError):
    """A request that is not accepted. `close` says that the connection should end with the answer."""

    def __init__(self, status: int, reason: str, close: bool = False):
        super().__init__(reason)
        self.status, self.reason, self.close = status, reason, close


@dataclass(frozen=True)
class Limits:
    """Bounds of the service. Times in seconds, sizes in bytes, lengths in characters.

    Attributes:
        body_bytes: largest body of a request.
        texts: most texts in one request.
        characters: longest text.
        head_seconds: a connection must bring a complete request head within this time; one that rests is closed then.
        body_seconds: the body must be complete within this time.
        answer_seconds: longest time between accepting a request and giving up on it.
        queue: most texts waiting for the model; a request that would not fit is refused.
        batch: most texts that the model gets at once.
        wait_seconds: how long a batch that is not full waits for company.
        connections: most open connections; above, uvicorn answers 503.
    """

    body_bytes: int = 64 * 1024
    texts: int = 32
    characters: int = 512
    head_seconds: float = 5.0
    body_seconds: float = 5.0
    answer_seconds: float = 30.0
    queue: int = 256
    batch: int = 16
    wait_seconds: float = 0.002
    connections: int = 512

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf or value == 0 and field.name != "wait_seconds":
                raise ConfigError(f"服务的限制 {field.name}={value} 不合理：要大于 0，并且有限")
        if self.texts > self.queue:
            raise ConfigError(f"一个请求可有 {self.texts} 条文字，队列却只有 {self.queue} 位：满额的请求永远进不来")


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request, within the bounds of size and time.

    A body that is too large is read to its end (up to a bound) and thrown away, so that the client, still sending, gets
    to see the answer instead of a broken connection. Memory never holds more than `body_bytes` and one chunk.

    Raises:
        Refusal: 400 (malformed length, client gone), 408 (too slow), 413 (too large), 415 (not JSON).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit():
        raise Refusal(400, "Content-Length 不是数字", close=True)
    too_large = Refusal(413, f"请求体超过 {limits.body_bytes} 字节：请分几次发送", close=True)
    size = int(announced) if len(announced) < 19 else 10**18
    if size > limits.body_bytes and request.headers.get("expect", "").lower() == "100-continue":
        raise too_large  # the client waits for leave before it sends: nothing to throw away
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await _collect(request.stream(), limits.body_bytes)
    except TimeoutError:
        raise Refusal(408, f"请求体在 {limits.body_seconds:g} 秒内没有收完", close=True) from None
    except ClientDisconnect:
        raise Refusal(400, "连接在请求体收完之前断开", close=True) from None
    if body is None:
        raise too_large
    if kind != "application/json":
        raise Refusal(415, "请求体要是 JSON：Content-Type 写 application/json")
    return body


async def _collect(chunks: AsyncIterator[bytes], most: int) -> bytes | None:
    """All chunks joined, or None if they are more than `most` bytes; gives up reading at 64 times as much."""
    body, size = bytearray(), 0
    async for chunk in chunks:
        size += len(chunk)
        if size <= most:
            body += chunk
        else:
            body.clear()
        if size > 64 * most:
            return None
    return bytes(body) if size <= most else None


def parse_texts(body: bytes, limits: Limits) -> list[str]:
    """The texts of a body `{"texts": ["…", …]}`.

    Raises:
        Refusal: 400 (not UTF-8, not JSON), 422 (JSON of another shape, or a text that cannot be served).
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Refusal(400, "请求体不是 UTF-8") from None
    except RecursionError:
        raise Refusal(400, "请求体的 JSON 嵌套太深") from None
    except json.JSONDecodeError as error:
        raise Refusal(400, f"请求体不是合法的 JSON：第 {error.pos + 1} 个字符附近有错") from None
    except ValueError as error:  # NaN and its like; integers of more digits than Python converts
        raise Refusal(400, f"请求体不是合法的 JSON：{str(error)[:80]}") from None
    if not isinstance(value, dict) or set(value) != {"texts"} or not isinstance(value["texts"], list):
        raise Refusal(422, '请求体的形状要是 {"texts": ["……", "……"]}，没有别的键')
    texts = value["texts"]
    if not 1 <= len(texts) <= limits.texts:
        raise Refusal(422, f"一个请求要有 1 到 {limits.texts} 条文字，这里有 {len(texts)} 条")
    for place, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise Refusal(422, f"第 {place} 条不是字符串")
        if not text.strip():
            raise Refusal(422, f"第 {place} 条是空的")
        if len(text) > limits.characters:
            raise Refusal(422, f"第 {place} 条有 {len(text)} 个字符，最多 {limits.characters} 个")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise Refusal(422, f"第 {place} 条含有不成对的代理码位，不是合法的文字")
    return texts


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} 不是 JSON")
