"""Retrieval from the team's own answers: lemmas meet, the nearest comes first, strangers get silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tuneloop.records import Example
from tuneloop.search.history import History, lemmas


def example(number: int, question: str, answer: str) -> Example:
    return Example(str(number), "c", f"c/{number}", "m", question, answer)


KNOWN = [
    example(1, "когда обрабатывать улья от клеща?", "в октябре, после отбора мёда"),
    example(2, "как откалибровать весы под ульем", "снимите ноль и положите 10 кг"),
    example(3, "how long does the battery last", "two weeks in winter"),
]


def test_russian_inflections_meet() -> None:
    assert History(KNOWN).answer("обработка... обрабатывали улей от клещей когда") == "в октябре, после отбора мёда"
    assert History(KNOWN).answer("калибровка весов ульем") == "снимите ноль и положите 10 кг"
    assert History(KNOWN).answer("battery life?") == "two weeks in winter"


def test_nothing_in_common_is_silence() -> None:
    assert History(KNOWN).answer("погода завтра") == ""
    assert History([]).answer("погода") == ""


def test_k_nearest_come_best_first() -> None:
    found = History(KNOWN).nearest("весы улья и клещ", k=3)
    assert len(found) == 2
    assert found[0][1] >= found[1][1] > 0


def test_equal_scores_go_to_the_earlier() -> None:
    twice = [example(1, "сколько рамок", "двенадцать"), example(2, "сколько рамок", "восемь")]
    assert History(twice).answer("сколько рамок") == "двенадцать"


def test_lemmas_fold_case_and_yo() -> None:
    assert lemmas("Пчёлы летели; Пчела!") == ["пчела", "лететь", "пчела"]


@given(st.lists(st.text(max_size=40), max_size=8), st.text(max_size=40))
def test_any_text_can_be_asked(questions: list[str], asked: str) -> None:
    history = History([example(i, q, str(i)) for i, q in enumerate(questions)])
    scores = [score for _e, score in history.nearest(asked, k=5)]
    assert scores == sorted(scores, reverse=True)
