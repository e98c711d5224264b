"""Masking a person in what a server wrote down: calls, feedback, stored replies, outcomes.

Texts are masked word by word wherever they are: in the strings of a stored request at any depth, and in JSON that is
itself a string, as arguments of tools are. `test_every_column_is_masked_or_known_to_hold_no_words` lists every column
of every table, so that a new one cannot be forgotten here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, or_, select, update

from tuneloop.collect.names import Forms
from tuneloop.collect.privacy import remove_names
from tuneloop.db.photo_tables import new_products, photo_feedback
from tuneloop.db.question_tables import table_answers, table_questions
from tuneloop.db.tables import calls, feedback, outcomes, replies

# Where people said something, and in which columns. Users of photo search are names like "tg:12", no person's own:
# `photo_people.forget` removes their rows.
SAID = {
    feedback: ("value", "user"),
    photo_feedback: ("text",),
    new_products: ("name", "category"),
    table_answers: ("question", "sentence", "sql", "user"),
    table_questions: ("question", "sql", "shape", "user"),
}
WORDS = ("request", "answer", "error", "tags")  # columns of `calls` with what people and models said


def mask_rows(rows: Connection, sender: str, names: Forms) -> int:
    """Mask every row that names the person, forget which user they were; how many rows were changed or deleted.

    sender: their id, as an application may have sent it for `user`. What they did in an experiment no longer counts:
    without the user nobody could tell any more which arm was theirs. A stored reply to an Idempotency-Key that may name
    them is deleted: a stream has names cut in pieces. Its key makes a new call when it is sent again.
    """
    masked = _mask_calls(rows, sender, names)
    said = sum(_mask_words(rows, table, columns, sender, names) for table, columns in SAID.items())
    return len(masked) + said + _drop_replies(rows, masked, names) + _drop(rows, sender)


def masked(value: Any, names: Forms) -> tuple[Any, int]:
    """A JSON value with every form of these names as [name], and how many there were."""
    if isinstance(value, str):
        inner = _nested(value)
        if inner is None:
            return remove_names(value, names)
        cleaned, hits = masked(inner, names)
        return (json.dumps(cleaned, ensure_ascii=False) if hits else value), hits
    if isinstance(value, list):
        pairs = [masked(item, names) for item in value]
        return [cleaned for cleaned, _hits in pairs], sum(hits for _cleaned, hits in pairs)
    if isinstance(value, dict):
        keys, values = masked(list(value), names), masked(list(value.values()), names)
        return dict(zip(keys[0], values[0], strict=True)), keys[1] + values[1]
    return value, 0


def _nested(text: str) -> Any:
    """The list or object that a text is the JSON of; None for all others."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _user(user: str, sender: str, names: Forms) -> tuple[str, int]:
    return ("", 1) if user == sender else remove_names(user, names)


def _mask_calls(rows: Connection, sender: str, names: Forms) -> set[str]:
    columns = [calls.c[name] for name in WORDS]
    changes: dict[str, dict[str, Any]] = {}
    for row in rows.execute(select(calls.c.id, calls.c.user, *columns)):
        (told, hits), (user, theirs) = masked([row._mapping[c] for c in columns], names), _user(row.user, sender, names)
        if theirs:
            changes[row.id] = {"user": user, "experiment": "", "arm": ""}
        if hits:
            changes.setdefault(row.id, {}).update(zip(WORDS, told, strict=True))
    for identity, values in changes.items():
        rows.execute(update(calls).where(calls.c.id == identity).values(values))
    return set(changes)


def _mask_words(rows: Connection, table: Table, columns: tuple[str, ...], sender: str, names: Forms) -> int:
    """In these columns of every row; how many rows were changed."""
    key = list(table.primary_key)
    changed = 0
    for row in rows.execute(select(*key, *(table.c[name] for name in columns))).all():
        told = {name: row._mapping[name] for name in columns}
        pairs = {n: _user(v, sender, names) if n == "user" else masked(v, names) for n, v in told.items()}
        if any(hits for _cleaned, hits in pairs.values()):
            this = and_(*(column == row._mapping[column.name] for column in key))
            rows.execute(update(table).where(this).values({n: cleaned for n, (cleaned, _hits) in pairs.items()}))
            changed += 1
    return changed


def _drop_replies(rows: Connection, masked_calls: set[str], names: Forms) -> int:
    """A request that still runs keeps its key: its reply is empty, and what it will be is not said yet."""
    known = set(rows.execute(select(calls.c.id).where(calls.c.id.in_(select(replies.c.call)))).scalars())
    found = [
        and_(replies.c.tenant == row.tenant, replies.c.key == row.key)
        for row in rows.execute(select(replies).where(replies.c.reply != ""))
        if row.call in masked_calls or row.call not in known or masked([*_said(row.reply), row.key], names)[1]
    ]
    for start in range(0, len(found), 100):
        rows.execute(delete(replies).where(or_(*found[start : start + 100])))
    return len(found)


def _said(reply: str) -> Iterator[str]:
    """The JSON documents of a reply: one, or one for each event of a stream."""
    if not reply.startswith("data:"):
        yield reply
        return
    for line in reply.split("\n"):
        yield line.removeprefix("data:").strip()


def _drop(rows: Connection, sender: str) -> int:
    """Outcomes that were reported of this user."""
    return rows.execute(delete(outcomes).where(outcomes.c.user == sender)).rowcount
