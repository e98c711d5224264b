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
