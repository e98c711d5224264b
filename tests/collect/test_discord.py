"""DiscordChatExporter's JSON: replies, nicknames, bots, threads; Discord's own lines are counted."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import shared_data
from tuneloop.collect import discord, reasons
from tuneloop.collect.rows import ROW
from tuneloop.collect.walker import Walker
from tuneloop.errors import NotAnExport
from tuneloop.records import Chat

MESSAGE: dict[str, Any] = {
    "id": "1064990824305274930",
    "type": "Default",
    "timestamp": "2023-01-17T19:33:19.087+00:00",
    "timestampEdited": None,
    "content": "hello",
    "author": {"id": "333", "name": "ann", "nickname": "Ann", "isBot": False},
}


def read(
    *messages: Any, channel: dict[str, Any] | None = None
) -> tuple[Chat, list[dict[str, Any]], list[str], Counter[str]]:
    document = {
        "guild": {"id": "1", "name": "Bakers"},
        "channel": {"id": "500", "type": "GuildTextChat", "name": "bread", **(channel or {})},
        "messages": list(messages),
        "messageCount": len(messages),
    }
    notes: Counter[str] = Counter()
    chat, *found = discord.read(Walker(io.BytesIO(json.dumps(document).encode()), "x.json"), notes)
    assert isinstance(chat, Chat)
    rows = [dict(zip(ROW, row, strict=True)) for row in found if isinstance(row, tuple)]
    return chat, rows, [one for one in found if isinstance(one, str)], notes


def one(**changes: Any) -> dict[str, Any]:
    return read({**MESSAGE, **changes})[1][0]


def test_a_message() -> None:
    chat, rows, rejected, _notes = read(MESSAGE)
    assert chat == Chat("dc:500", "discord", "Bakers #bread", "GuildTextChat")
    assert rows == [
        dict(
            zip(
                ROW,
                (1064990824305274930, 1673983999, "user333", "Ann", "hello", "text", None, None, None, None),
                strict=True,
            )
        )
    ]
    assert rejected == []


def test_people() -> None:
    assert one(author={"id": "3", "name": "ann"})["name"] == "ann"
    assert one(author={"id": "3", "name": "helper", "isBot": True})["name"] == "helper [bot]"
    assert one(author={"id": "3", "name": "Deleted User"})["name"] == ""
    assert one(author=None)["sender"] == "deleted"


def test_replies_stay_inside_their_channel() -> None:
    inside = {"messageId": "1064990824305274000", "channelId": "500"}
    assert one(type="Reply", reference=inside)["reply_to"] == 1064990824305274000
    _chat, rows, _rejected, notes = read({**MESSAGE, "reference": {**inside, "channelId": "501"}})
    assert rows[0]["reply_to"] is None
    assert notes == {"replies to another chat, not linked": 1}


def test_thread_is_a_topic() -> None:
    _chat, rows, _rejected, _notes = read(MESSAGE, channel={"type": "GuildPublicThread", "id": "700"})
    assert rows[0]["topic"] == 700


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ({"content": "", "attachments": [{"fileName": "a.PNG"}]}, "photo"),
        ({"attachments": [{"url": "https://x/a.mp4"}]}, "video"),
        ({"content": "", "attachments": [{"fileName": "a.zip"}]}, "file"),
        ({"content": "", "stickers": [{"id": "1"}]}, "sticker"),
        ({"content": "", "embeds": [{}]}, "other"),
        ({"content": "https://x", "embeds": [{}]}, "text"),
    ],
)
def test_kinds(extra: dict[str, Any], kind: str) -> None:
    assert one(**extra)["kind"] == kind


def test_edits_and_forwards() -> None:
    assert one(timestampEdited="2023-01-17T19:34:00+00:00")["edited"] == 1673984040
    row = one(content="", forwardedMessage={"content": "from elsewhere"})
    assert (row["text"], row["forwarded"]) == ("from elsewhere", "")


def test_lines_of_discord_itself_are_counted() -> None:
    kinds = ["Call", "ChannelNameChange", "RecipientAdd", "ChannelPinnedMessage", "ThreadCreated", "GuildBoost"]
    _chat, rows, rejected, _notes = read(*({**MESSAGE, "type": kind} for kind in kinds), 5)
    assert rows == []
    assert len(set(rejected)) == 7
    assert set(rejected) <= reasons.reasons().keys()


def test_without_a_channel_it_is_no_export() -> None:
    with pytest.raises(NotAnExport):
        list(discord.read(Walker(io.BytesIO(b'{"guild": {}, "messages": []}'), "x"), Counter()))


ANY = st.text(max_size=4) | st.none() | st.integers() | st.lists(st.none(), max_size=2) | st.just({})
KEYS = (
    "id",
    "type",
    "timestamp",
    "timestampEdited",
    "content",
    "author",
    "attachments",
    "stickers",
    "reference",
    "embeds",
)


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), ANY) | ANY, max_size=6))
def test_whatever_comes_in_is_kept_or_rejected_with_a_known_reason(changes: list[Any]) -> None:
    items = [{**MESSAGE, **change} if isinstance(change, dict) else change for change in changes]
    _chat, rows, rejected, notes = read(*items)
    assert len(rows) + len(rejected) == len(items)
    assert set(rejected) <= reasons.reasons().keys()
    assert set(notes) <= reasons.notes().keys()


def test_real_samples() -> None:
    import zipfile

    with zipfile.ZipFile(shared_data("chats_other_dev.zip")) as archive:
        for ending, kept, rejected in (("GC_3A_5M.json", 3, 3), ("SV_5A_5M.json", 5, 0)):
            name = next(n for n in archive.namelist() if n.endswith(ending))
            chat, *found = discord.read(Walker(io.BytesIO(archive.read(name)), name), Counter())
            assert isinstance(chat, Chat)
            assert Counter(isinstance(item, tuple) for item in found) == Counter({True: kept, False: rejected})
