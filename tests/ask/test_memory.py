"""Confirmed questions come again with other values; whatever says something else does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ask.shop import SHOP
from tuneloop.ask.memory import Confirmed, filled, fits, mark, recall, shape
from tuneloop.ask.question import read

COUNT = 'SELECT count(*) FROM t WHERE "city" = \'Москва\' AND "price_rub" > 500'
BIG = "Сколько крупных покупок из Москвы дороже 500?"


def click(question: str, sql: str, verdict: str = "right", time: float = 1.0) -> Confirmed:
    return Confirmed(mark(SHOP), question, sql, verdict, shape(question, SHOP), time)  # type: ignore[arg-type]


def test_the_same_question_in_other_words_of_no_weight() -> None:
    known = [click("Какая обычная цена?", 'SELECT median("price_rub") FROM t')]
    found = recall("Скажи, пожалуйста, какая у нас обычная цена", SHOP, known)
    assert found.sql == known[0].sql and found.sure == 0.98 and "1970" in found.why


def test_new_values_take_the_places_of_the_old_ones() -> None:
    found = recall("Сколько крупных покупок из Казани дороже 1000?", SHOP, [click(BIG, COUNT)])
    assert found.sql == 'SELECT count(*) FROM t WHERE "city" = \'Казань\' AND "price_rub" > 1000'
    assert found.sure == 0.95 and BIG in found.why


@pytest.mark.parametrize(
    "question",
    [
        "Сколько крупных покупок не из Москвы дороже 500?",
        "Сколько крупных покупок из Москвы дешевле 500?",
        "Сколько мелких покупок из Москвы дороже 500?",
        "Сколько крупных покупок из Парижа дороже 500?",
        "Сколько крупных покупок из Москвы и Казани дороже 500?",
        "Сколько крупных покупок категории Toys дороже 500?",
        "Сколько крупных покупок из Москвы?",
        "Какая доля крупных покупок из Москвы дороже 500?",
        "",
    ],
)
def test_what_says_something_else_is_another_question(question: str) -> None:
    assert recall(question, SHOP, [click(BIG, COUNT)]).sql is None


def test_order_matters_where_there_are_two_values() -> None:
    one = shape("доля card среди Москвы", SHOP)
    other = shape("доля Москвы среди card", SHOP)
    assert not fits(one, other) and fits(one, one)
    assert fits(shape("средняя цена в Москве", SHOP), shape("в Казани средняя цена", SHOP))


def test_a_value_that_the_sql_does_not_say_once_is_not_guessed() -> None:
    twice = 'SELECT count(*) FROM t WHERE "quantity" > 5 AND "rating" < 5'
    known = [click("Сколько странных заказов от 5?", twice)]
    assert recall("Сколько странных заказов от 5?", SHOP, known).sql == twice
    assert recall("Сколько странных заказов от 6?", SHOP, known).sql is None
    percent = 'SELECT 100.0 * count(*) FILTER (WHERE "price_rub" > 100) / count(*) FROM t'
    known = [click("Процент странных дороже 100", percent)]
    assert recall("Процент странных дороже 300", SHOP, known).sql == percent.replace("> 100)", "> 300)")


def test_years_and_months_move_with_both_ends() -> None:
    year = "Сколько странных заказов было в 2022 году?"
    sql = read("Сколько заказов было в 2022 году?", SHOP).sql or ""
    moved = recall(year.replace("2022", "2023"), SHOP, [click(year, sql)]).sql or ""
    assert "DATE '2023-01-01'" in moved and "DATE '2024-01-01'" in moved and "2022" not in moved
    month = read("How many orders were made in March 2021?", SHOP).sql or ""
    known = [click("How many odd orders were made in March 2021?", month)]
    moved = recall("How many odd orders were made in May 2022?", SHOP, known).sql or ""
    assert "DATE '2022-05-01'" in moved and "DATE '2022-06-01'" in moved


def test_quotes_in_a_new_value_stay_text() -> None:
    evil = "x'; DROP TABLE t; --"
    city = replace(SHOP.columns[2], values=("Москва", evil), distinct=2)
    profile = replace(SHOP, columns=(*SHOP.columns[:2], city, *SHOP.columns[3:]))
    sql = "SELECT count(*) FROM t WHERE \"city\" = 'Москва'"
    known = [Confirmed("", "Странные из Москвы", sql, "right", shape("Странные из Москвы", profile), 1.0)]
    found = recall(f"Странные из «{evil}»", profile, known).sql
    assert found == "SELECT count(*) FROM t WHERE \"city\" = 'x''; DROP TABLE t; --'"


def test_a_column_named_like_a_value_is_left_alone() -> None:
    sql = "SELECT \"Москва\", 'Москва' FROM t WHERE \"city\" = 'Москва' AND lower(x) = 'москва'"
    old, new = ["cell", "city", "Москва"], ["cell", "city", "Казань"]
    assert filled(sql, [old], [new]) == (
        "SELECT \"Москва\", 'Казань' FROM t WHERE \"city\" = 'Казань' AND lower(x) = 'казань'"
    )


def test_the_newest_click_decides() -> None:
    old, new = click(BIG, COUNT, time=1.0), click(BIG, COUNT + " LIMIT 7", time=2.0)
    assert recall(BIG, SHOP, [new, old]).sql == new.sql
    no = click(BIG, COUNT, "wrong", time=3.0)
    known = recall(BIG, SHOP, [no, old])
    assert known.sql is None and known.wrong == {COUNT}
    assert recall(BIG, SHOP, [click(BIG, COUNT, time=4.0), no]).sql == COUNT
    other = recall(BIG.replace("500", "900"), SHOP, [no])
    assert other.wrong == {COUNT.replace("500", "900")}


def test_mark_is_of_names_and_kinds() -> None:
    assert mark(SHOP) == mark(replace(SHOP, rows=9)) and len(mark(SHOP)) == 16
    assert mark(SHOP) != mark(replace(SHOP, columns=SHOP.columns[1:]))


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_has_a_shape_that_fits_itself(text: str) -> None:
    parts = shape(text, SHOP)
    assert fits(parts, parts)
    assert filled("SELECT 1", parts, parts) == "SELECT 1"
