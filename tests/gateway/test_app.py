"""Feedback, versions, health and the fence, over a socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.answer.models import add_pack, add_packed, add_version, crashing
from tests.gateway.live import QUESTION, Live, configured, running, tiny_server
from tuneloop import versions
from tuneloop.answer import feedback
from tuneloop.answer.serving import Serving


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with tiny_server(tmp_path_factory.mktemp("live"), body_limit=20_000) as live:
        yield live


@pytest.fixture(scope="module")
def call(live: Live) -> str:
    return str(live.post("/v1/chat/completions", QUESTION).json()["id"])


def test_feedback_is_a_row_before_the_reply(live: Live, call: str) -> None:
    for kind, value in (("thumb", "up"), ("score", 7.5), ("comment", "хорошо"), ("demonstration", "Лучше так.")):
        reply = live.post("/feedback", {"call": call, "kind": kind, "value": value, "user": "anna"})
        assert reply.status_code == 200
        stored = {f.id: f for f in feedback.of_call(live.workspace, call)}[reply.json()["id"]]
        assert (stored.kind, stored.value, stored.user) == (kind, str(value), "anna")


def test_idempotency_key_repeats_the_reply_byte_for_byte(live: Live, call: str) -> None:
    body = {"call": call, "kind": "comment", "value": "once"}
    headers = {"Idempotency-Key": "click-1"}
    said = {live.post("/feedback", body, headers=headers).content for _n in range(20)}
    assert len(said) == 1
    other = live.post("/feedback", body | {"value": "twice"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert [f.value for f in feedback.of_call(live.workspace, call)].count("once") == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"call": "chatcmpl-none"}, 404),
        ({"kind": "star"}, 400),
        ({"value": "sideways"}, 400),
        ({"value": None}, 400),
        ({"call": ""}, 400),
    ],
)
def test_bad_feedback_is_refused_in_openais_shape(live: Live, call: str, change: dict[str, str], status: int) -> None:
    reply = live.post("/feedback", {"call": call, "kind": "thumb", "value": "up"} | change)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


def test_long_key_is_refused(live: Live, call: str) -> None:
    body = {"call": call, "kind": "thumb", "value": "up"}
    assert live.post("/feedback", body, headers={"Idempotency-Key": "k" * 256}).status_code == 400


def test_health_says_what_serves(live: Live) -> None:
    health = live.get("/health").json()
    assert health["status"] == "ok"
    assert health["serving"]["file"] == "tiny.gguf"
    local = health["engines"]["local"]
    assert (local["running"], local["waiting"], local["places"], local["breaker"]) == (0, 0, 2, "closed")
    assert health["unrecorded"] == 0


def test_large_request_is_413_announced_or_not(live: Live) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 30_000}]}).encode()
    headers = {"Content-Type": "application/json"}
    announced = httpx.post(live.url + "/v1/chat/completions", content=body, headers=headers)
    assert (announced.status_code, announced.json()["error"]["code"]) == (413, "too_large")
    chunked = httpx.post(
        live.url + "/v1/chat/completions", content=iter([body[:15_000], body[15_000:]]), headers=headers
    )
    assert chunked.status_code == 413


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 15_000, 400),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', 400),
        (b'{"messages": NaN}', 400),
    ],
)
def test_broken_json_is_one_clear_400(live: Live, content: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    reply = httpx.post(live.url + "/v1/chat/completions", content=content, headers=headers)
    assert reply.status_code == status
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_strangers_page_can_neither_post_nor_rebind(live: Live) -> None:
    body = json.dumps(QUESTION)
    plain = httpx.post(live.url + "/v1/chat/completions", content=body, headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415
    rebound = live.post("/v1/chat/completions", QUESTION, headers={"Host": "evil.example:8090"})
    assert (rebound.status_code, rebound.json()["error"]["code"]) == (400, "wrong_host")
    for host in ("localhost:1", "127.0.0.1", "[::1]:8090"):
        assert live.get("/health", headers={"Host": host}).status_code == 200
    assert "access-control-allow-origin" not in live.get("/health", headers={"Origin": "http://evil.example"}).headers


def test_unknown_paths_and_methods_have_the_shape_too(live: Live) -> None:
    assert live.get("/v1/nothing").json()["error"]["code"] == "http_error"
    wrong = live.get("/v1/chat/completions")
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["allow"]


def test_key_is_asked_for_everywhere_but_the_open_pages(tmp_path: Path) -> None:
    with tiny_server(tmp_path, key="s3cret") as live:
        for path in ("/", "/health", "/docs", "/openapi.json"):
            assert live.get(path).status_code == 200
        routes = [("GET", "/v1/models"), ("GET", "/versions"), ("GET", "/v1/models/x"), ("GET", "/no/such")]
        routes += [("POST", "/v1/chat/completions"), ("POST", "/feedback"), ("POST", "/versions/x/activate")]
        for method, path in routes:
            for sent in (None, "Bearer wrong", "Bearer s3cre", "s3cret", "Basic s3cret", "Bearer ' OR 1=1 --"):
                headers = {"Authorization": sent} if sent else {}
                reply = httpx.request(method, live.url + path, json={} if method == "POST" else None, headers=headers)
                assert reply.status_code == 401, (method, path, sent)
                assert reply.headers["www-authenticate"] == "Bearer"
        # ways around a gate that judges another path than the router
        for path in ("//v1/models", "/health/../v1/models", "/health%2f..%2fv1/models", "/V1/models", "/docs/"):
            assert httpx.get(live.url + path).status_code in (401, 404)
        allowed = {"Authorization": "Bearer s3cret"}
        assert live.post("/v1/chat/completions", QUESTION, headers=allowed).status_code == 200


def test_forwarded_headers_are_not_believed(live: Live) -> None:
    """The server never learns an address from a header; the fence judges the connection's Host alone."""
    reply = live.get("/health", headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "8.8.8.8"})
    assert reply.status_code == 200
    assert live.server.config.proxy_headers is False


