"""What is in the workspace: chats, their messages, their people. (`imports` puts exports in.)"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from sqlalchemy import func, select, text

from tuneloop.collect.imports import Import, forgotten_hash, forgotten_hashes, import_export
from tuneloop.collect.staging import COLUMNS
from tuneloop.db.tables import chats as chats_table
from tuneloop.db.tables import messages as messages_table
from tuneloop.errors import Missing
from tuneloop.records import Chat, Message
from tuneloop.texts import _
from tuneloop.workspace import Workspace

__all__ = [
    "Import",
    "Speaker",
    "chats",
    "find_chat",
    "forgotten_hash",
    "forgotten_hashes",
    "import_export",
    "messages",
    "roster",
    "speakers",
]


@dataclass(frozen=True)
class Speaker:
    """One person of a chat. `answers`: replies to somebody else's message."""

    sender: str
    name: str
    messages: int
    answers: int
    share: float  # of all answers of the chat
    median_length: int  # characters of texts
    suggested: bool = False


def messages(workspace: Workspace, chat: str) -> Iterator[Message]:
    """Every message of a chat, ordered by (time, id), streamed."""
    query = f"SELECT {', '.join(COLUMNS)} FROM messages WHERE chat = :chat ORDER BY time, id"
    with workspace.db.read() as rows:
        result = rows.execution_options(yield_per=5000).execute(text(query), {"chat": chat})
        for batch in result.partitions():
            for row in batch:
                yield Message(*row)


def chats(workspace: Workspace) -> list[tuple[Chat, int]]:
    """Every chat with its number of messages, the largest first."""
    query = (
        select(chats_table.c.id, chats_table.c.source, chats_table.c.name, chats_table.c.kind, func.count())
        .join(messages_table, messages_table.c.chat == chats_table.c.id, isouter=True)
        .add_columns(func.count(messages_table.c.id).label("n"))
        .group_by(chats_table.c.id)
    )
    with workspace.db.read() as rows:
        found = [(Chat(row[0], row[1], row[2], row[3]), int(row.n)) for row in rows.execute(query)]
    return sorted(found, key=lambda pair: (-pair[1], pair[0].id))


def roster(workspace: Workspace, chat: str | None = None) -> dict[str, set[str]]:
    """Sender id -> every display name seen; also "forwarded:<name>" -> {name} for authors of forwarded messages."""
    where = "" if chat is None else " WHERE chat = :chat"
    found: dict[str, set[str]] = {}
    with workspace.db.read() as rows:
        for sender, name in rows.execute(text(f"SELECT DISTINCT sender, name FROM messages{where}"), {"chat": chat}):
            found.setdefault(sender, set()).update([name] if name else [])
        for (name,) in rows.execute(text(f"SELECT DISTINCT forwarded FROM messages{where}"), {"chat": chat}):
            if name:
                found[f"forwarded:{name}"] = {name}
    return found


def find_chat(workspace: Workspace, wanted: str | None = None) -> Chat:
    """The chat of that id or that name; without one, the largest. Raises Missing, naming the chats there are."""
    known = [chat for chat, count in chats(workspace) if count]
    if not known:
        raise Missing(
            _("this workspace has no messages yet"),
            fix=_("Read an export first: tuneloop collect YOUR_EXPORT."),
        )
    if wanted is None:
        return known[0]
    found = [chat for chat in known if chat.id == wanted]
    found = found or [chat for chat in known if chat.name.casefold() == wanted.casefold()]
    if len(found) == 1:
        return found[0]
    raise Missing(
        _("there is no chat '{wanted}' here").format(wanted=wanted)
        if not found
        else _("{n} chats are named '{wanted}'").format(n=len(found), wanted=wanted),
        fix=_("Give one of these ids: {ids}.").format(ids=", ".join(chat.id for chat in (found or known)[:10])),
    )


def speakers(workspace: Workspace, chat: str) -> list[Speaker]:
    """People of a chat, those who answer others most first. The suggested one is the first who writes texts."""
    by_sender = text(
        "SELECT m.sender, count(*), sum(CASE WHEN p.sender <> m.sender THEN 1 ELSE 0 END)"
        " FROM messages m LEFT JOIN messages p ON p.chat = m.chat AND p.id = m.reply_to"
        " WHERE m.chat = :chat GROUP BY m.sender"
    )
    by_name = text(
        "SELECT sender, name, max(time) FROM messages WHERE chat = :chat AND name <> '' GROUP BY sender, name"
    )
    lengths: dict[str, list[int]] = {}
    with workspace.db.read() as rows:
        people = [(sender, count, answers or 0) for sender, count, answers in rows.execute(by_sender, {"chat": chat})]
        # The latest name of each sender: later pairs overwrite earlier ones.
        named = sorted(rows.execute(by_name, {"chat": chat}).all(), key=lambda row: (row[2], row[1]))
        names = {sender: name for sender, name, _time in named}
        for sender, length in rows.execute(
            text("SELECT sender, length(text) FROM messages WHERE chat = :chat AND text <> ''"), {"chat": chat}
        ):
            lengths.setdefault(sender, []).append(length)
    people.sort(key=lambda row: (-row[2], -row[1], row[0]))
    answers = sum(row[2] for row in people) or 1
    suggested = next((sender for sender, _count, _answers in people if sender in names and sender in lengths), None)
    return [
        Speaker(
            sender=sender,
            name=names.get(sender, ""),
            messages=count,
            answers=answered,
            share=answered / answers,
            median_length=int(median(lengths[sender])) if sender in lengths else 0,
            suggested=sender == suggested,
        )
        for sender, count, answered in people
    ]
