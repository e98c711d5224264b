"""What a question wants done: its slots (figure, measure, groups, order) become one query record.

Each function below knows one kind of question, looks whether its cues and slots are there, and returns a Query or
None; `decide` asks them from the most to the least specific. Nothing is invented: without the slots it needs, a
kind of question is not answered.
"""

from __future__ import annotations

from dataclasses import replace

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Column
from tuneloop.ask.conditions import measured
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.linking import Mention
from tuneloop.ask.query import Condition, Group, Query
from tuneloop.ask.scene import Scene, flag_value, is_flag, is_identifier, label_column

AGGREGATE_CUES = ("mean", "median", "sum", "spread", "variance", "range")
TIME_PARTS = {"time_year": "year", "time_month": "month", "time_day": "day", "time_weekday": "weekday", "time_hour": "hour"}
FRACTIONS = {"half": 50.0, "third": 100 / 3, "quarter": 25.0}


class Slots:
    """What the mentions left over by the conditions stand for."""

    def __init__(self, scene: Scene, filters: list[Condition]) -> None:
        self.scene = scene
        self.filters = filters
        self.groups = _groups(scene)
        self.target = _target(scene, self.groups)
        self.measures = [
            m for m in scene.free() if m.cell is None and m.column.kind in ("number", "bool") and not is_identifier(m.column, scene.profile)
            and m is not self.target
        ]  # fmt: skip
        self.texts = [m for m in scene.free() if m.cell is None and m.column.kind in ("text", "date") and m is not self.target]
        self.extreme = _extreme(scene)
        self.aggregate = next((c for c in scene.cues if c.name in AGGREGATE_CUES and not _shadowed(c, scene)), None)

    @property
    def all(self) -> tuple[Condition, ...]:
        return tuple(self.filters)

    def measure(self, cue: Cue | None = None) -> Column | None:
        """The measure nearest after the cue; the first one without a cue; counted as used."""
        if not self.measures:
            return None
        pick = self.measures[0]
        if cue is not None:
            pick = min(self.measures, key=lambda m: (m.start - cue.start if m.start >= cue.start else 3 + cue.start - m.end))
        self.scene.use(pick)
        return pick.column


def _shadowed(cue: Cue, scene: Scene) -> bool:
    """A cue whose words an exactly named column holds ("the total" in a table with the column total)."""
    places = set(range(cue.start, cue.end))
    return any(places <= m.places for m in scene.mentions if m.cell is None) or places <= scene.taken


def _groups(scene: Scene) -> list[Mention | Group]:
    """Columns that follow a word of grouping, and parts of dates."""
    found: list[Mention | Group] = []
    free = scene.free()
    for cue in scene.cues:
        if cue.name == "each":
            near = [m for m in free if m.cell is None and 0 <= m.start - cue.end <= 2 and not scene.gap(cue.end, m.start) and _groupable(m.column)]
            for mention in near[:1]:
                if mention not in found:
                    found.append(mention)
                    scene.take(range(cue.start, cue.end))
                    found += [m for m in free if m.cell is None and _joined(scene, mention, m) and _groupable(m.column)]
    if not any(isinstance(g, Mention) for g in found):
        found += _time_groups(scene)
    return found


def _groupable(column: Column) -> bool:
    """Numbers with many values do not make groups: "по цене" is about the price, not by each price."""
    return column.kind != "number" or column.distinct <= 50 or (column.distinct <= 200 and column.distinct < 0.1 * column.rows)


def _joined(scene: Scene, first: Mention, other: Mention) -> bool:
    between = [scene.tokens[i].text for i in range(first.end, other.start)]
    return other.start > first.start and between in (["and"], ["и"], [","], ["and", "by"], ["и", "по"])


def _time_groups(scene: Scene) -> list[Mention | Group]:
    for cue in scene.cues:
        part = TIME_PARTS.get(cue.name)
        if part is None:
            continue
        for same in scene.cues:
            if same.name == cue.name:
                scene.take(range(same.start, same.end))
        numeric = next((m for m in scene.free() if m.cell is None and m.column.kind != "date" and set(range(cue.start, cue.end)) & m.places), None)
        if numeric is not None:
            return [numeric]
        said = [m for m in scene.free() if m.cell is None and m.column.kind == "date"]
        dates = [m.column for m in said] or [c for c in scene.profile.columns if c.kind == "date"]
        if dates:
            for mention in said:
                if mention.column == dates[0]:
                    scene.use(mention)
            scene.take(range(cue.start, cue.end))
            return [Group(dates[0], part)]
    return []


