"""A comparison of two versions from the command line: begun, looked at, promoted, rolled back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loop.test_photos import made_version
from tests.search import shop
from tuneloop import versions
from tuneloop.workspace import open_workspace

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.soak
def test_compare_promote_and_roll_back(tuneloop_command: Run, tmp_path: Path) -> None:
    catalogue = shop.write(tmp_path / "shop", photos=1, names=shop.NAMES[:4])
    tuneloop_command("photos", "import", catalogue)
    assert "no version" in tuneloop_command("photos", "compare", "start", "latest", code=7).stderr
    workspace = open_workspace(tmp_path / "tuneloop-work")
    one, two = made_version(workspace, 1).id, made_version(workspace, 2).id
    versions.activate(workspace, versions.find(workspace, one, kind="photos"), force=True, note="test")
    workspace.db.close()

    made = json.loads(tuneloop_command("photos", "compare", "active", two, "--name", "two maps", "--json").stdout)
    assert [arm["variant"] for arm in made["design"]["arms"]] == [one, two]
    photo = catalogue.parent / "photos" / "red-ball-0.jpg"
    for n in range(4):
        found = json.loads(tuneloop_command("photos", "search", photo, "--user", f"u{n}", "--json").stdout)
        assert found["version"] in (one, two)
        tuneloop_command("photos", "click", found["query"], "right", found["hits"][0]["item"], "--user", f"u{n}")
    shown = json.loads(tuneloop_command("experiment", "show", "two maps", "--json").stdout)
    assert sum(shown["verdict"]["units"].values()) == 4 and shown["verdict"]["decision"] == "not enough data"
    assert "two maps" in tuneloop_command("experiment", "list").stdout

    tuneloop_command("experiment", "promote", "two maps", "--arm", "b")
    assert active(tuneloop_command) == two
    tuneloop_command("experiment", "rollback", "two maps")
    assert active(tuneloop_command) == one
    found = json.loads(tuneloop_command("photos", "search", photo, "--user", "u0", "--json").stdout)
    assert found["version"] == one


def active(run: Run) -> str:
    return str(next(v["id"] for v in json.loads(run("photos", "versions", "--json").stdout) if v["active"]))
