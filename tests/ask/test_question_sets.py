"""The promised figures on real tables: what is answered, what is right, and how quick it is to read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

pytest.importorskip("duckdb")

from bench import ask
from tests.conftest import shared_data


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("csv")
    with zipfile.ZipFile(shared_data("csv_dev.zip")) as packed:
        packed.extractall(into)
    return into


def test_all_freelancer_questions(tables: Path) -> None:
    score = ask.freelancer_questions(tables)
    assert score.counts["right"] == score.counts["all"] == 13, score.wrong


def test_own_questions(tables: Path) -> None:
    score = ask.own_questions(tables)
    total, counts = score.counts["all"], score.counts
    assert total >= 150
    assert counts["right"] >= 0.85 * total, score.wrong
    assert counts["sure"] <= 0.05 * total, score.wrong
    assert counts["answered"] >= 0.80 * counts["answerable"]
    assert counts["unparsable"] == 0
    assert sorted(score.seconds)[int(0.95 * total)] <= 3.0  # ten times the 0.3 s that are promised


@pytest.mark.parametrize(
    ("gold", "got", "right"),
    [
        ([(1.0,)], [(1,)], True),
        ([("a",)], [("a", 5)], True),
        ([("a", 1), ("b", 2)], [("b", 2.0), ("a", 1.0)], True),
        ([("a", 1), ("b", 2)], [("a", 2), ("b", 1)], False),
        ([(1,)], [(1,), (2,)], False),
        ([], [], True),
    ],
)
def test_results_are_compared_by_gold_columns(
    gold: list[tuple[object, ...]], got: list[tuple[object, ...]], right: bool
) -> None:
    assert ask.same(gold, got) is right


def test_answers_of_wiki_questions_are_compared_as_written() -> None:
    assert ask.names("12,467", [(12467,)]) and ask.names("March 5, 2019", [("2019-03-05",)])
    assert ask.names("A|B", [("b",), ("a",)]) and not ask.names("A", [("a",), ("b",)])
