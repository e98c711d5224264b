"""Clicks become a dataset: liked answers, corrected answers, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from tuneloop.collect import dataset
from tuneloop.db.tables import calls, feedback
from tuneloop.errors import NotEnoughData
from tuneloop.loop import from_feedback
from tuneloop.workspace import Workspace

TOPICS = [
    "чай",
    "кофе",
    "поезд",
    "море",
    "гора",
    "книга",
    "окно",
    "зима",
    "лето",
    "река",
    "хлеб",
    "сыр",
    "город",
    "парк",
    "музей",
    "театр",
    "автобус",
    "билет",
    "сад",
    "дождь",
]


def call(n: int, said: list[tuple[str, str]], **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    topic = TOPICS[n % len(TOPICS)]
    question = f"Подскажите, где у нас найти {topic} номер {n * 37}?"
    row = {
        "id": f"c{n}", "time": 1000.0 + n, "version": "", "status": "ok", "latency_ms": 1.0, "tokens_in": 1,
        "tokens_out": 1, "answer": f"Ищите {topic} рядом с площадью, дом {n * 13 + 5}, вход со двора.",
        "request": {"messages": [{"role": "user", "content": question}]},
    }  # fmt: skip
    marks = [
        {"id": f"f{n}-{i}", "call": row["id"], "kind": kind, "value": value, "time": i, "user": "u", "key": f"{n}-{i}"}
        for i, (kind, value) in enumerate(said)
    ]
    return row | more, marks


def store(workspace: Workspace, *found: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    with workspace.db.write() as rows:
        for row, marks in found:
            rows.execute(insert(calls), [row])
            if marks:
                rows.execute(insert(feedback), marks)


def test_praised_and_corrected_answers_are_learned_and_the_others_are_not(workspace: Workspace) -> None:
    up, better = (
        [("thumb", "up")],
        [("thumb", "down"), ("demonstration", "Спросите Марину на входе, она проводит вас.")],
    )
    store(
        workspace,
        *(call(n, up) for n in range(14)),
        call(14, better),
        call(15, [("score", "9")]),
        call(16, [("thumb", "down")]),
        call(17, [("thumb", "up"), ("thumb", "down")]),  # the last word counts
        call(18, up, status="truncated"),
        call(19, up, cached=True),
        call(20, up, parent="c1"),
        call(21, [("score", "5")]),
        call(22, [("comment", "хорошо")]),
        call(23, up, tenant="red"),
    )
    folder = from_feedback.build(workspace)
    found = dataset.load(folder)
    learned = [e for part in ("train", "validation", "test") for e in found.examples(part)]
    assert {int(e.question.split("номер ")[1].rstrip("?")) // 37 for e in learned} <= set(range(16))
    assert len(learned) + sum(found.card["rejected"].values()) == 16
    assert any("Спросите" in e.answer for e in learned)
    assert (folder / "scrub.json").exists() and found.card["read"] == 16


def test_without_praise_it_says_what_to_do(workspace: Workspace) -> None:
    store(workspace, call(1, [("thumb", "down")]))
    with pytest.raises(NotEnoughData, match="praised"):
        from_feedback.build(workspace)
    assert list(workspace.folder("datasets").iterdir()) == []