def group_list(slots: Slots) -> tuple[Group, ...]:
    """The groups as the query wants them; their mentions are counted as used."""
    return tuple(g if isinstance(g, Group) else Group(slots.scene.use(g).column) for g in slots.groups)


def _target(scene: Scene, groups: list[Mention | Group]) -> Mention | None:
    """What "which", "у какого", "name the" ask for: the column said right after."""
    for cue in scene.cues:
        if cue.name in ("which", "list", "each", "mode", "rare"):
            near = [m for m in scene.free() if m.cell is None and m not in groups and 0 <= m.start - cue.end <= 2 and scene.gap(cue.end, m.start) <= 0]
            near = [m for m in near if not any(c.name in ("max", "min") and cue.end <= c.start < m.start and not c.end > m.start for c in scene.cues)]
            if cue.name == "each" or scene.tokens[cue.start].text in ("who", "whose", "кто"):
                near = []
            if near and _groupable(near[0].column):
                return near[0]
    when = scene.cue("when")
    if when is not None:
        return next((m for m in scene.free() if m.cell is None and set(range(when.start, when.end)) & m.places), None)
    return None


def _extreme(scene: Scene) -> tuple[Cue, str] | None:
    """The superlative of the question and its direction."""
    for cue in scene.cues:
        if cue.name not in ("max", "min") or set(range(cue.start, cue.end)) <= scene.taken or _shadowed(cue, scene):
            continue
        sign = 1 if cue.name == "max" else -1
        implied = next((scene.measures[i][0] for i in range(cue.start, min(cue.end + 2, len(scene.tokens))) if i in scene.measures), None)
        if implied is not None and implied.sign < 0 and cue.name == "max":
            sign = -1
        scene.take(range(cue.start, cue.end))
        return cue, "desc" if sign > 0 else "asc"
    for i, (measure, length) in scene.measures.items():
        word = scene.tokens[i].text
        if i not in scene.taken and (word.endswith(("est", "ейший", "айший", "ейшая", "ейшие", "ейшего")) or (i and scene.tokens[i - 1].text in ("most", "least"))):
            scene.take(range(i, i + length))
            return Cue("max" if measure.sign > 0 else "min", i, i + length), "desc" if measure.sign > 0 else "asc"
    return None


def implied_measure(slots: Slots) -> tuple[Column, str] | None:
    """The measure an adjective stands for, with the direction it asks for ("самый дорогой": price, desc)."""
    scene = slots.scene
    if slots.extreme is None:
        return None
    cue, _order = slots.extreme
    for i in range(cue.start, min(cue.end + 2, len(scene.tokens))):
        if i not in scene.measures:
            continue
        measure, length = scene.measures[i]
        column = None if measure.generic and slots.measures else measured(scene, measure)
        if column is not None:
            scene.take(range(i, i + length))
            for mention in scene.free():
                if mention.column == column and mention.cell is None:
                    scene.use(mention)
            sign = next(sign for meaning, sign in measure.concepts if _carries(column, meaning))
            if cue.name == "min" and cue.end <= i:
                sign = -sign
            return column, "desc" if sign > 0 else "asc"
    return None


def _carries(column: Column, meaning: str) -> bool:
    from tuneloop.ask.scene import has_meaning

    return has_meaning(column, meaning)


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
    if query.kind not in ("aggregate", "rows", "share", "summary", "correlation", "compare") or (query.kind == "rows" and not query.order):
        return query
    tests = [
        Condition(column, "is not", (value,))
        for column in scene.profile.columns
        if column.kind == "text" and column.distinct > 0.5 * (column.rows - column.missing)
        for value in column.values
        if value.strip().lower().rstrip(":") in TOTALS and not any(c.column == column for c in query.filters)
    ]
    return replace(query, filters=(*query.filters, *tests[:2]))


TOTALS = frozenset("total totals sum overall итого всего итог".split()) | {"grand total", "в целом"}


