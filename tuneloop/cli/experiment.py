"""`tuneloop experiment`: A/B tests between the variants of a task."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from rich.markup import escape

from tuneloop import journal
from tuneloop.answer.tasks import Shelf
from tuneloop.choose import experiments as store
from tuneloop.choose.experiments import Experiment
from tuneloop.choose.verdict import ExperimentVerdict
from tuneloop.cli.replay import replay
from tuneloop.cli.show import Door
from tuneloop.gateway.experiments import check_variants, reweigh
from tuneloop.texts import _
from tuneloop.workspace import Workspace

DECISIONS = {
    "winner": lambda: _("winner"),
    "no difference": lambda: _("no difference"),
    "not enough data": lambda: _("not enough data"),
    "roll back": lambda: _("roll back"),
    "withheld": lambda: _("withheld"),
}


@click.group("experiment", help=_("A/B tests between variants of a task: create, look, stop, promote, roll back."))
def experiment() -> None:
    pass


experiment.add_command(replay)


@experiment.command("create", help=_("Begin an experiment. The first --arm is what serves today."))
@click.argument("name")
@click.option("--task", required=True, help=_("The task whose requests are divided."))
@click.option("--arm", "arms", multiple=True, required=True, help=_("NAME=VARIANT or NAME=VARIANT:SHARE; two or more."))
@click.option("--metric", "metrics", multiple=True, default=("user_satisfaction", "response_time"), help=_("A goal."))
@click.option("--guardrail", "guardrails", multiple=True, default=("error_rate",), help=_("NAME or NAME:MARGIN."))
@click.option("--days", default=14.0, type=click.FloatRange(0, 365, min_open=True), help=_("Days until it stops."))
@click.option("--method", default="always-valid", type=click.Choice(store.METHODS), help=_("How verdicts are reached."))
@click.option("--mode", default="split", type=click.Choice(store.MODES), help=_("split, shadow (unseen), or bandit."))
@click.option("--layer", default="default", help=_("Experiments of one layer never share a user."))
@click.option("--share", default=1.0, type=click.FloatRange(0, 1, min_open=True), help=_("Part of the users it takes."))
@click.option("--units", "planned", default=0, help=_("Units per arm, decided beforehand, for --method fixed."))
@click.pass_obj
def create(
    door: Door, name: str, task: str, arms: tuple[str, ...], metrics: tuple[str, ...], guardrails: tuple[str, ...],
    days: float, method: str, mode: str, layer: str, share: float, planned: int,
) -> None:  # fmt: skip
    workspace = door.workspace()
    named, weights = _arms(arms)
    check_variants(Shelf(workspace), task, named)
    made = store.create(
        workspace, name=name, task=task, arms=named, weights=weights, metrics=metrics,
        guardrails=[_guardrail(text) for text in guardrails], days=days, method=method, mode=mode, layer=layer,
        share=share, planned=planned, by="cli",
    )  # fmt: skip
    door.say(_("Experiment {name} runs: {arms}.").format(name=f"[bold]{escape(made.name)}[/bold]", arms=_shares(made)))
    door.say(_("Look at it whenever you like: tuneloop experiment show {name}").format(name=escape(made.name)))
    door.result(asdict(made))


@experiment.command("list", help=_("All experiments, newest first."))
@click.pass_obj
def list_(door: Door) -> None:
    found = store.history(door.workspace(), tenant=None)  # as `show` and the others find them
    rows = [
        (escape(one.name), one.task, _shares(one), one.state, _day(one.created), (one.verdict or {}).get("why", ""))
        for one in found
    ]
    if rows:
        columns = (_("name"), _("task"), _("arms"), _("state"), _("since"), _("last verdict"))
        door.table(_("Experiments"), columns, rows)
    else:
        door.say(_("None yet: `tuneloop experiment create NAME --task TASK --arm a=VARIANT --arm b=VARIANT`."))
    door.result([asdict(one) for one in found])


@experiment.command("show", help=_("What the data show now; look as often as you like."))
@click.argument("name")
@click.pass_obj
def show(door: Door, name: str) -> None:
    workspace = door.workspace()
    _settle(workspace)
    found = store.find(workspace, name, tenant=None)
    said = store.look(workspace, found)
    _print(door, found, said)
    wrong = store.misassigned(workspace, found) if found.design["mode"] != "bandit" else 0
    if wrong:
        door.say(
            "[red]" + _("{n} calls are not in the arm their hash gives: a fault, report it.").format(n=wrong) + "[/red]"
        )
    fresh = store.find(workspace, found.id, tenant=None)
    door.result(asdict(fresh) | {"events": store.events(workspace, found), "misassigned": wrong})


@experiment.command("record", help=_("Report a measurement: METRIC VALUE of a user or an arm."))
@click.argument("name")
@click.argument("metric")
@click.argument("value", type=float)
@click.option("--user", default="", help=_("Whose it is; decides the arm."))
@click.option("--arm", default="", help=_("The arm, where there is no user."))
@click.option("--key", default="", help=_("The same key again adds nothing."))
@click.pass_obj
def record(door: Door, name: str, metric: str, value: float, user: str, arm: str, key: str) -> None:
    workspace = door.workspace()
    found = store.find(workspace, name, tenant=None)
    own = store.choose_arm(found, user) if user and not arm else None
    arm = own.name if own else arm
    if not arm:
        raise click.UsageError(_("name the arm, or a user who is in the experiment"))
    added = store.record(workspace, found, arm=arm, metric=metric, value=value, user=user, key=key)
    door.say(_("Recorded for arm {arm}.").format(arm=arm) if added else _("That key was recorded before."))
    door.result({"arm": arm, "added": added})


@experiment.command("stop", help=_("End it; what serves stays as it is."))
@click.argument("name")
@click.option("--note", default="", help=_("Why; kept in the history."))
@click.pass_obj
def stop(door: Door, name: str, note: str) -> None:
    workspace = door.workspace()
    _ended(door, store.stop(workspace, store.find(workspace, name, tenant=None), note=note, by="cli"))


@experiment.command("promote", help=_("End it and give the winner (or --arm) all of the task's requests."))
@click.argument("name")
@click.option("--arm", default="", help=_("Promote this arm although no verdict says so."))
@click.option("--note", default="", help=_("Why; kept in the history."))
@click.pass_obj
def promote(door: Door, name: str, arm: str, note: str) -> None:
    workspace = door.workspace()
    found = store.find(workspace, name, tenant=None)
    if not arm:
        _settle(workspace)
        store.look(workspace, found)
    ended = store.promote(workspace, store.find(workspace, name, tenant=None), arm=arm, note=note, by="cli")
    reweigh(Shelf(workspace), ended, arm=arm or (ended.verdict or {}).get("arm", ""))
    _ended(door, ended)


@experiment.command("rollback", help=_("End it, or take its promotion back: the first arm serves again."))
@click.argument("name")
@click.option("--note", default="", help=_("Why; kept in the history."))
@click.pass_obj
def rollback(door: Door, name: str, note: str) -> None:
    workspace = door.workspace()
    ended = store.roll_back(workspace, store.find(workspace, name, tenant=None), note=note, by="cli")
    reweigh(Shelf(workspace), ended, arm=ended.arms[0].name)
    _ended(door, ended)


def _ended(door: Door, ended: Experiment) -> None:
    door.say(_("Experiment {name}: {state}.").format(name=escape(ended.name), state=ended.state))
    door.result(asdict(ended))


def _print(door: Door, found: Experiment, said: ExperimentVerdict) -> None:
    colour = {"winner": "green", "roll back": "red", "withheld": "red"}.get(said.decision, "yellow")
    door.say(f"[bold]{escape(found.name)}[/bold]  {found.task}  {_shares(found)}  {found.state}")
    door.say(f"[{colour}]{DECISIONS[said.decision]()}[/{colour}]: {escape(said.why)}")
    rows = []
    for c in said.comparisons:
        low, high = (f"{bound:+.4g}" if math.isfinite(bound) else "?" for bound in (c.interval.low, c.interval.high))
        chance = f"{c.reading.better:.0%}" if c.reading else ""
        rows.append(
            (c.metric, c.arm, f"{c.base:.4g}", f"{c.value:.4g}", f"{low} … {high}", f"{c.adjusted_p:.3f}", chance)
        )
    columns = (_("metric"), _("arm"), _("today"), _("arm's"), _("difference"), "p", _("chance it is better"))
    door.table(_("Measured so far"), columns, rows, right=(2, 3, 4, 5, 6))
    counts = ", ".join(f"{arm} {n}" for arm, n in said.units.items()) or "0"
    door.say(_("Units: {counts}. Share check: p = {p:.3g}.").format(counts=counts, p=said.ratio.p))
    methods = sorted({c.interval.method for c in said.comparisons})
    alpha = f"{said.alpha:.0%}"
    door.say(_("Method: {methods}; p after Holm's correction, {alpha} error over all looks. The chance is a reading "
               "(beta-binomial), not a reason to stop.").format(methods="; ".join(methods), alpha=alpha))  # fmt: skip


def _arms(texts: tuple[str, ...]) -> tuple[dict[str, str], dict[str, float]]:
    arms, weights = {}, {}
    for text in texts:
        name, equals, rest = text.partition("=")
        variant, _colon, share = rest.partition(":")
        try:
            weights[name] = float(share or 1)
        except ValueError:
            equals = ""
        if not equals or not variant:
            raise click.UsageError(_("'{text}' is no arm; write NAME=VARIANT or NAME=VARIANT:SHARE").format(text=text))
        arms[name] = variant
    return arms, weights


def _guardrail(text: str) -> str | dict[str, Any]:
    name, _colon, margin = text.partition(":")
    if not margin:
        return name
    try:
        return {"name": name, "margin": float(margin)}
    except ValueError:
        raise click.UsageError(_("'{text}' is no guardrail; write NAME or NAME:MARGIN").format(text=text)) from None


def _shares(one: Experiment) -> str:
    return ", ".join(f"{arm.name}={arm.variant} {arm.share:.0%}" for arm in one.arms)


def _day(time: float) -> str:
    return f"{datetime.fromtimestamp(time):%Y-%m-%d}"


def _settle(workspace: Workspace) -> None:
    """Rows that a server has written but not yet stored count too."""
    journal.settle(workspace)
