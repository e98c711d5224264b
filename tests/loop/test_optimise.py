"""The ladder over real tiny models: measured once, resumed after kill -9, honest about what could not be measured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.answer.models import add_pack, add_packed, add_version, crashing
from tests.faults import killed_at
from tests.tune.small_models import build, tuned
from tuneloop.db import metadata
from tuneloop.errors import BadInput, Conflict, Missing, MissingExtra, OutOfResources
from tuneloop.loop import optimisations, optimise, speed
from tuneloop.loop.ladder import Ladder, Targets, choose
from tuneloop.records import Version
from tuneloop.tune import pack
from tuneloop.workspace import Workspace, open_workspace

QUICK = {"threads": (1,), "rounds": 1, "context": 256, "parallel": 1}
FIGURES = {
    "load_seconds": 0.1, "cores": 2, "prompt_per_second": [10.0], "tokens_per_second": [20.0],
    "together_per_second": None, "memory_bytes": 5, "prompt_tokens": 8, "answer_tokens": 8,
}  # fmt: skip


def small(workspace: Workspace, version: Version, **more: Any) -> Ladder:
    return optimise.ladder(workspace, version, **(QUICK | more))


def optimised(
    workspace: Workspace, version: Version, asked: Ladder, targets: Targets = Targets(), **more: Any
) -> optimisations.Optimisation:
    return optimise.run(workspace, optimise.begin(workspace, version, targets, asked, **more))


def times(workspace: Workspace, one: optimisations.Optimisation) -> dict[tuple[str, int], float]:
    table = metadata.tables["optimisation_samples"]
    with workspace.db.read() as rows:
        return {
            (row.rung, row.round): row.time
            for row in rows.execute(table.select().where(table.c.optimisation == one.id))
        }


class Counting:
    """Stands in for `speed.measure` where only the rows matter; every look is a line of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def __call__(self, model: Path, **_given: Any) -> dict[str, Any]:
        with self.path.open("a") as lines:
            lines.write(f"{model.name}\n")
        return dict(FIGURES)

    @property
    def looks(self) -> int:
        return len(self.path.read_text().splitlines())


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting(tmp_path / "looks")
    monkeypatch.setattr(speed, "measure", made)
    return made


@pytest.fixture
def packed(workspace: Workspace) -> Version:
    """A version with two files and no base beside it."""
    version = add_packed(workspace, "tiny")
    add_pack(workspace, version, "q4_K_M", seed=1)
    return version


def test_a_version_is_packed_measured_and_chosen_from(workspace: Workspace, tmp_path: Path) -> None:
    version = tuned(workspace, build(tmp_path / "base", "llama", num_hidden_layers=1))
    usual = optimise.ladder(workspace, version)
    assert (usual.quants, usual.threads[0]) == (("f16", "q8_0", "q4_K_M"), 1)
    assert (usual.context, usual.parallel, usual.rounds) == (2048, 2, 3), "the server's own settings"
    asked = optimise.ladder(workspace, version, threads=(1,), rounds=2, context=256)
    begun = optimise.begin(workspace, version, Targets(max_kl=0.05), asked)
    assert (begun.state, begun.progress) == ("interrupted", 0)
    seen: list[tuple[str, float]] = []
    done = optimise.run(workspace, begun, lambda stage, at, total: seen.append((stage, at)))
    assert (done.state, done.progress, done.error) == ("done", 1.0, "")
    told = json.loads(json.dumps(optimise.shown(workspace, done)))
    assert {row["state"] for row in told["rows"]} == {"measured"} and len(told["rows"]) == len(asked.rungs)
    by = {row["quant"]: row for row in told["rows"] if row["threads"] == 1}
    assert by["f16"]["bytes"] > by["q8_0"]["bytes"] > by["q4_K_M"]["bytes"]
    parity = pack.find(workspace, version, "q4_K_M")
    assert parity is not None
    assert (by["q4_K_M"]["kl"], by["q4_K_M"]["greedy"]) == (parity.figures["kl"], parity.figures["greedy"])
    assert by["f16"]["kl"] < by["q8_0"]["kl"] < by["q4_K_M"]["kl"]
    assert all(row["tokens_per_second"] > 0 and row["looks"] == 2 and row["load_seconds"] > 0 for row in told["rows"])
    assert any(row["optimal"] for row in told["rows"])
    assert told["choice"]["decision"] == "chosen"
    assert ("measure", len(asked.rungs) * 2) in seen and any(stage.startswith("parity") for stage, _at in seen)


