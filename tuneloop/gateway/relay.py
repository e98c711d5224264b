"""A stream from an engine to a client, event by event: what is forwarded, what is counted, where it was cut.

Whole events only are passed on, so that a client never sees half of one; what arrived together leaves together. An
answer is complete when `data: [DONE]` came. Everything else that ends a stream, a clean close included, is a cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from tuneloop.engines.engine import Stream
from tuneloop.errors import EngineError
from tuneloop.gateway.reading import Said, said
from tuneloop.texts import _

MAX_EVENT = 1 << 20  # bytes; an engine that sends a longer line is broken
encode = msgspec.json.Encoder().encode


class Relay:
    """Iterate over `events`: bytes for the client. Afterwards (and while it runs) read what was heard."""

    def __init__(self, identity: str, *, show_usage: bool) -> None:
        self.identity = identity.encode()
        self.show_usage = show_usage
        self.done = False
        self.text: list[str] = []
        self.tools: dict[int, dict[str, str]] = {}
        self.usage: tuple[int, int] | None = None
        self.pieces = 0  # events with text: the count of tokens while no usage has come
        self.finish: str | None = None
        self._theirs = b""

    async def events(self, stream: Stream) -> AsyncIterator[bytes]:
        """Raises EngineError when the engine reports an error inside the stream, and what `stream` raises."""
        rest = b""
        async for piece in stream:
            rest += piece
            cut = rest.rfind(b"\n")
            if cut < 0:
                if len(rest) > MAX_EVENT:
                    raise EngineError(_("the engine sent a line without an end"))
                continue
            lines, rest = rest[:cut], rest[cut + 1 :]
            out: list[bytes] = []
            problem: EngineError | None = None
            for line in lines.split(b"\n"):
                try:
                    out.append(self._heard(line))
                except EngineError as found:  # what was said before it is still the client's
                    problem = found
                    break
            if events := b"".join(out):
                yield events
            if problem:
                raise problem
            if self.done:
                return

    def _heard(self, line: bytes) -> bytes:
        """One line: b"" when the client is not to have it."""
        field, _colon, value = line.rstrip(b"\r").partition(b":")
        value = value.strip()
        if field not in (b"data", b"error") or not value or self.done:
            return b""
        if value == b"[DONE]":
            self.done = True
            return b""
        try:
            event = said.decode(value)
        except (msgspec.DecodeError, RecursionError) as problem:
            raise EngineError(_("the engine sent an event that is no JSON: {why}").format(why=problem)) from None
        if field == b"error" or event.error is not None:
            raise EngineError(_("the engine reported: {said}").format(said=_message(event.error or value)))
        return self._event(event, value)

    def _event(self, event: Said, value: bytes) -> bytes:
        if event.usage is not None:
            self.usage = (event.usage.prompt_tokens, event.usage.completion_tokens or 0)
        elif event.timings:
            known = event.timings
            self.usage = (known.get("cache_n", 0) + known.get("prompt_n", 0), known.get("predicted_n", 0))
        for choice in event.choices:
            if choice.index == 0:
                self._choice(choice)
        if not event.choices and event.usage is not None and not self.show_usage:
            return b""
        if event.id and len(event.id) > 5:
            value = value.replace(event.id.encode(), self.identity, 1)
        return b"data: " + value + b"\n\n"

    def _choice(self, choice: Any) -> None:
        self.finish = choice.finish_reason or self.finish
        text = choice.text or (choice.delta and choice.delta.content)
        if text:
            self.text.append(text)
            self.pieces += 1
        for tool in (choice.delta and choice.delta.tool_calls) or ():
            known = self.tools.setdefault(tool.get("index", 0), {"name": "", "arguments": ""})
            for key in known:
                known[key] += (tool.get("function") or {}).get(key) or ""
            self.pieces += 1

    @property
    def answer(self) -> str:
        text = "".join(self.text)
        return text if text or not self.tools else encode(list(self.tools.values())).decode()

    @property
    def tokens(self) -> tuple[int, int]:
        """(in, out); of a cut stream the pieces heard so far."""
        return self.usage or (0, self.pieces)


def _message(error: Any) -> str:
    if isinstance(error, bytes):
        return error[:300].decode("utf-8", "replace")
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
