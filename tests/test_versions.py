"""Versions: immutable, content-addressed, and exactly one of them active whatever crashes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from tests.answer.models import PROMOTE, add_version
from tuneloop import versions
from tuneloop.db import tables
from tuneloop.errors import BadInput, Damaged, Missing, Refused
from tuneloop.records import Verdict, Version
from tuneloop.workspace import Workspace, open_workspace


def test_hash_is_of_names_and_contents(tmp_path: Path) -> None:
    for folder, files in {
        "a": {"x": "1", "d/y": "2"},
        "same": {"d/y": "2", "x": "1"},
        "content": {"x": "1", "d/y": "3"},
        "name": {"x": "1", "d/z": "2"},
        "swapped": {"x": "2", "d/y": "1"},
    }.items():
        for name, text in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    hashes = {name: versions.hash_folder(tmp_path / name) for name in ("a", "same", "content", "name", "swapped")}
    assert hashes["a"] == hashes["same"]
    assert len(set(hashes.values())) == 4


def test_registered_version_lies_under_its_hash(workspace: Workspace) -> None:
    version = add_version(workspace, "v", promote=False, meta={"base": "b"})
    assert workspace.path / version.path == workspace.folder("models") / version.id
    assert versions.hash_folder(workspace.path / version.path).startswith(version.id)
    assert (version.name, version.meta, version.verdict, version.active) == ("v", {"base": "b"}, None, False)
    versions.check_files(workspace, version)
    assert not list(workspace.folder("models").glob(".*"))


def test_same_content_is_one_version(workspace: Workspace) -> None:
    first, second = add_version(workspace, "v"), add_version(workspace, "v")
    assert first.id == second.id
    assert len(versions.history(workspace)) == 1
    assert [e["event"] for e in versions.events(workspace)].count("registered") == 1


def test_a_damaged_version_is_mended_by_making_it_again(workspace: Workspace) -> None:
    version = add_version(workspace, "v")
    (workspace.path / version.path / "tuneloop.json").write_text("{}")
    with pytest.raises(Damaged, match="changed or are gone"):
        versions.activate(workspace, version)
    assert add_version(workspace, "v").id == version.id
    versions.check_files(workspace, version)
    versions.activate(workspace, version)


def test_a_crash_between_the_folder_and_its_row_is_made_good_by_the_same_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(versions, "_note", dying)
        add_version(workspace, "v")
    assert versions.history(workspace) == [] and versions.events(workspace) == []
    assert len(versions.strays(workspace, older_than=-1)) == 1
    version = add_version(workspace, "v")
    assert [v.id for v in versions.history(workspace)] == [version.id]
    assert versions.strays(workspace, older_than=-1) == []


def test_a_judgement_replaces_the_one_before_and_both_are_history(workspace: Workspace) -> None:
    version = add_version(workspace, "v")
    versions.judge(workspace, version, Verdict("refuse", "worse now", {"questions": 30}))
    stored = versions.find(workspace, version.id).verdict
    assert stored == {"decision": "refuse", "why": "worse now", "figures": {"questions": 30}}
    judged = [e["note"] for e in versions.events(workspace) if e["event"] == "judged"]
    assert judged == ["promote: better on 40 of 50 questions", "refuse: worse now"]
    with pytest.raises(Refused, match="worse now"):
        versions.activate(workspace, versions.find(workspace, version.id))


def test_times_only_grow_when_the_clock_is_set_back(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions.time, "time", lambda: 2_000_000_000.0)
    first = add_version(workspace, "a")
    monkeypatch.setattr(versions.time, "time", lambda: 1_000_000_000.0)
    second = add_version(workspace, "b")
    assert second.created > first.created
    assert versions.find(workspace, "latest").id == second.id


def test_lineage_outlives_its_dataset(workspace: Workspace) -> None:
    meta = {"base": "/b", "dataset": "abc", "dataset_path": "datasets/gone"}
    version = add_version(workspace, "v", meta=meta, evidence={"tg:1": [3, 5]})
    assert versions.lineage(workspace, version) == {"version": version.id, **meta, "messages": {"tg:1": [3, 5]}}
    assert versions.lineage(workspace, add_version(workspace, "bare"))["messages"] == {}


ACTIVATOR = """
import sys
from pathlib import Path
from tuneloop import versions
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
mine = versions.find(workspace, sys.argv[2])
for _n in range(30):
    versions.activate(workspace, mine)
