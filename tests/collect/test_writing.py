from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.collect import made
from tuneloop import texts
from tuneloop.collect import dataset
from tuneloop.collect.privacy import Scrubber
from tuneloop.collect.writing import Prepared, data_files, readme, whole
from tuneloop.records import Dialogue, Turn
from tuneloop.workspace import Workspace


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    found = [*made.examples(40), made.example(60, answer="https://example.org/x")]
    return dataset.assemble(workspace, made.built(found), made.CHAT, made.activity(found), made.ROSTER, name="small")


def test_readme_says_what_it_is_and_what_next(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# small\n")
    assert "41 examples were found = 40 kept + 1 left out" in text
    assert "| answer is a link only | 1 |" in text
    assert "| training | 28 |" in text
    assert "tuneloop tune small" in text
    assert "rule pass rate, not quality" in text
    for name in ("train.jsonl", "card.json", "report.html", "scrub.json"):
        assert name in text
    assert text.count("```") == 2


def test_readme_has_no_table_of_reasons_when_nothing_was_left_out(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    assert "left out because" not in readme({**card, "read": 40, "rejected": {}})


def test_readme_speaks_the_language_in_use_without_changing_the_commands(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    texts.use("ru")
    assert "tuneloop dataset audit small" in readme(card)


def test_people_of_a_dialogue_are_numbered_in_order() -> None:
    turns = tuple(
        Turn(sender, sender.title(), f"{sender} пишет Мире Вольт", (i,), i)
        for i, sender in enumerate(["eve", "user1", "bob", "eve", "user9"])
    )
    shown = whole(Dialogue("d", "c", turns), ["user1", "user9"], Scrubber(made.ROSTER))
    assert [t["who"] for t in shown["turns"]] == ["person 1", "speaker 1", "person 2", "person 1", "speaker 2"]
    assert all("[name]" in t["text"] and "Вольт" not in t["text"] for t in shown["turns"])


def test_file_names_are_relative_and_unique() -> None:
    parts = {"train": made.examples(3), "validation": [], "test": []}
    prepared = Prepared(3, parts, [], Counter(), {}, Counter())
    names = [name for name, _content in data_files(prepared, "", ["user1"], Scrubber({}))]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("/") or ".." in name]
