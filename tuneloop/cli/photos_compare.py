"""`tuneloop photos compare`: two versions of photo search over live people, as an experiment."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.texts import _

TEAM = click.option("--team", "tenant", default="", help=_("The team whose catalogue it is; its keys see only that."))


@click.command(
    "compare", help=_("Divide people between the version that searches now and another; `start` is one too.")
)
@click.argument("now")
@click.argument("other")
@click.option("--name", default="", help=_("Name of the experiment."))
@click.option("--days", default=14.0, type=click.FloatRange(0, 365, min_open=True), help=_("Days until it stops."))
@click.option("--share", default=1.0, type=click.FloatRange(0, 1, min_open=True), help=_("Part of the users it takes."))
@TEAM
@click.pass_obj
def compare(door: Door, now: str, other: str, name: str, days: float, share: float, tenant: str) -> None:
    from tuneloop.loop import photo_comparison

    workspace = door.workspace()
    made = photo_comparison.begin(workspace, now, other, name=name, days=days, share=share, tenant=tenant, by="cli")
    a, b = made.arms
    said = _("Experiment {name} runs: {now} against {other}; people's own clicks decide.")
    door.say(said.format(name=f"[bold]{escape(made.name)}[/bold]", now=a.variant, other=b.variant))
    door.hint(_('Look: tuneloop experiment show "{name}"; end it: promote or rollback.').format(name=escape(made.name)))
    door.result(asdict(made))
