"""`tuneloop documents`: texts that a model answers from, in named collections."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.errors import Missing
from tuneloop.search import documents as store
from tuneloop.search import files
from tuneloop.search.library import Library
from tuneloop.texts import _, n_

TOGETHER = 20  # documents stored in one transaction

collection_option = click.option(
    "-c", "--collection", default=store.DEFAULT, show_default=True, help=_("Name of the collection.")
)


@click.group("documents", help=_("Documents that a model answers from: add, search, list, remove."))
def documents() -> None:
    pass


@documents.command("add", help=_("Store text, Markdown and HTML files, or all of a folder."))
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@collection_option
@click.pass_obj
def add(door: Door, paths: tuple[Path, ...], collection: str) -> None:
    found = files.gathered(paths)
    if not found:
        raise Missing(_("there is no text, Markdown or HTML file"), fix=_("Name files, or a folder that holds some."))
    workspace = door.workspace(create=True)
    with door.progress() as watch:
        texts = list(files.read(found))  # every file is read before any is stored
        for text in texts:
            store.check(text)
        if collection not in {one["name"] for one in store.history(workspace)}:
            store.create(workspace, collection)
        sums = {"added": 0, "changed": 0, "unchanged": 0, "passages": 0}
        done = 0
        for some in (texts[at : at + TOGETHER] for at in range(0, len(texts), TOGETHER)):
            said = asdict(store.add(workspace, collection, some))
            sums = {key: said[key] + (0 if key == "passages" else sums[key]) for key in sums}
            done += len(some)
            watch(_("documents"), done, len(texts))
    door.say(
        _("{added} added, {changed} changed, {unchanged} as they were; {passages} passages in '{name}'.").format(
            **sums, name=escape(collection)
        )
    )
    door.hint(_('Look for something: tuneloop documents search "..."'))
    door.result({"collection": collection, **sums})


@documents.command("search", help=_("The passages that hold most of a question."))
@click.argument("query")
@collection_option
@click.option("-k", "--top", default=5, type=click.IntRange(1, 100), help=_("Passages shown at most."))
@click.option("--threshold", default=0.0, type=click.FloatRange(0, 1), help=_("Least similarity of what is shown."))
@click.pass_obj
def search(door: Door, query: str, collection: str, top: int, threshold: float) -> None:
    found = Library(door.workspace()).search(collection, query, top_k=top, similarity_threshold=threshold)
    for one in found:
        door.say(f"[bold]{escape(one.document)}[/bold] #{one.number}  {one.similarity:.2f}")
        door.say(escape(one.text) + "\n")
    if not found:
        door.say(_("Nothing in '{name}' shares a word with it.").format(name=escape(collection)))
    door.result([asdict(one) for one in found])


@documents.command("list", help=_("Collections; with --collection, the documents of one."))
@click.option("-c", "--collection", default="", help=_("Name of the collection."))
@click.pass_obj
def list_(door: Door, collection: str) -> None:
    workspace = door.workspace()
    if collection:
        held = store.listing(workspace, collection, limit=100_000)
        rows = [(escape(one["id"]), one["characters"], _day(one["seen"])) for one in held]
        door.table(escape(collection), (_("document"), _("characters"), _("last sent")), rows, right=(1,))
        door.result(held)
        return
    found = store.history(workspace)
    if found:
        cells = [(escape(one["name"]), one["documents"], one["passages"], _day(one["newest"])) for one in found]
        columns = (_("collection"), _("documents"), _("passages"), _("last sent"))
        door.table(_("Collections"), columns, cells, right=(1, 2))
    else:
        door.say(_("None yet: `tuneloop documents add FILE...`."))
    door.result(found)


@documents.command("rm", help=_("Remove documents by their ids, or with --all a whole collection."))
@click.argument("ids", nargs=-1)
@collection_option
@click.option("--all", "whole", is_flag=True, help=_("Remove the collection with all its documents."))
@click.pass_obj
def rm(door: Door, ids: tuple[str, ...], collection: str, whole: bool) -> None:
    if bool(ids) == whole:
        raise click.UsageError(_("name documents, or say --all"))
    workspace = door.workspace()
    gone = store.drop(workspace, collection) if whole else store.remove(workspace, collection, ids)
    door.say(n_("{n} document removed.", "{n} documents removed.", gone).format(n=gone))
    door.result({"collection": collection, "removed": gone})


def _day(time: float | None) -> str:
    return f"{datetime.fromtimestamp(time):%Y-%m-%d}" if time else ""
