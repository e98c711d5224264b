"""Experiments on real rows: their life, what they measure, and what cannot happen twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sqlalchemy import insert, select

from tuneloop.choose import experiments
from tuneloop.choose.experiments import Experiment
from tuneloop.db.tables import calls, feedback, outcomes
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.workspace import Workspace, open_workspace

ARMS = {"a": "small", "b": "big"}


def begin(workspace: Workspace, name: str = "x", **more: Any) -> Experiment:
    return experiments.create(workspace, name=name, task="t", arms=ARMS, **more)


def call(n: int, one: Experiment, *, user: str = "", **more: Any) -> dict[str, Any]:
    unit = user or f"c{n}"
    arm = experiments.choose_arm(one, unit)
    assert arm is not None
    known = {
        "id": f"c{n}", "time": time.time(), "version": "", "status": "ok", "request": {}, "answer": "x",
        "latency_ms": 100.0, "tokens_in": 1, "tokens_out": 2, "user": user, "experiment": one.id, "arm": arm.name,
    }  # fmt: skip
    return known | more


def store(workspace: Workspace, rows: list[dict[str, Any]], thumbs: list[tuple[str, str, str]] = ()) -> None:  # type: ignore[assignment]
    """thumbs: (call, user, "up" or "down")."""
    with workspace.db.write() as connection:
        for row in rows:
            connection.execute(insert(calls), [row])
        for n, (identity, user, value) in enumerate(thumbs):
            row = {"id": f"f{n}-{identity}", "call": identity, "kind": "thumb", "value": value, "time": n, "user": user}
            connection.execute(insert(feedback), [row | {"key": f"{n}-{identity}"}])


def test_a_whole_life(workspace: Workspace) -> None:
    one = begin(workspace, metrics=["user_satisfaction"])
    rows = [call(n, one, user=f"u{n}") for n in range(800)]
    thumbs = [
        (row["id"], row["user"], "up" if n % 10 < (9 if row["arm"] == "b" else 5) else "down")
        for n, row in enumerate(rows)
    ]
    store(workspace, rows, thumbs)
    said = experiments.look(workspace, one)
    assert (said.decision, said.arm) == ("winner", "b")
    assert said.units == {arm: sum(row["arm"] == arm for row in rows) for arm in "ab"}
    assert experiments.misassigned(workspace, one) == 0
    ended = experiments.promote(workspace, experiments.find(workspace, "x"))
    assert (ended.state, ended.verdict and ended.verdict["arm"]) == ("promoted", "b")
    back = experiments.roll_back(workspace, ended, note="it was slower")
    assert back.state == "rolled_back"
    assert [e["event"] for e in experiments.events(workspace, back)] == ["created", "promoted", "rolled_back"]
    with pytest.raises(Conflict):
        experiments.stop(workspace, back)


def test_nobody_is_promoted_without_a_winner(workspace: Workspace) -> None:
    one = begin(workspace)
    experiments.look(workspace, one)
    with pytest.raises(Conflict, match="no arm has won"):
        experiments.promote(workspace, experiments.find(workspace, "x"))
    assert experiments.promote(workspace, one, arm="b").state == "promoted"  # a person may overrule, by name


def test_one_user_with_250_votes_is_one_user(workspace: Workspace) -> None:
    one = begin(workspace, metrics=["user_satisfaction"], cap=5)
    honest = [call(n, one, user=f"u{n}") for n in range(400)]
    troll = next(f"t{n}" for n in range(99) if (arm := experiments.choose_arm(one, f"t{n}")) and arm.name == "b")
    spam = [call(1000 + n, one, user=troll) for n in range(250)]
    thumbs = [(row["id"], row["user"], "up" if n % 2 else "down") for n, row in enumerate(honest)]
    store(workspace, honest + spam, thumbs + [(row["id"], troll, "up") for row in spam])
    said = experiments.look(workspace, one)
    assert said.decision != "winner"
    satisfied = next(c for c in said.comparisons if c.metric == "user_satisfaction")
    assert 0.4 < satisfied.value < 0.6


def test_a_guardrail_ends_it_without_anybody_looking(workspace: Workspace) -> None:
    one = begin(workspace, guardrails=[{"name": "error_rate", "kind": "rate", "better": "down", "margin": 0.05}])
    rows = [call(n, one, user=f"u{n}") for n in range(300)]
    store(workspace, [row | ({"status": "error"} if row["arm"] == "b" else {}) for row in rows])
    ended = experiments.watch(workspace)
    assert [e.state for e in ended] == ["rolled_back"]
    assert "error_rate" in experiments.events(workspace, one)[-1]["note"]


def test_it_ends_with_its_time(workspace: Workspace) -> None:
    one = begin(workspace, days=2 / 86400)
    assert experiments.watch(workspace) == []
    time.sleep(2.1)
    assert [e.state for e in experiments.watch(workspace)] == ["stopped"]
    assert experiments.assigner(workspace).pick("", "t", "u") is None
    assert experiments.find(workspace, one.id).state == "stopped"


def test_a_thousand_times_the_same_key_is_one_outcome(workspace: Workspace) -> None:
    one = begin(workspace)
    added: list[bool] = []

    def report() -> None:
        for _n in range(125):
            added.append(experiments.record(workspace, one, arm="a", metric="sales", value=3.0, user="u", key="k"))

    threads = [threading.Thread(target=report) for _n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert added.count(True) == 1 and len(added) == 1000
    with workspace.db.read() as rows:
        assert len(rows.execute(select(outcomes)).all()) == 1


def test_reported_outcomes_are_measured(workspace: Workspace) -> None:
    one = begin(workspace, metrics=["sales"], guardrails=[])
    for n in range(600):
        arm = experiments.choose_arm(one, f"u{n}")
        assert arm is not None
        value = (12.0 if arm.name == "b" else 10.0) + n % 3
        experiments.record(workspace, one, arm=arm.name, metric="sales", value=value, user=f"u{n}")
    said = experiments.look(workspace, one)
    assert (said.decision, said.arm) == ("winner", "b")


def test_layers_are_shared_out_and_full_ones_say_so(workspace: Workspace) -> None:
    one, two = begin(workspace, "one", share=0.6), begin(workspace, "two", share=0.4)
    assert (one.design["end"], two.design["first"]) == (6000, 6000)
    with pytest.raises(Conflict, match="left"):
        begin(workspace, "three", share=0.1)
    begin(workspace, "elsewhere", layer="colours")
    experiments.stop(workspace, one)
    assert begin(workspace, "four", share=0.5).design["first"] == 0


def test_teams_do_not_see_each_other(workspace: Workspace) -> None:
    begin(workspace, tenant="red")
    with pytest.raises(Missing):
        experiments.find(workspace, "x", tenant="blue")
    begin(workspace, tenant="blue")  # the name is free there
    assert len(experiments.history(workspace, tenant="blue")) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"arms": {"a": "x"}}, {"arms": {}}, {"weights": {"a": 1.0}}, {"weights": {"a": 1.0, "b": 0.0}},
        {"weights": {"a": 1.0, "b": float("nan")}}, {"days": 0}, {"days": 1e9}, {"share": 0}, {"share": 1.5},
        {"method": "peeking"}, {"mode": "x"}, {"method": "fixed"}, {"metrics": []},
        {"metrics": [{"name": "m", "x": 1}]},
        {"metrics": [{"name": "m", "kind": "median"}]}, {"name": ""}, {"name": "a\nb"}, {"layer": ""},
        {"guardrails": [{"name": "error_rate", "margin": -1}]}, {"cap": 0},
    ],
)  # fmt: skip
def test_a_design_that_makes_no_sense_begins_nothing(workspace: Workspace, fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        experiments.create(workspace, **({"name": "x", "task": "t", "arms": ARMS} | fields))
    assert experiments.history(workspace) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_value_that_is_no_number_is_refused(workspace: Workspace, value: float) -> None:
    with pytest.raises(BadInput):
        experiments.record(workspace, begin(workspace), arm="a", metric="m", value=value)


def test_a_bandit_moves_its_shares_and_is_not_called_broken(workspace: Workspace) -> None:
    one = begin(workspace, mode="bandit", metrics=["user_satisfaction"])
    rows = [call(n, one, user=f"u{n}") for n in range(400)]
    store(
        workspace,
        rows,
        [(r["id"], r["user"], "up" if r["arm"] == "b" or n % 5 == 0 else "down") for n, r in enumerate(rows)],
    )
    experiments.watch(workspace)
    shares = {arm.name: arm.share for arm in experiments.find(workspace, "x").arms}
    assert shares["b"] > 0.45 and shares["a"] >= 0.05
    assert experiments.look(workspace, experiments.find(workspace, "x")).decision != "withheld"


class Life(RuleBasedStateMachine):
    """Any order of create, record, stop, promote and roll back, beside a model of dictionaries."""

    begun = Bundle("begun")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.workspace = open_workspace(Path(self.folder.name) / "w", create=True)
        self.states: dict[str, str] = {}
        self.outcomes: dict[str, set[str]] = {}

    def teardown(self) -> None:
        self.workspace.db.close()
        self.folder.cleanup()

    @rule(target=begun, name=st.sampled_from("pqrs"))
    def create(self, name: str) -> str:
        try:
            begin(self.workspace, name, layer=name)
            assert name not in self.states
            self.states[name], self.outcomes[name] = "running", set()
        except Conflict:
            assert name in self.states
        return name

    @rule(name=begun, key=st.sampled_from("123"), arm=st.sampled_from("ab"))
    def record(self, name: str, key: str, arm: str) -> None:
        one = experiments.find(self.workspace, name)
        try:
            added = experiments.record(self.workspace, one, arm=arm, metric="m", value=1.0, key=key)
            assert added == (key not in self.outcomes[name])
            assert not added or self.states[name] == "running"
            self.outcomes[name].add(key)
        except Conflict:
            assert self.states[name] != "running" and key not in self.outcomes[name]

    @rule(name=begun, how=st.sampled_from(["stop", "promote", "roll_back"]))
    def end(self, name: str, how: str) -> None:
        one = experiments.find(self.workspace, name)
        allowed = self.states[name] == "running" or (how == "roll_back" and self.states[name] == "promoted")
        try:
            if how == "promote":
                experiments.promote(self.workspace, one, arm="b")
            else:
                getattr(experiments, how)(self.workspace, one)
            assert allowed
            self.states[name] = {"stop": "stopped", "promote": "promoted", "roll_back": "rolled_back"}[how]
        except Conflict:
            assert not allowed

    @invariant()
    def the_rows_are_the_model(self) -> None:
        assert {e.name: e.state for e in experiments.history(self.workspace)} == self.states
        running = {name for name, state in self.states.items() if state == "running"}
        picked = experiments.assigner(self.workspace).pick("", "t", "somebody")
        assert (picked is not None) == bool(running)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
