"""Callback data: within 64 bytes whatever the ids, readable by its person only, and nothing else is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.bot import buttons
from tuneloop.errors import BadInput

KEY = buttons.key_of("1:token")
users = st.integers(1, 2**52)


@given(users, st.text(max_size=200))
def test_a_button_is_read_by_its_person_only(user: int, item: str) -> None:
    query, product = "0123456789abcdef0123", buttons.product_key(item)
    data = buttons.sign(KEY, user, "r", query, product)
    assert len(data.encode()) <= 52
    assert buttons.read(KEY, user, data) == ("r", [query, product])
    for key, who in ((KEY, user + 1), (buttons.key_of("1:other"), user)):
        with pytest.raises(BadInput):
            buttons.read(key, who, data)


@given(users, st.text(max_size=80))
def test_what_was_not_signed_is_refused(user: int, data: str) -> None:
    with pytest.raises(BadInput, match="not yours"):
        buttons.read(KEY, user, data)


@given(st.integers(0, 51), st.integers(0, 127))
def test_no_changed_letter_is_believed(place: int, letter: int) -> None:
    data = buttons.sign(KEY, 7, "r", "0123456789abcdef0123", buttons.product_key("x"))
    place %= len(data)
    changed = data[:place] + chr(letter) + data[place + 1 :]
    if changed != data:
        with pytest.raises(BadInput):
            buttons.read(KEY, 7, changed)


def test_the_longest_admin_button_fits() -> None:
    assert len(buttons.sign(KEY, 2**52, "q", "f" * 20, "x", "999999").encode()) <= 64
