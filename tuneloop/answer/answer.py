"""Ask a model from Python and keep the call: what the gateway does, without HTTP, for commands and scripts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tuneloop.answer import calls
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import EngineError
from tuneloop.records import Call
from tuneloop.workspace import Workspace


def answer(
    workspace: Workspace,
    engine: LlamaCpp,
    messages: Sequence[dict[str, str]],
    *,
    version: str,
    max_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    user: str = "",
    seconds: float = 120.0,
) -> Call:
    """One whole answer of a started engine. The call is a row before this returns or raises.

    messages: OpenAI's shape. version: what the row says answered. seconds: without a byte from the engine.
    Raises what `LlamaCpp.post` raises; the row then has status "error".
    """
    asked: dict[str, Any] = {
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    began, clock = time.time(), time.monotonic()
    status, error, text = "error", "", ""
    usage: dict[str, int] = {}
    try:
        reply = engine.post("/v1/chat/completions", asked, seconds=seconds)
        text = reply["choices"][0]["message"].get("content") or ""
        usage, status = reply.get("usage") or {}, "ok"
    except EngineError as problem:
        error = problem.message
        raise
    finally:
        call = Call(
            id=calls.new_id(),
            time=began,
            version=version,
            status=status,
            request=asked,
            answer=text,
            latency_ms=round((time.monotonic() - clock) * 1000, 3),
            tokens_in=usage.get("prompt_tokens", 0),
            tokens_out=usage.get("completion_tokens", 0),
            user=user,
            error=error,
        )
        calls.write(workspace, call)
    return call
