"""What a question wants done: the kinds of questions, asked from the most to the least specific.

Nothing is invented: without the slots it needs, a kind of question is not answered.
"""

from __future__ import annotations

from dataclasses import replace

from tuneloop.ask import lexicon
from tuneloop.ask.contrasts import compare, share, truth, versus
from tuneloop.ask.figures import aggregate, correlation, count, distribution, percentile, plain_measure, trend
from tuneloop.ask.query import Condition, Query
from tuneloop.ask.scene import Scene
from tuneloop.ask.slots import Slots
from tuneloop.ask.tops import groups_having, lookup, mode, neighbour, ordered_row, superlative


def decide(scene: Scene, filters: list[Condition]) -> tuple[str, Query] | None:
    """(intent, query) of the question, or None when nothing fits."""
    slots = Slots(scene, filters)
    for intent, reader in READERS:
        query = reader(slots)
        if query is not None:
            return intent, _without_totals(query, scene)
    return None


def _without_totals(query: Query, scene: Scene) -> Query:
    """A row that sums up the others is not one of them: it is left out of figures and tops."""
    if query.kind not in ("aggregate", "rows", "share", "summary", "correlation", "compare") or (
        query.kind == "rows" and not query.order
    ):
        return query
    tests = [
        Condition(column, "is not", (value,))
        for column in scene.profile.columns
        if column.kind == "text" and column.distinct > 0.5 * (column.rows - column.missing)
        for value in column.values
        if value.strip().lower().rstrip(":") in lexicon.words("totals")
        and not any(c.column == column for c in query.filters)
    ]
    return replace(query, filters=(*query.filters, *tests[:2]))


READERS = (
    ("correlation", correlation),
    ("truth", truth),
    ("percentile", percentile),
    ("compare", compare),
    ("versus", versus),
    ("share", share),
    ("mode", mode),
    ("top", superlative),
    ("trend", trend),
    ("distribution", distribution),
    ("aggregate", aggregate),
    ("having", groups_having),
    ("neighbour", neighbour),
    ("count", count),
    ("order", ordered_row),
    ("lookup", lookup),
    ("measure", plain_measure),
)
