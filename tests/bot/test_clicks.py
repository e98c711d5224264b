"""A photo, its products, every button under them: once per person, search and product; nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select

from tests.bot.fake_telegram import FakeTelegram, buttons
from tests.bot.running import ADMIN, ANN, BOB, copied, running
from tuneloop.db.photo_tables import photo_feedback
from tuneloop.search import catalogue
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
        telegram.pops_up("Noted")
        (row,) = feedback(workspace)  # committed before the person was told
        assert (row.verdict, row.user) == ("right", f"tg:{ANN}")
        again = results(telegram, ANN, photo)
        assert shown[3]["caption"].split(". ")[1].split("\n")[0] in again[0]["caption"]


def test_a_verdict_is_undone_and_said_anew(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)[0]
        number = shown["message_id"]
        telegram.presses(ANN, shown, buttons(shown)["✗ Wrong"])
        telegram.wait(lambda: "✗ Wrong, undo" in buttons(telegram.messages[number]))
        telegram.presses(ANN, shown, buttons(shown)["✓ Right"])  # the old buttons, of a client that did not redraw
        telegram.pops_up("'wrong' of this before")
        assert [row.verdict for row in feedback(workspace)] == ["wrong"]
        judged = telegram.messages[number]
        telegram.presses(ANN, judged, buttons(judged)["✗ Wrong, undo"])
        telegram.wait(lambda: buttons(telegram.messages[number]) == buttons(shown))
        assert feedback(workspace)[0].undone
        telegram.presses(ANN, shown, buttons(shown)["✓ Right"])
        telegram.wait(lambda: "✓ Right, undo" in buttons(telegram.messages[number]))
    (row,) = feedback(workspace)
    assert (row.verdict, row.undone) == ("right", None)


def test_a_hundred_presses_are_one_vote(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)[0]
        for _n in range(100):
            telegram.presses(ANN, shown, buttons(shown)["✓ Right"])
        telegram.wait(lambda: len(telegram.popped()) >= 100)
    assert [row.verdict for row in feedback(workspace)] == ["right"]


def test_nobody_presses_for_somebody_else(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)[0]
        theirs = results(telegram, BOB, photo)[0]
        good = buttons(shown)["✓ Right"]
        forged = [
            good[:-1] + ("A" if good[-1] != "A" else "B"),  # another signature
            good.replace("r.", "w.", 1),  # another verdict
            ".".join([*good.split(".")[:2], "AAAAAAAAAAA", good.split(".")[3]]),  # another product
            ".".join([*buttons(theirs)["✓ Right"].split(".")[:3], good.split(".")[3]]),  # another search
            *("", ".", "r", "x" * 65, "r.\udcff.x.y", "V.1.2", "∞.∞"),
        ]
        for data in forged:
            telegram.presses(ANN, shown, data)
        telegram.presses(BOB, shown, good)
        telegram.wait(lambda: len(telegram.popped()) >= len(forged) + 1)
        assert all("not yours" in text for text in telegram.popped())
    assert feedback(workspace) == []


def test_buttons_grow_old(prepared: Path, tmp_path: Path, telegram: FakeTelegram, photo: bytes) -> None:
    workspace = copied(prepared, tmp_path / "old", telegram, button_days=0.0)
    with running(workspace):
        shown = results(telegram, ANN, photo)[0]
        telegram.presses(ANN, shown, buttons(shown)["✓ Right"])
        telegram.pops_up("too old")
    assert feedback(workspace) == []


def test_point_at_the_right_product(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)[0]
        telegram.presses(ANN, shown, buttons(shown)["Point at the right product"])
        telegram.says_back("word or two")
        telegram.says(ANN, "unicorn")
        telegram.says_back("No product is called that")
        telegram.says(ANN, "GREEN sta")
        telegram.says_back("Which one")
        asked = telegram.shown(ANN)[-1]
        assert list(buttons(asked)) == ["green star · 10.50"]
        telegram.presses(ANN, asked, buttons(asked)["green star · 10.50"])
        telegram.says_back("your photo shows green star")
        (row,) = feedback(workspace)
        assert (row.verdict, row.item) == ("pointed", "green-star")
        assert "green star" in results(telegram, BOB, photo)[0]["caption"]
        noted = telegram.messages[asked["message_id"]]
        telegram.presses(ANN, noted, buttons(noted)["✓ That one, undo"])
        telegram.says_back("Taken back")
        assert feedback(workspace)[0].undone
        telegram.says(ANN, "green")  # nothing is asked any more
        telegram.says_back("Send a photo of a product")


def test_a_comment(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)[1]
        telegram.presses(ANN, shown, buttons(shown)["Comment"])
        telegram.says_back("Write your comment")
        telegram.says(ANN, "x" * 2001)
        telegram.says_back("1 to 2000 characters")
        telegram.says(ANN, "The lid is another\x00 \ud83d")
        telegram.says_back("comment was noted")
    (row,) = feedback(workspace)
    assert row.verdict == "comment" and row.text.startswith("The lid is another") and row.item


def test_add_product_with_approval(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)[0]
        telegram.presses(ANN, shown, buttons(shown)["Add product"])
        telegram.says_back("What is the product called")
        for word, asked in (("Crimson ball", "category"), ("-", "cost"), ("9,90 ₽", "an admin will look")):
            telegram.says(ANN, word)
            telegram.says_back(asked, ANN)
        telegram.says_back("/admin_new_products", ADMIN)
        assert catalogue.named(workspace, "crimson") == []
        telegram.says(ADMIN, "/admin_new_products")
        telegram.says_back("Crimson ball", ADMIN)
        offered = telegram.shown(ADMIN)[-1]
        assert offered["caption"] == f"Crimson ball\n9,90 ₽\nby tg:{ANN}" and "photo" in offered
        telegram.presses(ADMIN, offered, buttons(offered)["Approve"])
        telegram.says_back("In the catalogue: Crimson ball")
        (item,) = catalogue.named(workspace, "crimson")
        assert (item.price, item.category, len(item.pictures)) == ("9,90 ₽", "", 1)
        assert "Crimson ball" in results(telegram, BOB, photo)[0]["caption"]
        telegram.presses(ADMIN, offered, buttons(offered)["Reject"])
        telegram.pops_up("decided before")
        telegram.says(ADMIN, "/admin_new_products")
        telegram.says_back("No product waits")


def test_cancel_and_another_photo_end_a_question(telegram: FakeTelegram, workspace: Workspace, photo: bytes) -> None:
    with running(workspace):
        shown = results(telegram, ANN, photo)[0]
        for end in (lambda: telegram.says(ANN, "/cancel"), lambda: results(telegram, ANN, photo)):
            telegram.presses(ANN, shown, buttons(shown)["Comment"])
            telegram.says_back("Write your comment")
            end()
            before = len(telegram.texts())
            telegram.says(ANN, "lovely")
            telegram.wait(lambda before=before: any("Send a photo of" in t for t in telegram.texts()[before:]))
    assert feedback(workspace) == []
