"""The child that runs queries: hostile statements get nothing, bombs are ended, honest questions go on working."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from bench.hostile_sql import BOMBS, HOSTILE
from tuneloop.ask.sandbox import Sandbox
from tuneloop.errors import BadInput, OutOfResources, Refused, TuneloopError

ROOT = Path(__file__).parents[2]
ROWS = 20_000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "t.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT range AS n, 'name ' || range AS s FROM range({ROWS})")
    return path


@pytest.fixture(scope="module")
def sandbox(database: Path) -> Iterator[Sandbox]:
    opened = Sandbox(str(database))
    yield opened
    opened.close()


def test_the_lists_are_complete() -> None:
    assert (len(set(HOSTILE)), len(set(BOMBS))) == (91, 15)


@pytest.mark.parametrize("template", HOSTILE)
def test_a_hostile_statement_is_not_run(template: str, sandbox: Sandbox, database: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary.txt"
    canary.write_text("seven yellow feathers")
    target = tmp_path / "target"
    with pytest.raises((Refused, BadInput)) as refusal:
        sandbox.run(template.format(canary=canary, target=target), ("t",), seconds=5, most=10)
    assert "feathers" not in refusal.value.message
    assert not target.exists()
    assert sorted(p.name for p in database.parent.iterdir()) == [database.name]
    assert sandbox.run("SELECT count(*) FROM t", ("t",), seconds=5, most=1).rows == [(ROWS,)]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_ended(bomb: str, sandbox: Sandbox) -> None:
    sandbox.run("SELECT 1", ("t",), seconds=30, most=1)
    started = time.monotonic()
    with pytest.raises((OutOfResources, BadInput)):
        sandbox.run(bomb, ("t",), seconds=1, most=10)
    assert time.monotonic() - started < 1 + 5  # the kill itself takes milliseconds
    assert sandbox.run("SELECT max(n) FROM t", ("t",), seconds=5, most=1).rows == [(ROWS - 1,)]


def test_threads_take_nothing_of_a_querys_memory(sandbox: Sandbox) -> None:
    """Of 512 MB of addresses: nine threads once reserved 64 MB each, some of them after the limit was set."""
    child = sandbox._living()
    status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
    size = int(next(line for line in status.splitlines() if line.startswith("VmSize:")).split()[1])
    assert size < 400 << 10  # 185 MB; 760 with an arena for each thread


def test_an_interrupted_query_answers_no_later_one(sandbox: Sandbox) -> None:
    """Ctrl-C while the child computes: its answer must not be taken for that to the next question."""

    def interrupt(*_signal: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    sandbox.run("SELECT 1", ("t",), seconds=30, most=1)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            sandbox.run("SELECT count(*) FROM t a, t b WHERE a.n * b.n % 7 = 3", ("t",), seconds=60, most=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sandbox.run("SELECT 42", ("t",), seconds=30, most=1).rows == [(42,)]


def test_children_stay_small(database: Path) -> None:
    """Measured in a process of its own, whose only children are the sandbox's: the largest of all that ended."""
    code = (
        "import resource, sys\n"
        "from bench.hostile_sql import BOMBS\n"
        "from tuneloop.ask.sandbox import Sandbox\n"
        "from tuneloop.errors import BadInput, OutOfResources\n"
        "sandbox = Sandbox(sys.argv[1])\n"
        "for bomb in BOMBS[:5]:\n"
        "    try:\n"
        "        sandbox.run(bomb, ('t',), seconds=1, most=1)\n"
        "    except (BadInput, OutOfResources):\n"
        "        pass\n"
        "sandbox.close()\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, str(database)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert 20 << 10 < int(done.stdout) < 512 << 10  # KiB


def test_what_the_check_lets_through_still_finds_no_file(sandbox: Sandbox) -> None:
    """The other two fences alone: the child is told to skip nothing, but its table list names the file itself."""
    with pytest.raises(BadInput):
        sandbox.run("SELECT * FROM '/etc/passwd'", ("t", "/etc/passwd"), seconds=5, most=1)


def test_rows_come_streamed_and_cut(sandbox: Sandbox) -> None:
    result = sandbox.run("SELECT * FROM range(1000000000) r(n)", ("t",), seconds=5, most=3)
    assert (result.columns, result.rows, result.truncated) == (("n",), [(0,), (1,), (2,)], True)


def test_cells_come_as_plain_values(sandbox: Sandbox) -> None:
    sql = (
        "SELECT 1.50::DECIMAL(5,2), 'inf'::DOUBLE, DATE '2024-02-29', TIMESTAMP '2024-02-29 10:00:00', NULL, true,"
        " [1, 2], 170141183460469231731687303715884105727::HUGEINT, repeat('я', 20000)"
    )
    (row,) = sandbox.run(sql, ("t",), seconds=5, most=5).rows
    assert row[:6] == (1.5, None, "2024-02-29", "2024-02-29T10:00:00", None, True)
    assert row[6] == "[1, 2]"
    assert row[7] == 170141183460469231731687303715884105727
    assert len(str(row[8])) == 10_001


def test_many_threads_share_one_child(sandbox: Sandbox) -> None:
    answers: dict[int, object] = {}

    def ask(n: int) -> None:
        answers[n] = sandbox.run(f"SELECT {n} + count(*) FROM t", ("t",), seconds=30, most=1).rows[0][0]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: n + ROWS for n in range(8)}


def test_a_killed_child_is_started_again(sandbox: Sandbox) -> None:
    sandbox.run("SELECT 1", ("t",), seconds=30, most=1)
    assert sandbox._child is not None
    sandbox._child.kill()
    sandbox._child.wait()
    assert sandbox.run("SELECT 2", ("t",), seconds=5, most=1).rows == [(2,)]


def test_the_child_can_open_nothing_more(database: Path, tmp_path: Path) -> None:
    """Its limit of descriptors is the lowest free number; the kernel says so."""
    opened = Sandbox(str(database))
    opened.run("SELECT 1", ("t",), seconds=30, most=1)
    assert opened._child is not None
    process = Path(f"/proc/{opened._child.pid}")
    limit = next(line for line in (process / "limits").read_text().splitlines() if line.startswith("Max open files"))
    taken = {int(p.name) for p in (process / "fd").iterdir()}
    assert set(range(int(limit.split()[3]))) <= taken
    names = {entry.split(b"=")[0] for entry in (process / "environ").read_bytes().split(b"\x00") if entry}
    assert names <= {b"PYTHONPATH", b"LC_CTYPE", b"MALLOC_ARENA_MAX"}
    opened.close()


def test_a_database_that_is_none_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.duckdb"
    path.write_bytes(b"no database")
    with pytest.raises(TuneloopError):
        Sandbox(str(path)).run("SELECT 1", ("t",), seconds=5, most=1)
