"""Questions for rows or groups: the largest, the most common, the first, the next, and plain look-ups.

Each function looks whether its cues and slots are there and returns a query, or None when the question is another.
"""

from __future__ import annotations

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Column
from tuneloop.ask.doubts import asked_unit
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.linking import Mention
from tuneloop.ask.query import Group, Query
from tuneloop.ask.scene import Scene, averaged, has_meaning, is_flag, is_identifier, label_column
from tuneloop.ask.slots import (
    AGGREGATE_CUES,
    Slots,
    count_having,
    counts,
    group_list,
    implied_measure,
    leaves_one_row,
    limit_of,
)
from tuneloop.ask.words import is_cyrillic, is_plural, name_tokens, part_of_speech


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
    return Query(
        "aggregate", "count", groups=group_list(slots), filters=slots.all, order=order, limit=limit_of(slots) or 1
    )


def superlative(slots: Slots) -> Query | None:
    """Which group has the highest figure; which row the largest measure; the largest measure itself."""
    scene = slots.scene
    limit = limit_of(slots)
    top = scene.cue("top", "bottom")
    if slots.extreme is None and not (top is not None and limit):
        return None
    order = slots.extreme[1] if slots.extreme else "desc" if top and top.name == "top" else "asc"
    if top is not None:
        scene.take(range(top.start, top.end))
        _take_years(slots, top)
    end = slots.extreme[0].end if slots.extreme else len(scene.tokens)
    label = label_column(scene.profile)
    after = [t for t in slots.texts if t.column != label and t.start >= end and not scene.gap(end, t.start)]
    if any(scene.tokens[t.start - 1].text not in lexicon.words("to") for t in after):
        return None  # a text cannot be the largest
    named = [*([slots.target] if slots.target else []), *slots.groups]
    texts: list[Mention | Group] = [t for t in slots.texts if t not in named]
    implied = implied_measure(slots)
    measure = implied[0] if implied else None
    order = implied[1] if implied else order
    if measure is None:
        at = slots.aggregate or (slots.extreme[0] if slots.extreme else top)
        measure = slots.measure(at)
    if slots.aggregate is not None and measure is not None and (named or texts):
        scene.take(range(slots.aggregate.start, slots.aggregate.end))
        slots.groups = (named or texts)[:1]
        return Query(
            "aggregate",
            slots.aggregate.name,
            measure,
            groups=group_list(slots),
            filters=slots.all,
            order=order,
            limit=limit or 1,
        )
    if measure is not None and implied is None and slots.extreme and _adjective(scene, slots.extreme[0]):
        scene.doubt(f"{scene.words(range(slots.extreme[0].start, slots.extreme[0].end))} = {measure.name}", 0.5)
    _doubt_order(slots, measure, implied is not None)
    if measure is None:
        return _most_rows(slots, named or texts, order, limit)
    if not (named or texts or limit) and _both_ends(scene):
        return Query("summary", measure=measure, filters=slots.all)
    slots.measures = [m for m in slots.measures if m.column != measure]
    said = any(m.column == measure and m.cell is None for m in scene.mentions)
    figure = scene.cue("which", "list", "when", "where")
    asks_figure = figure is None or (said and scene.tokens[figure.start].text in lexicon.words("what"))
    alone = not named and limit == 0 and asks_figure and not texts
    if alone and (said or implied is None or slots.extreme is None):
        return Query("aggregate", "max" if order == "desc" else "min", measure, filters=slots.all)
    if slots.groups and slots.target is None:
        return _extreme_group(slots, measure, order, limit)
    single = implied is not None and slots.extreme is not None and _of_one_row(scene, slots.extreme[0], named)
    return _extreme_rows(slots, named, texts, measure, order, limit, single=single)


