"""`tuneloop models trial`: every model that is configured answers the same questions; a table of who did how well."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Sequence
from typing import Any

import click
from rich.markup import escape

from tuneloop import machine
from tuneloop.answer.book import read
from tuneloop.ask import gold, trials
from tuneloop.ask.trials import Row
from tuneloop.cli.show import Door
from tuneloop.errors import Missing, NotEnoughData
from tuneloop.texts import _, n_
from tuneloop.workspace import Workspace

WIDE = 110  # columns of a terminal
SHARE = 0.8  # of the memory that is free now: what one model may take unless --memory says so
COLOURS = {"done": "", "failed": "red", "time": "yellow", "memory": "yellow", "machine": "yellow", "large": "yellow"}


@click.command(
    "trial",
    help=_(
        "Try every model of this workspace and of its engines: the same questions to a table, and a look at its speed."
        " Each runs in a process of its own, which is stopped at its limits. What is finished is not measured again."
    ),
)
@click.option("--only", multiple=True, metavar="PATTERN", help=_("Models like qwen*, or ENGINE/MODEL; repeatable."))
@click.option("--questions", type=click.IntRange(1), help=_("So many of the questions; default: all."))
@click.option("--seconds", default=600.0, show_default=True, type=click.FloatRange(1), help=_("Limit for one model."))
@click.option("--memory", type=click.FloatRange(0.01), help=_("Limit for one model, GB; default: 80 % of the free."))
@click.option("--again", is_flag=True, help=_("Measure anew what is finished."))
@click.option("--show", is_flag=True, help=_("Measure nothing, show what is known."))
@click.option("--markdown", is_flag=True, help=_("Print the table as Markdown."))
@click.pass_obj
def trial(
    door: Door, only: tuple[str, ...], questions: int | None, seconds: float, memory: float | None, again: bool,
    show: bool, markdown: bool,
) -> None:  # fmt: skip
    workspace = door.workspace()
    if show:
        rows = [row for row in trials.read(workspace).values() if row.machine == machine.name()]
        if not rows and not door.as_json:
            raise NotEnoughData(
                _("no model was tried on this machine yet"), fix=_("Try them: tuneloop models trial")
            )  # fmt: skip
    else:
        rows = _measured(door, workspace, only, questions, seconds, memory, again=again, quiet=markdown)
    from tuneloop.ask.trial import reader

    without = reader()
    if markdown and not door.as_json:
        click.echo(trials.markdown(rows, without), nl=False)
        return
    table(door, rows, without, reasons=show)
    best = trials.best(rows)
    ranked = [trials.as_json(row) for row in trials.ranked(rows)]
    told = {"machine": machine.name(), "edition": gold.edition(), "of": len(gold.questions())}
    door.result(
        told | {"rows": ranked, "best": trials.as_json(best) if best else None, "without_model": without}
    )  # fmt: skip


def table(door: Door, rows: Sequence[Row], without: int, *, reasons: bool = True) -> None:
    """The rows, the best first, the best one marked; what to do with it. reasons: why others stopped or failed."""
    best, ranked = trials.best(rows), trials.ranked(rows)
    short = {"failed": _("failed"), "large": _("too large")} | dict.fromkeys(
        ("time", "memory", "machine"), _("stopped")
    )
    wide = door.console.width >= WIDE
    heads = dict(zip(trials.FIGURES, trials.columns(), strict=True))
    shown = [name for name in trials.FIGURES if wide or name not in ("engine", "wrong")]
    cells = []
    for row in ranked:
        figures = dict(zip(trials.FIGURES, map(escape, trials.cells(row)), strict=True))
        figures["verdict"] = _coloured(row, short.get(row.state, row.said))
        if not wide:
            figures["model"] = escape(_name(row))
        cells.append(("●" if row is best else "", *(figures[name] for name in shown)))
    numbers = [n for n, name in enumerate(shown, 1) if name not in ("model", "engine", "verdict")]
    title = _("Models on {machine}").format(machine=escape(machine.name()))
    door.table(title, ("", *(heads[name] for name in shown)), cells, right=numbers, whole=numbers)
    for row in ranked:
        if row.state in short and reasons:
            door.say(f"{escape(_name(row))}: {_coloured(row, row.said)}")
    door.say()
    door.say(f"[dim]{escape(trials.without(without, len(gold.questions())))}[/dim]")
    if best is None:
        door.say(_("No model here answers questions to tables well enough to be asked."))
    else:
        said = _("The best: {name}. To ask it what the reader does not know, write in tuneloop.toml:")
        door.say(said.format(name=escape(best.model)))
        made = "" if best.engine else '  [engines.small]\n  kind = "llamacpp"\n  file = "FILE"\n'
        name = f"{best.engine}/{best.model}" if best.engine else "small/base"
        door.hint(escape(f'{made}  [ask]\n  model = "{name}"'))


def _measured(
    door: Door, workspace: Workspace, only: tuple[str, ...], questions: int | None, seconds: float,
    memory: float | None, *, again: bool, quiet: bool,
) -> list[Row]:  # fmt: skip
    from tuneloop.ask import trial as verb
    from tuneloop.cli.models_listing import engines

    book = read(workspace.path / "tuneloop.toml")
    found = verb.candidates(workspace, book, asyncio.run(engines(book)))
    wanted = [one for one in found if not only or any(_like(one, pattern) for pattern in only)]
    if not wanted:
        raise Missing(
            _("there is no model to try"),
            fix=_("`tuneloop models fit` says what fits; `tuneloop models fetch URL` gets a file, or name an engine."),
        )
    every = len(gold.questions())
    bytes_ = int(memory * 1e9) if memory else int(SHARE * machine.memory_free())
    limits = verb.Limits(seconds, bytes_, min(questions or every, every))
    if not quiet:
        said = n_("{n} model, each at most {seconds:.0f} s and {gb:.1f} GB.",
                  "{n} models, each at most {seconds:.0f} s and {gb:.1f} GB.", len(wanted))  # fmt: skip
        door.say(said.format(n=len(wanted), seconds=seconds, gb=bytes_ / 1e9))
        if machine.load() >= trials.BUSY:
            busy = _("The machine is busy ({n:.1f} processes for each core): the speeds are those of a busy machine.")
            door.say(f"[yellow]{escape(busy.format(n=machine.load()))}[/yellow]")
    with door.progress() as watch:

        def told(row: Row, fresh: bool) -> None:
            if not quiet:
                door.say(_line(row, fresh))

        return verb.run(workspace, wanted, limits, again=again, watch=watch, told=told)


def _line(row: Row, fresh: bool) -> str:
    """One model is through: a line while the others still run."""
    known = "" if fresh else " [dim]" + _("(known)") + "[/dim]"
    right = _("{right} of {asked} right").format(right=row.right, asked=row.asked) + ", " if row.asked else ""
    return f"• {escape(_name(row))}: {escape(right)}{_coloured(row, row.said)}{known}"


def _name(row: Row) -> str:
    return "/".join(part for part in (row.engine, row.model) if part)


def _coloured(row: Row, said: str) -> str:
    colour = COLOURS[row.state] or ("green" if row.good else "yellow")
    return f"[{colour}]{escape(said)}[/{colour}]"


def _like(one: Any, pattern: str) -> bool:
    return fnmatch.fnmatch(one.model, pattern) or fnmatch.fnmatch(f"{one.engine}/{one.model}", pattern)