"""


def test_several_processes_that_activate_at_once_leave_one_active_and_a_whole_history(workspace: Workspace) -> None:
    made = [add_version(workspace, name) for name in "abc"]
    running = [
        subprocess.Popen([sys.executable, "-c", ACTIVATOR, str(workspace.path), v.id], stderr=subprocess.PIPE)
        for v in made
    ]
    assert [(p.communicate(timeout=60)[1], p.returncode) for p in running] == [(b"", 0)] * 3
    (active,) = [v for v in versions.history(workspace) if v.active]
    switched = [e for e in versions.events(workspace) if e["event"] == "activated"]
    assert switched[-1]["version"] == active.id
    before = None
    for event in switched:  # each switch replaced what the one before had made active
        assert event["previous"] == before
        before = event["version"]


def test_versions_of_other_kinds_are_found_too(workspace: Workspace) -> None:
    staging = workspace.folder("models") / ".p.part"
    staging.mkdir()
    (staging / "map").write_text("1")
    photos = versions.register(workspace, staging, kind="photos", name="p", meta={})
    chat = add_version(workspace, "c")
    versions.judge(workspace, photos, PROMOTE)
    versions.activate(workspace, versions.find(workspace, "p", kind="photos"))
    versions.activate(workspace, chat)
    assert versions.find(workspace, "active", kind="photos").id == photos.id
    assert versions.find(workspace, "active").id == chat.id


def test_find_by_name_beginning_and_word(workspace: Workspace) -> None:
    made = [add_version(workspace, name) for name in ("a", "b", "c")]
    assert versions.find(workspace, "latest").id == made[-1].id  # all made within one second
    assert [v.id for v in versions.history(workspace)] == [v.id for v in reversed(made)]
    assert versions.find(workspace, "b").id == made[1].id
    assert versions.find(workspace, made[0].id[:10]).id == made[0].id
    for unknown in ("active", "zzz"):
        with pytest.raises(Missing):
            versions.find(workspace, unknown)
    with pytest.raises(BadInput, match="fits several"):
        versions.find(workspace, "")


def test_only_what_the_gate_promoted_may_serve(workspace: Workspace) -> None:
    version = add_version(workspace, "v", promote=False)
    with pytest.raises(Refused, match="not judged it yet"):
        versions.activate(workspace, version)
    versions.judge(workspace, version, Verdict("refuse", "worse on 30 of 50"))
    with pytest.raises(Refused, match="worse on 30"):
        versions.activate(workspace, versions.find(workspace, version.id))
    versions.activate(workspace, version, force=True, note="I want it")
    assert versions.find(workspace, "active").id == version.id
    assert versions.events(workspace)[-1]["note"] == "I want it"


@pytest.mark.parametrize("harm", ["changed", "added", "removed"])
def test_changed_files_are_never_activated(workspace: Workspace, harm: str) -> None:
    version = add_version(workspace, "v")
    folder = workspace.path / version.path
    if harm == "changed":
        (folder / "tuneloop.json").write_text("{}")
    elif harm == "added":
        (folder / "more").write_text("")
    else:
        (folder / "tuneloop.json").unlink()
        folder.rmdir()
    with pytest.raises(Damaged):
        versions.activate(workspace, version)
    with pytest.raises(Missing):
        versions.find(workspace, "active")


def test_rolling_back_twice_goes_two_versions_back(workspace: Workspace) -> None:
    made = [add_version(workspace, name) for name in "abc"]
    for version in made:
        versions.activate(workspace, version)
    assert [versions.roll_back(workspace).name for _n in range(2)] == ["b", "a"]
    with pytest.raises(Missing, match="nothing served before"):
        versions.roll_back(workspace)
    assert versions.find(workspace, "active").name == "a"


def test_activating_the_active_version_changes_nothing(workspace: Workspace) -> None:
    first, second = add_version(workspace, "a"), add_version(workspace, "b")
    for version in (first, second, second, second):
        versions.activate(workspace, version)
    assert versions.roll_back(workspace).id == first.id


def test_the_database_itself_refuses_two_active_versions(workspace: Workspace) -> None:
    for name in "ab":
        add_version(workspace, name)
    with pytest.raises(IntegrityError), workspace.db.write() as rows:
        rows.execute(update(tables.versions).values(active=True))
    assert not any(v.active for v in versions.history(workspace))


def test_folders_without_a_row_are_strays(workspace: Workspace) -> None:
    kept = add_version(workspace, "v")
    stray = workspace.folder("packs") / "feedfeedfeedfeed"
    stray.mkdir()
    (workspace.folder("models") / ".half.part").mkdir()
    assert versions.strays(workspace) == []  # too young to be sure
    assert versions.strays(workspace, older_than=-1) == [stray]
    assert (workspace.path / kept.path).exists()


SWITCHER = """
import itertools, sys
from pathlib import Path
from tuneloop import versions
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
both = [versions.find(workspace, name) for name in ("a", "b")]
for n in itertools.count():
    if n % 5 == 4:
        versions.roll_back(workspace)
    else:
        versions.activate(workspace, both[n % 2])
    print(n, flush=True)
