"""Read DiscordChatExporter's JSON: one channel or thread a file.

Kept: what people and bots wrote (`Default`, `Reply`, commands, the first message of a thread). A bot's name ends in
" [bot]", so that nobody learns to answer like one by accident. Everything else is Discord's own notice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tuneloop.collect.rows import Row, clean, moment, name_id
from tuneloop.collect.walker import Walker
from tuneloop.errors import NotAnExport
from tuneloop.records import Chat
from tuneloop.texts import _

# DiscordChatExporter writes the kind's name, or its number where it does not know it.
SPOKEN = {"Default", "Reply", "ChatInputCommand", "ContextMenuCommand", "20", "23", "ThreadStarterMessage", "21"}
THREADS = ("Thread", "PublicThread", "PrivateThread", "NewsThread")
SERVICE = {
    "RecipientAdd": "service: people came or left",
    "RecipientRemove": "service: people came or left",
    "GuildMemberJoin": "service: people came or left",
    "ChannelPinnedMessage": "service: message pinned",
    "Call": "service: calls",
    "ChannelNameChange": "service: chat created or changed",
    "ChannelIconChange": "service: chat created or changed",
    "ThreadCreated": "service: topics",
}
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".heic", ".avif")
VIDEOS = (".mp4", ".mov", ".webm", ".gif")
SOUNDS = (".ogg", ".mp3", ".m4a", ".wav")


def read(walker: Walker, notes: Counter[str]) -> Iterator[Chat | Row | str]:
    """Everything in the document. Raises NotAnExport without a channel, Damaged and Hostile as `Walker` does."""
    guild: dict[str, Any] = {}
    channel: dict[str, Any] = {}
    found = False
    for key in walker.members():
        if key in ("guild", "channel") and walker.peek() == "{":
            value = walker.value()
            guild, channel = (value, channel) if key == "guild" else (guild, value)
        elif key == "messages" and walker.peek() == "[" and channel:
            found = True
            topic = _number(channel.get("id")) if str(channel.get("type", "")).endswith(THREADS) else None
            name = clean(str(channel.get("name") or channel.get("id") or ""))
            owner = clean(str(guild.get("name") or ""))
            yield Chat(
                f"dc:{channel.get('id')}", "discord", f"{owner} #{name}" if owner else name, str(channel.get("type"))
            )
            for item in walker.values():
                yield _row(item, str(channel.get("id")), topic, walker.odd, notes)
        else:
            walker.skip()
    walker.end()
    if not found:
        raise NotAnExport(
            _("{name} looks like a Discord export but has no channel with messages").format(name=walker.name),
            fix=_("Export the channel with DiscordChatExporter in the format JSON."),
        )


def _row(item: Any, channel: str, topic: int | None, odd: bool, notes: Counter[str]) -> Row | str:
    if not isinstance(item, dict):
        return "not a message"
    kind = str(item.get("type"))
    if kind not in SPOKEN:
        return SERVICE.get(kind, "service: other")
    number = _number(item.get("id"))
    if number is None:
        return "no message id"
    when = moment(None, item.get("timestamp"))
    if when is None:
        return "no date"
    author = item.get("author")
    author = author if isinstance(author, dict) else {}
    name = author.get("nickname") or author.get("name")
    name = name.strip() if isinstance(name, str) else ""
    sender = f"user{author['id']}" if isinstance(author.get("id"), str) and author["id"] else name_id(name)
    if name == "Deleted User":
        name = ""
    elif author.get("isBot") is True:
        name += " [bot]"
    content = item.get("content")
    text = content.strip() if isinstance(content, str) else ""
    if odd and (clean(text), clean(name), clean(sender)) != (text, name, sender):
        text, name, sender = clean(text), clean(name), clean(sender)
        notes["broken characters replaced"] += 1
    forwarded = item.get("forwardedMessage")
    if isinstance(forwarded, dict) and not text and isinstance(forwarded.get("content"), str):
        text = clean(forwarded["content"].strip())
    return (
        number,
        when,
        sender,
        name,
        text,
        _kind(item, text),
        _reply(item.get("reference"), channel, notes),
        topic,
        "" if isinstance(forwarded, dict) else None,
        moment(None, item.get("timestampEdited")),
    )


def _reply(reference: object, channel: str, notes: Counter[str]) -> int | None:
    if not isinstance(reference, dict):
        return None
    target = _number(reference.get("messageId"))
    if target is not None and reference.get("channelId") not in (None, channel):
        notes["replies to another chat, not linked"] += 1
        return None
    return target


def _number(written: object) -> int | None:
    """A snowflake; they fit 63 bits until the year 2084."""
    if isinstance(written, str) and written.isascii() and written.isdigit() and len(written) < 20:
        number = int(written)
        return number if number < 1 << 63 else None
    return None


def _kind(item: dict[str, Any], text: str) -> str:
    if item.get("stickers"):
        return "sticker"
    attachments = item.get("attachments")
    first = attachments[0] if isinstance(attachments, list) and attachments else None
    name = str(first.get("fileName") or first.get("url") or "").lower() if isinstance(first, dict) else ""
    for endings, kind in ((IMAGES, "photo"), (VIDEOS, "video"), (SOUNDS, "voice")):
        if name.endswith(endings):
            return kind
    if first:
        return "file"
    # A link unfolds into an embed by itself, so an embed beside a text says nothing.
    return "other" if item.get("embeds") and not text else "text"
