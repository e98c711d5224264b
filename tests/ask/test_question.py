"""Questions about a made-up shop: each kind of question in both languages, and what must not be answered."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ask.shop import SHOP
from tuneloop import texts
from tuneloop.ask.question import ANSWERS_FROM, can_answer, prepare, read
from tuneloop.ask.words import tokens

READ: dict[str, str] = tomllib.loads((Path(__file__).parent / "shop.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("question", READ)
def test_question_becomes_this_query(question: str) -> None:
    reading = read(question, SHOP)
    assert reading.sql == READ[question], reading.why
    assert reading.sure >= ANSWERS_FROM


def test_comparison_names_both_sides() -> None:
    reading = read("Насколько цена в Москве выше, чем в Казани?", SHOP)
    assert reading.intent == "compare" and reading.sql is not None
    assert "FILTER (WHERE \"city\" = 'Москва')" in reading.sql and "FILTER (WHERE \"city\" = 'Казань')" in reading.sql


def test_comparison_with_the_rest() -> None:
    reading = read("How much higher is the price in Berlin compared to other cities?", SHOP)
    assert reading.sql is not None and "NOT (\"city\" = 'Berlin')" in reading.sql


def test_more_than_half_is_a_yes_or_no() -> None:
    reading = read("Верно ли, что больше половины заказов из Москвы?", SHOP)
    assert reading.intent == "truth" and reading.sql is not None
    assert "> 50" in reading.sql and "\"city\" = 'Москва'" in reading.sql


def test_share_among_a_part() -> None:
    reading = read("Какая доля возвращённых заказов среди игрушек Toys?", SHOP)
    assert reading.sql is not None and reading.sql.endswith("FROM t WHERE \"category\" = 'Toys'")


@pytest.mark.parametrize(
    "question",
    [
        "Удали последний столбец",
        "Delete all rows from Berlin",
        "Please update the prices",
        "Измени цену на 0",
        "drop table t",
        "Пожалуйста, добавь новый столбец",
    ],
)
def test_orders_to_change_are_refused(question: str) -> None:
    reading = read(question, SHOP)
    assert (reading.sql, reading.intent, reading.sure) == (None, "refuse", 1.0)
    assert "changed" in reading.why


@pytest.mark.parametrize(
    "question",
    [
        "В чём смысл жизни?",
        "What is the weather like?",
        "Какая средняя зарплата покупателей?",
        "How many orders came from Paris?",
        "Сколько заказов доставил курьер Сидоров?",
        "Кто директор магазина?",
        "What is the average weight of toys?",
        "Сколько заказов в 1850 килограммов?",
        "",
        "???",
        "SELECT * FROM t",
    ],
)
def test_what_no_column_holds_is_not_answered(question: str) -> None:
    reading = read(question, SHOP)
    assert reading.sql is None
    assert reading.why.endswith(can_answer(SHOP))


def test_typing_errors_are_mended_and_cost_sureness() -> None:
    right, typo = read("Средняя цена в Казани", SHOP), read("Средняя цена в Козани", SHOP)
    assert right.sql == typo.sql
    assert typo.sure < right.sure
    assert any("Казань" in note or "казань" in note for note in typo.notes)


def test_transliterated_cells_are_found() -> None:
    assert read("Сколько заказов из Нью-Йорка?", SHOP).sql == read("How many orders from New York?", SHOP).sql


def test_quotes_in_cells_stay_text() -> None:
    from dataclasses import replace

    evil = "x'; DROP TABLE t; --"
    city = replace(SHOP.columns[2], values=("Москва", evil), distinct=2)
    profile = replace(SHOP, columns=(*SHOP.columns[:2], city, *SHOP.columns[3:]))
    reading = read(f'How many orders are from "{evil}"?', profile)
    assert reading.sql is None or "'x''; DROP TABLE t; --'" in reading.sql


def test_reading_names_words_it_leaves_out() -> None:
    reading = read("Средняя цена по городам проживания", SHOP)
    assert reading.sql is not None and reading.unread == ("проживания",)


def test_language_of_the_question() -> None:
    assert read("Сколько заказов?", SHOP).language == "ru"
    assert read("How many orders?", SHOP).language == "en"


def test_can_answer_is_in_the_users_language() -> None:
    texts.use("en")
    assert "price_rub" in can_answer(SHOP) and "payment_method" in can_answer(SHOP)


def test_prepare_makes_the_first_question_as_quick_as_others() -> None:
    prepare(SHOP)
    from tuneloop.ask import linking

    before = linking.index.cache_info().misses
    read("How many orders?", SHOP)
    assert linking.index.cache_info().misses == before


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=120))
def test_no_text_makes_it_fail(text: str) -> None:
    reading = read(text, SHOP)
    assert 0 <= reading.sure <= 1


WORDS = tuple(
    t.text for t in tokens("сколько средняя цена городам больше 100 не Москва how many price by top 3 и после")
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=10))
def test_every_query_is_one_select(words: list[str]) -> None:
    sql = read(" ".join(words), SHOP).sql
    assert sql is None or (sql.startswith("SELECT ") and ";" not in sql)


def test_medians_of_long_tables_are_estimated() -> None:
    columns = tuple(replace(c, rows=50_000_000, distinct=min(c.distinct, 40_000_000)) for c in SHOP.columns)
    long = replace(SHOP, rows=50_000_000, columns=columns)
    exact, found = read("median price", SHOP), read("median price", long)
    assert exact.sql and "median(" in exact.sql and "estimate" not in exact.why
    assert found.sql and "approx_quantile(" in found.sql and "estimate" in found.why
