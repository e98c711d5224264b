"""Tables that a server was sent: a folder and a row each, of one team; the few in use are held open.

A file is on the disk and loaded before its row is there, and its row is gone before the file is: what a crash leaves
is a folder without a row, which the next upload sweeps away.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import delete, func, insert, select

from tuneloop.ask import memory, pace
from tuneloop.ask.facts import Facts, facts
from tuneloop.ask.table import Table, open_table
from tuneloop.db.question_tables import table_answers, table_files
from tuneloop.errors import Conflict, Missing, OutOfResources
from tuneloop.progress import Progress, silent
from tuneloop.texts import _
from tuneloop.workspace import Workspace

MOST_OPEN = 4  # tables with a child process each, of up to 512 MB
LOADS = 2  # files loaded at once; each by a process that may take a gigabyte
OLD = 3600.0  # seconds after which a folder without a row is nobody's upload any more
LONGEST_NAME = 50  # characters of up to 4 bytes; what is made beside the file adds 20 to a name of 255
_UNUSUAL = re.compile(r"[^\w. ()+-]")


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded table. `columns`: mark of its columns; `width`: how many."""

    id: str
    name: str
    bytes: int
    rows: int
    width: int
    columns: str
    created: float


def safe_name(name: str) -> str:
    """A client's file name without folders and unusual characters; its ending stays."""
    last = _UNUSUAL.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(" .")
    return last[-LONGEST_NAME:].strip(" .") or "table.csv"


def room(workspace: Workspace, *, tenant: str) -> None:
    """Raises OutOfResources when this team has as many tables as it may."""
    most = workspace.settings.integer("tables.most")
    mine = select(func.count()).select_from(table_files).where(table_files.c.tenant == tenant)
    with workspace.db.read() as rows:
        if rows.execute(mine).scalar_one() >= most:
            raise OutOfResources(
                _("there are {n} tables, which is the limit").format(n=most), fix=_("Remove one that is not needed.")
            )


def place(workspace: Workspace) -> tuple[str, Path]:
    """A new id and its empty folder; folders that a crash left are swept away."""
    folder = workspace.folder("tables")
    with workspace.db.read() as rows:
        kept = set(rows.execute(select(table_files.c.id)).scalars())
    for other in folder.iterdir():
        if other.name not in kept and time.time() - other.stat().st_mtime > OLD:
            shutil.rmtree(other, ignore_errors=True)
    identity = "tb-" + uuid.uuid4().hex[:16]
    (folder / identity).mkdir()
    return identity, folder / identity


def register(workspace: Workspace, identity: str, *, tenant: str, key: str = "", watch: Progress = silent) -> Upload:
    """Load the file of a folder and write its row. watch: hears the stages of the load.

    Raises what `open_table` raises; the folder is then gone.
    """
    folder = workspace.folder("tables") / identity
    try:
        path = _file(folder)
        table = open_table(path, watch=watch)
        made = Upload(
            identity, path.name, path.stat().st_size, table.profile.rows, len(table.profile.columns),
            memory.mark(table.profile), time.time(),
        )  # fmt: skip
        values = {name: getattr(made, name) for name in NAMES} | {"tenant": tenant, "key": key}
        with workspace.db.write() as rows:
            rows.execute(insert(table_files), [values])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return made


NAMES = tuple(field.name for field in fields(Upload))
_SHOWN = tuple(table_files.c[name] for name in NAMES)


def history(workspace: Workspace, *, tenant: str) -> list[Upload]:
    """The team's tables, newest first."""
    mine = select(*_SHOWN).where(table_files.c.tenant == tenant)
    with workspace.db.read() as rows:
        found = rows.execute(mine.order_by(table_files.c.created.desc(), table_files.c.id)).mappings().all()
    return [Upload(**row) for row in found]


