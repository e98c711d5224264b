"""What has happened to a row and what has not, in days that are missing and counts that are 0."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ask.shop import SHOP, column
from tuneloop.ask.question import read

ORDERS = replace(
    SHOP,
    columns=(
        *SHOP.columns,
        column("paid_on", "date", 200, low="2021-01-05", high="2024-01-02", missing=40),
        column("renewals", "number", 4, low=0.0, high=3.0),
        column("children", "number", 4, low=0.0, high=3.0),
        column("rooms", "number", 4, low=1.0, high=4.0),
        column("approved", "text", 0, values="no | yes"),
    ),
)


@pytest.mark.parametrize(
    ("question", "test"),
    [
        ("How many orders are still unpaid?", '"paid_on" IS NULL'),
        ("How many orders were paid?", '"paid_on" IS NOT NULL'),
        ("Сколько заказов не оплачено?", '"paid_on" IS NULL'),
        ("How many orders were never renewed?", '"renewals" = 0'),
        ("What share of orders were renewed at least once?", '"renewals" >= 1'),
        ("how many orders with children", '"children" > 0'),
        ("сколько заказов с детьми", '"children" > 0'),
        ("How many unapproved orders?", "\"approved\" = 'no'"),
        ("Сколько двухэтажных заказов?", None),
        ("How many orders were placed on weekends?", 'isodow("ordered_at") IN (6, 7)'),
        ("number of orders in summer", 'month("ordered_at") IN (6, 7, 8)'),
    ],
)
def test_condition(question: str, test: str | None) -> None:
    sql = read(question, ORDERS).sql
    assert (sql is None) if test is None else (sql is not None and test in sql), sql


def test_number_and_noun_in_one_russian_adjective() -> None:
    flats = replace(SHOP, columns=(*SHOP.columns[:3], column("Комнат", "number", 4, low=1.0, high=4.0)))
    sql = read("Сколько двухкомнатных в Казани?", flats).sql
    assert sql is not None and '"Комнат" = 2' in sql and "'Казань'" in sql


MORE = replace(
    SHOP,
    columns=(
        *SHOP.columns,
        column("promo_code", "text", 0, values="SPRING | VIP", missing=300),
        column("grade", "number", 5, low=1.0, high=5.0),
        column("level", "text", 0, values="A | B"),
        column("distance_km", "number", 200, low=0.5, high=40.0),
        column("minutes", "number", 90, low=10.0, high=300.0),
        column("first visit", "text", 0, values="no | yes"),
        column("birth_date", "date", 300, low="1960-01-01", high="2004-01-01"),
    ),
)


@pytest.mark.parametrize(
    ("question", "test"),
    [
        ("what share of orders used a promo code", '"promo_code" IS NOT NULL'),
        ("Сколько заказов с промокодом?", '"promo_code" IS NOT NULL'),
        ("Сколько двоек в Казани?", '"grade" = 2'),
        ("mean price of a toy order by city", None),
        ("Which city drove the most kilometers?", 'sum("distance_km")'),
        ("how many orders in 2022 vs 2023", 'year("ordered_at") IN (2022, 2023)'),
        ("how many orders in 2021, 2022 and 2023", 'year("ordered_at") IN (2021, 2022, 2023)'),
        ("how many visits in Berlin", None),
    ],
)
def test_more_conditions(question: str, test: str | None) -> None:
    sql = read(question, MORE).sql or ""
    assert test is None or test in sql, sql
    assert '"level"' not in sql and '"first visit"' not in sql


def test_hours_are_not_compared_with_minutes() -> None:
    assert read("how many orders took longer than 3 hours", MORE).sql is None
    assert '"minutes" > 200' in (read("сколько заказов дольше 200 минут", MORE).sql or "")


def test_nobody_is_born_in_the_month_of_an_order() -> None:
    born_first = replace(MORE, columns=(MORE.columns[-1], *MORE.columns[:-1]))
    sql = read("orders by month", born_first).sql or ""
    assert '"ordered_at"' in sql and "birth" not in sql
