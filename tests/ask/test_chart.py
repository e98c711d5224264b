"""When a result becomes a plot, and what the plot looks like as text and as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ask.shop import SHOP
from tuneloop.ask.chart import Chart, chart, lines, write_png
from tuneloop.ask.query import Query
from tuneloop.ask.question import read
from tuneloop.ask.sandbox import Result
from tuneloop.errors import BadInput

CITIES: list[tuple[Any, ...]] = [("Омск", 300.0), ("Тверь", 150.0), (None, 75.0)]


def result(rows: list[tuple[Any, ...]], *columns: str, truncated: bool = False) -> Result:
    return Result(columns or ("city", "mean"), rows, truncated)


def query(question: str) -> Query | None:
    return read(question, SHOP).query


def test_groups_are_bars_in_the_order_of_the_result() -> None:
    drawn = chart(result(CITIES), query("Средняя цена по городам"))
    assert drawn == Chart("bars", "mean", "city", ("Омск", "Тверь", "(missing)"), (300.0, 150.0, 75.0))
    assert chart(result(CITIES)) == drawn


def test_many_days_are_a_line_and_few_are_bars() -> None:
    days: list[tuple[Any, ...]] = [(f"2024-01-{n:02}", n) for n in range(1, 31)]
    drawn, few = chart(result(days)), chart(result(days[:3]))
    assert drawn is not None and (drawn.kind, len(drawn.values)) == ("line", 30)
    assert few is not None and few.kind == "bars"
    months = chart(result([(float(n), n) for n in range(1, 13)], "month", "mean"), query("Средняя цена по месяцам"))
    assert months is not None and months.kind == "line"


def test_shares_carry_their_sign() -> None:
    drawn = chart(result(CITIES), query("Доля заказов по городам"))
    assert drawn is not None and drawn.unit == "%"


@pytest.mark.parametrize(
    "found",
    [
        result([("Омск", 1)]),
        result([("Омск", "a"), ("Тверь", "b")]),
        result([("Омск", 1), ("Омск", 2)]),
        result([(f"c{n}", n) for n in range(41)]),
        result(CITIES, truncated=True),
        result([(1, 2, 3, 4), (5, 6, 7, 8)], "a", "b", "c", "d"),
        result([(1,), (2,)], "a"),
        result([]),
    ],
)
def test_what_is_no_plot(found: Result) -> None:
    assert chart(found) is None


def test_one_figure_is_no_plot() -> None:
    assert chart(result([("x", 1), ("y", 2)]), query("Какая средняя цена?")) is None


def test_bars_of_text_have_the_lengths_of_their_values() -> None:
    drawn = Chart("bars", "mean", "city", ("Омск", "Тверь", "нет"), (300.0, 150.0, 0.0), "₽")
    shown = lines(drawn, 60)
    full, half, none = (line.count("█") for line in shown)
    assert full == 2 * half > 0 == none and shown[0].endswith("300 ₽")
    assert len({len(line) for line in shown}) == 1 and len(shown[0]) <= 60
    assert lines(Chart("bars", "m", "c", ("a", "b"), (1.0, -1.0)), 60) == []
    assert lines(Chart("bars", "m", "c", ("a", "b"), (0.0, 0.0)), 60)[0].count("█") == 0


@pytest.mark.parametrize("kind", ["bars", "line"])
def test_a_file_is_a_png_whatever_the_labels_are(tmp_path: Path, kind: Any) -> None:
    labels = ("$x$ $", "очень " * 20, "\\frac{", "a_b^c", "обычный")
    path = tmp_path / "plot.png"
    write_png(Chart(kind, "$mean", "by", labels, (1.0, 2.0, 3.5, -4.0, 0.0), "%"), path, "Сколько $ и _{?")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


@pytest.mark.parametrize("name", ["plot.jpg", "none/plot.png", "plot"])
def test_a_bad_name_is_one_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        write_png(Chart("bars", "m", "c", ("a", "b"), (1.0, 2.0)), tmp_path / name, "t")
    assert not list(tmp_path.iterdir())
