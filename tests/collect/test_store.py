"""What is in the workspace: chats, ordered messages, every name of a person, who answers most."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.collect.exports import CHAT, POSTS, Post, write_json
from tuneloop.collect import store
from tuneloop.errors import Missing
from tuneloop.workspace import Workspace

ID = "tg:1900000001"


@pytest.fixture
def filled(tmp_path: Path, workspace: Workspace) -> Workspace:
    store.import_export(workspace, write_json(tmp_path / "result.json", POSTS))
    store.import_export(workspace, write_json(tmp_path / "other.json", POSTS[:3], name="Второй", number=5))
    return workspace


def test_chats_come_with_their_size_largest_first(filled: Workspace) -> None:
    assert [(chat.id, chat.name, count) for chat, count in store.chats(filled)] == [
        (ID, CHAT, 17),
        ("tg:5", "Второй", 2),
    ]


def test_messages_are_ordered_by_time_then_id(tmp_path: Path, workspace: Workspace) -> None:
    posts = [Post(3, 100_000_000, text="б"), Post(1, 100_000_005, text="в"), Post(2, 100_000_000, text="а")]
    store.import_export(workspace, write_json(tmp_path / "result.json", posts))
    assert [message.id for message in store.messages(workspace, ID)] == [2, 3, 1]
    assert list(store.messages(workspace, "tg:unknown")) == []


def test_messages_of_an_upgraded_group_come_first_with_their_negative_ids(filled: Workspace) -> None:
    assert next(store.messages(filled, ID)).id == -999_999_990


def test_roster_holds_every_name_and_the_authors_of_forwards(tmp_path: Path, filled: Workspace) -> None:
    anna = POSTS[0].sender
    renamed = Post(30, 1_600_002_000, "Анна", "я теперь другая")
    path = write_json(tmp_path / "renamed.json", [renamed])
    path.write_text(path.read_text(encoding="utf-8").replace('"from": "Анна"', '"from": "Анна П."'), encoding="utf-8")
    store.import_export(filled, path)
    roster = store.roster(filled, ID)
    assert roster[anna] == {"Анна", "Анна П."}
    assert roster["forwarded:Канал о хлебе"] == {"Канал о хлебе"}
    deleted = next(post.sender for post in POSTS if post.name is None)
    assert roster[deleted] == set()
    assert anna in store.roster(filled)
    assert len(store.roster(filled, "tg:5")) == 1
    # Speakers are shown under the name they have now.
    assert next(one.name for one in store.speakers(filled, ID) if one.sender == anna) == "Анна П."


def test_speakers_are_ranked_by_answers_to_others(tmp_path: Path, workspace: Workspace) -> None:
    posts = [
        Post(1, 1_600_000_000, "Анна", "кто?"),
        Post(2, 1_600_000_001, "Борис", "я", reply=1),
        Post(3, 1_600_000_002, "Анна", "сама себе", reply=1),
        Post(4, 1_600_000_003, None, "и я", reply=1),
        Post(5, 1_600_000_004, None, "и снова", reply=1),
        Post(6, 1_600_000_005, "Анна", kind="sticker", reply=77),
    ]
    store.import_export(workspace, write_json(tmp_path / "result.json", posts))
    people = store.speakers(workspace, ID)
    assert [(one.name, one.messages, one.answers, one.suggested) for one in people] == [
        ("", 2, 2, False),  # a deleted account is never suggested
        ("Борис", 1, 1, True),
        ("Анна", 3, 0, False),
    ]
    assert [round(one.share, 2) for one in people] == [0.67, 0.33, 0.0]
    assert people[2].median_length == 6  # of "кто?" and "сама себе"; a sticker has no length


def test_find_chat_by_id_by_name_or_the_largest(filled: Workspace) -> None:
    assert store.find_chat(filled).id == ID
    assert store.find_chat(filled, "tg:5").name == "Второй"
    assert store.find_chat(filled, "второй").id == "tg:5"
    with pytest.raises(Missing, match="no chat 'третий'") as caught:
        store.find_chat(filled, "третий")
    assert "tg:5" in caught.value.fix


def test_two_chats_of_one_name_have_to_be_named_by_id(tmp_path: Path, filled: Workspace) -> None:
    store.import_export(filled, write_json(tmp_path / "third.json", POSTS[:3], name="Второй", number=6))
    with pytest.raises(Missing, match="2 chats are named"):
        store.find_chat(filled, "Второй")


def test_empty_workspace_says_how_to_begin(workspace: Workspace) -> None:
    with pytest.raises(Missing, match="no messages yet"):
        store.find_chat(workspace)