def _of_one_row(scene: Scene, cue: Cue, named: list[Mention | Group]) -> bool:
    """ "Which tournament had the longest match": what is the longest is a row, and not the tournament."""
    asked = [i for m in named if isinstance(m, Mention) for i in m.places]
    after = [i for i in range(cue.end, min(cue.end + 2, len(scene.tokens))) if scene.tokens[i].kind == "word"]
    after = [i for i in after if i not in scene.measures and not lexicon.is_filler(scene.tokens[i])]
    return bool(after) and bool(asked) and max(asked) < cue.start and after[0] not in asked


def _extreme_group(slots: Slots, measure: Column, order: str, limit: int) -> Query:
    """The extreme of each group; with "in which month" the one month whose figure is the extreme."""
    if isinstance(slots.groups[0], Group) and _asks_which(slots.scene) and not limit:
        figure, limit = "mean" if averaged(measure) else "sum", 1
        slots.scene.doubt(f"{figure}({measure.name})", 0.75)
    else:
        figure, limit = "max" if order == "desc" else "min", 0
    groups = group_list(slots)
    return Query("aggregate", figure, measure, groups=groups, filters=slots.all, order=order, limit=limit)


def _take_years(slots: Slots, top: Cue) -> None:
    """In "top 3 years by harvest" the years are what is listed, the harvest is the measure."""
    by = next((c for c in slots.scene.cues if c.name == "each" and c.start > top.end), None)
    years = [m for m in slots.measures if has_meaning(m.column, "year") and by is not None and m.end <= by.start]
    if years and len(slots.measures) > len(years):
        slots.measures = [m for m in slots.measures if m not in years]
        slots.texts = [*years, *slots.texts]


def _asks_which(scene: Scene) -> bool:
    """ "Which month" is a phrase of its own, in which no other "which" is found."""
    return any(t.keys & {"which", "what", "какой", "каков"} for t in scene.tokens)


def _both_ends(scene: Scene) -> bool:
    """The least and the greatest, asked for at once."""
    ends = [c for c in scene.cues if c.name in ("max", "min")]
    both = len({c.name for c in ends}) == 2 and len({c.start for c in ends}) == 2 and scene.has("and")
    if both:
        scene.take(i for c in ends for i in range(c.start, c.end))
    return both


def _doubt_order(slots: Slots, measure: Column | None, implied: bool) -> None:
    """A figure over a top list, a rank as a measure, and a measure other than the noun after "most" are doubtful."""
    scene = slots.scene
    top = scene.cue("top", "bottom")
    figure = scene.cue("count", *AGGREGATE_CUES)
    if top is not None and figure is not None and figure.start < top.start:
        scene.doubt("a figure over a top list", 0.3)
    if measure is None or implied:
        return
    cue = slots.extreme[0] if slots.extreme else top
    if cue is not None and has_meaning(measure, "year") and scene.tokens[cue.end - 1].keys & _JUDGED:
        scene.doubt(f"{measure.name}: by what?", 0.3)
    if has_meaning(measure, "rank") or has_meaning(measure, "position"):
        scene.doubt(f"{measure.name}: which end is the top?", 0.4)
    after = slots.extreme[0].end if slots.extreme else len(scene.tokens)
    if after < len(scene.tokens) and after not in scene.taken:
        said = any(after in m.places for m in scene.mentions) or any(c.start <= after < c.end for c in scene.cues)
        if not said and not lexicon.is_filler(scene.tokens[after]) and scene.tokens[after].kind == "word":
            scene.doubt(f"{scene.tokens[after].raw} = {measure.name}", 0.4)


_JUDGED = {"best", "good", "worst", "bad", "лучший", "худший", "хороший", "плохой"}


def _adjective(scene: Scene, cue: Cue) -> bool:
    """Whether the superlative names a measure of its own ("shortest"), which this table does not have."""
    found = [scene.measures[i][0] for i in range(cue.start, min(cue.end + 1, len(scene.tokens))) if i in scene.measures]
    return bool(found) and not found[0].generic


