from __future__ import annotations

from pathlib import Path

import pytest

from tuneloop.cli.choose import choose_chat, choose_speakers
from tuneloop.cli.show import Door
from tuneloop.db.tables import chats, messages
from tuneloop.errors import Missing
from tuneloop.workspace import Workspace


@pytest.fixture
def two_chats(workspace: Workspace) -> Workspace:
    """A large chat, a small one, and one more with the small one's name."""
    with workspace.db.write() as rows:
        for number, (chat, name, size) in enumerate((("tg:1", "Двор", 3), ("tg:2", "Кухня", 9), ("tg:3", "Двор", 2))):
            rows.execute(chats.insert().values(id=chat, source="telegram", name=name, kind=""))
            for i in range(size):
                row = {
                    "chat": chat,
                    "id": i + 1,
                    "time": number * 100 + i,
                    "sender": f"user{i % 2}",
                    "name": f"N{i % 2}",
                }
                row |= {"text": "слово", "kind": "text", "reply_to": i or None}
                rows.execute(messages.insert().values(**row))
    return workspace


def door(path: Path, *, as_json: bool = False) -> Door:
    return Door(path, as_json)


def test_nobody_to_ask_takes_the_largest_and_says_so(two_chats: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose_chat(door(two_chats.path), two_chats, None) == "tg:2"
    said = capsys.readouterr().out
    assert "Using the largest: Кухня" in said
    assert "--chat" in said
    assert choose_chat(door(two_chats.path, as_json=True), two_chats, None) == "tg:2"
    assert capsys.readouterr().out == ""


def test_by_id_or_by_name(two_chats: Workspace) -> None:
    assert choose_chat(door(two_chats.path), two_chats, "tg:3") == "tg:3"
    assert choose_chat(door(two_chats.path), two_chats, "кухня") == "tg:2"
    with pytest.raises(Missing, match="2 chats are named 'Двор'"):
        choose_chat(door(two_chats.path), two_chats, "Двор")
    with pytest.raises(Missing, match="no chat 'Чердак'") as caught:
        choose_chat(door(two_chats.path), two_chats, "Чердак")
    assert "tg:1" in caught.value.fix and "tg:3" in caught.value.fix


def test_an_empty_workspace(workspace: Workspace) -> None:
    with pytest.raises(Missing) as caught:
        choose_chat(door(workspace.path), workspace, None)
    assert "tuneloop collect" in caught.value.fix
    assert choose_speakers(door(workspace.path), workspace, "tg:1") == []


def test_the_suggested_speaker_is_taken_and_named(two_chats: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = choose_speakers(door(two_chats.path), two_chats, "tg:2")
    assert len(chosen) == 1
    said = capsys.readouterr().out
    assert f"Learning the answers of N{chosen[0][-1]}" in said
    assert "--speaker" in said
