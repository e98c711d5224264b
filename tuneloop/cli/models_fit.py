"""`tuneloop models fit`: which model this machine could run, said before anything is fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from tuneloop import machine
from tuneloop.answer import stores
from tuneloop.answer.book import Book, read
from tuneloop.cli.show import Door
from tuneloop.errors import Refused, TuneloopError
from tuneloop.loop import fit as judge
from tuneloop.loop import shapes
from tuneloop.loop.fit import Row, gigabytes
from tuneloop.loop.shapes import Shape
from tuneloop.machine import Machine
from tuneloop.texts import _, n_
from tuneloop.workspace import Workspace, locate, open_workspace

COLOURS = {"fits": "green", "slow": "yellow", "memory now": "yellow", "memory": "red", "disk": "red"}
MARKS = {"fits": "✓", "slow": "!", "memory now": "!", "memory": "✗", "disk": "✗"}
WIDE = 110  # columns of a terminal
MOST_MODELS = 8  # shown of a place, the largest first


@click.command(
    "fit",
    help=_(
        "Which model fits this machine: disk, memory and speed before anything is fetched. MODEL is a GGUF file, a"
        " Hugging Face folder, a model of an Ollama, or a name of the shipped list; without it: the whole list."
    ),
)
@click.argument("model", default="")
@click.option("--context", default=2048, show_default=True, type=click.IntRange(64, 1 << 20), help=_("Tokens."))
@click.option("--quant", default="q4_K_M", show_default=True, type=click.Choice(shapes.QUANTS), help=_("For the list."))
@click.option("--strict", is_flag=True, help=_("Exit with code 5 unless MODEL fits (for scripts)."))
@click.pass_obj
def fit(door: Door, model: str, context: int, quant: str, strict: bool) -> None:
    place = locate(door.flag)
    workspace = open_workspace(place) if door.flag or (place / "tuneloop.toml").exists() else None
    here = machine.look()
    free, whole = machine.disk(workspace.path if workspace else Path.cwd())
    factor, of = judge.calibrated(_measured(workspace), here)
    found = [_found(workspace, model)] if model else list(shapes.listed().values())
    rows = [
        judge.judged(shape, one, here, free, context=context, factor=factor)
        for shape in found
        for one in (shape.quants if model else (quant,))
    ]
    best = judge.best(rows)
    places = _places(workspace)
    _head(door, here, free, whole)
    _table(door, rows, found[0] if model else None, context, quant)
    _notes(door, rows, best, found[0] if model else None, of)
    if not model:
        _stores(door, places)
    door.result(
        {
            "machine": asdict(here) | {"disk_free": free, "disk": whole}, "list": shapes.dated(), "context": context,
            "calibrated_by": of, "factor": round(factor, 3), "models": [judge.as_json(row) for row in rows],
            "best": judge.as_json(best) if best else None, "stores": [asdict(one) for one in places],
        }
    )  # fmt: skip
    if strict and not any(row.fits for row in rows):
        raise Refused(rows[0].said, fix=_("`tuneloop models fit` shows what fits."))


def _found(workspace: Workspace | None, name: str) -> Shape:
    """A file or folder of that name or in Hugging Face's cache, a model of an Ollama here, or one of the list."""
    from tuneloop.answer import models

    path = Path(name).expanduser()
    if folder := path if path.is_dir() else stores.snapshot(name):
        return replace(shapes.of_folder(folder), name=path.name)
    if not path.exists() and workspace:
        inside = [Path(one["path"]) for one in models.files(workspace) if one["id"] == name]
        path = inside[0] if inside else path
    if path.suffix == ".gguf" or path.is_file():
        return shapes.of_file(path)
    return _of_ollama(workspace, name) or shapes.in_list(name) or _unknown(name)


def _unknown(name: str) -> Shape:
    raise shapes.unknown(name)


def _of_ollama(workspace: Workspace | None, name: str) -> Shape | None:
    from tuneloop.engines.ollama import NAME, tagged
    from tuneloop.gateway.models import server

    if workspace is None or not NAME.fullmatch(name):
        return None

    async def ask() -> Shape | None:
        for spec in _book(workspace).engines.values():
            if spec.kind != "ollama":
                continue
            try:
                async with server(spec) as one:
                    for known in await one.tags():
                        if str(known.get("name")) in (name, tagged(name)):
                            told = await one.show(str(known["name"]))
                            return shapes.of_ollama(str(known["name"]), told, int(known.get("size") or 0))
            except TuneloopError:
                continue  # an Ollama that does not answer does not have it either
        return None

    return asyncio.run(ask())


def _book(workspace: Workspace) -> Book:
    return read(workspace.path / "tuneloop.toml")


def _measured(workspace: Workspace | None) -> list[dict[str, Any]]:
    """What trials of llama.cpp found out on this machine, for `calibrated`."""
    from tuneloop.ask import trials

    return trials.speeds(workspace, machine.name()) if workspace else []


def _places(workspace: Workspace | None) -> list[stores.Store]:
    from tuneloop.answer import models
    from tuneloop.cli.models_listing import engines

    listed = []
    if workspace is not None:
        book = _book(workspace)
        listed = models.everything(workspace, book, asyncio.run(engines(book, {"ollama"})))
    return stores.stores(workspace, listed)


