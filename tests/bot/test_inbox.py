"""Nothing lost, nothing done twice: repetitions, kills, a Telegram that is away, slow down, malformed updates."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.bot.fake_telegram import TOKEN, FakeTelegram, Refusal, buttons, person
from tests.bot.running import ANN, BOB, copied, running
from tests.bot.test_clicks import feedback, results
from tuneloop.bot.run import answer
from tuneloop.db.bot_tables import bot_updates
from tuneloop.errors import Conflict, Refused
from tuneloop.loop import bot_rows
from tuneloop.workspace import Workspace

BOT = 424242


def states(workspace: Workspace) -> dict[str, int]:
    counted = select(bot_updates.c.state, func.count()).group_by(bot_updates.c.state)
    with workspace.db.read() as rows:
        return {row[0]: row[1] for row in rows.execute(counted)}


def test_one_update_many_times_is_done_once(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        number = telegram.sends_photo(ANN, photo)
        body = {k: v for k, v in telegram.updates[-1].items() if k != "update_id"} if telegram.updates else None
        telegram.wait(lambda: len(telegram.sent("sendPhoto")) == 5)
        assert body
        for _n in range(50):
            telegram.updates.append({"update_id": number, **body})
        telegram.says(ANN, "/help")
        telegram.says_back("/my_data")
    assert len(telegram.sent("sendPhoto")) == 5 and states(workspace) == {"done": 2}


def test_what_was_taken_before_a_crash_is_done_after_it(
    telegram: FakeTelegram, workspace: Workspace, photo: bytes
) -> None:
    """The rows are there, the process that took them is not: as after kill -9."""
    size = {"file_id": telegram.keep(photo), "file_unique_id": "u", "width": 9, "height": 9}
    chat = {"message_id": 1, "date": 1, "chat": {"id": ANN, "type": "private"}, "from": person(ANN)}
    body = {"update_id": 5, "message": chat | {"photo": [size]}}
    bot_rows.take(workspace, BOT, [(5, f"tg:{ANN}", body)])
    with running(workspace) as ready:
        assert ready.left == 1
        telegram.wait(lambda: len(telegram.shown(ANN)) == 5)
        telegram.update(body, 5)  # and Telegram, which never heard, brings it again
        telegram.says(ANN, "/help")
        telegram.says_back("/my_data")
    assert len(telegram.sent("sendPhoto")) == 5 and states(workspace) == {"done": 2}


def test_a_body_is_not_kept_longer_than_needed(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace):
        telegram.says(ANN, "a private word")
        telegram.says_back("Send a photo")
        telegram.wait(lambda: states(workspace) == {"done": 1})
    with workspace.db.read() as rows:
        assert rows.execute(select(bot_updates.c.body)).scalar() is None


def test_updates_that_make_no_sense_do_not_stop_it(telegram: FakeTelegram, workspace: Workspace) -> None:
    strange: list[dict[str, Any]] = [
        {"message": {"message_id": "x"}},
        {"message": 7},
        {"callback_query": {"id": "1", "from": person(ANN), "chat_instance": "c"}},
        {"callback_query": {"id": "1", "from": {"id": "seven"}}},
        {"from_the_future": {"id": 1}},
        {"edited_message": {"message_id": 1, "date": 1, "chat": {"id": ANN, "type": "private"}, "text": "/help"}},
        {"channel_post": {"message_id": 1, "date": 1, "chat": {"id": -100, "type": "channel"}, "text": "/help"}},
    ]
    with running(workspace):
        for body in strange:
            telegram.update(body)
        group = {"id": -5, "type": "supergroup", "title": "g"}
        telegram.says(ANN, "/help", chat=group)
        telegram.says(ANN, "/start")
        telegram.says_back("I look it up")
        telegram.wait(lambda: "pending" not in states(workspace))
    assert len(telegram.sent("sendMessage")) == 1


def test_telegram_is_away_in_the_middle(
    telegram: FakeTelegram, workspace: Workspace, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    down = threading.Event()
    telegram.trouble = lambda _method: 502 if down.is_set() else None
    with caplog.at_level(logging.WARNING), running(workspace):
        shown = results(telegram, ANN, photo)[0]
        down.set()
        telegram.presses(ANN, shown, buttons(shown)["✓ Right"])
        telegram.sends_photo(BOB, photo)
        threading.Event().wait(1.0)
        down.clear()
        telegram.wait(lambda: len(telegram.shown(BOB)) == 5, 60)
        telegram.pops_up("Noted")
    assert [row.verdict for row in feedback(workspace)] == ["right"]
    assert "does not answer" in caplog.text and "Traceback" not in caplog.text
    assert TOKEN not in caplog.text


def test_telegram_restarts(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    """Nobody listens at all, then somebody does, on the same address."""
    with running(workspace):
        telegram.stop()
        telegram.sends_photo(ANN, photo)
        threading.Event().wait(0.5)
        telegram.start()
        telegram.wait(lambda: len(telegram.shown(ANN)) == 5, 60)
    assert len(telegram.sent("sendPhoto")) == 5


def test_telegram_asks_to_slow_down(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    left = iter([Refusal(429, "Too Many Requests: retry after 1", retry_after=1)] * 2)
    telegram.trouble = lambda method: next(left, None) if method == "sendPhoto" else None
    with running(workspace):
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: len(telegram.shown(ANN)) == 5)
    captions = [m["caption"][:2] for m in telegram.shown(ANN)]
    assert captions == ["1.", "2.", "3.", "4.", "5."]


def test_a_photo_that_does_not_come_is_fetched_again(
    telegram: FakeTelegram, workspace: Workspace, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    left = iter([500, 500])
    telegram.trouble = lambda method: next(left, None) if method == "download" else None
    with running(workspace):
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: len(telegram.shown(ANN)) == 5)
    assert TOKEN not in caplog.text and "ClientResponseError" not in "".join(telegram.texts(ANN))


def test_a_person_who_blocked_the_bot(telegram: FakeTelegram, workspace: Workspace) -> None:
    refused = Refusal(403, "Forbidden: bot was blocked by the user")
    telegram.trouble = lambda method: refused if method == "sendMessage" else None
    with running(workspace):
        telegram.says(ANN, "/help")
        telegram.wait(lambda: states(workspace) == {"done": 1})


def test_a_mistake_of_ours_is_one_sentence(
    telegram: FakeTelegram, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_a: object, **_k: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tuneloop.loop.photo_people.kept_of", broken)
    with running(workspace):
        telegram.says(ANN, "/my_data")
        telegram.says_back("Something went wrong here")
        telegram.says(ANN, "/start")
        telegram.says_back("I look it up")
    assert "ZeroDivisionError" in caplog.text
    assert states(workspace) == {"done": 1, "failed": 1}


def test_the_same_bot_twice_on_one_workspace(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace), pytest.raises(Conflict, match="busy with 'bot-424242'"), running(workspace):
        raise AssertionError("it must not start")
    with running(workspace):  # the lock is gone with its holder
        telegram.says(ANN, "/start")
        telegram.says_back("I look it up")


def test_two_bots_on_one_database(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    """Another bot over the same workspace: each answers its own, both learn from every click."""
    with FakeTelegram(token="515151:another") as other:
        second = Workspace(workspace.path, workspace.settings)
        values = {**workspace.settings.values, "bot.api_url": other.url}
        second = Workspace(workspace.path, type(workspace.settings)(values, workspace.settings.origins))
        with running(workspace), running(second, other.token):
            shown = results(telegram, ANN, photo)
            wanted = shown[3]["caption"].split("\n")[0].split(". ")[1]
            telegram.presses(ANN, shown[3], buttons(shown[3])["✓ Right"])
            telegram.pops_up("Noted")
            assert wanted in results(other, BOB, photo)[0]["caption"]
            other.presses(ANN, shown[3], buttons(shown[3])["✓ Right"])  # a button of the first bot
            other.pops_up("not yours")


def test_the_same_bot_on_another_machine(
    prepared: Path, tmp_path: Path, telegram: FakeTelegram, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Telegram tells them apart by nothing: both go on, and say why."""
    one, two = (copied(prepared, tmp_path / name, telegram) for name in ("one", "two"))
    with running(one), running(two):
        telegram.wait(lambda: "only one of them gets each message" in caplog.text)
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: len(telegram.shown(ANN)) >= 5)


def test_a_token_that_is_revoked_ends_it(telegram: FakeTelegram, workspace: Workspace) -> None:
    with pytest.raises(Refused, match="does not know this token"), running(workspace):
        telegram.token = "1:other"
        telegram.says(ANN, "/start")
        threading.Event().wait(1.0)
        asyncio.run(answer(workspace, "424242:revoked", asyncio.Event()))


def test_old_rows_are_swept(workspace: Workspace) -> None:
    bot_rows.take(workspace, 1, [(1, "tg:1", {}), (2, "tg:1", {})])
    bot_rows.settle(workspace, 1, 1)
    with workspace.db.write() as rows:
        rows.execute(bot_updates.update().values(time=0.0))
    bot_rows.sweep(workspace, 1)
    assert bot_rows.pending(workspace, 1) == [(2, {})]
