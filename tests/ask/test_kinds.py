"""Numbers, dates and texts as people write them: decided for a column, read by SQL, never guessed cell by cell."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.ask.kinds import Decision, Hints, decide, decide_all, trimmed_sql


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def read(connection: duckdb.DuckDBPyConnection, how: Decision, cells: list[str]) -> list[object]:
    rows = connection.execute(
        f"SELECT {how.sql('v')} FROM (SELECT {trimmed_sql('c', thorough=True)} AS v FROM"
        " (SELECT unnest(?::VARCHAR[]) AS c))",
        [cells],
    ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["1", "-2", "+30"], [1, -2, 30], ""),
        (["1.5", "2", ".5", "1e3"], [1.5, 2.0, 0.5, 1000.0], ""),
        (["1,5", "2", "-0,25"], [1.5, 2.0, -0.25], ""),
        (["1 234", "12 345 678", "5"], [1234, 12345678, 5], ""),
        (["1\u00a0234,5", "7,25"], [1234.5, 7.25], ""),
        (["1,234", "12,345,678", "1,234,567"], [1234, 12345678, 1234567], ""),
        (["1,234.50", "99.90", "5"], [1234.5, 99.9, 5.0], ""),
        (["1.234,50", "12.345.678,00"], [1234.5, 12345678.0], ""),
        (["15%", "7.5 %"], [15.0, 7.5], "%"),
        (["$1,200", "$15", "-$30"], [1200, 15, -30], "$"),
        (["1 500 ₽", "20 руб.", "300 р."], [1500, 20, 300], "₽"),
        (["(100)", "50", "−7"], [-100, 50, -7], ""),
        (["+ 3.6", "- 1.5"], [3.6, -1.5], ""),
        (["$11 million", "$2.5 million", "$300"], [11e6, 2.5e6, 300.0], "$"),
        (["1,5 млн", "300 тыс.", "2 млрд"], [1.5e6, 3e5, 2e9], ""),
        (["1.", "2.", "10."], [1, 2, 10], ""),
        (["12 km", "7.5 km"], [12.0, 7.5], "km"),
        (["1'234", "5'678"], [1234, 5678], ""),
    ],
)
def test_numbers(connection: duckdb.DuckDBPyConnection, cells: list[str], values: list[float], unit: str) -> None:
    how = decide("x", Counter(cells))
    assert how.kind == "number"
    assert how.numeral is not None
    assert how.numeral.unit == unit
    assert read(connection, how, cells) == pytest.approx(values)


@pytest.mark.parametrize(
    "cells",
    [
        ["007", "012", "345"],  # codes lose their zeros as numbers
        ["12345678901234567890", "12345678901234567891"],  # longer than 64 bits
        ["$5", "€7", "£3"],  # two currencies are not one column of amounts
        ["85123A", "71053", "84406B"],
        ["6-3 6-1", "7-5"],
        ["R32", "R16", "QF"],
        ["5 kg", "3 lb"],
        ["1.2.3", "1.2.4"],
        ["", "-", "n/a"][1:],
    ],
)
def test_what_is_no_number_stays_text(cells: list[str]) -> None:
    assert decide("x", Counter(cells)).kind == "text"


def test_a_few_odd_words_are_borne_and_told() -> None:
    how = decide("x", Counter({str(n): 1 for n in range(100)} | {"call us": 2, "n/a": 10}))
    assert (how.kind, how.stray, how.missing) == ("number", ("call us",), ("n/a",))


def test_odd_codes_make_it_text() -> None:
    """Cancelled invoices begin with a C: as numbers they would vanish from every sum."""
    assert decide("invoice", Counter({str(5000 + n): 1 for n in range(100)} | {"C5101": 1, "C5102": 1})).kind == "text"


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["2024-03-01", "2024-12-31"], datetime.date(2024, 3, 1)),
        (["2024-03-01 10:30:00", "2024-12-31 00:00:00"], datetime.datetime(2024, 3, 1, 10, 30)),
        (["2024/3/1", "2024/12/31"], datetime.date(2024, 3, 1)),
        (["01.03.2024", "05.04.2024"], datetime.date(2024, 3, 1)),
        (["01/03/2024", "25/04/2024"], datetime.date(2024, 3, 1)),
        (["03/01/2024", "04/25/2024"], datetime.date(2024, 3, 1)),
        (["1.3.24", "25.12.24"], datetime.date(2024, 3, 1)),
        (["01.03.2024 09:05", "02.03.2024 10:00"], datetime.datetime(2024, 3, 1, 9, 5)),
        (["1 March 2024", "25 Dec 2024"], datetime.date(2024, 3, 1)),
        (["March 1, 2024", "December 25, 2024"], datetime.date(2024, 3, 1)),
        (["1 марта 2024", "25 декабря 2024 г."], datetime.date(2024, 3, 1)),
    ],
)
def test_dates(connection: duckdb.DuckDBPyConnection, cells: list[str], first: datetime.date) -> None:
    how = decide("x", Counter(cells))
    assert how.kind == "date"
    values = read(connection, how, cells)
    assert values[0] == first
    assert None not in values


def test_compact_dates_need_a_name_that_says_so() -> None:
    cells = Counter(["20240301", "20241231"])
    assert decide("order_date", cells).kind == "date"
    assert decide("amount", cells).kind == "number"


def test_contradicting_dates_stay_text() -> None:
    assert decide("x", Counter(["13/01/2024", "01/13/2024"])).kind == "text"


def test_ambiguous_dates_follow_the_other_columns() -> None:
    columns = {"a": Counter(["25/01/2024", "01/02/2024"]), "b": Counter(["03/04/2024", "05/06/2024"])}
    found = decide_all(columns, Hints(), comma_country=False)["b"]
    assert found.moment is not None
    assert (found.moment.layout, found.moment.ambiguous) == ("dmy", False)


def test_ambiguous_thousands_follow_the_other_columns() -> None:
    columns = {"a": Counter(["1,234", "5,678"]), "b": Counter(["0,5", "12,25"])}
    found = decide_all(columns, Hints(), comma_country=False)["a"]
    assert found.numeral is not None
    assert found.numeral.style == "comma"
    alone = decide_all({"a": columns["a"]}, Hints(), comma_country=False)["a"]
    assert alone.numeral is not None
    assert (alone.numeral.style, alone.numeral.ambiguous) == ("comma point", True)


def test_truth_and_missing_words(connection: duckdb.DuckDBPyConnection) -> None:
    how = decide("x", Counter(["True", "false", "NA"]))
    assert how.kind == "bool"
    assert read(connection, how, ["True", "false", "NA"]) == [True, False, None]
    assert decide("x", Counter(["yes", "no"])).kind == "text"


def test_na_is_missing_except_among_country_codes(connection: duckdb.DuckDBPyConnection) -> None:
    codes = decide("country", Counter(["DE", "FR", "NA", "RU", "US", "IT"]))
    words = decide("answer", Counter(["good", "bad", "NA"]))
    assert read(connection, codes, ["NA", "DE"]) == ["NA", "DE"]
    assert read(connection, words, ["NA", "bad"]) == [None, "bad"]


@settings(deadline=None)  # of a shared machine
@given(st.lists(st.integers(-(10**15), 10**15), min_size=2, max_size=20), st.sampled_from([" ", "\u00a0", ",", "'"]))
def test_whole_numbers_come_back_exactly(numbers: list[int], blank: str) -> None:
    cells = [f"{number:,}".replace(",", blank) for number in numbers]
    how = decide("x", Counter(cells), Hints(decimal="."))
    assert how.kind == "number"
    with duckdb.connect() as connection:
        assert read(connection, how, cells) == numbers


@settings(deadline=None)  # of a shared machine
@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_cells_can_be_read(cells: list[str]) -> None:
    """Whatever the decision, its SQL is sound and gives a value or nothing for every cell."""
    cells = [cell.replace("\x00", "").strip() for cell in cells]
    try:
        for cell in cells:
            cell.encode()
    except UnicodeEncodeError:
        return
    how = decide("date of x", Counter(cell for cell in cells if cell))
    with duckdb.connect() as connection:
        assert len(read(connection, how, cells)) == len(cells)
