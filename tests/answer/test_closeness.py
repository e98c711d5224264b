"""Style figures: the same voice is near, another is far, and copying is noticed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.answer.closeness import chrf, closeness, distance, is_verbatim

MARINA = [
    f"смотрите, по опыту {n} рамок хватит. без фанатизма)" if n % 3 else f"по опыту так: {n} градусов и хорош)"
    for n in range(3, 43)
]
GLEB = [
    f"чекни datasheet, там pin {n}. Flash заново и проверь логи." if n % 3 else f"Это known issue, обнови SDK до {n}.0!"
    for n in range(3, 43)
]


def test_a_voice_is_nearer_to_itself_than_to_another() -> None:
    reference = [MARINA[::2], MARINA[1::2], GLEB[::2], GLEB[1::2]]
    own, other = (distance(MARINA[::2], texts, reference) for texts in (MARINA[1::2], GLEB[::2]))
    assert own + 0.3 < other
    assert distance(MARINA, MARINA, reference) == pytest.approx(0.0)


CROWD = [f"{text} а что скажете про номер {n}?" for n, text in enumerate(GLEB)] + [
    f"Всем привет! как там {n}" for n in range(20)
]


def test_closeness_runs_from_base_to_self() -> None:
    unchanged = closeness(base=GLEB, tuned=GLEB, own=MARINA, others=CROWD)
    assert unchanged["closeness"] == pytest.approx(0.0)
    learned = closeness(base=GLEB, tuned=MARINA[10:30], own=MARINA, others=CROWD)
    assert learned["closeness"] > 0.8


def test_closeness_without_room_is_not_a_number() -> None:
    """A base model that is as close to both halves of the person as they are to each other."""
    assert math.isnan(closeness(base=MARINA, tuned=GLEB, own=MARINA, others=CROWD)["closeness"])


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [("привет мир", "привет мир", 100, 100), ("привет", "привет мир", 40, 99), ("абв", "где", 0, 0), ("", "где", 0, 0)],
)
def test_chrf_between_nothing_and_everything(a: str, b: str, low: float, high: float) -> None:
    assert low <= chrf(a, b) <= high


def test_chrf_of_a_worked_example() -> None:
    """Counted by hand for n <= 2: "abc" against "abd": unigrams 2 of 3, bigrams 1 of 2."""
    mean = (2 / 3 + 1 / 2) / 2
    assert chrf("abc", "abd", n=2) == pytest.approx(100 * mean)


@given(st.text(max_size=60), st.text(max_size=60))
def test_chrf_stays_in_its_range(a: str, b: str) -> None:
    assert 0 <= chrf(a, b) <= 100 + 1e-9


def test_verbatim_needs_thirty_characters_or_a_whole_answer() -> None:
    source = "щавелевая кислота 2.5 грамма на 50 мл сиропа, капать по улочкам"
    assert is_verbatim("ну " + source[5:50] + "!", source)
    assert not is_verbatim(source[:25], source)
    assert is_verbatim("да, держите рамки сухими", "держите рамки сухими")
    assert not is_verbatim("да", "да")
