"""Clicks as facts: once per person, search and product; undone, reviewed, capped; proposals decided once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from tuneloop.db.photo_tables import catalogue_items, photo_feedback, photo_queries
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.loop import photo_clicks as clicks
from tuneloop.workspace import Workspace


def asked(workspace: Workspace, query: str = "q", tenant: str = "", **more: Any) -> None:
    row = {
        "id": query, "tenant": tenant, "user": "ann", "time": time.time(), "photo": "p" + query, "path": "photos/x.jpg",
        "version": "", "encoder": "e", "results": [], "known": True, "latency_ms": 1.0,
    }  # fmt: skip
    with workspace.db.write() as rows:
        rows.execute(insert(photo_queries), [row | more])


@pytest.fixture(autouse=True)
def _shop(workspace: Workspace) -> None:
    stamp = {"category": "", "price": "", "description": "", "source": "", "changed": 0.0, "revision": 1}
    found = [{"tenant": "", "id": i, "name": i, "state": "active", **stamp} for i in ("a", "b")]
    with workspace.db.write() as rows:
        rows.execute(insert(catalogue_items), found)
    asked(workspace)


def count(workspace: Workspace) -> int:
    with workspace.db.read() as rows:
        return int(rows.execute(select(func.count()).select_from(photo_feedback)).scalar_one())


def test_the_same_click_a_hundred_times_is_one_row(workspace: Workspace) -> None:
    ids: set[str] = set()

    def press() -> None:
        for _n in range(13):
            ids.add(clicks.record(workspace, "q", "right", item="a", user="ann"))

    threads = [threading.Thread(target=press) for _n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 1 and count(workspace) == 1


def test_another_verdict_needs_an_undo_first(workspace: Workspace) -> None:
    first = clicks.record(workspace, "q", "right", item="a", user="ann")
    with pytest.raises(Conflict, match="'right'"):
        clicks.record(workspace, "q", "wrong", item="a", user="ann")
    clicks.undo(workspace, "q", item="a", user="ann")
    assert clicks.votes(workspace) == []
    with pytest.raises(Missing, match="nothing to undo"):
        clicks.undo(workspace, "q", item="a", user="ann")
    assert clicks.record(workspace, "q", "wrong", item="a", user="ann") == first
    assert [v.verdict for v in clicks.votes(workspace)] == ["wrong"]


def test_people_and_products_are_kept_apart(workspace: Workspace) -> None:
    for user in ("ann", "bob"):
        for item in ("a", "b"):
            clicks.record(workspace, "q", "right", item=item, user=user)
    clicks.record(workspace, "q", "absent", user="ann")
    clicks.record(workspace, "q", "comment", user="ann", text="first")
    clicks.record(workspace, "q", "comment", user="ann", text="second")
    assert count(workspace) == 6 and len(clicks.votes(workspace)) == 5
    with pytest.raises(Missing):
        clicks.undo(workspace, "q", item="a", user="eve")


MISTAKES = [
    ({"verdict": "great", "item": "a"}, BadInput, "no verdict"),
    ({"verdict": "right"}, BadInput, "needs a product"),
    ({"verdict": "absent", "item": "a"}, BadInput, "not of a product"),
    ({"verdict": "comment", "text": "  "}, BadInput, "1 to 2000"),
    ({"verdict": "comment", "text": "x" * 2001}, BadInput, "1 to 2000"),
    ({"verdict": "right", "item": "forged"}, Missing, "no product 'forged'"),
    ({"verdict": "right", "item": "a", "query": "forged"}, Missing, "no search 'forged'"),
    ({"verdict": "right", "item": "a", "tenant": "other"}, Missing, "no search"),
]


@pytest.mark.parametrize(("said", "kind", "words"), MISTAKES, ids=[words for *_rest, words in MISTAKES])
def test_mistakes_leave_nothing(workspace: Workspace, said: dict[str, str], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        clicks.record(workspace, said.pop("query", "q"), said.pop("verdict"), **said)
    assert count(workspace) == 0


def test_one_person_counts_up_to_the_limit_and_is_seen(workspace: Workspace) -> None:
    for n in range(12):
        asked(workspace, f"q{n}")
        clicks.record(workspace, f"q{n}", "right", item="a", user="eve")
    clicks.record(workspace, "q", "right", item="b", user="ann")
    counted = clicks.votes(workspace, limit=5)
    assert sorted(v.user for v in counted) == ["ann"] + ["eve"] * 5
    assert {v.query for v in counted if v.user == "eve"} == {f"q{n}" for n in range(7, 12)}  # the newest
    assert clicks.concentration(workspace) == [("eve", 12), ("ann", 1)]


def test_an_admin_rates_and_leaves_out(workspace: Workspace) -> None:
    identity = clicks.record(workspace, "q", "right", item="a", user="ann")
    clicks.review(workspace, identity, quality=4)
    assert clicks.votes(workspace)[0].quality == 4
    clicks.review(workspace, identity, excluded=True)
    assert clicks.votes(workspace) == []
    with pytest.raises(BadInput, match="1 to 5"):
        clicks.review(workspace, identity, quality=6)
    with pytest.raises(Missing):
        clicks.review(workspace, identity, quality=3, tenant="other")


def test_a_proposal_is_decided_once(workspace: Workspace) -> None:
    identity = clicks.propose(workspace, "q", " New cup ", category="Cups", price="12", user="ann")
    assert [(p.name, p.path) for p in clicks.proposals(workspace)] == [("New cup", "photos/x.jpg")]
    assert clicks.proposals(workspace, tenant="other") == []
    assert clicks.decide(workspace, identity, "approved", by="boss", item="new").name == "New cup"
    with pytest.raises(Conflict, match="approved"):
        clicks.decide(workspace, identity, "rejected", by="boss")
    assert clicks.proposals(workspace, state="approved")[0].item == "new"
    for name in ("  ", "x" * 201):
        with pytest.raises(BadInput):
            clicks.propose(workspace, "q", name)
    with pytest.raises(Missing):
        clicks.propose(workspace, "forged", "Cup")


def test_the_views_of_the_source_story_hold_what_was_clicked(workspace: Workspace) -> None:
    clicks.record(workspace, "q", "pointed", item="a", user="ann")
    clicks.record(workspace, "q", "wrong", item="b", user="ann")
    clicks.propose(workspace, "q", "Cup", user="bob")
    with workspace.db.read() as rows:
        found = rows.execute(text("SELECT * FROM training_examples ORDER BY product_id")).mappings().all()
        new = rows.execute(text("SELECT * FROM new_product_annotations")).mappings().one()
        assert rows.execute(text("SELECT * FROM model_training_history")).mappings().all() == []
    assert [(r["product_id"], r["is_correct"], r["is_used_for_training"]) for r in found] == [("a", 1, 0), ("b", 0, 0)]
    assert (new["product_name"], new["status"], new["user_id"]) == ("Cup", "pending", "bob")
