"""Several LoRA adapters on one base model, in one llama.cpp child: the request's model name chooses the adapter.

Every request carries the complete list of adapters with their scales, and the child runs without its prompt cache in
memory: with defaults 18 to 25 of 120 answers were silently computed on another adapter's cache, like this 0 of 120
(llama.cpp issue 26207). Adapters are loaded with scale 0.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tuneloop.engines.engine import Limits, Reply
from tuneloop.engines.http import Http
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import EngineDown
from tuneloop.records import EngineSpec
from tuneloop.texts import _

BASE = "base"


class AdapterEngine:
    """Implements `engine.Engine`. The child starts with the first request; a dead one is started again then."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.adapters = {name: Path(path) for name, path in spec.adapters.items()}
        self._engine: LlamaCpp | None = None
        self._http: Http | None = None
        self._starting = asyncio.Lock()

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        asked = json.loads(body)
        wanted = str(asked.get("model", BASE))
        if wanted != BASE and wanted not in self.adapters:
            said = _("'{name}' is no adapter of this engine; it has: {names}")
            text = said.format(name=wanted[:100], names=", ".join([BASE, *self.adapters]))
            error = {"error": {"message": text, "type": "invalid_request_error", "code": "model_not_found"}}
            return Reply(404, {}, json.dumps(error, ensure_ascii=False).encode())
        asked["lora"] = [{"id": i, "scale": float(name == wanted)} for i, name in enumerate(self.adapters)]
        http = await self._ready()
        data = json.dumps(asked, ensure_ascii=False).encode()
        return await http.request("POST", "/v1" + path, data, limits, stream=stream)

    async def models(self) -> list[dict[str, Any]]:
        size = Path(self.spec.file).stat().st_size if Path(self.spec.file).exists() else 0
        return [{"id": BASE, "size": size}] + [
            {"id": name, "size": path.stat().st_size if path.exists() else 0} for name, path in self.adapters.items()
        ]

    async def alive(self) -> bool:
        return self._engine is None or self._engine.alive  # not started: it will be, by the first request

    async def close(self) -> None:
        if self._http:
            await self._http.close()
        if self._engine:
            await asyncio.to_thread(self._engine.stop)

    async def _ready(self) -> Http:
        async with self._starting:
            if self._engine and self._engine.alive and self._http:
                return self._http
            if self._engine:
                await self.close()
            engine = LlamaCpp(Path(self.spec.file), parallel=self.spec.parallel, adapters=list(self.adapters.values()))
            try:
                await asyncio.to_thread(engine.start)
            except BaseException:
                await asyncio.to_thread(engine.stop)
                raise
            if not engine.alive:
                raise EngineDown(_("the model's process ended at once"))
            self._engine, self._http = engine, Http(engine.url, engine.headers)
            return self._http
