"""The version this workspace serves, as an engine: `Serving` says which process answers now, this asks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any

from tuneloop.answer.serving import Model, Serving, shaped
from tuneloop.engines.engine import Limits, Reply, Stream
from tuneloop.engines.http import Http


class Local:
    """Implements `engine.Engine` over a started `Serving`. A model that is being replaced ends its streams first."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self._http: dict[int, Http] = {}  # by the identity of the model's process

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        lease = self.serving.lease()
        model = lease.__enter__()
        try:
            reply = await self._to(model).request(
                "POST", "/v1" + path, _fitting(model, path, body), limits, stream=stream
            )
        except BaseException:
            lease.__exit__(None, None, None)
            raise
        reply.headers[b"x-tuneloop-version"] = model.packed.version.encode()
        if reply.pieces is None:
            lease.__exit__(None, None, None)
        else:
            reply.pieces = _Leased(reply.pieces, lease)
        return reply

    async def models(self) -> list[dict[str, Any]]:
        serving = self.serving.status()["serving"] or {}
        return [{"id": serving["version"], "quantisation": serving["quant"]}] if serving else []

    async def alive(self) -> bool:
        return bool(self.serving.status()["status"] != "down")

    async def close(self) -> None:
        for http in self._http.values():
            await http.close()

    def _to(self, model: Model) -> Http:
        known = self._http.get(id(model.engine))
        if known is None or known.url != model.engine.url:
            # The few connections of processes that are gone have been closed by their end.
            known = self._http[id(model.engine)] = Http(model.engine.url, model.engine.headers)
        return known


def _fitting(model: Model, path: str, body: bytes) -> bytes:
    """The request in the form the model was trained in; most need none of this and pass as they are."""
    if path != "/chat/completions" or (model.packed.system_role and not model.packed.normalise):
        return body
    asked = json.loads(body)
    asked["messages"] = shaped(model, asked["messages"])
    return json.dumps(asked, ensure_ascii=False).encode()


class _Leased(AsyncIterator[bytes]):
    """Pieces of a stream that keep their model from being stopped."""

    def __init__(self, pieces: Stream, lease: AbstractContextManager[Model]) -> None:
        self._pieces = pieces
        self._lease: AbstractContextManager[Model] | None = lease

    async def __anext__(self) -> bytes:
        return await self._pieces.__anext__()

    async def aclose(self) -> None:
        if self._lease is not None:
            self._lease.__exit__(None, None, None)
            self._lease = None
        await self._pieces.aclose()
