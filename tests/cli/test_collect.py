"""`tuneloop collect` and `tuneloop speakers` as a person runs them: figures, reasons, next steps, exit codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.collect.exports import CHAT, POSTS, write_html, write_json

Run = Callable[..., subprocess.CompletedProcess[str]]


def words(text: str) -> str:
    """Without the line breaks that a narrow terminal makes."""
    return " ".join(text.split())


def test_collect_prints_figures_reasons_and_the_next_step(tmp_path: Path, tuneloop_command: Run) -> None:
    path = write_json(tmp_path / "result.json", POSTS)
    said = words(tuneloop_command("collect", path).stdout)
    assert f"{CHAT} tg:1900000001 20 17 17 0 3" in said
    assert "rejected: service: group upgraded 1, service: message pinned 1, service: people came or left 1" in said
    assert "note: replies to a message that is not here" in said
    assert "tuneloop speakers" in said
    again = words(tuneloop_command("collect", path).stdout)
    assert f"{CHAT} tg:1900000001 20 17 0 0 3" in again


def test_collect_for_machines_is_one_document(tmp_path: Path, tuneloop_command: Run) -> None:
    json_form = write_json(tmp_path / "result.json", POSTS)
    html_form = write_html(tmp_path / "html", POSTS)
    done = json.loads(tuneloop_command("collect", json_form, html_form, "--json").stdout)
    assert [(one["chat"]["id"], one["read"], one["kept"], one["added"]) for one in done] == [
        ("tg:1900000001", 20, 17, 17),
        ("tg:1900000001", 20, 17, 0),
    ]
    assert all(one["read"] == one["kept"] + sum(one["rejected"].values()) for one in done)


def test_nothing_rejected_is_said_too(tmp_path: Path, tuneloop_command: Run) -> None:
    said = tuneloop_command("collect", write_json(tmp_path / "result.json", POSTS[2:3])).stdout
    assert "rejected: nothing" in said


def test_chat_option(tmp_path: Path, tuneloop_command: Run) -> None:
    html_form = write_html(tmp_path / "html", POSTS)
    done = json.loads(tuneloop_command("collect", html_form, "--chat", "tg:77", "--json").stdout)
    assert done[0]["chat"]["id"] == "tg:77"
    refused = tuneloop_command("collect", html_form, "--chat", "x", code=3)
    assert "is no chat id" in refused.stderr


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 3, "is empty"),
        (b"[" * 78_000, 3, "nested deeper"),
        (b"hello", 3, "holds no chat export"),
        (b'{"messages": [', 3, "cut off"),
        (None, 7, "there is no file or folder"),
    ],
)
def test_bad_input_is_one_sentence_with_a_next_step(
    content: bytes | None, code: int, said: str, tmp_path: Path, tuneloop_command: Run
) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    done = tuneloop_command("collect", "file", code=code)
    error, fix = done.stderr.strip().splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert fix.startswith("next:  ")
    assert done.stdout == ""


def test_what_is_no_export_makes_no_workspace(tmp_path: Path, tuneloop_command: Run) -> None:
    (tmp_path / "file").write_text("hello")
    tuneloop_command("collect", "file", code=3)
    assert not (tmp_path / "tuneloop-work").exists()


def test_what_lies_beside_an_export_is_left_out_and_said(tmp_path: Path, tuneloop_command: Run) -> None:
    folder = tmp_path / "folder"
    write_json(folder / "result.json", POSTS)
    (folder / "messenger.json").write_text('{"participants": [], "messages": [{"sender_name": "x", "content": "y"}]}')
    said = words(tuneloop_command("collect", folder).stdout)
    assert "left out, no chat exports: messenger.json: some other JSON" in said


def test_names_with_markup_are_shown_as_they_are(tmp_path: Path, tuneloop_command: Run) -> None:
    tuneloop_command("collect", write_json(tmp_path / "result.json", POSTS, name="[red]Чат[/red] [/]"))
    assert "[red]Чат[/red] [/]" in tuneloop_command("speakers").stdout


def test_russian(tmp_path: Path, tuneloop_command: Run) -> None:
    path = write_json(tmp_path / "result.json", POSTS)
    assert tuneloop_command("--lang", "ru", "collect", path).returncode == 0


def test_speakers_rank_people_and_name_the_next_command(tmp_path: Path, tuneloop_command: Run) -> None:
    tuneloop_command("collect", write_json(tmp_path / "result.json", POSTS))
    tuneloop_command("collect", write_json(tmp_path / "small.json", POSTS[:3], name="Малый", number=5))
    said = tuneloop_command("speakers").stdout
    anna = next(post.sender for post in POSTS if post.name == "Анна")
    boris = next(post.sender for post in POSTS if post.name == "Борис")
    lines = [line for line in said.splitlines() if anna in line or boris in line]
    assert lines[0].startswith("Анна")
    assert "suggested" in lines[0]
    assert f"--chat tg:1900000001 --speaker {anna}" in words(said)
    assert "Малый (tg:5)" in said
    found = json.loads(tuneloop_command("speakers", "--chat", "Малый", "--json").stdout)
    assert found["chat"]["id"] == "tg:5"
    assert [one["sender"] for one in found["speakers"]] == [anna]


def test_speakers_without_messages_say_how_to_begin(tmp_path: Path, tuneloop_command: Run) -> None:
    assert "tuneloop collect" in tuneloop_command("speakers", code=7).stderr
    tuneloop_command("collect", write_json(tmp_path / "result.json", POSTS))
    assert "tg:1900000001" in tuneloop_command("speakers", "--chat", "other", code=7).stderr
