"""Texts of concurrent requests go to the model together, in the order in which they came.

While the model computes, new texts pile up; the next batch takes what has piled up, at most `batch` of them. So batches
grow with the load by themselves. The queue is bounded: what does not fit is refused at once, not kept waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from .counters import Counters
from .intake import Limits, Refusal

Predictor = Callable[[Sequence[str]], Sequence[dict]]


class Batcher:
    """A bounded queue of texts and one thread that runs the model.

    Args:
        predict: texts -> one dict for each, of plain JSON values.
        version: name of this model.
        limits: bounds of queue, batch and waiting.
        counters: where batches are counted.
    """

    def __init__(self, predict: Predictor, version: str, limits: Limits, counters: Counters):
        self.limits, self.counters = limits, counters
        self.model = (version, predict)  # one attribute, so that a swap is one step
        self.closing = False
        self._waiting: deque[tuple[str, asyncio.Future]] = deque()
        self._arrived: asyncio.Event | None = None
        self._task: asyncio.Task | None = None
        self._thread: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to serve, in the running event loop."""
        self.closing, self._arrived = False, asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Refuse what is new, answer what is waiting, end."""
        self.closing = True
        self._arrived.set()
        await self._task
        self._thread.shutdown()

    async def predict(self, texts: Sequence[str]) -> list[dict]:
        """The results of some texts, each with the version of the model that made it.

        Raises:
            Refusal: 503: the queue has no room, the service is stopping, or no answer came in time.
            Exception: what the model raised on one of these texts.
        """
        if self.closing:
            raise Refusal(503, "服务正在停止", close=True)
        if len(self._waiting) + len(texts) > self.limits.queue:
            raise Refusal(503, "太忙：等待的文字已满，请稍后再试")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in texts]
        self._waiting.extend(zip(texts, futures))
        self._arrived.set()
        self.counters.texts += len(texts)
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                return list(await asyncio.gather(*futures))
        except TimeoutError:
            raise Refusal(503, f"{self.limits.answer_seconds:g} 秒内没有算完") from None

    async def _serve(self) -> None:
        while self._waiting or not self.closing:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if len(self._waiting) < self.limits.batch and self.limits.wait_seconds and not self.closing:
                await asyncio.sleep(self.limits.wait_seconds)
            batch = []
            while self._waiting and len(batch) < self.limits.batch:
                text, future = self._waiting.popleft()
                if not future.done():  # its request has not been given up
                    batch.append((text, future))
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: list[tuple[str, asyncio.Future]]) -> None:
        version, predict = self.model
        texts = [text for text, _ in batch]
        self.counters.batch(len(texts))
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, predict, texts)
            if len(results) != len(texts):
                raise ValueError(f"{len(texts)} 条文字得到了 {len(results)} 个结果")
        except Exception as error:  # whatever the model raises must not end the loop
            if len(batch) == 1:
                self.counters.failures += 1
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            for one in batch:  # one bad text must not fail its neighbours
                await self._answer([one])
            return
        for (_, future), result in zip(batch, results):
            if not future.done():
                future.set_result({**result, "model": version})
