"""Read Telegram Desktop's HTML exports: messages.html, messages2.html, ... of one chat, also over several folders.

The HTML form has names instead of ids: the chat is "tg:name:<hash>" until `unite` finds the chat of the same name
whose messages are the same, and a sender is "name:<hash>". Everything else is told as `telegram.read` tells it:
the two forms of one chat give the same ids, times, texts, kinds, replies and names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from lxml import etree

from tuneloop.collect.rows import Row, clean, in_topic, name_id, short_hash
from tuneloop.collect.source import Part, Stream
from tuneloop.errors import Damaged, Hostile
from tuneloop.records import Chat
from tuneloop.texts import _

LARGEST = 64 << 20  # bytes; the exporter begins a new file every 1,000 messages, that is 0.5 to 3 MB

PREFIX = "tg:name:"

# class on (or in) the media block -> kind, most telling first; the title decides for "media_photo" stickers.
CLASSES = (
    ("media_poll", "poll"),
    ("sticker_wrap", "sticker"),
    ("photo_wrap", "photo"),
    ("animated_wrap", "video"),
    ("video_file_wrap", "video"),
    ("media_voice_message", "voice"),
    ("media_video", "video"),
    ("media_photo", "photo"),
    ("media_audio_file", "file"),
    ("media_file", "file"),
    ("media_contact", "contact"),
    ("media_location", "location"),
    ("media_live_location", "location"),
    ("media_venue", "location"),
)
_DATE = re.compile(r"(\d\d)\.(\d\d)\.(\d{4}) (\d\d):(\d\d):(\d\d)(?: UTC([+-]\d\d:\d\d))?")
_VIA = re.compile(r"\s+via @\w+$")
_MONTH = re.compile(r" \((?:19|20)\d\d-\d\d\)$")
_TOPIC = re.compile(r" created topic ")
_ACCOUNT = re.compile(r"chat_\d+")
_ID = re.compile(r"message(-?\d{1,18})$")
_REPLY = re.compile(r"go_to_message(-?\d{1,18})$")
_MESSAGE = re.compile(rb'<div class="message (?:default|service)')

# What a service line says, told by its words (the exporter writes them in English in every language).
SERVICE = (
    (re.compile(r" invited | removed | joined | left the group|joined Telegram"), "service: people came or left"),
    (re.compile(r" pinned "), "service: message pinned"),
    (re.compile(r" converted (?:a|this) basic group"), "service: group upgraded"),
    (
        re.compile(r" (?:created|changed) (?:group|channel)| deleted group photo"),
        "service: chat created or changed",
    ),
    (re.compile(r"(?i)\bcall\b|voice chat|video chat"), "service: calls"),
)


def read(parts: list[Part], notes: Counter[str]) -> Iterator[Chat | Row | str]:
    """Everything in the files, given in reading order. Raises Damaged (cut off, wrong encoding) and Hostile."""
    chat: Chat | None = None
    author = forwarded = ""
    taken: dict[str, str] = {}
    for part in parts:
        root = _parse(part)
        here = _chat(_chat_name(root), part, taken)
        if here != chat:
            chat = here
            author = forwarded = ""
            topics: dict[int, int] = {}
            yield chat
        for block in root.iterfind(".//div[@id]"):
            marks = (block.get("class") or "").split()
            if "message" not in marks:
                continue
            if "service" in marks:
                if (reason := _service(block, topics)) is not None:
                    yield reason
                continue
            body = _child(block, "body")
            if body is None:
                yield "not a message"
                continue
            if (given := _child(body, "from_name")) is not None:
                author = _VIA.sub("", _text(given))
                author = "" if author == "Deleted Account" else author
            wrapped = _child(body, "forwarded body")
            if wrapped is not None and (given := _child(wrapped, "from_name")) is not None:
                forwarded = _forwarded_name(given)
            yield _row(block, body, wrapped, author, forwarded, topics, notes)


def _chat(name: str, part: Part, taken: dict[str, str]) -> Chat:
    """The chat of a page. Months of one chat lie in folders named anyhow and are one chat; "chat_07" and "chat_12"
    of an account's export are two, even when two people have the same name."""
    folder = part.folder.rsplit("/", 1)[-1]
    name = name or folder
    key = name
    if _ACCOUNT.fullmatch(folder):
        twins = 1
        while taken.setdefault(key, part.folder) != part.folder:
            twins += 1
            key = f"{name}\n{twins}"
    return Chat(PREFIX + short_hash(key), "telegram", name)


def _row(
    block: Any, body: Any, wrapped: Any, author: str, forwarded: str, topics: dict[int, int], notes: Counter[str]
) -> Row | str:
    number = _ID.match(block.get("id"))
    if number is None:
        return "no message id"
    date = _child(body, "date")
    when = _moment(date.get("title") if date is not None else None, notes)
    if when is None:
        return "no date"
    inner = body if wrapped is None else wrapped
    reply = None
    if (link := _child(body, "reply_to")) is not None:
        target = next((m for a in link.iterfind(".//a") if (m := _REPLY.search(a.get("href") or ""))), None)
        if target is None:
            notes["replies to another chat, not linked"] += 1
        else:
            reply = int(target[1])
    reply, topic = in_topic(int(number[1]), reply, topics)
    written = _child(inner, "text")
    text = "" if written is None else _text(written)
    kind = "text"
    if (media := _child(inner, "media_wrap")) is not None:
        kind = _kind(media)
        if kind == "call":
            return "service: calls"
        if kind == "poll" and not text and (question := media.find('.//div[@class="question bold"]')) is not None:
            text = _text(question)
    return (
        int(number[1]),
        when,
        name_id(author),
        author,
        text,
        kind,
        reply,
        topic,
        None if wrapped is None else forwarded,
        None,
    )