def correlation(slots: Slots) -> Query | None:
    """Are two measures related; with one measure and one category, the means by category."""
    cue = slots.scene.cue("correlation")
    if cue is None:
        return None
    numeric = [*slots.measures, *(g for g in slots.groups if isinstance(g, Mention) and g.column.kind == "number")]
    if slots.target is not None and slots.target.column.kind == "number":
        numeric.insert(0, slots.target)
    numeric.sort(key=lambda m: m.start)
    if len(numeric) >= 2:
        a, b = (slots.scene.use(m).column for m in numeric[:2])
        slots.scene.take(range(cue.start, cue.end))
        return Query("correlation", measure=a, other=b, filters=slots.all)
    named = [*slots.groups, *slots.texts]
    flags = [c for c in slots.filters if is_flag(c.column) and c.op == "="]
    if len(numeric) == 1 and flags:
        slots.scene.take(range(cue.start, cue.end))
        rest = tuple(c for c in slots.filters if c not in flags)
        return Query("correlation", measure=slots.scene.use(numeric[0]).column, other=flags[0].column, filters=rest)
    if len(numeric) == 1 and named:
        slots.groups = named[:1]
        slots.scene.take(range(cue.start, cue.end))
        return Query("aggregate", "mean", slots.scene.use(numeric[0]).column, groups=group_list(slots), filters=slots.all, order="desc")
    return None


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
    if cue is not None and slots.filters and cue.start <= 1 and not slots.extreme and not slots.aggregate and not scene.has("mode", "rare", "howmuch", "which", "count"):
        scene.take(range(cue.start, cue.end))
        return Query("truth", filters=slots.all)
    return None


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
    if sides is None and not (others is not None and slots.filters):
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
    counted = scene.cue("count") is not None or (cue is not None and scene.tokens[cue.start].text in ("how",) and not slots.measures)
    measure = slots.measure(slots.aggregate or cue)
    if measure is None and not counted:
        return None
    for used in (cue, others, slots.aggregate, scene.cue("than"), scene.cue("gt"), scene.cue("lt"), scene.cue("among"), scene.cue("count"), scene.cue("or")):
        if used is not None:
            scene.take(range(used.start, used.end))
    aggregate = slots.aggregate.name if slots.aggregate else "mean"
    return Query("compare", aggregate if measure else "count", measure, filters=base, part=part, rest=rest)


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
    return Query("aggregate", aggregate if measure else "count", measure, groups=(Group(pair.column),), filters=(*rest, pair), order=order)


def _implied_anywhere(slots: Slots) -> tuple[Column, str] | None:
    scene = slots.scene
    for i, (measure, length) in scene.measures.items():
        column = None if measure.generic else measured(scene, measure)
        if column is not None and i not in scene.taken:
            scene.take(range(i, i + length))
            sign = next(s for meaning, s in measure.concepts if _carries(column, meaning))
            return column, "desc" if sign > 0 else "asc"
    return None


def share(slots: Slots) -> Query | None:
    """What part of the rows (or of a sum) something makes."""
    scene = slots.scene
    cue = scene.cue("share") or (scene.cue("rate") if any(is_flag(c.column) for c in slots.filters) and not slots.measures else None)
    if cue is None or (cue.start in scene.taken and cue.name == "share"):
        return None
    part_of_sum = slots.aggregate is not None and slots.aggregate.name == "sum"
    if slots.measures and not part_of_sum and not slots.filters and not slots.groups and not slots.target:
        return None
    scene.take(range(cue.start, cue.end))
    measure = slots.measure(slots.aggregate) if part_of_sum else None
    if part_of_sum and slots.aggregate is not None:
        scene.take(range(slots.aggregate.start, slots.aggregate.end))
    if slots.extreme and slots.filters and (slots.groups or slots.target):
        named = slots.groups or [slots.target] if slots.target else slots.groups
        slots.groups = [g for g in named if g is not None]
        base, part = _base_and_part(slots)
        return Query("share", groups=group_list(slots), filters=base, part=part, order=slots.extreme[1], limit=1)
    if slots.groups:
        flags = [c for c in slots.filters]
        if flags:
            base, part = _base_and_part(slots)
            return Query("share", measure=measure, groups=group_list(slots), filters=base, part=part, order="desc")
        return Query("share", measure=measure, groups=group_list(slots))
    if slots.filters:
        base, part = _base_and_part(slots)
        return Query("share", measure=measure, filters=base, part=part)
    named = ([slots.target] if slots.target else []) + slots.texts
    if len(named) == 1:
        slots.groups = list(named)
        return Query("share", measure=measure, groups=group_list(slots))
    return None


def _base_and_part(slots: Slots) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """(all rows spoken of, the part asked about): "of women [base] survived [part]", "выживших [part] среди женщин [base]"."""
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
    verb = next((i for i, t in enumerate(scene.tokens) if i > found[0].place and t.text in _COPULAS), None)
    if verb is not None and any(f.place > verb for f in found):
        return tuple(f for f in found if f.place < verb), tuple(f for f in found if f.place > verb)
    if verb is None and any(t.text in _COPULAS for t in scene.tokens) and not scene.has("half"):
        start = next(i for i, t in enumerate(scene.tokens) if t.text in _COPULAS)
        if start > 1 and all(f.place > start for f in found):
            return (), tuple(found)
    return (found[0],), tuple(found[1:])


