"""Spans of calls, read by a real OTLP collector: a server that decodes the published protobuf."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.live import until
from tests.gateway.test_exchange import ASK, ECHO, engine, gateway, task
from tuneloop.gateway.traces import QUEUE, Traced, Untraced, _context, spans
from tuneloop.journal import Row

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            data = gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data
            request = ExportTraceServiceRequest.FromString(data)
            found.extend(s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def said(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def row(identity: str = "chatcmpl-1", **more: Any) -> Row:
    return Row(identity, time.time(), "chat", msgspec.Raw(b"{}"), task="t", status="ok", **more)


def test_a_call_is_a_span_under_its_client_s(tmp_path: Path) -> None:
    with collector() as (url, found):
        toml = f'[traces]\nurl = "{url}"\n' + ECHO + engine("gone", "http://127.0.0.1:9") + task("echo")
        toml += task("gone", fallback=False, retries=0).replace("tasks.t", "tasks.away")
        with gateway(tmp_path, toml) as live:
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
            reply = live.post("/v1/chat/completions", ASK, headers=headers)
            assert reply.status_code == 200
            live.post("/v1/chat/completions", ASK | {"stream": True}, headers={"traceparent": "nonsense"})
            assert live.post("/v1/chat/completions", ASK | {"model": "away"}).status_code == 503
        first, second, third = found  # all are there once the server has ended
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, SPAN)
    assert first.name == "chat t"
    assert first.end_time_unix_nano > first.start_time_unix_nano
    attributes = said(first)
    assert attributes["gen_ai.response.id"] == reply.json()["id"]
    assert attributes["gen_ai.usage.output_tokens"] == reply.json()["usage"]["completion_tokens"]
    assert (attributes["gen_ai.provider.name"], attributes["gen_ai.request.model"]) == ("echo", "m-echo")
    assert second.trace_id.hex() != TRACE and [event.name for event in second.events] == ["first piece"]
    assert (third.status.code, said(third)["error.type"]) == (2, "engine_down")
    assert not any("привет".encode() in span.SerializeToString() for span in found), "no texts in spans"


def test_spans_come_within_seconds_while_the_server_runs(tmp_path: Path) -> None:
    with collector() as (url, found), gateway(tmp_path, f'[traces]\nurl = "{url}"\n' + ECHO + task("echo")) as live:
        live.post("/v1/chat/completions", ASK)
        until(lambda: found)


def test_a_collector_that_is_away_costs_nothing_but_spans(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        began = time.monotonic()
        with gateway(tmp_path, f'[traces]\nurl = "{url}"\n' + ECHO + task("echo")) as live:
            for _n in range(5):
                assert live.post("/v1/chat/completions", ASK).status_code == 200
            assert len(live.rows(5)) == 5
        assert time.monotonic() - began < 40


def test_a_share_is_drawn_by_id_and_what_is_too_much_is_counted() -> None:
    some = Traced("http://127.0.0.1:9/v1/traces", 0.25)
    for n in range(1000):
        some.add(row(f"c{n}"), b"")
    assert 180 < len(some._waiting) < 320
    some.add(row("asked for"), f"00-{TRACE}-{SPAN}-01".encode())
    assert some._waiting[-1][0].id == "asked for"
    every = Traced("http://127.0.0.1:9/v1/traces", 1.0)
    for n in range(QUEUE + 7):
        every.add(row(f"c{n}"), b"")
    assert (len(every._waiting), every.lost) == (QUEUE, 7)


def test_without_a_collector_there_is_nothing() -> None:
    quiet = spans("", 1.0)
    assert isinstance(quiet, Untraced)
    quiet.add(row(), b"")
    quiet.hand_over()
    quiet.close()
    assert quiet.lost == 0


@given(st.binary(max_size=80))
@pytest.mark.filterwarnings("error")
def test_no_header_raises(header: bytes) -> None:
    _context(header)
    _context(f"00-{TRACE}-{SPAN}-01".encode() + header)
