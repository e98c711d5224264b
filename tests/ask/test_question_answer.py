"""Results told in one sentence, and the warnings beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.ask.shop import SHOP
from tuneloop import texts
from tuneloop.ask.answer import number, tell
from tuneloop.ask.question import read


@dataclass
class Rows:
    rows: list[tuple[Any, ...]]
    columns: list[str] = field(default_factory=list)
    truncated: bool = False


@pytest.mark.parametrize(
    ("question", "rows", "sentence"),
    [
        ("Какая средняя цена?", [(1234.567,)], "Mean of price_rub: 1,234.57."),
        ("Сколько заказов из Москвы?", [(12,)], "Number of rows where city = Москва: 12."),
        ("Какой процент заказов вернули?", [(12.5, 50, 400)], "12.50 % are returned = yes (50 of 400)."),
        (
            "Насколько цена в Москве выше, чем в Казани?",
            [(300.0, 200.0, 100.0, 50.0)],
            "Mean of price_rub: city = Москва 300, city = Казань 200; the difference is 100 (50 %).",
        ),
        (
            "Связаны ли цена и рейтинг?",
            [(0.42,)],
            "Correlation of price_rub and rating: 0.42 (moderate, the more the more).",
        ),
        ("Верно ли, что больше половины заказов из Москвы?", [(False, 31.0)], "No (31 %)."),
        (
            "Средняя цена по городам",
            [("Москва", 30.0), ("Казань", 20.5)],
            "Mean of price_rub by city: Москва 30; Казань 20.50.",
        ),
        ("В каком городе самая высокая средняя цена?", [("Berlin", 99.0)], "Berlin: mean of price_rub 99."),
        ("Сколько заказов из Москвы?", [], "No row of the table fits."),
        ("Какая средняя цена?", [(None,)], "No row of the table fits."),
    ],
)
def test_result_becomes_a_sentence(question: str, rows: list[tuple[Any, ...]], sentence: str) -> None:
    assert tell(read(question, SHOP), Rows(rows), "en") == sentence


def test_refusal_says_why() -> None:
    reading = read("Удали таблицу", SHOP)
    assert tell(reading, Rows([]), "en") == reading.why


def test_words_left_out_are_said() -> None:
    told = tell(read("Средняя цена по городам проживания", SHOP), Rows([("Москва", 1.0), ("Казань", 1.0)]), "en")
    assert told.endswith("Not taken into account: проживания.")


def test_an_extreme_first_row_is_flagged() -> None:
    reading = read("Топ-3 города по средней цене", SHOP)
    calm = tell(reading, Rows([("a", 12.0), ("b", 11.0), ("c", 10.0)]), "en")
    wild = tell(reading, Rows([("a", 12000.0), ("b", 11.0), ("c", 10.0)]), "en")
    assert "check its unit" not in calm and "check its unit" in wild


def test_a_condition_outside_of_the_column_is_flagged() -> None:
    reading = read("Сколько заказов дороже 90000 рублей?", SHOP)
    if reading.sql is None:  # already too doubtful to be answered
        assert reading.sure < 1
        return
    assert "was another unit meant" in tell(reading, Rows([(0,)]), "en")


def test_the_language_in_use_is_left_as_it_was() -> None:
    texts.use("en")
    tell(read("Какая средняя цена?", SHOP), Rows([(1.0,)]), "ru")
    assert texts.language() == "en"


def test_numbers_follow_the_language() -> None:
    texts.use("ru")
    russian = number(1234.5)
    texts.use("en")
    assert (russian, number(1234.5)) == ("1\u00a0234,50", "1,234.50")
    assert (number(1955), number(None), number(True), number(0.00012)) == ("1955", "(missing)", "yes", "0.00012")
