"""Questions for a figure: a mean, a sum, a count, a percentile, a distribution, a trend, a correlation.

Each function looks whether its cues and slots are there and returns a query, or None when the question is another.
"""

from __future__ import annotations

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Column
from tuneloop.ask.doubts import asked_money, asked_unit, doubt_count, has_event
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.linking import Mention
from tuneloop.ask.query import Group, Query
from tuneloop.ask.scene import Scene, averaged, has_meaning, is_flag, is_identifier, is_label, is_paper, label_column
from tuneloop.ask.slots import AGGREGATE_CUES, Slots, count_having, group_list, leaves_one_row
from tuneloop.ask.words import is_plural, part_of_speech


def correlation(slots: Slots) -> Query | None:
    """Are two measures related; with one measure and one category, the means by category."""
    cue = slots.scene.cue("correlation") or _the_more(slots)
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
        return Query(
            "aggregate",
            "mean",
            slots.scene.use(numeric[0]).column,
            groups=group_list(slots),
            filters=slots.all,
            order="desc",
        )
    return None


def _the_more(slots: Slots) -> Cue | None:
    """«Чем больше X, тем меньше Y», "is X lower for longer Y": two measures, each with a comparison to no number."""
    words = {c.start: slots.scene.tokens[c.start].text for c in slots.scene.cues if c.name in ("gt", "lt")}
    signs = [c for c in slots.scene.cues if c.name in ("gt", "lt") and not words[c.start].endswith("est")]
    apart = len({c.start for c in signs}) == 2 and len(slots.measures) == 2 and not slots.filters
    asked = slots.scene.has("count", "share", "which", "list", "howmuch", *AGGREGATE_CUES)
    if not apart or asked or slots.scene.numbers:
        return None
    for cue in slots.scene.cues:
        if cue.start in {c.start for c in signs}:
            slots.scene.take(range(cue.start, cue.end))
    return signs[0]


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
    if cue is None or _is_height(slots, cue):
        return None
    if not slots.groups:
        time = next((c for c in scene.profile.columns if c.kind == "date"), None)
        numeric = next((c for c in scene.profile.columns if c.kind == "number" and has_meaning(c, "year")), None)
        if numeric is not None:
            slots.groups = [Group(numeric)]
        elif time is not None:
            slots.groups = [Group(time, "year" if str(time.low)[:4] != str(time.high)[:4] else "day")]
    group = slots.groups[0] if slots.groups else None
    column = group.column if group is not None else None
    if column is None or not (
        column.kind == "date"
        or has_meaning(column, "year")
        or has_meaning(column, "month")
        or has_meaning(column, "date")
    ):
        return None
    slots.measures = [m for m in slots.measures if m.column != column and not has_meaning(m.column, "year")]
    measure = slots.measure(slots.aggregate or cue)
    scene.take(range(cue.start, cue.end))
    if slots.aggregate is not None:
        scene.take(range(slots.aggregate.start, slots.aggregate.end))
    rows = any(scene.names_row(token) for token in scene.tokens)
    label = label_column(scene.profile)
    rows = rows or any(m.column == label and m.cell is None for m in scene.mentions)
    if measure is None and not (scene.has("count") or slots.filters or (rows and slots.aggregate is None)):
        return None
    flow = measure is not None and any(has_meaning(measure, meaning) for meaning in lexicon.words("flows"))
    aggregate = slots.aggregate.name if slots.aggregate else "sum" if scene.has("count") or flow else "mean"
    if measure is not None and slots.aggregate is None and not averaged(measure) and not _one_row_each(slots, column):
        scene.doubt(f"{aggregate}({measure.name})", 0.75)
    return Query(
        "aggregate",
        aggregate if measure else "count",
        measure,
        groups=group_list(slots),
        filters=slots.all,
        order="group",
    )


def _one_row_each(slots: Slots, column: Column) -> bool:
    """Whether there is one row for each year: then every figure of a group is the same."""
    return column.distinct >= slots.scene.profile.rows - column.missing


def _is_height(slots: Slots, cue: Cue) -> bool:
    """«Средний рост» is how tall somebody is, whether a column holds that or not."""
    held = any(cue.start in m.places and m.column.kind == "number" for m in slots.scene.mentions if m.cell is None)
    figure = slots.aggregate
    return slots.scene.tokens[cue.start].keys >= {"рост"} and (held or (figure is not None and figure.end == cue.start))


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
        return Query(
            "aggregate",
            aggregate if measure else "count",
            measure,
            groups=group_list(slots),
            filters=slots.all,
            order="desc",
        )
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
    if not slots.measures and not slots.groups and slots.target is None and len(slots.texts) == 1:
        slots.groups = [*slots.texts] if _compared_measure(slots) else []
    measure = (slots.measure(cue) if slots.measures else None) or _compared_measure(slots) or slots.measure(cue)
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
    apart = cue.name != "sum" and scene.has("and") and not scene.has("or")
    if not slots.groups and listed is not None and apart:
        slots.groups = [Group(listed.column)]  # the means of men and women are two figures
    having = _having(slots)
    return Query(
        "aggregate",
        cue.name,
        measure,
        groups=group_list(slots),
        filters=slots.all,
        having=having,
        order="desc" if slots.groups else "",
    )


def _compared_measure(slots: Slots) -> Column | None:
    """The measure of "which groups have a mean above 52", which the comparison took for a test of rows."""
    last = slots.filters[-1] if slots.filters else None
    if (
        last is None
        or last.op not in (">", ">=", "<", "<=")
        or last.part
        or last.other
        or not (slots.groups or slots.target or slots.texts)
    ):
        return None
    return last.column if last.column.kind == "number" else None


