"""An engine that repeats what it is told: for trying out a configuration, for demonstrations, for tests. No model."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from tuneloop.engines.engine import Limits, Reply
from tuneloop.records import EngineSpec


class Echo:
    """Implements `engine.Engine`. Answers with the last user message; counts words as tokens and says so."""

    def __init__(self, spec: EngineSpec) -> None:
        self.name = spec.name

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        asked = json.loads(body)
        if path == "/embeddings":
            said = {"error": {"message": "an echo has no vectors", "type": "invalid_request_error", "code": None}}
            return Reply(404, {}, json.dumps(said).encode())
        text, words = _last(asked), len(_last(asked).split())
        usage = {"prompt_tokens": words, "completion_tokens": words, "total_tokens": 2 * words}
        known = {"id": "echo-0000000", "created": int(time.time()), "model": "echo (no model; words as tokens)"}
        if stream:
            return Reply(200, {}, b"", _Events(_chunks(known, text, usage)))
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None} | (
            {"message": message} if "messages" in asked else {"text": text}
        )
        kind = "chat.completion" if "messages" in asked else "text_completion"
        reply = known | {"object": kind, "choices": [choice], "usage": usage}
        return Reply(200, {}, json.dumps(reply, ensure_ascii=False).encode())

    async def models(self) -> list[dict[str, Any]]:
        return [{"id": "echo", "family": "none", "size": 0}]

    async def alive(self) -> bool:
        return True

    async def close(self) -> None:
        return


def _last(asked: dict[str, Any]) -> str:
    if "prompt" in asked:
        prompt = asked["prompt"]
        return prompt if isinstance(prompt, str) else str(prompt[0] if prompt else "")
    for message in reversed(asked.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            return "".join(str(part.get("text") or "") for part in parts)
    return ""


def _chunks(known: dict[str, Any], text: str, usage: dict[str, int]) -> list[bytes]:
    def line(event: dict[str, Any]) -> bytes:
        event = known | {"object": "chat.completion.chunk"} | event
        return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"

    words = text.split(" ")
    pieces = [
        word if last else word + " " for word, last in zip(words, [False] * (len(words) - 1) + [True], strict=True)
    ]
    deltas = [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return [line({"choices": [c]}) for c in [*deltas, end]] + [
        line({"choices": [], "usage": usage}),
        b"data: [DONE]\n\n",
    ]


class _Events(AsyncIterator[bytes]):
    def __init__(self, events: list[bytes]) -> None:
        self._events = iter(events)

    async def __anext__(self) -> bytes:
        for event in self._events:
            return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._events = iter(())
