"""Idempotency keys: one effect however often and wherever it is asked for, and the first reply for everybody."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from tuneloop.answer.replies import KEPT, Reply, abandon, begin, finish
from tuneloop.db.tables import replies
from tuneloop.errors import BadInput, Conflict
from tuneloop.workspace import Workspace

SHA = hashlib.sha256(b"body").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def age(workspace: Workspace, seconds: float) -> None:
    """Let everything stored be so much older."""
    with workspace.db.write() as rows:
        rows.execute(update(replies).values(time=replies.c.time - seconds))


def test_the_first_reply_is_every_reply(workspace: Workspace) -> None:
    assert begin(workspace, "shop", "k", SHA, call="c1") is None
    body = '{"answer": "да", "n": 1}'.encode()
    finish(workspace, "shop", "k", call="c1", status=200, body=body)
    for n in range(3):
        found = begin(workspace, "shop", "k", SHA, call=f"again{n}")
        assert found == Reply(200, body, "c1")
        assert found.media_type == "application/json"


def test_errors_are_replies_too(workspace: Workspace) -> None:
    begin(workspace, "", "k", SHA, call="c1")
    finish(workspace, "", "k", call="c1", status=502, body=b'{"error": {}}')
    assert begin(workspace, "", "k", SHA, call="c2") == Reply(502, b'{"error": {}}', "c1")


@pytest.mark.parametrize("status", [429, 503, 409])
def test_what_says_try_again_can_be_tried_again(workspace: Workspace, status: int) -> None:
    begin(workspace, "", "k", SHA, call="c1")
    finish(workspace, "", "k", call="c1", status=status, body=b"{}")
    assert begin(workspace, "", "k", OTHER, call="c2") is None


def test_streams_are_given_again_as_streams(workspace: Workspace) -> None:
    events = b'data: {"choices": []}\n\ndata: [DONE]\n\n'
    begin(workspace, "", "k", SHA, call="c1")
    finish(workspace, "", "k", call="c1", status=200, body=events)
    found = begin(workspace, "", "k", SHA, call="c2")
    assert found is not None
    assert (found.body, found.media_type) == (events, "text/event-stream")


def test_another_body_is_a_conflict(workspace: Workspace) -> None:
    begin(workspace, "", "k", SHA, call="c1")
    with pytest.raises(Conflict) as while_it_runs:
        begin(workspace, "", "k", OTHER, call="c2")
    finish(workspace, "", "k", call="c1", status=200, body=b"{}")
    with pytest.raises(Conflict) as afterwards:
        begin(workspace, "", "k", OTHER, call="c3")
    assert while_it_runs.value.message == afterwards.value.message
    assert afterwards.value.retry_after == 0  # waiting is no help


def test_a_second_request_while_the_first_runs_is_told_when_to_ask_again(workspace: Workspace) -> None:
    begin(workspace, "", "k", SHA, call="c1")
    with pytest.raises(Conflict) as caught:
        begin(workspace, "", "k", SHA, call="c2")
    assert caught.value.retry_after == 1.0


def test_keys_of_teams_never_meet(workspace: Workspace) -> None:
    assert begin(workspace, "shop", "k", SHA, call="c1") is None
    assert begin(workspace, "news", "k", OTHER, call="c2") is None
    finish(workspace, "shop", "k", call="c1", status=200, body=b"shop's")
    finish(workspace, "news", "k", call="c2", status=200, body=b"news's")
    found = begin(workspace, "news", "k", OTHER, call="c3")
    assert found is not None and found.body == b"news's"


def test_replies_expire_after_a_day(workspace: Workspace) -> None:
    begin(workspace, "", "k", SHA, call="c1")
    finish(workspace, "", "k", call="c1", status=200, body=b"{}")
    begin(workspace, "", "old", SHA, call="c2")
    finish(workspace, "", "old", call="c2", status=200, body=b"{}")
    age(workspace, KEPT - 60)
    assert begin(workspace, "", "k", SHA, call="c3") is not None
    age(workspace, 120)
    assert begin(workspace, "", "k", OTHER, call="c4") is None
    with workspace.db.read() as rows:
        assert [row.key for row in rows.execute(select(replies))] == ["k"]


def test_a_request_that_died_frees_its_key(workspace: Workspace) -> None:
    begin(workspace, "", "k", SHA, call="dead")
    age(workspace, 20)
    with pytest.raises(Conflict):
        begin(workspace, "", "k", SHA, call="c2", lease=30)
    assert begin(workspace, "", "k", SHA, call="c2", lease=10) is None
    finish(workspace, "", "k", call="dead", status=200, body=b"too late")  # it was only slow
    abandon(workspace, "", "k", call="dead")
    finish(workspace, "", "k", call="c2", status=200, body=b"{}")
    assert begin(workspace, "", "k", SHA, call="c3") == Reply(200, b"{}", "c2")


def test_an_abandoned_request_frees_its_key_and_a_finished_one_does_not(workspace: Workspace) -> None:
    begin(workspace, "", "k", SHA, call="c1")
    abandon(workspace, "", "k", call="c1")
    assert begin(workspace, "", "k", OTHER, call="c2") is None
    finish(workspace, "", "k", call="c2", status=200, body=b"{}")
    abandon(workspace, "", "k", call="c2")
    finish(workspace, "", "k", call="c2", status=500, body=b"changed")
    assert begin(workspace, "", "k", OTHER, call="c3") == Reply(200, b"{}", "c2")


@pytest.mark.parametrize("key", ["", "k" * 256, "a\nb", "a\x00b"])
def test_bad_keys_are_refused(workspace: Workspace, key: str) -> None:
    with pytest.raises(BadInput):
        begin(workspace, "", key, SHA, call="c")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(min_size=1, max_size=255).filter(str.isprintable), body=st.binary(max_size=200))
def test_any_key_and_body_come_back(workspace: Workspace, key: str, body: bytes) -> None:
    call = hashlib.sha256(key.encode() + body).hexdigest()
    text = body.decode("utf-8", "replace").replace("\0", "\ufffd")
    if begin(workspace, call, key, SHA, call="c") is None:
        finish(workspace, call, key, call="c", status=200, body=body)
    assert begin(workspace, call, key, SHA, call="d") == Reply(200, text.encode(), "c")


def test_a_thousand_at_once_have_one_effect(workspace: Workspace) -> None:
    """A12: everybody gets the one reply; whoever comes too early asks again as it was told."""
    effects: list[int] = []
    conflicts = threading.Semaphore(0)

    def ask(number: int) -> bytes:
        while True:
            try:
                found = begin(workspace, "shop", "pay", SHA, call=f"c{number}")
            except Conflict as problem:
                assert problem.retry_after
                conflicts.release()
                time.sleep(0.05)
                continue
            if found is not None:
                return found.body
            effects.append(number)
            conflicts.acquire(timeout=1)  # until somebody came while this one runs
            finish(workspace, "shop", "pay", call=f"c{number}", status=200, body=b'{"by": %d}' % number)
            return b'{"by": %d}' % number

    with ThreadPoolExecutor(50) as threads:
        said = set(threads.map(ask, range(1000)))
    assert len(effects) == 1
    assert said == {b'{"by": %d}' % effects[0]}


def test_other_processes_give_the_same_reply_and_make_no_second_effect(workspace: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tuneloop.workspace import open_workspace\n"
        "from tuneloop.answer.replies import begin, finish\n"
        "from tuneloop.errors import Conflict\n"
        "import time\n"
        "w = open_workspace(Path(sys.argv[1]))\n"
        f"sha = {SHA!r}\n"
        "while True:\n"
        "    try: found = begin(w, '', 'k', sha, call=sys.argv[2])\n"
        "    except Conflict as problem:\n"
        "        assert problem.retry_after; time.sleep(0.1); continue\n"
        "    if found is None:\n"
        "        time.sleep(0.3)\n"
        "        finish(w, '', 'k', call=sys.argv[2], status=200, body=sys.argv[2].encode())\n"
        "        print('EFFECT')\n"
        "        break\n"
        "    print(found.body.decode()); break\n"
    )
    _ = workspace.db
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(workspace.path), f"p{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert said.count("EFFECT") == 1
    found = begin(workspace, "", "k", SHA, call="after")  # and after all of them are gone
    assert found is not None
    assert set(said) - {"EFFECT"} == {found.body.decode()}
