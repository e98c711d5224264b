"""Any OpenAI-compatible API: OpenAI, DeepSeek, Moonshot, vLLM, llama-server, the compatible addresses of others."""

from __future__ import annotations

import json
import os
from typing import Any

from tuneloop.engines.engine import Limits, Reply, Stream
from tuneloop.engines.http import Http
from tuneloop.errors import EngineError, Missing
from tuneloop.records import EngineSpec
from tuneloop.texts import _

PROBE = Limits(first=2.0, gap=2.0, total=2.0)
HIDDEN = b"[the engine's key]"


class OpenAI:
    """One `[engines.NAME]` of kind "openai". Implements `engine.Engine`.

    Raises Missing when the environment variable that should hold the key is not set.
    """

    def __init__(self, spec: EngineSpec) -> None:
        headers = dict(spec.headers)
        key = os.environ.get(spec.key_env, "") if spec.key_env else ""
        self._key = key.encode()
        if spec.key_env:
            if not key:
                raise Missing(
                    _("the engine '{name}' needs its key in {variable}").format(name=spec.name, variable=spec.key_env),
                    fix=_("Set that environment variable before `tuneloop serve`."),
                )
            headers["Authorization"] = f"Bearer {key}"
        self.http = Http(spec.url, headers, connect=spec.connect)

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        reply = await self.http.request("POST", path, body, limits, stream=stream)
        if self._key:  # some servers repeat the key they refuse, and what they say is stored and passed on
            reply.body = reply.body.replace(self._key, HIDDEN)
            reply.pieces = reply.pieces and Hiding(reply.pieces, self._key)
        return reply

    async def models(self) -> list[dict[str, Any]]:
        reply = await self.http.request("GET", "/models", b"", PROBE)
        if reply.status != 200:
            said = _("{url} answered {status} to the question for its models")
            raise EngineError(said.format(url=self.http.url, status=reply.status))
        listed = json.loads(reply.body).get("data") or []
        return [{"id": str(m["id"]), "modified": m.get("created")} for m in listed if isinstance(m, dict) and "id" in m]

    async def alive(self) -> bool:
        try:
            return (await self.http.request("GET", "/models", b"", PROBE)).status < 500
        except EngineError:
            return False

    async def close(self) -> None:
        await self.http.close()


class Hiding:
    """A stream without the key. One that is cut between two pieces is not found: errors come in one."""

    def __init__(self, pieces: Stream, key: bytes) -> None:
        self._pieces, self._key = pieces, key

    def __aiter__(self) -> Hiding:
        return self

    async def __anext__(self) -> bytes:
        return (await self._pieces.__anext__()).replace(self._key, HIDDEN)

    async def aclose(self) -> None:
        await self._pieces.aclose()
