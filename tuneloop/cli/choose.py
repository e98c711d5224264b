"""Ask which chat and whose answers; with nobody to ask, take the suggestion and say so."""

from __future__ import annotations

import sys

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.errors import Missing
from tuneloop.texts import _
from tuneloop.workspace import Workspace

SHOWN = 15


def choose_chat(door: Door, workspace: Workspace, wanted: str | None) -> str:
    """The id of the chat with that id or name; without one the only chat, the one asked for, or the largest."""
    from tuneloop.collect import store

    known = store.chats(workspace)
    if not known:
        raise Missing(_("no messages are in this workspace"), fix=_("Read an export first: tuneloop collect EXPORT."))
    if wanted is not None:
        return store.find_chat(workspace, wanted).id
    if len(known) == 1:
        return known[0][0].id
    rows = [(i, escape(c.name), c.id, n) for i, (c, n) in enumerate(known[:SHOWN], 1)]
    door.table(_("Chats"), ("", _("name"), _("id"), _("messages")), rows, right=(0, 3))
    if not _somebody(door):
        door.say(_("Using the largest: {name}. Choose with --chat.").format(name=escape(known[0][0].name)))
        return known[0][0].id
    picked = click.prompt(_("Which chat"), default=1, type=click.IntRange(1, len(rows)), err=True)
    return known[picked - 1][0].id


def choose_speakers(door: Door, workspace: Workspace, chat: str) -> list[str]:
    """Sender ids, from the ranked list; empty when nobody there answers anybody (the build then says so)."""
    from tuneloop.collect import store

    ranked = store.speakers(workspace, chat)[:SHOWN]
    if not ranked:
        return []
    suggested = next((i for i, s in enumerate(ranked) if s.suggested), 0)
    rows = [
        (i, escape(s.name or s.sender), s.messages, s.answers, f"{s.share:.1%}", s.median_length)
        for i, s in enumerate(ranked, 1)
    ]
    columns = ("", _("who"), _("messages"), _("answers"), _("share of answers"), _("median length"))
    door.table(_("Who answers most"), columns, rows, right=(0, 2, 3, 4, 5))
    if not _somebody(door):
        name = ranked[suggested].name or ranked[suggested].sender
        door.say(_("Learning the answers of {name}. Choose with --speaker.").format(name=escape(name)))
        return [ranked[suggested].sender]
    while True:
        said = click.prompt(_("Whose answers (numbers, commas between)"), default=str(suggested + 1), err=True)
        numbers = [part.strip() for part in str(said).split(",") if part.strip()]
        if numbers and all(n.isdigit() and 1 <= int(n) <= len(ranked) for n in numbers):
            return list(dict.fromkeys(ranked[int(n) - 1].sender for n in numbers))
        door.say(_("Numbers from 1 to {n}, please.").format(n=len(ranked)))


def _somebody(door: Door) -> bool:
    return not door.as_json and sys.stdin.isatty()
