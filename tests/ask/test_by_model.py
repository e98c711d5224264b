"""A scripted model as the last reader: what it is told, how its answers are read, repaired, voted on, and doubted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ask.shop import SHOP
from tests.ask.test_reply import CSV
from tuneloop.answer.judging import Judge
from tuneloop.ask.by_model import prompt, read_by_model, select_of, tried
from tuneloop.ask.question import Reading
from tuneloop.ask.table import Table, open_table
from tuneloop.engines.engine import Limits, Reply
from tuneloop.errors import EngineDown, EngineError

MAX, MAX_TOO, MIN = (
    "SELECT max(price) FROM t",
    "SELECT price FROM t ORDER BY 1 DESC LIMIT 1",
    "SELECT min(price) FROM t",
)


class Scripted:
    """Gives its answers one after the other and keeps what it was asked."""

    def __init__(self, *said: Any, status: int = 200) -> None:
        self.said, self.status = list(said), status
        self.asked: list[dict[str, Any]] = []

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        assert path == "/chat/completions" and not stream
        self.asked.append(json.loads(body))
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, bytes):
            return Reply(self.status, {}, said)
        return Reply(self.status, {}, json.dumps({"choices": [{"message": {"content": said}}]}).encode())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    path.write_text(CSV, encoding="utf-8")
    opened = open_table(path)
    yield opened
    opened.close()


def read(table: Table, engine: Scripted, question: str = "the dearest?") -> Reading:
    return asyncio.run(read_by_model(Judge("e/m", engine, "m"), question, table))


def test_two_that_find_the_same_are_enough(table: Table) -> None:
    engine = Scripted(MAX, f"```sql\n{MAX_TOO};\n```")
    found = read(table, engine)
    assert (found.sql, found.sure, found.intent) == (MAX, 0.8, "model") and "e/m; 2 of 2" in found.why
    assert [asked["temperature"] for asked in engine.asked] == [0.0, 0.7]
    assert engine.asked[0]["messages"][0] == engine.asked[1]["messages"][0]  # the prefix that an engine keeps


def test_a_majority_of_three_is_less_sure_and_none_is_no_answer(table: Table) -> None:
    assert read(table, Scripted(MAX, MIN, MAX_TOO)).sure == 0.65
    found = read(table, Scripted(MAX, MIN, "SELECT avg(price) FROM t"))
    assert found.sql is None and "disagree" in found.why


def test_a_failing_query_has_one_turn_to_be_repaired(table: Table) -> None:
    engine = Scripted("SELECT max(prise) FROM t", MAX, MAX)
    assert read(table, engine).sql == MAX
    assert "prise" in engine.asked[1]["messages"][-1]["content"] and len(engine.asked) == 3
    evil = "SELECT * FROM read_csv('/etc/passwd')"
    found = read(table, Scripted(evil, evil, evil, "DELETE FROM t"))
    assert found.sql is None and "no column" in found.why


def test_no_and_nothing_are_votes_against(table: Table) -> None:
    assert read(table, Scripted("NO", "NO")).sql is None
    assert read(table, Scripted(b"{", b'{"choices": []}')).sql is None
    assert read(table, Scripted("SELECT NULL FROM t", "SELECT price FROM t WHERE price > 9999")).sql is None
    assert read(table, Scripted("NO", MAX, MAX)).sure == 0.65


def test_an_engine_that_fails_is_a_reason_not_an_error(table: Table) -> None:
    with pytest.raises(EngineError):
        read(table, Scripted("x", status=500))
    found = asyncio.run(tried(Judge("e/m", Scripted(EngineDown("nobody answers")), "m"), "which?", table))
    assert found.sql is None and found.why.startswith("nobody answers.")


def test_the_prompt_tells_categories_and_no_names() -> None:
    told = prompt(SHOP)
    assert "'Казань'" in told and '"price_rub" number, from 90 to 25000' in told
    assert "Anna" not in told and "380 different values" in told


def test_few_rows_are_records_not_categories(table: Table) -> None:
    assert "Омск" not in prompt(table.profile)


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("SELECT 1", "SELECT 1"),
        ("<think>SELECT 2</think>Sure!\n```sql\nselect 1;\n```\nThat is it.", "select 1"),
        ("Here: WITH a AS (SELECT 1) SELECT * FROM a; DROP TABLE t", "WITH a AS (SELECT 1) SELECT * FROM a"),
        ("NO", ""),
        ("<think>SELECT 1", ""),
        ("", ""),
    ],
)
def test_the_select_in_an_answer(text: str, sql: str) -> None:
    assert select_of(text) == sql


@given(st.text(max_size=300))
def test_any_answer_is_read(text: str) -> None:
    assert ";" not in select_of(text)
