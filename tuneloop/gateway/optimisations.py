"""Routes for optimisation: measure what a version can be served as on this machine, and choose by target figures.

The measuring is a process of its own that outlives the server; its rows tell how far it is. What was interrupted goes
on when the same is asked for again. While the server is busy the figures are those of a busy machine.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from tuneloop import texts, versions
from tuneloop.access.caller import Caller
from tuneloop.errors import Conflict
from tuneloop.gateway.answers import answers
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import Checked, Name
from tuneloop.loop import optimisations as rows
from tuneloop.loop import optimise as verb
from tuneloop.loop.ladder import MOST_RUNGS, Targets
from tuneloop.workspace import Workspace

router = APIRouter(tags=["optimisations"])
Reader = Annotated[Caller, needs("reader")]
Owner = Annotated[Caller, needs("owner")]
Target = Annotated[float, Field(gt=0, le=1e9)]


class TargetMetrics(Checked):
    """What is asked for; a name that is not here is an error, for nothing would measure it."""

    model_config = ConfigDict(extra="forbid")
    max_mb: Target | None = None
    min_tokens_per_second: Target | None = None
    max_kl: Target | None = None


class OptimisationRequest(Checked):
    """model: a version by id, name, "active" or "latest". What is left out has the workspace's default."""

    model: Name
    targets: TargetMetrics = TargetMetrics()
    quants: list[Name] = Field(default_factory=list, max_length=16)
    threads: list[Annotated[int, Field(ge=1, le=1024)]] = Field(default_factory=list, max_length=16)
    context: int = Field(0, ge=0, le=1 << 20)
    parallel: int = Field(0, ge=0, le=MOST_RUNGS)
    rounds: int = Field(3, ge=1, le=20)
    deadline: float = Field(0.0, ge=0, le=86_400)
    again: bool = False


@router.post("/optimisations", responses=answers(404, 409, 422, 503, 507))
def begin_optimisation(request: Request, asked: OptimisationRequest, caller: Owner) -> dict[str, Any]:
    """Start measuring, or go on with what was interrupted; the same request while it runs, or after, changes nothing.

    409 while something else is being measured. A target that nothing here meets is no error: "infeasible here" is the
    choice, with what came nearest.
    """
    workspace = _workspace(request)
    version = versions.find(workspace, asked.model)
    ladder = verb.ladder(
        workspace, version, quants=tuple(asked.quants), threads=tuple(asked.threads), context=asked.context,
        parallel=asked.parallel, rounds=asked.rounds, seconds=asked.deadline,
    )  # fmt: skip
    targets = Targets(**asked.targets.model_dump())
    found = rows.begin(
        workspace, version, targets, ladder, again=asked.again, tenant=caller.tenant, by=caller.key
    )  # fmt: skip
    if found.state in ("interrupted", "failed"):
        _start(workspace, found)
        found = rows.find(workspace, found.id, tenant=caller.tenant)
    return rows.shown(workspace, found)


@router.get("/optimisations", responses=answers(422, 503))
def list_optimisations(request: Request, caller: Reader) -> dict[str, Any]:
    """Newest first, a hundred at most."""
    workspace = _workspace(request)
    return {"data": [rows.shown(workspace, one) for one in rows.history(workspace, tenant=caller.tenant)]}


@router.get("/optimisations/{identity}", responses=answers(404, 422, 503))
def show_optimisation(request: Request, identity: str, caller: Reader) -> dict[str, Any]:
    """How far it is, every rung with its figures by now, and once it is done the choice.

    state "interrupted": its process is gone; ask for the same again and it goes on.
    """
    workspace = _workspace(request)
    return rows.shown(workspace, rows.find(workspace, identity, tenant=caller.tenant))


def _start(workspace: Workspace, found: rows.Optimisation) -> None:
    """The process that measures. Raises Conflict while another one does."""
    command = [sys.executable, "-P", "-m", "tuneloop.loop.optimise", str(workspace.path), found.id, texts.language()]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        rows.claim(workspace, found, process.pid)
    except Conflict:
        process.kill()
        raise
    finally:
        threading.Thread(target=process.wait, daemon=True).start()  # or it would stay as a zombie


def _workspace(request: Request) -> Workspace:
    workspace = request.app.state.desk.workspace
    assert isinstance(workspace, Workspace)
    return workspace
