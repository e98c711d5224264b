"""Clicks on both shelves: kept, found again, replaced by newer ones, and safe against torn and foreign lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ask.test_reply import CSV
from tuneloop.ask import clicks
from tuneloop.ask.clicks import Beside, Rows, Shelf, click, last, meaning, noted
from tuneloop.ask.memory import mark
from tuneloop.ask.reply import reply
from tuneloop.ask.table import Table, open_table
from tuneloop.errors import BadInput, Missing, Refused
from tuneloop.workspace import Workspace

DEAR = "Сколько дорогих покупок в Омске?"
SQL = "SELECT count(*) FROM t WHERE city = 'Омск' AND price > 150"


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    path = tmp_path / "shop.csv"
    path.write_text(CSV, encoding="utf-8")
    opened = open_table(path)
    yield opened
    opened.close()


@pytest.fixture(params=["file", "rows"])
def shelf(request: pytest.FixtureRequest, workspace: Workspace, table: Table) -> Iterator[Shelf]:
    yield Beside(table.database.parent) if request.param == "file" else Rows(workspace)
    workspace.db.close()


def ask(shelf: Shelf, table: Table, question: str) -> clicks.Answer:
    return noted(shelf, table, "shop", reply(table, question, shelf.known(mark(table.profile))))


def test_a_right_click_is_there_for_the_next_question(shelf: Shelf, table: Table) -> None:
    with pytest.raises(Missing):
        last(shelf, "shop")
    ask(shelf, table, "What is the average price of tea?")
    given = last(shelf, "shop")
    assert click(shelf, table, given, "right") == shelf.known(mark(table.profile))
    again = ask(shelf, table, "What is the average price of coffee?")
    assert again.route == "confirmed" and "'coffee'" in again.sql
    assert [one.question for one in shelf.answers("shop")] == [again.question, given.question]
    assert shelf.answers("other") == [] and shelf.known("other") == []


def test_a_wrong_click_with_what_was_meant(shelf: Shelf, table: Table) -> None:
    assert ask(shelf, table, DEAR).state == "unknown"
    click(shelf, table, last(shelf, "shop"), "wrong", reading=SQL)
    assert ask(shelf, table, DEAR.replace("Омске", "Перми")).route == "confirmed"
    given = ask(shelf, table, "What is the average price?")
    click(shelf, table, given, "wrong", reading="What is the median price?")
    found = ask(shelf, table, "What is the average price?")
    assert found.sql == 'SELECT median("price") AS "median" FROM t'


def test_only_wrong_and_a_changed_mind(shelf: Shelf, table: Table) -> None:
    given = ask(shelf, table, "What is the average price?")
    click(shelf, table, given, "wrong")
    assert ask(shelf, table, given.question).state == "unknown"
    click(shelf, table, given, "right")
    assert ask(shelf, table, given.question).sql == given.sql


@pytest.mark.parametrize(
    ("question", "verdict", "reading", "problem"),
    [
        ("What is the weather?", "right", "", BadInput),
        ("What is the weather?", "wrong", "", BadInput),
        ("What is the weather?", "wrong", "and the humidity?", BadInput),
        ("What is the weather?", "wrong", "x" * 20_001, BadInput),
        ("What is the weather?", "wrong", "SELECT nothing FROM t", BadInput),
        ("What is the weather?", "wrong", "SELECT * FROM read_csv('/etc/passwd')", Refused),
        ("What is the weather?", "wrong", "WITH x AS (DELETE FROM t) SELECT 1", BadInput),
        ("How many rows?", "right", "SELECT 1 FROM t", BadInput),
        ("How many rows?", "wrong", "How many rows are there?", BadInput),
    ],
)
def test_what_cannot_be_kept_is_one_error_and_keeps_nothing(
    shelf: Shelf, table: Table, question: str, verdict: clicks.Verdict, reading: str, problem: type[Exception]
) -> None:
    given = ask(shelf, table, question)
    with pytest.raises(problem):
        click(shelf, table, given, verdict, reading=reading)
    assert shelf.known(mark(table.profile)) == []


def test_the_same_click_again_is_one_row(workspace: Workspace, table: Table) -> None:
    shelf = Rows(workspace)
    given = ask(shelf, table, "How many rows?")
    for _time in range(3):
        click(shelf, table, given, "right")
    assert len(shelf.known(mark(table.profile))) == 1
    assert shelf.answer(given.id, "shop") == given
    workspace.db.close()


def test_teams_do_not_see_each_other(workspace: Workspace, table: Table) -> None:
    red, blue = Rows(workspace, "red"), Rows(workspace, "blue")
    given = ask(red, table, "How many rows?")
    click(red, table, given, "right")
    assert blue.known(mark(table.profile)) == [] and blue.answers("shop") == []
    with pytest.raises(Missing):
        blue.answer(given.id, "shop")
    with pytest.raises(Missing):
        red.answer(given.id, "another file")
    click(blue, table, given, "wrong")
    assert [one.verdict for one in red.known(mark(table.profile))] == ["right"]
    workspace.db.close()


def test_torn_and_foreign_lines_are_left_out(table: Table) -> None:
    folder = table.database.parent
    shelf = Beside(folder)
    click(shelf, table, ask(shelf, table, "How many rows?"), "right")
    kept = json.loads((folder / "questions.jsonl").read_text())
    foreign = [
        {**kept, "form": 99},
        {**kept, "shape": [["cell"]]},
        {**kept, "shape": [["number", "x"]]},
        {"columns": 1},
    ]
    foreign += [[], 3, {k: v for k, v in kept.items() if k != "sql"}]  # type: ignore[list-item]
    with (folder / "questions.jsonl").open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in foreign) + "\udcff".encode("utf-8", "replace").decode())
        file.write('{"columns": "cut sho')
    assert len(shelf.known(mark(table.profile))) == 1
    click(shelf, table, ask(shelf, table, "What is the average price?"), "right")
    assert len(shelf.known(mark(table.profile))) == 2


def test_a_line_separator_in_an_sql_cuts_no_line(table: Table) -> None:
    shelf = Beside(table.database.parent)
    given = ask(shelf, table, "How many rows?")
    click(shelf, table, given, "wrong", reading="SELECT count(*) FROM t WHERE city <> 'a\u2028\x85b'")
    assert {one.verdict for one in shelf.known(mark(table.profile))} == {"right", "wrong"}


def test_many_writers_lose_nothing_and_old_lines_go(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Beside(table.database.parent)
    given = reply(table, "How many rows?")
    threads = [threading.Thread(target=noted, args=(shelf, table, "shop", given)) for _n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shelf.answers("shop", most=100)) == 20
    monkeypatch.setattr(clicks, "MOST_KEPT", 20)
    noted(shelf, table, "shop", given)
    assert len(shelf.answers("shop", most=100)) == 10


def test_meaning_is_sql_that_runs(table: Table) -> None:
    assert meaning(table, "select max(price) from t;") == "select max(price) from t"
    assert meaning(table, "highest price") == 'SELECT max("price") AS "max" FROM t'
