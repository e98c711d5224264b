"""`tuneloop models`: the files of this workspace and what its engines have."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import click
from rich.markup import escape

from tuneloop.answer import models as store
from tuneloop.answer.book import Book, read
from tuneloop.cli.show import Door
from tuneloop.errors import TuneloopError
from tuneloop.texts import _
from tuneloop.workspace import Workspace


@click.group("models", help=_("List, fetch and remove model files; see what engines have."))
def models() -> None:
    pass


@models.command("list", help=_("Files of this workspace, and the models of every engine that answers."))
@click.pass_obj
def list_(door: Door) -> None:
    workspace = door.workspace()
    found = store.files(workspace)
    rows = [
        (m["id"], f"{m['size'] / 1e6:,.0f} MB", m["family"], m["quantisation"], _when(m["used"]), m["needed_by"])
        for m in found
    ]
    columns = (_("model"), _("size"), _("family"), _("quantisation"), _("last used"), _("needed by"))
    if rows:
        door.table(_("Files of this workspace"), columns, rows, right=(1,))
    else:
        door.say(_("No files yet: `tuneloop pack` makes them, `tuneloop models fetch URL` gets one."))
    engines = asyncio.run(_engines(_book(workspace)))
    for name, known in engines.items():
        if isinstance(known, str):
            door.say(f"{escape(name)}: [red]{escape(known)}[/red]")
            continue
        listed = [
            (escape(m["id"]), _size(m.get("size")), m.get("family") or "", m.get("quantisation") or "") for m in known
        ]
        door.table(_("Engine {name}").format(name=escape(name)), columns[:4], listed, right=(1,))
    door.result({"files": found, "engines": engines})


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
@click.option("--engine", default="ollama", help=_("The engine of tuneloop.toml."))
@click.pass_obj
def pull(door: Door, name: str, engine: str) -> None:
    from tuneloop.engines.ollama import Ollama

    book = _book(door.workspace())
    spec = book.engines.get(engine)
    if spec is None or spec.kind != "ollama":
        raise click.UsageError(_("'{name}' is no Ollama engine of tuneloop.toml").format(name=engine))

    async def work() -> None:
        with door.progress() as watch:
            async with Ollama(spec.url) as server:
                await server.pull(name, watch=watch)

    asyncio.run(work())
    door.say(_("{name} is there.").format(name=escape(name)))
    door.result({"name": name, "engine": engine})


@models.command("rm", help=_("Remove a fetched file, unless something needs it."))
@click.argument("name")
@click.pass_obj
def rm(door: Door, name: str) -> None:
    workspace = door.workspace()
    freed = store.remove(workspace, name, _book(workspace))
    door.say(_("{name} is gone: {size:.0f} MB freed.").format(name=escape(name), size=freed / 1e6))
    door.result({"removed": name, "bytes": freed})


async def _engines(book: Book) -> dict[str, Any]:
    """What every engine but the served version says it has, or why it does not answer."""
    from tuneloop.gateway.engines import KINDS

    found: dict[str, Any] = {}
    for name, spec in book.engines.items():
        if spec.kind == "local":
            continue
        try:
            engine = KINDS[spec.kind](spec)
            try:
                found[name] = await engine.models()
            finally:
                await engine.close()
        except TuneloopError as problem:
            found[name] = problem.message
    return found


def _book(workspace: Workspace) -> Book:
    return read(workspace.path / "tuneloop.toml")


def _size(size: int | None) -> str:
    return f"{size / 1e6:,.0f} MB" if size else ""


def _when(time: float | None) -> str:
    return f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}" if time else "-"
