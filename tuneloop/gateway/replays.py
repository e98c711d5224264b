"""Routes for paired blind replays: begin one, fetch a pair, judge it, see the result once everything is judged.

While a replay is open no reply says which variant is which, or who leads. Asking for the result ends a replay whose
questions are all judged; from then on nothing can be judged or taken back.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field

from tuneloop.access.caller import Caller
from tuneloop.answer import attempts, checks, cleaners
from tuneloop.answer.attempts import Trail
from tuneloop.answer.route import Lane
from tuneloop.choose import replay as plans
from tuneloop.choose.replay import Replay
from tuneloop.engines.engine import Reply
from tuneloop.errors import EngineError, EngineTimeout, Missing, Refused
from tuneloop.gateway import reading
from tuneloop.gateway.answers import answers
from tuneloop.gateway.engines import Engines
from tuneloop.gateway.exchange import body_for
from tuneloop.gateway.failures import Failure, of_engine
from tuneloop.gateway.guard import needs
from tuneloop.gateway.reading import Asked
from tuneloop.gateway.requests import Checked, Name
from tuneloop.journal import Row
from tuneloop.loop import replay as verb
from tuneloop.records import Call, Task
from tuneloop.texts import _
from tuneloop.workspace import Workspace

router = APIRouter(tags=["replays"])
Reader = Annotated[Caller, needs("reader")]
User = Annotated[Caller, needs("user")]
Admin = Annotated[Caller, needs("admin")]
PATH = "/chat/completions"


class ReplayRequest(Checked):
    """Two variants of a task; questions: how many of the stored ones are to be answered by both."""

    task: Name
    a: Name
    b: Name
    questions: int = Field(50, ge=plans.LEAST, le=plans.MOST)


class JudgementRequest(Checked):
    """question: the number of the pair. rater: who judges; empty: the key. "undo" takes a verdict back."""

    question: int = Field(ge=0, le=plans.MOST)
    verdict: Literal["left", "right", "tie", "skip", "undo"]
    rater: Name = ""


@router.get("/replays", responses=answers(422))
def list_replays(request: Request, caller: Reader) -> dict[str, Any]:
    """All of the team, newest first."""
    workspace = _workspace(request)
    found = plans.history(workspace, tenant=caller.tenant)
    return {"data": [shown(workspace, one) for one in found if not caller.scopes or one.task in caller.scopes]}


@router.post("/replays", responses=answers(404, 409, 422, 503, 507))
def begin_replay(request: Request, asked: ReplayRequest, caller: Admin) -> dict[str, Any]:
    """Choose stored questions; if a replay of these two variants is open already, that one goes on."""
    _may_see(caller, asked.task)
    workspace, task = _workspace(request), _task(request, asked.task)
    made = verb.begin(
        workspace, task, asked.a, asked.b, questions=asked.questions, tenant=caller.tenant, by=caller.key
    )  # fmt: skip
    return shown(workspace, made)


@router.get("/replays/{name}", responses=answers(404, 409, 422, 503, 507))
def show_replay(request: Request, name: str, caller: Reader) -> dict[str, Any]:
    """How far it is. Once every question is judged this ends it, and tells who is who and the verdict."""
    workspace = _workspace(request)
    return shown(workspace, verb.reveal(workspace, _find(request, name, caller)))


@router.get("/replays/{name}/next", responses=answers(404, 409, 422, 502, 503, 504, 507))
async def next_pair(
    request: Request,
    name: str,
    caller: User,
    rater: Annotated[str, Query(max_length=256)] = "",
    besides: Annotated[int | None, Query(ge=0, le=plans.MOST)] = None,
) -> dict[str, Any]:
    """The next pair for this person; "question" is null when nothing is left.

    The answers are made when they are first asked for. besides: the number of a pair being read now, so that the one
    after it can be fetched meanwhile.
    """
    desk = request.app.state.desk
    found = await asyncio.to_thread(_find, request, name, caller)
    task = _task(request, found.task)
    ask = asker(desk.workspace, desk.engines, task, key=caller.key)
    who = rater or _rater(caller)
    pair = await verb.next_pair(desk.workspace, found, task, ask, rater=who, besides=besides)
    now = await asyncio.to_thread(verb.standing, desk.workspace, found, who)
    told: dict[str, Any] = {"replay": found.id, "question": None, "messages": [], "left": "", "right": ""}
    if pair is not None:
        told |= {"question": pair.number, "messages": pair.messages, "left": pair.left, "right": pair.right}
    return told | {"judged": now.judged, "waiting": len(now.waiting())}


@router.post("/replays/{name}/judgements", responses=answers(404, 409, 422, 503, 507))
def judge_pair(request: Request, name: str, asked: JudgementRequest, caller: User) -> dict[str, Any]:
    """Commit a verdict, then reply. Sent again it is the same fact; another verdict replaces the first."""
    found = _find(request, name, caller)
    who = asked.rater or _rater(caller)
    verb.judge(_workspace(request), found, asked.question, asked.verdict, rater=who)
    now = verb.standing(_workspace(request), found, who)
    return {
        "replay": found.id, "question": asked.question, "verdict": asked.verdict, "judged": now.judged,
        "waiting": len(now.waiting()),
    }  # fmt: skip


@router.post("/replays/{name}/end", responses=answers(404, 409, 422, 503, 507))
def end_replay(request: Request, name: str, caller: Admin) -> dict[str, Any]:
    """End it with what is judged so far."""
    workspace = _workspace(request)
    return shown(workspace, verb.reveal(workspace, _find(request, name, caller), end=True))


def shown(workspace: Workspace, one: Replay) -> dict[str, Any]:
    """What may be told of a replay: no names and no count by variant before its end."""
    told: dict[str, Any] = {
        "id": one.id, "task": one.task, "state": one.state, "created": one.created, "questions": len(one.questions),
    }  # fmt: skip
    if one.state == plans.OPEN:
        now = verb.standing(workspace, one)
        return told | {"judged": now.judged, "open": now.outcomes.count(None), "verdict": None}
    return told | {"a": one.a, "b": one.b, "verdict": one.verdict}


def asker(workspace: Workspace, engines: Engines, task: Task, *, key: str = "") -> verb.Ask:
    """Asks a variant of the task as a request would: its prompt, parameters, cleaner and checks; no fallback.

    A timeout and what an engine says is wrong with the question are answers of a kind: the variant has failed. An
    engine that is down, full or misconfigured says nothing about the variant: that is raised.
    """
    context, timeout = workspace.settings.integer("serve.context"), workspace.settings.number("serve.timeout")

    async def ask(stored: Call, variant: str, identity: str) -> Call:
        route, lane = engines.find(f"{task.name}/{variant}")
        if route is None or lane is None:
            raise Missing(_("the task '{task}' has no variant '{name}'").format(task=task.name, name=variant))
        asked = Asked(msgspec.json.encode(stored.request))
        row = Row(identity, time.time(), "chat", msgspec.Raw(b"{}"), status="error", user=stored.user, key=key)
        row.variant, row.engine, row.model = variant, lane.variant.engine, lane.variant.model
        began, trail = time.monotonic(), Trail()
        try:
            answered = await attempts.attempt(
                [lane], PATH, lambda chosen: body_for(route, chosen, asked, PATH, context, stream=False), stream=False,
                until=began + (task.total or timeout), retries=task.retries, trail=trail,
            )  # fmt: skip
            _hear(row, answered.reply, lane, task, asked)
        except EngineTimeout as problem:
            row.error, row.code = problem.message, attempts.code(problem)
        except Failure as problem:
            if problem.status >= 500:
                raise EngineError(problem.message) from problem
            row.error, row.code = problem.message[:2000], problem.code
        row.attempts, row.latency_ms = trail.attempts, round((time.monotonic() - began) * 1000, 3)
        return Call(**msgspec.structs.asdict(row) | {"request": stored.request})

    return ask


def _hear(row: Row, reply: Reply, lane: Lane, task: Task, asked: Asked) -> None:
    if reply.status != 200:
        raise of_engine(reply.status, reply.body)
    row.version = reply.headers.get(b"x-tuneloop-version", b"").decode("latin-1")
    reading.hear(row, reply.body)
    row.answer, row.status = cleaners.clean(task.cleaner, row.answer), "ok"
    row.cost = lane.cost(row.tokens_in, row.tokens_out)
    if task.checks:
        row.quality, _passed = checks.score(task.checks, asked.text(), row.answer)


def _find(request: Request, name: str, caller: Caller) -> Replay:
    found = plans.find(_workspace(request), name, tenant=caller.tenant)
    _may_see(caller, found.task)
    return found


def _may_see(caller: Caller, task: str) -> None:
    """Questions of people are shown: a key of other tasks may not read them."""
    if caller.scopes and task not in caller.scopes:
        raise Refused(_("this key may not ask for '{name}'").format(name=task))


def _rater(caller: Caller) -> str:
    return caller.user or f"key:{caller.key}"


def _task(request: Request, name: str) -> Task:
    found: Task | None = request.app.state.desk.shelf.book.tasks.get(name)
    if found is None:
        raise Missing(_("there is no task '{name}'").format(name=name[:100]), fix=_("GET /tasks lists what there is."))
    return found


def _workspace(request: Request) -> Workspace:
    workspace = request.app.state.desk.workspace
    assert isinstance(workspace, Workspace)
    return workspace
