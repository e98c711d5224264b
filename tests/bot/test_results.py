"""What people send that is no picture, or too much of one: one sentence each, and the bot goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.bot.fake_telegram import FakeTelegram, buttons
from tests.bot.running import ANN, BOB, copied, running
from tuneloop.db.photo_tables import photo_queries
from tuneloop.workspace import Workspace, open_workspace

GIF = b"GIF89a" + bytes(60)
PNG_13000 = bytes.fromhex("89504e470d0a1a0a0000000d49484452000032c8000032c80802000000") + bytes(200)


def searches(workspace: Workspace) -> int:
    with workspace.db.read() as rows:
        return int(rows.execute(select(func.count()).select_from(photo_queries)).scalar_one())


def test_bad_pictures_are_one_sentence_each(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    bad = [
        (b"", "empty"),
        (GIF, "GIF"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS"),
        (b"no picture at all, but words", "no picture"),
        (photo[: len(photo) // 2], ""),
        (PNG_13000, ""),
    ]
    with running(workspace):
        for content, word in bad:
            before = len(telegram.texts(ANN))
            telegram.sends_file(ANN, content, "image/jpeg")
            telegram.wait(lambda before=before: len(telegram.texts(ANN)) > before)
            (said,) = telegram.texts(ANN)[before:]
            assert word in said and len(said) < 200 and "\n" not in said, said
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: len(telegram.sent("sendPhoto")) == 5)
    assert searches(workspace) == 1


def test_what_is_no_picture_is_not_even_fetched(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace):
        telegram.sends_file(ANN, b"%PDF-1.7", "application/pdf")
        telegram.says_back("That file is no picture. Send a photo")
        telegram.sends_file(ANN, b"x", "image/png", file_size=20_000_001)
        telegram.says_back("more than 20 MB")
        sticker = {"file_id": "s", "file_unique_id": "s", "type": "regular", "width": 1, "height": 1}
        telegram._message(ANN, {"sticker": {**sticker, "is_animated": False, "is_video": False}})
        telegram.says_back("That is no picture")
        telegram._message(ANN, {"location": {"latitude": 1.0, "longitude": 2.0}})
        telegram.says_back("Send a photo of a product")
    assert not telegram.sent("getFile")


def test_a_file_that_is_larger_than_it_claims(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace):
        huge = telegram.keep(b"\xff\xd8\xff" + bytes(21_000_000))
        telegram.sizes[huge] = 100
        size = {"file_id": huge, "file_unique_id": "u", "width": 9, "height": 9, "file_size": 100}
        telegram._message(ANN, {"photo": [size]})
        telegram.says_back("more than 20 MB")
    assert searches(workspace) == 0


def test_too_many_searches_in_an_hour(prepared: Path, tmp_path: Path, telegram: FakeTelegram, photo: bytes) -> None:
    workspace = copied(prepared, tmp_path / "few", telegram, searches_per_hour=2)
    with running(workspace):
        for _n in range(3):
            telegram.sends_photo(ANN, photo)
        telegram.says_back("2 searches in an hour")
        telegram.sends_photo(BOB, photo)  # the limit is each person's own
        telegram.wait(lambda: len(telegram.shown(BOB)) == 5)
    assert searches(workspace) == 3


def test_an_empty_catalogue(tmp_path: Path, telegram: FakeTelegram, photo: bytes) -> None:
    empty = open_workspace(tmp_path / "empty", create=True)
    (empty.path / "tuneloop.toml").write_text(f'[bot]\napi_url = "{telegram.url}"\n', encoding="utf-8")
    with running(open_workspace(empty.path)):
        telegram.sends_photo(ANN, photo)
        assert telegram.says_back("no pictures yet") == "The catalogue has no pictures yet."  # no command for customers


def test_pictures_are_uploaded_once(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        for count in (5, 10):
            telegram.sends_photo(ANN, photo)
            telegram.wait(lambda count=count: len(telegram.sent("sendPhoto")) == count)
        assert [bool(c.files) for c in telegram.sent("sendPhoto")] == [True] * 5 + [False] * 5
        for name in [m["photo"][0]["file_id"] for m in telegram.shown(ANN)]:
            telegram.files.pop(name, None)  # Telegram forgot them
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: len([c for c in telegram.sent("sendPhoto") if c.files]) == 10)
    assert len(telegram.shown(ANN)) == 15


def test_russian_and_english_at_the_same_time(
    telegram: FakeTelegram, workspace: Workspace, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gettext

    from tuneloop import texts

    class Loud(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return f"RU {message}"

    monkeypatch.setattr(texts, "_catalogue", lambda _language: Loud())
    with running(workspace):
        for _n in range(3):
            telegram.sends_photo(ANN, photo, language="ru")
            telegram.sends_photo(BOB, photo, language="en-GB")
            telegram.sends_file(ANN, GIF, "image/gif")
            telegram._message(ANN, {"text": "/help", "language": "ru"})
            telegram.says(BOB, "/help")
        telegram.wait(lambda: len(telegram.shown(ANN)) == 21 and len(telegram.shown(BOB)) == 18)
        photos = {user: [m for m in telegram.shown(user) if "photo" in m] for user in (ANN, BOB)}
        assert all("RU similarity" in m["caption"] and "RU ✓ Right" in buttons(m) for m in photos[ANN])
        assert not [text for text in telegram.texts(BOB) if "RU" in text]
    menus = {c.fields.get("language_code"): c.fields["commands"] for c in telegram.sent("setMyCommands")}
    assert "RU" in menus["ru"] and "RU" not in menus[None]
