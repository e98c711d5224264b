"""The hot paths for whoever comes through ASGI: documented routes, and the same exchange behind them.

The server takes these paths past ASGI (see `wire`); here they meet a request that came behind another one on its
connection, and other ASGI servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tuneloop.gateway.answers import answers
from tuneloop.gateway.exchange import Exchange
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import ChatRequest, CompletionRequest, EmbeddingRequest

router = APIRouter(tags=["chat"], dependencies=[needs("user")])
CODES = answers(404, 422, 429, 502, 503, 504)
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


def _body(model: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post("/v1/chat/completions", responses=CODES | EVENTS, openapi_extra=_body(ChatRequest))
async def chat_completions(request: Request) -> Response:
    """A chat completion, as OpenAI's API has it; with "stream": true as server-sent events.

    "model" is a task, "task/variant", or the version that serves ("active", its id or name). The id of the reply
    names the call in /feedback. Send an Idempotency-Key to have a repeated request answered by the first reply.
    """
    return Bridged(request)


@router.post("/v1/completions", responses=CODES | EVENTS, openapi_extra=_body(CompletionRequest))
async def completions(request: Request) -> Response:
    """A text completion, the older API."""
    return Bridged(request)


@router.post("/v1/embeddings", responses=CODES, openapi_extra=_body(EmbeddingRequest))
async def embeddings(request: Request) -> Response:
    """Vectors of texts, from engines that make them."""
    return Bridged(request)


def documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies of the hot paths, which FastAPI does not parse, among its schemas."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schemas = document["components"]["schemas"]
        for model in (ChatRequest, CompletionRequest, EmbeddingRequest):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema


class Bridged(Response):
    """Runs the exchange when it is called, because only then it can see the client leave."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = AsgiClient(scope, await self.request.body(), send)
        work = asyncio.create_task(Exchange(self.request.app.state.desk, client).run())
        left = asyncio.create_task(_leaves(receive, work))
        with contextlib.suppress(asyncio.CancelledError):
            await work
        left.cancel()
        for message in client.last:
            await send(message)


class AsgiClient:
    """A `wire.Client` over ASGI's send."""

    def __init__(self, scope: Scope, body: bytes, send: Send) -> None:
        self.path = scope["path"].encode()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.body = body
        self.peer = (scope.get("client") or ("",))[0]
        self.began = time.monotonic()
        self.opened = self.gone = False
        self.last: list[dict[str, Any]] = []  # what is sent when the exchange has ended
        self._send = send
        self._head: dict[str, Any] | None = None

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        self.opened = True
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *_lines(head)]
        self.last = [
            {"type": "http.response.start", "status": status, "headers": headers},
            {"type": "http.response.body", "body": body},
        ]

    def open_stream(self, head: bytes) -> None:
        self.opened = True
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        self._head = {"type": "http.response.start", "status": 200, "headers": [*headers, *_lines(head)]}

    async def send(self, data: bytes) -> None:
        if self._head:
            await self._send(self._head)
            self._head = None
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def end_stream(self, data: bytes = b"") -> None:
        start = [self._head] if self._head else []
        self.last = [*start, {"type": "http.response.body", "body": data}]

    def abandon(self) -> None:
        self.last = []


def _lines(head: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(b": ") for line in head.split(b"\r\n") if line)
    return [(name, value) for name, _colon, value in pairs]


async def _leaves(receive: Receive, work: asyncio.Task[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    work.cancel()
