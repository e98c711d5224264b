"""`tuneloop photos versions`, `photos activate` and `photos rollback`: what searches, what did before, and back."""

from __future__ import annotations

from typing import Any

import click

from tuneloop.cli.photos_compare import TEAM
from tuneloop.cli.photos_report import when
from tuneloop.cli.show import Door
from tuneloop.texts import _


@click.command("versions", help=_("All versions, newest first; `start` is the search before any of them."))
@TEAM
@click.pass_obj
def versions(door: Door, tenant: str) -> None:
    from tuneloop import versions as registry
    from tuneloop.loop import photo_switch

    found = photo_switch.listed(door.workspace(), tenant=tenant)
    rows: list[tuple[Any, ...]] = [
        ("●" if v.active else "", v.id, when(v.created), v.meta.get("examples"), registry.judged(v)) for v in found
    ]
    rows.append(("" if any(v.active for v in found) else "●", registry.START, "", "", _("before any version")))
    door.table(_("Versions"), ("", _("id"), _("made"), _("examples"), _("gate")), rows, right=(3,))
    keys = ("id", "name", "created", "active", "verdict", "meta")
    listed = [{key: getattr(v, key) for key in keys} for v in found]
    door.result([*listed, {**dict.fromkeys(keys), "id": registry.START, "active": not any(v.active for v in found)}])


@click.command("activate", help=_("Make a version the one that searches; `start`: the search before any of them."))
@click.argument("version")
@click.option("--force", is_flag=True, help=_("Overrule the gate; give a --note."))
@click.option("--note", default="", help=_("Why; kept in the history."))
@TEAM
@click.pass_obj
def activate(door: Door, version: str, force: bool, note: str, tenant: str) -> None:
    from tuneloop.loop import photo_switch

    if force and not note:
        raise click.UsageError(_("--force needs a --note that says why"))
    now = photo_switch.activate(door.workspace(), version, tenant=tenant, note=note, force=force)
    door.say(_("Version {id} searches from now on.").format(id=now))
    door.result({"active": now})


@click.command("rollback", help=_("Return to what searched before: a version, or `start`."))
@click.option("--note", default="", help=_("Why; kept in the history."))
@TEAM
@click.pass_obj
def rollback(door: Door, note: str, tenant: str) -> None:
    from tuneloop.loop import photo_switch

    now = photo_switch.roll_back(door.workspace(), tenant=tenant, note=note)
    door.say(_("Version {id} is active again.").format(id=now))
    door.result({"active": now})
