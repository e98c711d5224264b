"""`tuneloop versions`: what was tuned, what serves, what served before, and where it comes from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from rich.markup import escape

from tuneloop import versions as registry
from tuneloop.answer.packed import quants
from tuneloop.cli.show import Door
from tuneloop.errors import Missing
from tuneloop.records import Version
from tuneloop.texts import _, n_
from tuneloop.workspace import Workspace


@click.group("versions", help=_("List, show, activate, roll back, history, lineage."))
def versions() -> None:
    pass


@versions.command("list", help=_("All versions, newest first."))
@click.option("--kind", default="chat", type=click.Choice(["chat", "photos"]), help=_("What the version does."))
@click.pass_obj
def list_(door: Door, kind: str) -> None:
    workspace = door.workspace()
    found = registry.history(workspace, kind=kind)
    packed = quants(workspace)
    rows = [
        (
            "●" if v.active else "",
            v.id,
            escape(v.name),
            _when(v.created),
            registry.judged(v),
            ", ".join(packed.get(v.id, ())) or "-",
        )
        for v in found
    ]
    if rows:
        door.table(_("Versions"), ("", _("id"), _("name"), _("made"), _("gate"), _("packed")), rows)
    else:
        door.say(_("No version yet: `tuneloop tune` makes one."))
    door.result([_document(v) | {"packed": packed.get(v.id, [])} for v in found])


@versions.command("show", help=_("Everything about one version."))
@click.argument("version")
@click.pass_obj
def show(door: Door, version: str) -> None:
    workspace = door.workspace()
    found = registry.find(workspace, version)
    document = _document(found) | {"packed": quants(workspace).get(found.id, [])}
    rows = [(key, escape(_line(value))) for key, value in document.items() if key != "meta"]
    rows += [(f"meta.{key}", escape(_line(value))) for key, value in found.meta.items()]
    door.table(_("Version {id}").format(id=found.id), (_("what"), _("value")), rows)
    door.result(document)


@versions.command("activate", help=_("Make a version the one that serves, after it was loaded once as a trial."))
@click.argument("version")
@click.option("--force", is_flag=True, help=_("Overrule the gate; give a --note."))
@click.option("--note", default="", help=_("Why; kept in the history."))
@click.pass_obj
def activate(door: Door, version: str, force: bool, note: str) -> None:
    if force and not note:
        raise click.UsageError(_("--force needs a --note that says why"))
    workspace = door.workspace()
    found = registry.find(workspace, version)
    registry.check_verdict(found, force=force)
    _rehearse(door, workspace, found)
    registry.activate(workspace, found, note=note, force=force)
    door.say(_("Version {id} is active.").format(id=found.id))
    door.say(_("A running server switches to it by itself; `tuneloop versions rollback` undoes it."))
    door.result({"active": found.id})


@versions.command("rollback", help=_("Return to the version that served before the active one."))
@click.option("--note", default="", help=_("Why; kept in the history."))
@click.pass_obj
def rollback(door: Door, note: str) -> None:
    workspace = door.workspace()
    found = registry.roll_back(workspace, note=note)
    door.say(_("Version {id} is active again.").format(id=found.id))
    door.result({"active": found.id})


@versions.command("history", help=_("Everything that happened to versions, oldest first."))
@click.pass_obj
def history(door: Door) -> None:
    found = registry.events(door.workspace())
    rows = [(_when(e["time"]), e["version"], e["event"], e["previous"] or "", escape(e["note"])) for e in found]
    door.table(_("History"), (_("time"), _("version"), _("event"), _("before"), _("note")), rows)
    door.result(found)


@versions.command("lineage", help=_("What a version was made of, down to the ids of the messages."))
@click.argument("version", default="active")
@click.pass_obj
def lineage(door: Door, version: str) -> None:
    workspace = door.workspace()
    found = registry.lineage(workspace, registry.find(workspace, version))
    door.table(
        _("Version {id}").format(id=found["version"]),
        (_("what"), _("value")),
        [(key, escape(_line(found[key]))) for key in ("base", "dataset", "dataset_path")],
    )
    for chat, ids in found["messages"].items():
        said = n_("{n} message of {chat}", "{n} messages of {chat}", len(ids)).format(n=len(ids), chat=chat)
        door.say(escape(f"{said} ({ids[0]} … {ids[-1]})"))
    door.say(_("`tuneloop versions lineage {id} --json` lists every id.").format(id=found["version"]))
    door.result(found)


def _rehearse(door: Door, workspace: Workspace, version: Version) -> None:
    import importlib.util

    if importlib.util.find_spec("xllamacpp") is None:
        door.say(_("Not tried out: llama.cpp is not installed here."))
        return
    from tuneloop.answer.serving import rehearse

    try:
        packed = rehearse(workspace, version)
    except Missing as problem:
        door.say(escape(_("Not tried out: {why}. {fix}").format(why=problem.message, fix=problem.fix)))
    else:
        door.say(_("Tried out: {file} loads and answers.").format(file=escape(packed.path.name)))


def _document(version: Version) -> dict[str, Any]:
    keys = ("id", "kind", "name", "path", "created", "active", "verdict", "meta")
    return {key: getattr(version, key) for key in keys}


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _line(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
