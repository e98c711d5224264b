"""The webhook: nothing without the secret, each update once, and an accepted one survives kill -9."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.bot.fake_telegram import TOKEN, FakeTelegram, person
from tests.bot.running import ANN, copied, running
from tuneloop.bot import webhook
from tuneloop.db.bot_tables import bot_updates
from tuneloop.errors import BadInput, Conflict
from tuneloop.workspace import Workspace, open_workspace

HOOK = {"webhook_url": "https://shop.example/bot", "webhook_port": 0}


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path, telegram: FakeTelegram) -> Workspace:
    return copied(prepared, tmp_path / "hook", telegram, **HOOK)


def said(text: str, number: int) -> dict[str, Any]:
    message = {"message_id": 1, "date": 1, "chat": {"id": ANN, "type": "private"}, "from": person(ANN), "text": text}
    return {"update_id": number, "message": message}


def count(workspace: Workspace) -> int:
    with workspace.db.read() as rows:
        return int(rows.execute(select(func.count()).select_from(bot_updates)).scalar_one())


def test_updates_come_in_and_are_answered(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace) as ready:
        assert telegram.webhook == "https://shop.example/bot/telegram" and len(telegram.secret) == 64
        url = f"http://127.0.0.1:{ready.port}/telegram"
        assert telegram.bring(said("/start", 1), url) == 200
        telegram.says_back("I look it up")
    assert TOKEN.split(":")[1] not in telegram.secret


def test_nothing_without_the_secret(telegram: FakeTelegram, workspace: Workspace) -> None:
    forged = {"X-Forwarded-For": "149.154.160.1", "X-Real-IP": "149.154.160.1"}
    with running(workspace) as ready:
        url = f"http://127.0.0.1:{ready.port}/telegram"
        for secret in ("", "x", "\u00ff", telegram.secret[:-1], telegram.secret.upper(), webhook.secret_of("1:other")):
            assert telegram.bring(said("/start", 1), url, secret, **forged) == 401
    assert count(workspace) == 0


def test_one_update_a_thousand_times(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace) as ready:
        connection = http.client.HTTPConnection("127.0.0.1", ready.port)
        headers = {webhook.HEADER: telegram.secret, "Content-Type": "application/json"}
        for _n in range(1000):
            connection.request("POST", "/telegram", json.dumps(said("/start", 7)), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()
        telegram.says_back("I look it up")
    assert count(workspace) == 1 and len(telegram.sent("sendMessage")) == 1


def test_bodies_that_make_no_sense(telegram: FakeTelegram, workspace: Workspace) -> None:
    bad = [b"", b"{", b"[1]", b"[" * 100_000, b"\xff\xfe", b"x" * 2_000_000]
    with running(workspace) as ready:
        for body in bad:
            connection = http.client.HTTPConnection("127.0.0.1", ready.port)
            connection.request("POST", "/telegram", body, {webhook.HEADER: telegram.secret})
            assert connection.getresponse().status in (400, 413), body[:20]
            connection.close()
        url = f"http://127.0.0.1:{ready.port}/telegram"
        for update in ({}, {"update_id": "x"}, {"update_id": 2**80}, {"update_id": -1}, {"update_id": 9}):
            assert telegram.bring(update, url) == 200  # Telegram would bring it again for a day
        assert telegram.bring(said("/start", 10), url) == 200
        telegram.says_back("I look it up")


def test_a_webhook_needs_https_and_a_free_port(prepared: Path, tmp_path: Path, telegram: FakeTelegram) -> None:
    plain = copied(prepared, tmp_path / "plain", telegram, webhook_url="http://shop.example")
    with pytest.raises(BadInput, match="https"), running(plain):
        raise AssertionError("it must not start")
    port = int(telegram.url.rsplit(":", 1)[1])
    taken = copied(prepared, tmp_path / "taken", telegram, **HOOK | {"webhook_port": port})
    with pytest.raises(Conflict, match="cannot listen"), running(taken):
        raise AssertionError("it must not start")


@contextmanager
def process(workspace: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`tuneloop bot` as users run it."""
    command = [sys.executable, "-m", "tuneloop", "--json", "-w", str(workspace), "bot"]
    environment = {**os.environ, "TELEGRAM_BOT_TOKEN": TOKEN}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as running_:
        try:
            assert running_.stdout and running_.stderr
            line = running_.stdout.readline()
            assert line, running_.stderr.read()
            yield running_, json.loads(line)
        finally:
            running_.kill()


def test_an_accepted_update_survives_kill_9(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    """200 was said; the answer could not be given before the kill; the next process gives it."""
    telegram.trouble = lambda method: 502 if method in ("sendMessage", "getFile") else None
    with process(workspace.path) as (running_, ready):
        url = f"http://127.0.0.1:{ready['port']}/telegram"
        size = {"file_id": telegram.keep(photo), "file_unique_id": "u", "width": 9, "height": 9}
        body = said("", 2)
        body["message"] = {k: v for k, v in body["message"].items() if k != "text"} | {"photo": [size]}
        assert telegram.bring(said("/start", 1), url) == 200
        assert telegram.bring(body, url) == 200
        running_.kill()
        running_.wait()
    telegram.trouble = lambda _method: None
    assert count(open_workspace(workspace.path)) == 2
    with process(workspace.path) as (running_, ready):
        assert ready["left"] == 2
        telegram.says_back("I look it up")
        telegram.wait(lambda: len(telegram.sent("sendPhoto")) == 5)
        time.sleep(0.2)
        running_.terminate()
        assert running_.wait(20) == 0
    assert len(telegram.sent("sendPhoto")) == 5
