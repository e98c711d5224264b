"""`tuneloop keys`: who may ask this server, and for what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from rich.markup import escape

from tuneloop.access import keys as store
from tuneloop.cli.show import Door
from tuneloop.errors import Missing
from tuneloop.settings import secret
from tuneloop.texts import _


@click.group("keys", help=_("API keys: create, list, rotate, revoke; tokens for callers that another system knows."))
def keys() -> None:
    pass


@keys.command("create", help=_("Make a key. It is shown once: only its hash is stored."))
@click.argument("name")
@click.option(
    "--role", type=click.Choice(store.ROLES), default="user", help=_("reader sees, user asks, admin changes.")
)
@click.option("--task", "scopes", multiple=True, help=_("A task it may ask for (repeat for several; none: all)."))
@click.option("--days", type=click.FloatRange(0, 36500, min_open=True), help=_("Days until it expires."))
@click.option("--team", "tenant", default="", help=_("The team whose rows it sees; each team sees only its own."))
@click.pass_obj
def create(door: Door, name: str, role: str, scopes: tuple[str, ...], days: float | None, tenant: str) -> None:
    workspace = door.workspace(create=True)
    key, text = store.create(workspace, tenant=tenant, name=name, role=role, scopes=scopes, days=days)
    _reveal(door, key, text)


@keys.command("list", help=_("All keys, newest first."))
@click.pass_obj
def list_(door: Door) -> None:
    found = store.history(door.workspace())
    now = datetime.now().timestamp()
    rows = [
        (k.id, escape(k.name), k.tenant or "-", k.role, ", ".join(k.scopes) or _("all"), _when(k.used), k.dead(now))
        for k in found
    ]
    if rows:
        columns = ("id", _("name"), _("team"), _("role"), _("tasks"), _("last used"), _("state"))
        door.table(_("Keys"), columns, rows)
    else:
        door.say(_("None yet: `tuneloop keys create NAME` makes one. Without a key only this machine may ask."))
    door.result([_document(k) for k in found])


@keys.command("rotate", help=_("A new key with the same rights; the old one works for a while longer."))
@click.argument("key")
@click.option("--grace", default=24.0, type=click.FloatRange(0, 2160), help=_("Hours the old key still works."))
@click.pass_obj
def rotate(door: Door, key: str, grace: float) -> None:
    made, text = store.rotate(door.workspace(), key, grace_hours=grace)
    _reveal(door, made, text)


@keys.command("revoke", help=_("Refuse a key from now on (running servers notice within 5 seconds)."))
@click.argument("key")
@click.pass_obj
def revoke(door: Door, key: str) -> None:
    found = store.revoke(door.workspace(), key)
    door.say(_("{name} ({id}) is revoked.").format(name=escape(found.name), id=found.id))
    door.result(_document(found))


@keys.command("token", help=_("Sign a token (JWT) for somebody, valid for at most 24 hours."))
@click.argument("subject")
@click.option(
    "--role", type=click.Choice(store.ROLES), default="user", help=_("reader sees, user asks, admin changes.")
)
@click.option("--team", "tenant", default="", help=_("The team whose rows it sees; each team sees only its own."))
@click.option("--minutes", default=60.0, type=click.FloatRange(0, 1440, min_open=True), help=_("How long it is valid."))
@click.pass_obj
def token(door: Door, subject: str, role: str, tenant: str, minutes: float) -> None:
    from tuneloop.access import tokens

    signing = secret(door.workspace().settings, "access.jwt_key_env")
    if not signing:
        raise Missing(
            _("no key for signing tokens is set"),
            fix=_('Put access.jwt_key_env = "NAME" into tuneloop.toml and the key into that environment variable.'),
        )
    text = tokens.issue(signing, subject=subject, tenant=tenant, role=role, seconds=round(minutes * 60))
    if not door.as_json:
        door.console.print(text, markup=False, soft_wrap=True)
    door.result({"token": text})


def _reveal(door: Door, key: store.Key, text: str) -> None:
    door.say(
        _("Key {id} for {name} ({role}):").format(id=key.id, name=f"[bold]{escape(key.name)}[/bold]", role=key.role)
    )
    if not door.as_json:
        door.console.print(text, markup=False, soft_wrap=True)
    door.say(_("Keep it now: it is not stored and cannot be shown again."))
    door.result(_document(key) | {"secret": text})


def _document(key: store.Key) -> dict[str, Any]:
    names = ("id", "tenant", "name", "role", "scopes", "created", "expires", "revoked", "used", "replaces")
    return {name: getattr(key, name) for name in names}


def _when(time: float | None) -> str:
    return "-" if time is None else f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}"