_COPULAS = frozenset("are is were was have has had did do does cost costs use uses used be".split())


def mode(slots: Slots) -> Query | None:
    """The most common (or the rarest) value of a column."""
    scene = slots.scene
    cue = scene.cue("mode", "rare")
    named = ([slots.target] if slots.target else []) + slots.texts + slots.groups + slots.measures
    if cue is None or not named or isinstance(named[0], Group):
        return None
    scene.take(range(cue.start, cue.end))
    slots.groups = named[:1]
    order = "desc" if cue.name == "mode" else "asc"
    return Query("aggregate", "count", groups=group_list(slots), filters=slots.all, order=order, limit=_limit(slots) or 1)


def _limit(slots: Slots) -> int:
    """How many of a top list: "top 5", "5 самых", "первые три"."""
    for number in slots.scene.numbers:
        ahead = any(0 <= number.start - c.end <= 1 for c in slots.scene.cues if c.name in ("top", "bottom", "max", "min", "mode", "rare"))
        behind = any(0 <= c.start - number.end <= 1 for c in slots.scene.cues if c.name in ("max", "min", "mode", "rare"))
        behind = behind or any(0 <= i - number.end <= 1 for i in slots.scene.measures)
        behind = behind or (slots.extreme is not None and 0 < slots.extreme[0].start - number.end <= 4)
        if (ahead or behind) and number.start not in slots.scene.taken and not number.ordinal and 1 <= number.value <= 1000:
            slots.scene.take(range(number.start, number.end))
            return int(number.value)
    return 0


def superlative(slots: Slots) -> Query | None:
    """Which group has the highest figure; which row the largest measure; the largest measure itself."""
    scene = slots.scene
    limit = _limit(slots)
    top = scene.cue("top", "bottom")
    if slots.extreme is None and not (top is not None and limit):
        return None
    order = slots.extreme[1] if slots.extreme else "desc" if top and top.name == "top" else "asc"
    if top is not None:
        scene.take(range(top.start, top.end))
    named = [*([slots.target] if slots.target else []), *slots.groups]
    texts = [t for t in slots.texts if t not in named]
    implied = implied_measure(slots)
    measure = implied[0] if implied else None
    order = implied[1] if implied else order
    if measure is None:
        at = slots.aggregate or (slots.extreme[0] if slots.extreme else None)
        measure = slots.measure(at)
    if slots.aggregate is not None and measure is not None and (named or texts):
        scene.take(range(slots.aggregate.start, slots.aggregate.end))
        slots.groups = (named or texts)[:1]
        return Query("aggregate", slots.aggregate.name, measure, groups=group_list(slots), filters=slots.all, order=order, limit=limit or 1)
    if measure is not None and implied is None and slots.extreme and _adjective(scene, slots.extreme[0]):
        scene.doubt(f"{scene.words(range(slots.extreme[0].start, slots.extreme[0].end))} = {measure.name}", 0.5)
    if measure is None:
        return _most_rows(slots, named or texts, order, limit)
    slots.measures = [m for m in slots.measures if m.column != measure]
    said = any(m.column == measure and m.cell is None for m in scene.mentions)
    figure = scene.cue("which", "list", "when", "where")
    asks_figure = figure is None or (said and scene.tokens[figure.start].text in _WHAT)
    if not named and limit == 0 and asks_figure and not texts:
        if said or implied is None or slots.extreme is None:
            return Query("aggregate", "max" if order == "desc" else "min", measure, filters=slots.all)
    if slots.groups and slots.target is None:
        return Query("aggregate", "max" if order == "desc" else "min", measure, groups=group_list(slots), filters=slots.all, order=order)
    return _extreme_rows(slots, named, texts, measure, order, limit)


def _adjective(scene: Scene, cue: Cue) -> bool:
    """Whether the superlative names a measure of its own ("shortest"), which this table does not have."""
    found = [scene.measures[i][0] for i in range(cue.start, min(cue.end + 1, len(scene.tokens))) if i in scene.measures]
    return bool(found) and not found[0].generic


_WHAT = frozenset("what какой какая какое каков какова".split())


