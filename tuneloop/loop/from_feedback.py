"""What people said of answers becomes the next dataset: liked answers as they are, bad ones as they should have been.

A thumb up or a score of 8 and more keeps the answer; a demonstration takes its place. Only whole answers of a model
that somebody saw are learned from: nothing truncated, failed, cached, shadowed or replayed, and nothing of which the
last word was bad. Cleaning, scrubbing, splitting and the folder itself are those of every dataset.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tuneloop import journal
from tuneloop.collect import dataset, store
from tuneloop.collect.activity import look
from tuneloop.collect.examples import Built
from tuneloop.db.tables import calls, feedback
from tuneloop.errors import NotEnoughData
from tuneloop.progress import Progress, silent
from tuneloop.records import Chat, Example, Message
from tuneloop.texts import _
from tuneloop.workspace import Workspace

CHAT = Chat("calls", "calls", "feedback")
MODEL = "model"
GOOD = 8.0


def build(
    workspace: Workspace, *, name: str = "feedback", task: str = "", tenant: str = "", watch: Progress = silent
) -> Path:
    """Build the dataset; returns its folder. task: only its calls.

    Raises NotEnoughData while too few answers were praised or corrected.
    """
    journal.settle(workspace)
    examples = [example for row in _rows(workspace, task, tenant) if (example := _example(row)) is not None]
    if not examples:
        raise NotEnoughData(
            _("nobody has praised or corrected an answer yet"),
            fix=_("Thumbs and better answers are given on the page of `tuneloop serve`, or with POST /feedback."),
        )
    messages = list(_messages(examples))
    built = Built(examples, [], {"replies": len(examples)}, [MODEL])
    activity = look(messages, [MODEL])
    return dataset.assemble(workspace, built, CHAT, activity, store.roster(workspace), name=name, watch=watch)


def _rows(workspace: Workspace, task: str, tenant: str) -> list[dict[str, Any]]:
    """Calls with the answer to learn, oldest first; of each person's words on a call the last counts."""
    seen = (
        select(calls.c.id, calls.c.time, calls.c.user, calls.c.request, calls.c.answer, feedback.c.user.label("who"),
               feedback.c.kind.label("said"), feedback.c.value)
        .join_from(calls, feedback, calls.c.id == feedback.c.call)
        .where(calls.c.status == "ok", calls.c.kind == "chat", calls.c.cached.is_(False), calls.c.parent == "")
        .where(calls.c.tenant == tenant, feedback.c.kind != "comment")
        .order_by(calls.c.time, calls.c.id, feedback.c.time)
    )  # fmt: skip
    if task:
        seen = seen.where(calls.c.task == task)
    found: dict[str, dict[str, Any]] = {}
    votes: dict[str, dict[str, bool]] = defaultdict(dict)
    with workspace.db.read() as rows:
        for row in rows.execute(seen):
            known = found.setdefault(row.id, dict(row._mapping))
            if row.said == "demonstration":
                known["better"] = row.value
            else:
                votes[row.id][row.who] = row.value == "up" if row.said == "thumb" else float(row.value) >= GOOD
    return [
        row for identity, row in found.items() if "better" in row or (votes[identity] and all(votes[identity].values()))
    ]


def _example(row: dict[str, Any]) -> Example | None:
    turns = [
        (message.get("role"), _text(message.get("content")))
        for message in row["request"].get("messages") or ()
        if message.get("role") in ("user", "assistant")
    ]
    if not turns or turns[-1][0] != "user" or not turns[-1][1].strip():
        return None  # a call of a tool, or nothing that was asked
    number = zlib.crc32(row["id"].encode())
    return Example(
        id=hashlib.sha256(row["id"].encode()).hexdigest()[:16],
        chat=CHAT.id,
        dialogue=f"{CHAT.id}/{row['id']}",
        speaker=MODEL,
        question=turns[-1][1],
        answer=row.get("better") or row["answer"],
        context=tuple((str(role), text) for role, text in turns[:-1]),
        messages=(2 * number, 2 * number + 1),
        time=int(row["time"]),
        edge="reply",
    )


def _messages(examples: Iterable[Example]) -> Iterable[Message]:
    """The examples as messages, for the figures of the report."""
    for example in examples:
        asked, said = example.messages
        yield Message(CHAT.id, asked, example.time, "people", "people", example.question)
        yield Message(CHAT.id, said, example.time, MODEL, MODEL, example.answer, reply_to=asked)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
