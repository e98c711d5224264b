"""Which column holds the years, months and days that a question names, and spells of several months."""

from __future__ import annotations

from datetime import date

from tuneloop.ask import dates
from tuneloop.ask.columns import Column
from tuneloop.ask.linking import columns_named
from tuneloop.ask.query import Condition
from tuneloop.ask.scene import Scene, has_meaning
from tuneloop.ask.words import name_tokens


def spells(scene: Scene) -> list[Condition]:
    """с марта по май 2020, from June to August 2022: the days from the first month's first to the last one's last."""
    found = []
    for last in scene.spans:
        ends = [i for i in range(max(last.start - 2, 0), last.start) if scene.tokens[i].text in _UNTIL]
        i = ends[-1] - 1 if ends else -1
        earlier = next((s for s in scene.spans if s.end == i + 1), None)
        month = dates.month_of(scene.tokens[i]) if i >= 1 else None
        start = earlier.start if earlier else i
        if start < 1 or not (earlier or month) or scene.tokens[start - 1].text not in _SINCE:
            continue
        turn = month is not None and month > last.first.month  # from November to March 2020
        first = earlier.first if earlier else date(last.first.year - turn, month or 1, 1)
        column = date_column(scene)
        if column is not None and first < last.after:
            scene.take(range(start - 1, last.end))
            found.append(Condition(column, "days", (first, last.after), place=start))
    return found


_UNTIL = ("по", "до", "to", "until", "till", "through", "and", "и")


_SINCE = ("с", "со", "от", "from", "between", "между", "since")


def years_apart(found: list[Condition], scene: Scene) -> list[Condition]:
    """ "2022 vs 2023" wants the rows of either year; no row is in two other spans at once."""
    spans = [(c, span) for c in found if (span := _span(c)) is not None]
    column = next((a.column for a, x in spans for b, y in spans if a.column == b.column and x[1] <= y[0]), None)
    if column is None:
        return found
    mine = [(c, span) for c, span in spans if c.column == column]
    if not all(_whole_year(*span) for _c, span in mine):
        scene.doubt(f"{column.name}: ?", 0.3)
        return found
    named = tuple(sorted({float(first.year) for _c, (first, _after) in mine}))
    years = Condition(column, "in", named, "year", mine[0][0].place)
    return [years, *(c for c in found if not any(c is known for known, _s in mine))]


def _span(condition: Condition) -> tuple[date, date] | None:
    days = [v for v in condition.values if isinstance(v, date)]
    return (days[0], days[1]) if condition.op == "days" and len(days) == 2 else None


def _whole_year(first: date, after: date) -> bool:
    return first == date(first.year, 1, 1) and after == date(first.year + 1, 1, 1)


def use_named(scene: Scene, column: Column) -> None:
    for mention in scene.free():
        if mention.column == column and mention.cell is None:
            scene.use(mention)


def year_column(scene: Scene, value: float) -> Column | None:
    """The column that holds this year: a number in range named so, else the first date column."""
    numeric = [
        c
        for c in scene.profile.columns
        if c.kind == "number" and has_meaning(c, "year") and isinstance(c.high, int | float) and c.high <= 2200
    ]
    fits = [c for c in numeric if isinstance(c.low, int | float) and c.low - 30 <= value <= float(c.high or 0) + 30]
    two_digits = [c for c in numeric if isinstance(c.high, int | float) and c.high < 100]
    said = [m.column for m in scene.mentions if m.cell is None and m.column.kind == "date" and _spans(m.column, value)]
    days = [c for c in scene.profile.columns if c.kind == "date" and _spans(c, value)]
    if days and fits and not any(_is_said(c, scene) for c in fits):
        fits = []  # a "year of building" that nobody named, beside the day of the row
    return next(iter([*fits, *said, *days, *two_digits]), None)


def _is_said(column: Column, scene: Scene) -> bool:
    """Whether a year column is called just that, or one of its other words stands in the question."""
    words = [t for t in name_tokens(column.name) if t.kind == "word" and not t.keys & {"год", "year"}]
    said = [t for t in scene.tokens if t.kind == "word" and not t.keys & {"год", "year"}]
    return not words or any(columns_named(token, column) for token in said)


def _spans(column: Column, year: float) -> bool:
    """Whether a date column reaches this year, give or take one."""
    low, high = str(column.low)[:4], str(column.high)[:4]
    return not (low.isdigit() and high.isdigit()) or int(low) - 1 <= year <= int(high) + 1


def date_column(scene: Scene) -> Column | None:
    said = [m for m in scene.mentions if m.cell is None and m.column.kind == "date"]
    if said:
        use_named(scene, said[0].column)
        return said[0].column
    return default_date(scene)


def default_date(scene: Scene) -> Column | None:
    """The date column that is meant where none is named: the first, never one of births; doubtful beside others."""
    days = [c for c in scene.profile.columns if c.kind == "date"]
    lived = [c for c in days if not has_meaning(c, "birth")] or days
    if len(lived) > 1:
        scene.doubt(f"{lived[0].name}?", 0.92)
    return lived[0] if lived else None