def _summable(column: Column, aggregate: str) -> bool:
    """Years, ranks and numbers of things are not added up."""
    labels = ("year", "rank", "position", "id", "code", "inn") if aggregate == "sum" else ("id", "code", "inn")
    exempt = any(has_meaning(column, m) for m in ("quantity", "points", "score", "income"))
    return exempt or not any(has_meaning(column, meaning) for meaning in labels)


def _having(slots: Slots) -> tuple[str, float] | None:
    """In which regions is the mean above 5000: the comparison is with the figure of the group."""
    if not slots.groups:
        return None
    last = slots.filters[-1] if slots.filters else None
    if (
        last is not None
        and last.op in (">", ">=", "<", "<=")
        and last.values
        and not last.part
        and isinstance(last.values[0], float)
    ):
        slots.filters.remove(last)
        return last.op, last.values[0]
    return None


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
    following = slots.scene.tokens[start.end] if start.end < len(scene.tokens) else None
    if following is not None and following.keys & lexicon.words("money") and slots.measures:
        scene.take([start.end])
        return Query("aggregate", "sum", slots.measure(cue), groups=group_list(slots), filters=slots.all)
    if (column := asked_unit(scene, start.end)) is not None:
        return Query("aggregate", "sum", column, groups=group_list(slots), filters=slots.all)
    if (column := asked_money(scene, start)) is not None:
        return Query("aggregate", "sum", column, groups=group_list(slots), filters=slots.all)
    if slots.groups:
        measure = slots.measure(cue) if _directly(slots.measures, start, scene) else None
        having = count_having(slots)
        return Query(
            "aggregate",
            "sum" if measure else "count",
            measure,
            groups=group_list(slots),
            filters=slots.all,
            having=having,
            order="desc",
        )
    after = _directly(
        [*slots.texts, *slots.measures, *([slots.target] if slots.target else [])], distinct or start, scene
    )
    if after is not None:
        return _count_of(slots, after, distinct is not None)
    listed = next((c for c in slots.filters if c.op == "in" and not c.part), None)
    if listed is not None and sum(c.name == "count" for c in scene.cues) == len(listed.values):
        slots.groups = [Group(listed.column)]  # «сколько женщин и сколько мужчин»: two figures
        scene.take(i for c in scene.cues if c.name == "count" for i in range(c.start, c.end))
        return Query("aggregate", "count", groups=group_list(slots), filters=slots.all, order="desc")
    doubt_count(slots, start)
    return Query("aggregate", "count", filters=slots.all)


def _directly(mentions: list[Mention], cue: Cue, scene: Scene) -> Mention | None:
    near = [m for m in mentions if 0 <= m.start - cue.end <= 3 and scene.gap(cue.end, m.start) == 0]
    return min(near, key=lambda m: m.start) if near else None


def _count_of(slots: Slots, mention: Mention, distinct: bool) -> Query:
    scene, column = slots.scene, slots.scene.use(mention).column
    rows = max(scene.profile.rows - column.missing, 1)
    if is_label(column):
        return Query("aggregate", "distinct", column, filters=slots.all)
    if distinct or (column.kind != "number" and column.distinct < 0.9 * rows and not slots.filters):
        if not distinct:
            scene.doubt(f"{column.name}: distinct", 0.8)
        return Query("aggregate", "distinct", column, filters=slots.all)
    if scene.tokens[mention.start].keys & {"стоить"}:
        scene.doubt(f"mean({column.name})", 0.75)  # «сколько стоит тонна»
        return Query("aggregate", "mean", column, filters=slots.all)
    said = scene.tokens[mention.start].text
    paper = is_paper(column) and column.kind == "number" and mention.score < 1 and part_of_speech(said) in ("NOUN", "")
    if paper and is_plural(said):
        scene.doubt(f"sum({column.name})", 0.5)  # "how many bills" asks for their number
    if (
        column.kind == "number"
        and not is_flag(column)
        and not has_meaning(column, "year")
        and not is_identifier(column, scene.profile)
    ):
        scene.doubt(
            f"sum({column.name})", 0.5 if not _summable(column, "sum") else 0.85 if mention.score >= 0.6 else 0.6
        )
        return Query("aggregate", "sum", column, filters=slots.all)
    timely = any(has_meaning(column, meaning) for meaning in ("month", "day", "week", "year", "season"))
    if column.kind != "number" and column.distinct < 0.5 * rows and not timely and not has_event(scene):
        scene.doubt(f"{column.name}: distinct", 0.75)
        return Query("aggregate", "distinct", column, filters=slots.all)
    if column.distinct < 0.9 * rows and column.kind != "number":
        scene.doubt(f"{column.name}: rows", 0.75)
    if leaves_one_row(slots):
        scene.doubt("one row counted", 0.4)
    return Query("aggregate", "count", filters=slots.all)


def plain_measure(slots: Slots) -> Query | None:
    """A measure with or without a filter and no figure named: its mean."""
    scene = slots.scene
    measure = slots.measure()
    if measure is None:
        return None
    total = scene.has("sum") and _summable(measure, "sum")
    if not slots.filters and not slots.groups:
        scene.doubt(f"mean({measure.name})", 0.7)
    else:
        flows = leaves_one_row(slots) or total or averaged(measure)
        scene.doubt(f"mean({measure.name})", 0.85 if flows else 0.75)
    return Query(
        "aggregate",
        "sum" if total else "mean",
        measure,
        groups=group_list(slots),
        filters=slots.all,
        order="desc" if slots.groups else "",
    )