def test_the_same_again_measures_nothing_and_other_targets_take_over(
    workspace: Workspace, packed: Version, counting: Counting
) -> None:
    asked = small(workspace, packed)
    first = optimised(workspace, packed, asked)
    assert counting.looks == 2
    again = optimised(workspace, packed, asked)
    assert (again.id, counting.looks) == (first.id, 2)
    other = optimised(workspace, packed, asked, Targets(max_mb=1))
    assert other.id != first.id and counting.looks == 2 and times(workspace, other) == times(workspace, first)
    assert optimisations.find(workspace, first.id).targets == Targets(), "whoever asked first keeps his answer"
    anew = optimised(workspace, packed, asked, again=True)
    assert anew.id != first.id and counting.looks == 4
    assert optimised(workspace, packed, small(workspace, packed, context=512)).id not in (first.id, other.id)
    assert counting.looks == 6
    assert len(optimisations.history(workspace)) == 4


def test_a_second_measuring_that_was_cut_off_goes_on_and_is_not_begun_a_third_time(
    workspace: Workspace, packed: Version, counting: Counting
) -> None:
    asked = small(workspace, packed)
    optimised(workspace, packed, asked)
    begun = optimise.begin(workspace, packed, Targets(), asked, again=True)
    assert optimise.begin(workspace, packed, Targets(), asked, again=True).id == begun.id
    assert optimise.begin(workspace, packed, Targets(), asked).id == begun.id


def test_killed_before_every_statement_nothing_is_lost_and_nothing_measured_twice(
    workspace: Workspace, packed: Version, counting: Counting
) -> None:
    path = workspace.path
    asked = small(workspace, packed)
    workspace.db.close()

    def work() -> None:
        here = open_workspace(path)
        optimised(here, packed, asked)

    for moment in count():
        before = counting.looks
        killed = killed_at(moment, work)
        here = open_workspace(path)
        kept = [one for one in optimisations.history(here) if one.state != "done"]
        stored = sum(len(times(here, one)) for one in kept)
        done = optimised(here, packed, asked)
        assert done.state == "done" and len(times(here, done)) == 2
        assert counting.looks - before <= 3, "a kill costs the look it fell into, and no other"
        assert counting.looks - before >= 2 - stored
        with here.db.write() as rows:
            for name in ("optimisation_samples", "optimisations"):
                rows.execute(metadata.tables[name].delete())
        here.db.close()
        if not killed:
            break
    print(f"killed at {moment} moments")
    assert moment > 20


COMMAND = [sys.executable, "-m", "tuneloop", "--json", "-w"]
ARGUMENTS = ["optimise", "latest", "--threads", "1", "--rounds", "4", "--context", "256"]


def test_kill_9_of_the_command_and_the_same_command_goes_on(workspace: Workspace, packed: Version) -> None:
    command = [*COMMAND, str(workspace.path), *ARGUMENTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while not (found := optimisations.history(workspace)) or len(times(workspace, found[0])) < 3:
            assert time.monotonic() < deadline and child.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        assert found[0].state == "running" and 0 < optimisations.find(workspace, found[0].id).progress < 1
        os.kill(child.pid, signal.SIGKILL)
    stopped = optimisations.find(workspace, found[0].id)
    assert stopped.state == "interrupted" and optimise.shown(workspace, stopped)["choice"] is None
    before = times(workspace, stopped)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["id"], told["state"], [row["looks"] for row in told["rows"]]) == (stopped.id, "done", [4, 4])
    after = times(workspace, stopped)
    assert len(after) == 8 and {key: after[key] for key in before} == before


def test_a_file_that_cannot_be_loaded_fails_its_rung_only(workspace: Workspace) -> None:
    version = add_packed(workspace, "tiny")
    add_pack(workspace, version, "q4_K_M", change=crashing())
    done = optimised(workspace, version, small(workspace, version, rounds=2))
    found = {row.quant: row for row in optimisations.table(workspace, done)}
    assert found["q8_0"].state == "measured" and found["q8_0"].looks == 2 and found["q8_0"].optimal
    assert found["q4_K_M"].state == "failed" and "could not be loaded" in found["q4_K_M"].reason
    assert len(times(workspace, done)) == 3, "a rung that failed is not looked at again"


