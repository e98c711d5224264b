"""What runs keeps its tasks and variants, whoever wants them gone and however."""

from __future__ import annotations

import pytest

from tests.loop.replays import TASK, ask_questions
from tuneloop.answer import holds
from tuneloop.answer.tasks import Shelf
from tuneloop.choose import experiments, replay
from tuneloop.errors import Conflict
from tuneloop.loop import replay as replaying
from tuneloop.workspace import Workspace, open_workspace

TOML = """
[engines.echo]
kind = "echo"

[tasks.other]

[tasks.t.variants.own]
engine = "echo"

[tasks.t.variants.big]
engine = "echo"

[tasks.t.variants.third]
engine = "echo"
"""


@pytest.fixture
def shelf(workspace: Workspace) -> Shelf:
    (workspace.path / "tuneloop.toml").write_text(TOML, encoding="utf-8")
    return Shelf(open_workspace(workspace.path))


def test_a_running_experiment_holds_its_task_and_arms(shelf: Shelf) -> None:
    one = experiments.create(shelf.workspace, name="tone", task="t", arms={"a": "own", "b": "big"}, tenant="red")
    assert holds.held(shelf.workspace) == {"t": "tone", "t/own": "tone", "t/big": "tone"}
    before = shelf.path.read_bytes()
    for edit in (
        lambda: shelf.remove_variant("t", "big"),
        lambda: shelf.remove_task("t"),
        lambda: shelf.put_task("t", {"variants": {"own": {"engine": "echo"}}}),
    ):
        with pytest.raises(Conflict, match=r"'t.*' is used by the experiment 'tone'"):
            edit()
    assert shelf.path.read_bytes() == before and "t/big" in shelf.book.names
    shelf.remove_variant("t", "third")
    shelf.remove_task("other")
    shelf.set_weights("t", {"big": 0.3})
    experiments.stop(shelf.workspace, one)
    shelf.remove_variant("t", "big")


def test_undo_takes_no_variant_away_either(shelf: Shelf) -> None:
    shelf.put_variant("t", "fourth", {"engine": "echo"})
    one = experiments.create(shelf.workspace, name="x", task="t", arms={"a": "own", "b": "fourth"})
    with pytest.raises(Conflict, match="t/fourth"):
        shelf.undo()
    experiments.stop(shelf.workspace, one)
    assert "t/fourth" not in shelf.undo().names


def test_an_open_replay_holds_its_two_variants(shelf: Shelf) -> None:
    ask_questions(shelf.workspace, 20)
    one = replaying.begin(shelf.workspace, TASK, "own", "big", questions=20)
    with pytest.raises(Conflict, match=one.id):
        shelf.remove_variant("t", "big")
    replaying.reveal(shelf.workspace, one, end=True)
    shelf.remove_variant("t", "big")
    assert replay.history(shelf.workspace)[0].state == replay.OVER