def _most_rows(slots: Slots, named: list[Mention | Group], order: str, limit: int) -> Query | None:
    """Which region has the most freelancers: groups by their number of rows."""
    scene = slots.scene
    if not named:
        return None
    if slots.extreme is not None and not counts(slots):
        return None
    first = named[0]
    if slots.extreme is not None and (unit := asked_unit(scene, slots.extreme[0].end)) is not None:
        slots.groups = named[:1]
        groups = group_list(slots)
        return Query("aggregate", "sum", unit, groups=groups, filters=slots.all, order=order, limit=limit or 1)
    if isinstance(first, Mention) and first.column.distinct > 0.9 * max(first.column.rows - first.column.missing, 1):
        scene.doubt(f"{first.column.name}: each value once", 0.4)
    if slots.extreme is not None:
        _doubt_counted(scene, slots.extreme[0].end)
    slots.groups = named[:1]
    flags = tuple(c for c in slots.filters if is_flag(c.column))
    if flags and scene.has("share"):
        return None
    return Query("aggregate", "count", groups=group_list(slots), filters=slots.all, order=order, limit=limit or 1)


def _doubt_counted(scene: Scene, i: int) -> None:
    """What is counted after "most" is a noun: "the most dangerous" asks for a measure that no column holds."""
    while i < len(scene.tokens) and lexicon.is_filler(scene.tokens[i]):
        i += 1
    linked = i in scene.taken or any(i in m.places for m in scene.mentions)
    if i >= len(scene.tokens) or linked or scene.names_row(scene.tokens[i]):
        return
    word = scene.tokens[i].text
    noun = part_of_speech(word) not in ("ADJF", "ADJS", "PRTF", "COMP") if is_cyrillic(word) else is_plural(word)
    if not noun and scene.tokens[i].keys.isdisjoint(lexicon.person_words()):
        scene.doubt(f"{scene.tokens[i].raw}: ?", 0.4)


def _extreme_rows(
    slots: Slots,
    named: list[Mention | Group],
    texts: list[Mention | Group],
    measure: Column,
    order: str,
    limit: int,
    *,
    single: bool = False,
) -> Query:
    """Rows at the end of an order; a category asked for with a measure but no figure is read as its mean or sum."""
    scene = slots.scene
    target = next((m for m in (*named, *texts) if isinstance(m, Mention)), None)
    rows = max(scene.profile.rows, 1)
    if limit and target is not None and target.column.distinct < 0.3 * rows and target.column.kind != "date":
        scene.use(target)
        mean = averaged(measure)
        scene.doubt(f"{target.column.name}: {'mean' if mean else 'sum'}({measure.name})", 0.85)
        figure, groups = "mean" if mean else "sum", (Group(target.column),)
        return Query("aggregate", figure, measure, groups=groups, filters=slots.all, order=order, limit=limit)
    if (
        target is not None
        and (target.column.kind != "number" or (target is slots.target and not has_meaning(target.column, "year")))
        and target.column.distinct < 0.3 * rows
        and not limit
        and not slots.filters
        and not single
    ):
        scene.use(target)
        summed = scene.cue("sum") is not None or (counts(slots) and not averaged(measure))
        if not summed:
            scene.doubt(f"{target.column.name}: mean({measure.name})", 0.75)
        return Query(
            "aggregate",
            "sum" if summed else "mean",
            measure,
            groups=(Group(target.column),),
            filters=slots.all,
            order=order,
            limit=1,
        )
    show = []
    for mention in (*named, *texts):
        if isinstance(mention, Mention):
            show.append(scene.use(mention).column)
    label = _person(scene, measure) or label_column(scene.profile)
    asks_who = any(t.text in ("who", "кто", "кому", "кого") for t in scene.tokens)
    if not show and asks_who and label is not None and is_identifier(label, scene.profile):
        scene.doubt(f"who = {label.name}", 0.5)
    if not show and label is not None and label != measure:
        show.append(label)
    if not show:
        if asks_who:
            scene.doubt("who?", 0.4)
        return Query("rows", measure=measure, filters=slots.all, order=order, limit=limit or 1)
    if target is not None and target.column.distinct < 0.5 * rows and slots.filters and not limit:
        scene.doubt(f"{target.column.name}: one row of several", 0.75)
    return Query("rows", measure=measure, show=(*show, measure), filters=slots.all, order=order, limit=limit or 1)


