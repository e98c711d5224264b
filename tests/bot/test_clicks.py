"""A photo, its products, every button under them: once per person, search and product; nobody else's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from tests.bot.fake_telegram import FakeTelegram, buttons
from tests.bot.running import ANN, running
from tuneloop.db.photo_tables import photo_feedback
from tuneloop.workspace import Workspace


def feedback(workspace: Workspace) -> list[Any]:
    with workspace.db.read() as rows:
        return list(rows.execute(select(photo_feedback).order_by(photo_feedback.c.time)))


def results(telegram: FakeTelegram, user: int, photo: bytes, count: int = 5) -> list[dict[str, Any]]:
    """Messages with products that a photo was answered with."""
    before = len(telegram.sent("sendPhoto"))
    telegram.sends_photo(user, photo)
    telegram.wait(lambda: len(telegram.sent("sendPhoto")) >= before + count)
    return telegram.shown(user)[-count:]


def test_photo_then_results_then_right(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)
        assert all("photo" in m and "%" in m["caption"] and ".50" in m["caption"] for m in shown)
        assert list(buttons(shown[0])) == ["✓ Right", "✗ Wrong", "Point at the right product", "Add product", "Comment"]
        telegram.presses(ANN, shown[3], buttons(shown[3])["✓ Right"])
        answered = telegram.wait(lambda: telegram.sent("answerCallbackQuery"))
        assert "Noted" in answered[0].fields["text"]
        (row,) = feedback(workspace)  # committed before the person was told
        assert (row.verdict, row.user) == ("right", f"tg:{ANN}")
        again = results(telegram, ANN, photo)
        assert shown[3]["caption"].split(". ")[1].split("\n")[0] in again[0]["caption"]
