"""`tuneloop bot`: photo search in Telegram."""

from __future__ import annotations

import logging
import re

import click

from tuneloop import settings
from tuneloop.cli.show import Door
from tuneloop.errors import BadInput, MissingExtra
from tuneloop.settings import Settings
from tuneloop.texts import _


@click.command("bot", help=_("Answer photos in Telegram with products; the token is in the environment."))
@click.pass_obj
def bot(door: Door) -> None:
    workspace = door.workspace()
    token = token_of(workspace.settings)
    try:
        from tuneloop.bot.run import Ready, run
    except ImportError as problem:
        raise MissingExtra(
            _("the bot needs the package {name}").format(name=problem.name),
            fix=_("Install it with: pip install 'tuneloop[bot]'"),
        ) from problem
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def ready(what: Ready) -> None:
        door.say(_("@{name} answers; Ctrl-C stops it.").format(name=what.name))
        if what.left:
            door.say(_("{n} messages that were left over are answered first.").format(n=what.left))
        if not workspace.settings.text("bot.admins").strip("[] "):
            door.say(_("Nobody is an admin: give the setting bot.admins the Telegram ids of those who are."))
        door.result({"bot": what.name, "left": what.left, "port": what.port})

    run(workspace, token, ready)
    door.say(_("Stopped."))


def token_of(resolved: Settings) -> str:
    """The token from the environment. Raises BadInput where the setting holds a token instead of a variable's name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", resolved.text("bot.token_env")):
        raise BadInput(
            _("bot.token_env is the name of an environment variable, not the token itself"),
            fix=_("Put the token into TELEGRAM_BOT_TOKEN and take it out of tuneloop.toml; @BotFather can revoke it."),
        )
    return settings.secret(resolved, "bot.token_env").strip()
