"""Questions that set one part of the rows against another: shares, comparisons, "is it true that".

Each function looks whether its cues and slots are there and returns a query, or None when the question is another.
"""

from __future__ import annotations

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Column
from tuneloop.ask.comparisons import measured
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.query import Condition, Group, Query
from tuneloop.ask.scene import Scene, averaged, has_meaning, is_flag, is_paper
from tuneloop.ask.slots import Slots, group_list, implied_measure
from tuneloop.ask.words import is_plural, part_of_speech

FRACTIONS = {"half": 50.0, "third": 100 / 3, "quarter": 25.0}


def truth(slots: Slots) -> Query | None:
    """Is it true that more than half of X are Y; is there any X."""
    scene = slots.scene
    cue = scene.cue("truth", "exists")
    half = scene.cue(*FRACTIONS)
    sign = next((c for c in scene.cues if c.name in ("gt", "lt", "ge", "le")), None)
    percent = next((n for n in scene.numbers if n.sign == "%" and n.start not in scene.taken), None)
    bar = FRACTIONS[half.name] if half else percent.value if percent else None
    if bar is not None and slots.filters and (half is None or sign is not None):
        op = {"lt": "<", "le": "<=", "ge": ">="}.get(sign.name if sign else "gt", ">")
        base, part = _base_and_part(slots)
        for used in (cue, half, sign):
            if used is not None:
                scene.take(range(used.start, used.end))
        if percent is not None:
            scene.take(range(percent.start, percent.end))
        named = slots.groups or ([slots.target] if slots.target else [])
        if named:
            slots.groups = named
            return Query("share", groups=group_list(slots), filters=base, part=part, having=(op, bar), order="desc")
        return Query("truth", filters=base, part=part, having=(op, bar))
    if (
        cue is not None
        and slots.filters
        and cue.start <= 1
        and not slots.extreme
        and not slots.aggregate
        and not scene.has("mode", "rare", "howmuch", "which", "count")
    ):
        scene.take(range(cue.start, cue.end))
        return Query("truth", filters=slots.all)
    return None


COMPARING = {"howmuch", "ratio", "others", "than", "gt", "lt", "among", "count", "or"}


def compare(slots: Slots) -> Query | None:
    """How much higher is the measure of A than that of B, or of everyone else."""
    scene = slots.scene
    others = scene.cue("others")
    cue = scene.cue("howmuch", "ratio")
    if cue is None and others is None and not scene.has("or", "which", "count"):
        cue = next((c for c in scene.cues if c.name in ("gt", "lt") and c.start not in scene.taken), None)
    if cue is None and others is None:
        return None
    if scene.has("share") and not slots.measures and cue is None:
        return None
    sides = _sides(slots)
    flagged = len(slots.filters) == 1 and is_flag(slots.filters[0].column) and _asks_yes_or_no(scene)
    if sides is None and not (others is not None and slots.filters) and not flagged:
        return None
    if sides is None:
        part: tuple[Condition, ...] = (slots.filters[-1],)
        rest, base = None, tuple(slots.filters[:-1])
        if others is not None:
            _absorb_after(scene, others, part[0].column)
    else:
        part, rest, base = (sides[0],), (sides[1],), sides[2]
    keyed = (sides or (slots.filters[-1],))[0]
    if not slots.measures and isinstance(keyed, Condition) and keyed.column.distinct > 0.7 * keyed.column.rows:
        return None
    counted = scene.cue("count") is not None or (
        cue is not None and scene.tokens[cue.start].text in ("how",) and not slots.measures
    )
    implied = None if slots.measures or counted else _implied_anywhere(slots)
    measure = implied[0] if implied else slots.measure(slots.aggregate or cue)
    if measure is None and not counted:
        return None
    for used in (cue, slots.aggregate, *(c for c in scene.cues if c.name in COMPARING)):
        if used is not None:
            scene.take(range(used.start, used.end))
    aggregate = slots.aggregate.name if slots.aggregate else "mean"
    return Query("compare", aggregate if measure else "count", measure, filters=base, part=part, rest=rest)


