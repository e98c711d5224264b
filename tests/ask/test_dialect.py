"""Separators, quotes and headers, found in files as people send them."""

from __future__ import annotations

import pytest

from tuneloop.ask.dialect import dialect, parsed, unwrapped
from tuneloop.ask.headers import cleaned, header


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_that_makes_rows_alike_wins(separator: str) -> None:
    rows = [["name", "price", "note"], ["tea", "1.5", "green"], ["milk", "2", "fresh"], ["bread", "3.25", "rye"]]
    text = "".join(separator.join(row) + "\n" for row in rows)
    found = dialect(text)
    assert found.separator == separator
    assert parsed(text, found) == rows


def test_a_decimal_comma_is_no_separator() -> None:
    assert dialect("город;цена;вес\nОмск;1,5;2,25\nТверь;10,75;3,5\n").separator == ";"


def test_commas_inside_quotes_are_no_separators() -> None:
    assert dialect('a;b\n"x, y, z";1\n"p, q";2\n').separator == ";"


def test_quotes_written_with_backslashes() -> None:
    text = '"name","height"\n"Ann","5\'4\\""\n"Bob, Jr.","6\'1\\""\n"Cid","5\'9\\""\n'
    found = dialect(text)
    assert (found.separator, found.backslash) == (",", True)
    assert parsed(text, found)[1] == ["Ann", "5'4\""]


def test_single_quotes() -> None:
    text = "'a','b'\n'x, y','1'\n'z','2'\n"
    assert parsed(text, dialect(text)) == [["a", "b"], ["x, y", "1"], ["z", "2"]]


def test_rows_inside_one_quoted_cell() -> None:
    text = 'id,name,price\n"1,""tea, green"",2.5"\n"2,""milk"",1.0"\n"3,""rye"",4.0"\n'
    found = dialect(text)
    assert (found.wrapped, found.separator) == (True, ",")
    assert unwrapped('"1,""tea, green"",2.5"\n') == '1,"tea, green",2.5'
    assert unwrapped('"a","b"\n') is None


def test_stray_inch_marks_do_not_swallow_rows() -> None:
    text = 'size\tprice\n5" pipe\t10\n6" pipe\t12\n7 pipe\t9\n'
    found = dialect(text)
    assert [len(row) for row in parsed(text, found)] == [2, 2, 2, 2]


BODY = [["Omsk", "10", "2024-01-05"], ["Tver", "12", "2024-02-05"], ["Perm", "7", "2024-03-05"]]


def test_a_header_above_numbers() -> None:
    found = header([["city", "sold", "day"], *BODY])
    assert (found.names, found.above, found.rows, found.why) == (("city", "sold", "day"), 0, 1, "kinds")


@pytest.mark.parametrize("titles", [1, 2, 3, 4])
def test_titles_above_the_header(titles: int) -> None:
    found = header([*[["Report of the year", "", ""]] * titles, ["city", "sold", "day"], *BODY])
    assert (found.names[0], found.above, found.rows) == ("city", titles, 1)


def test_a_missing_header() -> None:
    found = header(BODY)
    assert (found.names, found.rows) == (("column 1", "column 2", "column 3"), 0)


def test_years_as_names() -> None:
    rows = [["region", "2019", "2020", "2021"], ["north", "5", "6", "7"], ["south", "8", "9", "10"]]
    assert (header(rows).why, header(rows).rows) == ("years", 1)


def test_texts_above_texts() -> None:
    assert header([["name", "city"], ["Ann", "Omsk"], ["Bob", "Tver"]]).rows
    assert not header([["Ann", "Omsk"], ["Bob", "Tver"], ["Eve", "Omsk"], ["Cid", "Omsk"]]).rows


def test_the_asked_row_is_taken() -> None:
    rows = [["x", "y"], ["a", "b"], ["1", "2"]]
    assert header(rows, "2").names == ("a", "b")
    assert not header(rows, "0").rows


def test_names_are_made_usable() -> None:
    names = ["Name", "name", "", "a\n b\x00c", "NAME", "x" * 300]
    made = cleaned(names, 7)
    assert made[:5] == ("Name", "name (2)", "column 3", "a b c", "NAME (3)")
    assert len(made[5]) == 120
    assert made[6] == "column 7"
