"""Routes for quality: assess an answer, see how scores move and whether they agree with people, set the switch.

Administrators of the installation set the switch; everybody who may ask may assess. The judge, where the settings
name one, is asked in a place of its engine like any request, and about a share of the calls by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, model_validator

from tuneloop.access.caller import Caller
from tuneloop.answer import criteria, judging, quality, switch
from tuneloop.answer.judging import Judge
from tuneloop.errors import EngineError, Missing, TooMany
from tuneloop.gateway.answers import answers
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import Checked, Name, Text
from tuneloop.gateway.tasks import edited
from tuneloop.texts import _

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk

router = APIRouter(tags=["quality"])
Reader = Annotated[Caller, needs("reader")]
User = Annotated[Caller, needs("user")]
Owner = Annotated[Caller, needs("owner")]
ROUND = 20  # answers a judge is asked about in one round, a minute apart


class Assessed(Checked):
    """A stored call, or a question and an answer. criteria: names, or names with a sentence for your own.

    reference: an answer known to be right. judge: whether the judge of the settings is asked too.
    """

    call: Name = ""
    question: Text = ""
    answer: Text = ""
    task: Name = ""
    criteria: list[Name] | dict[Name, Text] = Field([], max_length=20)
    reference: Text = ""
    judge: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> Assessed:
        if bool(self.call) == bool(self.question or self.answer):
            raise ValueError(_("send a call, or a question and an answer"))
        return self


class Compared(Checked):
    """Two answers to one question, for the judge."""

    question: Text
    one: Text
    other: Text
    criterion: Name = "relevance"
    asks: Annotated[str, Field(max_length=600)] = ""


class SwitchBody(Checked):
    """on: forced, at `threshold` (share of the checks that hold). auto: people's marks decide."""

    mode: Literal["on", "off", "auto"]
    threshold: float | None = Field(None, ge=0, le=1)


@router.post("/quality", responses=answers(404, 422, 503, 504))
async def assess_quality(request: Request, body: Assessed, caller: User) -> dict[str, Any]:
    """Scores by criterion, each with its method and that method's agreement with people's marks."""
    desk: Desk = request.app.state.desk
    question, answer, task_name = body.question, body.answer, body.task
    if body.call:
        await asyncio.to_thread(desk.settle)
        question, answer, task_name = quality.of_call(desk.workspace, body.call, tenant=caller.tenant)
    task = desk.shelf.book.tasks.get(task_name)
    if caller.scopes and task_name not in caller.scopes:
        raise Missing(_("there is no task '{name}'").format(name=task_name), fix=_("GET /tasks lists what there is."))
    found = await quality.assess(
        question, answer, criteria.chosen(body.criteria, task), task=task, reference=body.reference,
        judge=named(desk, "quality.judge") if body.judge else None, encoder=named(desk, "quality.encoder"),
    )  # fmt: skip
    if body.call:
        await asyncio.to_thread(quality.keep, desk.workspace, body.call, found)
    known = await asyncio.to_thread(quality.get_quality_stats, desk.workspace, days=30, tenant=caller.tenant)
    shown = [asdict(score) | {"agreement": agreement_of(known, score)} for score in found]
    return {"call": body.call, "overall_score": quality.overall(found), "scores": shown}


@router.post("/quality/compare", responses=answers(404, 422, 503, 504), dependencies=[needs("user")])
async def compare_answers(request: Request, body: Compared) -> dict[str, Any]:
    """Which of two answers the judge prefers, asked twice with their places changed: one, other or tie."""
    desk: Desk = request.app.state.desk
    judge = named(desk, "quality.judge")
    if judge is None:
        raise Missing(_("no judge is configured"), fix=_("Set quality.judge to ENGINE/MODEL in tuneloop.toml."))
    (criterion,) = criteria.chosen({body.criterion: body.asks})
    said = await judging.compare(judge, criterion.asks, body.question, body.one, body.other)
    return {"prefers": {1.0: "one", 0.0: "other"}.get(said, "tie"), "judge": judge.name, "criterion": criterion.name}


@router.get("/quality/stats", responses=answers(422))
def quality_stats(
    request: Request,
    caller: Reader,
    model: Name = "",
    task: Name = "",
    days: Annotated[float, Query(gt=0, le=3650, allow_inf_nan=False)] = 7.0,
) -> dict[str, Any]:
    """Means, course and agreement of every criterion and method, of one model or task or of all."""
    desk: Desk = request.app.state.desk
    return quality.get_quality_stats(desk.workspace, model, days, tenant=caller.tenant, task=task)


@router.get("/tasks/{name}/switch", responses=answers(404))
def show_switch(request: Request, name: str, caller: Reader) -> dict[str, Any]:
    """How a task's quality switch stands, on what evidence, and what its predictor knows."""
    desk: Desk = request.app.state.desk
    task = desk.shelf.book.tasks.get(name)
    if task is None or (caller.scopes and name not in caller.scopes):
        raise Missing(_("there is no task '{name}'").format(name=name), fix=_("GET /tasks lists what there is."))
    known = desk.predictors.of(task)
    return switch.standing(desk.workspace, task) | {"predictor": known.as_dict() if known else None}


@router.put("/tasks/{name}/switch", responses=answers(404, 409, 422, 507))
async def set_switch(request: Request, caller: Owner, name: str, body: SwitchBody) -> dict[str, Any]:
    """Force the switch on or off, or let people's marks decide. The change is kept with its time."""
    desk: Desk = request.app.state.desk
    task = await edited(request, switch.set_mode, desk.shelf, name, body.mode, body.threshold, by=caller.key or "api")
    await asyncio.to_thread(desk.switch.refresh, desk.shelf.book, every=0)
    return switch.standing(desk.workspace, task)


def named(desk: Desk, setting: str) -> Judge | None:
    return quality.named(desk.workspace.settings.text(setting), desk.engines.stations)


def agreement_of(known: dict[str, Any], score: criteria.Score) -> dict[str, Any] | None:
    method = known["criteria"].get(score.criterion, {}).get(score.method)
    return method["agreement"] if method else None


async def judge_new(desk: Desk, undecided: set[str]) -> None:
    """Ask the judge about the share of new answers that the settings name. undecided: calls not to ask of again."""
    share = desk.workspace.settings.number("quality.judge_share")
    if not share:
        return
    judge = named(desk, "quality.judge")
    if judge is None:
        return
    method = f"{judging.METHOD}:{judge.name}"
    todo = await asyncio.to_thread(quality.waiting, desk.workspace, (method,), most=ROUND, share=share)
    for call, question, answer, task in todo:
        if call in undecided or desk.closing:
            continue
        wanted = [one for one in criteria.chosen((), desk.shelf.book.tasks.get(task)) if one.name in quality.JUDGED]
        try:
            found = [await quality.judged(judge, one, question, answer) for one in wanted]
        except (EngineError, TooMany) as problem:
            desk.log.warning("the judge is left alone for a minute: %s", problem.message)
            return
        if all(score.value is None for score in found):
            undecided.add(call)
        await asyncio.to_thread(quality.keep, desk.workspace, call, found)
