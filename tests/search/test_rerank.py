"""Order by an encoder: ranks are fused, similarity is the cosine, and what is no vector is one clear error."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tuneloop.engines.engine import Limits, Reply
from tuneloop.errors import EngineError
from tuneloop.search.library import Found
from tuneloop.search.rerank import reranked

PASSAGES = [Found(str(n), 0, text, 9.0 - n, 0.5) for n, text in enumerate(["words", "meaning", "neither", "both"])]


class Encoder:
    """Answers with the vectors it was given, the last first."""

    def __init__(self, reply: Any, status: int = 200) -> None:
        self.reply, self.status, self.asked = reply, status, {}

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        assert path == "/embeddings" and not stream
        self.asked = json.loads(body)
        return Reply(self.status, {}, self.reply if isinstance(self.reply, bytes) else json.dumps(self.reply).encode())


def vectors(*found: list[float]) -> dict[str, Any]:
    return {"data": [{"index": n, "embedding": vector} for n, vector in reversed(list(enumerate(found)))]}


def order(encoder: Encoder) -> list[Found]:
    return asyncio.run(reranked(PASSAGES, "question", encoder, "m", name="e/m"))


def test_what_both_place_high_comes_first() -> None:
    encoder = Encoder(vectors([1, 0], [0.1, 1], [3, 0], [-1, 0], [1, 0.1]))
    found = order(encoder)
    assert encoder.asked == {"model": "m", "input": ["question", "words", "meaning", "neither", "both"]}
    assert [one.text for one in found] == ["meaning", "words", "both", "neither"]
    assert [round(one.similarity, 3) for one in found] == [1.0, 0.1, 0.995, 0.0]
    assert {one.method for one in found} == {"encoder:e/m"}


def test_a_vector_of_nothing_is_like_nothing_and_huge_ones_are_no_infinity() -> None:
    assert [one.similarity for one in order(Encoder(vectors(*[[0.0, 0.0]] * 5)))] == [0.0] * 4
    assert [one.similarity for one in order(Encoder(vectors(*[[1e300, 1e300]] * 5)))] == pytest.approx([1.0] * 4)


def test_nothing_found_asks_nobody() -> None:
    assert asyncio.run(reranked([], "q", Encoder(b""), "m", name="e/m")) == []


@pytest.mark.parametrize(
    "reply",
    [b"", b"<html>", b"[]", b'{"data": 1}', vectors([1.0]), vectors(*[[1.0]] * 4), vectors(*[[]] * 5),
     vectors(*[[1.0]] * 4, [1.0, 2.0]), b'{"data": [' + b'{"index": 0, "embedding": [NaN]},' * 4
     + b'{"index": 0, "embedding": [1e999]}]}', {"data": [{"embedding": [1.0]}] * 5}],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_vector_is_told(reply: Any) -> None:
    with pytest.raises(EngineError, match="5 vectors"):
        order(Encoder(reply))
    with pytest.raises(EngineError, match="status 500"):
        order(Encoder(reply, 500))
