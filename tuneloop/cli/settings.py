"""`tuneloop settings`: every knob, its value here, and where the value came from."""

from __future__ import annotations

import click

from tuneloop import settings
from tuneloop.cli.show import Door
from tuneloop.texts import _
from tuneloop.workspace import locate


@click.command("settings", help=_("Every setting, its value here and where it came from."))
@click.pass_obj
def settings_(door: Door) -> None:
    folder = locate(door.flag)
    resolved = settings.load(folder if (folder / "tuneloop.toml").exists() else None)
    rows = [(s.name, resolved.values[s.name], resolved.origin(s.name), _(s.help)) for s in settings.SETTINGS]
    shown = [(name, value, _("default") if origin == "default" else origin, what) for name, value, origin, what in rows]
    door.table(_("Settings"), (_("name"), _("value"), _("from"), _("what it does")), shown)
    door.result([{"name": n, "value": v, "origin": o, "help": h} for n, v, o, h in rows])
