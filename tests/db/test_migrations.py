"""Migrations: every old schema comes up to date with its rows; a kill at any statement leaves the old or the new."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.engine import make_url

from tests.db.postgres import Postgres, binaries
from tests.faults import killed_at
from tuneloop.db import metadata, open_database, sqlite_url
from tuneloop.db.migrate import MIGRATIONS
from tuneloop.db.tables import (
    REVISION,
    calls,
    experiment_events,
    experiments,
    feedback,
    version_events,
    versions,
)

SCRIPTS = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])
OLD = [step.revision for step in SCRIPTS.walk_revisions()][:0:-1]  # every released schema but the newest
# Rows of the first schema, in its own words: what a workspace of version 0.1 holds.
ROWS = """
INSERT INTO chats VALUES ('tg:1', 'telegram', 'чат', '');
INSERT INTO messages (chat, id, time, sender, name, text, kind)
  VALUES ('tg:1', 1, 2, 'user1', 'Анна', 'привет', 'text');
INSERT INTO versions VALUES ('v1', 'chat', 'v', 'models/v1', 1, true, '{"base": "b"}', NULL);
INSERT INTO versions VALUES ('p1', 'photos', 'p', 'models/p1', 2, true, '{"tenant": "red"}', NULL);
INSERT INTO version_events (version, time, event, note) VALUES ('v1', 1, 'registered', '');
INSERT INTO version_events (version, time, event, note, previous) VALUES ('p1', 2, 'activated', '', 'v1');
INSERT INTO calls (id, time, version, status, request, answer, latency_ms, tokens_in, tokens_out, "user", error)
  VALUES ('c1', 1.5, 'v1', 'ok', '{"messages": []}', 'да', 2.5, 3, 4, 'анна', '');
