"""`tuneloop quality`: assess answers, see whether scores agree with people, set a task's quality switch."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from rich.markup import escape

from tuneloop import journal
from tuneloop.answer import criteria, predictor, switch
from tuneloop.answer import quality as figures
from tuneloop.answer.criteria import Criterion, Score
from tuneloop.answer.tasks import Shelf
from tuneloop.cli.show import Door
from tuneloop.errors import BadInput, Missing
from tuneloop.gateway.engines import Engines
from tuneloop.records import Task
from tuneloop.texts import _
from tuneloop.workspace import Workspace

DIRECTIONS = {
    "rising": lambda: _("rising"),
    "falling": lambda: _("falling"),
    "no change seen": lambda: _("no change seen"),
    "not enough data": lambda: _("not enough data"),
}


@click.group("quality", help=_("How good answers are, whether scores agree with people, the quality switch."))
def quality() -> None:
    pass


@quality.command("assess", help=_("Score one answer: a stored CALL, or --question and --answer."))
@click.argument("call", required=False, default="")
@click.option("--question", default="", help=_("What was asked."))
@click.option("--answer", default="", help=_("What was answered."))
@click.option("--criterion", "names", multiple=True, help=_("NAME, or NAME=SENTENCE for your own. Repeatable."))
@click.option("--reference", default="", help=_("An answer known to be right."))
@click.option("--task", default="", help=_("The task whose checks count."))
@click.pass_obj
def assess(
    door: Door, call: str, question: str, answer: str, names: tuple[str, ...], reference: str, task: str
) -> None:
    workspace = door.workspace()
    if bool(call) == bool(question or answer):
        raise BadInput(_("name a call, or give --question and --answer"), fix=_("Calls are named in every reply."))
    if call:
        journal.settle(workspace)
        question, answer, task = figures.of_call(workspace, call)
    shelf = Shelf(workspace)
    known = shelf.book.tasks.get(task)
    wanted = criteria.chosen(dict(_parted(name) for name in names), known)
    found = asyncio.run(_assessed(workspace, shelf, question, answer, wanted, known, reference))
    if call:
        figures.keep(workspace, call, found)
    rows = [(escape(s.criterion), escape(s.method), _share(s.value), escape(_why(s))) for s in found]
    door.table(_("Scores, 0 to 1"), (_("criterion"), _("method"), _("score"), _("detail")), rows)
    whole = figures.overall(found)
    door.say(
        _("Mean over the criteria: {mean}. What a score is worth: tuneloop quality stats").format(mean=_share(whole))
    )
    door.result({"call": call, "overall_score": whole, "scores": [asdict(score) for score in found]})


@quality.command("score", help=_("Lay the rules on stored answers that have no score yet."))
@click.option("--most", default=2000, type=click.IntRange(1, 1_000_000), help=_("Answers at most."))
@click.option("--days", default=30.0, type=click.FloatRange(0, 36500, min_open=True), help=_("How far back."))
@click.pass_obj
def score(door: Door, most: int, days: float) -> None:
    workspace = door.workspace()
    journal.settle(workspace)
    done = figures.score_new(workspace, Shelf(workspace).book, most=most, days=days)
    door.say(_("Answers scored: {n}.").format(n=done))
    door.result({"scored": done})


@quality.command("stats", help=_("Means, course and agreement with people of every criterion and method."))
@click.option("--model", default="", help=_("Only answers of this model or version."))
@click.option("--task", default="", help=_("Only answers of this task."))
@click.option("--days", default=7.0, type=click.FloatRange(0, 36500, min_open=True), help=_("How far back."))
@click.pass_obj
def stats(door: Door, model: str, task: str, days: float) -> None:
    workspace = door.workspace()
    journal.settle(workspace)
    found = figures.get_quality_stats(workspace, model, days, task=task)
    rows = [
        (
            escape(criterion), escape(method), one["n"], _share(one["mean"]),
            DIRECTIONS[one["direction"]](), one["agreement"]["says"],
        )
        for criterion, methods in found["criteria"].items()
        for method, one in methods.items()
    ]  # fmt: skip
    if rows:
        heads = (_("criterion"), _("method"), _("answers"), _("mean"), _("course"), _("agreement with people"))
        door.table(_("Quality, last {days:g} days").format(days=days), heads, rows)
    else:
        door.say(_("No answer has a score yet: `tuneloop quality score` lays the rules on what is stored."))
    door.result(found)


@quality.command("switch", help=_("How a task's quality switch stands; on, off or auto sets it."))
@click.argument("task")
@click.argument("mode", required=False, type=click.Choice(tuple(switch.MODES)))
@click.option("--threshold", type=click.FloatRange(0, 1), help=_("For on: the share of checks an answer must pass."))
@click.pass_obj
def switch_(door: Door, task: str, mode: str | None, threshold: float | None) -> None:
    workspace = door.workspace()
    shelf = Shelf(workspace)
    found = shelf.book.tasks.get(task)
    if found is None:
        raise Missing(_("there is no task '{name}'").format(name=task), fix=_("`tuneloop tasks list` shows them."))
    if mode is not None:
        found = switch.set_mode(shelf, task, mode, threshold, by="cli")
    if found.switch == "auto":
        switch.Switch(workspace).learn(workspace, found)
    stands = switch.standing(workspace, found) | _predicted(workspace, found)
    rows = [(escape(key), escape(_shown(value))) for key, value in _flat(stands)]
    door.table(_("Quality switch of {task}").format(task=escape(task)), ("", ""), rows)
    door.result(stands)


async def _assessed(
    workspace: Workspace, shelf: Shelf, question: str, answer: str, wanted: tuple[Criterion, ...], task: Task | None,
    reference: str,
) -> list[Score]:  # fmt: skip
    engines = Engines(workspace, None)
    engines.follow(shelf.book)
    settings = workspace.settings
    try:
        return await figures.assess(
            question, answer, wanted, task=task, reference=reference,
            judge=figures.named(settings.text("quality.judge"), engines.stations),
            encoder=figures.named(settings.text("quality.encoder"), engines.stations),
        )  # fmt: skip
    finally:
        await engines.close()


def _predicted(workspace: Workspace, task: Task) -> dict[str, Any]:
    known = predictor.learn(workspace, task) if task.route == "cheapest" else None
    return {"predictor": known.as_dict() if known else None}


def _parted(name: str) -> tuple[str, str]:
    word, _equals, asks = name.partition("=")
    return word, asks


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _why(score: Score) -> str:
    if "checks" in score.detail:
        return ", ".join(("" if passed else "✗ ") + name for name, passed in score.detail["checks"].items())
    if "why" in score.detail:
        return str(score.detail["why"])
    return ", ".join(f"{key} {value:.2f}" for key, value in score.detail.items())


def _flat(stands: dict[str, Any]) -> list[tuple[str, Any]]:
    found = []
    for key, value in stands.items():
        if isinstance(value, dict):
            found += [(f"{key}.{name}", inner) for name, inner in value.items() if not isinstance(inner, dict)]
        else:
            found.append((key, value))
    return found


def _shown(value: Any) -> str:
    if isinstance(value, float) and value > 1e9:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)