def test_a_look_that_takes_too_long_is_a_failed_rung_and_another_deadline_another_ladder(
    workspace: Workspace, packed: Version
) -> None:
    done = optimised(workspace, packed, small(workspace, packed, seconds=0.01))
    assert {row.state for row in optimisations.table(workspace, done)} == {"failed"}
    said = choose(optimisations.table(workspace, done), Targets())
    assert (said.decision, said.row) == ("infeasible here", None)
    assert optimised(workspace, packed, small(workspace, packed)).id != done.id


def test_what_parity_refuses_is_a_row_and_the_others_are_measured(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting: Counting
) -> None:
    from tuneloop.tune import parity

    version = tuned(workspace, build(tmp_path / "base", "llama", num_hidden_layers=1))
    monkeypatch.setattr(parity, "KL_BAR_FOUR_BITS", 0.0)
    done = optimised(workspace, version, small(workspace, version, quants=("q4_K_M", "q8_0")))
    found = {row.quant: row for row in optimisations.table(workspace, done)}
    assert found["q4_K_M"].state == "refused" and "not the model that was trained" in found["q4_K_M"].reason
    assert found["q8_0"].state == "measured" and counting.looks == 1


def test_what_stops_it_is_noted_and_it_goes_on_later(workspace: Workspace, tmp_path: Path, counting: Counting) -> None:
    base = build(tmp_path / "base", "llama", num_hidden_layers=1)
    version = tuned(workspace, base)
    shutil.move(base, tmp_path / "away")
    asked = small(workspace, version)
    begun = optimise.begin(workspace, version, Targets(), asked)
    with pytest.raises(Missing, match="no model folder"):
        optimise.run(workspace, begun)
    failed = optimisations.find(workspace, begun.id)
    assert failed.state == "failed" and "no model folder" in failed.error and failed.progress < 1
    shutil.move(tmp_path / "away", base)
    done = optimised(workspace, version, asked)
    assert (done.id, done.state, done.error) == (begun.id, "done", "")


def test_a_file_that_was_made_again_is_measured_again(
    workspace: Workspace, packed: Version, counting: Counting
) -> None:
    asked = small(workspace, packed)
    begun = optimise.begin(workspace, packed, Targets(), asked)
    optimisations.keep(workspace, begun, "q8_0/1", 0, "measured", FIGURES | {"sha256": "of another file"})
    optimisations.keep(workspace, begun, "q4_K_M/1", 0, "refused", {"reason": "before", "sha256": ""})
    done = optimise.run(workspace, begun)
    assert counting.looks == 2 and {row.state for row in optimisations.table(workspace, done)} == {"measured"}


def test_a_finished_file_is_measured_as_it_is(workspace: Workspace, packed: Version, counting: Counting) -> None:
    assert optimise.ladder(workspace, packed).quants == ("q4_K_M", "q8_0")
    done = optimised(workspace, packed, small(workspace, packed, quants=("q8_0", "f16")), Targets(max_kl=1.0))
    found = {row.quant: row for row in optimisations.table(workspace, done)}
    assert found["f16"].state == "refused" and "finished file" in found["f16"].reason
    assert (found["q8_0"].state, found["q8_0"].kl) == ("measured", None)
    assert optimise.shown(workspace, done)["choice"]["decision"] == "infeasible here"


def test_refusals_come_before_any_row(workspace: Workspace, tmp_path: Path) -> None:
    version = add_version(workspace, "v", meta={"base": "somewhere"})
    with pytest.raises(BadInput, match="q9"):
        optimise.ladder(workspace, version, quants=("q9",))
    with pytest.raises(BadInput, match="cores"):
        optimise.ladder(workspace, version, threads=(1000,))
    with pytest.raises(BadInput, match="context"):
        optimise.ladder(workspace, version, context=3)
    assert optimisations.history(workspace) == []
    with pytest.raises(Missing):
        optimisations.find(workspace, "op-x")


