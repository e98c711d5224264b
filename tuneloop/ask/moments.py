"""How dates are written in the cells of a column: order of day and month, separators, times, month names.

"03.04.2021" is the 3rd of April where points separate, but "03/04/2021" is either: the column decides (any first part
above 12 is a day), then the other columns of the file, then a guess that the report names as one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_FIGURES = re.compile(
    r"(?P<a>\d{1,4})(?P<mark>[-/.])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{1,4})"
    r"(?P<time>[T ]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?"
    r"(?P<zone>\s?Z|\s?[+-]\d{2}:?\d{2})?( ?г\.?)?"
)
_COMPACT = re.compile(r"(1[89]|20|21)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_RUSSIAN = (
    ("янв", "01"), ("фев", "02"), ("мар", "03"), ("апр", "04"), ("ма[йя]", "05"), ("июн", "06"), ("июл", "07"),
    ("авг", "08"), ("сен", "09"), ("окт", "10"), ("ноя", "11"), ("дек", "12"),
)  # fmt: skip
_ENGLISH = (
    ("jan", "01"), ("feb", "02"), ("mar", "03"), ("apr", "04"), ("may", "05"), ("jun", "06"), ("jul", "07"),
    ("aug", "08"), ("sep", "09"), ("oct", "10"), ("nov", "11"), ("dec", "12"),
)  # fmt: skip
_MONTHS = "|".join(stem for stem, _number in _RUSSIAN + _ENGLISH)
_NAMED = re.compile(
    rf"(?:(?P<d1>\d{{1,2}})[ -](?:of )?(?:{_MONTHS})[а-яa-z]*\.?,?[ -](?P<y1>\d{{4}})( ?г\.?| ?года)?"
    rf"|(?:{_MONTHS})[а-яa-z]*\.? (?P<d2>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y2>\d{{4}}))",
    re.IGNORECASE,
)
DATE_WORDS = re.compile(r"date|дата|день|day|когда|dt$|_at$|time|время|period|период", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Moment:
    """`layout`: "ymd", "dmy", "mdy", "compact" (20210403), "named day" (3 May 2021), "named month" (May 3, 2021)."""

    layout: str
    mark: str = "-"  # between the figures
    timed: bool = False
    short_year: bool = False
    zoned: bool = False
    ambiguous: bool = False  # no cell tells day from month


def moment(cells: Mapping[str, int], name: str, *, order: str = "") -> tuple[Moment, list[str]] | None:
    """How the dates of a column are written, and the cells that are none; None when it is no column of dates.

    cells: distinct trimmed texts and how often each comes. name: of the column; 20210403 is a date only where the name
    says so. order: "day" or "month" when it is known from elsewhere which comes first.
    """
    found = Counter[tuple[str, str]]()
    parts: list[re.Match[str]] = []
    others: list[str] = []
    for cell, n in cells.items():
        if match := _FIGURES.fullmatch(cell):
            parts.append(match)
            found["figures", match["mark"]] += n
        elif match := _NAMED.fullmatch(cell):
            found["named day" if match["d1"] else "named month", ""] += n
        elif _COMPACT.fullmatch(cell) and DATE_WORDS.search(name):
            found["compact", ""] += n
        else:
            others.append(cell)
    if len(found) != 1:
        return None  # nothing, or several ways mixed: left as text rather than half understood
    (layout, mark) = next(iter(found))
    if layout != "figures":
        return Moment(layout), others
    return _ordered(parts, mark, order, others)


def _ordered(parts: list[re.Match[str]], mark: str, order: str, others: list[str]) -> tuple[Moment, list[str]] | None:
    """Which of the three figures is the year, the month, the day."""
    timed = any(p["time"] for p in parts)
    zoned = any(p["zone"] for p in parts)
    year_first = [len(p["a"]) == 4 for p in parts]
    if all(year_first):
        good = all(1 <= int(p["b"]) <= 12 and 1 <= int(p["c"]) <= 31 for p in parts)
        return (Moment("ymd", mark, timed, False, zoned), others) if good else None
    short = all(len(p["c"]) == 2 for p in parts)
    if any(year_first) or not (short or all(len(p["c"]) == 4 for p in parts)):
        return None
    first, second = max(int(p["a"]) for p in parts), max(int(p["b"]) for p in parts)
    if first > 31 or second > 31 or (first > 12 and second > 12):
        return None
    if first > 12 or second > 12:
        layout, ambiguous = ("dmy" if first > 12 else "mdy"), False
    elif order:
        layout, ambiguous = ("dmy" if order == "day" else "mdy"), False
    else:  # with points the day comes first wherever points are used
        layout, ambiguous = ("dmy" if mark == "." else "mdy"), mark != "."
    if order and not ambiguous and {"day": "dmy", "month": "mdy"}[order] != layout:
        return None
    return Moment(layout, mark, timed, short, zoned, ambiguous), others


def moment_sql(how: Moment, cell: str) -> str:
    """SQL that reads the trimmed text `cell` (an SQL expression) as DATE, or TIMESTAMP where times stand by the dates.

    A zone ("+03:00", "Z") is taken into account: what is kept is UTC.
    """
    kind = "TIMESTAMP" if how.timed else "DATE"
    cell = f"regexp_replace({cell}, ' ?(г|года)\\.?$', '')" if how.layout in ("dmy", "named day") else cell
    if how.layout == "ymd":
        # TRY_CAST also takes "2021", "infinity" and "epoch", which the guard keeps out.
        text = cell if how.mark == "-" else f"regexp_replace({cell}, '^(\\d+).(\\d+).', '\\1-\\2-')"
        guard = f"regexp_matches({text}, '^[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}([T ]|$)')"
        return f"CASE WHEN {guard} THEN TRY_CAST(TRY_CAST({text} AS TIMESTAMP) AS {kind}) END"
    if how.layout == "compact":
        return f"CAST(try_strptime({cell}, '%Y%m%d') AS {kind})"
    if how.layout.startswith("named"):
        text = f"lower({cell})"
        for stem, number in _RUSSIAN + _ENGLISH:
            text = f"regexp_replace({text}, '{stem}[а-яa-z]*\\.?', '{number}')"
        text = f"regexp_replace({text}, '(st|nd|rd|th)', '')"
        text = f"trim(regexp_replace({text}, '[^0-9]+', '-', 'g'), '-')"
        order = "%d-%m-%Y" if how.layout == "named day" else "%m-%d-%Y"
        return f"CAST(try_strptime({text}, '{order}') AS {kind})"
    year = "%y" if how.short_year else "%Y"
    day, month = ("%d", "%m") if how.layout == "dmy" else ("%m", "%d")
    date = how.mark.join((day, month, year))
    ways = [date] + ([f"{date}{t}%H:%M{s}" for t in " T" for s in (":%S", "", ":%S.%f")] if how.timed else [])
    listed = ", ".join(f"'{way}'" for way in ways)
    width = "2" if how.short_year else "4"  # %Y alone would take "21" for the year 21
    mark = re.escape(how.mark).replace("\\/", "/")
    guard = f"regexp_matches({cell}, '^\\d{{1,2}}{mark}\\d{{1,2}}{mark}\\d{{{width}}}([T ]|$)')"
    return f"CASE WHEN {guard} THEN CAST(try_strptime({cell}, [{listed}]) AS {kind}) END"
