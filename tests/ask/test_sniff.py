"""Encodings are told apart by bytes and letters; a wrong guess would be mojibake in every answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.ask.sniff import encoding, encoding_of
from tuneloop.errors import BadInput

RUSSIAN = "город;сотрудник;примечание\nКазань;Иванова Ольга Петровна;принято без замечаний\nОмск;Щукин Пётр;отказ\n"
FRENCH = "prénom;ville\nHélène;Orléans\nFrançois;Besançon\n"


@pytest.mark.parametrize("name", ["utf-8", "cp1251", "koi8-r", "cp866", "utf-16-le", "utf-16-be"])
def test_russian_text_is_decoded_right(name: str) -> None:
    found = encoding_of([RUSSIAN.encode(name)])
    assert RUSSIAN.encode(name).decode(found.name) == RUSSIAN


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16"])
def test_a_mark_says_it(name: str) -> None:
    found = encoding_of([RUSSIAN.encode(name)])
    assert found.how == "bom"
    assert RUSSIAN.encode(name).decode(found.name).removeprefix("\ufeff") == RUSSIAN


def test_western_text_is_not_taken_for_russian() -> None:
    found = encoding_of([FRENCH.encode("cp1252")])
    assert found.name == "cp1252"
    assert found.fit > found.second_fit


def test_utf8_with_some_broken_lines_stays_utf8() -> None:
    mixed = RUSSIAN.encode() * 20 + "Тверь;Лев;ok\n".encode("cp1251")
    found = encoding_of([mixed])
    assert (found.name, found.how) == ("utf-8", "utf-8")
    assert 0.9 < found.fit < 1


def test_a_letter_only_in_the_middle_of_a_large_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    path.write_bytes(b"a,b\n" * 200_000 + RUSSIAN.encode("cp1251") * 4_000 + b"a,b\n" * 100_000)
    assert encoding(path).name == "cp1251"


@pytest.mark.parametrize("raw", [b"\x00\x01\x02\x03" * 500, b"\n\n\n"])
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput):
        encoding_of([raw])


@settings(deadline=None)  # of a shared machine
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_have_an_encoding_or_one_error(raw: bytes) -> None:
    try:
        raw.decode(encoding_of([raw]).name, "replace")
    except BadInput as problem:
        assert problem.message
