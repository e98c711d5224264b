"""`tuneloop collect` reads exports into the workspace, `tuneloop speakers` shows who answers most."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from tuneloop.cli.show import Door
from tuneloop.collect import reasons, source, store
from tuneloop.collect.imports import Import
from tuneloop.texts import _, n_

EXPORT = click.Path(path_type=Path)


@click.command(
    help=_(
        "Read chat exports (a file, a folder or a zip each) into the workspace: Telegram Desktop result.json or"
        " messages*.html, WhatsApp _chat.txt, DiscordChatExporter JSON. The same export again changes nothing."
        "\n\nExample: tuneloop collect ~/Downloads/ChatExport_2026-01-31"
    )
)
@click.argument("paths", nargs=-1, required=True, type=EXPORT, metavar="PATH...")
@click.option("--chat", metavar="ID", help=_("The chat that an export without ids (HTML, WhatsApp) belongs to."))
@click.pass_obj
def collect(door: Door, paths: tuple[Path, ...], chat: str | None) -> None:
    # What is no export at all is refused before a workspace comes into being.
    left_out = {path: source.look(path)[1] for path in paths}
    workspace = door.workspace(create=True)
    done: list[Import] = []
    for path in paths:
        with door.progress() as watch:
            found = store.import_export(workspace, path, watch, chat=chat)
        _show(door, path, found)
        if others := left_out[path]:
            listed = escape("; ".join(others[:3])) + ("; ..." if len(others) > 3 else "")
            door.say(_("left out, no chat exports: {files}").format(files=listed))
        done += found
    door.result([asdict(one) for one in done])
    door.hint(_("Next: tuneloop speakers, then tuneloop dataset build."))


def _show(door: Door, path: Path, found: list[Import]) -> None:
    columns = (_("chat"), _("id"), _("read"), _("kept"), _("new"), _("changed"), _("rejected"))
    rows = [
        (
            escape(one.chat.name or _("(no name)")),
            one.chat.id,
            *(_number(n) for n in (one.read, one.kept, one.added, one.changed, one.read - one.kept)),
        )
        for one in found
    ]
    door.table(escape(str(path)), columns, rows, right=(2, 3, 4, 5, 6))
    for one in found:
        where = escape(one.chat.name or one.chat.id)
        why = ", ".join(f"{reasons.reasons()[reason]} {_number(n)}" for reason, n in one.rejected.items())
        door.say(_("{chat}: rejected: {why}").format(chat=where, why=why or _("nothing")))
        for note, n in one.notes.items():
            said = reasons.notes()[note]
            door.say(_("{chat}: note: {note}").format(chat=where, note=f"{said} ({_number(n)})" if n > 1 else said))


@click.command(help=_("Who answers most in a chat: choose whose answers to learn."))
@click.option("--chat", metavar="ID", help=_("Id or name of the chat; without it, the largest."))
@click.option("--top", default=15, show_default=True, help=_("How many people to show."))
@click.pass_obj
def speakers(door: Door, chat: str | None, top: int) -> None:
    workspace = door.workspace()
    chosen = store.find_chat(workspace, chat)
    people = store.speakers(workspace, chosen.id)
    shown = people[:top]
    columns = (_("name"), _("id"), _("messages"), _("answers"), _("share"), _("median length"), "")
    rows = [
        (
            escape(one.name or _("(deleted account)")),
            one.sender,
            _number(one.messages),
            _number(one.answers),
            f"{one.share:.1%}",
            one.median_length,
            _("← suggested") if one.suggested else "",
        )
        for one in shown
    ]
    door.table(f"{escape(chosen.name)} ({chosen.id})", columns, rows, right=(2, 3, 4, 5))
    if len(people) > len(shown):
        more = len(people) - len(shown)
        door.say(n_("and {n} more person (--top)", "and {n} more people (--top)", more).format(n=_number(more)))
    others = [one for one, _n in store.chats(workspace) if one.id != chosen.id]
    if others and chat is None:
        listed = ", ".join(f"{escape(one.name)} ({one.id})" for one in others[:5])
        door.say(_("Other chats (--chat): {chats}").format(chats=listed + (", ..." if len(others) > 5 else "")))
    suggested = next((one.sender for one in people if one.suggested), None)
    if suggested:
        door.hint(
            _("Next: tuneloop dataset build --chat {chat} --speaker {speaker}").format(
                chat=chosen.id, speaker=suggested
            )
        )
    door.result({"chat": asdict(chosen), "speakers": [asdict(one) for one in people]})


def _number(n: int) -> str:
    return f"{n:,}"
