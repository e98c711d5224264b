"""Registering, activating and rolling back, killed at every single step: one active version, and it is whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.answer.models import add_version
from tests.faults import every_moment
from tuneloop import versions
from tuneloop.workspace import Workspace, open_workspace


def whole(workspace: Workspace) -> str:
    """The id of the active version, after everything was looked at that a crash could have broken."""
    (active,) = [v for v in versions.history(workspace) if v.active]
    versions.check_files(workspace, active)
    switched = [e for e in versions.events(workspace) if e["event"] in ("activated", "rolled_back")]
    assert switched[-1]["version"] == active.id, "the row and its history are one transaction"
    assert workspace.db.problems() == []
    return active.id


@pytest.fixture
def three(workspace: Workspace) -> tuple[Workspace, list[str]]:
    made = [add_version(workspace, name) for name in "abc"]
    versions.activate(workspace, made[0])
    versions.activate(workspace, made[1])
    return workspace, [v.id for v in made]


def test_activation_killed_at_every_step(three: tuple[Workspace, list[str]]) -> None:
    workspace, (_a, b, c) = three

    def work() -> None:
        there = open_workspace(workspace.path)
        versions.activate(there, versions.find(there, c))

    seen = [whole(workspace) for _moment in every_moment(work)]
    assert seen[0] == b and seen[-1] == c and set(seen) == {b, c}
    assert seen == sorted(seen, key=[b, c].index), "once it is active it stays so"


def test_rolling_back_killed_at_every_step_and_how_long_it_takes(three: tuple[Workspace, list[str]]) -> None:
    workspace, (a, b, _c) = three
    seen = []
    for _moment in every_moment(lambda: versions.roll_back(open_workspace(workspace.path))):
        seen.append(whole(workspace))
        if seen[-1] == a:  # done before it was killed: again from the start
            versions.activate(workspace, versions.find(workspace, b))
    assert seen[0] == b and seen[-1] == a
    began = time.monotonic()
    versions.activate(workspace, versions.find(workspace, b))
    assert versions.roll_back(workspace).id == a
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("known", [False, True])
def test_registering_killed_at_every_step_leaves_no_version_without_files(
    three: tuple[Workspace, list[str]], tmp_path: Path, known: bool
) -> None:
    """known: the same content was registered before, and its folder was damaged since."""
    workspace, (_a, b, _c) = three
    if known:
        first = register(workspace, tmp_path / "again")
        (workspace.path / first.path / "weights").write_bytes(b"damaged")
    steps = 0
    for _moment in every_moment(lambda: register(open_workspace(workspace.path), tmp_path / "again")):
        steps += 1
        assert whole(workspace) == b
        for version in versions.history(workspace):
            if version.name != "again":
                versions.check_files(workspace, version)
            elif not known:
                versions.check_files(workspace, version)  # a row is written only when its files are there
    assert steps > 5
    last = versions.find(workspace, "again")
    versions.check_files(workspace, last)
    assert versions.strays(workspace, older_than=-1) == []


def register(workspace: Workspace, staging: Path) -> Any:
    staging.mkdir(exist_ok=True)
    (staging / "weights").write_bytes(b"the same again")
    return versions.register(workspace, staging, kind="chat", name="again", meta={})
