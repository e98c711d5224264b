"""Versions, calls, feedback and experiments of one workspace in any order, with restarts, beside dictionaries.

The registry's own machine (test_versions) with the other nouns beside it: what one does must not be seen by another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from tests.test_versions import Registry
from tuneloop.answer import calls, feedback
from tuneloop.choose import experiments
from tuneloop.db import tables
from tuneloop.errors import Conflict, Missing
from tuneloop.records import Call
from tuneloop.workspace import open_workspace

TEAMS = st.sampled_from(["", "red"])
NAMES = st.sampled_from("pqr")


class Whole(Registry):
    """Keys of the models: feedback by (team, client's key); experiments by (team, name)."""

    @initialize()
    def begin_more(self) -> None:
        self.asked: dict[str, str] = {}  # call -> team
        self.said: dict[tuple[str, str], tuple[str, str]] = {}
        self.states: dict[tuple[str, str], str] = {}
        self.measured: dict[tuple[str, str], set[str]] = {}

    @rule(team=TEAMS)
    def ask(self, team: str) -> None:
        identity = f"c{len(self.asked)}"
        calls.write(self.workspace, Call(identity, 1.0, self.active or "", "ok", {}, "x", 1.0, tenant=team))
        self.asked[identity] = team

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), team=TEAMS, key=st.sampled_from("123"), value=st.sampled_from(["up", "down"]))
    def say(self, data: Any, team: str, key: str, value: str) -> None:
        call = data.draw(st.sampled_from(sorted(self.asked)))
        known = self.said.get((team, key))
        expected: type[Exception] | None = None
        if known is not None:
            expected = None if known == (call, value) else Conflict
        elif self.asked[call] != team:
            expected = Missing
        if expected:
            with pytest.raises(expected):
                feedback.record(self.workspace, call=call, kind="thumb", value=value, key=key, tenant=team)
            return
        feedback.record(self.workspace, call=call, kind="thumb", value=value, key=key, tenant=team)
        self.said[team, key] = (call, value)

    @rule(team=TEAMS, name=NAMES)
    def begin_experiment(self, team: str, name: str) -> None:
        def create() -> None:
            arms = {"a": "small", "b": "big"}
            experiments.create(self.workspace, name=name, task="t", arms=arms, layer=name, tenant=team)

        if (team, name) in self.states:
            with pytest.raises(Conflict):
                create()
            return
        create()
        self.states[team, name], self.measured[team, name] = "running", set()

    @rule(team=TEAMS, name=NAMES, key=st.sampled_from("12"), arm=st.sampled_from("ab"))
    def measure(self, team: str, name: str, key: str, arm: str) -> None:
        if (team, name) not in self.states:
            with pytest.raises(Missing):
                experiments.find(self.workspace, name, tenant=team)
            return
        one, known = experiments.find(self.workspace, name, tenant=team), self.measured[team, name]
        if self.states[team, name] != "running" and key not in known:
            with pytest.raises(Conflict):
                experiments.record(self.workspace, one, arm=arm, metric="m", value=1.0, key=key)
            return
        assert experiments.record(self.workspace, one, arm=arm, metric="m", value=1.0, key=key) == (key not in known)
        known.add(key)

    @rule(team=TEAMS, name=NAMES)
    def stop_experiment(self, team: str, name: str) -> None:
        if self.states.get((team, name)) == "running":
            experiments.stop(self.workspace, experiments.find(self.workspace, name, tenant=team))
            self.states[team, name] = "stopped"

    @rule()
    def restart(self) -> None:
        self.workspace.db.close()
        self.workspace = open_workspace(self.workspace.path)

    @invariant()
    def rows_are_the_dictionaries(self) -> None:
        if not hasattr(self, "said") or not hasattr(self, "workspace"):
            return
        with self.workspace.db.read() as rows:
            stored = rows.execute(select(tables.feedback)).all()
            counted = rows.execute(select(tables.outcomes.c.experiment)).scalars().all()
        assert sorted((row.tenant, row.call, row.value) for row in stored) == sorted(
            (team, call, value) for (team, _key), (call, value) in self.said.items()
        )
        assert len(counted) == sum(map(len, self.measured.values()))
        for team in ("", "red"):
            seen = {one.name: one.state for one in experiments.history(self.workspace, tenant=team)}
            assert seen == {name: state for (whose, name), state in self.states.items() if whose == team}


@pytest.mark.parametrize(("examples", "steps"), [(12, 25), pytest.param(500, 50, marks=pytest.mark.soak)])
def test_the_workspace_does_what_its_model_does(tmp_path: Path, examples: int, steps: int) -> None:
    Registry.folder = tmp_path
    run_state_machine_as_test(
        Whole,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
