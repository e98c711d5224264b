"""What was answered of a table and what people said of it: rows of the workspace, or a file beside the table.

Two shelves with the same three verbs. A click is committed (in the file: on the disk) before anybody is told that it
was taken; the same click again changes nothing but its time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuneloop.ask import memory
from tuneloop.ask.memory import Confirmed, Verdict
from tuneloop.ask.question import read
from tuneloop.ask.reply import Reply
from tuneloop.ask.table import Table
from tuneloop.errors import BadInput, Missing
from tuneloop.texts import _
from tuneloop.workspace import write_atomically

if TYPE_CHECKING:
    from tuneloop.workspace import Workspace

MOST_KEPT = 2000  # lines of a file; then the older half is left out
LONGEST_READING = 20_000  # characters, as the guard takes of SQL


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that was given. `source`: of which file."""

    id: str
    source: str
    columns: str
    question: str
    state: str
    sentence: str
    sql: str
    sure: float
    route: str
    time: float
    user: str = ""


class Shelf(Protocol):
    """Where answers and clicks are kept."""

    def known(self, columns: str) -> list[Confirmed]:
        """Clicks on tables with these columns, newest first."""

    def answers(self, source: str, *, most: int = 50) -> list[Answer]:
        """What this file was asked, newest first."""

    def note(self, answer: Answer) -> None:
        """Keep an answer."""

    def keep(self, clicks: Sequence[Confirmed]) -> None:
        """Keep clicks, all or none."""


def noted(shelf: Shelf, table: Table, source: str, given: Reply, *, user: str = "") -> Answer:
    """Keep what was answered, so that a click can name it."""
    answer = Answer(
        "ta-" + uuid.uuid4().hex[:20], source, memory.mark(table.profile), given.question, given.state,
        given.sentence, given.sql or "", given.sure, given.route, time.time(), user,
    )  # fmt: skip
    shelf.note(answer)
    return answer


def last(shelf: Shelf, source: str) -> Answer:
    """The newest answer of this file. Raises Missing when it was asked nothing."""
    found = shelf.answers(source, most=1)
    if not found:
        raise Missing(_("nothing was asked of this table yet"), fix=_("Ask something first."))
    return found[0]


def click(
    shelf: Shelf, table: Table, answer: Answer, verdict: Verdict, *, reading: str = "", user: str = ""
) -> list[Confirmed]:
    """Keep what a person says of an answer and return what was kept.

    reading: with "wrong", what the question means: one SELECT, or the question in words that are understood.
    Raises BadInput when there is nothing to confirm or the reading is not understood, Refused for SQL that is not run.
    """
    reading = reading.strip()
    if len(reading) > LONGEST_READING:
        raise BadInput(_("this is too long for a reading"), fix=_("Give one SELECT, or the question in other words."))
    if verdict == "right" and not answer.sql:
        raise BadInput(
            _("this question was not answered, so there is nothing to confirm"),
            fix=_("Say what it means: give one SELECT, or the question in other words."),
        )
    if verdict == "right" and reading:
        raise BadInput(_("a reading is given with 'wrong' only"), fix=_("Leave it out."))
    if verdict == "wrong" and not answer.sql and not reading:
        raise BadInput(
            _("this question was not answered; say what it means"),
            fix=_("Give one SELECT, or the question in other words."),
        )
    meant = meaning(table, reading) if reading else ""
    if meant and meant == answer.sql:
        raise BadInput(
            _("this is how the question was read"), fix=_("Give one SELECT, or the question in other words.")
        )
    said: list[tuple[str, Verdict]] = [(answer.sql, verdict)] if answer.sql else []
    said += [(meant, "right")] if meant else []
    parts, now = memory.shape(answer.question, table.profile), time.time()
    kept = [Confirmed(answer.columns, answer.question, sql, word, parts, now, user) for sql, word in said]
    shelf.keep(kept)
    return kept


def meaning(table: Table, reading: str) -> str:
    """The SQL of a reading that a person gives: SQL is tried on the table, words are read. Raises BadInput, Refused."""
    if reading.split(None, 1)[0].upper().lstrip("(") in ("SELECT", "WITH", "FROM"):
        return table.run(reading, most=1).sql
    found = read(reading, table.profile)
    if found.sql is None:
        raise BadInput(
            _("'{reading}' is not understood either").format(reading=reading[:200]),
            fix=_("Give one SELECT over the table t; `tuneloop ask FILE` lists its columns."),
        )
    return found.sql


