"""What every engine is to the gateway: a place that takes one JSON request and gives one reply, whole or in pieces.

The wire is OpenAI's: an engine that speaks something else (Ollama's own API) translates inside itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(slots=True)
class Limits:
    """Seconds one attempt may take. total: what is left of the request's single deadline."""

    first: float  # until the first byte of the answer
    gap: float  # between two pieces of a stream
    total: float


class Stream(Protocol):
    """The pieces of a streamed body. `aclose` may be called at any time, and must be when it is not read to its end."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


@dataclass(slots=True)
class Reply:
    """status and lower-case headers as the engine sent them, and the body: whole, or as `pieces` of a stream.

    `pieces` yields raw bytes of server-sent events as they arrive. It raises EngineDown when the connection ends
    before the end was announced (a reset, a missing last chunk, a short body) and EngineTimeout when a limit passes.
    Whether `data: [DONE]` came is for the reader to see: a clean end without it is a cut answer too.
    """

    status: int
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    pieces: Stream | None = None


class Askable(Protocol):
    """What answers one request; an engine, or an engine behind its queue."""

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        """POST `body` (JSON) to `path` under the engine's base: "/chat/completions", "/completions", "/embeddings"."""


class Engine(Askable, Protocol):
    """One `[engines.NAME]`. Raises EngineDown (nobody answers, hung up) and EngineTimeout (a limit passed) only;
    an HTTP error of the engine is a Reply with its status. Cancelling `ask`, or closing `pieces` with `aclose()`,
    closes the connection to the engine, so that it stops generating.
    """

    async def models(self) -> list[dict[str, Any]]:
        """What it can serve: [{"id", "size" (bytes), "family", "quantisation", "modified"}], unknown keys left out."""

    async def alive(self) -> bool:
        """Whether it answers its cheapest question within a second or so; for probes and /health."""

    async def close(self) -> None:
        """Close kept connections."""
