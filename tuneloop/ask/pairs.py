"""One column against another: "the tip is higher than the tolls", "the winner was younger than the loser"."""

from __future__ import annotations

from tuneloop.ask.columns import Column
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.query import Condition
from tuneloop.ask.scene import Scene, has_meaning
from tuneloop.ask.words import name_tokens


def two_columns(scene: Scene, cue: Cue) -> Condition | None:
    """Rows where one column is above another: "tip higher than the tolls", "the winner was younger than the loser"."""
    than = scene.tokens[cue.end - 1].text in ("than", "чем")
    if not than or not scene.has("count", "share", "list") or scene.has("howmuch", "ratio"):
        return None
    measure = scene.measures.get(cue.start, (None, 0))[0]
    sign = 1
    if measure is None or measure.generic:
        numeric = [m for m in scene.free() if m.cell is None and m.column.kind == "number" and m.score >= 0.85]
        first = next((m.column for m in reversed(numeric) if 0 <= cue.start - m.end <= 2), None)
        second = next((m.column for m in numeric if 0 <= m.start - cue.end <= 1), None)
    else:
        meaning, sign = next((m for m in measure.concepts if _having(scene, m[0])), ("", 1))
        near = range(max(cue.start - 3, 0), cue.start), range(cue.end, min(cue.end + 3, len(scene.tokens)))
        first, second = (_beside(scene, _having(scene, meaning), places) for places in near)
    if first is None or second is None or first == second:
        return None
    higher = (cue.name == "gt") if measure is None or measure.generic else sign > 0
    scene.take(range(cue.start - 3 if measure else cue.start, cue.end + 3 if measure else cue.end))
    for mention in scene.free():
        if mention.column in (first, second) or (measure and cue.start - 3 <= mention.start < cue.end + 3):
            scene.use(mention, surely=True)
    return Condition(first, ">" if higher else "<", place=cue.start, other=second)


def _having(scene: Scene, meaning: str) -> list[Column]:
    return [c for c in scene.profile.columns if c.kind in ("number", "date") and has_meaning(c, meaning)]


def _beside(scene: Scene, columns: list[Column], places: range) -> Column | None:
    """Of columns with one meaning the one whose other words are said here: winner_age near "winner"."""
    said = {key for i in places for key in scene.tokens[i].keys}
    shared = [{k for t in name_tokens(c.name) for k in t.keys} for c in columns]
    fits = [c for c, own in zip(columns, shared, strict=True) if said & own]
    return fits[0] if len(fits) == 1 else None
