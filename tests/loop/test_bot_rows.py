"""Rows of the bot, and people's data, on SQLite and on PostgreSQL: once each, in order, gone when asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from tests.db.postgres import Postgres, binaries
from tests.loop.test_photo_clicks import asked
from tuneloop.db.photo_tables import catalogue_items
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.loop import bot_rows, photo_clicks, photo_examples, photo_people
from tuneloop.settings import load
from tuneloop.workspace import Workspace, open_workspace

USER = "tg:7"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres | None]:
    programs = binaries()
    if programs is None:
        yield None
        return
    postgres = Postgres(programs)
    try:
        yield postgres
    finally:
        postgres.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path, server: Postgres | None) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "work", create=True)
    if request.param == "postgresql":
        if server is None:
            pytest.skip("no PostgreSQL here")
        made = Workspace(made.path, load(made.path, {"TUNELOOP_DB_URL": server.url}))
    yield made
    if request.param == "postgresql":
        with made.db.write() as rows:  # the next test finds an empty database
            rows.execute(text("DROP SCHEMA public CASCADE"))
            rows.execute(text("CREATE SCHEMA public"))
    made.db.close()


def shop(workspace: Workspace) -> None:
    stamp = {"category": "", "price": "", "description": "", "source": "", "changed": 0.0, "revision": 1}
    with workspace.db.write() as rows:
        rows.execute(
            insert(catalogue_items), [{"tenant": "", "id": i, "name": i, "state": "active", **stamp} for i in "ab"]
        )


def test_updates_are_taken_once_and_settled(workspace: Workspace) -> None:
    first = [(5, USER, {"n": 5}), (6, USER, {"n": 6})]
    assert bot_rows.take(workspace, 1, first) == [5, 6]
    assert bot_rows.take(workspace, 1, [*first, (7, "", {"text": "\ud83d\u0000"})]) == [7]
    assert bot_rows.take(workspace, 2, [(5, USER, {})]) == [5]  # another bot counts by itself
    assert bot_rows.take(workspace, 1, []) == []
    bot_rows.settle(workspace, 1, 6)
    assert [number for number, _body in bot_rows.pending(workspace, 1)] == [5, 7]
    assert bot_rows.pending(workspace, 1)[0][1] == {"n": 5}
    assert [bot_rows.tried(workspace, 1, 5) for _n in range(3)] == [1, 2, 3]
    assert bot_rows.take(workspace, 1, [(6, USER, {})]) == []


def test_what_is_expected_of_a_person(workspace: Workspace) -> None:
    assert bot_rows.expected(workspace, 1, USER) is None
    for expects in ({"kind": "comment", "query": "q"}, {"kind": "point", "query": "я"}):
        bot_rows.expect(workspace, 1, USER, expects)
        assert bot_rows.expected(workspace, 1, USER) == expects
    assert bot_rows.expected(workspace, 2, USER) is None
    bot_rows.expect(workspace, 1, USER, None)
    assert bot_rows.expected(workspace, 1, USER) is None


def test_uploads(workspace: Workspace) -> None:
    bot_rows.note_uploads(workspace, 1, {"a.jpg": "A", "b.jpg": "B"})
    bot_rows.note_uploads(workspace, 1, {"a.jpg": "A2"})
    bot_rows.note_uploads(workspace, 1, {})
    bot_rows.lose_upload(workspace, 1, "b.jpg")
    assert bot_rows.uploaded(workspace, 1, ["a.jpg", "b.jpg", "c.jpg"]) == {"a.jpg": "A2"}
    assert bot_rows.uploaded(workspace, 2, ["a.jpg"]) == {}


def test_a_search_belongs_to_its_person(workspace: Workspace) -> None:
    asked(workspace, "pq-1", user=USER)
    assert photo_people.search_of(workspace, "pq-1", USER).id == "pq-1"
    for user, tenant in (("tg:8", ""), (USER, "other")):
        with pytest.raises(Missing):
            photo_people.search_of(workspace, "pq-1", user, tenant=tenant)
    with pytest.raises(BadInput, match="too old"):
        photo_people.search_of(workspace, "pq-1", USER, since=1e12)
    assert photo_people.searches_since(workspace, USER, 0.0) == 1
    assert photo_people.searches_since(workspace, USER, 1e12) == 0


def test_forgetting_one_leaves_the_others(workspace: Workspace) -> None:
    shop(workspace)
    for query, user in (("pq-1", USER), ("pq-2", "tg:8")):
        asked(workspace, query, user=user, photo=query)
        photo_clicks.record(workspace, query, "right", item="a", user=user)
        photo_clicks.propose(workspace, query, f"of {user}", user=user)
    bot_rows.expect(workspace, 1, USER, {"kind": "comment"})
    bot_rows.take(workspace, 1, [(1, USER, {"secret": 1})])
    done = photo_people.forget(workspace, USER)
    assert (done.searches, done.clicks, done.proposals, done.versions) == (1, 1, 1, ())
    assert not any(photo_people.kept_of(workspace, USER).values())
    assert all(len(rows) == 1 for rows in photo_people.kept_of(workspace, "tg:8").values())
    assert bot_rows.expected(workspace, 1, USER) is None
    with pytest.raises(BadInput):
        photo_people.forget(workspace, "")  # rows of nobody in particular are not one person's
    assert photo_people.forget(workspace, USER).searches == 0


def test_examples_are_counted_from_the_newest(workspace: Workspace) -> None:
    shop(workspace)
    with pytest.raises(Missing, match="no example"):
        photo_examples.at(workspace, 1)
    for n in range(3):
        asked(workspace, f"pq-{n}", user=USER, time=float(n))
        photo_clicks.record(workspace, f"pq-{n}", "wrong", item="a", user=USER)
    photo_clicks.record(workspace, "pq-0", "comment", item="a", user=USER, text="no example")
    newest = photo_examples.at(workspace, 1)
    assert (newest.number, newest.count, newest.verdict) == (1, 3, "wrong")
    photo_clicks.review(workspace, newest.id, quality=2, excluded=True)
    again = photo_examples.at(workspace, 1)
    assert (again.id, again.quality, again.excluded) == (newest.id, 2, True)
    assert photo_examples.at(workspace, 99).number == 3 and photo_examples.at(workspace, -5).number == 1
    with pytest.raises(Missing):
        photo_examples.at(workspace, 1, tenant="other")


def test_the_views_carry_the_names_photo_bots_know(workspace: Workspace) -> None:
    shop(workspace)
    asked(workspace, "pq-1", user=USER)
    photo_clicks.record(workspace, "pq-1", "right", item="a", user=USER)
    photo_clicks.propose(workspace, "pq-1", "New", category="c", price="5", user=USER)
    with workspace.db.read() as rows:
        said = rows.execute(
            text("SELECT user_id, product_id, feedback_type, is_used_for_training FROM training_examples")
        )
        assert said.one() == (USER, "a", "right", 0)
        new = rows.execute(text("SELECT product_name, product_price, status FROM new_product_annotations")).one()
        assert new == ("New", "5", "pending")
        assert rows.execute(text("SELECT count(model_version) FROM model_training_history")).scalar() == 0


def test_two_admins_decide_at_once(workspace: Workspace) -> None:
    asked(workspace, "pq-1", user=USER)
    proposal = photo_clicks.propose(workspace, "pq-1", "New", user=USER)
    said: list[str] = []

    def decide(state: str) -> None:
        try:
            photo_clicks.decide(workspace, proposal, state, by=state)
            said.append(state)
        except Conflict:
            said.append("late")

    threads = [threading.Thread(target=decide, args=(s,)) for s in ("approved", "rejected")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("late") == 1
