"""Routes for experiments. Readers look, users select and record, admins begin and end; each team sees its own.

A promotion or a rollback changes tuneloop.toml, which is of all teams: only its owner may; a team's admin may stop.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import Field

from tuneloop.access.caller import Caller
from tuneloop.answer.tasks import Shelf
from tuneloop.choose import experiments
from tuneloop.choose.experiments import Experiment
from tuneloop.errors import BadInput, Missing, Refused
from tuneloop.gateway.answers import answers
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import Checked, Name
from tuneloop.loop import photo_comparison
from tuneloop.texts import _

OWNER = [needs("owner")]  # these change the weights by which the requests of every team are shared out
router = APIRouter(tags=["experiments"])
Reader = Annotated[Caller, needs("reader")]
User = Annotated[Caller, needs("user")]
Admin = Annotated[Caller, needs("admin")]
Share = Annotated[float, Field(gt=0, le=1)]


class MetricRequest(Checked):
    """A metric by name; margin: how much worse a guardrail may get before the experiment is rolled back."""

    name: Name
    kind: Name = "mean"
    better: Name = "up"
    margin: float = Field(0.0, ge=0)
    q: float = Field(0.95, gt=0, lt=1)


class ExperimentRequest(Checked):
    """arms: name -> variant of the task; the first is what serves today."""

    name: Name
    task: Name
    arms: dict[Name, Name] = Field(min_length=2, max_length=20)
    weights: dict[Name, float] | None = None
    metrics: list[Name | MetricRequest] = Field(["user_satisfaction", "response_time"], max_length=20)
    guardrails: list[Name | MetricRequest] = Field(["error_rate"], max_length=20)
    days: float = Field(14.0, gt=0, le=365)
    method: Name = "always-valid"
    mode: Name = "split"
    layer: Name = "default"
    share: Share = 1.0
    planned: int = Field(0, ge=0, le=10**9)
    least: int = Field(100, ge=1, le=10**9)
    cap: int = Field(5, ge=1, le=10**6)


class UnitRequest(Checked):
    user: Annotated[str, Field(min_length=1, max_length=256)]


class OutcomeRequest(Checked):
    """What was measured of somebody. arm: empty: the user's own arm."""

    metric: Name
    value: float
    arm: Name = ""
    user: Name = ""
    call: Name = ""


class EndRequest(Checked):
    """note: why. arm: the one to promote; empty: the winner."""

    note: Annotated[str, Field(max_length=2000)] = ""
    arm: Name = ""


@router.get("/experiments", responses=answers(422))
def list_experiments(request: Request, caller: Reader) -> dict[str, Any]:
    """All of the team, newest first."""
    found = experiments.history(_workspace(request), tenant=caller.tenant)
    return {"data": [_shown(one) for one in found if not caller.scopes or one.task in caller.scopes]}


@router.post("/experiments", responses=answers(404, 409, 422, 503, 507))
def create_experiment(request: Request, asked: ExperimentRequest, caller: Admin) -> dict[str, Any]:
    """Begin one. Requests are divided from the next second on."""
    shelf: Shelf = request.app.state.desk.shelf
    if caller.scopes and asked.task not in caller.scopes:
        raise Refused(_("this key may not ask for '{name}'").format(name=asked.task))
    check_variants(shelf, asked.task, asked.arms)
    given = asked.model_dump()
    made = experiments.create(_workspace(request), **given, tenant=caller.tenant, by=caller.key)
    return _shown(made)


@router.get("/experiments/{name}", responses=answers(404, 422))
def show_experiment(request: Request, name: str, caller: Reader) -> dict[str, Any]:
    """Its design, its history, and the verdict of the last look."""
    found = _find(request, name, caller)
    return _shown(found) | {"events": experiments.events(_workspace(request), found)}


@router.get("/experiments/{name}/verdict", responses=answers(404, 409, 422, 503, 507))
def look_at_experiment(request: Request, name: str, caller: Reader) -> dict[str, Any]:
    """What the data show now. Looking often changes nothing: the default method allows it."""
    request.app.state.desk.settle()
    workspace = _workspace(request)
    found = _find(request, name, caller)
    experiments.look(workspace, found)
    fresh = experiments.find(workspace, found.id, tenant=caller.tenant)
    return {"experiment": fresh.name, "state": fresh.state, "verdict": fresh.verdict}