def _most_rows(slots: Slots, named: list[Mention | Group], order: str, limit: int) -> Query | None:
    """Which region has the most freelancers: groups by their number of rows."""
    scene = slots.scene
    if not named:
        return None
    end = slots.extreme[0].end if slots.extreme else 0
    if slots.target is not None and any(0 <= t.start - end and not scene.gap(end, t.start) for t in slots.texts):
        return None  # a text cannot be the largest
    if slots.extreme is not None and not _counts(slots):
        return None
    first = named[0]
    if isinstance(first, Mention) and first.column.distinct > 0.9 * max(first.column.rows - first.column.missing, 1):
        scene.doubt(f"{first.column.name}: each value once", 0.4)
    slots.groups = named[:1]
    flags = tuple(c for c in slots.filters if is_flag(c.column))
    if flags and scene.has("share"):
        return None
    return Query("aggregate", "count", groups=group_list(slots), filters=slots.all, order=order, limit=limit or 1)


def _extreme_rows(slots: Slots, named: list[Mention | Group], texts: list[Mention], measure: Column, order: str, limit: int) -> Query:
    """Rows at the end of an order; a category asked for with a measure but no figure is read as its mean or sum."""
    scene = slots.scene
    target = next((m for m in (*named, *texts) if isinstance(m, Mention)), None)
    rows = max(scene.profile.rows, 1)
    if target is not None and target.column.kind != "number" and target.column.distinct < 0.3 * rows and not limit and not slots.filters:
        scene.use(target)
        summed = scene.cue("sum") is not None or _counts(slots)
        if not summed:
            scene.doubt(f"{target.column.name}: mean({measure.name})", 0.75)
        return Query("aggregate", "sum" if summed else "mean", measure, groups=(Group(target.column),), filters=slots.all, order=order, limit=1)
    show = []
    for mention in (*named, *texts):
        if isinstance(mention, Mention):
            show.append(scene.use(mention).column)
    label = label_column(scene.profile)
    if not show and label is not None and label != measure:
        show.append(label)
    if not show:
        return Query("rows", measure=measure, filters=slots.all, order=order, limit=limit or 1)
    return Query("rows", measure=measure, show=(*show, measure), filters=slots.all, order=order, limit=limit or 1)


def _counts(slots: Slots) -> bool:
    """Words for more and fewer of something countable: then a group is judged by its sum."""
    if slots.extreme is None:
        return False
    words = {slots.scene.tokens[i].text for i in range(slots.extreme[0].start, slots.extreme[0].end)}
    return not words.isdisjoint({"most", "fewest", "least", "больше", "меньше", "number", "amount", "многочисленный", "самый", "наиболее", "наименее"})


def percentile(slots: Slots) -> Query | None:
    """The 90th percentile, the upper quartile."""
    scene = slots.scene
    cue = scene.cue("percentile", "quartile")
    if cue is None:
        return None
    number = next((n for n in scene.numbers if n.start not in scene.taken and abs(n.start - cue.start) <= 3), None)
    quarter = cue.name == "quartile"
    fraction = number.value / (4 if quarter else 100) if number else 0.0
    if quarter and number is None:
        upper = any(t.keys & {"верхний", "upper"} for t in scene.tokens)
        fraction = 0.75 if upper else 0.25 if any(t.keys & {"нижний", "lower"} for t in scene.tokens) else 0.0
        scene.take(i for i, t in enumerate(scene.tokens) if t.keys & {"верхний", "upper", "нижний", "lower"})
    measure = slots.measure(cue)
    if measure is None or not 0 < fraction < 1:
        return None
    scene.take(range(cue.start, cue.end))
    if number is not None:
        scene.take(range(number.start, number.end))
    return Query("aggregate", "percentile", measure, groups=group_list(slots), filters=slots.all, fraction=fraction)


def trend(slots: Slots) -> Query | None:
    """A measure (or the number of rows) along the years, months or days."""
    scene = slots.scene
    cue = scene.cue("trend")
    if cue is None:
        return None
    if not slots.groups:
        time = next((c for c in scene.profile.columns if c.kind == "date"), None)
        numeric = next((c for c in scene.profile.columns if c.kind == "number" and _carries(c, "year")), None)
        if numeric is not None:
            slots.groups = [Group(numeric)]
        elif time is not None:
            slots.groups = [Group(time, "year" if str(time.low)[:4] != str(time.high)[:4] else "day")]
    group = slots.groups[0] if slots.groups else None
    column = group.column if group is not None else None
    if column is None or not (column.kind == "date" or _carries(column, "year") or _carries(column, "month") or _carries(column, "date")):
        return None
    slots.measures = [m for m in slots.measures if m.column != column]
    measure = slots.measure(slots.aggregate or cue)
    scene.take(range(cue.start, cue.end))
    if slots.aggregate is not None:
        scene.take(range(slots.aggregate.start, slots.aggregate.end))
    if measure is None and not (scene.has("count") or slots.filters):
        return None
    aggregate = slots.aggregate.name if slots.aggregate else "sum" if scene.has("count") else "mean"
    return Query("aggregate", aggregate if measure else "count", measure, groups=group_list(slots), filters=slots.all, order="group")


