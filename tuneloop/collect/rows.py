"""What every reader yields, and the small rules all of them share.

A reader yields, in the order of its file: a `Chat` when one begins, then for each item either a `Row` (`ROW` names
its columns) or a reason (one of `reasons.REASONS`) why the item is no message. So read = kept + rejected always.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256

# Tuples, not Message: a million of them are made, and the chat is the same for all.
ROW = ("id", "time", "sender", "name", "text", "kind", "reply_to", "topic", "forwarded", "edited")
Row = tuple[int, int, str, str, str, str, int | None, int | None, str | None, int | None]

UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


def name_id(name: str) -> str:
    """The sender id of a person known by name only; "deleted" for nobody."""
    return "name:" + short_hash(name) if name else "deleted"


def short_hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def clean(text: str) -> str:
    """Lone surrogates (half an emoji) and NUL can be stored nowhere: U+FFFD takes their place."""
    return UNSTORABLE.sub("\ufffd", text)


def moment(unix: object, written: object) -> int | None:
    """Unix seconds from "1542895468" or 1542895468, else from an ISO date (without an offset: read as UTC)."""
    if isinstance(unix, str) and len(unix) < 12 and unix.isascii() and unix.lstrip("-").isdigit():
        return int(unix)
    if isinstance(unix, int) and not isinstance(unix, bool) and abs(unix) < 10**11:
        return unix
    if isinstance(written, str):
        try:
            then = datetime.fromisoformat(written)
            return int((then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            return None
    return None


def in_topic(number: int, reply: int | None, topics: dict[int, int]) -> tuple[int | None, int | None]:
    """(reply, topic) of message `number`; `topics` maps every message seen in a topic to it, and learns this one.

    In a forum a message that answers nobody "replies" to the line that created the topic: that is no reply.
    """
    topic = topics.get(reply) if reply is not None and topics else None
    if topic is None:
        return reply, None
    topics[number] = topic
    return (None if topic == reply else reply), topic


def message_id(number: object) -> int | None:
    """A whole number that fits the database's 64 bits, else None."""
    if isinstance(number, int) and not isinstance(number, bool) and -(1 << 62) < number < 1 << 62:
        return number
    return None
