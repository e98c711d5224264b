"""Read Telegram Desktop's result.json: one chat, or a whole account (`chats.list`, `left_chats.list`).

Memory stays constant, whatever the size. Kept: everything a person sent, also without text (a photo or a sticker is
part of how a conversation goes; its text is "", a poll's text is its question). Not kept: service lines, items without
an id or a date. A deleted account's messages stay, under an empty name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tuneloop.collect import source
from tuneloop.collect.rows import Row, clean, in_topic, message_id, moment, name_id
from tuneloop.collect.walker import Walker
from tuneloop.errors import NotAnExport
from tuneloop.records import Chat
from tuneloop.texts import _

MEDIA = {
    "sticker": "sticker",
    "voice_message": "voice",
    "video_message": "video",
    "video_file": "video",
    "animation": "video",
    "audio_file": "file",
}
# Looked up in this order when there is no media_type.
KEYS = (
    ("photo", "photo"),
    ("poll", "poll"),
    ("location_information", "location"),
    ("live_location_period_seconds", "location"),
    ("contact_information", "contact"),
    ("file", "file"),
    ("todo_list", "other"),
    ("game_title", "other"),
    ("invoice_information", "other"),
    ("giveaway_information", "other"),
    ("paid_stars_amount", "other"),
)
SERVICE = {
    "service: people came or left": (
        *("invite_members", "remove_members", "join_group_by_link", "join_group_by_request", "joined_telegram"),
    ),
    "service: message pinned": ("pin_message",),
    "service: calls": (
        *("phone_call", "group_call", "invite_to_group_call", "group_call_scheduled", "conference_call"),
    ),
    "service: chat created or changed": (
        *("create_group", "create_channel", "edit_group_title", "edit_group_photo", "delete_group_photo"),
        *("edit_chat_theme", "set_messages_ttl", "clear_history", "set_chat_wallpaper", "set_same_chat_wallpaper"),
        "boost_apply",
    ),
    "service: group upgraded": ("migrate_to_supergroup", "migrate_from_group"),
    "service: topics": ("topic_created", "topic_edit"),
}
ACTIONS = {action: reason for reason, actions in SERVICE.items() for action in actions}


def read(walker: Walker, notes: Counter[str]) -> Iterator[Chat | Row | str]:
    """Everything in the document under `walker`; `notes` counts what was mended.

    Raises NotAnExport when it holds no chat, Damaged and Hostile as `Walker` does.
    """
    found = False
    head: dict[str, Any] = {}
    for key in walker.members():
        if key == "messages" and walker.peek() == "[":
            found = True
            yield from _chat(walker, head, notes)
        elif key in ("chats", "left_chats") and walker.peek() == "{":
            for inner in walker.members():
                if inner == "list" and walker.peek() == "[":
                    found = True
                    yield from _list(walker, notes)
                else:
                    walker.skip()
        elif key in ("name", "type", "id") and walker.peek() not in "[{":
            head[key] = walker.value()
        else:
            walker.skip()
    walker.end()
    if not found:
        raise NotAnExport(
            _("{name} is JSON, but has neither messages nor a list of chats").format(name=walker.name),
            fix=_("In Telegram Desktop: chat menu > Export chat history > format JSON; then give that result.json."),
        )


def _list(walker: Walker, notes: Counter[str]) -> Iterator[Chat | Row | str]:
    for _item in walker.items():
        if walker.peek() != "{":
            walker.skip()
            continue
        head: dict[str, Any] = {}
        for key in walker.members():
            if key == "messages" and walker.peek() == "[":
                yield from _chat(walker, head, notes)
            elif key in ("name", "type", "id") and walker.peek() not in "[{":
                head[key] = walker.value()
            else:
                walker.skip()


def _chat(walker: Walker, head: dict[str, Any], notes: Counter[str]) -> Iterator[Chat | Row | str]:
    name, kind = clean(str(head.get("name") or "")).strip(), str(head.get("type") or "")
    number = head.get("id")
    if isinstance(number, bool) or not isinstance(number, int | str):
        number = name_id(name or kind or walker.name)
    yield Chat(clean(f"tg:{number}"), "telegram", name or kind, kind)
    topics: dict[int, int] = {}
    for place, item in enumerate(walker.values()):
        if not isinstance(item, dict):
            yield "not a message"
        elif not place and "type" not in item and "id" not in item:
            raise NotAnExport(
                _("{name} is JSON with messages, but not Telegram's ({keys})").format(
                    name=walker.name, keys=", ".join(map(clean, list(item)[:4])) or "{}"
                ),
                fix=source.known_forms(),
            )
        elif item.get("type") == "message":
            yield _row(item, walker.odd, topics, notes)
        elif item.get("type") == "service":
            if item.get("action") == "topic_created" and isinstance(item.get("id"), int):
                topics[item["id"]] = item["id"]
            action = item.get("action")
            yield ACTIONS.get(action, "service: other") if isinstance(action, str) else "service: other"
        else:
            yield "not supported by the exporter" if item.get("type") == "unsupported" else "not a message"


def _row(item: dict[str, Any], odd: bool, topics: dict[int, int], notes: Counter[str]) -> Row | str:
    number = message_id(item.get("id"))
    if number is None:
        return "no message id"
    when = moment(item.get("date_unixtime"), item.get("date"))
    if when is None:
        return "no date"
    name = item.get("from")
    name = name.strip() if isinstance(name, str) else ""
    raw = item.get("text")
    text = raw if isinstance(raw, str) else flatten(item.get("text_entities") if raw is None else raw)
    text = text.strip()  # the HTML form of the same message cannot keep outer spaces
    forwarded = None
    if "forwarded_from" in item:
        forwarded = item["forwarded_from"]
        forwarded = forwarded.strip() if isinstance(forwarded, str) else ""  # null: a deleted account wrote it
    media = item.get("media_type")
    kind = MEDIA.get(media, "other") if isinstance(media, str) else ""
    if not kind:
        kind = next((kind for key, kind in KEYS if key in item), "text")
    if kind == "poll" and not text and isinstance(item["poll"], dict):
        question = item["poll"].get("question")
        text = question if isinstance(question, str) else flatten(question)
    reply = message_id(item.get("reply_to_message_id"))
    if reply is not None and "reply_to_peer_id" in item:
        reply = None
        notes["replies to another chat, not linked"] += 1
    reply, topic = in_topic(number, reply, topics)
    edited = moment(item.get("edited_unixtime"), item.get("edited")) if "edited" in item else None
    sender = item.get("from_id")
    if isinstance(sender, int):
        sender = f"user{sender}"  # exports of 2020 and before
    elif not isinstance(sender, str) or not sender:
        sender = name_id(name)
    if odd:
        clear = clean(text), clean(name), clean(sender), forwarded and clean(forwarded)
        if clear != (text, name, sender, forwarded):
            notes["broken characters replaced"] += 1
            text, name, sender, forwarded = clear
    return (number, when, sender, name, text, kind, reply, topic, forwarded, edited)


def flatten(text: object) -> str:
    """One string out of Telegram's list of strings and entities; anything else is ""."""
    if not isinstance(text, list):
        return ""
    pieces = (part.get("text") if isinstance(part, dict) else part for part in text)
    return "".join(piece for piece in pieces if isinstance(piece, str))
