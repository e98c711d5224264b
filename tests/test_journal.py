"""Rows of calls between the reply and the database: nothing lost by a kill, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop import journal
from tuneloop.db import open_database, sqlite_url
from tuneloop.journal import COLUMNS, Journal, drain, waiting


def row(number: int, **more: object) -> bytes:
    known = dict.fromkeys(COLUMNS, "") | {
        "id": f"c{number}", "time": 1.5 * number, "status": "ok", "request": {"messages": [{"content": "я"}]},
        "latency_ms": 2.0, "tokens_in": 1, "tokens_out": 2, "propensity": 1.0, "cached": False, "attempts": 1,
        "first_ms": None, "quality": None, "cost": 0.0, "tags": {"a": "b"},
    }  # fmt: skip
    return json.dumps(known | more, ensure_ascii=False).encode()


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = sqlite_url(tmp_path / "rows.db")
    open_database(url).close()
    return url


def stored(url: str, what: str = "id") -> list[object]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        return [found[0] for found in connection.execute(f"select {what} from calls order by time")]


def test_every_column_of_calls_but_no_other_is_carried() -> None:
    from tuneloop.db.tables import calls

    assert set(COLUMNS) == {column.name for column in calls.columns}


def test_rows_come_through_whole(tmp_path: Path, url: str) -> None:
    writer = Journal(tmp_path / "journal")
    writer.append(row(1, answer="да\nнет", quality=0.5))
    writer.append(row(2))
    assert waiting(tmp_path / "journal") > 0
    assert drain(tmp_path / "journal", url) == 2
    assert stored(url) == ["c1", "c2"]
    assert stored(url, "answer") == ["да\nнет", ""]
    assert stored(url, "quality") == [0.5, None]
    assert json.loads(str(stored(url, "request")[0])) == {"messages": [{"content": "я"}]}
    assert waiting(tmp_path / "journal") == 0


def test_what_is_drained_twice_is_one_row(tmp_path: Path, url: str) -> None:
    writer = Journal(tmp_path / "journal")
    writer.append(row(1))
    drain(tmp_path / "journal", url)
    next((tmp_path / "journal").glob("*.done")).unlink()  # as if killed between the commit and this note
    writer.append(row(2))
    drain(tmp_path / "journal", url)
    assert stored(url) == ["c1", "c2"]


def test_a_live_segment_stays_and_a_closed_one_goes(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "journal"
    writer = Journal(folder)
    writer.append(row(1))
    drain(folder, url)
    assert len(list(folder.glob("*.jsonl"))) == 1
    writer.append(row(2))
    writer.close()
    drain(folder, url)
    assert list(folder.glob("*.jsonl")) == list(folder.glob("*.done")) == []
    assert stored(url) == ["c1", "c2"]


def test_a_long_segment_is_followed_by_another(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT", 3000)
    writer = Journal(tmp_path / "journal")
    for number in range(40):
        writer.append(row(number))
    assert len(list((tmp_path / "journal").glob("*.jsonl"))) > 3
    drain(tmp_path / "journal", url)
    assert stored(url) == [f"c{n}" for n in range(40)]


def test_half_a_line_waits_and_a_broken_one_is_passed_over(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "journal"
    writer = Journal(folder)
    writer.append(row(1))
    writer.append(b'{"id": broken')
    whole = row(2)
    os.write(writer._handle, whole[:50])
    drain(folder, url)
    assert stored(url) == ["c1"]
    os.write(writer._handle, whole[50:] + b"\n")
    drain(folder, url)
    assert stored(url) == ["c1", "c2"]


def test_a_file_that_grows_while_it_is_read_is_read_line_by_line(tmp_path: Path, url: str) -> None:
    """Halves of lines, with a drain after each and one all the time beside them."""
    import threading

    folder = tmp_path / "journal"
    writer = Journal(folder)
    writer.append(row(0))
    done = threading.Event()

    def drain_all_the_time() -> None:
        while not done.is_set():
            drain(folder, url)

    beside = threading.Thread(target=drain_all_the_time)
    beside.start()
    try:
        for number in range(1, 400):
            line = row(number, answer="x" * 3000) + b"\n"
            for start in range(0, len(line), 700):
                os.write(writer._handle, line[start : start + 700])
    finally:
        done.set()
        beside.join()
    drain(folder, url)
    assert stored(url) == [f"c{n}" for n in range(400)]


def test_a_request_written_over_several_lines_is_one_line_here(tmp_path: Path, url: str) -> None:
    writer = Journal(tmp_path / "journal")
    writer.append(row(1).replace(b'"request": {', b'"request": {\n  '))
    writer.append(row(2))
    drain(tmp_path / "journal", url)
    assert stored(url) == ["c1", "c2"]


def test_a_full_disk_is_counted_and_leaves_no_half_line(tmp_path: Path, url: str) -> None:
    writer = Journal(tmp_path / "journal")
    writer.append(row(1))
    kept = writer._handle
    writer._handle = os.open("/dev/full", os.O_WRONLY)
    writer.append(row(2))
    assert writer.lost == 1
    writer._handle = kept
    writer.append(row(3))
    drain(tmp_path / "journal", url)
    assert stored(url) == ["c1", "c3"]


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path, url: str) -> None:
    assert drain(tmp_path / "none", url) == waiting(tmp_path / "none") == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=30), st.integers(1, 5))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str], every: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    url = sqlite_url(folder / "rows.db")
    open_database(url).close()
    writer = Journal(folder / "journal")
    for number, text in enumerate(texts):
        writer.append(row(number, answer=text.encode("utf-8", "replace").decode()))
        if number % every == 0:
            drain(folder / "journal", url)
    writer.close()
    drain(folder / "journal", url)
    assert stored(url, "answer") == [text.encode("utf-8", "replace").decode() for text in texts]


WRITER = """
import sys
from pathlib import Path
from tests.test_journal import row
from tuneloop.journal import Journal
writer, number = Journal(Path(sys.argv[1])), int(sys.argv[2])
while True:
    writer.append(row(number))
    print(number, flush=True)
    number += 1