class Beside:
    """Two files of JSON lines in the folder of the loaded table, for who has no workspace."""

    def __init__(self, folder: Path) -> None:
        self._questions = folder / "questions.jsonl"
        self._answers = folder / "answers.jsonl"

    def known(self, columns: str) -> list[Confirmed]:
        """Clicks on tables with these columns, newest first."""
        found = [_confirmed(line) for line in _lines(self._questions) if line.get("columns") == columns]
        return [one for one in found[::-1] if one][: memory.MOST]

    def answers(self, source: str, *, most: int = 50) -> list[Answer]:
        """What this file was asked, newest first."""
        names = {field.name for field in fields(Answer)}
        found = [Answer(**line) for line in _lines(self._answers) if line.keys() == names and line["source"] == source]
        return found[::-1][:most]

    def note(self, answer: Answer) -> None:
        """Keep an answer."""
        _append(self._answers, [asdict(answer)])

    def keep(self, clicks: Sequence[Confirmed]) -> None:
        """Keep clicks, all or none: one write."""
        _append(self._questions, [{**asdict(one), "form": memory.FORM} for one in clicks])


class Rows:
    """Rows of a workspace, of one team."""

    def __init__(self, workspace: Workspace, tenant: str = "") -> None:
        self._db = workspace.db
        self._tenant = tenant

    def known(self, columns: str) -> list[Confirmed]:
        """Clicks on tables with these columns, newest first."""
        from sqlalchemy import select

        from tuneloop.db.question_tables import table_questions as t

        mine = select(t).where(t.c.tenant == self._tenant, t.c.columns == columns)
        with self._db.read() as rows:
            found = rows.execute(mine.order_by(t.c.time.desc(), t.c.verdict).limit(memory.MOST)).mappings().all()
        return [one for row in found if (one := _confirmed(dict(row)))]

    def answers(self, source: str, *, most: int = 50) -> list[Answer]:
        """What this file was asked, newest first."""
        return self._found("source", source, most)

    def answer(self, identity: str, source: str) -> Answer:
        """One answer of this file. Raises Missing."""
        for found in self._found("id", identity, 1):
            if found.source == source:
                return found
        raise Missing(_("there is no answer '{id}'").format(id=identity[:80]), fix=_("Ask the question again."))

    def _found(self, column: str, value: str, most: int) -> list[Answer]:
        from sqlalchemy import select

        from tuneloop.db.question_tables import table_answers as t

        shown = [t.c[field.name] for field in fields(Answer)]
        mine = select(*shown).where(t.c.tenant == self._tenant, t.c[column] == value)
        with self._db.read() as rows:
            found = rows.execute(mine.order_by(t.c.time.desc(), t.c.id).limit(most)).mappings().all()
        return [Answer(**row) for row in found]

    def note(self, answer: Answer) -> None:
        """Keep an answer."""
        from sqlalchemy import insert

        from tuneloop.db.question_tables import table_answers

        with self._db.write() as rows:
            rows.execute(insert(table_answers), [{**asdict(answer), "tenant": self._tenant}])

    def keep(self, clicks: Sequence[Confirmed]) -> None:
        """Keep clicks in one transaction; what was said of the same question and SQL before is replaced."""
        from sqlalchemy import delete, insert

        from tuneloop.db.question_tables import table_questions as t

        new = [{**_row(one), "tenant": self._tenant, "id": _identity(one)} for one in clicks]
        with self._db.write() as rows:
            for row in new:
                rows.execute(delete(t).where(t.c.tenant == self._tenant, t.c.id == row["id"]))
            rows.execute(insert(t), new)


def _row(one: Confirmed) -> dict[str, Any]:
    return {**asdict(one), "shape": {"form": memory.FORM, "parts": list(one.shape)}}


def _identity(one: Confirmed) -> str:
    said = json.dumps([one.columns, one.question, one.sql], ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _confirmed(kept: dict[str, Any]) -> Confirmed | None:
    """A click as it was kept; None where another version of the product kept it in another form."""
    shape = kept.get("shape")
    form = shape.get("form") if isinstance(shape, dict) else kept.get("form")
    parts = shape.get("parts") if isinstance(shape, dict) else shape
    names = {"columns", "question", "sql", "verdict", "time", "user"}
    if form != memory.FORM or not memory.is_shape(parts) or not names <= kept.keys():
        return None
    return Confirmed(**{name: kept[name] for name in names}, shape=tuple(parts or ()))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; a line that a crash cut short is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.split("\n"):  # a cell in an SQL may hold U+2028, where splitlines would cut the object in two
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    with _alone(path):
        with path.open("a+b") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                text = "\n" + text  # after a line that a crash cut short
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        kept = path.read_bytes().splitlines(keepends=True)
        if len(kept) > MOST_KEPT:
            write_atomically(path, b"".join(kept[-MOST_KEPT // 2 :]))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time writes."""
    with path.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
