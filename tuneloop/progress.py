"""How long work tells whoever watches how far it is; the terminal draws bars, a job writes a row."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called often and cheaply: `stage` is a short text for people, `total` None when unknown."""

    def __call__(self, stage: str, done: float, total: float | None) -> None: ...


class Stopped(Exception):
    """Raised by a watcher of `tuneloop.child.run_limited` to end the child's work at its next step."""


def silent(stage: str, done: float, total: float | None) -> None:
    """Watch nothing."""
