"""Optimisation over HTTP: started in a process of its own, watched, interrupted, gone on with, chosen from."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from tests.answer.models import add_pack, add_packed
from tests.gateway.live import Live, running, until
from tests.gateway.test_exchange import ECHO, task
from tuneloop.access import keys
from tuneloop.db.optimisation_tables import optimisations as table
from tuneloop.loop import optimisations
from tuneloop.workspace import open_workspace, write_atomically

ASKED: dict[str, Any] = {"model": "tiny", "threads": [1], "rounds": 2, "context": 256}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    open_workspace(tmp_path / "work", create=True)
    write_atomically(tmp_path / "work/tuneloop.toml", ECHO + task("echo"))
    workspace = open_workspace(tmp_path / "work")
    add_pack(workspace, add_packed(workspace, "tiny"), "q4_K_M", seed=1)
    with running(workspace, None) as live:
        yield live
    for one in optimisations.history(workspace):
        if one.state == "running":
            psutil.Process(process_of(live, one.id)).kill()
    until(lambda: all(one.state != "running" for one in optimisations.history(workspace)))


def process_of(live: Live, identity: str) -> int:
    with live.workspace.db.read() as rows:
        return int(str(rows.execute(select(table.c.worker).where(table.c.id == identity)).scalar()).split(" ")[1])


def begun(live: Live, **more: Any) -> dict[str, Any]:
    reply = live.post("/optimisations", ASKED | more)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def ended(live: Live, identity: str) -> dict[str, Any]:
    def state() -> Any:
        return live.get(f"/optimisations/{identity}").json()["state"]

    until(lambda: state() != "running", 60)
    found: dict[str, Any] = live.get(f"/optimisations/{identity}").json()
    return found


def progress(live: Live) -> dict[str, float]:
    lines = [line for line in live.get("/metrics").text.splitlines() if line.startswith("optimization_progress{")]
    return {line.split('optimization="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_it_is_begun_watched_and_chosen_from(live: Live) -> None:
    first = begun(live, targets={"max_mb": 1.0})
    assert first["state"] == "running" and first["choice"] is None
    assert 0 <= progress(live)[first["id"]] < 1
    done = ended(live, first["id"])
    assert (done["state"], done["progress"], done["error"]) == ("done", 1.0, "")
    assert [(row["quant"], row["looks"]) for row in done["rows"]] == [("q4_K_M", 2), ("q8_0", 2)]
    assert done["choice"]["decision"] == "chosen" and done["rows"][done["choice"]["row"]]["optimal"]
    assert progress(live) == {first["id"]: 1.0}
    assert begun(live, targets={"max_mb": 1.0}) == done, "the same asked again is the same answer"
    assert [one["id"] for one in live.get("/optimisations").json()["data"]] == [first["id"]]


def test_other_targets_are_answered_from_what_was_measured(live: Live) -> None:
    first = ended(live, begun(live)["id"])
    other = ended(live, begun(live, targets={"max_mb": 0.001})["id"])
    assert other["id"] != first["id"] and other["rows"] == first["rows"]
    assert other["choice"]["decision"] == "infeasible here" and "at most 0.001 asked" in other["choice"]["why"]


def test_the_same_while_it_runs_is_the_same_and_another_one_waits(live: Live) -> None:
    first = begun(live, rounds=20)
    assert begun(live, rounds=20)["id"] == first["id"]
    reply = live.post("/optimisations", ASKED | {"rounds": 3})
    assert reply.status_code == 409 and "being measured" in reply.json()["error"]["message"]


def test_what_was_killed_says_so_and_goes_on_when_it_is_asked_for_again(live: Live) -> None:
    first = begun(live, rounds=6)
    until(lambda: sum(row["looks"] for row in live.get(f"/optimisations/{first['id']}").json()["rows"]) >= 2, 60)
    os.kill(process_of(live, first["id"]), signal.SIGKILL)
    stopped = ended(live, first["id"])
    assert stopped["state"] == "interrupted" and 0 < stopped["progress"] < 1
    known = [row["looks"] for row in stopped["rows"]]
    again = begun(live, rounds=6)
    assert again["id"] == first["id"] and all(
        there >= before for there, before in zip((row["looks"] for row in again["rows"]), known, strict=True)
    )
    assert [row["looks"] for row in ended(live, first["id"])["rows"]] == [6, 6]


def test_what_its_process_cannot_do_is_told(live: Live) -> None:
    with live.workspace.lock("optimise"):
        found = ended(live, begun(live)["id"])
    assert found["state"] == "interrupted", "another process measured: nothing was begun"
    assert ended(live, begun(live)["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model": "nothing"}, 404, "no version"),
        ({"targets": {"response_time": 1.0}}, 400, "response_time"),
        ({"targets": {"max_mb": -1.0}}, 400, "max_mb"),
        ({"threads": [0]}, 400, "threads"),
        ({"threads": [1024]}, 400, "only wait for each other"),
        ({"context": 3}, 400, "context must be"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_begins(live: Live, body: dict[str, Any], status: int, said: str) -> None:
    reply = live.post("/optimisations", ASKED | body)
    assert reply.status_code == status and said in reply.json()["error"]["message"], reply.text
    assert live.get("/optimisations").json() == {"data": []}
    assert live.get("/optimisations/op-x").status_code == 404


def test_who_may(live: Live) -> None:
    def bearer(**more: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {keys.create(live.workspace, name='k', **more)[1]}"}

    owner, team, user = bearer(role="admin"), bearer(role="admin", tenant="red"), bearer(role="user")
    live.server.desk.doorkeeper.forget()
    for headers, status in ((team, 403), (user, 403), ({}, 401)):
        assert live.post("/optimisations", ASKED, headers=headers).status_code == status
    identity = live.post("/optimisations", ASKED, headers=owner).json()["id"]
    assert live.get(f"/optimisations/{identity}", headers=user).status_code == 200
    assert live.get(f"/optimisations/{identity}", headers=team).status_code == 404
    assert live.get("/optimisations", headers=team).json() == {"data": []}
