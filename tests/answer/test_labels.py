"""Labels out of rows: what counts as right, whose word counts, and what is never a label."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answer.marked import TASK, call, mark, write
from tuneloop.answer import labels
from tuneloop.answer.labels import question_of, verdict
from tuneloop.workspace import Workspace


def right_of(workspace: Workspace, **options: Any) -> dict[str, bool]:
    return {label.call: label.right for label in labels.of_task(workspace, TASK, **options).labels}


def test_thumbs_and_scores_are_labels_and_words_are_not(workspace: Workspace) -> None:
    made = [call(f"c{n}") for n in range(6)]
    marks = [mark("c0", "up"), mark("c1", "down"), mark("c2", "7"), mark("c3", "6.5")]
    marks += [mark("c4", "nice", kind="comment"), mark("c5", "so it is", kind="demonstration")]
    write(workspace, made, marks)
    assert right_of(workspace) == {"c0": True, "c1": False, "c2": True, "c3": False}


def test_the_last_word_of_a_person_counts_and_then_the_majority(workspace: Workspace) -> None:
    said = [("anna", "up", 1), ("anna", "down", 2), ("boris", "down", 3), ("vera", "9", 4)]
    tie = [mark("tie", "up", user="anna"), mark("tie", "down", user="boris")]
    write(workspace, [call("c"), call("tie")], [mark("c", v, user=u, time=float(t)) for u, v, t in said] + tie)
    assert right_of(workspace) == {"c": False}


def test_cut_answers_and_other_variants_are_none(workspace: Workspace) -> None:
    made = [
        call("ok"), call("cut", status="truncated"), call("bad", status="error"), call("left", status="cancelled"),
        call("vectors", kind="embedding"), call("original", variant="far", model="echo"), call("other", task="seo"),
    ]  # fmt: skip
    write(workspace, made, [mark(row["id"], "up") for row in made])
    assert right_of(workspace, without="far") == {"ok": True}
    assert right_of(workspace, only="far") == {"original": True}


def test_labels_of_the_last_version_do_not_speak_for_this_one(workspace: Workspace) -> None:
    now = time.time()
    made = [call("old", time=now - 900, version="v1"), call("new", time=now - 800, version="v2")]
    made += [call("far", variant="far", model="echo", version="", time=now - 990)]
    write(workspace, made, [mark(row["id"], "up") for row in made])
    assert right_of(workspace) == {"new": True, "far": True}
    write(workspace, [call("newest", time=now - 10, version="v3")], [])  # nobody marked it, but it serves now
    assert right_of(workspace) == {"far": True}


def test_nobody_gives_more_labels_than_allowed(workspace: Workspace) -> None:
    """250 labels of one person beside 20 of others; the newest of a person count."""
    now = time.time()
    made = [call(f"c{n:03}", time=now - 1000 + n) for n in range(270)]
    marks = [mark(f"c{n:03}", "down", user="loud" if n < 250 else f"user{n}") for n in range(270)]
    write(workspace, made, marks)
    found = labels.of_task(workspace, TASK, per_person=100)
    assert len(found.labels) == 120
    assert found.people == 21
    assert found.most == pytest.approx(100 / 120)
    assert min(label.call for label in found.labels) == "c150"
    assert len(labels.of_task(workspace, TASK).labels) == 120  # the setting's default
    assert len(labels.of_task(workspace, TASK, per_person=0).labels) == 270


def test_visitors_without_a_name_are_not_limited(workspace: Workspace) -> None:
    write(workspace, [call(f"c{n}") for n in range(150)], [mark(f"c{n}", "up") for n in range(150)])
    assert len(labels.of_task(workspace, TASK, per_person=100).labels) == 150


def test_a_label_weighs_what_it_stands_for(workspace: Workspace) -> None:
    made = [call("rare", propensity=0.1), call("usual"), call("once", propensity=0.0001), call("odd", propensity=0.0)]
    write(workspace, made, [mark(row["id"], "up") for row in made])
    found = {label.call: label.weight for label in labels.of_task(workspace, TASK).labels}
    assert found == {"rare": pytest.approx(10), "usual": 1.0, "once": labels.HEAVIEST, "odd": 1.0}


def test_the_newest_are_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST", 3)
    now = time.time()
    write(workspace, [call(f"c{n}", time=now - n) for n in range(5)], [mark(f"c{n}", "up") for n in range(5)])
    assert [label.call for label in labels.of_task(workspace, TASK).labels] == ["c0", "c1", "c2"]


def test_teams_are_kept_apart(workspace: Workspace) -> None:
    made = [call("ours", tenant="a"), call("theirs", tenant="b")]
    write(workspace, made, [mark("ours", "up", tenant="a"), mark("theirs", "down", tenant="b")])
    assert labels.marks(workspace, tenant="a") == {"ours": True}
    assert labels.marks(workspace, ["ours", "theirs"], tenant="b") == {"theirs": False}
    assert labels.marks(workspace) == {"ours": True, "theirs": False}


def test_more_calls_than_fit_into_one_query(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "BATCH", 7)
    write(workspace, [call(f"c{n}") for n in range(30)], [mark(f"c{n}", "up") for n in range(30)])
    assert len(right_of(workspace)) == 30
    assert len(labels.marks(workspace, [f"c{n}" for n in range(30)])) == 30


def test_the_stamp_changes_with_every_click(workspace: Workspace) -> None:
    write(workspace, [call("a"), call("b")], [])
    assert labels.stamp(workspace, TASK.name) == (0, 0.0)
    write(workspace, [call("c")], [mark("a", "up", time=5.0)])
    assert labels.stamp(workspace, TASK.name) == (1, 5.0)
    assert labels.stamp(workspace, "other") == (0, 0.0)


def test_a_task_nobody_asked_has_no_labels(workspace: Workspace) -> None:
    assert labels.of_task(workspace, replace(TASK, name="new")).labels == ()


def test_questions_of_requests() -> None:
    parts = [{"type": "text", "text": "what "}, {"type": "image_url"}, {"type": "text", "text": "is it?"}]
    turns = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "a"}]
    assert question_of({"messages": [*turns, {"role": "user", "content": parts}]}) == "what is it?"
    assert question_of({"prompt": "once upon"}) == "once upon"
    assert question_of({"prompt": ["a", "b"]}) == "b"
    for odd in ({}, {"messages": None}, {"messages": "x"}, {"messages": [1, "y"]}, {"prompt": []}, {"prompt": 5}):
        assert question_of(odd) == ""


@given(st.sampled_from(["thumb", "score", "comment", "demonstration"]), st.integers(0, 10))
def test_a_verdict_is_right_wrong_or_none(kind: str, score: int) -> None:
    value = {"thumb": "up" if score > 5 else "down", "score": str(score)}.get(kind, "words")
    expected = {"thumb": score > 5, "score": score >= 7}.get(kind)
    assert verdict(kind, value) is expected
