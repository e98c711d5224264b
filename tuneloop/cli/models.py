"""`tuneloop models`: the files of this workspace and what its engines have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TextIO

import click
from rich.markup import escape

from tuneloop.answer import models as store
from tuneloop.answer.book import Book, read
from tuneloop.answer.stores import room_of
from tuneloop.cli.models_fit import fit
from tuneloop.cli.models_listing import engines as listing
from tuneloop.cli.models_trial import trial
from tuneloop.cli.show import Door
from tuneloop.engines.ollama import Ollama
from tuneloop.texts import _
from tuneloop.workspace import Workspace

engine_option = click.option("--engine", default="ollama", show_default=True, help=_("The engine of tuneloop.toml."))


@click.group("models", help=_("List, fetch, create and remove models; see what engines have."))
def models() -> None:
    pass


models.add_command(fit)
models.add_command(trial)


@models.command("list", help=_("Files of this workspace, and the models of every engine that answers."))
@click.pass_obj
def list_(door: Door) -> None:
    workspace = door.workspace()
    book = _book(workspace)
    engines = asyncio.run(listing(book))
    found = store.everything(workspace, book, engines)
    columns = (_("model"), _("size"), _("family"), _("quantisation"), _("last used"), _("needed by"))
    if not any(not m["engine"] for m in found):
        door.say(_("No files yet: `tuneloop pack` makes them, `tuneloop models fetch URL` gets one."))
    for place in dict.fromkeys(m["engine"] for m in found):
        rows = [
            (escape(m["id"]), _size(m["size"]), m["family"], m["quantisation"], _when(m["used"]), m["needed_by"])
            for m in found
            if m["engine"] == place
        ]
        title = _("Engine {name}").format(name=escape(place)) if place else _("Files of this workspace")
        door.table(title, columns, rows, right=(1,))
    _say_unreachable(door, engines)
    files = [one for one in found if not one["engine"]]
    door.result({"files": files, "engines": engines, "models": found})


@models.command("running", help=_("What Ollama engines have in memory now."))
@click.pass_obj
def running(door: Door) -> None:
    from tuneloop.gateway.models import running as ask

    found = asyncio.run(ask(_book(door.workspace())))
    rows = [
        (m["engine"], escape(m["id"]), _size(m["size"]), _size(m["gpu"]), m["quantisation"], m["expires"])
        for listed in found.values()
        if not isinstance(listed, str)
        for m in listed
    ]
    columns = (_("engine"), _("model"), _("memory"), _("of it GPU"), _("quantisation"), _("until"))
    if rows:
        door.table(_("Running models"), columns, rows, right=(2, 3))
    else:
        door.say(_("No model is loaded."))
    _say_unreachable(door, found)
    door.result(found)


@models.command("fetch", help=_("Download a GGUF file into models/; only from public addresses, checked before use."))
@click.argument("url")
@click.option("--sha256", default="", help=_("What its SHA-256 must be."))
@click.pass_obj
def fetch(door: Door, url: str, sha256: str) -> None:
    workspace = door.workspace(create=True)
    with door.progress() as watch:
        path = store.fetch(workspace, url, sha256=sha256, watch=watch)
    door.say(_("{path} is there and sound. Serve it: tuneloop serve --model {path}").format(path=escape(str(path))))
    door.result({"path": str(path), "size": path.stat().st_size})


@models.command("pull", help=_("Let an Ollama engine download a model."))
@click.argument("name")
@engine_option
@click.pass_obj
def pull(door: Door, name: str, engine: str) -> None:
    workspace = door.workspace()
    store.check_library(workspace, name)
    room = room_of(store.ollama(_book(workspace), engine))
    with door.progress() as watch:
        _ask(workspace, engine, lambda server: server.pull(name, watch=watch, room=room))
    door.say(_("{name} is there.").format(name=escape(name)))
    door.result({"name": name, "engine": engine})


@models.command("create", help=_("Make a model of an Ollama engine: of another one it has, or of a file."))
@click.argument("name")
@click.option("--from", "source", default="", help=_("A model the engine has."))
@click.option("--file", "file", default="", help=_("A GGUF file, as `tuneloop models list` names it."))
@click.option("--system", default="", help=_("The system text of the new model."))
@click.option(
    "--template",
    type=click.File(encoding="utf-8"),
    help=_("A file with the prompt template."),
)
@click.option("--parameter", "parameters", multiple=True, help=_("NAME=VALUE; repeatable."))
@engine_option
@click.pass_obj
def create(
    door: Door, name: str, source: str, file: str, system: str, template: TextIO | None, parameters: tuple[str, ...],
    engine: str,
) -> None:  # fmt: skip
    workspace = door.workspace()
    path = store.file_of(workspace, file) if file else None
    text = template.read() if template else None
    with door.progress() as watch:
        _ask(
            workspace, engine,
            lambda server: server.create(
                name, {path.name: path} if path else {}, source=source, template=text, system=system,
                parameters=_parameters(parameters), watch=watch,
            ),
        )  # fmt: skip
    door.say(_("{name} is there.").format(name=escape(name)))
    door.result({"name": name, "engine": engine})


@models.command("copy", help=_("Give a model of an Ollama engine a second name."))
@click.argument("source")
@click.argument("destination")
@engine_option
@click.pass_obj
def copy(door: Door, source: str, destination: str, engine: str) -> None:
    _ask(door.workspace(), engine, lambda server: server.copy(source, destination))
    door.say(_("{name} is there.").format(name=escape(destination)))
    door.result({"name": destination, "engine": engine})


@models.command("rm", help=_("Remove a file, or with --engine a model of that Ollama, unless something needs it."))
@click.argument("name")
@click.option("--engine", default="", help=_("The engine of tuneloop.toml."))
@click.pass_obj
def rm(door: Door, name: str, engine: str) -> None:
    workspace = door.workspace()
    book = _book(workspace)
    if engine:
        store.ollama(book, engine)
        store.check_unneeded(workspace, book, engine, name)
        _ask(workspace, engine, lambda server: server.delete(name))
        door.say(_("{name} is gone.").format(name=escape(name)))
        door.result({"removed": name, "engine": engine})
        return
    freed = store.remove(workspace, name, book)
    door.say(_("{name} is gone: {size:.0f} MB freed.").format(name=escape(name), size=freed / 1e6))
    door.result({"removed": name, "bytes": freed})


def _ask(workspace: Workspace, engine: str, use: Callable[[Ollama], Awaitable[object]]) -> None:
    from tuneloop.gateway.models import server

    spec = store.ollama(_book(workspace), engine)

    async def work() -> None:
        async with server(spec) as one:
            await use(one)

    asyncio.run(work())


def _parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE, values as JSON where they are; a name given twice becomes a list ("stop")."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.UsageError(_("'{text}' is no parameter; write NAME=VALUE").format(text=text))
        try:
            given = json.loads(value)
        except ValueError:
            given = value
        found[name] = given if name not in found else [*_listed(found[name]), given]
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _say_unreachable(door: Door, engines: Mapping[str, Any]) -> None:
    for name, known in engines.items():
        if isinstance(known, str):
            door.say(f"{escape(name)}: [red]{escape(known)}[/red]")


def _book(workspace: Workspace) -> Book:
    return read(workspace.path / "tuneloop.toml")


def _size(size: int | None) -> str:
    return f"{size / 1e6:,.0f} MB" if isinstance(size, int | float) and size else ""


def _when(time: float | None) -> str:
    return f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}" if time else "-"
