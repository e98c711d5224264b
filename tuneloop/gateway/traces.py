"""Spans of calls for an OpenTelemetry collector, by the setting traces.url (OTLP over HTTP).

A request only leaves its row in a short queue; a thread makes spans of rows once a second, so that tracing costs the
hot path under a microsecond. What does not fit, or what a collector that is away did not take, is dropped and counted:
a trace is a convenience, the row in the database is the record. Names follow OpenTelemetry's semantic conventions for
generative AI; neither questions nor answers are in a span.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Protocol
from zlib import crc32

from tuneloop import __version__
from tuneloop.errors import Missing
from tuneloop.journal import Row
from tuneloop.texts import _

QUEUE = 4096  # rows of one second that are kept; more are counted as lost
OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
# https://www.w3.org/TR/trace-context/#traceparent-header
_PARENT = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)")


class Spans(Protocol):
    """What the desk needs of traces."""

    lost: int

    def add(self, row: Row, parent: bytes) -> None:
        """A finished call and its client's `traceparent` header (b"": none)."""

    def hand_over(self) -> None:
        """Make spans of what waits. Blocking."""

    def close(self) -> None:
        """Send what waits, for at most a few seconds."""


class Untraced:
    """No collector is configured."""

    lost = 0

    def add(self, row: Row, parent: bytes) -> None:
        return

    def hand_over(self) -> None:
        return

    def close(self) -> None:
        return


def spans(url: str, share: float) -> Spans:
    """Traces for the collector at `url`, or none for "". Raises Missing when OpenTelemetry is not installed."""
    return Traced(url, share) if url else Untraced()


class Traced:
    """share: of the calls, 0 to 1; a call whose client said that it is sampled is always traced."""

    def __init__(self, url: str, share: float) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as problem:
            raise Missing(
                _("traces.url needs OpenTelemetry, which is not installed"), fix="pip install 'tuneloop[otel]'"
            ) from problem
        self.lost = 0
        self._share = share
        self._waiting: deque[tuple[Row, bytes]] = deque()
        resource = Resource.create({"service.name": "tuneloop", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=5)))
        self._tracer = self._provider.get_tracer("tuneloop", __version__)

    def add(self, row: Row, parent: bytes) -> None:
        asked_for = len(parent) > 54 and parent[53:55] == b"01"
        if not asked_for and crc32(row.id.encode()) >= self._share * 2**32:
            return
        if len(self._waiting) >= QUEUE:
            self.lost += 1
            return
        self._waiting.append((row, parent))

    def hand_over(self) -> None:
        while self._waiting:
            self._span(*self._waiting.popleft())

    def close(self) -> None:
        self.hand_over()
        self._provider.force_flush(3000)
        self._provider.shutdown()

    def _span(self, row: Row, parent: bytes) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        operation = OPERATIONS[row.kind]
        began = int(row.time * 1e9)
        span = self._tracer.start_span(
            f"{operation} {row.task}", _context(parent), kind=SpanKind.SERVER, attributes=attributes(row, operation),
            start_time=began,
        )  # fmt: skip
        if row.first_ms is not None:
            span.add_event("first piece", timestamp=began + int(row.first_ms * 1e6))
        if row.status != "ok":
            span.set_status(Status(StatusCode.ERROR, row.code or row.status))
        span.end(began + int(row.latency_ms * 1e6))


def attributes(row: Row, operation: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": operation, "gen_ai.provider.name": row.engine, "gen_ai.request.model": row.model,
        "gen_ai.response.id": row.id, "gen_ai.usage.input_tokens": row.tokens_in,
        "gen_ai.usage.output_tokens": row.tokens_out, "tuneloop.task": row.task, "tuneloop.variant": row.variant,
        "tuneloop.version": row.version, "tuneloop.status": row.status, "tuneloop.reason": row.reason,
        "tuneloop.cached": row.cached, "tuneloop.attempts": row.attempts, "tuneloop.cost": row.cost,
        "tuneloop.tenant": row.tenant, "tuneloop.experiment": row.experiment, "tuneloop.arm": row.arm,
        "tuneloop.parent": row.parent, "error.type": row.code,
    }  # fmt: skip
    if row.quality is not None:
        found["tuneloop.quality"] = row.quality
    return {name: value for name, value in found.items() if value != ""}


def _context(parent: bytes) -> Any:
    """The client's span as the parent; an own trace for a header that is none."""
    from opentelemetry import trace

    found = _PARENT.match(parent)
    if found is None or int(found[1], 16) == 0 or int(found[2], 16) == 0:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    known = trace.SpanContext(int(found[1], 16), int(found[2], 16), True, trace.TraceFlags(int(found[3], 16) | 1))
    return trace.set_span_in_context(trace.NonRecordingSpan(known))