def test_activation_over_http(tmp_path: Path) -> None:
    workspace = configured(tmp_path / "work", context=256, grace=0.5)
    good, better = add_packed(workspace, "good"), add_packed(workspace, "better")
    bad = add_packed(workspace, "bad", change=crashing())
    unjudged = add_version(workspace, "unjudged", promote=False)
    add_pack(workspace, unjudged)
    versions.activate(workspace, good)
    serving = Serving(workspace)
    serving.start()
    try:
        with running(workspace, serving) as live:
            refused = live.post(f"/versions/{bad.id}/activate", {})
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "model_rejected")
            assert live.get("/health").json()["failure"]["version"] == bad.id
            assert live.post("/v1/chat/completions", QUESTION | {"model": "good"}).status_code == 200

            reply = live.post(f"/versions/{better.id[:8]}/activate", {"note": "better"})
            assert reply.status_code == 200
            assert reply.json()["active"]["id"] == better.id
            health = live.get("/health").json()
            assert (health["active"], health["serving"]["version"]) == (better.id, better.id)
            assert health["status"] == "ok"
            gone = live.post("/v1/chat/completions", QUESTION | {"model": good.id})
            assert gone.status_code == 404

            assert live.post(f"/versions/{unjudged.id}/activate", {}).status_code == 403
            assert live.post("/versions/nope/activate", {}).status_code == 404
            listed = live.get("/versions").json()["data"]
            assert {v["id"] for v in listed if v["active"]} == {better.id}
            answered = live.post("/v1/chat/completions", QUESTION)
            assert answered.headers["x-tuneloop-version"] == better.id
    finally:
        serving.stop()
    assert live.rows(1)[0].version == better.id


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (b"POST /feedback HTTP/1.1\r\nHost: localhost\r\nX: ", b"y"),
        (b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET "),  # the second request on a connection
    ],
)
def test_half_sent_headers_are_hung_up_on(
    live: Live, monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    monkeypatch.setattr("tuneloop.gateway.wire.HEADER_SECONDS", 0.4)
    with socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2])), timeout=3) as slow:
        slow.sendall(first)
        time.sleep(0.2)
        slow.sendall(then)
        while slow.recv(65536):  # ends when the server hangs up, fails after 3 s
            continue