def _service(block: Any, topics: dict[int, int]) -> str | None:
    """Why the line is no message; None for a separator ("1 December 2020"), which the exporter adds by itself."""
    number = _ID.match(block.get("id"))
    # Separators count down from -1 in every file; messages of an upgraded group have ids near -1,000,000,000.
    if number and -1_000_000 < int(number[1]) < 0:
        return None
    said = " ".join(block.itertext())
    if number and _TOPIC.search(said):
        topics[int(number[1])] = int(number[1])
        return "service: topics"
    return next((reason for pattern, reason in SERVICE if pattern.search(said)), "service: other")


def _kind(media: Any) -> str:
    marks = " ".join(block.get("class") or "" for block in media.iter("div", "a"))
    titles = {_text(t) for t in media.iterfind('.//div[@class="title bold"]')}
    if "media_call" in marks:
        return "call"
    if "Sticker" in titles:
        return "sticker"
    if "Video message" in titles:
        return "video"
    return next((kind for mark, kind in CLASSES if mark in marks), "other")


def _parse(part: Part) -> Any:
    with part.opener() as stream:
        raw = _whole(stream, part.name)
    try:
        page = raw.decode(part.encoding)
    except UnicodeDecodeError as problem:
        raise Damaged(
            _("{name} is not {encoding} near byte {offset}").format(
                name=part.name, encoding=part.encoding.upper(), offset=problem.start
            ),
            fix=_("Export the chat again; if an editor saved it, save it as UTF-8."),
        ) from problem
    if "</html>" not in page[-200:]:
        raise Damaged(
            _("{name} is cut off at byte {offset}: the page has no end").format(name=part.name, offset=len(raw)),
            fix=_("Export the chat again, or copy the file again; nothing of it was kept."),
        )
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    root = etree.fromstring(clean(page.removeprefix("\ufeff")).encode(), parser)
    found = (
        0 if root is None else sum("message" in (b.get("class") or "").split() for b in root.iterfind(".//div[@id]"))
    )
    # libxml2 gives up below 256 levels without a word; what it left out must not be lost in silence.
    if root is None or found < len(_MESSAGE.findall(raw)):
        raise Hostile(
            _("{name}: this page cannot be read to its end").format(name=part.name),
            fix=_("Export the chat again; choose the format JSON if that is possible."),
        )
    return root


def _whole(stream: Stream, name: str) -> bytes:
    raw = stream.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise Hostile(
            _("{name} is larger than {limit} MB; pages of an export are 1 to 3 MB").format(
                name=name, limit=LARGEST >> 20
            ),
            fix=_("Export the chat again; choose the format JSON if that is possible."),
        )
    return raw


def _chat_name(root: Any) -> str:
    header = root.find('.//div[@class="page_header"]')
    title = None if header is None else header.find('.//div[@class="text bold"]')
    # Some exporters split a chat into months and say so in its title; it stays one chat.
    return "" if title is None else _MONTH.sub("", _text(title))


def _forwarded_name(block: Any) -> str:
    parts = [block.text or ""]
    for inner in block:
        if "date" not in (inner.get("class") or "").split():
            parts.append("".join(inner.itertext()))
        parts.append(inner.tail or "")
    name = _VIA.sub("", "".join(parts).strip())
    return "" if name == "Deleted Account" else name


def _child(block: Any, mark: str) -> Any:
    """The first direct child that has those classes."""
    wanted = set(mark.split())
    for inner in block:
        if wanted <= set((inner.get("class") or "").split()):
            return inner
    return None


def _text(block: Any) -> str:
    """Text with its line breaks; the exporter's own indentation around it is no part of it."""
    if not len(block):
        return (block.text or "").strip()
    pieces = [block.text or ""]
    for inner in block.iterdescendants():
        pieces.append("\n" if inner.tag == "br" else inner.text or "")
        # Tails come after everything inside; iterdescendants gives parents first, so nested tags need the long way.
        if len(inner):
            return _nested(block).strip()
        pieces.append(inner.tail or "")
    return "".join(pieces).strip()


def _nested(block: Any) -> str:
    pieces = ["\n" if block.tag == "br" else block.text or ""]
    for inner in block:
        pieces.append(_nested(inner))
        pieces.append(inner.tail or "")
    return "".join(pieces)


def _moment(title: str | None, notes: Counter[str]) -> int | None:
    """Unix seconds of "01.12.2020 03:52:11 UTC+04:00"; older exporters leave the offset out (then read as UTC)."""
    match = _DATE.match(title or "")
    if match is None:
        return None
    day, month, year, hour, minute, second, offset = match.groups()
    if offset is None:
        notes["times without an offset, read as UTC"] += 1
    try:
        return int(
            datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}{offset or '+00:00'}").timestamp()
        )
    except ValueError:
        return None