@router.post("/experiments/{name}/select", responses=answers(404, 422))
def select_arm(request: Request, name: str, asked: UnitRequest, caller: User) -> dict[str, Any]:
    """The arm of a user: always the same. null when the user is outside the experiment's share."""
    found = _find(request, name, caller)
    arm = experiments.choose_arm(found, asked.user) if found.state == "running" else None
    return {
        "experiment": found.name,
        "arm": arm and arm.name,
        "variant": arm and arm.variant,
        "share": arm and arm.share,
    }


@router.post("/experiments/{name}/outcomes", responses=answers(404, 409, 422, 503, 507))
def record_outcome(
    request: Request, name: str, asked: OutcomeRequest, caller: User,
    idempotency_key: str = Header("", max_length=255),
) -> dict[str, Any]:  # fmt: skip
    """Commit one measurement, then reply. The same Idempotency-Key again adds nothing."""
    found = _find(request, name, caller)
    arm = asked.arm
    if not arm:
        own = experiments.choose_arm(found, asked.user) if asked.user else None
        if own is None:
            raise BadInput(_("name the arm, or a user who is in the experiment"))
        arm = own.name
    added = experiments.record(
        _workspace(request), found, arm=arm, metric=asked.metric, value=asked.value, user=asked.user, call=asked.call,
        key=idempotency_key,
    )  # fmt: skip
    return {"experiment": found.name, "arm": arm, "metric": asked.metric, "added": added}


@router.post("/experiments/{name}/stop", responses=answers(404, 409, 422, 503, 507))
def stop_experiment(request: Request, name: str, asked: EndRequest, caller: Admin) -> dict[str, Any]:
    """End it; what serves stays as it is."""
    found = _find(request, name, caller)
    return _shown(experiments.stop(_workspace(request), found, note=asked.note, by=caller.key))


@router.post("/experiments/{name}/promote", responses=answers(404, 409, 422, 503, 507), dependencies=OWNER)
def promote_arm(request: Request, name: str, asked: EndRequest, caller: Admin) -> dict[str, Any]:
    """End it and give the winner's variant all of the task's requests."""
    found = _find(request, name, caller)
    ended = experiments.promote(_workspace(request), found, arm=asked.arm, note=asked.note, by=caller.key)
    winner = asked.arm or (ended.verdict or {}).get("arm", "")
    return _shown(ended) | {"weights": reweigh(request.app.state.desk.shelf, ended, arm=winner)}


@router.post("/experiments/{name}/rollback", responses=answers(404, 409, 422, 503, 507), dependencies=OWNER)
def roll_back_experiment(request: Request, name: str, asked: EndRequest, caller: Admin) -> dict[str, Any]:
    """End it, or take its promotion back: the first arm's variant gets all requests again."""
    found = _find(request, name, caller)
    ended = experiments.roll_back(_workspace(request), found, note=asked.note, by=caller.key)
    return _shown(ended) | {"weights": reweigh(request.app.state.desk.shelf, ended, arm="")}


def check_variants(shelf: Shelf, task: str, arms: dict[str, str]) -> None:
    """Raises Missing for a task or variants that tuneloop.toml does not have."""
    known = shelf.book.tasks.get(task)
    if known is None:
        raise Missing(_("there is no task '{name}'").format(name=task), fix=_("`tuneloop tasks list` shows them."))
    variants = {variant.name for variant in known.variants}
    if absent := [variant for variant in arms.values() if variant not in variants]:
        said = _("the task '{task}' has no variant '{name}'").format(task=task, name=absent[0])
        raise Missing(said, fix=_("Its variants: {names}.").format(names=", ".join(sorted(variants))))


def reweigh(shelf: Shelf, ended: Experiment, *, arm: str) -> dict[str, float]:
    """Give the variant of `arm` ("" is the first) all weight among the experiment's variants.

    Of a comparison of photo searches: make it the version that searches.
    """
    chosen = next((a.variant for a in ended.arms if a.name == arm), ended.arms[0].variant)
    weights = {a.variant: 1.0 if a.variant == chosen else 0.0 for a in ended.arms}
    if ended.task == photo_comparison.TASK:
        photo_comparison.settle(shelf.workspace, ended, chosen)
    else:
        shelf.set_weights(ended.task, weights)
    return weights


def _find(request: Request, name: str, caller: Caller) -> Experiment:
    found = experiments.find(_workspace(request), name, tenant=caller.tenant)
    if caller.scopes and found.task not in caller.scopes:
        raise Missing(_("there is no experiment '{name}'").format(name=name))
    return found


def _workspace(request: Request) -> Any:
    return request.app.state.desk.workspace


def _shown(one: Experiment) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name not in ("salt", "tenant")}