def distribution(slots: Slots) -> Query | None:
    """How rows spread over a category, or a measure over categories, or a measure by itself."""
    scene = slots.scene
    cue = scene.cue("distribution")
    if cue is None:
        return None
    named = slots.groups or ([slots.target] if slots.target else []) or slots.texts[:1]
    measure = slots.measure(slots.aggregate or cue)
    scene.take(range(cue.start, cue.end))
    if named:
        slots.groups = list(named)
        aggregate = slots.aggregate.name if slots.aggregate else "mean"
        return Query("aggregate", aggregate if measure else "count", measure, groups=group_list(slots), filters=slots.all, order="desc")
    if measure is not None and measure.distinct <= 20:
        return Query("aggregate", "count", groups=(Group(measure),), filters=slots.all, order="group")
    if measure is not None:
        return Query("summary", measure=measure, filters=slots.all)
    flags = [c for c in slots.filters if is_flag(c.column)]
    if len(flags) == 1:
        rest = tuple(c for c in slots.filters if c not in flags)
        return Query("aggregate", "count", groups=(Group(flags[0].column),), filters=rest, order="desc")
    return None


def aggregate(slots: Slots) -> Query | None:
    """The mean, median, sum or spread of a measure, over all rows or by groups."""
    scene = slots.scene
    cue = slots.aggregate
    if cue is None:
        return None
    if cue.name == "sum" and scene.has("count") and not slots.measures:
        return None
    measure = slots.measure(cue)
    if measure is not None and not _summable(measure, cue.name):
        scene.doubt(f"{cue.name}({measure.name})", 0.5)
    flags = [c for c in slots.filters if is_flag(c.column) and c.op == "="]
    if measure is None and cue.name == "mean" and flags and slots.groups:
        scene.take(range(cue.start, cue.end))
        rest = tuple(c for c in slots.filters if c not in flags)
        return Query("share", groups=group_list(slots), filters=rest, part=tuple(flags), order="desc")
    if measure is None:
        return None
    scene.take(range(cue.start, cue.end))
    if counted := scene.cue("count"):
        scene.take(range(counted.start, counted.end))
    groups = slots.groups or ([slots.target] if slots.target else [])
    slots.groups = [g for g in groups if g is not None]
    listed = next((c for c in slots.filters if c.op == "in" and not c.part and len(c.values) <= 10), None)
    if not slots.groups and listed is not None and scene.has("and") and not scene.has("or"):
        slots.groups = [Group(listed.column)]  # the means of men and women are two figures
    having = _having(slots)
    return Query("aggregate", cue.name, measure, groups=group_list(slots), filters=slots.all, having=having, order="desc" if slots.groups else "")


def _summable(column: Column, aggregate: str) -> bool:
    """Years, ranks and numbers of things are not added up."""
    labels = ("year", "rank", "position", "id", "code", "inn") if aggregate == "sum" else ("id", "code", "inn")
    exempt = any(_carries(column, m) for m in ("quantity", "points", "score", "income"))
    return exempt or not any(_carries(column, meaning) for meaning in labels)


def _having(slots: Slots) -> tuple[str, float] | None:
    """In which regions is the mean above 5000: the comparison is with the figure of the group."""
    scene = slots.scene
    if not slots.groups:
        return None
    last = slots.filters[-1] if slots.filters else None
    if last is not None and last.op in (">", ">=", "<", "<=") and not last.part and isinstance(last.values[0], float):
        slots.filters.remove(last)
        return last.op, last.values[0]
    return None


def neighbour(slots: Slots) -> Query | None:
    """The row listed right after (or before) another."""
    scene = slots.scene
    cue = next((c for c in scene.cues if c.name in ("next", "previous") and not any(0 <= n.start - c.end <= 1 for n in scene.numbers)), None)
    anchor = next((c for c in slots.filters if cue is not None and c.op == "=" and isinstance(c.values[0], str)), None)
    if cue is None or anchor is None or len(slots.filters) != 1 or scene.has("count", "share") or slots.extreme:
        return None
    scene.take(range(cue.start, cue.end))
    target = slots.target.column if slots.target else None
    if slots.target is not None:
        scene.use(slots.target)
    scene.doubt("order of rows", 0.85)
    return Query("neighbour", show=(target or anchor.column,), filters=slots.all, step=1 if cue.name == "next" else -1)


