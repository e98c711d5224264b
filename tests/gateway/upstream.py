"""A model server in a thread that keeps connections, counts, dawdles, fails by plan, and sees when a client leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from tests.engines.raw import STREAM_HEAD, chunk, read_request, whole
from tests.gateway.test_exchange import COMPLETION, delta

Plan = Callable[[int], str]  # number of the request -> "ok", "500", "429", "hang up", "hang"


class Upstream:
    """asked: requests seen. left: streams whose reader went away. busiest: most requests at once."""

    def __init__(self, plan: Plan = lambda _n: "ok", *, delay: float = 0.0, pieces: int = 3, gap: float = 0.0) -> None:
        self.plan, self.delay, self.pieces, self.gap = plan, delay, pieces, gap
        self.asked = self.left = self.busy = self.busiest = 0
        self.left_at: list[float] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._ready = threading.Event()
        self._over = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_problem: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            while request := await read_request(reader):
                self.asked += 1
                self.busy += 1
                self.busiest = max(self.busy, self.busiest)
                try:
                    if not await self._answer(request, reader, writer):
                        break
                finally:
                    self.busy -= 1
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _answer(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        kind = self.plan(self.asked)
        if kind == "hang up":
            return False
        if kind == "hang":
            await reader.read(1)
            return False
        if kind != "ok":
            writer.write(
                whole(b'{"error": {"message": "planned"}}', int(kind), b"Retry-After: 1\r\n" * (kind == "429"))
            )
            return True
        await asyncio.sleep(self.delay)
        if b'"stream":true' in request.replace(b" ", b""):
            return await self._stream(reader, writer)
        writer.write(whole(COMPLETION))
        await writer.drain()
        return True

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        gone = asyncio.ensure_future(reader.read(1))
        writer.write(STREAM_HEAD)
        try:
            for n in range(self.pieces):
                writer.write(chunk(delta(f"{n} ")))
                done, _waiting = await asyncio.wait({gone}, timeout=self.gap)
                if done:
                    self.left += 1
                    self.left_at.append(time.monotonic())
                    return False
            writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            await writer.drain()
        finally:
            gone.cancel()
        return False  # a byte of the next request may have been taken: begin anew
