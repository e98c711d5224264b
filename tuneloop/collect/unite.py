"""One chat that arrived under two ids becomes one: an HTML export beside the JSON export, WhatsApp exported again.

Exports without ids (Telegram HTML, WhatsApp) land under an id made of their name or people. `find` looks for the chat
they belong to by what cannot be chance: the same message ids with the same time and text. `move` then takes the union;
people known by name only become the people with ids wherever the name or a common message says who they are.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection, select, text

from tuneloop.collect.staging import COLUMNS
from tuneloop.db.tables import chats

# Two chats are one when at least this many messages have the same id, and this share of those the same time and text.
# (Ids of two groups overlap by chance, 1 to n; the same second and the same words under the same id do not.)
COMMON = 3
SAME = 0.9


def nameless(chat: str) -> bool:
    """Whether the id of a chat was made by us, because its export has none."""
    return chat.startswith(("tg:name:", "wa:"))


def find(rows: Connection, chat: str) -> str | None:
    """The id of the stored chat that `chat` is a part of; None when there is none or more than one."""
    own = rows.execute(select(chats).where(chats.c.id == chat)).one()
    others = select(chats.c.id).where(chats.c.source == own.source, chats.c.id != chat)
    if own.source == "telegram":
        others = others.where(chats.c.name == own.name)
    found = [
        other
        for other in rows.execute(others).scalars()
        if (other.startswith("wa:") or not nameless(other)) and _same(rows, chat, other)
    ]
    return found[0] if len(found) == 1 else None


def _same(rows: Connection, chat: str, other: str) -> bool:
    query = text(
        "SELECT count(*), sum(CASE WHEN a.time = b.time AND a.text = b.text THEN 1 ELSE 0 END)"
        " FROM messages a JOIN messages b ON b.chat = :other AND b.id = a.id WHERE a.chat = :chat"
    )
    common, same = rows.execute(query, {"chat": chat, "other": other}).one()
    return bool(common >= COMMON and (same or 0) >= SAME * common)


def align(rows: Connection, staged: sqlite3.Connection, chat: str) -> None:
    """Give the first messages of a WhatsApp export the ids they have in the workspace.

    An id is time x 1000 + place among the messages of that time. An export without media holds only the last 40,000
    messages, so it may begin in the middle of a minute: its first messages are then the last of a minute known here.
    """
    first = staged.execute("SELECT min(time) FROM staged WHERE chat = ?", (chat,)).fetchone()[0]
    if first is None:
        return
    query = "SELECT id, sender, text FROM {} WHERE {} AND time = {} ORDER BY id"
    ours = staged.execute(query.format("staged", "chat = ?", "?"), (chat, first)).fetchall()
    whole = text(query.format("messages", "chat = :chat", ":first"))
    for known in rows.execute(select(chats.c.id).where(chats.c.source == "whatsapp")).scalars().all():
        theirs = [tuple(row) for row in rows.execute(whole, {"chat": known, "first": first})]
        if len(theirs) > len(ours) and [row[1:] for row in theirs[-len(ours) :]] == [row[1:] for row in ours]:
            # The largest first, so that no id is taken twice on the way.
            for own, their in zip(reversed(ours), reversed(theirs), strict=False):
                staged.execute("UPDATE staged SET id = ? WHERE chat = ? AND id = ?", (their[0], chat, own[0]))
            return


def move(rows: Connection, chat: str, target: str) -> None:
    """Put every message of `chat` into `target` (which wins where both have one) and remove `chat`."""
    for sender, known in people(rows, chat, target).items():
        rows.execute(
            text("UPDATE messages SET sender = :known WHERE chat = :chat AND sender = :sender"),
            {"known": known, "chat": chat, "sender": sender},
        )
    rest = ", ".join(COLUMNS[1:])
    rows.execute(
        text(
            f"INSERT INTO messages (chat, {rest}) SELECT :target, {rest} FROM messages WHERE chat = :chat"
            " ON CONFLICT (chat, id) DO NOTHING"
        ),
        {"chat": chat, "target": target},
    )
    rows.execute(text("DELETE FROM messages WHERE chat = :chat"), {"chat": chat})
    rows.execute(text("DELETE FROM chats WHERE id = :chat"), {"chat": chat})


def inherit_topics(rows: Connection, chat: str) -> None:
    """Topics of messages whose topic began in another export: from the message they answer, or from the topic's id."""
    known = text("SELECT DISTINCT topic FROM messages WHERE chat = :chat AND topic IS NOT NULL")
    if not chat.startswith("tg:") or not rows.execute(known, {"chat": chat}).first():
        return
    rows.execute(
        text(
            "UPDATE messages SET topic = reply_to, reply_to = NULL WHERE chat = :chat AND topic IS NULL"
            " AND reply_to IN (SELECT topic FROM messages WHERE chat = :chat AND topic IS NOT NULL)"
        ),
        {"chat": chat},
    )
    parents = "SELECT {} FROM messages p WHERE p.chat = messages.chat AND p.id = messages.reply_to"
    step = text(
        f"UPDATE messages SET topic = ({parents.format('p.topic')}) WHERE chat = :chat AND topic IS NULL"
        f" AND EXISTS ({parents.format('1')} AND p.topic IS NOT NULL)"
    )
    while rows.execute(step, {"chat": chat}).rowcount:
        pass


def people(rows: Connection, chat: str, target: str) -> dict[str, str]:
    """Sender of `chat` known by name only -> the one sender of `target` it can be. Two people of one name: neither."""
    common = text(
        "SELECT DISTINCT a.sender, b.sender FROM messages a JOIN messages b ON b.chat = :target AND b.id = a.id"
        " WHERE a.chat = :chat AND (a.sender LIKE 'name:%' OR a.sender = 'deleted')"
    )
    named = text(
        "SELECT DISTINCT a.sender, b.sender FROM (SELECT DISTINCT sender, name FROM messages WHERE chat = :chat) a"
        " JOIN (SELECT DISTINCT sender, name FROM messages WHERE chat = :target) b ON b.name = a.name"
        " WHERE a.sender LIKE 'name:%' OR a.sender = 'deleted'"
    )
    can_be: dict[str, set[str]] = {}
    for query in (common, named):
        for sender, known in rows.execute(query, {"chat": chat, "target": target}):
            can_be.setdefault(sender, set()).add(known)
    return {sender: known.pop() for sender, known in can_be.items() if len(known) == 1 and known != {sender}}
