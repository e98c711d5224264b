"""The quality switch on real rows: when it goes on, what it shows, how seldom it changes, who may force it."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.answer.marked import TASK, call, mark, write
from tuneloop.answer import switch
from tuneloop.answer.book import Book
from tuneloop.answer.labels import Label
from tuneloop.answer.switch import InForce, Switch, history, note_mode, propose, set_mode, standing, weigh
from tuneloop.answer.tasks import Shelf
from tuneloop.answer.threshold import Calibration
from tuneloop.db.tables import switches
from tuneloop.errors import BadInput, Missing
from tuneloop.workspace import Workspace, open_workspace

GOOD = "Clean the chain with a rag first, then put one drop of oil on every link and wipe off what is left over."
BAD = "I'm sorry, I can't help with that"
BOOK = Book({}, {TASK.name: TASK})


def fill(workspace: Workspace, n: int, *, good: float = 0.6, seed: int = 0, start: int = 0) -> None:
    """n marked calls: GOOD answers are right in 19 of 20 cases, BAD ones in one of 20."""
    chance, made, marks = random.Random(seed), [], []
    for number in range(start, start + n):
        fine = chance.random() < good
        right = chance.random() < (0.95 if fine else 0.05)
        answer = GOOD if fine else BAD
        made.append(call(f"c{number}", question=f"How do I oil chain number {number}?", answer=answer))
        marks.append(mark(f"c{number}", "up" if right else "down", user=f"u{number % 40}"))
    write(workspace, made, marks)


def test_with_few_labels_it_is_off_and_says_so(workspace: Workspace) -> None:
    fill(workspace, 99)
    running = Switch(workspace)
    assert running.learn(workspace, TASK).state == "uncalibrated"
    assert running.threshold(TASK) is None
    assert history(workspace, TASK.name) == []
    assert standing(workspace, TASK)["state"] == "uncalibrated"


def test_with_enough_it_tells_good_from_bad(workspace: Workspace) -> None:
    fill(workspace, 300)
    running = Switch(workspace)
    found = running.learn(workspace, TASK)
    bar = running.threshold(TASK)
    assert found.state == "calibrated" and bar is not None
    assert found.kept == pytest.approx(0.6, abs=0.1)
    assert running.score(TASK, "How do I oil chain number 4?", GOOD) >= bar
    assert running.score(TASK, "How do I oil chain number 4?", BAD) < bar
    (row,) = history(workspace, TASK.name)
    assert row.on and row.scorer is not None
    assert row.evidence["labels"] == 300 and row.evidence["people"] == 40
    assert row.evidence["learned"]["auc"] > 0.85


def test_a_restart_and_another_process_act_alike(workspace: Workspace) -> None:
    fill(workspace, 300)
    first = Switch(workspace)
    first.refresh(BOOK)
    second = Switch(workspace)
    assert second.threshold(TASK) is None  # until it has looked
    second.refresh(BOOK)
    assert second.threshold(TASK) == first.threshold(TASK) is not None
    assert second.score(TASK, "q", GOOD) == first.score(TASK, "q", GOOD)
    assert len(history(workspace, TASK.name)) == 1


def test_a_new_version_begins_without_a_threshold(workspace: Workspace) -> None:
    fill(workspace, 300)
    running, now = Switch(workspace), time.time()
    running.learn(workspace, TASK, now=now)
    write(workspace, [call("after", version="v2", time=now)], [])
    assert running.learn(workspace, TASK, now=now + 10).state == "uncalibrated"
    assert running.threshold(TASK) is not None  # the window holds it for ten minutes
    running.learn(workspace, TASK, now=now + 601)
    assert running.threshold(TASK) is None
    assert [row.state for row in history(workspace, TASK.name)] == ["uncalibrated", "calibrated"]


def test_what_the_window_held_back_is_taken_up_later(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(workspace, 300)
    running = Switch(workspace)
    running.refresh(BOOK, every=0.0)
    write(workspace, [call("after", version="v2")], [mark("after", "up")])
    running.refresh(BOOK, every=0.0)
    assert running.threshold(TASK) is None or len(history(workspace, TASK.name)) == 1
    later = time.time() + 700
    monkeypatch.setattr(switch.time, "time", lambda: later)
    deadline = time.monotonic() + 10
    while running.threshold(TASK) is not None and time.monotonic() < deadline:
        running.refresh(BOOK, every=0.0)
        time.sleep(0.05)
    assert running.threshold(TASK) is None


def test_it_learns_only_when_there_are_new_clicks(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(workspace, 120)
    running, learned = Switch(workspace), []
    monkeypatch.setattr(switch, "weigh", lambda *a: learned.append(1) or weigh(*a))
    for _look in range(3):
        running._rest.clear()
        running.refresh(BOOK)
    assert len(learned) == 1
    fill(workspace, 5, start=500)
    running._rest.clear()
    running.refresh(BOOK)
    assert len(learned) == 2
    running.refresh(BOOK)  # rests
    assert len(learned) == 2


def test_ten_thousand_requests_around_the_threshold_change_it_once_a_window(workspace: Workspace) -> None:
    """G7. One request a second, each clicked; right in 85 % of cases, exactly at the target, whatever its score."""
    chance, window = random.Random(1), workspace.settings.number("quality.window")
    scores, right, wanted = [], [], 0
    for second in range(10_000):
        scores.append(0.5 + chance.gauss(0, 0.05))
        right.append(chance.random() < 0.86)
        if second >= 200 and second % 50 == 0:
            found = switch.calibrate(scores[-300:], right[-300:])
            past = history(workspace, TASK.name)
            wanted += not switch.same(past[0].bar if past else None, found.threshold)
            propose(workspace, TASK.name, found, found.as_dict(), 1e6 + second)
    times = [row.time for row in history(workspace, TASK.name)][::-1]
    assert all(later - earlier >= window for earlier, later in pairwise(times))
    assert 3 <= len(times) <= 10_000 / window + 1
    assert wanted > 2 * len(times)  # without the window it would have been that many


def test_two_processes_make_one_change(tmp_path: Path) -> None:
    open_workspace(tmp_path, create=True).db.close()
    spaces = [open_workspace(tmp_path) for _process in range(6)]
    found = Calibration("calibrated", 0.7, 200)
    made: list[InForce | None] = []

    def work(space: Workspace) -> None:
        made.append(propose(space, "support", found, found.as_dict()))

    threads = [threading.Thread(target=work, args=(space,)) for space in spaces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(row is not None for row in made) == 1
    assert len(history(spaces[0], "support")) == 1
    for space in spaces:
        space.db.close()


def test_while_it_is_on_the_scorer_stays_and_hidden_answers_are_not_guessed_at(workspace: Workspace) -> None:
    fill(workspace, 300)
    running, now = Switch(workspace), time.time()
    running.learn(workspace, TASK, now=now - 500)  # the calls above are of 1,000 seconds ago
    (row,) = history(workspace, TASK.name)
    under = [Label(f"n{n}", f"Why {n}?", GOOD, True, time=now) for n in range(1500)]
    free = [Label(f"o{n}", f"Who {n}?", GOOD if n % 2 else BAD, n % 2 > 0, time=now - 2000) for n in range(300)]
    found, learned, scorer = weigh(TASK, [*under, *free], [row], 0.15)
    assert scorer == row.scorer and learned.labels == 300
    assert found.threshold is not None and found.threshold > scorer.probability("Who 2?", BAD, TASK.checks)
    just_after = [replace(label, time=row.time + 5) for label in under]
    assert weigh(TASK, [*just_after, *free], [row], 0.15)[0].labels == 300


def test_labels_under_another_scale_are_left_out() -> None:
    """The switch was on by checks, went off, and is learned anew: what it hid then cannot be named on the new scale."""
    past = [InForce(False, None, "unsafe", 2000.0), InForce(True, 0.7, "calibrated", 1000.0)]
    then = [Label(f"a{n}", f"Why {n}?", GOOD, True, time=1500.0) for n in range(200)]
    free = [Label(f"b{n}", f"Who {n}?", GOOD if n % 2 else BAD, n % 2 > 0, time=3000.0) for n in range(200)]
    found, _learned, scorer = weigh(TASK, [*then, *free], past, 0.15)
    assert scorer is not None and found.labels == 200
    forced = [InForce(True, 0.5, "forced", 1000.0)]
    assert weigh(TASK, then, forced, 0.15)[0].labels == 0


def test_forced_it_is_on_without_labels_and_each_decision_is_a_row(workspace: Workspace) -> None:
    shelf = written(workspace)
    running = Switch(workspace)
    task = set_mode(shelf, "support", "on", 0.9, by="key-1")
    assert running.threshold(task) == 0.9
    assert running.score(task, "q", GOOD) == 1.0
    assert running.score(task, "q", BAD) < 0.9
    task = set_mode(shelf, "support", "off")
    assert running.threshold(task) is None
    set_mode(shelf, "support", "off")
    set_mode(shelf, "support", "auto")
    rows = history(workspace, "support")
    assert [row.state for row in rows] == ["auto", "off", "forced"]
    assert rows[2].evidence["by"] == "key-1"
    assert 'switch = "auto"' in (workspace.path / "tuneloop.toml").read_text()


def test_a_decision_written_by_hand_is_a_row_too(workspace: Workspace) -> None:
    forced = replace(TASK, switch="forced", threshold=0.4)
    running = Switch(workspace)
    running.refresh(Book({}, {TASK.name: forced}))
    running.refresh(Book({}, {TASK.name: forced}), every=0.0)
    assert [(row.state, row.threshold) for row in history(workspace, TASK.name)] == [("forced", 0.4)]
    assert note_mode(workspace, replace(TASK, switch="off")) is not None
    assert [row.on for row in history(workspace, TASK.name)] == [False, True]


def test_a_person_decides_inside_a_window_too(workspace: Workspace) -> None:
    found = Calibration("calibrated", 0.7, 200)
    assert propose(workspace, TASK.name, found, found.as_dict(), time.time() - 5)
    note_mode(workspace, replace(TASK, switch="off"))
    assert history(workspace, TASK.name)[0].state == "off"


def test_wrong_decisions_change_nothing(workspace: Workspace) -> None:
    shelf = written(workspace)
    before = (workspace.path / "tuneloop.toml").read_bytes()
    with pytest.raises(Missing):
        set_mode(shelf, "nothing", "on")
    with pytest.raises(BadInput):
        set_mode(shelf, "support", "maybe")
    with pytest.raises(BadInput):
        set_mode(shelf, "support", "on", 1.5)
    with pytest.raises(BadInput):  # nothing to switch to
        set_mode(shelf, "plain", "on")
    assert (workspace.path / "tuneloop.toml").read_bytes() == before
    assert history(workspace, "support") == []


def test_a_score_of_another_tuneloop_is_not_used(workspace: Workspace) -> None:
    fill(workspace, 300)
    Switch(workspace).learn(workspace, TASK)
    with workspace.db.write() as rows:
        evidence = dict(rows.execute(select(switches.c.evidence)).scalar_one())
        evidence["scorer"]["weights"].pop("length")
        rows.execute(switches.update().values(evidence=evidence))
    (row,) = history(workspace, TASK.name)
    assert (row.state, row.bar) == ("outdated", None)
    running = Switch(workspace)
    running.refresh(BOOK)
    assert running.threshold(TASK) is not None  # learned anew
    assert [row.state for row in history(workspace, TASK.name)] == ["calibrated", "outdated"]


def test_people_see_evidence_and_no_weights(workspace: Workspace) -> None:
    fill(workspace, 300)
    Switch(workspace).learn(workspace, TASK)
    shown = standing(workspace, TASK)
    assert shown["mode"] == "auto" and shown["on"] and shown["changes"] == 1
    assert "scorer" not in shown["evidence"]
    assert json.dumps(shown)
    assert standing(workspace, replace(TASK, name="new", switch="off"))["state"] == "off"


def test_a_look_is_fast(workspace: Workspace) -> None:
    fill(workspace, 300)
    running = Switch(workspace)
    running.learn(workspace, TASK)
    began = time.perf_counter()
    for _request in range(1000):
        running.threshold(TASK)
    assert (time.perf_counter() - began) / 1000 < 20e-6
    began = time.perf_counter()
    for _request in range(100):
        running.score(TASK, "How do I oil a chain?", GOOD * 10)
    assert (time.perf_counter() - began) / 100 < 2e-3


def written(workspace: Workspace) -> Shelf:
    """A workspace with the task "support" (two variants) and "plain" (one)."""
    (workspace.path / "tuneloop.toml").write_text(
        """
[engines.echo]
kind = "echo"

[tasks.support]
checks = ["min_chars:20", "no_refusal", "finished"]
original = "far"

[tasks.support.variants.own]

[tasks.support.variants.far]
engine = "echo"

[tasks.plain.variants.own]
"""
    )
    return Shelf(workspace)
