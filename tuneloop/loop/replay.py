"""Blind replay at work: choose stored questions, have both variants answer them, show pairs, take verdicts, reveal.

The answers are calls like any others (rows with `parent`, the question they replay), made once and kept under ids that
follow from replay, question and side: what was stopped goes on where it was, on any day and from any face. How a
variant is asked is the caller's (`Ask`): the gateway's own engines, with the task's prompt and cleaner.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as changed
from typing import Any

from sqlalchemy import Connection, insert, select

from tuneloop import journal
from tuneloop.answer import calls as call_rows
from tuneloop.answer.tasks import last_user_text
from tuneloop.choose import replay as plans
from tuneloop.choose.replay import LEAST, OPEN, Outcome, Replay, ReplayVerdict
from tuneloop.db.tables import calls, judgements
from tuneloop.errors import BadInput, Conflict, Missing, NotEnoughData
from tuneloop.loop.duel import drop, keep, side
from tuneloop.progress import Progress, silent
from tuneloop.records import Call, Task
from tuneloop.texts import _
from tuneloop.workspace import Workspace

KIND = "replay"
SAID = ("left", "right", "tie", "skip", "undo")
RECENT = 20_000  # of the task's latest calls the questions are drawn
AT_ONCE = 4  # answers under way: a replay must not crowd out people

# (the stored call, the variant, the new call's id) -> the new call; one with status "error" says that the variant has
# no answer to this question. What is raised (EngineError, TooMany) says nothing of the variant: ask again later.
Ask = Callable[[Call, str, str], Awaitable[Call]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One showing. number: of the question; messages: what was asked; left, right: what the person sees."""

    number: int
    messages: list[dict[str, Any]]
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Standing:
    """outcomes: of each question, None while open. mine: numbers this person has judged. sides: left, right clicks."""

    outcomes: tuple[Outcome | None, ...]
    unmade: tuple[int, ...]  # numbers that lack an answer
    mine: frozenset[int]
    sides: tuple[int, int]

    @property
    def judged(self) -> int:
        return sum(outcome in ("a", "b", "tie", "skip") for outcome in self.outcomes)

    @property
    def complete(self) -> bool:
        return None not in self.outcomes

    def waiting(self) -> list[int]:
        """Numbers still to be shown to this person; what somebody else only skipped is among them."""
        return [n for n, said in enumerate(self.outcomes) if said in (None, "skip") and n not in self.mine]


def begin(
    workspace: Workspace, task: Task, a: str, b: str, *, questions: int = 50, tenant: str = "", by: str = ""
) -> Replay:
    """Begin a replay of stored questions of a task, or return the open one of these variants.

    Raises BadInput for one variant twice, Missing for an unknown one, NotEnoughData for fewer than LEAST questions.
    """
    if a == b:
        raise BadInput(_("a replay needs two different variants"), fix=_("`tuneloop tasks show` names them."))
    known = [variant.name for variant in task.variants]
    if absent := [name for name in (a, b) if name not in known]:
        said = _("the task '{task}' has no variant '{name}'").format(task=task.name, name=absent[0][:100])
        raise Missing(said, fix=_("Its variants: {names}.").format(names=", ".join(known)))
    if not LEAST <= questions <= plans.MOST:
        raise BadInput(_("a replay has {least} to {most} questions").format(least=LEAST, most=plans.MOST))
    if found := plans.open_one(workspace, task=task.name, a=a, b=b, tenant=tenant):
        return found
    journal.settle(workspace)
    salt = secrets.token_hex(8)
    chosen = plans.sampled(_stored(workspace, task.name, tenant), questions, salt)
    if len(chosen) < LEAST:
        raise NotEnoughData(
            _("{n} different questions of '{task}' are stored, a replay needs {least}").format(
                n=len(chosen), task=task.name, least=LEAST
            ),
            fix=_("Let people ask for a while longer."),
        )
    return plans.create(
        workspace, task=task.name, a=a, b=b, questions=chosen, fingerprint=fingerprint(task, a, b), salt=salt,
        tenant=tenant, by=by,
    )  # fmt: skip


def fingerprint(task: Task, a: str, b: str) -> str:
    """Changes with whatever shapes the answers of these two variants: a replay must not mix two models as one."""
    shaping = [[v.name, v.engine, v.model, v.parameters] for v in task.variants if v.name in (a, b)]
    written = json.dumps([task.system, task.prompt, task.cleaner, sorted(shaping, key=str)], sort_keys=True)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:16]


