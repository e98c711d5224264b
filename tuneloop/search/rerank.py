"""Order found passages anew by the vectors of a sentence encoder behind an engine's /embeddings.

Words find what shares them with the question; an encoder also sees that "how long does it run" asks about a battery.
Which of the two is right more often depends on the encoder and the language, so their ranks are added as reciprocal
rank fusion does (Cormack, Clarke & Buettcher 2009, k = 60): what both place high comes first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tuneloop.engines.engine import Askable, Limits
from tuneloop.errors import EngineError
from tuneloop.search.library import Found
from tuneloop.texts import _

CANDIDATES = 32  # passages an encoder is shown: one request of about 25,000 characters
_FUSION = 60
LONGEST = 2000  # characters of a question that are encoded


async def reranked(
    found: Sequence[Found], query: str, engine: Askable, model: str, *, name: str, seconds: float = 30.0
) -> list[Found]:
    """The same passages in their new order, `similarity` the cosine of question and passage (below 0 counts as 0).

    name: of the encoder, for `method`. Raises EngineError when it answers with anything but a finite vector for each.
    """
    if not found:
        return []
    vectors = await _vectors([query[:LONGEST], *(one.text for one in found)], engine, model, seconds)
    vectors /= np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-300)  # squares of what follows are finite
    sizes = np.linalg.norm(vectors, axis=1)
    cosines = (vectors[1:] @ vectors[0]) / np.maximum(sizes[1:] * sizes[0], 1e-12)
    ranks = np.empty(len(found))
    ranks[np.argsort(-cosines, kind="stable")] = np.arange(len(found))
    fused = [1 / (_FUSION + 1 + at) + 1 / (_FUSION + 1 + rank) for at, rank in enumerate(ranks)]
    scored = [
        replace(one, score=float(score), similarity=float(min(1.0, max(0.0, cosine))), method=f"encoder:{name}")
        for one, score, cosine in zip(found, fused, cosines, strict=True)
    ]
    return sorted(scored, key=lambda one: -one.score)


async def _vectors(texts: list[str], engine: Askable, model: str, seconds: float) -> NDArray[np.float64]:
    body = json.dumps({"model": model, "input": texts}).encode()
    reply = await engine.ask("/embeddings", body, stream=False, limits=Limits(seconds, seconds, seconds))
    if reply.status != 200:
        said = _("the encoder '{model}' answered with status {status}")
        raise EngineError(said.format(model=model, status=reply.status))
    try:
        data = sorted(json.loads(reply.body)["data"], key=lambda item: item["index"])
        vectors = np.array([item["embedding"] for item in data], dtype=np.float64)
    except (ValueError, KeyError, TypeError, RecursionError):
        vectors = np.empty(0)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.size or not np.isfinite(vectors).all():
        raise EngineError(_("the encoder '{model}' did not answer with {n} vectors").format(model=model, n=len(texts)))
    return vectors