def _head(door: Door, here: Machine, free: int, whole: int) -> None:
    said = _("{free} of {all} of memory free, {disk} of {disks} of disk")
    room = said.format(
        free=gigabytes(here.memory_free), all=gigabytes(here.memory), disk=gigabytes(free), disks=gigabytes(whole)
    )
    speeds = _("reads {gb:.0f} GB/s, {gflops:.0f} GFLOP/s").format(gb=here.bandwidth / 1e9, gflops=here.gflops)
    door.say(f"[bold]{escape(here.name)}[/bold]\n{room}; {speeds}\n")


def _table(door: Door, rows: Sequence[Row], one: Shape | None, context: int, quant: str) -> None:
    """Weights and licence have a column where the terminal is wide; of a single model they stand in the title."""
    wide = not one and door.console.width >= WIDE
    columns = [_("quantisation") if one else _("model"), _("file"), _("memory"), _("tokens/s"), _("question"), ""]
    title = _("Small open models in {quant}, context {n}").format(quant=quant, n=context)
    if one:
        title = _("{name}, context {n}").format(name=escape(one.name), n=context)
        title += "".join(f", {escape(part)}" for part in (_weights(one.parameters), one.licence) if part)
    cells = [
        (
            row.quant if one else escape(row.model), _guess(row, "size", gigabytes(row.size)),
            _guess(row, "memory", gigabytes(row.memory)), _guess(row, "speed", _speed(row.tokens_per_second)),
            _guess(row, "speed", _seconds(row.seconds)), _coloured(row),
            *((_weights(row.parameters), escape(row.licence)) if wide else ()),
        )
        for row in rows
    ]  # fmt: skip
    columns += [_("weights"), _("licence")] if wide else []
    door.table(title, columns, cells, right=(1, 2, 3, 4, 6), whole=range(5))


def _guess(row: Row, what: str, figure: str) -> str:
    return ("~" if what in row.estimated else "") + figure


def _weights(count: int) -> str:
    if count < 1e8:
        return _("{n} M").format(n=f"{count / 1e6:.1f}")
    return _("{n} B").format(n=f"{count / 1e9:.2f}" if count < 9.95e8 else f"{count / 1e9:.1f}")


def _seconds(seconds: float) -> str:
    if seconds >= 600:
        return _("{n:.0f} min").format(n=seconds / 60)
    return _("{n} s").format(n=f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}")


def _speed(speed: float) -> str:
    return f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}"


def _coloured(row: Row) -> str:
    colour = COLOURS[row.verdict]
    return f"[{colour}]{MARKS[row.verdict]} {escape(row.said)}[/{colour}]"


def _notes(door: Door, rows: Sequence[Row], best: Row | None, one: Shape | None, of: int) -> None:
    told = _("~ is an estimate. Speed is that of the processor alone;")
    if of:
        more = n_("corrected by {n} model that was measured here", "corrected by {n} models measured here", of)
        told += " " + more.format(n=of) + "."
    else:
        told += " " + _("it may be twice off until `tuneloop models trial` has measured a model here.")
    door.say(f"\n[dim]{escape(told)}[/dim]")
    if not one:
        source = _("The list is of {date}: what its files hold is known, what their answers are worth is not.")
        door.say(f"[dim]{escape(source.format(date=shapes.dated()))}[/dim]")
    if best and not one:
        said = _("The largest that fits and is quick enough: {name}.").format(name=escape(best.model))
        door.say(f"[green]{said}[/green] " + escape(_("In every quantisation: tuneloop models fit {name}").format(
            name=best.model)))  # fmt: skip
    elif one and best:
        said = _("The best quality that fits and is quick enough: {quant}.").format(quant=best.quant)
        door.say(f"[green]{said}[/green]")
        if one.source == "list" and one.ollama:
            door.hint(escape(_("With Ollama: tuneloop models pull {name}").format(name=one.ollama)))
    elif not any(row.fits for row in rows):
        door.say("[red]" + _("Nothing of this fits.") + "[/red]")


def _stores(door: Door, places: Sequence[stores.Store]) -> None:
    cells = [(p.name, escape(p.path), gigabytes(p.bytes), gigabytes(p.free), gigabytes(p.all)) for p in places]
    columns = (_("place"), _("folder"), _("takes"), _("free"), _("of disk"))
    door.say()
    if not cells:
        door.say(_("No models lie here yet, neither of this workspace nor of Hugging Face or Ollama."))
        return
    door.table(_("Where models lie"), columns, cells, right=(2, 3, 4), whole=(0, 2, 3, 4))
    may = [(gigabytes(m.bytes), escape(m.name), escape(m.remove)) for p in places for m in p.models if m.remove]
    if may:
        door.say()
        door.table(_("What may go"), (_("size"), _("model"), _("command")), may[:MOST_MODELS], right=(0,), whole=(0, 2))
    for place in places:
        for kept in place.models:
            if kept.needed_by:
                said = _("{name} stays: {why}").format(name=kept.name, why=kept.needed_by)
                door.say(f"[dim]{escape(said)}[/dim]")