async def next_pair(
    workspace: Workspace, replay: Replay, task: Task, ask: Ask, *, rater: str, besides: int | None = None
) -> Pair | None:
    """What this person is to judge next, its answers made if they are not there; None when nothing is left.

    besides: a number to leave out, so that a pair can be fetched while another is read.
    Raises Conflict when the replay is over or the task has changed, EngineError and TooMany as `ask` does.
    """
    if replay.state != OPEN:
        raise Conflict(_("this replay is over"), fix=_("Begin another one."))
    now = await asyncio.to_thread(standing, workspace, replay, rater)
    for number in now.waiting():
        if number != besides and (pair := await _pair(workspace, replay, task, ask, number, rater)):
            return pair
    return None


async def prepare(workspace: Workspace, replay: Replay, task: Task, ask: Ask, watch: Progress = silent) -> None:
    """Make every answer that is missing, so that nobody waits between clicks. Raises as `next_pair` does."""
    unmade = (await asyncio.to_thread(standing, workspace, replay)).unmade
    places, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(number: int) -> None:
        nonlocal done
        async with places:
            await _pair(workspace, replay, task, ask, number, "")
        done += 1
        watch(_("writing answers"), done, len(unmade))

    work = [asyncio.create_task(one(number)) for number in unmade]
    try:
        await asyncio.gather(*work)
    finally:
        for unfinished in work:
            unfinished.cancel()


def judge(workspace: Workspace, replay: Replay, number: int, said: str, *, rater: str) -> None:
    """Commit a verdict ("left", "right", "tie", "skip"), or take one back ("undo"). The same again is the same fact.

    Raises BadInput for a question there is not or that was not shown, Conflict once the replay is over.
    """
    if said not in SAID:
        raise BadInput(_("say one of: {words}").format(words=", ".join(SAID)))
    if not 0 <= number < len(replay.questions):
        raise BadInput(_("there is no question {n}").format(n=number))
    question = replay.questions[number]
    turned = plans.swapped(replay.salt, question, rater)
    verdict = said if said in ("skip", "undo") else side(said, swapped=turned)
    with workspace.db.write() as rows:
        plans.hold_open(rows, replay)
        if said == "undo":
            drop(rows, KIND, f"{replay.id}/{question}", rater)
            return
        pair = _answers(rows, replay, [number])
        if len(pair) < 2 or _unshown(list(pair.values())):
            raise BadInput(_("question {n} has no two answers to judge").format(n=number))
        keep(rows, KIND, f"{replay.id}/{question}", verdict, rater, {"said": said, "number": number})


def standing(workspace: Workspace, replay: Replay, rater: str = "") -> Standing:
    """How far it is, without a word of who leads."""
    with workspace.db.read() as rows:
        return _standing(rows, replay, rater)


def reveal(workspace: Workspace, replay: Replay, *, end: bool = False) -> Replay:
    """The replay, ended with its verdict if every question is judged, or if it is to `end` now; else as it is."""
    if replay.state != OPEN:
        return replay
    with workspace.db.write() as rows:
        plans.hold_open(rows, replay)
        now = _standing(rows, replay, "")
        if now.complete or end:
            plans.close(rows, replay, verdict(rows, replay, now))
    return plans.find(workspace, replay.id, tenant=replay.tenant)


def verdict(rows: Connection, replay: Replay, now: Standing) -> ReplayVerdict:
    """With a note when answers of one side came from several models."""
    said = plans.judge(replay.a, replay.b, now.outcomes, sides=now.sides)
    theirs = (calls.c.experiment == replay.id, calls.c.status == "ok")
    answers = select(calls.c.variant, calls.c.model, calls.c.version).where(*theirs).distinct()
    models: dict[str, set[str]] = defaultdict(set)
    for variant, model, version in rows.execute(answers):
        models[variant].add(f"{model} {version}".strip())
    note = _("the answers of {variant} came from several models: {models}")
    mixed = [note.format(variant=v, models=", ".join(sorted(m))) for v, m in sorted(models.items()) if len(m) > 1]
    return changed(said, notes=(*said.notes, *mixed))


async def _pair(workspace: Workspace, replay: Replay, task: Task, ask: Ask, number: int, rater: str) -> Pair | None:
    """None when the question is gone, a variant has no answer, or both say the same."""
    stored = await asyncio.to_thread(call_rows.find, workspace, replay.questions[number])
    if stored is None:
        return None

    async def answer(arm: str, variant: str) -> Call:
        identity = answer_id(replay, number, arm)
        known = await asyncio.to_thread(call_rows.find, workspace, identity)
        if known is not None:
            return known
        if fingerprint(task, replay.a, replay.b) != replay.fingerprint:
            raise Conflict(
                _("the task '{task}' has changed since this replay began").format(task=replay.task),
                fix=_("End this replay and begin another, or undo the change."),
            )
        made = await ask(stored, variant, identity)
        return await asyncio.to_thread(_kept, workspace, made, replay, arm, stored.id)

    a, b = await asyncio.gather(answer("a", replay.a), answer("b", replay.b))
    if not _differ(a.status, b.status, a.answer, b.answer):
        return None
    turned = plans.swapped(replay.salt, stored.id, rater)
    left, right = (b, a) if turned else (a, b)
    return Pair(number, _messages(stored.request), left.answer, right.answer)


