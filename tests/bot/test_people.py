"""/start, /help, /my_data, /forget_me: what is kept is shown, and nothing of it is left afterwards."""

from __future__ import annotations

import json

from sqlalchemy import insert

from tests.bot.fake_telegram import FakeTelegram, buttons
from tests.bot.running import ADMIN, ANN, BOB, running
from tuneloop.db.tables import versions
from tuneloop.loop import photo_people
from tuneloop.workspace import Workspace


def test_start_and_help(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace):
        telegram.says(ANN, "/start")
        telegram.says_back("Send a photo of a product: I look it up")
        telegram.says(ANN, "/help")
        assert "/admin" not in telegram.says_back("/my_data: what is kept", ANN)
        telegram.says(ADMIN, "/help")
        assert "/admin_versions" in telegram.says_back("/my_data: what is kept", ADMIN)
        telegram.says(ANN, "/nonsense")
        telegram.says_back("/help says what else there is")


def test_my_data(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        telegram.says(ANN, "/my_data")
        telegram.says_back("0 photo searches")
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: len(telegram.sent("sendPhoto")) == 5)
        shown = telegram.shown(ANN)[-1]
        telegram.presses(ANN, shown, buttons(shown)["✗ Wrong"])
        telegram.pops_up("Noted")
        telegram.says(ANN, "/my_data")
        told = telegram.says_back("1 photo search\n")
        assert "1 click or comment" in told and f"id: {ANN}" in told
        (sent,) = telegram.wait(lambda: telegram.sent("sendDocument"))
        kept = json.loads(next(iter(sent.files.values())))
        assert kept["clicks"][0]["verdict"] == "wrong" and kept["searches"][0]["user"] == f"tg:{ANN}"


def test_forget_me_leaves_nothing(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    secret = "Zyxomma petiolatum"
    with running(workspace):
        for user in (ANN, BOB):
            telegram.sends_photo(user, photo + bytes([user]))  # another file, the same picture
            telegram.wait(lambda user=user: len(telegram.shown(user)) == 5)
        shown = telegram.shown(ANN)[0]
        telegram.presses(ANN, shown, buttons(shown)["✓ Right"])
        telegram.presses(ANN, shown, buttons(shown)["Comment"])
        telegram.says_back("Write your comment")
        telegram.says(ANN, secret)
        telegram.says_back("comment was noted")
        kept = photo_people.kept_of(workspace, f"tg:{ANN}")
        photos = [workspace.path / row["path"] for row in kept["searches"]]
        taught = next(row["id"] for row in kept["clicks"] if row["verdict"] == "right")
        _version(workspace, "0123456789abcdef", taught)
        telegram.says(ANN, "/forget_me")
        telegram.says_back("Sure?")
        asked = telegram.shown(ANN)[-1]
        telegram.presses(BOB, asked, buttons(asked)["Remove everything"])
        telegram.pops_up("not yours")
        assert all(path.is_file() for path in photos)
        telegram.presses(ANN, asked, buttons(asked)["Remove everything"])
        told = telegram.says_back("Removed: 1 searches, 1 photos, 2 clicks")
        assert "0123456789abcdef" in told
    assert not any(path.exists() for path in photos)
    assert len(photo_people.kept_of(workspace, f"tg:{BOB}")["searches"]) == 1
    workspace.db.close()
    for file in workspace.path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert secret.encode() not in content and f'tg:{ANN}"'.encode() not in content, file
            assert f"tg:{ANN}".encode() not in content, file


def test_forget_me_may_be_thought_over(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        telegram.sends_photo(ANN, photo)
        telegram.wait(lambda: len(telegram.sent("sendPhoto")) == 5)
        telegram.says(ANN, "/forget_me")
        telegram.says_back("Sure?")
        asked = telegram.shown(ANN)[-1]
        telegram.presses(ANN, asked, buttons(asked)["Keep it"])
        telegram.says_back("Nothing was removed")
    assert len(photo_people.kept_of(workspace, f"tg:{ANN}")["searches"]) == 1


def _version(workspace: Workspace, identity: str, feedback: str) -> None:
    folder = workspace.folder("models") / identity
    folder.mkdir()
    (folder / "evidence.json").write_text(json.dumps({"feedback": [feedback]}), encoding="utf-8")
    row = {"id": identity, "kind": "photos", "name": "v", "path": f"models/{identity}", "created": 1, "active": False}
    with workspace.db.write() as rows:
        rows.execute(insert(versions), [row | {"meta": {}, "verdict": None}])
