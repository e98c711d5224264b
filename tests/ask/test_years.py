"""Which column holds a year or a day, spells of months, and months of several years in their order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ask.shop import SHOP, column
from tuneloop.ask.question import read


@pytest.mark.parametrize(
    ("question", "first", "after"),
    [
        ("сколько заказов с марта по май 2022 года", "2022-03-01", "2022-06-01"),
        ("how many orders from June to August 2022", "2022-06-01", "2022-09-01"),
        ("how many orders between November and February 2023", "2022-11-01", "2023-03-01"),
    ],
)
def test_spells_of_months(question: str, first: str, after: str) -> None:
    sql = read(question, SHOP).sql
    assert sql is not None and f"DATE '{first}'" in sql and f"DATE '{after}'" in sql


def test_a_year_is_of_the_row_unless_its_column_is_named() -> None:
    built = column("Год постройки", "number", 60, low=1950.0, high=2022.0)
    houses = replace(SHOP, columns=(*SHOP.columns, built))
    assert '"ordered_at" >=' in str(read("сколько заказов в 2022 году", houses).sql)
    assert '"Год постройки" < 1970' in str(read("сколько заказов построено до 1970 года", houses).sql)


def test_months_of_several_years_come_one_after_another() -> None:
    assert "strftime(\"ordered_at\", '%Y-%m')" in str(read("количество заказов по месяцам", SHOP).sql)
    assert 'month("ordered_at")' in str(read("количество заказов по месяцам 2022 года", SHOP).sql)
    assert 'month("ordered_at")' in str(read("в каком месяце больше всего заказов", SHOP).sql)
