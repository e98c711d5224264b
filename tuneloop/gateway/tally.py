"""What is counted of requests, in plain numbers: adding one takes half a microsecond, `/metrics` reads them.

One `Line` per (task, variant, model, engine). Buckets are upper bounds in seconds, as Prometheus has them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from tuneloop.journal import Row

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
QUALITY = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Histogram:
    """counts[i]: observations up to bounds[i]; the last is for all above."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Line:
    """The counters of one (task, variant, model, engine)."""

    __slots__ = ("attempts", "cached", "errors", "first", "quality", "seconds", "statuses", "tokens_in", "tokens_out")

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()  # by code
        self.seconds = Histogram(BUCKETS)
        self.first = Histogram(BUCKETS)
        self.quality = Histogram(QUALITY)
        self.tokens_in = self.tokens_out = self.cached = self.attempts = 0


class Tally:
    """All lines, and what belongs to none of them."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str, str, str], Line] = {}
        self.refused: Counter[str] = Counter()  # answered without an engine: by code
        self.searches: Counter[str] = Counter()  # in documents: by what came of them
        self.generations: Counter[str] = Counter()  # from documents: by what came of them
        self.operations: Counter[str] = Counter()  # on documents and their indexes: by kind

    def add(self, row: Row) -> None:
        """Count a finished call."""
        key = (row.task, row.variant, row.model, row.engine)
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = Line()
        line.statuses[row.status] += 1
        line.seconds.add(row.latency_ms / 1000)
        line.tokens_in += row.tokens_in
        line.tokens_out += row.tokens_out
        line.attempts += row.attempts
        line.cached += row.cached
        if row.code:
            line.errors[row.code] += 1
        if row.first_ms is not None:
            line.first.add(row.first_ms / 1000)
        if row.quality is not None:
            line.quality.add(row.quality)
