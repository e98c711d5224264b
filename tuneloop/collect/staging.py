"""Where an import is gathered before it touches the workspace: a private SQLite file that has no name on disk.

Two reasons. The workspace is written in one short transaction at the end (a server on the same workspace goes on
recording calls while a large export is being read), and what only the whole file can tell (duplicates, whose names
are whose ids) is known before anything is kept. A kill at any point leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tuneloop.collect.rows import ROW, Row
from tuneloop.errors import OutOfResources
from tuneloop.records import Chat
from tuneloop.texts import _

BATCH = 2000

COLUMNS = ("chat", *ROW)
# A later copy of the same message wins when it was edited later; otherwise the first stays.
INSERT = (
    f"INSERT INTO staged ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    " ON CONFLICT (chat, id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in ROW[1:])
    + " WHERE coalesce(excluded.edited, 0) > coalesce(staged.edited, 0)"
)


class Staging:
    """`take` what readers yield, then look at `chats`, `kept`, `rejected` and `rows`. Hold the workspace's
    "collect" lock around it; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        path = folder / ".import.db"
        path.unlink(missing_ok=True)
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        run = self.connection.execute
        # Speed over safety: nobody ever opens this file again. 64 MB of cache, exclusive, no journal.
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
            run(f"PRAGMA {pragma}")
        run(
            "CREATE TABLE staged (chat TEXT, id INTEGER, time INTEGER, sender TEXT, name TEXT, text TEXT, kind TEXT,"
            " reply_to INTEGER, topic INTEGER, forwarded TEXT, edited INTEGER, PRIMARY KEY (chat, id)) WITHOUT ROWID"
        )
        path.unlink()
        self.chats: dict[str, Chat] = {}
        self.read: Counter[str] = Counter()
        self.rejected: dict[str, Counter[str]] = {}
        self.notes: dict[str, Counter[str]] = {}
        self._batch: list[tuple[object, ...]] = []

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.connection.close()

    def take(self, items: Iterator[Chat | Row | str], notes: Counter[str]) -> None:
        """Everything a reader yields. Raises OutOfResources when the disk is full, and what the reader raises."""
        chat = ""
        read = 0
        batch: list[tuple[object, ...]] = []
        rejected: Counter[str] = Counter()
        for item in items:
            if type(item) is tuple:
                read += 1
                batch.append((chat, *item))
                if len(batch) >= BATCH:
                    self._insert(batch)
                    batch = []
            elif type(item) is str:
                read += 1
                rejected[item] += 1
            else:
                assert isinstance(item, Chat)
                self._count(chat, read, notes)
                read = 0
                chat = item.id
                self.chats.setdefault(chat, item)
                rejected = self.rejected.setdefault(chat, Counter())
        self._count(chat, read, notes)
        self._insert(batch)

    def _count(self, chat: str, read: int, notes: Counter[str]) -> None:
        self.read[chat] += read
        self.notes.setdefault(chat, Counter()).update(notes)
        notes.clear()

    def kept(self, chat: str) -> int:
        """Different messages of a chat gathered so far."""
        return int(self.connection.execute("SELECT count(*) FROM staged WHERE chat = ?", (chat,)).fetchone()[0])

    def rows(self, chat: str) -> Iterator[list[tuple[object, ...]]]:
        """The chat's messages by id, in batches for executemany; columns as in COLUMNS."""
        cursor = self.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM staged WHERE chat = ? ORDER BY id", (chat,))
        while batch := cursor.fetchmany(BATCH):
            yield batch

    def authors(self, chat: str) -> list[str]:
        """Names of those whose messages were forwarded."""
        query = "SELECT DISTINCT forwarded FROM staged WHERE chat = ? AND forwarded <> ''"
        return [row[0] for row in self.connection.execute(query, (chat,))]

    def unname(self, chat: str, author: str) -> None:
        """Keep forwarded messages of an author, without the name."""
        self.connection.execute("UPDATE staged SET forwarded = '' WHERE chat = ? AND forwarded = ?", (chat, author))

    def drop(self, chat: str, sender: str) -> int:
        """Forget what one sender wrote; returns how many messages that were."""
        return self.connection.execute("DELETE FROM staged WHERE chat = ? AND sender = ?", (chat, sender)).rowcount

    def texts(self, chat: str) -> Iterator[tuple[int, str]]:
        """(id, text) of the chat's messages that have one."""
        yield from self.connection.execute("SELECT id, text FROM staged WHERE chat = ? AND text <> ''", (chat,))

    def retext(self, chat: str, changed: Iterable[tuple[int, str]]) -> None:
        """Give messages (by id) another text."""
        pairs = ((text, chat, number) for number, text in changed)
        self.connection.executemany("UPDATE staged SET text = ? WHERE chat = ? AND id = ?", pairs)

    def names(self, chat: str) -> list[str]:
        """Display names of the chat's senders."""
        return [row[0] for row in self.connection.execute("SELECT DISTINCT name FROM staged WHERE chat = ?", (chat,))]

    def latest(self, chat: str) -> int:
        """Unix seconds of the chat's newest message gathered here."""
        return int(self.connection.execute("SELECT max(time) FROM staged WHERE chat = ?", (chat,)).fetchone()[0] or 0)

    def senders(self, chat: str) -> list[str]:
        return [row[0] for row in self.connection.execute("SELECT DISTINCT sender FROM staged WHERE chat = ?", (chat,))]

    def _insert(self, batch: list[tuple[object, ...]]) -> None:
        try:
            self.connection.execute("BEGIN")
            self.connection.executemany(INSERT, batch)
            self.connection.execute("COMMIT")
        except sqlite3.OperationalError as problem:
            raise OutOfResources(
                _("the export cannot be gathered in the workspace: {problem}").format(problem=problem),
                fix=_("Free some disk space or choose another workspace with --workspace; nothing was changed."),
            ) from problem