INSERT INTO feedback (id, call, kind, value, time, "user", key) VALUES ('f1', 'c1', 'thumb', 'up', 2.0, '', 'k1');
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    started = Postgres(programs)
    yield started
    started.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Call it for the URL of an empty database."""
    if request.param == "sqlite":
        numbers = count()
        return lambda: sqlite_url(tmp_path / f"{next(numbers)}.db")
    postgres = request.getfixturevalue("server")

    def emptied() -> str:
        postgres.empty()
        return str(postgres.url)

    return emptied


def old(url: str, revision: str) -> str:
    """A database of an older tuneloop, with rows."""
    engine = create_engine(url)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            for step in reversed(list(SCRIPTS.iterate_revisions(revision, "base"))):
                step.module.upgrade()
        context.stamp(SCRIPTS, revision)
        for statement in filter(None, map(str.strip, ROWS.split(";\n"))):
            connection.exec_driver_sql(statement)
    engine.dispose()
    return url


def schema(url: str) -> tuple[str | None, dict[str, set[str]], set[str]]:
    """Revision, columns by table, names of indexes."""
    engine = create_engine(url)
    seen = inspect(engine)
    tables = {name: {str(c["name"]) for c in seen.get_columns(name)} for name in seen.get_table_names()}
    indexes = {str(index["name"]) for name in tables for index in seen.get_indexes(name)}
    with engine.connect() as connection:
        known = "alembic_version" in tables
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None
    engine.dispose()
    return revision, tables, indexes


@pytest.mark.parametrize("begin", [OLD[-1], *(pytest.param(old, marks=pytest.mark.soak) for old in [None, *OLD[:-1]])])
def test_a_kill_at_any_statement_leaves_the_old_schema_or_the_new(fresh: Callable[[], str], begin: str | None) -> None:
    open_database(whole := fresh()).close()
    new = schema(whole)
    assert new[0] == REVISION and set(new[1]) == {*metadata.tables, "alembic_version"}
    url = fresh() if begin is None else old(fresh(), begin)
    before, seen = schema(url), set()
    for moment in count():
        killed = killed_at(moment, lambda url=url: open_database(url))
        found = schema(url)
        assert found in (before, new), f"killed at statement {moment}: half of a schema"
        seen.add(found[0])
        if not killed:
            break
        if found == new:  # it was killed behind the end: the next would find nothing to do
            url = fresh() if begin is None else old(fresh(), begin)
    print(f"killed at {moment} statements, from {begin}")
    assert moment > (20 if begin is None else 10) and seen == {before[0], REVISION}
    if begin:
        kept(url)


def kept(url: str) -> None:
    """Every row of the old tuneloop is there, and reads as a row of today."""
    database = open_database(url)
    with database.read() as rows:
        call = rows.execute(select(calls)).one()
        assert (call.answer, call.request, call.user) == ("да", {"messages": []}, "анна")
        assert (call.tenant, call.kind, call.propensity, call.cached, call.attempts) == ("", "chat", 1.0, False, 1)
        assert rows.execute(select(feedback.c.value, feedback.c.tenant)).one() == ("up", "")
        kinds = {row.id: row.kind for row in rows.execute(select(versions).where(versions.c.active))}
        assert kinds["v1"] == "chat" and kinds["p1"] in ("photos", "photos:red")
        assert rows.execute(text("SELECT count(*) FROM messages")).scalar() == 1
    assert database.problems() == []
    database.close()


@pytest.mark.parametrize("begin", OLD)
def test_a_copy_is_made_before_and_is_whole(tmp_path: Path, begin: str) -> None:
    url = old(sqlite_url(tmp_path / "a.db"), begin)
    for name in ("a.before-upgrade.db", ".a.before-upgrade.tmp"):
        (tmp_path / name).write_bytes(b"half of a copy that was killed")
    kept(url)
    assert not list(tmp_path.glob("*.tmp"))
    copy = sqlite_url(tmp_path / "a.before-upgrade.db")
    assert schema(copy)[0] == begin
    kept(copy)


def test_several_processes_bring_one_database_up_to_date(fresh: Callable[[], str]) -> None:
    for url in (fresh(), old(fresh(), OLD[0])):
        code = "import sys; from tuneloop.db import open_database; open_database(sys.argv[1])"
        started = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE) for _n in range(4)]
        said = [process.communicate(timeout=120)[1].decode()[-500:] for process in started]
        assert [process.returncode for process in started] == [0] * 4, said
        assert schema(url)[0] == REVISION
        if (
            url.startswith("sqlite")
            and (copy := Path(str(make_url(url).database)).with_suffix(".before-upgrade.db")).exists()
        ):
            assert schema(sqlite_url(copy))[0] == OLD[0], "the copy is of before, whoever made it"


def test_a_newer_database_is_refused_and_not_touched(fresh: Callable[[], str]) -> None:
    from tuneloop.errors import Conflict

    open_database(url := fresh()).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("ALTER TABLE chats ADD COLUMN later TEXT")
    engine.dispose()
    before = schema(url)
    with pytest.raises(Conflict, match="newer tuneloop"):
        open_database(url)
    assert schema(url) == before
    if make_url(url).database and url.startswith("sqlite"):
        assert not list(Path(str(make_url(url).database)).parent.glob("*.before-upgrade.db"))


TEAMS = """
DELETE FROM version_events WHERE version = 'p1';
DELETE FROM versions WHERE id = 'p1';
INSERT INTO versions VALUES ('pa', 'photos', 'a', 'models/pa', 1, false, '{"tenant": ""}', NULL);
INSERT INTO versions VALUES ('pb', 'photos', 'b', 'models/pb', 2, false, '{}', NULL);
INSERT INTO versions VALUES ('pr', 'photos', 'r', 'models/pr', 3, true, '{"tenant": "red"}', NULL);
INSERT INTO versions VALUES ('pu', 'photos', 'u', 'models/pu', 4, false, '{"tenant": "blue"}', NULL);
INSERT INTO version_events (version, time, event, note, previous) VALUES ('pa', 1, 'activated', '', NULL);
INSERT INTO version_events (version, time, event, note, previous) VALUES ('pr', 2, 'activated', '', 'pa');
INSERT INTO version_events (version, time, event, note, previous) VALUES ('pb', 3, 'activated', '', 'pr');
INSERT INTO version_events (version, time, event, note, previous) VALUES ('pr', 4, 'activated', '', 'pb');
INSERT INTO experiments VALUES ('ex-1', '', 'mixed', 'photos:search',
  '{"arms": [{"name": "a", "variant": "pr", "share": 0.5}, {"name": "b", "variant": "pb", "share": 0.5}]}', 's',
  'running', 1.0, NULL, NULL);
INSERT INTO experiments VALUES ('ex-2', '', 'own', 'photos:search',
  '{"arms": [{"name": "a", "variant": "start", "share": 0.5}, {"name": "b", "variant": "pb", "share": 0.5}]}', 's',
  'running', 1.0, NULL, NULL);
"""


def test_versions_of_photo_search_go_to_the_team_they_were_trained_for(fresh: Callable[[], str]) -> None:
    """0008: each team searches with the newest of its own that ever did, and rolls back along its own."""
    url = old(fresh(), "0007")
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in filter(None, map(str.strip, TEAMS.split(";\n"))):
            connection.exec_driver_sql(statement)
    engine.dispose()
    database = open_database(url)
    with database.read() as rows:
        found = {row.id: (row.kind, row.active) for row in rows.execute(select(versions))}
        switched = [version_events.c.event == "activated", version_events.c.version.startswith("p")]
        chosen = select(version_events).where(*switched).order_by(version_events.c.id)
        before = [(row.version, row.previous) for row in rows.execute(chosen)]
        states = {row.id: row.state for row in rows.execute(select(experiments))}
        said = [(row.experiment, row.event) for row in rows.execute(select(experiment_events))]
    assert found["v1"] == ("chat", True)
    assert (found["pa"], found["pb"]) == (("photos", False), ("photos", True))
    assert (found["pr"], found["pu"]) == (("photos:red", True), ("photos:blue", False))
    assert before == [("pa", None), ("pr", None), ("pb", "pa"), ("pr", None)]
    assert states == {"ex-1": "stopped", "ex-2": "running"} and said == [("ex-1", "stopped")]
    assert database.problems() == []
    database.close()
