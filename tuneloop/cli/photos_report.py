"""`tuneloop photos report` and `photos duplicates`: what there is, what is confused, what is there twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from tuneloop.cli.photos_compare import TEAM
from tuneloop.cli.show import Door
from tuneloop.texts import _, n_

if TYPE_CHECKING:
    from tuneloop.search.alike import Alike
    from tuneloop.workspace import Workspace


@click.command("report", help=_("What is there: products, searches, clicks by kind and by person, trainings."))
@click.option("--html", type=click.Path(path_type=Path), help=_("Write a page with the pictures of confusions there."))
@TEAM
@click.pass_obj
def report(door: Door, html: Path | None, tenant: str) -> None:
    from tuneloop.loop import photo_report, photo_training
    from tuneloop.workspace import write_atomically

    workspace = door.workspace()
    found = photo_training.report(workspace, tenant=tenant)
    found["confusions"] = [asdict(one) for one in photo_report.confusions(workspace, tenant=tenant)]
    rows = [(name, found[key]) for key, name in _report_names()]
    rows += [(verdict, n) for verdict, n in found["verdicts"].items()]
    door.table(_("Photo search"), (_("what"), _("value")), rows, right=(1,))
    people = [(escape(p["user"]) or "-", p["verdicts"], f"{p['share']:.0%}") for p in found["people"]]
    door.table(_("Who clicked"), (_("person"), _("clicks"), _("share")), people, right=(1, 2))
    trainings = [
        (when(t["started"]), t["state"], t["examples"], percent(t["before"]), percent(t["after"]), escape(t["note"]))
        for t in found["trainings"]
    ]
    columns = (_("time"), _("state"), _("examples"), _("before"), _("after"), _("note"))
    door.table(_("Trainings"), columns, trainings, right=(2, 3, 4))
    confused = [(escape(c["found"]), escape(c["right"]), c["count"]) for c in found["confusions"][:10]]
    door.table(_("What is confused"), (_("found first"), _("right"), _("times")), confused, right=(2,))
    if html is not None:
        write_atomically(html, photo_report.page(workspace, found, tenant=tenant))
        door.say(_("Written to {path}.").format(path=html))
    door.result(found)


@click.command(
    "duplicates", help=_("Products whose pictures are nearly the same: entered twice, or hard to tell apart.")
)
@click.option(
    "--similarity", "least", default=0.95, type=click.FloatRange(0.5, 1.0), help=_("From which on; 1 is the same.")
)
@TEAM
@click.pass_obj
def duplicates(door: Door, least: float, tenant: str) -> None:
    from tuneloop.encoders.choice import open_encoder
    from tuneloop.search import alike

    workspace = door.workspace()
    encoder = open_encoder(workspace.settings.text("photos.encoder"))
    found = alike.groups(workspace, encoder.name, least=least, tenant=tenant)
    rows = [(n, f"{one.similarity:.3f}", _listed(one)) for n, one in enumerate(found, 1)]
    title = n_("{n} group of nearly the same pictures", "{n} groups of nearly the same pictures", len(found))
    door.table(title.format(n=len(found)), ("", _("similarity"), _("products")), rows, right=(0, 1))
    if found:
        door.hint(_("Take what is there twice out of the search: tuneloop photos retire PRODUCT"))
    door.result([_plain(one) for one in found])


def warn_alike(
    door: Door, workspace: Workspace, encoder: str, changed: Sequence[str], tenant: str = ""
) -> list[dict[str, Any]]:
    """Say which of the products that an import brought look like others."""
    from tuneloop.search import alike

    found = alike.groups(workspace, encoder, tenant=tenant, changed=changed) if changed else []
    for one in found[:5]:
        said = _("nearly the same picture ({similarity:.3f}): {products}")
        text = said.format(similarity=one.similarity, products=_listed(one))
        door.say(f"[yellow]{text}[/yellow]")
    if len(found) > 5:
        door.say(_("… and {n} more: tuneloop photos duplicates").format(n=len(found) - 5))
    return [_plain(one) for one in found]


def _listed(one: Alike) -> str:
    shown = [f"{item.name} ({item.id})" for item in one.items[:6]]
    return escape(", ".join(shown) + (" …" if len(one.items) > 6 else ""))


def _plain(one: Alike) -> dict[str, Any]:
    return {"similarity": round(one.similarity, 4), "items": [item.id for item in one.items]}


def _report_names() -> list[tuple[str, str]]:
    return [
        ("products", _("products")),
        ("retired", _("retired")),
        ("without_picture", _("without a picture")),
        ("searches", _("searches")),
        ("latency_ms", _("milliseconds a search, median")),
        ("unused", _("clicks not learned from yet")),
        ("version", _("version that searches")),
    ]


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f} %"


def when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