def test_threads_that_cannot_win_are_looked_at_once(
    workspace: Workspace, packed: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {("q8_0", 1): [30.0, 28.0], ("q8_0", 2): [27.0, 3.0], ("q4_K_M", 1): [40.0, 9.0], ("q4_K_M", 2): [10.0]}

    def look(model: Path, *, threads: int, **_given: Any) -> dict[str, Any]:
        quant = model.stem.removeprefix("model-")
        return FIGURES | {"tokens_per_second": speeds[quant, threads]}

    monkeypatch.setattr(speed, "measure", look)
    asked = Ladder(("q8_0", "q4_K_M"), (1, 2), 256, rounds=3)
    done = optimised(workspace, packed, asked)
    found = {(row.quant, row.threads): row.looks for row in optimisations.table(workspace, done)}
    assert found == {("q8_0", 1): 3, ("q8_0", 2): 1, ("q4_K_M", 1): 3, ("q4_K_M", 2): 3}


def test_without_the_parts_for_tuning_it_says_what_to_install(
    workspace: Workspace, packed: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = small(workspace, packed)
    monkeypatch.setitem(sys.modules, "tuneloop.tune.pack", None)
    monkeypatch.delattr("tuneloop.tune.pack", raising=False)
    with pytest.raises(MissingExtra, match="not installed"):
        optimised(workspace, packed, asked)


def test_one_at_a_time(workspace: Workspace, packed: Version, counting: Counting) -> None:
    begun = optimise.begin(workspace, packed, Targets(), small(workspace, packed))
    with workspace.lock(optimise.LOCK), pytest.raises(Conflict):
        optimise.run(workspace, begun)
    assert optimisations.find(workspace, begun.id).state == "interrupted", "it never began"
    with subprocess.Popen(["sleep", "60"]) as other:
        optimisations.claim(workspace, begun, other.pid)
        assert optimisations.find(workspace, begun.id).state == "running"
        optimisations.claim(workspace, begun, other.pid)
        later = optimise.begin(workspace, packed, Targets(max_mb=1), small(workspace, packed))
        for one in (begun, later):
            with pytest.raises(Conflict, match="being measured"):
                optimisations.claim(workspace, one, os.getpid())
        other.kill()
    assert optimisations.find(workspace, begun.id).state == "interrupted"
    optimisations.claim(workspace, later, os.getpid())


def test_a_worker_is_known_by_its_start_and_one_elsewhere_by_what_it_wrote() -> None:
    mine = optimisations.worker(os.getpid())
    assert optimisations.alive(mine, 0.0)
    host, pid, born = mine.split(" ")
    assert not optimisations.alive(f"{host} {pid} {float(born) - 60:.2f}", time.time()), (
        "a later process of that number"
    )
    assert optimisations.alive(f"elsewhere {pid} {born}", time.time())
    assert not optimisations.alive(f"elsewhere {pid} {born}", time.time() - optimisations.SILENT - 1)
    assert not optimisations.alive("", time.time())


def test_another_teams_rows_are_not_there(workspace: Workspace, packed: Version, counting: Counting) -> None:
    asked = small(workspace, packed)
    red = optimise.begin(workspace, packed, Targets(), asked, tenant="red")
    assert optimise.begin(workspace, packed, Targets(), asked).id != red.id
    with pytest.raises(Missing):
        optimisations.find(workspace, red.id)
    assert len(optimisations.history(workspace)) == 1 and len(optimisations.history(workspace, tenant=None)) == 2


def test_a_full_disk_is_the_packers_word(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting: Counting
) -> None:
    version = tuned(workspace, build(tmp_path / "base", "llama", num_hidden_layers=1))

    def full(path: Path, needed: int) -> None:
        raise OutOfResources(f"{needed} bytes")

    monkeypatch.setattr("tuneloop.tune.model.need_disk", full)
    with pytest.raises(OutOfResources):
        optimised(workspace, version, small(workspace, version))
    assert counting.looks == 0 and optimisations.history(workspace)[0].state == "failed"


def test_what_the_process_of_the_gateway_meets_is_noted(workspace: Workspace, packed: Version) -> None:
    begun = optimise.begin(workspace, packed, Targets(), small(workspace, packed))
    command = [sys.executable, "-m", "tuneloop.loop.optimise", str(workspace.path)]
    subprocess.run([*command, begun.id, "en"], check=True)
    assert optimisations.find(workspace, begun.id).state == "done"
    refused = subprocess.run([*command, "op-nothing", "en"], check=False, capture_output=True, text=True)
    assert refused.returncode != 0 and "there is no optimisation" in refused.stderr
