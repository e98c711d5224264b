"""`tuneloop photos`: a catalogue, a photo, the right product first, and clicks that make the next search better."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from tuneloop.cli.photos_compare import TEAM, compare
from tuneloop.cli.photos_people import forget, mine
from tuneloop.cli.photos_report import duplicates, percent, report, warn_alike
from tuneloop.cli.photos_versions import activate, rollback, versions
from tuneloop.cli.show import Door
from tuneloop.texts import _, n_

if TYPE_CHECKING:
    from tuneloop.loop.photos import Hit
    from tuneloop.search.catalogue import Imported
    from tuneloop.workspace import Workspace

USER = click.option("--user", default="", help=_("Whose click it is."))


@click.group("photos", help=_("Photo search that learns: catalogue, search, clicks, training, versions."))
def photos() -> None:
    pass


photos.add_command(compare)
photos.add_command(duplicates)
photos.add_command(mine)
photos.add_command(forget)
photos.add_command(report)
for version_command in (versions, activate, rollback):
    photos.add_command(version_command)


@photos.command("import", help=_("Read a catalogue: CSV, SQLite database or folder of pictures; again for changes."))
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--keep-missing", is_flag=True, help=_("Do not retire products that the source no longer lists."))
@TEAM
@click.pass_obj
def import_(door: Door, source: Path, keep_missing: bool, tenant: str) -> None:
    from tuneloop.encoders.choice import open_encoder
    from tuneloop.search import catalogue, catalogue_sources

    workspace = door.workspace(create=True)
    products = catalogue_sources.read(source)
    encoder = open_encoder(workspace.settings.text("photos.encoder"))
    named = str(source.absolute())
    with door.progress() as watch:
        done = catalogue.put(
            workspace, products, encoder, source=named, tenant=tenant, retire=not keep_missing, watch=watch
        )
    _show_import(door, workspace, encoder.name, done, tenant)
    door.hint(_("Next: tuneloop photos search PHOTO"))


@photos.command("add", help=_("Add one product, or change the one with this id."))
@click.argument("id")
@click.argument("name")
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--category", default="", help=_("Its category."))
@click.option("--price", default="", help=_("Its price."))
@click.option("--description", default="", help=_("Words about it."))
@TEAM
@click.pass_obj
def add(
    door: Door, id: str, name: str, pictures: tuple[Path, ...], category: str, price: str, description: str, tenant: str
) -> None:
    from tuneloop.encoders.choice import open_encoder
    from tuneloop.search import catalogue, catalogue_sources

    workspace = door.workspace(create=True)
    product = catalogue_sources.Product(id.strip(), name.strip(), category, price, description, pictures)
    encoder = open_encoder(workspace.settings.text("photos.encoder"))
    done = catalogue.put(workspace, [product], encoder, tenant=tenant)
    _show_import(door, workspace, encoder.name, done, tenant)


@photos.command("retire", help=_("Take a product out of the search."))
@click.argument("item")
@TEAM
@click.pass_obj
def retire(door: Door, item: str, tenant: str) -> None:
    from tuneloop.search import catalogue

    catalogue.retire(door.workspace(), item, tenant=tenant)
    door.say(_("{id} is not searched any more; importing or adding it again brings it back.").format(id=escape(item)))
    door.result({"retired": item})


@photos.command("list", help=_("The catalogue, or the products whose name holds the given words."))
@click.argument("words", nargs=-1)
@click.option("--limit", default=50, type=click.IntRange(1, 100_000), help=_("Products shown at most."))
@TEAM
@click.pass_obj
def list_(door: Door, words: tuple[str, ...], limit: int, tenant: str) -> None:
    from tuneloop.search import catalogue

    found = catalogue.items(door.workspace(), tenant=tenant)
    if words:
        found = catalogue.matching(found, " ".join(words))
    rows = [(escape(i.id), escape(i.name), escape(i.category), escape(i.price), len(i.pictures)) for i in found[:limit]]
    columns = (_("id"), _("name"), _("category"), _("price"), _("pictures"))
    door.table(n_("{n} product", "{n} products", len(found)).format(n=len(found)), columns, rows, right=(4,))
    door.result([asdict(item) for item in found[:limit]])


@photos.command("search", help=_("Find the product that a photo shows."))
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("-k", default=0, type=click.IntRange(0, 1000), help=_("How many products; 0: the setting."))
@click.option("--category", default="", help=_("Only products of this category."))
@USER
@TEAM
@click.pass_obj
def search(door: Door, photo: Path, k: int, category: str, user: str, tenant: str) -> None:
    from tuneloop.loop.photos import Finder

    found = Finder(door.workspace(), tenant=tenant).search(photo, user=user, k=k, category=category)
    if not found.known:
        door.say(_("This does not seem to be in the catalogue; nearest to it are:"))
    rows = [
        (n, escape(h.item), escape(h.name), escape(h.category), escape(h.price), _similar(h))
        for n, h in enumerate(found.hits, 1)
    ]
    columns = ("", _("id"), _("name"), _("category"), _("price"), _("similarity"))
    title = _("Search {id}, {ms:.0f} ms").format(id=found.query, ms=found.latency_ms)
    door.table(title, columns, rows, right=(0, 5))
    said = _("Say what is right: tuneloop photos click {id} right PRODUCT").format(id=found.query)
    door.hint(f"{said} --team {escape(tenant)}" if tenant else said)
    door.result(asdict(found))


@photos.command("find", help=_("Find products by words: what pictures show where the encoder has text, else names."))
@click.argument("words", nargs=-1, required=True)
@click.option("-k", default=0, type=click.IntRange(0, 1000), help=_("How many products; 0: the setting."))
@click.option("--category", default="", help=_("Only products of this category."))
@TEAM
@click.pass_obj
def find(door: Door, words: tuple[str, ...], k: int, category: str, tenant: str) -> None:
    from tuneloop.loop.photo_words import NAMES, Words
    from tuneloop.loop.photos import Finder

    found = Words(Finder(door.workspace(), tenant=tenant)).search(" ".join(words), k=k, category=category)
    if found.method == NAMES:
        door.say(_("The encoder of this catalogue knows no text: names were searched instead."))
    rows = [(escape(h.item), escape(h.name), escape(h.category), escape(h.price), _similar(h)) for h in found.hits]
    columns = (_("id"), _("name"), _("category"), _("price"), _("similarity"))
    title = n_("{n} product", "{n} products", len(rows)).format(n=len(rows))
    door.table(title, columns, rows, right=(4,))
    door.result(asdict(found))


@photos.command(
    "serve",
    help=_("Serve photo search: its page and its API, no language model; `tuneloop serve` has the page too."),
)
@click.option("--host", help=_("Address to listen on (default: setting serve.host)."))
@click.option("--port", type=click.IntRange(0, 65535), help=_("Port; 0 picks a free one (default: serve.port)."))
@click.pass_obj
def serve(door: Door, host: str | None, port: int | None) -> None:
    from tuneloop.cli.serve import need_extra, run
    from tuneloop.search import catalogue

    need_extra()
    workspace = door.workspace()
    if not catalogue.revision(workspace):
        door.hint(_("There is no catalogue yet: tuneloop photos import CATALOGUE.csv"))
    host = host or workspace.settings.text("serve.host")
    port = workspace.settings.integer("serve.port") if port is None else port
    run(door, workspace, host=host, port=port, page="/photos")


@photos.command("click", help=_("Say of a search: right ID, wrong ID, pointed ID, absent, or comment --text."))
@click.argument("query")
@click.argument("verdict")
@click.argument("item", default="")
@click.option("--text", default="", help=_("What you want to say."))
@click.option("--undo", is_flag=True, help=_("Take it back instead."))
@USER
@TEAM
@click.pass_obj
def click_(door: Door, query: str, verdict: str, item: str, text: str, undo: bool, user: str, tenant: str) -> None:
    from tuneloop.loop import photo_clicks

    workspace = door.workspace()
    if undo:
        photo_clicks.undo(workspace, query, item=item, user=user, tenant=tenant)
        door.say(_("Taken back."))
        door.result({"undone": True})
        return
    identity = photo_clicks.record(workspace, query, verdict, item=item, user=user, text=text, tenant=tenant)
    door.say(_("Noted; the next search knows it."))
    door.result({"feedback": identity})


@photos.command("train", help=_("Learn from every click; the new version searches only if the gate says so."))
@TEAM
@click.pass_obj
def train(door: Door, tenant: str) -> None:
    from tuneloop import versions as registry
    from tuneloop.loop import photo_training

    with door.progress() as watch:
        done = photo_training.train(door.workspace(), tenant=tenant, watch=watch)
    rows = [_figures_row(name, done.verdict.figures[part]) for part, name in _parts()]
    columns = ("", _("photos"), _("recall@1 before"), _("after"), _("recall@5 before"), _("after"))
    title = _("Version {id}: {rung}").format(id=done.version.id, rung=done.verdict.figures["rung"])
    door.table(title, columns, rows, right=(1, 2, 3, 4, 5))
    door.say(escape(done.verdict.why))
    if done.active:
        door.say(_("It searches from now on; `tuneloop photos rollback` undoes that."))
    else:
        door.say(_("It stays inactive: {decision}.").format(decision=registry.judged(done.version)))
    door.result(
        {"version": done.version.id, "active": done.active, "seconds": round(done.seconds, 2), **asdict(done.verdict)}
    )


def _show_import(door: Door, workspace: Workspace, encoder: str, done: Imported, tenant: str) -> None:
    for product, why in done.problems[:20]:
        door.say(f"[yellow]{escape(product)}[/yellow]: {escape(why)}")
    if len(done.problems) > 20:
        door.say(_("… and {n} more").format(n=len(done.problems) - 20))
    said = _("{added} added, {changed} changed, {unchanged} unchanged, {retired} retired, {without} without a picture")
    counts = {"added": done.added, "changed": done.changed, "unchanged": done.unchanged, "retired": done.retired}
    door.say(said.format(**counts, without=done.without_picture))
    found = warn_alike(door, workspace, encoder, done.fresh, tenant)
    shown = {name: value for name, value in asdict(done).items() if name != "fresh"}
    door.result(shown | {"alike": found})


def _similar(hit: Hit) -> str:
    return f"{hit.similarity:.2f}"


def _parts() -> list[tuple[str, str]]:
    return [("seen", _("clicked products")), ("unseen", _("other products")), ("all", _("all"))]


def _figures_row(name: str, found: dict[str, Any]) -> tuple[Any, ...]:
    cells = [percent(found[moment][f"recall_{k}"]) for k in (1, 5) for moment in ("before", "after")]
    return (name, found["photos"], *cells)
