"""Days, months and years of a question as spans of days, in the order people write them in two languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from tuneloop.ask.words import Token

MONTHS = {
    word: number
    for number, words in enumerate(
        (
            "январь january jan", "февраль february feb", "март march", "апрель april apr", "май may", "июнь june jun",
            "июль july jul", "август august aug", "сентябрь september sep sept", "октябрь october oct",
            "ноябрь november nov", "декабрь december dec",
        ),
        1,
    )
    for word in words.split()
}  # fmt: skip
WEEKDAYS = {
    word: number
    for number, words in enumerate(
        (
            "понедельник monday", "вторник tuesday", "среда wednesday", "четверг thursday", "пятница friday",
            "суббота saturday", "воскресенье sunday",
        ),
        1,
    )
    for word in words.split()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """The days [first, after) said in tokens [start, end)."""

    first: date
    after: date
    start: int
    end: int


def spans(found: Sequence[Token]) -> list[Span]:
    """Dates with a day and months with a year; a year alone is a number until a column takes it as a date."""
    result: list[Span] = []
    i = 0
    while i < len(found):
        span = _numeric(found, i) or _written(found, i)
        if span:
            result.append(span)
            i = span.end
        else:
            i += 1
    return result


def year_span(year: int, start: int, end: int) -> Span:
    return Span(date(year, 1, 1), date(year + 1, 1, 1), start, end)


def month_of(token: Token) -> int | None:
    """The month a word names; English "may" and "march" only with a capital letter."""
    if token.text in ("may", "march", "mar") and not token.raw[:1].isupper():
        return None
    return next((MONTHS[key] for key in sorted(token.keys) if key in MONTHS), None)


def weekday_of(token: Token) -> int | None:
    """1 (Monday) to 7 for the name of a day of the week."""
    return next((WEEKDAYS[key] for key in sorted(token.keys) if key in WEEKDAYS), None)


WEEKEND = frozenset(("weekend", "выходной"))
WORKDAYS = frozenset(("workday", "будни", "будний", "будень"))


def days_of_week(token: Token) -> tuple[int, ...]:
    """The days that "weekend" or "workdays" stands for, 1 (Monday) to 7; none of other words."""
    if token.keys & WEEKEND:
        return (6, 7)
    return (1, 2, 3, 4, 5) if token.keys & WORKDAYS else ()


SEASONS = {
    word: months
    for words, months in (
        ("winter зима зимой", (12, 1, 2)),
        ("spring весна весной", (3, 4, 5)),
        ("summer лето летом", (6, 7, 8)),
        ("autumn fall осень осенью", (9, 10, 11)),
    )
    for word in words.split()
}


def season_of(token: Token) -> tuple[int, ...]:
    """The months of a season that a word names; none of other words."""
    return next((SEASONS[key] for key in sorted(token.keys) if key in SEASONS), ())


def is_year(text: str) -> bool:
    return len(text) == 4 and text.isdigit() and 1000 <= int(text) <= 2199


def _numeric(found: Sequence[Token], i: int) -> Span | None:
    """2019-03-05, 05.03.2019, 5/3/2019 (day first, as in the languages read here; month first when only that fits)."""
    joined: list[str] = []
    j = i
    while j < len(found) and len(joined) < 3 and found[j].kind == "number":
        joined += [part for part in found[j].text.replace(",", ".").split(".") if part]
        if j + 1 < len(found) and found[j + 1].text in ("-", "/") and found[j + 1].start == found[j].end:
            j += 2
        else:
            j += 1
            if j < len(found) and len(joined) < 3 and found[j].start - found[j - 1].end > 1:
                break
    if len(joined) != 3 or not all(part.isdigit() for part in joined):
        return None
    a, b, c = (int(part) for part in joined)
    if len(joined[0]) == 4:
        return _day(a, b, c, i, j)
    if len(joined[2]) == 4:
        return _day(c, b, a, i, j) or _day(c, a, b, i, j)
    return None


def _written(found: Sequence[Token], i: int) -> Span | None:
    """3 марта 2019, March 3, 2019, March 2019, в марте 2019 года."""
    day, j = None, i
    if found[j].kind == "number" and found[j].text.isdigit() and 1 <= int(found[j].text) <= 31 and j + 1 < len(found):
        day, j = int(found[j].text), j + 1
        if found[j].text in ("th", "st", "nd", "rd", "of"):
            j += 1
    if j >= len(found) or found[j].kind != "word" or (month := month_of(found[j])) is None:
        return None
    j += 1
    if day is None and j < len(found) and found[j].text.isdigit() and 1 <= int(found[j].text) <= 31:
        day, j = int(found[j].text), j + 1
        if j < len(found) and found[j].text in ("th", "st", "nd", "rd"):
            j += 1
    k = j + 1 if j < len(found) and found[j].text in (",", "of") else j
    if k >= len(found) or not is_year(found[k].text):
        return None
    year = int(found[k].text)
    if day is not None:
        return _day(year, month, day, i, k + 1)
    return Span(date(year, month, 1), date(year + month // 12, month % 12 + 1, 1), i, k + 1)


def _day(year: int, month: int, day: int, start: int, end: int) -> Span | None:
    try:
        first = date(year, month, day)
    except ValueError:
        return None  # not a date after all: 45.13.2019
    return Span(first, first + timedelta(days=1), start, end)
