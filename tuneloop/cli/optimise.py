"""`tuneloop optimise`: what can be made of a version on this machine, and which of it meets your targets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.errors import Refused
from tuneloop.loop.ladder import MEGABYTE, Choice, Ladder, Row, Targets, choose
from tuneloop.texts import _

POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("optimise", help=_("Measure what VERSION can be served as here, and choose by targets; resumable."))
@click.argument("version", default="latest")
@click.option("--max-mb", type=POSITIVE, help=_("Target: size of the file, MB at most."))
@click.option("--min-tokens-per-second", type=POSITIVE, help=_("Target: generating, one request at a time."))
@click.option("--max-kl", type=POSITIVE, help=_("Target: difference from the unquantised model, nats per token."))
@click.option("--quants", default="", help=_("Quantisations, separated by commas; default: the setting pack.quants."))
@click.option("--threads", default="", help=_("Numbers of threads, separated by commas; default: 1, 2, 4 ... cores."))
@click.option("--context", default=0, type=click.IntRange(0), help=_("Context, tokens; default: serve.context."))
@click.option("--parallel", default=0, type=click.IntRange(0), help=_("Requests at once; default: serve.parallel."))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help=_("Looks at each rung."))
@click.option("--deadline", default=0.0, help=_("Seconds one look may take; default: by the file's size."))
@click.option("--again", is_flag=True, help=_("Measure anew instead of using what was measured before."))
@click.option("--strict", is_flag=True, help=_("Exit with code 5 unless the targets can be met (for scripts)."))
@click.pass_obj
def optimise(
    door: Door, version: str, max_mb: float | None, min_tokens_per_second: float | None, max_kl: float | None,
    quants: str, threads: str, context: int, parallel: int, rounds: int, deadline: float, again: bool, strict: bool,
) -> None:  # fmt: skip
    from tuneloop import versions
    from tuneloop.loop import optimisations
    from tuneloop.loop import optimise as verb

    workspace = door.workspace()
    found = versions.find(workspace, version)
    targets = Targets(max_mb, min_tokens_per_second, max_kl)
    asked = verb.ladder(
        workspace, found, quants=_listed(quants), threads=tuple(map(_number, _listed(threads))), context=context,
        parallel=parallel, rounds=rounds, seconds=deadline,
    )  # fmt: skip
    begun = optimisations.begin(workspace, found, targets, asked, again=again, by="cli")
    if begun.state == "done":
        when = datetime.fromtimestamp(begun.changed).strftime("%Y-%m-%d %H:%M")
        door.say(_("Measured {when}; --again measures anew.").format(when=when))
    with door.progress() as watch:
        done = verb.run(workspace, begun, watch)
    rows = optimisations.table(workspace, done)
    choice = choose(rows, targets)
    _show(door, found.id, rows, choice, asked)
    door.result(optimisations.shown(workspace, done))
    if strict and choice.decision != "chosen":
        raise Refused(choice.why, fix=_("Loosen a target, or tune a smaller base model."))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(_("'{text}' is not a whole number").format(text=text)) from None


def _show(door: Door, version: str, rows: list[Row], choice: Choice, asked: Ladder) -> None:
    chosen = choice.row if choice.decision == "chosen" else None
    columns = (
        "", _("quant"), _("threads"), "MB", _("load,\ns"), _("prompt\ntokens/s"), _("answer\ntokens/s"),
        _("{n} at\nonce").format(n=asked.parallel), _("memory,\nMB"), _("KL,\nnats"), _("same\ntoken"),
    )  # fmt: skip
    cells = [_cells(one, chosen=at == chosen) for at, one in enumerate(rows)]
    title = _("What version {id} can be here (context {n})").format(id=version, n=asked.context)
    door.table(title, columns, cells, right=tuple(range(2, 11)))
    door.say(_("* Pareto-optimal in size, speed and KL; ● chosen; ○ the threads that `tuneloop serve` takes."))
    for one in rows:
        if one.reason:
            door.say(escape(f"{one.quant}, {one.threads}: {one.reason}"))
    colour = "green" if choice.decision == "chosen" else "yellow"
    words = {"chosen": _("chosen"), "infeasible here": _("infeasible here")}
    door.say(f"[{colour}]{words[choice.decision]}[/{colour}]: {escape(choice.why)}")
    if choice.decision == "chosen" and choice.row is not None:
        _advise(door, rows[choice.row])
    elif rows:
        best = _("Best of each here: {mb} MB, {speed} tokens/s, KL {kl}.")
        door.say(best.format(mb=_or(choice.best["mb"], ".1f"), speed=_or(choice.best["tokens_per_second"], ".0f"),
                             kl=_or(choice.best["kl"], ".2g")))  # fmt: skip


def _advise(door: Door, one: Row) -> None:
    door.hint(_('To serve it: [serve] quant = "{quant}" in tuneloop.toml.').format(quant=one.quant).replace("[", "\\["))
    if not one.served:
        door.hint(_("`tuneloop serve` takes another number of threads for this file; its row is the one marked ○."))


def _cells(one: Row, *, chosen: bool) -> tuple[Any, ...]:
    mark = "●" if chosen else "○" if one.served else " "
    return (
        mark + ("*" if one.optimal else ""), one.quant, one.threads, _mb(one.bytes), _or(one.load_seconds, ".2f"),
        _speed(one.prompt_per_second), _speed(one.tokens_per_second), _speed(one.together_per_second),
        _mb(one.memory_bytes), _or(one.kl, ".2g"), _or(one.greedy, ".1%"),
    )  # fmt: skip


def _speed(value: float | None) -> str:
    return _or(value, ".1f" if value is not None and value < 100 else ".0f")


def _mb(size: int | None) -> str:
    return "-" if size is None else f"{size / MEGABYTE:.1f}"


def _or(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
