"""`tuneloop photos mine` and `photos forget`: what photo search keeps of a person, shown and removed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from tuneloop.cli.photos_compare import TEAM
from tuneloop.cli.show import Door
from tuneloop.errors import Missing
from tuneloop.texts import _


@click.command("mine", help=_("Every row about a person: searches, clicks, comments, proposed products."))
@click.argument("user")
@click.option("--out", type=click.Path(path_type=Path), help=_("Write all of it into this JSON file."))
@TEAM
@click.pass_obj
def mine(door: Door, user: str, out: Path | None, tenant: str) -> None:
    from tuneloop.workspace import write_json

    kept = _known(door, user, tenant)
    rows = [(name, len(kept[key])) for key, name in _names()]
    door.table(escape(user), (_("what"), _("rows")), rows, right=(1,))
    if out is not None:
        write_json(out, {"user": user, **kept})
        door.say(_("Written to {path}; the photos lie in the workspace under the paths named there.").format(path=out))
    door.hint(_("Remove all of it: tuneloop photos forget {user}").format(user=escape(user)))
    door.result({"user": user, **kept})


@click.command("forget", help=_("Remove a person's photos, searches and clicks; names the versions taught by them."))
@click.argument("user")
@click.option("--yes", is_flag=True, help=_("Do not ask; there is no undo."))
@TEAM
@click.pass_obj
def forget(door: Door, user: str, yes: bool, tenant: str) -> None:
    from tuneloop.loop import photo_people

    kept = _known(door, user, tenant)
    if not yes:
        question = _("Remove {searches} searches with their photos and {clicks} clicks of {user}? There is no undo.")
        counts = {"searches": len(kept["searches"]), "clicks": len(kept["clicks"])}
        click.confirm(question.format(user=user, **counts), abort=True, err=True)
    done = photo_people.forget(door.workspace(), user, tenant=tenant)
    door.say(
        _("Removed: {searches} searches, {photos} photos, {clicks} clicks and comments, {proposals} proposals.").format(
            searches=done.searches, photos=done.photos, clicks=done.clicks, proposals=done.proposals
        )
    )
    if done.versions:
        said = _("These versions learned from the person and still do what that taught: {ids}.")
        door.say(f"[yellow]{said.format(ids=', '.join(done.versions))}[/yellow]")
        door.hint(_("Next: tuneloop photos train (it learns without the person), then activate what it makes."))
    door.result(asdict(done))


def _known(door: Door, user: str, tenant: str) -> dict[str, list[dict[str, Any]]]:
    """What is kept of the person. Raises Missing where that is nothing: a misspelt name must not look forgotten."""
    from tuneloop.loop import photo_people

    kept = photo_people.kept_of(door.workspace(), user, tenant=tenant)
    if not any(kept.values()):
        raise Missing(
            _("nothing is kept of '{user}'").format(user=user[:80]),
            fix=_("`tuneloop photos report` names people; the bot's are called tg:NUMBER."),
        )
    return kept


def _names() -> list[tuple[str, str]]:
    return [
        ("searches", _("searches")),
        ("clicks", _("clicks and comments")),
        ("proposals", _("proposed products")),
    ]
