"""A question to its answer over a real table: language, rows, plot, what is refused, and the order of the routes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tuneloop import texts
from tuneloop.ask.memory import Confirmed, mark, shape
from tuneloop.ask.question import Reading
from tuneloop.ask.reply import as_json, language_of, plain, reply
from tuneloop.ask.sandbox import Result
from tuneloop.ask.table import Table, open_table
from tuneloop.errors import BadInput, OutOfResources

CSV = """city,category,price,day
Омск,tea,100,2024-01-05
Омск,coffee,300,2024-01-09
Тверь,tea,120,2024-02-05
Пермь,coffee,350,2024-03-01
Пермь,sugar,80,2024-03-09
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    path.write_text(CSV, encoding="utf-8")
    opened = open_table(path)
    yield opened
    opened.close()


def said(table: Table, question: str, sql: str, verdict: str = "right") -> Confirmed:
    parts = shape(question, table.profile)
    return Confirmed(mark(table.profile), question, sql, verdict, parts, 5.0)  # type: ignore[arg-type]


def test_one_figure(table: Table) -> None:
    found = reply(table, "  What is the   average price? ")
    assert (found.state, found.route, found.language) == ("answered", "reader", "en")
    assert found.sentence == "Mean of price: 190." and found.rows == ((190.0,),)
    assert found.sql == 'SELECT avg("price") AS "mean" FROM t' and found.chart is None and found.sure > 0.9
    assert json.loads(json.dumps(as_json(found)))["sentence"] == found.sentence


def test_groups_come_with_rows_and_a_plot(table: Table) -> None:
    found = reply(table, "средняя price по city")
    assert found.language == "ru" and found.rows[0] == ("Пермь", 215.0)
    assert found.chart is not None and found.chart.labels == ("Пермь", "Омск", "Тверь")


def test_the_answer_is_in_the_questions_language_whatever_the_server_speaks(table: Table) -> None:
    russian, english = reply(table, "Сколько строк?"), reply(table, "How many rows?")
    assert "Число строк: 5" in russian.sentence and "umber of rows: 5" in english.sentence
    assert texts.language() == "en"
    texts.use("ru")
    assert "umber of rows: 5" in reply(table, "How many rows?").sentence


@pytest.mark.parametrize(
    ("question", "language"),
    [("What is the average цена?", "en"), ("средняя price", "ru"), ("Сколько?", "ru"), ("42", "en"), ("", "en")],
)
def test_language_is_that_of_most_words(question: str, language: str) -> None:
    assert language_of(question) == language


def test_abstains_and_says_what_can_be_asked(table: Table) -> None:
    found = reply(table, "What is the weather like?")
    assert (found.state, found.sql, found.rows, found.chart) == ("unknown", None, (), None)
    assert found.askable and "price" in " ".join(found.askable) and "You can ask" in found.sentence


def test_orders_are_refused_before_anything_else(table: Table) -> None:
    known = [said(table, "Delete all rows", "SELECT 1 FROM t")]
    found = reply(table, "Delete all rows", known, other=_never)
    assert found.state == "refused" and found.sql is None


@pytest.mark.parametrize("question", ["", "  ", "x" * 501])
def test_no_question_is_an_error(table: Table, question: str) -> None:
    with pytest.raises(BadInput):
        reply(table, question)


def test_a_confirmed_question_is_asked_first(table: Table) -> None:
    sql = 'SELECT count(*) FROM t WHERE "city" = \'Омск\' AND "price" > 150'
    known = [said(table, "Сколько дорогих покупок в Омске?", sql)]
    assert reply(table, "Сколько дорогих покупок в Перми?").state == "unknown"
    found = reply(table, "Сколько дорогих покупок в Перми?", known)
    assert (found.route, found.rows, found.sure) == ("confirmed", ((1,),), 0.95)
    assert "Пермь" in (found.sql or "") and "1" in found.sentence and "Омске" in found.why


def test_confirming_the_readers_own_reading_keeps_its_sentence(table: Table) -> None:
    plain_ = reply(table, "What is the average price?")
    found = reply(table, "What is the average price?", [said(table, plain_.question, plain_.sql or "")])
    assert found.route == "confirmed" and found.sentence == plain_.sentence


def test_a_reading_marked_wrong_is_not_given_again(table: Table) -> None:
    question = "What is the average price?"
    known = [said(table, question, reply(table, question).sql or "", "wrong")]
    found = reply(table, question, known)
    assert found.state == "unknown" and "wrong" in found.sentence
    assert reply(table, "What is the highest price?", known).state == "answered"


def test_the_other_reader_is_asked_last_and_not_believed_against_a_click(table: Table) -> None:
    sql = "SELECT max(price) - min(price) AS spread FROM t"

    def other(question: str, _table: Table) -> Reading:
        return Reading(question, sql, 0.7, "model", "model", "en")

    question = "What mood is the shop in?"
    found = reply(table, question, other=other)
    assert (found.route, found.rows, found.sentence) == ("model", ((270,),), "spread: 270.")
    assert reply(table, question, [said(table, question, sql, "wrong")], other=other).state == "unknown"
    assert reply(table, "How many rows?", other=_never).route == "reader"


def _never(_question: str, _table: Table) -> Reading:
    raise AssertionError("the reader had an answer")


def test_a_query_that_takes_too_long_is_stopped(table: Table) -> None:
    endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b"
    with pytest.raises(OutOfResources):
        reply(table, "How deep is it?", [said(table, "How deep is it?", endless)], seconds=0.5)


def test_a_result_as_a_plain_sentence() -> None:
    assert plain(Result(("a",), [], False)).startswith("No row")
    assert plain(Result(("count_star()",), [(3,)], False)) == "The answer is 3."
    assert plain(Result(("a", "b"), [(1, None)], False)) == "a: 1; b: (missing)."
    many = Result(("a",), [(n,) for n in range(7)], False)
    assert plain(many) == "0; 1; 2; 3; 4 and 2 more."
    assert plain(Result(("a",), many.rows, True)) == "0; 1; 2; 3; 4 and many more."
