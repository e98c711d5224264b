"""Hostile words in every field, and secrets in every place: no error of ours, no change, nothing written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engines.raw import whole
from tests.gateway.live import Live, Scripted
from tests.gateway.test_exchange import ASK, ECHO, engine, gateway, task
from tests.gateway.test_roles import ROUTES
from tuneloop.db import metadata

WORDS = (
    "' OR '1'='1", "'; DROP TABLE calls; --", '" OR ""="', "1; UPDATE keys SET role='admin'", "x' UNION SELECT hash--",
    "%27%20OR%201=1", "\\'; --", "${jndi:ldap://x}", "{{7*7}}", "../../../etc/passwd", "..\\..\\x", "%00", "\u202e",
    "a" * 5000, "NaN", "-1", "1e999", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "日本\U0001f600",
)  # fmt: skip


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with gateway(tmp_path_factory.mktemp("hostile"), ECHO + task("echo")) as live:
        yield live


def replaced(body: Any, word: str) -> Iterator[Any]:
    """The body with each of its texts in turn replaced by the word, keys included."""
    if isinstance(body, str):
        yield word
    elif isinstance(body, dict):
        for name, value in body.items():
            for other in replaced(value, word):
                yield {**body, name: other}
        yield {**body, word: word}
    elif isinstance(body, list):
        for at, value in enumerate(body):
            for other in replaced(value, word):
                yield [*body[:at], other, *body[at + 1 :]]


@pytest.mark.parametrize("route", ROUTES)
def test_no_word_in_any_field_is_more_than_a_word(live: Live, route: str) -> None:
    method, path = route.split(" ", 1)
    fixed, _brace, parameter = path.partition("{")
    rest = parameter.partition("}")[2]
    before = set(metadata.tables) | {"alembic_version"}
    with httpx.Client(base_url=live.url, trust_env=False, timeout=30) as client:
        for word in WORDS:
            quoted = httpx.QueryParams({"a": word})["a"]
            targets = [fixed + word.replace("/", "%2F") + rest] if parameter else [path]
            for target in targets:
                for body in [ROUTES[route][1], *replaced(ROUTES[route][1], word)]:
                    query = {"days": quoted, "hours": quoted, "model": quoted, "task": quoted}
                    try:
                        reply = client.request(
                            method, target, json=body, params=query if method == "GET" else None,
                            headers={"Idempotency-Key": word.encode("ascii", "ignore").decode()[:300] or "x"},
                        )  # fmt: skip
                    except httpx.InvalidURL:
                        continue
                    assert reply.status_code < 500 or route == "GET /health", (route, word, body, reply.text)
                    page = reply.headers.get("content-type", "").startswith("text/html")  # names kinds of files
                    assert page or ("Traceback" not in reply.text and "sqlite" not in reply.text.lower())
    from sqlalchemy import inspect

    assert set(inspect(live.workspace.db.engine).get_table_names()) == before
    assert live.workspace.db.problems() == []


def test_what_an_engine_says_of_our_key_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some servers repeat the key they refuse; a proxy may repeat every header it was sent."""
    canary = "sk-canary-" + "c0ffee" * 6
    monkeypatch.setenv("ENGINE_KEY", canary)
    caplog.set_level(logging.DEBUG)
    refusals = [
        whole(json.dumps({"error": {"message": f"Incorrect API key provided: {canary}."}}).encode(), 401),
        whole(f"<html>{canary}</html>".encode(), 500),
        whole(json.dumps({"error": {"message": f"Bearer {canary}"}}).encode(), 400),
        whole(json.dumps({"choices": [], "error": {"message": canary}}).encode(), 200),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        + b'data: {"error": {"message": "%b"}}\n\n' % canary.encode(),
    ]
    told = ""
    for number, refusal in enumerate(refusals):
        with Scripted(refusal) as bad:
            toml = engine("bad", bad.url, key_env="ENGINE_KEY") + task("bad", retries=0)
            with gateway(tmp_path / str(number), toml) as live:
                for body in (ASK, ASK | {"stream": True}):
                    reply = live.post("/v1/chat/completions", body)
                    told += reply.text + str(reply.headers)
                live.rows(2)
                told += "".join(
                    live.get(path).text for path in ("/health", "/metrics", "/engines", "/config", "/stats")
                )
        for path in (tmp_path / str(number)).rglob("*"):
            if path.is_file():
                assert canary.encode() not in path.read_bytes(), (number, path)
    assert canary not in told
    assert canary not in caplog.text
