"""What engines say they have: asked by every command that lists, fits or tries models."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tuneloop.answer.book import Book
from tuneloop.errors import TuneloopError


async def engines(book: Book, kinds: Collection[str] = ()) -> dict[str, Any]:
    """What every engine (of these kinds) but the served version says it has, or why it does not answer."""
    from tuneloop.engines.engine import Engine
    from tuneloop.engines.kinds import KINDS
    from tuneloop.gateway.engines import Absent, listing

    made: dict[str, Engine] = {}
    for name, spec in book.engines.items():
        if spec.kind != "local" and (not kinds or spec.kind in kinds):
            try:
                made[name] = KINDS[spec.kind](spec)
            except TuneloopError as problem:
                made[name] = Absent(problem.message)
    try:
        return await listing(made)
    finally:
        for engine in made.values():
            await engine.close()