def answer_id(replay: Replay, number: int, arm: str) -> str:
    """The id of the call with which a side answers a question: the same whoever makes it first."""
    return "replay-" + hashlib.sha256(f"{replay.id}/{replay.questions[number]}/{arm}".encode()).hexdigest()[:32]


def _kept(workspace: Workspace, made: Call, replay: Replay, arm: str, parent: str) -> Call:
    """Store an answer unless another process was faster; the one that is stored."""
    row = asdict(made) | {
        "experiment": replay.id, "arm": arm, "parent": parent, "reason": KIND, "tenant": replay.tenant,
        "task": replay.task,
    }  # fmt: skip
    with workspace.db.write() as rows:
        if rows.execute(select(calls.c.id).where(calls.c.id == made.id)).first() is None:
            rows.execute(insert(calls), [row])
    found = call_rows.find(workspace, made.id)
    assert found is not None
    return found


def _stored(workspace: Workspace, task: str, tenant: str) -> list[tuple[str, str, str]]:
    """(id, user, question) of whole chat calls that people made; what is no question of a person is left out."""
    chosen = (
        select(calls.c.id, calls.c.user, calls.c.request)
        .where(calls.c.tenant == tenant, calls.c.task == task, calls.c.status == "ok", calls.c.kind == "chat")
        .where(calls.c.parent == "")
        .order_by(calls.c.time.desc(), calls.c.id)
        .limit(RECENT)
    )
    found = []
    with workspace.db.read() as rows:
        for identity, user, request in rows.execute(chosen):
            messages = _messages(request)
            if messages and messages[-1].get("role") == "user":
                found.append((identity, user, last_user_text(messages)))
    return found


def text_of(message: Mapping[str, Any]) -> str:
    """The text of one message, of whichever role."""
    return last_user_text([{**message, "role": "user"}])


def _messages(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [message for message in request.get("messages") or () if isinstance(message, dict)]


def _standing(rows: Connection, replay: Replay, rater: str) -> Standing:
    answers = _answers(rows, replay, range(len(replay.questions)))
    there = set(rows.execute(select(calls.c.id).where(calls.c.id.in_(replay.questions))).scalars())
    said: dict[int, list[str]] = defaultdict(list)
    mine, sides = set(), Counter[str]()
    clicks = select(judgements.c.verdict, judgements.c.rater, judgements.c.meta).where(
        judgements.c.kind == KIND, judgements.c.subject.startswith(replay.id + "/", autoescape=True)
    )
    for verdict, who, meta in rows.execute(clicks):
        said[meta["number"]].append(verdict)
        sides[meta["said"]] += 1
        if who == rater:
            mine.add(int(meta["number"]))
    outcomes: list[Outcome | None] = []
    unmade = []
    for number, question in enumerate(replay.questions):
        pair = [answers.get((number, arm)) for arm in ("a", "b")]
        unshown = _unshown(pair)
        if None in pair and question in there:
            unmade.append(number)
        outcomes.append(plans.settled(said[number]) or unshown or (None if question in there else "gone"))
    return Standing(tuple(outcomes), tuple(unmade), frozenset(mine), (sides["left"], sides["right"]))


def _answers(rows: Connection, replay: Replay, numbers: Iterable[int]) -> dict[tuple[int, str], tuple[str, str]]:
    """(question, side) -> (status, answer), of the answers that are there; side a before b."""
    places = {answer_id(replay, number, arm): (number, arm) for number in numbers for arm in ("a", "b")}
    chosen = select(calls.c.id, calls.c.status, calls.c.answer).where(calls.c.id.in_(places))
    found = {places[identity]: (status, answer) for identity, status, answer in rows.execute(chosen)}
    return dict(sorted(found.items()))


def _unshown(pair: Sequence[tuple[str, str] | None]) -> Outcome | None:
    """Why a pair of (status, answer) is not shown to anybody, if it is not."""
    a, b = pair
    if a is not None and a[0] != "ok":
        return "failed a"
    if b is not None and b[0] != "ok":
        return "failed b"
    return "same" if a and b and not _differ("ok", "ok", a[1], b[1]) else None


def _differ(status_a: str, status_b: str, a: str, b: str) -> bool:
    return status_a == status_b == "ok" and a.strip() != b.strip()