def _person(scene: Scene, measure: Column) -> Column | None:
    """Whose measure it is: "who is the tallest winner" asks for winner_name where the measure is winner_ht."""
    if any(t.text in ("who", "кто") for t in scene.tokens):
        texts = [c for c in scene.profile.columns if c.kind == "text"]
        texts = [c for c in texts if len(name_tokens(c.name)) == 1 or has_meaning(c, "name")]
        person = next((c for c in texts if any(has_meaning(c, meaning) for meaning in lexicon.words("persons"))), None)
        if person is not None:
            return person
    said = {key for t in name_tokens(measure.name) for key in t.keys if len(key) > 2}
    names = [c for c in scene.profile.columns if c.kind == "text" and has_meaning(c, "name")]
    return next((c for c in names if said & {key for t in name_tokens(c.name) for key in t.keys}), None)


def neighbour(slots: Slots) -> Query | None:
    """The row listed right after (or before) another."""
    scene = slots.scene
    cue = next(
        (
            c
            for c in scene.cues
            if c.name in ("next", "previous") and not any(0 <= n.start - c.end <= 1 for n in scene.numbers)
        ),
        None,
    )
    anchor = next((c for c in slots.filters if cue is not None and c.op == "=" and isinstance(c.values[0], str)), None)
    if cue is None or anchor is None or len(slots.filters) != 1 or scene.has("count", "share") or slots.extreme:
        return None
    scene.take(range(cue.start, cue.end))
    target = slots.target.column if slots.target else None
    if slots.target is not None:
        scene.use(slots.target)
    scene.doubt("order of rows", 0.85)
    return Query("neighbour", show=(target or anchor.column,), filters=slots.all, step=1 if cue.name == "next" else -1)


def groups_having(slots: Slots) -> Query | None:
    """Which regions have more than 200 freelancers."""
    if slots.target is None or slots.target.column.kind == "number" or slots.filters:
        return None
    having = count_having(slots)
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
    limit = limit_of(slots) or 1
    if scene.tokens[cue.start].text in ("top", "bottom", "топ"):
        column = scene.use(target).column
        scene.doubt("order of rows", 0.75)
        return Query("rows", show=(column,), filters=slots.all, order="first" if first else "last", limit=limit)
    time = next(
        (
            c
            for c in scene.profile.columns
            if (c.kind == "date" or has_meaning(c, "year")) and c.kind in ("date", "number")
        ),
        None,
    )
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
    if target is None and slots.measures and leaves_one_row(slots):
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
    repeated = target.column.distinct < 0.5 * max(scene.profile.rows, 1)
    if repeated and any(c.op in ("!=", "not in") and c.column != target.column for c in slots.filters):
        scene.doubt("none of its rows, or some that are not", 0.4)
    if any(c.column == target.column and c.op in ("=", "like", "part") for c in slots.filters):
        scene.doubt("the condition itself", 0.3)
    column = scene.use(target).column
    limit = (
        1
        if asked is not None
        and asked.name == "list"
        and scene.tokens[min(asked.end, len(scene.tokens) - 1)].text in ("a", "an", "one")
        else 0
    )
    show = [column, *(scene.use(m).column for m in slots.texts if m is not target and abs(m.start - target.end) <= 2)]
    if asked is not None:
        scene.take(range(asked.start, asked.end))
    if column.kind != "number" and (column.distinct < 0.9 * scene.profile.rows or scene.has("distinct")):
        return Query("rows", "distinct", show=tuple(show), filters=slots.all, limit=limit)
    return Query("rows", show=tuple(show), filters=slots.all, limit=limit)
