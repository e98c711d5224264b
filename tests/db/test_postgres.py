"""The same rows on PostgreSQL: migrations, journal, feedback, experiments, keys, a live server, a crash."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.choose.pasts import begin, of_units, people, store
from tests.db.postgres import Postgres, binaries
from tests.gateway.live import Live, running, until
from tests.gateway.test_exchange import ASK, ECHO, task
from tests.loop.replays import TASK as REPLAYED
from tests.loop.replays import Answers, ask_questions
from tuneloop import journal
from tuneloop.access import keys
from tuneloop.answer import calls, replies, statistics
from tuneloop.choose import experiments, measures
from tuneloop.choose.sequential import Joint
from tuneloop.db.tables import REVISION, feedback
from tuneloop.loop import replay
from tuneloop.workspace import Workspace, open_workspace, write_atomically


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg")
    started = Postgres(programs)
    yield started
    started.close()


@pytest.fixture
def workspace(server: Postgres, tmp_path: Path) -> Iterator[Workspace]:
    server.empty()
    open_workspace(tmp_path / "w", create=True)
    write_atomically(tmp_path / "w/tuneloop.toml", f'[db]\nurl = "{server.url}"\n' + ECHO + task("echo"))
    found = open_workspace(tmp_path / "w")
    yield found
    found.db.close()


def test_the_same_migrations_make_the_schema(workspace: Workspace) -> None:
    from sqlalchemy import inspect, text

    from tuneloop.db.tables import metadata

    seen = inspect(workspace.db.engine)
    for table in metadata.tables.values():
        assert {c["name"] for c in seen.get_columns(table.name)} == {c.name for c in table.columns}, table.name
    with workspace.db.read() as rows:
        assert rows.execute(text("select version_num from alembic_version")).scalar() == REVISION


def test_a_server_answers_and_everything_is_a_row(workspace: Workspace) -> None:
    one = experiments.create(workspace, name="x", task="t", arms={"a": "echo", "b": "echo"})
    key, secret = keys.create(workspace, name="shop", role="admin")
    headers = {"Authorization": f"Bearer {secret}"}
    with running(workspace, None) as live:
        for n in range(10):
            reply = live.post("/v1/chat/completions", ASK | {"user": f"u{n}"}, headers=headers)
            assert reply.status_code == 200
            said = {"call": reply.json()["id"], "kind": "thumb", "value": "up", "user": f"u{n}"}
            assert live.post("/feedback", said, headers=headers).status_code == 200
        found = live.get("/experiments/x/verdict", headers=headers).json()
        assert sum(found["verdict"]["units"].values()) == 10
        again = [
            live.post("/v1/chat/completions", ASK, headers={**headers, "Idempotency-Key": "k"}).json()["id"]
            for _n in range(3)
        ]
        assert len(set(again)) == 1
    assert calls.count_by_status(workspace) == {"ok": 11}
    assert statistics.get_system_stats(workspace)["total_requests"] == 11
    (day,) = statistics.by(workspace, "day")
    assert 0 < day["latency_ms"]["p50"] <= day["latency_ms"]["p99"]
    assert experiments.misassigned(workspace, one) == 0
    assert keys.find(workspace, key.id).used is not None
    assert journal.waiting(workspace.path / "journal") == 0


def test_the_character_zero_keeps_no_row_out(workspace: Workspace) -> None:
    with running(workspace, None) as live:
        said = [{"role": "user", "content": "a\x00b"}]
        ids = [
            live.post("/v1/chat/completions", ASK | more).json()["id"]
            for more in ({"user": "u\x00"}, {"messages": said}, {"metadata": {"a": "b\x00"}}, {})
        ]
        feedback = {"call": ids[0], "kind": "comment", "comment": "c\x00d", "user": "u"}
        assert live.post("/feedback", feedback).status_code in (200, 400, 422)
        journal.settle(workspace)
    assert calls.count_by_status(workspace) == {"ok": 4}


def test_a_thousand_of_the_same_key_have_one_effect(workspace: Workspace) -> None:
    firsts: list[int] = []

    def ask(number: int) -> None:
        from tuneloop.errors import Conflict

        for n in range(125):
            try:
                if replies.begin(workspace, "", "k", "a" * 64, call=f"c{number}-{n}") is None:
                    firsts.append(number)
            except Conflict:
                continue

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(firsts) == 1


def test_a_blind_replay_has_the_same_rows(workspace: Workspace) -> None:
    ask_questions(workspace, 20)
    one = replay.begin(workspace, REPLAYED, "own", "big", questions=20)
    asyncio.run(replay.prepare(workspace, one, REPLAYED, Answers()))
    for number in range(20):
        replay.judge(workspace, one, number, "left", rater="anna")
        replay.judge(workspace, one, number, "tie", rater="anna")
    told = replay.reveal(workspace, one).verdict
    assert told is not None and (told["ties"], told["decision"]) == (20, "no winner")


def test_measures_and_the_past_are_the_same_sums(workspace: Workspace) -> None:
    one = begin(workspace)
    rows = people(one, 400)
    store(workspace, rows)
    found = measures.measured(workspace, one)[1]["response_time"]["a"]
    values = of_units(rows, "a")
    assert isinstance(found, Joint)
    assert (found.y.n, found.x.total) == (len(values), sum(map(len, values.values())))
    assert found.y.total == pytest.approx(sum(map(sum, values.values())))
    (compared,) = experiments.look(workspace, one).comparisons
    assert "CUPED" in compared.interval.method


def crash(live: Live, server: Postgres, kills: int) -> tuple[set[str], set[int]]:
    """(keys of acknowledged feedback, every status seen) while PostgreSQL is killed and comes back."""
    call = live.post("/v1/chat/completions", ASK).json()["id"]
    done, acknowledged, codes = threading.Event(), set(), set()

    def click(number: int) -> None:
        n = 0
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not done.is_set():
                n += 1
                body: dict[str, Any] = {"call": call, "kind": "comment", "value": f"{number}-{n}"}
                code = client.post(live.url + "/feedback", json=body).status_code
                codes.add(code)
                if code == 200:
                    acknowledged.add(f"{number}-{n}")

    until(lambda: live.post("/feedback", {"call": call, "kind": "thumb", "value": "up"}).status_code == 200)
    threads = [threading.Thread(target=click, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for _kill in range(kills):
        time.sleep(0.5)
        server.kill()
        time.sleep(0.3)
        assert live.post("/v1/chat/completions", ASK).status_code == 200  # answering needs no database
        server.start()
        before = len(acknowledged)
        until(lambda before=before: len(acknowledged) > before, 15)
    done.set()
    for thread in threads:
        thread.join()
    return acknowledged, codes


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.soak)])
def test_kill_9_of_postgresql_loses_no_acknowledged_feedback(
    workspace: Workspace, server: Postgres, kills: int
) -> None:
    with running(workspace, None) as live:
        acknowledged, codes = crash(live, server, kills)
    with workspace.db.read() as rows:
        stored = {value for (value,) in rows.execute(select(feedback.c.value))}
    print(f"{len(acknowledged)} acknowledged over {kills} kills, {len(acknowledged - stored)} lost; answers {codes}")
    assert acknowledged and acknowledged <= stored
    assert codes <= {200, 503}
    assert calls.count_by_status(workspace)["ok"] == kills + 1
