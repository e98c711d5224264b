"""Telegram's result.json: every odd thing it may hold is kept, mended or counted; nothing disappears."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.collect.exports import CHAT, POSTS, write_json
from tests.conftest import shared_data
from tuneloop.collect import reasons, telegram
from tuneloop.collect.rows import ROW
from tuneloop.collect.walker import Walker
from tuneloop.errors import Damaged, NotAnExport
from tuneloop.records import Chat

MESSAGE = {"id": 1, "type": "message", "date_unixtime": "1600000000", "from": "Анна", "from_id": "user1", "text": "да"}


def read(document: Any) -> tuple[list[Chat], list[dict[str, Any]], list[str], Counter[str]]:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    notes: Counter[str] = Counter()
    chats, rows, rejected = [], [], []
    for found in telegram.read(Walker(io.BytesIO(raw), "result.json"), notes):
        if isinstance(found, Chat):
            chats.append(found)
        elif isinstance(found, str):
            rejected.append(found)
        else:
            rows.append(dict(zip(ROW, found, strict=True)))
    return chats, rows, rejected, notes


def chat(*messages: Any, **head: Any) -> dict[str, Any]:
    return {"name": "Чат", "type": "private_group", "id": 7, **head, "messages": list(messages)}


def one(**changes: Any) -> dict[str, Any]:
    """The row of a single message with these changes."""
    _chats, rows, rejected, _notes = read(chat({**MESSAGE, **changes}))
    assert not rejected
    return rows[0]


def test_a_whole_chat(tmp_path: Path) -> None:
    chats, rows, rejected, _notes = read(write_json(tmp_path / "result.json", POSTS).read_bytes())
    assert chats == [Chat("tg:1900000001", "telegram", CHAT, "private_supergroup")]
    said = [post for post in POSTS if not post.action]
    assert [(row["id"], row["text"], row["kind"], row["reply_to"]) for row in rows] == [
        (post.id, post.text, post.kind, post.reply) for post in said
    ]
    assert [row["name"] for row in rows] == [post.name or "" for post in said]
    assert [row["sender"] for row in rows] == [post.sender for post in said]
    assert Counter(rejected) == Counter(
        ["service: group upgraded", "service: people came or left", "service: message pinned"]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("просто", "просто"),
        (["a ", {"type": "bold", "text": "b"}, "", {"type": "link", "text": "c"}], "a bc"),
        (None, ""),
        (" снаружи пусто \n", "снаружи пусто"),
        ([{"type": "bold"}, 5, None, ["x"]], ""),
        ({"text": "not a list"}, ""),
    ],
)
def test_text_in_all_its_shapes(text: Any, expected: str) -> None:
    assert one(text=text)["text"] == expected


def test_missing_text_falls_back_to_its_entities() -> None:
    bare = {key: value for key, value in MESSAGE.items() if key != "text"}
    _chats, rows, _rejected, _notes = read(chat({**bare, "text_entities": [{"type": "plain", "text": "из частей"}]}))
    assert rows[0]["text"] == "из частей"


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ({"media_type": "sticker", "file": "x", "photo": "y"}, "sticker"),
        ({"media_type": "voice_message", "file": "x"}, "voice"),
        ({"media_type": "video_message"}, "video"),
        ({"media_type": "animation"}, "video"),
        ({"media_type": "something_new"}, "other"),
        ({"media_type": 5, "photo": "x"}, "photo"),
        ({"file": "x"}, "file"),
        ({"location_information": {}}, "location"),
        ({"contact_information": {}}, "contact"),
        ({"game_title": "x"}, "other"),
        ({}, "text"),
    ],
)
def test_kinds(extra: dict[str, Any], kind: str) -> None:
    assert one(**extra)["kind"] == kind


def test_poll_keeps_its_question() -> None:
    row = one(text="", poll={"question": "Когда?", "answers": [{"text": "завтра"}]})
    assert (row["kind"], row["text"]) == ("poll", "Когда?")
    assert one(text="", poll={"question": [{"type": "plain", "text": "Где?"}]})["text"] == "Где?"
    assert one(text="", poll=None)["text"] == ""


def test_people_without_names_or_ids() -> None:
    assert (one(**{"from": None})["name"], one(**{"from": None})["sender"]) == ("", "user1")
    assert one(from_id=4321)["sender"] == "user4321"
    assert one(from_id=None)["sender"].startswith("name:")
    assert one(from_id=None, **{"from": None})["sender"] == "deleted"


def test_forwards() -> None:
    assert one()["forwarded"] is None
    assert one(forwarded_from="Канал ")["forwarded"] == "Канал"
    assert one(forwarded_from=None)["forwarded"] == ""


def test_times() -> None:
    assert one()["time"] == 1_600_000_000
    assert one(date_unixtime=1_600_000_001)["time"] == 1_600_000_001
    assert one(date_unixtime=None, date="2020-09-13T12:26:40")["time"] == 1_600_000_000
    row = one(edited="2020-09-13T12:26:41", edited_unixtime="1600000001")
    assert row["edited"] == 1_600_000_001


def test_reply_to_another_chat_is_never_linked() -> None:
    _chats, rows, _rejected, notes = read(chat({**MESSAGE, "reply_to_message_id": 9, "reply_to_peer_id": "channel5"}))
    assert rows[0]["reply_to"] is None
    assert notes == {"replies to another chat, not linked": 1}


def test_topics_follow_their_replies() -> None:
    created = {"id": 10, "type": "service", "action": "topic_created", "date_unixtime": "1600000000"}
    first = {**MESSAGE, "id": 11, "reply_to_message_id": 10}
    answer = {**MESSAGE, "id": 12, "reply_to_message_id": 11}
    outside = {**MESSAGE, "id": 13}
    _chats, rows, _rejected, _notes = read(chat(created, first, answer, outside))
    # A message that only stands in the topic answers nobody: its "reply" was the line that made the topic.
    assert [(row["topic"], row["reply_to"]) for row in rows] == [(10, None), (10, 11), (None, None)]


def test_odd_items_are_counted_by_reason() -> None:
    _chats, rows, rejected, _notes = read(
        chat(
            MESSAGE,
            5,
            {"type": "unsupported", "id": 2},
            {"id": 3},
            {**MESSAGE, "id": None},
            {**MESSAGE, "id": True},
            {**MESSAGE, "id": 2**70},
            {**MESSAGE, "id": 4, "date_unixtime": "soon", "date": "never"},
            {"type": "service", "action": ["?"], "id": 5},
        )
    )
    assert len(rows) == 1
    assert rejected == [
        "not a message",
        "not supported by the exporter",
        "not a message",
        "no message id",
        "no message id",
        "no message id",
        "no date",
        "service: other",
    ]


def test_halves_of_emoji_and_nul_are_replaced_and_counted() -> None:
    raw = b'{"name":"x","id":1,"messages":[%s]}' % json.dumps({**MESSAGE, "text": "a", "from": "b"}).encode()
    broken = raw.replace(b'"a"', b'"a\\ud83d\\u0000"').replace(b'"b"', b'"\\udc00b"')
    _chats, rows, _rejected, notes = read(broken)
    assert (rows[0]["text"], rows[0]["name"]) == ("a\ufffd\ufffd", "\ufffdb")
    assert notes == {"broken characters replaced": 1}
    _chats, rows, _rejected, notes = read(raw.replace(b'"a"', b'"\\ud83d\\ude00"'))
    assert rows[0]["text"] == "😀"
    assert not notes


def test_account_with_left_chats_and_unknown_sections() -> None:
    account = {
        "about": "Here is the data you requested.",
        "contacts": {"list": [{"first_name": "x"}] * 3},
        "chats": {"about": "...", "list": [chat(MESSAGE), chat(MESSAGE, id=8), "?"]},
        "left_chats": {"list": [chat(MESSAGE, id=9, name=None)]},
    }
    chats, rows, _rejected, _notes = read(account)
    assert [one.id for one in chats] == ["tg:7", "tg:8", "tg:9"]
    assert chats[2].name == "private_group"
    assert len(rows) == 3


@pytest.mark.parametrize("document", [{"a": 1}, {}, {"messages": 5}, {"chats": {"about": "x"}}])
def test_json_without_chats_is_no_export(document: Any) -> None:
    with pytest.raises(NotAnExport):
        read(document)


def test_messages_of_somebody_else_are_no_export() -> None:
    with pytest.raises(NotAnExport, match="sender_name, timestamp_ms, content"):
        read({"participants": [], "messages": [{"sender_name": "Ann", "timestamp_ms": 1, "content": "hi"}]})


def test_list_instead_of_an_object_is_damaged() -> None:
    with pytest.raises(Damaged):
        read(b"[1]")


ODD_TEXT = (
    st.text() | st.none() | st.integers() | st.lists(st.text() | st.fixed_dictionaries({"text": st.text() | st.none()}))
)
ODD = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers() | st.none() | st.floats() | st.text(max_size=3),
        "type": st.sampled_from(["message", "message", "message", "service", "unsupported", 5]),
        "date_unixtime": st.sampled_from(["1600000000", "x", "", "9" * 30, None]) | st.integers(),
        "date": st.sampled_from(["2020-01-01T00:00:00", "0001-01-01", "2020-13-01", ""]) | st.integers(),
        "from": st.text() | st.none() | st.integers(),
        "from_id": st.text() | st.none() | st.integers() | st.lists(st.integers(), max_size=1),
        "text": ODD_TEXT,
        "text_entities": ODD_TEXT,
        "reply_to_message_id": st.integers() | st.none() | st.text(max_size=2),
        "forwarded_from": st.text() | st.none() | st.booleans(),
        "edited": st.text(max_size=3),
        "edited_unixtime": st.integers() | st.text(max_size=3),
        "poll": st.none() | st.fixed_dictionaries({"question": ODD_TEXT}),
        "media_type": st.sampled_from(["sticker", "?", None, 1]),
        "action": st.text(max_size=3) | st.none() | st.sampled_from(["topic_created", "pin_message"]),
    },
)


@given(st.lists(ODD | st.integers() | st.none(), max_size=10))
def test_whatever_comes_in_is_kept_or_rejected_with_a_known_reason(items: list[Any]) -> None:
    items = [{"type": "message", "id": 1}, *items]
    _chats, rows, rejected, notes = read(chat(*items))
    assert len(rows) + len(rejected) == len(items)
    assert set(rejected) <= reasons.reasons().keys()
    assert set(notes) <= reasons.notes().keys()
    for row in rows:
        for value in row.values():
            if isinstance(value, str):
                value.encode()
                assert "\x00" not in value
        assert all(abs(row[key] or 0) < 1 << 63 for key in ("id", "time", "reply_to", "topic", "edited"))


def test_all_of_the_load_testing_group(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(shared_data("tg_json_dev.zip")) as archive:
        name = next(n for n in archive.namelist() if "derived_qaload" in n and n.endswith("result.json"))
        _chats, rows, rejected, _notes = read(archive.read(name))
    assert (len(rows), len(rejected)) == (30_553, 3_429)
