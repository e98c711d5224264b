"""What a bot must not forget: messages it took, what the next words of a person answer, pictures Telegram has.

An update is a row before Telegram hears that it came, and pending until its work is done: a process that dies in
between does it again when it starts. The same update a thousand times is one row, so it is done once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update

from tuneloop.db.bot_tables import bot_dialogues, bot_files, bot_updates
from tuneloop.workspace import Workspace

KEPT = 7 * 86400.0  # Telegram sends an update again for at most a day


def take(workspace: Workspace, bot: int, updates: Sequence[tuple[int, str, dict[str, Any]]]) -> list[int]:
    """Commit (update id, user, body) of each and return the ids of those that were not known, in the order given."""
    if not updates:
        return []
    ids = [number for number, _user, _body in updates]
    mine = (bot_updates.c.bot == bot, bot_updates.c.id.in_(ids))
    with workspace.db.write() as rows:
        known = set(rows.execute(select(bot_updates.c.id).where(*mine)).scalars())
        fresh = {number: (user, body) for number, user, body in updates if number not in known}
        stamp = {"bot": bot, "time": time.time(), "state": "pending", "attempts": 0, "note": ""}
        if fresh:
            rows.execute(insert(bot_updates), [{"id": n, "user": u, "body": b, **stamp} for n, (u, b) in fresh.items()])
    return list(fresh)


def pending(workspace: Workspace, bot: int) -> list[tuple[int, dict[str, Any]]]:
    """(update id, body) of everything whose work is not done, oldest first."""
    mine = (bot_updates.c.bot == bot, bot_updates.c.state == "pending")
    with workspace.db.read() as rows:
        found = rows.execute(select(bot_updates.c.id, bot_updates.c.body).where(*mine).order_by(bot_updates.c.id))
        return [(row.id, row.body) for row in found]


def settle(workspace: Workspace, bot: int, number: int, *, state: str = "done", note: str = "") -> None:
    """The work of an update is over ("done" or "failed"): its body is dropped, its number stays for a week."""
    mine = (bot_updates.c.bot == bot, bot_updates.c.id == number)
    with workspace.db.write() as rows:
        rows.execute(update(bot_updates).where(*mine).values(state=state, body=None, note=note[:500]))


def tried(workspace: Workspace, bot: int, number: int) -> int:
    """Note that an update's work was begun; how many times it was."""
    mine = (bot_updates.c.bot == bot, bot_updates.c.id == number)
    with workspace.db.write() as rows:
        rows.execute(update(bot_updates).where(*mine).values(attempts=bot_updates.c.attempts + 1))
        return int(rows.execute(select(bot_updates.c.attempts).where(*mine)).scalar() or 0)


def sweep(workspace: Workspace, bot: int) -> None:
    """Drop rows of updates that were settled more than a week ago."""
    old = (bot_updates.c.bot == bot, bot_updates.c.state != "pending", bot_updates.c.time < time.time() - KEPT)
    with workspace.db.write() as rows:
        rows.execute(delete(bot_updates).where(*old))


def expect(workspace: Workspace, bot: int, user: str, expects: dict[str, Any] | None) -> None:
    """What the next words of this person answer; None: nothing."""
    mine = (bot_dialogues.c.bot == bot, bot_dialogues.c.user == user)
    with workspace.db.write() as rows:
        rows.execute(delete(bot_dialogues).where(*mine))
        if expects is not None:
            rows.execute(
                insert(bot_dialogues), [{"bot": bot, "user": user, "expects": expects, "changed": time.time()}]
            )


def expected(workspace: Workspace, bot: int, user: str) -> dict[str, Any] | None:
    """What `expect` said last of this person."""
    mine = (bot_dialogues.c.bot == bot, bot_dialogues.c.user == user)
    with workspace.db.read() as rows:
        return rows.execute(select(bot_dialogues.c.expects).where(*mine)).scalar()


def uploaded(workspace: Workspace, bot: int, pictures: Sequence[str]) -> dict[str, str]:
    """{picture: Telegram's name of it} of those that this bot has sent before."""
    mine = (bot_files.c.bot == bot, bot_files.c.picture.in_(list(pictures)))
    with workspace.db.read() as rows:
        return {row.picture: row.file for row in rows.execute(select(bot_files).where(*mine))}


def note_uploads(workspace: Workspace, bot: int, files: dict[str, str]) -> None:
    """Remember what Telegram called pictures it was sent."""
    mine = (bot_files.c.bot == bot, bot_files.c.picture.in_(list(files)))
    with workspace.db.write() as rows:
        rows.execute(delete(bot_files).where(*mine))
        if files:
            rows.execute(insert(bot_files), [{"bot": bot, "picture": p, "file": f} for p, f in files.items()])


def lose_upload(workspace: Workspace, bot: int, picture: str) -> None:
    """Telegram does not know that name any more."""
    with workspace.db.write() as rows:
        rows.execute(delete(bot_files).where(bot_files.c.bot == bot, bot_files.c.picture == picture))
