"""Put an export into the workspace: all or nothing, and the same again changes nothing.

The export is read into a private staging file first; then one transaction takes the union by (chat, message id). A
message that was edited later replaces the stored one, an older export changes nothing, the same export adds nothing,
and a kill at any moment leaves the workspace as it was.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, func, select, text

from tuneloop.collect import forgotten as forgotten_names
from tuneloop.collect import source, unite
from tuneloop.collect.privacy import remove_names
from tuneloop.collect.rows import Row, name_id
from tuneloop.collect.source import Part, Stream
from tuneloop.collect.staging import COLUMNS, Staging
from tuneloop.db.tables import chats, forgotten, imports, messages
from tuneloop.errors import BadInput, Damaged
from tuneloop.progress import Progress, silent
from tuneloop.records import Chat
from tuneloop.texts import _
from tuneloop.workspace import Workspace


@dataclass(frozen=True)
class Import:
    """What one export did to one chat. Always: read = kept + sum(rejected.values())."""

    chat: Chat
    path: str
    read: int
    kept: int  # different messages of people; of these `added` are new, `changed` replace an older form
    added: int
    changed: int
    rejected: dict[str, int]  # reasons.reasons() names them
    notes: dict[str, int] = field(default_factory=dict)  # mended, assumed or left unlinked; reasons.notes()


def forgotten_hash(sender: str) -> str:
    """What stays of a forgotten person: enough to keep a later import from reviving them."""
    return sha256(f"tuneloop:{sender}".encode()).hexdigest()


def forgotten_hashes(sender: str, names: Iterable[str]) -> set[str]:
    """Everything by which an import knows a forgotten person: their id, and their names where an export has no ids."""
    return {forgotten_hash(sender), *(forgotten_hash(name_id(name)) for name in names if name)}


def import_export(
    workspace: Workspace, path: Path, watch: Progress = silent, *, chat: str | None = None
) -> list[Import]:
    """Read every chat export at `path` (file, folder, zip) into the workspace; one Import per chat.

    `chat`: id of the chat that an export without ids of its own (Telegram HTML, WhatsApp) belongs to.
    Raises NotAnExport, Damaged, Hostile, BadInput or Missing for the file, OutOfResources for a full disk, Conflict
    when another import runs; in every case nothing was changed.
    """
    parts = source.parts(path)
    with workspace.lock("collect"), Staging(workspace.path) as staging:
        try:
            _gather(parts, staging, watch)
        except OSError as problem:
            raise Damaged(
                _("{path} cannot be read: {problem}").format(path=path, problem=problem.strerror or problem),
                fix=_("Copy it to another disk and try again; nothing of it was kept."),
            ) from problem
        if chat is not None:
            _check_owner(staging, chat)
        with workspace.db.write() as rows:
            done = _merge(rows, staging, str(path), chat, watch)
    return [_with_loose_replies(workspace, one) for one in done]


def _gather(parts: list[Part], staging: Staging, watch: Progress) -> None:
    """Read every part into staging. HTML pages are read together: an author goes on from page to page."""
    passes = {"whatsapp": 2}
    total = sum(part.size * passes.get(part.form, 1) for part in parts)
    seen = 0

    def tell(n: int) -> None:
        nonlocal seen
        seen += n
        watch(_("reading"), seen, total)

    watched = [replace(part, opener=_told(part.opener, tell)) for part in parts]
    notes: Counter[str] = Counter()
    if pages := [part for part in watched if part.form == "telegram html"]:
        from tuneloop.collect import telegram_html

        staging.take(telegram_html.read(pages, notes), notes)
    for part in watched:
        if part.form != "telegram html":
            reader, closing = _reader(part, notes)
            with closing:
                staging.take(reader, notes)


def _reader(part: Part, notes: Counter[str]) -> tuple[Iterator[Chat | Row | str], AbstractContextManager[object]]:
    from tuneloop.collect import discord, telegram, whatsapp
    from tuneloop.collect.walker import Walker

    if part.form == "whatsapp":
        return whatsapp.read(part, notes), nullcontext()
    stream = part.opener()
    walker = Walker(stream, part.name, part.encoding)
    return (discord.read if part.form == "discord" else telegram.read)(walker, notes), stream


def _told(opener: Callable[[], Stream], tell: Callable[[int], None]) -> Callable[[], Stream]:
    return lambda: _Told(opener(), tell)


class _Told:
    """A stream that tells how many bytes were taken from it."""

    def __init__(self, stream: Stream, tell: Callable[[int], None]) -> None:
        self._stream = stream
        self._tell = tell

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._stream.read(size)
        self._tell(len(chunk))
        return chunk

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()


def _check_owner(staging: Staging, owner: str) -> None:
    named = [chat for chat in staging.chats if not unite.nameless(chat)]
    if named or len(staging.chats) != 1:
        raise BadInput(
            _("--chat fits an export of one chat without an id of its own (Telegram HTML, WhatsApp)"),
            fix=_("Leave --chat out: {chats}.").format(chats=", ".join(sorted(named or staging.chats))),
        )
    wanted = "wa:" if next(iter(staging.chats)).startswith("wa:") else "tg:"
    if not owner.startswith(wanted):
        raise BadInput(
            _("'{owner}' is no chat id of this kind of export").format(owner=owner),
            fix=_("It begins with {wanted}; `tuneloop speakers` lists the chats of the workspace.").format(
                wanted=wanted
            ),
        )


def _upsert(dialect: str) -> str:
    """One statement for SQLite and PostgreSQL. Who edited later wins; a sender with an id wins over a bare name."""
    mark = "?" if dialect == "sqlite" else "%s"
    return (
        f"INSERT INTO messages ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"
        " ON CONFLICT (chat, id) DO UPDATE SET "
        + ", ".join(f"{column} = excluded.{column}" for column in COLUMNS[2:])
        + " WHERE coalesce(excluded.edited, 0) > coalesce(messages.edited, 0)"
        " OR ((messages.sender LIKE 'name:%%' OR messages.sender = 'deleted')"
        " AND NOT (excluded.sender LIKE 'name:%%' OR excluded.sender = 'deleted'))"
    ).replace("%%", "%" if dialect == "sqlite" else "%%")


def _merge(rows: Connection, staging: Staging, path: str, owner: str | None, watch: Progress) -> list[Import]:
    gone = set(rows.execute(select(forgotten.c.hash)).scalars())
    total = sum(staging.kept(chat) for chat in staging.chats)
    stored = 0

    def tell(n: int) -> None:
        nonlocal stored
        stored += n
        watch(_("storing"), stored, total)

    done: list[Import] = []
    for told in staging.chats.values():
        chat, rejected = told, staging.rejected[told.id]
        twice = staging.read[chat.id] - sum(rejected.values()) - staging.kept(chat.id)
        rejected["the same message twice"] += twice
        if gone:
            rejected["written by a forgotten person"] += _leave_out_forgotten(staging, chat.id, gone)
            chat, masked = _mask_forgotten(rows, staging, told, gone)
            staging.notes[chat.id]["names of forgotten people masked"] += masked
        if chat.id.startswith("wa:"):
            unite.align(rows, staging.connection, chat.id)
        added, changed = _store(rows, staging, chat, tell)
        final, home_added = _home(rows, chat, owner, gone, rejected)
        read = staging.read[chat.id]
        done.append(
            Import(
                chat=final,
                path=path,
                read=read,
                kept=read - rejected.total(),
                added=added if home_added is None else home_added,
                changed=changed if home_added is None else 0,
                rejected={reason: n for reason, n in sorted(rejected.items()) if n},
                notes={note: n for note, n in sorted(staging.notes[chat.id].items()) if n},
            )
        )
    for one in done:
        if taken := _adopt(rows, one.chat, gone):
            one.notes["messages taken over from an earlier export without ids"] = taken
        unite.inherit_topics(rows, one.chat.id)
        rows.execute(
            imports.insert().values(
                time=int(time.time()),
                path=path,
                chat=one.chat.id,
                read=one.read,
                kept=one.kept,
                added=one.added,
                changed=one.changed,
                rejected=one.rejected,
            )
        )
    return done


def _leave_out_forgotten(staging: Staging, chat: str, gone: set[str]) -> int:
    """Drop what forgotten people wrote, and their names from what others forwarded; how many messages were dropped."""
    for author in staging.authors(chat):
        if forgotten_hash(name_id(author)) in gone:
            staging.unname(chat, author)
    return sum(staging.drop(chat, sender) for sender in staging.senders(chat) if forgotten_hash(sender) in gone)


def _mask_forgotten(rows: Connection, staging: Staging, chat: Chat, gone: set[str]) -> tuple[Chat, int]:
    """Mask the names of forgotten people in what others wrote, and in the chat's own name (that of the other person
    in a personal chat); returns the chat and how many messages were changed."""

    def staying() -> Iterator[str]:
        yield from staging.names(chat.id)
        yield from rows.execute(select(messages.c.name).distinct()).scalars()

    texts = chain([chat.name], (text for _id, text in staging.texts(chat.id)))
    names = forgotten_names.recognised(texts, gone, staying)
    if names is None:
        return chat, 0
    changed = [
        (n, cleaned) for n, text in staging.texts(chat.id) for cleaned, hits in [remove_names(text, names)] if hits
    ]
    staging.retext(chat.id, changed)
    return replace(chat, name=remove_names(chat.name, names)[0]), len(changed)


def _store(rows: Connection, staging: Staging, chat: Chat, tell: Callable[[int], None]) -> tuple[int, int]:
    """Take the union of one chat; returns how many messages are new and how many replaced an older form."""
    before = _count(rows, chat.id)
    _save_chat(rows, chat, staging.latest(chat.id))
    statement = _upsert(rows.dialect.name)
    touched = 0
    for batch in staging.rows(chat.id):
        touched += rows.exec_driver_sql(statement, batch).rowcount
        tell(len(batch))
    added = _count(rows, chat.id) - before
    return added, touched - added


def _save_chat(rows: Connection, chat: Chat, latest: int) -> None:
    """Know the chat; its name and kind follow whichever export goes further in time."""
    known = rows.execute(select(chats).where(chats.c.id == chat.id)).first()
    if known is None:
        rows.execute(chats.insert().values(id=chat.id, source=chat.source, name=chat.name, kind=chat.kind))
        return
    newest = rows.execute(select(func.max(messages.c.time)).where(messages.c.chat == chat.id)).scalar() or 0
    if latest > newest and (chat.name, chat.kind) != (known.name, known.kind):
        rows.execute(
            chats.update()
            .where(chats.c.id == chat.id)
            .values(name=chat.name or known.name, kind=chat.kind or known.kind)
        )


def _home(
    rows: Connection, chat: Chat, owner: str | None, gone: set[str], rejected: Counter[str]
) -> tuple[Chat, int | None]:
    """Where a chat without an id belongs: itself, or the chat it was moved into and how many messages that gained."""
    target = None
    if unite.nameless(chat.id):
        target = owner or unite.find(rows, chat.id)
    if target is None or target == chat.id:
        return chat, None
    if rows.execute(select(chats).where(chats.c.id == target)).first() is None:
        rows.execute(chats.insert().values(id=target, source=chat.source, name=chat.name, kind=chat.kind))
    before = _count(rows, target)
    unite.move(rows, chat.id, target)
    if dropped := _drop_forgotten(rows, target, gone):
        rejected["written by a forgotten person"] += dropped
    found = rows.execute(select(chats).where(chats.c.id == target)).one()
    return Chat(found.id, found.source, found.name, found.kind), _count(rows, target) - before


def _adopt(rows: Connection, chat: Chat, gone: set[str]) -> int:
    """A chat that came with its id takes in what an export without ids brought earlier; how many messages that was."""
    if chat.source != "telegram" or unite.nameless(chat.id):
        return 0
    taken = 0
    same_name = select(chats.c.id).where(chats.c.name == chat.name, chats.c.id.like("tg:name:%"))
    for nameless in rows.execute(same_name).scalars().all():
        if unite.find(rows, nameless) == chat.id:
            taken += _count(rows, nameless)
            unite.move(rows, nameless, chat.id)
            _drop_forgotten(rows, chat.id, gone)
    return taken


def _drop_forgotten(rows: Connection, chat: str, gone: set[str]) -> int:
    """Moving may have told who a bare name is; if that person asked to be forgotten, they stay forgotten."""
    if not gone:
        return 0
    senders = rows.execute(select(messages.c.sender).where(messages.c.chat == chat).distinct()).scalars().all()
    return sum(
        rows.execute(messages.delete().where(messages.c.chat == chat, messages.c.sender == sender)).rowcount
        for sender in senders
        if forgotten_hash(sender) in gone
    )


def _count(rows: Connection, chat: str) -> int:
    query = select(func.count()).select_from(messages).where(messages.c.chat == chat)
    return int(rows.execute(query).scalar_one())


def _with_loose_replies(workspace: Workspace, one: Import) -> Import:
    """Add the note that counts replies whose question is not here; they are kept as they are."""
    query = text(
        "SELECT count(*) FROM messages m WHERE m.chat = :chat AND m.reply_to IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM messages p WHERE p.chat = m.chat AND p.id = m.reply_to)"
    )
    with workspace.db.read() as rows:
        loose = int(rows.execute(query, {"chat": one.chat.id}).scalar_one())
    return replace(one, notes=one.notes | {"replies to a message that is not here": loose}) if loose else one
