"""Any OpenAI-compatible API: OpenAI, DeepSeek, Moonshot, vLLM, llama-server, the compatible addresses of others."""

from __future__ import annotations

import json
import os
from typing import Any

from tuneloop.engines.engine import Limits, Reply
from tuneloop.engines.http import Http
from tuneloop.errors import EngineError, Missing
from tuneloop.records import EngineSpec
from tuneloop.texts import _

PROBE = Limits(first=2.0, gap=2.0, total=2.0)


class OpenAI:
    """One `[engines.NAME]` of kind "openai". Implements `engine.Engine`.

    Raises Missing when the environment variable that should hold the key is not set.
    """

    def __init__(self, spec: EngineSpec) -> None:
        headers = dict(spec.headers)
        if spec.key_env:
            key = os.environ.get(spec.key_env, "")
            if not key:
                raise Missing(
                    _("the engine '{name}' needs its key in {variable}").format(name=spec.name, variable=spec.key_env),
                    fix=_("Set that environment variable before `tuneloop serve`."),
                )
            headers["Authorization"] = f"Bearer {key}"
        self.http = Http(spec.url, headers, connect=spec.connect)

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        return await self.http.request("POST", path, body, limits, stream=stream)

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
