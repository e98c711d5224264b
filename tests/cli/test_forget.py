"""`tuneloop forget` while a server runs on the same workspace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import httpx

from tests.gateway.test_exchange import ECHO, gateway, task
from tuneloop.collect import store

NAME = "Глеб Санников"


def ask(url: str, text: str, **headers: str) -> httpx.Response:
    body = {"model": "t", "messages": [{"role": "user", "content": text}]}
    return httpx.post(url + "/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=30)


def test_what_a_running_server_wrote_is_forgotten_and_it_goes_on(
    tmp_path: Path, community: Path, tuneloop_command: Callable[..., CompletedProcess[str]]
) -> None:
    with gateway(tmp_path, ECHO + task("echo")) as live:
        store.import_export(live.workspace, community)
        said = [ask(live.url, f"{n}: где {NAME}?", **{"Idempotency-Key": f"k{n}"}) for n in range(3)]
        assert all(NAME in reply.text for reply in said)
        done = tuneloop_command("-w", live.workspace.path, "--json", "forget", NAME, "--yes")
        assert json.loads(done.stdout)["rows"] == 6  # calls and stored replies
        held = [p for p in live.workspace.path.rglob("*") if p.is_file() and "анников".encode() in p.read_bytes()]
        assert held == []
        assert ask(live.url, "дальше").status_code == 200
        assert len(live.rows(4)) == 4
