"""Relevance by stems and by an encoder behind a real socket."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engines.raw import whole
from tests.gateway.live import Scripted
from tuneloop.answer.relevance import cosine, encoded, relevance, stems
from tuneloop.engines.openai import OpenAI
from tuneloop.errors import EngineError
from tuneloop.records import EngineSpec

PAIRS = (
    ("Как смазать цепь велосипеда?", "Протрите цепь и нанесите масло на каждое звено цепи велосипеда."),
    ("When is the library open?", "The library opens at nine on working days."),
    ("Сколько стоит доставка в Казань?", "Доставка до Казани стоит триста рублей."),
    ("Which tyres fit my bicycle?", "Your bicycle takes tyres of 28 inches."),
)


def test_an_answer_fits_its_own_question_best() -> None:
    for number, (question, _own) in enumerate(PAIRS):
        found = [relevance(question, answer) for _question, answer in PAIRS]
        assert max(range(len(PAIRS)), key=found.__getitem__) == number


@given(st.text(max_size=300), st.text(max_size=300))
def test_cosine_is_symmetric_and_bounded(a: str, b: str) -> None:
    one, other = cosine(stems(a), stems(b)), cosine(stems(b), stems(a))
    assert one == pytest.approx(other)
    assert -1e-9 <= one <= 1 + 1e-9
    assert 0 < relevance(a, b) < 1


def test_forms_of_a_word_are_one_stem_and_counts_are_damped() -> None:
    assert stems("Велосипед, велосипеды; ВЕЛОСИПЕДУ!") == {"вело": 1 + math.log(3)}
    assert stems("ёлка Ёлки елками") == {"елка": 1.0, "елки": 1.0} | {"елка": 1 + math.log(2)}
    assert stems("to be or not") == {}


def vectors(reply: bytes) -> float:
    async def scene(url: str) -> float:
        engine = OpenAI(EngineSpec("encoder", url=url + "/v1"))
        try:
            return await encoded(engine, "e5", "question", "answer", seconds=10)
        finally:
            await engine.close()

    with Scripted(reply) as server:
        return asyncio.run(scene(server.url))


def reply(*found: object) -> bytes:
    data = [{"index": n, "embedding": vector} for n, vector in enumerate(found)]
    return whole(json.dumps({"data": data[::-1]}).encode())


def test_an_encoder_s_vectors_are_compared() -> None:
    assert vectors(reply([1, 0, 1], [2, 0, 2])) == pytest.approx(1.0)
    assert vectors(reply([1, 0], [0, 3])) == 0.0
    assert vectors(reply([1, 0], [-1, 0])) == 0.0
    assert vectors(reply([0, 0], [1, 0])) == 0.0


@pytest.mark.parametrize(
    "found",
    [([1, 0],), ([], []), ([1], [1, 2]), ([1, "2"], [1, 2]), ([1, None], [1, 2]), (7, 8)],
)
def test_what_are_no_two_vectors_is_an_error(found: tuple[object, ...]) -> None:
    with pytest.raises(EngineError, match="two vectors"):
        vectors(reply(*found))
