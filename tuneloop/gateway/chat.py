"""One chat completion from question to row, whole or streamed.

Everything a request does is raced against three things: its deadline, the client's leaving, and the server's
closing. Whatever wins, the call becomes a row (with the tokens counted so far) before the client sees the end of
the answer. A stream that was cut ends with an error event and never with [DONE]: a client must be able to tell.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tuneloop.answer import calls
from tuneloop.answer.serving import Model
from tuneloop.errors import TuneloopError
from tuneloop.gateway.desk import Desk
from tuneloop.gateway.failures import Failure, explained, of_engine
from tuneloop.gateway.requests import ChatRequest
from tuneloop.records import Call
from tuneloop.texts import _


class Exchange(Response):
    """An ASGI response that does the work when it is called, because only then it can see the client leave."""

    def __init__(self, desk: Desk, asked: ChatRequest) -> None:
        super().__init__()
        self.desk = desk
        self.asked = asked
        self.id = calls.new_id()
        self.time = time.time()
        self.began = time.monotonic()
        self.version = ""
        self.state = "cancelled"
        self.failure: Failure | None = None
        self.opened = False  # a stream has begun: from here on errors are events
        self.reply: dict[str, Any] = {}
        self.usage: dict[str, Any] | None = None
        self.tokens = (0, 0)
        self.said: list[str] = []
        self.tools: dict[int, dict[str, str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._race(receive, send)
        finally:
            # Also when the server cancels this task at the very end. Refusals for want of a place are only
            # counted: a row for each would let a flood fill the disk.
            if self.failure is None or self.failure.code != "overloaded":
                await asyncio.shield(self.desk.record(self._call()))
        if self.state == "cancelled":
            return
        if self.opened:
            await self._end_stream(send)
        else:
            await self._answer()(scope, receive, send)

    async def _race(self, receive: Receive, send: Send) -> None:
        """Work until it is done, the time is over, the client has left, or the server closes."""
        work = asyncio.create_task(self._work(send))
        left = asyncio.create_task(_client_leaves(receive))
        closing = asyncio.create_task(self.desk.closing.wait())
        racers = {work, left, closing}
        try:
            await asyncio.wait(racers, timeout=self.desk.timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                self._settle(work.exception())
            elif left.done():
                self.state = "cancelled"
            elif closing.done():
                self._settle(Failure(503, "closing", _("the server is being stopped"), retry_after=5))
            else:
                said = _("no complete answer within {n:g} s").format(n=self.desk.timeout)
                self._settle(Failure(504, "timeout", said))
        finally:
            for racer in racers:
                racer.cancel()
            # Waiting here closes the connection to the model, so that it stops generating.
            await asyncio.gather(*racers, return_exceptions=True)

    def _settle(self, problem: BaseException | None) -> None:
        if problem is None:
            self.state = "ok"
            return
        if isinstance(problem, TuneloopError):
            problem = explained(problem, retry_after=self.desk.serving.retry_after)
        elif isinstance(problem, httpx.HTTPError):
            said = _("the model's process died or hung up; it is being started again")
            problem = Failure(503, "engine_down", said, retry_after=self.desk.serving.retry_after)
        if not isinstance(problem, Failure):
            raise problem
        self.failure = problem
        self.state = "truncated" if self.opened else "error"

    async def _work(self, send: Send) -> None:
        async with self.desk.place():
            with self.desk.serving.lease() as model:
                self.version = model.packed.version
                request = self.desk.client.build_request(
                    "POST",
                    model.engine.url + "/v1/chat/completions",
                    content=json.dumps(self.asked.for_engine(self.desk.context), ensure_ascii=False).encode(),
                    headers=model.engine.headers,
                )
                upstream = await self.desk.client.send(request, stream=True)
                try:
                    if upstream.status_code != 200:
                        raise of_engine(upstream.status_code, await upstream.aread())
                    if self.asked.stream:
                        await self._stream(upstream, model, send)
                    else:
                        self._whole(json.loads(await upstream.aread()), model)
                finally:
                    await upstream.aclose()

    def _whole(self, reply: dict[str, Any], model: Model) -> None:
        reply.pop("timings", None)
        self.reply = reply | {"id": self.id, "model": model.packed.name or model.packed.version}
        self._count(reply.get("usage"))
        message = reply["choices"][0]["message"]
        self.said.append(message.get("content") or "")
        for position, tool in enumerate(message.get("tool_calls") or ()):
            self._hear_tool(tool | {"index": position})

    async def _stream(self, upstream: httpx.Response, model: Model, send: Send) -> None:
        name = model.packed.name or model.packed.version
        async for events in _events(upstream):
            heard = [event for event in events if self._hear(event)]
            if heard and not self.opened:
                await self._open_stream(send)
            if heard:  # whatever came together leaves together: a fast model sends twenty tokens at a time
                await send(_body(b"".join(_line(event | {"id": self.id, "model": name}) for event in heard)))
            if self.failure:
                raise self.failure
        if not self.opened:
            await self._open_stream(send)

    def _hear(self, event: dict[str, Any]) -> bool:
        """Take the text and the counts out of one event; whether the client is to have it."""
        if "error" in event:
            said = str((event["error"] or {}).get("message", ""))[:500]
            self.failure = Failure(502, "engine_error", _("the model server failed: {said}").format(said=said))
            return False
        if timings := event.pop("timings", None):
            self.tokens = (timings.get("cache_n", 0) + timings.get("prompt_n", 0), timings.get("predicted_n", 0))
        self._count(event.pop("usage", None))
        for choice in event["choices"][:1]:
            delta = choice.get("delta") or {}
            if choice.get("index", 0) == 0 and delta.get("content"):
                self.said.append(delta["content"])
            for tool in delta.get("tool_calls") or ():
                self._hear_tool(tool)
        return bool(event["choices"])  # the usage alone comes at the very end, if it was asked for

    def _hear_tool(self, tool: dict[str, Any]) -> None:
        known = self.tools.setdefault(tool.get("index", 0), {"name": "", "arguments": ""})
        for key in known:
            known[key] += (tool.get("function") or {}).get(key) or ""

    def _count(self, usage: dict[str, Any] | None) -> None:
        if usage:
            self.usage = usage
            self.tokens = (usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))

    def _call(self) -> Call:
        text = "".join(self.said)
        return Call(
            id=self.id,
            time=self.time,
            version=self.version,
            status=self.state,
            request=self.asked.stored(),
            answer=text if text or not self.tools else json.dumps(list(self.tools.values()), ensure_ascii=False),
            latency_ms=round((time.monotonic() - self.began) * 1000, 3),
            tokens_in=self.tokens[0],
            tokens_out=self.tokens[1],
            user=self.asked.user or "",
            error=self.failure.message if self.failure else "",
        )

    def _answer(self) -> Response:
        if self.failure:
            return self.failure.response
        return JSONResponse(self.reply, headers={"X-Tuneloop-Version": _latin(self.version)})

    async def _open_stream(self, send: Send) -> None:
        self.opened = True
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-tuneloop-version", _latin(self.version).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _end_stream(self, send: Send) -> None:
        end = b"data: [DONE]\n\n"
        if self.failure:
            end = _line(self.failure.body)
        elif self.asked.wants_usage:
            summary = {"id": self.id, "object": "chat.completion.chunk", "created": int(self.time), "choices": []}
            end = _line(summary | {"model": self.version, "usage": self.usage}) + end
        await send(_body(end) | {"more_body": False})


def _line(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _events(upstream: httpx.Response) -> AsyncIterator[list[dict[str, Any]]]:
    """The events of llama.cpp's stream, as many as arrived together.

    Raises httpx.RemoteProtocolError when it ends without its end marker. Lines are cut at newlines only: httpx's own
    line reader also cuts at U+2028, which may stand inside JSON.
    """
    rest = b""
    async for piece in upstream.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        events: list[dict[str, Any]] = []
        for line in lines:
            field, _colon, value = line.strip().partition(b": ")
            if value == b"[DONE]":
                yield events
                return
            if field in (b"data", b"error"):
                event = json.loads(value)
                events.append(event if field == b"data" else {"error": event})
        yield events
    raise httpx.RemoteProtocolError("the stream ended without [DONE]")


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _latin(text: str) -> str:
    """A header value: a file name may have any letters, a header only ASCII."""
    return text.encode("ascii", "replace").decode()
