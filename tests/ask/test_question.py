"""Questions about a made-up shop: each kind of question in both languages, and what must not be answered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ask.shop import SHOP
from tuneloop import texts
from tuneloop.ask.question import ANSWERS_FROM, can_answer, prepare, read

PRICE, CITY, CATEGORY = '"price_rub"', '"city"', '"category"'

READ = {
    # counts
    "Сколько всего заказов?": "SELECT count(*) AS \"count\" FROM t",
    "How many orders are there?": "SELECT count(*) AS \"count\" FROM t",
    "Сколько заказов из Москвы?": f"SELECT count(*) AS \"count\" FROM t WHERE {CITY} = 'Москва'",
    "How many orders came from Kazan?": f"SELECT count(*) AS \"count\" FROM t WHERE {CITY} = 'Казань'",
    "Сколько разных городов?": f"SELECT count(DISTINCT {CITY}) AS \"distinct\" FROM t",
    "How many orders were returned?": "SELECT count(*) AS \"count\" FROM t WHERE \"returned\" = 'yes'",
    # figures
    "Какая средняя цена?": f"SELECT avg({PRICE}) AS \"mean\" FROM t",
    "What is the median price of toys?": f"SELECT median({PRICE}) AS \"median\" FROM t WHERE {CATEGORY} = 'Toys'",
    "Какая суммарная цена заказов из Берлина?": f"SELECT sum({PRICE}) AS \"sum\" FROM t WHERE {CITY} = 'Berlin'",
    "What is the highest price?": f"SELECT max({PRICE}) AS \"max\" FROM t",
    "Минимальный возраст покупателя": "SELECT min(\"customer_age\") AS \"min\" FROM t",
    "What is the standard deviation of price?": f"SELECT stddev_samp({PRICE}) AS \"spread\" FROM t",
    "90-й процентиль цены": f"SELECT quantile_cont({PRICE}, 0.9) AS \"percentile\" FROM t",
    "What is the upper quartile of price?": f"SELECT quantile_cont({PRICE}, 0.75) AS \"percentile\" FROM t",
    # tests of rows
    "Сколько заказов дороже 5000?": f"SELECT count(*) AS \"count\" FROM t WHERE {PRICE} > 5000",
    "How many orders cost at least two thousand?": f"SELECT count(*) AS \"count\" FROM t WHERE {PRICE} >= 2000",
    "Сколько заказов с ценой от 100 до 200?": f"SELECT count(*) AS \"count\" FROM t WHERE {PRICE} BETWEEN 100 AND 200",
    "Сколько покупателей старше 60 лет?": "SELECT count(*) AS \"count\" FROM t WHERE \"customer_age\" > 60",
    "How many orders were not paid by card?": "SELECT count(*) AS \"count\" FROM t WHERE \"payment_method\" != 'card'",
    "Сколько заказов кроме Москвы?": f"SELECT count(*) AS \"count\" FROM t WHERE {CITY} != 'Москва'",
    "How many orders have a missing delivery days value?": "SELECT count(*) AS \"count\" FROM t WHERE \"delivery_days\" IS NULL",
    "Сколько заказов с рейтингом 5?": "SELECT count(*) AS \"count\" FROM t WHERE \"rating\" = 5",
    "How many orders have an above average price?": f"SELECT count(*) AS \"count\" FROM t WHERE {PRICE} > (SELECT avg({PRICE}) FROM t)",
    "Сколько заказов было в 2022 году?": "SELECT count(*) AS \"count\" FROM t WHERE \"ordered_at\" >= DATE '2022-01-01' AND \"ordered_at\" < DATE '2023-01-01'",
    "How many orders were made in March 2021?": "SELECT count(*) AS \"count\" FROM t WHERE \"ordered_at\" >= DATE '2021-03-01' AND \"ordered_at\" < DATE '2021-04-01'",
    # groups
    "Средняя цена по городам": f"SELECT {CITY}, avg({PRICE}) AS \"mean\" FROM t GROUP BY {CITY} ORDER BY avg({PRICE}) DESC, {CITY}",
    "How many orders are there in each category?": f"SELECT {CATEGORY}, count(*) AS \"count\" FROM t GROUP BY {CATEGORY} ORDER BY count(*) DESC, {CATEGORY}",
    "Распределение заказов по городам": f"SELECT {CITY}, count(*) AS \"count\" FROM t GROUP BY {CITY} ORDER BY count(*) DESC, {CITY}",
    "В каком городе самая высокая средняя цена?": f"SELECT {CITY}, avg({PRICE}) AS \"mean\" FROM t WHERE {CITY} IS NOT NULL GROUP BY {CITY} ORDER BY avg({PRICE}) DESC, {CITY} LIMIT 1",
    "What is the most common payment method?": "SELECT \"payment_method\", count(*) AS \"count\" FROM t WHERE \"payment_method\" IS NOT NULL GROUP BY \"payment_method\" ORDER BY count(*) DESC, \"payment_method\" LIMIT 1",
    "Топ-3 категории по средней цене": f"SELECT {CATEGORY}, avg({PRICE}) AS \"mean\" FROM t GROUP BY {CATEGORY} ORDER BY avg({PRICE}) DESC, {CATEGORY} LIMIT 3",
    # parts, comparisons, links between measures
    "Какой процент заказов вернули?": "SELECT 100.0 * count(*) FILTER (WHERE \"returned\" = 'yes') / count(*) AS \"percent\", count(*) FILTER (WHERE \"returned\" = 'yes') AS \"part\", count(*) AS \"all\" FROM t",
    "Is there a correlation between price and rating?": f"SELECT corr({PRICE}, \"rating\") AS \"correlation\" FROM t",
    "Связаны ли возраст покупателя и цена?": f"SELECT corr(\"customer_age\", {PRICE}) AS \"correlation\" FROM t",
}  # fmt: skip


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


WORDS = "сколько средняя цена городам больше 100 не Москва how many average price by top 3 between and 2021 после or most".split()


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=10))
def test_every_query_is_one_select(words: list[str]) -> None:
    sql = read(" ".join(words), SHOP).sql
    assert sql is None or (sql.startswith("SELECT ") and ";" not in sql)
