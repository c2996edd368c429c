"""The HTTP face of a predictor: POST /predict, GET /health, GET /metrics.

Every answer but that of /metrics is JSON; a refusal is `{"error": "…"}`. The interactive pages of FastAPI are off: they
load their scripts from elsewhere.
"""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from .batcher import Batcher, Predictor
from .counters import Counters
from .intake import Limits, Refusal, parse_texts, read_body

REASONS = {404: "没有这个地址", 405: "这个地址不接受这种方法"}
log = logging.getLogger(__name__)


class Service:
    """A predictor behind HTTP; give `service.app` to any ASGI server, or the service to `Server`.

    Args:
        predict: texts -> one dict for each, of plain JSON values. It runs in one thread of its own.
        version: name of this model; every result carries it.
        limits: bounds; see `Limits`.
    """

    def __init__(self, predict: Predictor, version: str = "1", limits: Limits | None = None):
        self.limits = limits or Limits()
        self.counters = Counters()
        self.batcher = Batcher(predict, version, self.limits, self.counters)
        self.app = self._make_app()

    @property
    def version(self) -> str:
        """The model that the next batch will use."""
        return self.batcher.model[0]

    def use(self, predict: Predictor, version: str) -> None:
        """From the next batch on, another model. Nothing waiting is lost; may be called from any thread."""
        self.batcher.model = (version, predict)

    def _make_app(self) -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI):
            await self.batcher.start()
            yield
            await self.batcher.stop()

        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
        app.post("/predict")(self._predict)
        app.get("/health")(self._health)
        app.get("/metrics")(self._metrics)
        app.exception_handler(HTTPException)(_http_error)
        return app

    async def _predict(self, request: Request) -> Response:
        started = time.perf_counter()
        response = await self._answer(request)
        self.counters.request(response.status_code, time.perf_counter() - started)
        return response

    async def _answer(self, request: Request) -> Response:
        try:
            texts = parse_texts(await read_body(request, self.limits), self.limits)
            return JSONResponse({"results": await self.batcher.predict(texts)})
        except Refusal as refusal:
            return refuse(refusal)
        except Exception:  # the model failed: say so without its insides, which go to the log
            log.exception("the model failed")
            return JSONResponse({"error": "模型出错，已记入日志"}, 500)

    async def _health(self) -> Response:
        state = "stopping" if self.batcher.closing else "ok"
        body = {"status": state, "model": self.version, "waiting": len(self.batcher)}
        return JSONResponse(body, 200 if state == "ok" else 503)

    async def _metrics(self) -> Response:
        return PlainTextResponse(self.counters.text(self.version, len(self.batcher)))


def refuse(refusal: Refusal) -> Response:
    """The answer to a request that is not accepted."""
    headers = {"connection": "close"} if refusal.close else {}
    if refusal.status == 503:
        headers["retry-after"] = "1"
    return JSONResponse({"error": refusal.reason}, refusal.status, headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    reason = REASONS.get(error.status_code, str(error.detail))
    return JSONResponse({"error": reason}, error.status_code, error.headers)