"""


def kill_while_switching(workspace: Workspace, kills: int, seed: int) -> None:
    made = {v.id for v in (add_version(workspace, name) for name in "ab")}
    versions.activate(workspace, versions.find(workspace, "a"))
    versions.activate(workspace, versions.find(workspace, "b"))
    rng = random.Random(seed)
    for _n in range(kills):
        command = [sys.executable, "-c", SWITCHER, str(workspace.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as switcher:
            assert switcher.stdout
            assert switcher.stdout.readline()
            time.sleep(rng.random() * 0.05)
            os.kill(switcher.pid, signal.SIGKILL)
        active = [v for v in versions.history(workspace) if v.active]
        assert len(active) == 1
        versions.check_files(workspace, active[0])
        switched = [e for e in versions.events(workspace) if e["event"] in ("activated", "rolled_back")]
        assert switched[-1]["version"] == active[0].id, "the row and its history are one transaction"
        assert all(e["previous"] in made for e in switched[1:])
    assert workspace.db.problems() == []


def test_kill_9_leaves_exactly_one_active_version(workspace: Workspace) -> None:
    kill_while_switching(workspace, kills=4, seed=1)


@pytest.mark.soak
def test_200_times_kill_9_leaves_exactly_one_active_version(workspace: Workspace) -> None:
    kill_while_switching(workspace, kills=200, seed=2)


class Registry(RuleBasedStateMachine):
    """Any order of registering, judging, activating, rolling back, beside a list that says what must hold."""

    folder: Path
    count = 0

    @initialize()
    def begin(self) -> None:
        Registry.count += 1
        self.workspace = open_workspace(self.folder / str(Registry.count), create=True)
        self.made: list[str] = []
        self.promoted: set[str] = set()
        self.active: str | None = None
        self.before: dict[str, str | None] = {}  # version -> what its last activation replaced

    @rule(name=st.sampled_from("abcd"))
    def register(self, name: str) -> None:
        version = add_version(self.workspace, name, promote=False)
        if version.id not in self.made:
            self.made.append(version.id)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), good=st.booleans())
    def judge(self, data: Any, good: bool) -> None:
        chosen = self._choose(data)
        versions.judge(self.workspace, chosen, PROMOTE if good else Verdict("refuse", "worse"))
        (self.promoted.add if good else self.promoted.discard)(chosen.id)

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def activate(self, data: Any) -> None:
        chosen = self._choose(data)
        if chosen.id not in self.promoted:
            with pytest.raises(Refused):
                versions.activate(self.workspace, chosen)
            return
        versions.activate(self.workspace, chosen)
        if chosen.id != self.active:
            self.before[chosen.id] = self.active
            self.active = chosen.id

    @precondition(lambda self: self.active)
    @rule()
    def roll_back(self) -> None:
        before = self.before[str(self.active)]
        if before is None:
            with pytest.raises(Missing):
                versions.roll_back(self.workspace)
        else:
            assert versions.roll_back(self.workspace).id == before
            self.active = before

    @invariant()
    def system_is_the_model(self) -> None:
        if not hasattr(self, "workspace"):
            return
        found = versions.history(self.workspace)
        assert [v.id for v in found] == self.made[::-1]
        assert [v.id for v in found if v.active] == ([self.active] if self.active else [])

    def teardown(self) -> None:
        if hasattr(self, "workspace"):
            self.workspace.db.close()

    def _choose(self, data: Any) -> Version:
        return versions.find(self.workspace, data.draw(st.sampled_from(self.made)))


@pytest.mark.parametrize("examples", [8, pytest.param(300, marks=pytest.mark.soak)])
def test_registry_does_what_its_model_does(tmp_path: Path, examples: int) -> None:
    Registry.folder = tmp_path
    run_state_machine_as_test(
        Registry,
        settings=settings(
            max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_failure_is_history_and_changes_nothing_else(workspace: Workspace) -> None:
    version = add_version(workspace, "v")
    versions.record_failure(workspace, version, "GGML_ASSERT")
    assert versions.find(workspace, version.id) == version
    assert (versions.events(workspace)[-1]["event"], versions.events(workspace)[-1]["note"]) == (
        "failed",
        "GGML_ASSERT",
    )


def test_rows_must_point_at_versions(workspace: Workspace) -> None:
    row = {"version": "nope", "time": 0, "event": "x", "note": "", "previous": None}
    with pytest.raises(IntegrityError), workspace.db.write() as rows:
        rows.execute(insert(tables.version_events), [row])
    with workspace.db.read() as rows:
        assert rows.execute(select(tables.version_events)).first() is None