def find(workspace: Workspace, identity: str, *, tenant: str) -> Upload:
    """Raises Missing for what is not there, or is another team's."""
    mine = select(*_SHOWN).where(table_files.c.tenant == tenant, table_files.c.id == identity)
    with workspace.db.read() as rows:
        found = rows.execute(mine).mappings().first()
    if found is None:
        raise Missing(_("there is no table '{id}'").format(id=identity[:80]), fix=_("List what is there."))
    return Upload(**found)


def drop(workspace: Workspace, identity: str, *, tenant: str) -> None:
    """Remove a table, what it was asked, and its file. Raises Missing.

    Confirmed questions stay: they belong to every table with these columns.
    """
    found = find(workspace, identity, tenant=tenant)
    with workspace.db.write() as rows:
        mine = (table_answers.c.tenant == tenant, table_answers.c.source == found.id)
        rows.execute(delete(table_answers).where(*mine))
        rows.execute(delete(table_files).where(table_files.c.tenant == tenant, table_files.c.id == found.id))
    shutil.rmtree(workspace.folder("tables") / found.id, ignore_errors=True)


@dataclass
class Load:
    """How far an upload is. share: 0 to 1 of its stage; rows: read until now; None: not known."""

    stage: str  # "receiving", "waiting" for other loads, then those of ask/pace.py
    share: float | None = None
    rows: int | None = None

    def watch(self, stage: str, done: float, total: float | None) -> None:
        """As `tuneloop.progress.Progress`."""
        if stage == pace.ROWS:
            self.rows = int(done)
        else:
            self.stage, self.share = stage, min(1.0, done / total) if total else None


class Opened:
    """The tables in use, the least recently asked closed first. Safe to share between threads."""

    def __init__(self, workspace: Workspace, most: int = MOST_OPEN) -> None:
        self._workspace = workspace
        self._most = most
        self.loading = asyncio.Semaphore(LOADS)
        self.loads: dict[tuple[str, str], Load] = {}  # by team and by what the client called its upload
        self._turn = threading.Lock()
        self._open: OrderedDict[str, Table] = OrderedDict()
        self._used: dict[str, int] = {}
        self._facts: dict[str, Facts] = {}

    @contextmanager
    def lease(self, identity: str) -> Iterator[Table]:
        """The table, which stays open inside the block. Raises Missing when its file is gone."""
        table = self._take(identity)
        try:
            yield table
        finally:
            with self._turn:
                self._used[identity] -= 1
                self._close_idle(self._most)

    def facts(self, identity: str) -> Facts:
        """What `facts` counts, once as long as the table is open."""
        with self.lease(identity) as table:
            if identity not in self._facts:
                self._facts[identity] = facts(table)
            return self._facts[identity]

    def forget(self, identity: str) -> None:
        """Close a table that is removed. Raises Conflict while somebody asks it."""
        with self._turn:
            if self._used.get(identity):
                raise Conflict(_("this table is being asked"), fix=_("Try again in a few seconds."), retry_after=5.0)
            self._end(identity)

    def close(self) -> None:
        """End every child process."""
        with self._turn:
            for identity in list(self._open):
                self._end(identity)

    def _take(self, identity: str) -> Table:
        with self._turn:
            table = self._open.get(identity)
            if table is None:
                path = _file(self._workspace.folder("tables") / identity)
                table = self._open[identity] = open_table(path)
            self._open.move_to_end(identity)
            self._used[identity] = self._used.get(identity, 0) + 1
            self._close_idle(self._most)
        return table

    def _close_idle(self, most: int) -> None:
        for identity in [one for one in self._open if not self._used.get(one)]:
            if len(self._open) <= most:
                return
            self._end(identity)

    def _end(self, identity: str) -> None:
        self._facts.pop(identity, None)
        self._used.pop(identity, None)
        if table := self._open.pop(identity, None):
            table.close()


def _file(folder: Path) -> Path:
    """The uploaded file of a folder, beside which is only what was made of it."""
    found = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    if not found:
        raise Missing(_("the file of this table is gone"), fix=_("Upload it again."))
    return found[0]
