"""Admin commands: nobody by default, only those on the list, and what each of them does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bot.fake_telegram import FakeTelegram, buttons, person
from tests.bot.running import ADMIN, ANN, BOB, NAMES, copied, prepare, running
from tests.bot.test_clicks import feedback, results
from tuneloop import versions
from tuneloop.bot import desk
from tuneloop.encoders.choice import open_encoder
from tuneloop.errors import BadInput
from tuneloop.loop import photo_clicks, photo_people, photo_version
from tuneloop.loop.photos import Finder
from tuneloop.records import Verdict, Version
from tuneloop.search import vectors
from tuneloop.settings import load
from tuneloop.tune.image_map import ImageMap
from tuneloop.workspace import Workspace, open_workspace

COMMANDS = [
    *("/admin_training_stats", "/admin_start_training", "/admin_view_examples"),
    *("/admin_new_products", "/admin_versions"),
]


def ids(tmp_path: Path, written: str) -> frozenset[int]:
    (tmp_path / "tuneloop.toml").write_text(f"[bot]\nadmins = {written}\n", encoding="utf-8")
    return desk.admins(load(tmp_path, {}))


@pytest.mark.parametrize(
    ("written", "found"),
    [('""', set()), ("[]", set()), ("7", {7}), ('"7, 8"', {7, 8}), ("[7, 8]", {7, 8}), ('" 7;8 "', {7, 8})],
)
def test_the_list_of_admins(tmp_path: Path, written: str, found: set[int]) -> None:
    assert ids(tmp_path, written) == found


@pytest.mark.parametrize("written", ['"ann"', '"-100123"', '"0"', '"7,*"', '"7.5"'])
def test_what_is_no_id_is_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(BadInput, match="no Telegram id"):
        ids(tmp_path, written)


def test_nobody_else_commands(telegram: FakeTelegram, workspace: Workspace) -> None:
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    group = {"id": -77, "type": "supergroup", "title": "g"}
    posted = {"message_id": 1, "date": 1, "text": COMMANDS[0]}
    with running(workspace):
        for command in COMMANDS:
            telegram.says(ANN, command)
            telegram.says(ADMIN, command, chat=group)  # in front of others not even an admin
        telegram.update({"message": posted | {"from": anonymous, "chat": group, "sender_chat": group}})
        telegram.update({"edited_message": posted | {"from": person(ADMIN), "chat": {"id": ADMIN, "type": "private"}}})
        telegram.update({"channel_post": posted | {"chat": {"id": -100, "type": "channel", "title": "c"}}})
        telegram.wait(lambda: len(telegram.texts(ANN)) == len(COMMANDS))
        assert all("/help" in text for text in telegram.texts(ANN))
        telegram.says(ANN, "/start")
        telegram.says_back("I look it up")
        assert not [c for c in telegram.calls if str(c.fields.get("chat_id")) == "-77"]


def test_an_empty_list_is_nobody(prepared: Path, tmp_path: Path, telegram: FakeTelegram) -> None:
    with running(copied(prepared, tmp_path / "nobody", telegram, admins="")):
        for command in COMMANDS:
            telegram.says(ADMIN, command)
        telegram.wait(lambda: len(telegram.texts(ADMIN)) == len(COMMANDS))
        assert all("/help" in text for text in telegram.texts(ADMIN))


def test_a_button_outlives_a_right(
    prepared: Path, tmp_path: Path, telegram: FakeTelegram, workspace: Workspace, photo: bytes
) -> None:
    found = Finder(workspace).search(prepared / "photos" / "red-ball-0.jpg", user="tg:7")
    photo_clicks.propose(workspace, found.query, "Crimson", user="tg:7")
    with running(workspace):
        telegram.says(ADMIN, "/admin_new_products")
        offered = telegram.wait(lambda: telegram.shown(ADMIN))[0]
    (workspace.path / "tuneloop.toml").write_text(f'[bot]\napi_url = "{telegram.url}"\n', encoding="utf-8")
    later = Workspace(workspace.path, load(workspace.path))
    with running(later):
        telegram.presses(ADMIN, offered, buttons(offered)["Approve"])
        telegram.pops_up("for admins")
    assert photo_clicks.proposals(workspace, state="approved") == []


def test_stats_show_who_clicked(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        telegram.says(ADMIN, "/admin_training_stats")
        assert "No training yet" in telegram.says_back("Products: 8", ADMIN)
        for user, presses in ((ANN, 3), (BOB, 1)):
            for shown in results(telegram, user, photo)[:presses]:
                telegram.presses(user, shown, buttons(shown)["✗ Wrong"])
        telegram.wait(lambda: len(telegram.popped()) == 4)
        telegram.says(ADMIN, "/admin_training_stats")
        told = telegram.says_back("Searches: 2", ADMIN)
        assert "wrong 4" in told and f"tg:{ANN} 3 (75%)" in told and "More than half" in told


def test_examples_are_rated_and_left_out(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        telegram.says(ADMIN, "/admin_view_examples")
        telegram.says_back("There is no example yet")
        for shown in results(telegram, ANN, photo)[:2]:
            telegram.presses(ANN, shown, buttons(shown)["✗ Wrong"])
        telegram.wait(lambda: len(telegram.popped()) == 2)
        telegram.says(ADMIN, "/admin_view_examples")
        telegram.says_back("Example 1 of 2: wrong")
        assert len(telegram.sent("sendMediaGroup")[0].files) == 2
        page = telegram.shown(ADMIN)[-1]
        assert list(buttons(page)) == ["1", "2", "3", "4", "5", "Leave out", "▶"]
        telegram.presses(ADMIN, page, buttons(page)["4"])
        telegram.says_back("quality: 4")
        telegram.presses(ADMIN, page, buttons(page)["Leave out"])
        telegram.says_back("left out of training")
        assert sorted((r.quality or 0, r.excluded) for r in feedback(workspace)) == [(0, False), (4, True)]
        page = telegram.messages[page["message_id"]]
        telegram.presses(ADMIN, page, buttons(page)["Take in again"])
        telegram.wait(lambda: not any(r.excluded for r in feedback(workspace)))
        telegram.presses(ADMIN, page, buttons(page)["▶"])
        telegram.says_back("Example 2 of 2")
        last = telegram.shown(ADMIN)[-1]
        assert "▶" not in buttons(last) and "◀" in buttons(last)


def test_reject_a_product(telegram: FakeTelegram, workspace: Workspace, prepared: Path) -> None:
    found = Finder(workspace).search(prepared / "photos" / "red-ball-0.jpg", user="tg:7")
    photo_clicks.propose(workspace, found.query, "Nonsense", user="tg:7")
    with running(workspace):
        telegram.says(ADMIN, "/admin_new_products")
        offered = telegram.wait(lambda: telegram.shown(ADMIN))[0]
        telegram.presses(ADMIN, offered, buttons(offered)["Reject"])
        telegram.says_back("Rejected: Nonsense")
        telegram.presses(ADMIN, offered, buttons(offered)["Approve"])
        telegram.pops_up("decided before")
    (row,) = photo_clicks.proposals(workspace, state="rejected")
    assert row.decided_by == f"tg:{ADMIN}"


def registered(workspace: Workspace, name: str, decision: Any) -> Version:
    """A version that finds as the plain encoder does."""
    encoder = open_encoder("classical")
    size = len(encoder.pictures(np.zeros((1, encoder.side, encoder.side, 3), dtype=np.uint8))[0])
    nothing = np.zeros(size, dtype=np.float32)
    made = ImageMap(nothing, nothing, None)
    staging = workspace.folder("models") / f".{name}.part"
    staging.mkdir()
    photo_version.save(staging, made, encoder=encoder.name, threshold=-1.0, card={"name": name})
    version = versions.register(workspace, staging, kind="photos", name=name, meta={})
    versions.judge(workspace, version, Verdict(decision, "because"))
    return versions.find(workspace, version.id, kind="photos")


def test_versions_are_activated_and_rolled_back(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        telegram.says(ADMIN, "/admin_versions")
        telegram.says_back("There is no version yet")
        first, second, bad = (
            registered(workspace, name, decision)
            for name, decision in (("one", "promote"), ("two", "promote"), ("three", "refuse"))
        )
        versions.activate(workspace, first)
        telegram.says(ADMIN, "/admin_versions")
        telegram.says_back(f"● {first.id}")
        page = telegram.shown(ADMIN)[-1]
        assert list(buttons(page)) == [f"Activate {second.id[:8]}", "Roll back"]
        assert f"○ {bad.id} three: refuse" in page["text"] and "○ start: before any version" in page["text"]
        telegram.presses(ADMIN, page, buttons(page)[f"Activate {second.id[:8]}"])
        telegram.says_back(f"● {second.id}")
        results(telegram, ANN, photo)  # without a restart
        (asked,) = _versions_that_searched(workspace)
        assert asked == second.id
        page = telegram.messages[page["message_id"]]
        telegram.presses(ADMIN, page, buttons(page)["Roll back"])
        telegram.says_back(f"● {first.id}")
        telegram.presses(ADMIN, page, buttons(page)["Roll back"])  # pressed twice it goes back once
        telegram.pops_up("does not search any more")
        assert versions.find(workspace, "active", kind="photos").id == first.id
        page = telegram.messages[page["message_id"]]
        telegram.presses(ADMIN, page, buttons(page)["Roll back"])
        telegram.says_back("● start")
        page = telegram.messages[page["message_id"]]
        assert list(buttons(page)) == [f"Activate {v.id[:8]}" for v in (second, first)], "nothing before start"
        results(telegram, ANN, photo)
        assert _versions_that_searched(workspace)[-1] == ""


def _versions_that_searched(workspace: Workspace) -> list[str]:
    return [row["version"] for row in photo_people.kept_of(workspace, f"tg:{ANN}")["searches"]]


def test_training_needs_examples(telegram: FakeTelegram, workspace: Workspace) -> None:
    with running(workspace):
        telegram.says(ADMIN, "/admin_start_training")
        telegram.says_back("20 are needed: 20 more. Search with photos")
        assert len(telegram.shown(ADMIN)) == 1  # the message that would have shown the progress


def test_training_from_the_chat(tmp_path: Path, telegram: FakeTelegram, photo: bytes) -> None:
    """Progress and result in one message; the bot answers others meanwhile."""
    shop = prepare(tmp_path / "shop", NAMES[:6], photos=4)
    workspace = copied(shop, tmp_path / "work", telegram)
    finder = Finder(workspace)
    vectors.keep(workspace, sorted((shop / "photos").iterdir()), finder.encoder)  # at once, in one child
    for name in NAMES[:6]:
        item = name.replace(" ", "-")
        for n in range(4):
            found = finder.search(shop / "photos" / f"{item}-{n}.jpg", user=f"u{n}")
            photo_clicks.record(workspace, found.query, "pointed", item=item, user=f"u{n}")
    with running(workspace):
        telegram.says(ADMIN, "/admin_start_training")
        telegram.says(ADMIN, "/help")
        telegram.says_back("/my_data", ADMIN)
        told = telegram.says_back("Version ", ADMIN, 120)
        assert "recall@1" in told and ("stays inactive" in told or "searches from now on" in told)
        progress = {c.fields["message_id"] for c in telegram.sent("editMessageText")}
        assert len(progress) == 1
        telegram.says(ADMIN, "/admin_training_stats")
        assert "24 examples: done" in telegram.says_back("Training of", ADMIN)
    assert len(versions.history(workspace, kind="photos")) == 1


def test_a_training_by_itself_is_told_to_the_admins(
    telegram: FakeTelegram, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuneloop.bot import training

    monkeypatch.setattr(training, "LOOK", 0.2)
    made = copied(prepared, tmp_path / "own", telegram)
    text = (made.path / "tuneloop.toml").read_text() + "\n[photos]\ntrain_every = 8\nmin_examples = 8\n"
    (made.path / "tuneloop.toml").write_text(text, encoding="utf-8")
    workspace = open_workspace(made.path)
    finder = Finder(workspace)
    for name in NAMES:
        product = name.replace(" ", "-")
        found = finder.search(prepared / "photos" / f"{product}-0.jpg", user="tg:7")
        photo_clicks.record(workspace, found.query, "pointed", item=product, user="tg:7")
    with running(workspace):
        said = telegram.says_back("By itself, after enough clicks: Training of 8 examples", seconds=200)
        assert "done" in said and "recall@1" in said
    assert versions.history(workspace, kind="photos")