def _asks_yes_or_no(scene: Scene) -> bool:
    """ "Do smokers tip more?": those of the flag are set against all others."""
    first = scene.tokens[0].text in ("do", "does", "did", "are", "is", "were", "was", "have", "has")
    return first or any(t.text == "ли" for t in scene.tokens[1:3])


def _absorb_after(scene: Scene, cue: Cue, column: Column) -> None:
    """«с другими способами оплаты» says the compared column once more."""
    for mention in scene.free():
        if mention.cell is None and mention.column == column:
            scene.use(mention)


def _sides(slots: Slots) -> tuple[Condition, Condition, tuple[Condition, ...]] | None:
    """Two cells of one column, said apart: the two sides of a comparison."""
    for condition in slots.filters:
        if condition.op == "in" and len(condition.values) == 2:
            base = tuple(c for c in slots.filters if c != condition)
            first, second = (Condition(condition.column, "=", (v,), place=condition.place) for v in condition.values)
            return first, second, base
    flags = [c for c in slots.filters if is_flag(c.column)]
    for a in flags:
        for b in flags:
            if a.place < b.place and a.column == b.column and a != b:
                return a, b, tuple(c for c in slots.filters if c not in (a, b))
    return None


def versus(slots: Slots) -> Query | None:
    """Who earns more, men or women: both sides as groups, the larger first."""
    scene = slots.scene
    pair = next((c for c in slots.filters if c.op == "in" and len(c.values) >= 2), None)
    sign = next((c for c in scene.cues if c.name in ("gt", "lt", "max", "min", "ge", "le")), None)
    if pair is None or sign is None or not (scene.has("or") or scene.has("which")) or scene.has("share"):
        return None
    rest = tuple(c for c in slots.filters if c != pair)
    implied = implied_measure(slots) or _implied_anywhere(slots)
    measure = implied[0] if implied else slots.measure(slots.aggregate)
    flags = [c for c in rest if is_flag(c.column)]
    order = implied[1] if implied else "asc" if sign.name in ("lt", "min", "le") else "desc"
    scene.take(range(sign.start, sign.end))
    unique = pair.column.distinct > 0.9 * max(scene.profile.rows - pair.column.missing, 1)
    if unique and measure is not None:
        return Query("rows", measure=measure, show=(pair.column, measure), filters=(*rest, pair), order=order, limit=1)
    if measure is None and len(flags) == 1:
        keep = tuple(c for c in rest if c not in flags)
        return Query("share", groups=(Group(pair.column),), filters=(*keep, pair), part=tuple(flags), order=order)
    aggregate = slots.aggregate.name if slots.aggregate else "mean"
    if slots.aggregate is not None and measure is not None:
        scene.take(range(slots.aggregate.start, slots.aggregate.end))
    return Query(
        "aggregate",
        aggregate if measure else "count",
        measure,
        groups=(Group(pair.column),),
        filters=(*rest, pair),
        order=order,
    )


def _implied_anywhere(slots: Slots) -> tuple[Column, str] | None:
    scene = slots.scene
    for i, (measure, length) in scene.measures.items():
        column = None if measure.generic else measured(scene, measure)
        if column is not None and i not in scene.taken:
            scene.take(range(i, i + length))
            sign = next(s for meaning, s in measure.concepts if has_meaning(column, meaning))
            return column, "desc" if sign > 0 else "asc"
    return None


