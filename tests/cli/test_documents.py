"""`tuneloop documents` as users run it: add twice, search, list, remove."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manuals"
    made.mkdir()
    (made / "chain.md").write_text("# Цепь\n\nСмазывайте цепь каждые двести километров.", encoding="utf-8")
    (made / "hours.html").write_text("<title>Часы</title><p>Открыто с десяти до семи.</p>", encoding="utf-8")
    (made / "price.pdf").write_bytes(b"%PDF")
    return made


def test_a_folder_is_added_found_listed_and_removed(tuneloop_command: Command, folder: Path) -> None:
    added = json.loads(tuneloop_command("documents", "add", folder, "--json").stdout)
    assert added == {"collection": "documents", "added": 2, "changed": 0, "unchanged": 0, "passages": 2}
    (folder / "chain.md").write_text("# Цепь\n\nТеперь каждые триста.", encoding="utf-8")
    assert "0 added, 1 changed, 1 as they were" in tuneloop_command("documents", "add", folder).stdout
    found = json.loads(tuneloop_command("documents", "search", "как часто смазывать цепи?", "--json").stdout)
    assert [one["document"] for one in found] == ["chain.md"] and "триста" in found[0]["text"]
    shown = tuneloop_command("documents", "search", "открыто ли в семь", "--threshold", "0.2").stdout
    assert "hours.html" in shown and "Открыто с десяти" in shown
    assert "documents" in tuneloop_command("documents", "list").stdout
    listed = json.loads(tuneloop_command("documents", "list", "-c", "documents", "--json").stdout)
    assert [one["id"] for one in listed] == ["chain.md", "hours.html"]
    assert "1 document removed" in tuneloop_command("documents", "rm", "chain.md").stdout
    assert "shares a word" in tuneloop_command("documents", "search", "цепь").stdout
    assert json.loads(tuneloop_command("documents", "rm", "--all", "--json").stdout)["removed"] == 1
    assert "None yet" in tuneloop_command("documents", "list").stdout


def test_what_cannot_be_done_is_one_clear_error_and_stores_nothing(tuneloop_command: Command, folder: Path) -> None:
    wrong = tuneloop_command("documents", "add", folder, folder / "price.pdf", code=3)
    assert "price.pdf is no text, Markdown or HTML file" in wrong.stderr and "Save it as .txt" in wrong.stderr
    (folder / "empty.txt").write_text(" \n", encoding="utf-8")
    assert "'empty.txt' is empty" in tuneloop_command("documents", "add", folder, code=3).stderr
    assert "None yet" in tuneloop_command("documents", "list").stdout
    (folder / "empty.txt").unlink()
    assert "there is no collection 'x'" in tuneloop_command("documents", "search", "q", "-c", "x", code=7).stderr
    assert tuneloop_command("documents", "rm", code=2).stdout == ""
    assert "1 to 64" in tuneloop_command("documents", "add", folder, "-c", "a/b", code=3).stderr
