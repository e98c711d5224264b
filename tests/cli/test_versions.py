"""`tuneloop versions` from the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.answer.models import add_packed, add_version, crashing
from tuneloop import versions
from tuneloop.workspace import Workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


def machine(command: Command, workspace: Workspace, *arguments: object, code: int = 0) -> Any:
    return json.loads(command("-w", workspace.path, "versions", *arguments, "--json", code=code).stdout)


def test_list_and_show(workspace: Workspace, tuneloop_command: Command) -> None:
    nothing = tuneloop_command("-w", workspace.path, "versions", "list").stdout
    assert nothing.startswith("No version yet") and nothing.count("\n") == 1, "no table of nothing"
    assert machine(tuneloop_command, workspace, "list") == []
    packed, raw = add_packed(workspace, "packed"), add_version(workspace, "[bold]raw", promote=False)
    versions.activate(workspace, packed)
    listed = {v["id"]: v for v in machine(tuneloop_command, workspace, "list")}
    assert listed[packed.id]["active"] is True
    assert listed[packed.id]["packed"] == ["q8_0"]
    assert listed[raw.id]["verdict"] is None
    shown = tuneloop_command("-w", workspace.path, "versions", "list").stdout
    assert "●" in shown
    assert "[bold]raw" in shown  # a name is shown as it is, not as markup
    assert "not judged" in shown
    assert machine(tuneloop_command, workspace, "show", "packed")["id"] == packed.id
    assert "better on 40" in tuneloop_command("-w", workspace.path, "versions", "show", packed.id[:6]).stdout


def test_activate_rollback_history(workspace: Workspace, tuneloop_command: Command) -> None:
    first, second = add_packed(workspace, "first"), add_packed(workspace, "second")
    assert machine(tuneloop_command, workspace, "activate", first.id) == {"active": first.id}
    assert machine(tuneloop_command, workspace, "activate", "second", "--note", "braver") == {"active": second.id}
    assert machine(tuneloop_command, workspace, "rollback") == {"active": first.id}
    said = [(e["event"], e["version"], e["note"]) for e in machine(tuneloop_command, workspace, "history")]
    assert said[-3:] == [("activated", first.id, ""), ("activated", second.id, "braver"), ("rolled_back", first.id, "")]
    assert machine(tuneloop_command, workspace, "rollback", code=7)["error"] == "Missing"


def test_what_cannot_be_loaded_is_not_activated(workspace: Workspace, tuneloop_command: Command) -> None:
    good, bad = add_packed(workspace, "good"), add_packed(workspace, "bad", change=crashing())
    versions.activate(workspace, good)
    said = machine(tuneloop_command, workspace, "activate", bad.id, code=9)
    assert said["error"] == "ModelRejected"
    assert versions.find(workspace, "active").id == good.id
    assert versions.events(workspace)[-1]["event"] == "failed"


def test_the_gate_is_overruled_only_with_a_note(workspace: Workspace, tuneloop_command: Command) -> None:
    raw = add_version(workspace, "raw", promote=False)
    assert machine(tuneloop_command, workspace, "activate", raw.id, code=5)["error"] == "Refused"
    refused = tuneloop_command("-w", workspace.path, "versions", "activate", raw.id, "--force", code=2)
    assert "--note" in refused.stderr
    done = tuneloop_command("-w", workspace.path, "versions", "activate", raw.id, "--force", "--note", "trial")
    assert "Not tried out" in done.stdout
    assert versions.find(workspace, "active").id == raw.id


def test_lineage_reaches_the_messages(workspace: Workspace, tuneloop_command: Command) -> None:
    meta = {"base": "/models/base", "dataset": "abc", "dataset_path": "datasets/d1"}
    version = add_version(workspace, "v", meta=meta, evidence={"tg:1": [1, 2, 3], "wa:1f": [9]})
    found = machine(tuneloop_command, workspace, "lineage", version.id)
    assert found["messages"] == {"tg:1": [1, 2, 3], "wa:1f": [9]}
    assert found["base"] == "/models/base"
    shown = tuneloop_command("-w", workspace.path, "versions", "lineage", version.id).stdout
    assert "3 messages of tg:1 (1 … 3)" in shown
    assert "1 message of wa:1f" in shown


def test_unknown_version_is_missing(workspace: Workspace, tuneloop_command: Command, tmp_path: Path) -> None:
    assert machine(tuneloop_command, workspace, "show", "nope", code=7)["fix"]
    done = tuneloop_command("-w", tmp_path / "none", "versions", "list", code=7)
    assert "there is no workspace" in done.stderr
