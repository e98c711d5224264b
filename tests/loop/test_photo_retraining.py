"""Training by itself: when it is due, in a process of its own, one at a time, and failures that say so."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.loop.test_photo_training import Shop, trainings
from tuneloop import versions
from tuneloop.loop import photo_retraining
from tuneloop.loop.photo_retraining import Retraining, due
from tuneloop.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "tuneloop.toml").write_text("[photos]\ntrain_every = 30\n", encoding="utf-8")
    return open_workspace(folder)


def test_it_is_due_after_so_many_clicks_and_enough_photos(workspace: Workspace) -> None:
    shop = Shop(workspace)
    shop.many(29)
    assert not due(workspace)
    shop.many(1)
    assert due(workspace) and not due(workspace, tenant="other")
    (workspace.path / "tuneloop.toml").write_text("[photos]\ntrain_every = 30\nmin_examples = 31\n", encoding="utf-8")
    assert not due(open_workspace(workspace.path))
    (workspace.path / "tuneloop.toml").write_text("", encoding="utf-8")
    assert not due(open_workspace(workspace.path)), "never by itself unless somebody asked for it"


def test_a_training_runs_elsewhere_and_is_a_row(workspace: Workspace) -> None:
    Shop(workspace).many(150)
    (row,) = Retraining(workspace).step()
    assert (row["state"], row["examples"]) == ("done", 150) and row["version"]
    assert versions.find(workspace, "active", kind="photos").id == row["version"]
    assert Retraining(workspace, rest=0.0).step() == [], "nothing was clicked since"
    assert len(trainings(workspace)) == 1


def test_what_cannot_be_trained_says_so_once(workspace: Workspace) -> None:
    Shop(workspace).many(60, products=3)
    (row,) = Retraining(workspace).step()
    assert row["state"] == "failed" and "3 products" in row["note"]
    assert Retraining(workspace, rest=0.0).step() == []


def test_a_child_that_dies_is_a_failed_row(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    Shop(workspace).many(100)
    monkeypatch.setattr(photo_retraining, "LONGEST", 0.5)  # it is killed before it has begun its row
    (row,) = Retraining(workspace).step()
    assert row["state"] == "failed" and "ended after" in row["note"]
    assert [t.state for t in trainings(workspace)] == ["failed"]


def test_one_at_a_time(workspace: Workspace) -> None:
    Shop(workspace).many(60)
    with workspace.lock("photos-train"):
        assert Retraining(workspace).step() == []
    assert trainings(workspace) == []


def test_stopping_ends_what_runs(workspace: Workspace) -> None:
    Shop(workspace).many(150)
    own = Retraining(workspace)
    rows: list[object] = []
    thread = threading.Thread(target=lambda: rows.extend(own.step()))
    thread.start()
    time.sleep(0.3)
    own.stop()
    thread.join(5)
    assert not thread.is_alive() and rows == []
    assert own.step() == []
