"""No row is lost without a reason, whatever the file looks like."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.ask.dialect import Dialect
from tuneloop.ask.lines import blank_lines, count_lines
from tuneloop.ask.reading import Count, open_lines, rows


def read(
    text: str, how: Dialect = Dialect(), *, width: int = 2, above: int = 0, header: bool = True
) -> tuple[list[list[str]], Count]:
    count = Count()
    found = list(rows(io.StringIO(text, newline=""), how, count, width=width, above=above, header=header))
    assert count.adds_up()
    assert count.loaded == len(found)
    return found, count


def test_every_line_has_its_place() -> None:
    text = 'Report\n\na,b\n1,"x\ny"\n\n2,3,4\n5\na,b\n6,7,\n'
    found, count = read(text, above=2)
    assert found == [["1", "x\ny"], ["5", ""], ["6", "7"]]
    assert (count.lines, count.above, count.header, count.blank, count.continued) == (10, 2, 1, 1, 1)
    assert count.rejected == {"too many cells": 1, "header again": 1}
    assert count.padded == 1
    assert count.examples[0][:2] == (7, "too many cells")


def test_a_quote_that_is_never_closed_costs_one_row() -> None:
    found, count = read('a,b\n1,"open\n2,3\n4,5\n')
    assert found == [["2", "3"], ["4", "5"]]
    assert count.rejected == {"quote": 1}


def test_zero_bytes_and_broken_bytes_are_rejected_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("имя,b\nя,1\n".encode() + b"\xff\xfe,2\n" + b"a\x00b,3\n" + b"c,4\n")
    count = Count()
    found = list(rows(open_lines(path, "utf-8"), Dialect(), count, width=2, above=0, header=True))
    assert found == [["я", "1"], ["c", "4"]]
    assert count.rejected == {"encoding": 1, "zero bytes": 1}


def test_wrapped_rows_among_plain_ones() -> None:
    found, _count = read('a,b\n"1,""x, y"""\n2,z\n', Dialect(wrapped=True))
    assert found == [["1", "x, y"], ["2", "z"]]


def test_line_ends_of_all_kinds() -> None:
    found, count = read("a,b\r\n1,2\n3,4\r5,6")
    assert found == [["1", "2"], ["3", "4"], ["5", "6"]]
    assert count.lines == 4


CELL = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=8)


@settings(deadline=None)  # of a shared machine
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=15), st.sampled_from(["\n", "\r\n"]))
def test_what_csv_writes_is_read_back(table: list[tuple[str, str, str]], end: str) -> None:
    table = [row for row in table if "\ufffd" not in "".join(row)]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(table)
    found, count = read(out.getvalue(), width=3, header=False)
    assert [tuple(row) for row in found] == table
    assert not count.rejected


@settings(deadline=None)  # of a shared machine
@given(st.text(st.sampled_from('a1,;"\\\n\r \x00é'), max_size=120), st.booleans(), st.booleans())
def test_any_text_adds_up(text: str, backslash: bool, wrapped: bool) -> None:
    read(text, Dialect(backslash=backslash, wrapped=wrapped))


@settings(deadline=None)  # of a shared machine
@given(st.binary(max_size=200))
def test_lines_are_counted_without_reading_rows(raw: bytes) -> None:
    import tempfile

    raw = raw.replace(b"\r", b"")
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        lines = raw.split(b"\n")[:-1] + ([raw.split(b"\n")[-1]] if raw.split(b"\n")[-1] else [])
        assert count_lines(Path(file.name)) == (len(lines), b"\x00" in raw)
        assert blank_lines(Path(file.name)) == sum(not line for line in lines)