def share(slots: Slots) -> Query | None:
    """What part of the rows (or of a sum) something makes."""
    scene = slots.scene
    cue = scene.cue("share") or (
        scene.cue("rate") if any(is_flag(c.column) for c in slots.filters) and not slots.measures else None
    )
    if cue is None or (cue.start in scene.taken and cue.name == "share"):
        return None
    part_of_sum = slots.aggregate is not None and slots.aggregate.name == "sum"
    if slots.measures and not part_of_sum and not slots.filters and not slots.groups and not slots.target:
        return None
    scene.take(range(cue.start, cue.end))
    measure = slots.measure(slots.aggregate) if part_of_sum else _parted(slots, cue)
    if part_of_sum and slots.aggregate is not None:
        scene.take(range(slots.aggregate.start, slots.aggregate.end))
    if slots.extreme and slots.filters and (slots.groups or slots.target):
        named = slots.groups or [slots.target] if slots.target else slots.groups
        slots.groups = [g for g in named if g is not None]
        base, part = _base_and_part(slots)
        return Query("share", groups=group_list(slots), filters=base, part=part, order=slots.extreme[1], limit=1)
    if slots.groups:
        if slots.filters:
            base, part = _base_and_part(slots)
            return Query("share", measure=measure, groups=group_list(slots), filters=base, part=part, order="desc")
        return Query("share", measure=measure, groups=group_list(slots))
    if slots.filters:
        base, part = _base_and_part(slots)
        return Query("share", measure=measure, filters=base, part=part)
    single = ([slots.target] if slots.target else []) + slots.texts
    if len(single) == 1:
        slots.groups = [single[0]]
        return Query("share", measure=measure, groups=group_list(slots))
    return None


def _parted(slots: Slots, cue: Cue) -> Column | None:
    """The amount right after "share of", of which a part is asked: "what share of the costs is rent"."""
    near = [m for m in slots.measures if 0 <= m.start - cue.end <= 1 and not is_flag(m.column)]
    if not near or not slots.filters or averaged(near[0].column):
        return None
    if near[0].score < 1 and is_plural(slots.scene.tokens[near[0].start].text) and is_paper(near[0].column):
        return None  # "what share of bills": of their number
    return slots.scene.use(near[0]).column


def _base_and_part(slots: Slots) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """(all rows spoken of, the part asked about): women and survived in "of women survived"."""
    scene, found = slots.scene, slots.filters
    if len(found) == 1:
        return (), tuple(found)
    among = next((c for c in scene.cues if c.name == "among" and any(0 <= f.place - c.end <= 3 for f in found)), None)
    if among is not None and scene.tokens[among.start].text not in ("of the", "of"):
        scene.take(range(among.start, among.end))
        later = [f for f in found if f.place >= among.end]
        earlier = [f for f in found if f.place < among.start]
        if not earlier:
            return (later[0],), tuple(later[1:])
        return tuple(later), tuple(earlier)
    said = [f for f in found if is_flag(f.column) and part_of_speech(scene.tokens[f.place].text) in ("VERB", "PRTS")]
    if len(said) == 1 and said[0] is not found[0]:
        return tuple(f for f in found if f is not said[0]), (said[0],)  # of the men in second class, those who survived
    verb = next(
        (i for i, t in enumerate(scene.tokens) if i > found[0].place and t.text in lexicon.words("copulas")), None
    )
    if verb is not None and any(f.place > verb for f in found):
        return tuple(f for f in found if f.place < verb), tuple(f for f in found if f.place > verb)
    if verb is None and any(t.text in lexicon.words("copulas") for t in scene.tokens) and not scene.has("half"):
        start = next(i for i, t in enumerate(scene.tokens) if t.text in lexicon.words("copulas"))
        if start > 1 and all(f.place > start for f in found):
            return (), tuple(found)
    if _is_part_of(scene, found):
        return tuple(found[1:]), (found[0],)
    return (found[0],), tuple(found[1:])


def _is_part_of(scene: Scene, found: list[Condition]) -> bool:
    """ "The share of women in first class", without a verb: the women are the part, first class is the whole."""
    cue = scene.cue("share")
    if cue is None or found[0].op != "=" or scene.gap(cue.end, found[0].place) or found[0].place - cue.end > 1:
        return False
    between = [scene.tokens[i].text for i in range(found[0].place + 1, found[1].place)]
    verbs = any(part_of_speech(t.text) in ("VERB", "PRTS") or t.text in lexicon.words("copulas") for t in scene.tokens)
    return bool(between) and between[0] in ("in", "at", "on", "в", "во", "на", "у", "по") and not verbs
