"""The walker gives what json.loads gives, in any chunks and encodings, and says where a document is cut or broken."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.collect import walker as module
from tuneloop.collect.walker import Walker
from tuneloop.errors import Damaged, Hostile

LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=15
)
ITEMS = st.lists(TREE, max_size=6)


class Drip(io.BytesIO):
    """Gives a few bytes at a time, as a slow disk or a zip may."""

    step = 3

    def read(self, _size: int | None = -1) -> bytes:
        return super().read(self.step)


def walk(raw: bytes, encoding: str = "utf-8") -> list[Any]:
    walker = Walker(Drip(raw), "x", encoding)
    found = list(walker.values())
    walker.end()
    return found


@given(items=ITEMS, indent=st.sampled_from([None, 1]), encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be"]))
def test_values_are_those_of_the_standard_library(items: list[Any], indent: int | None, encoding: str) -> None:
    assert walk(json.dumps(items, indent=indent).encode(encoding), encoding) == items


@given(items=ITEMS)
def test_skip_passes_over_exactly_one_value(items: list[Any]) -> None:
    walker = Walker(Drip(json.dumps({"a": items, "b": 7}).encode()), "x")
    seen = []
    for key in walker.members():
        seen.append(key)
        walker.skip() if key == "a" else seen.append(walker.value())
    assert seen == ["a", "b", 7]


@given(items=ITEMS.filter(bool), data=st.data())
def test_every_cut_is_damaged_and_says_where(items: list[Any], data: st.DataObject) -> None:
    raw = json.dumps(items).encode()
    cut = data.draw(st.integers(1, len(raw) - 1))
    with pytest.raises(Damaged, match=rf"at byte {cut}$"):
        walk(raw[:cut])


def test_byte_of_a_broken_place() -> None:
    raw = b'[{"id": 1}, {"id": \xd1\x8b}]'
    with pytest.raises(Damaged, match="x is not valid JSON at byte 19"):
        walk(raw)


def test_half_a_surrogate_nan_and_control_characters_are_read() -> None:
    assert walk(b'["\\ud83d", "\\ud83d\\ude00", "a\x01b"]') == ["\ud83d", "😀", "a\x01b"]
    assert str(walk(b"[NaN]")) == "[nan]"


def test_number_too_long_for_python_is_damaged_not_a_crash() -> None:
    with pytest.raises(Damaged):
        walk(b"[" + b"1" * 5000 + b"]")


def test_wrong_bytes_name_their_place() -> None:
    with pytest.raises(Damaged, match="is not UTF-8 near byte 4"):
        Walker(io.BytesIO(b'["ab\xff"]'), "x")


def test_endless_string_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 1000)
    monkeypatch.setattr(Drip, "step", 500)
    with pytest.raises(Hostile, match="one value is longer"):
        walk(b'["' + b"a" * 5000 + b'"]')


def test_text_after_the_document_is_damaged() -> None:
    with pytest.raises(Damaged):
        walk(b"[1] 2")
