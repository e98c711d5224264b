"""What is not answered, or not surely, because a count or an order of rows is not what was asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ask.shop import SHOP, column
from tuneloop.ask.question import read

CROPS = replace(SHOP, columns=(*SHOP.columns, column("Урожай, т", "number", 300, low=1.0, high=900.0)))


@pytest.mark.parametrize(
    "question",
    [
        "Сколько воды израсходовали в 2022 году?",
        "сколько просроченных заказов",
        "Сколько детей у покупателей?",
        "How many wheels do the toys have?",
        "what is the phone number of Anna Berg",
        "which city is the most dangerous",
        "покажи зарплату покупателей",
        "уволь всех из Казани",
        "cancel order 17",
        "Средний рост по городам",
        "Сколько литров воды в заказах?",
    ],
)
def test_not_answered(question: str) -> None:
    assert read(question, SHOP).sql is None


def test_units_ask_for_the_sum_of_their_column() -> None:
    assert read("сколько тонн собрали в 2022 году", CROPS).sql == (
        'SELECT sum("Урожай, т") AS "sum" FROM t WHERE "ordered_at" >= DATE \'2022-01-01\''
        " AND \"ordered_at\" < DATE '2023-01-01'"
    )


def test_money_is_summed_where_no_rows_are_named() -> None:
    paid = read("сколько всего заплатили в Казани", SHOP)
    assert (paid.sql is not None and 'sum("price_rub")' not in paid.sql) or paid.sure < 0.8
    assert "count(*)" in str(read("сколько раз платили картой", SHOP).sql)


def test_a_known_word_is_no_typing_error() -> None:
    assert read("Сколько заказов выставлено в Казани?", SHOP).notes == ()
