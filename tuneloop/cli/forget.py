"""`tuneloop forget PERSON`: remove a person, and say plainly what cannot be removed."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.texts import _, n_


@click.command(
    help=_("Remove a person (id or name) from messages, datasets and rows; names the versions trained on them.")
)
@click.argument("person")
@click.option("--yes", is_flag=True, help=_("Do not ask; there is no undo."))
@click.pass_obj
def forget(door: Door, person: str, yes: bool) -> None:
    from tuneloop.collect import forget as verb

    workspace = door.workspace()
    sender, names = verb.person(workspace, person)
    listed = ", ".join(sorted(names)) or _("deleted account")
    if not yes:
        question = _("Remove {names} ({id}) from everything in {path}? This cannot be undone.")
        click.confirm(question.format(names=listed, id=sender, path=workspace.path), abort=True, err=True)
    with door.progress() as watch:
        done = verb.forget(workspace, sender, watch=watch)
    door.say(n_("{n} message removed", "{n} messages removed", done.messages).format(n=done.messages))
    door.say(n_("{n} mention by others masked", "{n} mentions by others masked", done.mentions).format(n=done.mentions))
    door.say(n_("{n} call or feedback row masked", "{n} call or feedback rows masked", done.rows).format(n=done.rows))
    if done.rebuilt:
        door.say(_("datasets built again: {names}").format(names=escape(", ".join(done.rebuilt))))
    if done.removed:
        door.say(_("datasets removed (too little was left): {names}").format(names=escape(", ".join(done.removed))))
    if done.versions:
        door.say(
            "[yellow]"
            + _("Still trained on this person: {ids}. Weights cannot be edited: tune again and activate that.").format(
                ids=", ".join(done.versions)
            )
            + "[/yellow]"
        )
    door.say(
        _("The export files on your disk are yours to delete; importing them again will not bring the person back.")
    )
    door.result(asdict(done))
