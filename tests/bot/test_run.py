"""Start and stop: a Telegram that is not there yet, wrong tokens, an end that loses nothing; no token is written."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.bot.fake_telegram import TOKEN, FakeTelegram, Refusal
from tests.bot.running import ANN, copied, running
from tuneloop.errors import BadInput, Refused
from tuneloop.workspace import Workspace


@pytest.mark.parametrize("token", ["", "words", "123:", ":abc", "12 3:abc", "abc:def"])
def test_what_is_no_token(workspace: Workspace, token: str) -> None:
    with pytest.raises(BadInput, match="no token"), running(workspace, token):
        raise AssertionError("it must not start")


def test_a_token_that_telegram_does_not_know(workspace: Workspace) -> None:
    with pytest.raises(Refused, match="does not know this token"), running(workspace, "424242:wrong"):
        raise AssertionError("it must not start")


def test_telegram_is_not_there_yet(
    prepared: Path, tmp_path: Path, telegram: FakeTelegram, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = copied(prepared, tmp_path / "early", telegram)
    telegram.stop()

    def comes() -> None:
        while "does not answer" not in caplog.text:
            time.sleep(0.05)
        telegram.start()

    threading.Thread(target=comes).start()
    with caplog.at_level(logging.WARNING), running(workspace):
        telegram.says(ANN, "/start")
        telegram.says_back("I look it up")
    assert "Telegram does not answer (ClientConnectorError); trying again in 1 s" in caplog.text
    assert TOKEN not in caplog.text


def test_without_a_menu_it_answers_all_the_same(
    telegram: FakeTelegram, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    telegram.trouble = lambda m: Refusal(400, "Bad Request: BOT_COMMAND_INVALID") if m == "setMyCommands" else None
    with running(workspace):
        telegram.says(ANN, "/start")
        telegram.says_back("I look it up")
    assert "did not take the menu" in caplog.text


def test_an_answer_that_is_being_written_is_finished(
    telegram: FakeTelegram, workspace: Workspace, photo: bytes
) -> None:
    with running(workspace):
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: telegram.sent("getFile"))
    assert len(telegram.shown(ANN)) == 5


def command(workspace: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    told = {k: v for k, v in os.environ.items() if k != "TELEGRAM_BOT_TOKEN"}
    line = [sys.executable, "-m", "tuneloop", "-w", str(workspace), "bot"]
    return subprocess.run(line, capture_output=True, text=True, env=told | environment, timeout=60)


def test_the_command_says_what_is_missing(workspace: Workspace, tmp_path: Path) -> None:
    said = command(tmp_path / "nothing")
    assert said.returncode == 7 and "no workspace" in said.stderr
    said = command(workspace.path)
    assert said.returncode == 3 and "TELEGRAM_BOT_TOKEN" in said.stderr
    said = command(workspace.path, TELEGRAM_BOT_TOKEN="424242:wrong-but-secret")
    assert said.returncode == 5 and "@BotFather" in said.stderr and "secret" not in said.stderr
    toml = workspace.path / "tuneloop.toml"
    toml.write_text(toml.read_text() + f'token_env = "{TOKEN}"\n', encoding="utf-8")
    said = command(workspace.path)
    assert said.returncode == 3 and "not the token itself" in said.stderr and TOKEN not in said.stderr
    assert len(said.stderr.strip().split("\n")) == 2  # the error and what to do about it