"""


def killed_writers(folder: Path, url: str, kills: int) -> tuple[int, int]:
    """(rows acknowledged, rows of those that are missing) after so many kill -9 of the writer and of the drainer."""
    acknowledged = 0
    drainer = subprocess.Popen(
        [sys.executable, "-m", "tuneloop.journal", str(folder / "journal"), url, str(os.getpid())]
    )
    try:
        for kill in range(kills):
            command = [sys.executable, "-c", WRITER, str(folder / "journal"), str(kill * 1_000_000)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as writer:
                assert writer.stdout is not None
                writer.stdout.readline()
                time.sleep(0.002 * (kill % 7))
                writer.send_signal(signal.SIGKILL)
                acknowledged += 1 + writer.stdout.read().count("\n")
            if kill % 3 == 2:
                drainer.kill()
                drainer.wait()
                drainer = subprocess.Popen(
                    [sys.executable, "-m", "tuneloop.journal", str(folder / "journal"), url, str(os.getpid())]
                )
    finally:
        drainer.kill()
        drainer.wait()
    drain(folder / "journal", url)
    return acknowledged, acknowledged - len(stored(url))


def test_kill_9_loses_no_row_that_was_handed_over(tmp_path: Path, url: str) -> None:
    acknowledged, missing = killed_writers(tmp_path, url, 6)
    assert acknowledged > 6
    assert missing <= 0  # a row may be written whose acknowledgement nobody saw any more


@pytest.mark.soak
def test_kill_9_two_hundred_times(tmp_path: Path, url: str) -> None:
    acknowledged, missing = killed_writers(tmp_path, url, 200)
    print(f"{acknowledged} rows acknowledged, {max(0, missing)} missing")
    assert missing <= 0


def test_the_drainer_ends_with_its_parent_and_leaves_nothing(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "journal"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'tuneloop.journal', *sys.argv[1:], str(os.getpid())])\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder), url], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        writer = Journal(folder)
        writer.append(row(1))
        writer.close()
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stored(url) == ["c1"]


def test_a_row_that_no_database_takes_keeps_nobody_out(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Journal(tmp_path / "journal")
    for line in (row(1), row(2, tokens_in=2**63), row(3), row(4).replace("я".encode(), b"\xff")):
        writer.append(line)
    drain(tmp_path / "journal", url)
    assert stored(url) == ["c1", "c3", "c4"] and "cannot be stored" in caplog.text
    assert waiting(tmp_path / "journal") == 0
    writer.close()
