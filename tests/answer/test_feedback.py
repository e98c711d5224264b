"""Feedback: committed before it is acknowledged, once per key, and only of the kinds we know."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.answer import calls, feedback
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.records import Call
from tuneloop.workspace import Workspace, open_workspace


def add_call(workspace: Workspace, identity: str = "chatcmpl-1") -> str:
    calls.write(workspace, Call(identity, 1.0, "v", "ok", {"messages": []}, "hello", 12.5, 3, 1))
    return identity


def test_feedback_is_stored_as_given(workspace: Workspace) -> None:
    call = add_call(workspace)
    given_ = feedback.record(workspace, call=call, kind="comment", value="ну такое", user="anna", key="k1")
    assert feedback.of_call(workspace, call) == [given_]
    assert (given_.kind, given_.value, given_.user) == ("comment", "ну такое", "anna")


def test_same_key_is_the_same_fact(workspace: Workspace) -> None:
    call = add_call(workspace)
    said = [feedback.record(workspace, call=call, kind="thumb", value="up", key="k") for _n in range(5)]
    assert len(set(said)) == 1
    assert len(feedback.of_call(workspace, call)) == 1


def test_same_key_for_another_fact_is_a_conflict(workspace: Workspace) -> None:
    call = add_call(workspace)
    feedback.record(workspace, call=call, kind="thumb", value="up", key="k")
    with pytest.raises(Conflict):
        feedback.record(workspace, call=call, kind="thumb", value="down", key="k")
    assert [f.value for f in feedback.of_call(workspace, call)] == ["up"]


def test_without_a_key_the_content_is_the_key(workspace: Workspace) -> None:
    call = add_call(workspace)
    for value in ("up", "up", "down", "down"):
        feedback.record(workspace, call=call, kind="thumb", value=value, user="anna")
    feedback.record(workspace, call=call, kind="thumb", value="up", user="boris")
    assert sorted((f.user, f.value) for f in feedback.of_call(workspace, call)) == [
        ("anna", "down"),
        ("anna", "up"),
        ("boris", "up"),
    ]


def test_a_clients_key_never_meets_a_derived_one(workspace: Workspace) -> None:
    call = add_call(workspace)
    first = feedback.record(workspace, call=call, kind="thumb", value="up")
    second = feedback.record(workspace, call=call, kind="thumb", value="up", key=first.key)
    assert first.id != second.id


def test_unknown_call_is_missing(workspace: Workspace) -> None:
    with pytest.raises(Missing, match="chatcmpl-9"):
        feedback.record(workspace, call="chatcmpl-9", kind="thumb", value="up")


@pytest.mark.parametrize(("value", "kept"), [("0", "0"), ("10", "10"), ("7.50", "7.5"), (" 3 ", "3"), ("1e1", "10")])
def test_score_is_a_number_from_0_to_10(workspace: Workspace, value: str, kept: str) -> None:
    call = add_call(workspace)
    assert feedback.record(workspace, call=call, kind="score", value=value).value == kept


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumb", "UP"),
        ("thumb", ""),
        ("score", "11"),
        ("score", "-0.1"),
        ("score", "nan"),
        ("score", "many"),
        ("comment", "  "),
        ("comment", "x" * 20_001),
        ("demonstration", ""),
        ("star", "5"),
    ],
)
def test_bad_feedback_is_refused_and_nothing_is_kept(workspace: Workspace, kind: str, value: str) -> None:
    call = add_call(workspace)
    with pytest.raises(BadInput):
        feedback.record(workspace, call=call, kind=kind, value=value)
    assert feedback.of_call(workspace, call) == []


def test_long_key_is_refused(workspace: Workspace) -> None:
    call = add_call(workspace)
    with pytest.raises(BadInput, match="255"):
        feedback.record(workspace, call=call, kind="thumb", value="up", key="k" * 256)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["thumb", "comment"]), st.sampled_from(["up", "down"]), st.sampled_from(["", "a", "b"])
        ),
        max_size=12,
    )
)
@settings(max_examples=25, deadline=None)
def test_rows_are_the_distinct_facts(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str, str]]
) -> None:
    """Against a model: a dictionary from key (or content) to content."""
    workspace = open_workspace(tmp_path_factory.mktemp("w"), create=True)
    call = add_call(workspace)
    model: dict[object, tuple[str, str]] = {}
    for kind, value, key in said:
        known = model.setdefault(key or (kind, value), (kind, value))
        if known == (kind, value):
            feedback.record(workspace, call=call, kind=kind, value=value, key=key)
        else:
            with pytest.raises(Conflict):
                feedback.record(workspace, call=call, kind=kind, value=value, key=key)
    assert sorted((f.kind, f.value) for f in feedback.of_call(workspace, call)) == sorted(model.values())
    workspace.db.close()


WRITER = """
import sys
from pathlib import Path
from tuneloop.answer import feedback
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
for n in range(int(sys.argv[2]), 10**9):
    feedback.record(workspace, call="chatcmpl-1", kind="comment", value=f"n{n}", key=f"n{n}")
    print(n, flush=True)
"""


def kill_while_writing(workspace: Workspace, kills: int, seed: int) -> None:
    """The client asks again for what was in doubt; then its log of acknowledgements must equal the rows."""
    call = add_call(workspace)
    rng = random.Random(seed)
    acknowledged: set[int] = set()
    following = 0
    for _n in range(kills):
        command = [sys.executable, "-c", WRITER, str(workspace.path), str(following)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            heard = [int(writer.stdout.readline())]
            time.sleep(rng.random() * 0.08)
            os.kill(writer.pid, signal.SIGKILL)
            # what was printed before the kill was acknowledged; a last line may be cut in half
            heard += [int(line) for line in writer.stdout if line.endswith("\n")]
        acknowledged.update(heard)
        following = max(acknowledged) + 1
        # the client cannot know whether the next one was taken: it asks again with the same key
        feedback.record(workspace, call=call, kind="comment", value=f"n{following}", key=f"n{following}")
        acknowledged.add(following)
        following += 1
    stored = [f.value for f in feedback.of_call(workspace, call)]
    assert {f"n{n}" for n in acknowledged} == set(stored)
    assert len(stored) == len(set(stored))
    assert workspace.db.problems() == []


def test_kill_9_loses_and_doubles_nothing(workspace: Workspace) -> None:
    kill_while_writing(workspace, kills=4, seed=1)


@pytest.mark.soak
def test_200_times_kill_9_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_while_writing(open_workspace(tmp_path / "work", create=True), kills=200, seed=2)