def count(slots: Slots) -> Query | None:
    """How many rows, or how many different values, or (after a numeric column) how much in sum."""
    scene = slots.scene
    cue = scene.cue("count")
    distinct = scene.cue("distinct")
    if cue is None and distinct is None:
        return None
    start = cue or distinct
    assert start is not None
    for used in (cue, distinct, slots.aggregate):
        if used is not None:
            scene.take(range(used.start, used.end))
    if slots.groups:
        measure = slots.measure(cue) if _directly(slots.measures, start, scene) else None
        having = _count_having(slots)
        return Query("aggregate", "sum" if measure else "count", measure, groups=group_list(slots), filters=slots.all, having=having, order="desc")
    after = _directly([*slots.texts, *slots.measures, *([slots.target] if slots.target else [])], distinct or start, scene)
    if after is not None:
        return _count_of(slots, after, distinct is not None)
    _doubt_count(slots, start)
    return Query("aggregate", "count", filters=slots.all)


def _doubt_count(slots: Slots, start: Cue) -> None:
    """Rows are rarely what is counted where a condition leaves one row, or where a column holds quantities."""
    scene = slots.scene
    if _is_key(slots):
        scene.doubt("one row counted", 0.4)
    if any(c.op in ("like", "in") and c.column.distinct > 0.7 * max(c.column.rows - c.column.missing, 1) for c in slots.filters):
        scene.doubt("single rows counted", 0.6)
    if "total" in scene.words(range(start.start, start.end)) and any(_carries(c, "quantity") and c.kind == "number" for c in scene.profile.columns):
        scene.doubt("rows, not a sum", 0.6)


def _directly(mentions: list[Mention], cue: Cue, scene: Scene) -> Mention | None:
    near = [m for m in mentions if 0 <= m.start - cue.end <= 3 and scene.gap(cue.end, m.start) == 0]
    return min(near, key=lambda m: m.start) if near else None


def _count_of(slots: Slots, mention: Mention, distinct: bool) -> Query:
    scene, column = slots.scene, slots.scene.use(mention).column
    rows = max(scene.profile.rows - column.missing, 1)
    if distinct or (column.kind != "number" and column.distinct < 0.9 * rows and not slots.filters):
        if not distinct:
            scene.doubt(f"{column.name}: distinct", 0.8)
        return Query("aggregate", "distinct", column, filters=slots.all)
    if column.kind == "number" and not is_flag(column) and not _carries(column, "year") and not is_identifier(column, scene.profile):
        scene.doubt(f"sum({column.name})", 0.5 if not _summable(column, "sum") else 0.85 if mention.score >= 0.6 else 0.6)
        return Query("aggregate", "sum", column, filters=slots.all)
    if column.distinct < 0.9 * rows and column.kind != "number":
        scene.doubt(f"{column.name}: rows", 0.8)
    if _is_key(slots):
        scene.doubt("one row counted", 0.4)
    return Query("aggregate", "count", filters=slots.all)


def _count_having(slots: Slots) -> tuple[str, float] | None:
    """Groups with more than 200 rows."""
    scene = slots.scene
    for cue in scene.cues:
        op = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}.get(cue.name)
        number = next((n for n in scene.numbers if op and 0 <= n.start - cue.end <= 1 and n.start not in scene.taken), None)
        if op and number and _counted_noun(slots, number.end) and scene.tokens[cue.start].text not in ("after", "before", "since", "после", "до"):
            scene.take(range(cue.start, number.end))
            return op, number.value
    return None


def _counted_noun(slots: Slots, i: int) -> bool:
    """Whether the word after a number is what rows are: "more than 200 freelancers", "at least 4 times"."""
    scene = slots.scene
    if i >= len(scene.tokens):
        return False
    token = scene.tokens[i]
    label = label_column(scene.profile)
    rows = token.keys & {"time", "row", "record", "entry", "раз", "строка", "запись"}
    linked = any(i in m.places for m in scene.mentions)
    return bool(rows) or scene.names_row(token) or any(i in m.places and m.column == label for m in scene.mentions) or (
        not linked and not token.keys.isdisjoint(lexicon.person_words())
    )


def groups_having(slots: Slots) -> Query | None:
    """Which regions have more than 200 freelancers."""
    scene = slots.scene
    if slots.target is None or slots.target.column.kind == "number" or slots.filters:
        return None
    having = _count_having(slots)
    if having is None:
        return None
    slots.groups = [slots.target]
    return Query("aggregate", "count", groups=group_list(slots), filters=slots.all, having=having, order="desc")


def ordered_row(slots: Slots) -> Query | None:
    """The first or the last one listed that fits."""
    scene = slots.scene
    cue = next((c for c in scene.cues if c.name in ("top", "bottom")), None)
    target = slots.target or (slots.texts[0] if slots.texts else None)
    if cue is None or target is None or scene.has("count", "share"):
        return None
    scene.take(range(cue.start, cue.end))
    for number in scene.numbers:
        if number.start == cue.start:
            scene.take(range(number.start, number.end))
    first = cue.name == "top"
    limit = _limit(slots) or 1
    if scene.tokens[cue.start].text in ("top", "bottom", "топ"):
        column = scene.use(target).column
        scene.doubt("order of rows", 0.75)
        return Query("rows", show=(column,), filters=slots.all, order="first" if first else "last", limit=limit)
    time = next((c for c in scene.profile.columns if (c.kind == "date" or _carries(c, "year")) and c.kind in ("date", "number")), None)
    column = scene.use(target).column
    if time is not None:
        scene.doubt(f"{time.name}: order", 0.8)
        return Query("rows", measure=time, show=(column,), filters=slots.all, order="asc" if first else "desc", limit=1)
    listed = any(t.text in ("list", "listed", "table", "chart", "списке", "таблице") for t in scene.tokens)
    scene.doubt("order of rows", 0.85 if listed else 0.65)
    return Query("rows", show=(column,), filters=slots.all, order="first" if first else "last", limit=1)


def lookup(slots: Slots) -> Query | None:
    """What is the X of Y; which X fit; list the X."""
    scene = slots.scene
    asked = scene.cue("which", "list", "when", "where")
    target = slots.target or next((m for m in slots.texts), None)
    if target is None and slots.measures and _is_key(slots):
        target = slots.measures[0]
    if target is None and asked is not None and slots.filters and not slots.measures:
        label = label_column(scene.profile)
        if label is not None and not any(c.column == label for c in slots.filters):
            scene.doubt(f"{scene.words([asked.start])} = {label.name}", 0.75)
            return Query("rows", show=(label,), filters=slots.all)
        return None
    if target is None or (not slots.filters and not scene.has("list", "distinct", "which")):
        return None
    if asked is None and not slots.filters:
        return None
    if not slots.filters and not scene.has("list", "distinct"):
        scene.doubt("no condition", 0.5)
    if scene.has("or") and any(c.op == "in" and c.column != target.column for c in slots.filters):
        scene.doubt("one of two", 0.4)
    if any(c.column == target.column and c.op in ("=", "like", "part") for c in slots.filters):
        scene.doubt("the condition itself", 0.3)
    column = scene.use(target).column
    limit = 1 if asked is not None and asked.name == "list" and scene.tokens[min(asked.end, len(scene.tokens) - 1)].text in ("a", "an", "one") else 0
    show = [column, *(scene.use(m).column for m in slots.texts if m is not target and abs(m.start - target.end) <= 2)]
    if asked is not None:
        scene.take(range(asked.start, asked.end))
    if column.kind != "number" and (column.distinct < 0.9 * scene.profile.rows or scene.has("distinct")):
        return Query("rows", "distinct", show=tuple(show), filters=slots.all, limit=limit)
    return Query("rows", show=tuple(show), filters=slots.all, limit=limit)


def _is_key(slots: Slots) -> bool:
    """A filter that leaves (about) one row: what is asked of it is looked up, not averaged."""
    rows = slots.scene.profile.rows
    return any(c.op in ("=", "same") and c.column.distinct > 0.7 * max(rows - c.column.missing, 1) for c in slots.filters)


def plain_measure(slots: Slots) -> Query | None:
    """A measure with or without a filter and no figure named: its mean."""
    scene = slots.scene
    measure = slots.measure()
    if measure is None:
        return None
    if not slots.filters and not slots.groups:
        scene.doubt(f"mean({measure.name})", 0.7)
    else:
        scene.doubt(f"mean({measure.name})", 0.85)
    return Query("aggregate", "mean", measure, groups=group_list(slots), filters=slots.all, order="desc" if slots.groups else "")


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

__all__ = ["READERS", "decide", "flag_value", "lexicon", "replace"]
