"""What kind of values a column of texts holds, and the SQL that reads them.

Decided from the distinct texts of a sample; then every cell of the file is read by that SQL, and cells it cannot read
are counted. A column is numbers (or dates, or truth values) only when the rest is next to nothing: codes such as
"C536379" among numbers make it a text, because numbers that lost their odd ones give wrong sums silently.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tuneloop.ask.columns import Kind, literal
from tuneloop.ask.moments import Moment, moment, moment_sql
from tuneloop.ask.numerals import Numeral, numeral, numeral_sql

# Lower-case words for "no value". In columns of numbers and dates all of them; in texts only those of TEXT_MISSING,
# because "-", "нет" or "none" may be an answer there, and "NA" is Namibia among country codes.
_WORDS = (
    "na n/a n.a. null nil nan none - -- --- — – ... … .. . ? * x х н/д н.д. нд нет #n/a #н/д #value! #знач!"
    " #div/0! #дел/0! #ref! #ссылка! #name? #имя? #num! #число! unknown неизвестно tbd tba"
)
MISSING = frozenset(_WORDS.split()) | {"нет данных", "no data", "not available"}
TEXT_MISSING = frozenset({"n/a", "null", "nan", "na", "<na>", "#n/a", "#н/д", "н/д", "нет данных", "\\n"})
TRUTH = {"true": "true", "false": "false", "истина": "true", "ложь": "false"}

MOST_STRAY = 0.05  # share of cells without a digit ("call us") that a column of numbers may have
MOST_BROKEN = 0.005  # share of cells with digits that are no number ("12..5"): more, and they are codes
WIDE_BLANKS = "\u00a0\u202f\u2009\ufeff"


@dataclass(frozen=True, slots=True)
class Decision:
    """The kind of a column and how its cells are written."""

    kind: Kind
    numeral: Numeral | None = None
    moment: Moment | None = None
    missing: tuple[str, ...] = ()  # words for "no value" that came
    stray: tuple[str, ...] = ()  # cells that are not of the kind and are read as missing

    def sql(self, cell: str) -> str:
        """SQL that reads the trimmed text `cell`, an SQL expression that is NULL for an empty cell."""
        if self.numeral:
            return numeral_sql(self.numeral, cell)
        if self.moment:
            return moment_sql(self.moment, cell)
        if self.kind == "bool":
            return f"CASE lower({cell}) " + " ".join(f"WHEN '{w}' THEN {v}" for w, v in TRUTH.items()) + " END"
        if self.missing:
            return f"CASE WHEN {_among(cell, self.missing)} THEN NULL ELSE {cell} END"
        return cell

    def unread_sql(self, cell: str, read: str) -> str:
        """SQL that is true for cells that hold something and could not be read. `read`: the column `sql` made."""
        if self.kind == "text":
            return "false"
        return f"({read} IS NULL AND {cell} IS NOT NULL AND NOT {_among(cell, sorted(MISSING))})"


@dataclass(frozen=True, slots=True)
class Hints:
    """What other columns of the file, its separator or the user say of ambiguous cells."""

    decimal: str = ""  # "," or "."
    order: str = ""  # "day" or "month"


def trimmed_sql(cell: str, *, thorough: bool = False) -> str:
    """SQL for a cell without blanks at its ends, NULL where nothing is left.

    Cells without plain blanks are the rule, and comparing is eight times cheaper than trimming. thorough: also take
    off no-break and thin blanks, which the comparison does not see.
    """
    trim = f"nullif(trim({cell}, ' \t\r\n{WIDE_BLANKS}'), '')"
    return trim if thorough else f"CASE WHEN {cell} >= '!' AND right({cell}, 1) >= '!' THEN {cell} ELSE {trim} END"


def decide(name: str, cells: Mapping[str, int], hints: Hints = Hints()) -> Decision:
    """The kind of a column. cells: distinct trimmed texts, not empty, and how often each comes."""
    words = Counter({cell: n for cell, n in cells.items() if cell.lower() not in MISSING})
    if not words:
        return _text(cells)
    if all(cell.lower() in TRUTH for cell in words):
        return Decision("bool", missing=_missing(cells, MISSING))
    total = sum(words.values())
    if (found := moment(words, name, order=hints.order)) and _bearable(found[1], words, total):
        return Decision("date", moment=found[0], missing=_missing(cells, MISSING), stray=tuple(found[1][:5]))
    if (known := numeral(words, decimal=hints.decimal)) and _bearable(known[1], words, total):
        return Decision("number", numeral=known[0], missing=_missing(cells, MISSING), stray=tuple(known[1][:5]))
    return _text(cells)


def decide_all(columns: Mapping[str, Mapping[str, int]], given: Hints, *, comma_country: bool) -> dict[str, Decision]:
    """Decide each column, then the ambiguous ones again with what the others say.

    comma_country: the file looks as if written where the comma is the decimal mark and the day comes first (semicolons
    between cells, Cyrillic names): used where no column tells.
    """
    first = {name: decide(name, cells, given) for name, cells in columns.items()}
    hints = learnt(first.values(), given)
    guess = Hints(hints.decimal or ("," if comma_country else ""), hints.order or ("day" if comma_country else ""))
    made = {}
    for name, found in first.items():
        unsure = (found.numeral and found.numeral.ambiguous) or (found.moment and found.moment.ambiguous)
        again = decide(name, columns[name], guess) if unsure else found
        if unsure and again.moment and not hints.order:
            again = replace(again, moment=replace(again.moment, ambiguous=True))
        made[name] = again
    return made


def learnt(decisions: Iterable[Decision], given: Hints) -> Hints:
    """What the unambiguous columns say of the file: decimal mark and order of day and month."""
    marks: set[str] = set()
    orders: set[str] = set()
    for one in decisions:
        if one.numeral and not one.numeral.ambiguous:
            if one.numeral.style in ("comma", "blank comma", "point comma"):
                marks.add(",")
            elif not one.numeral.whole or one.numeral.style == "comma point":
                marks.add(".")
        if one.moment and not one.moment.ambiguous and one.moment.layout in ("dmy", "mdy"):
            orders.add("day" if one.moment.layout == "dmy" else "month")
    decimal = given.decimal or (marks.pop() if len(marks) == 1 else "")
    order = given.order or (orders.pop() if len(orders) == 1 else "")
    return Hints(decimal, order)


def _bearable(others: list[str], words: Mapping[str, int], total: int) -> bool:
    """Whether the cells that are not of the kind are few enough to be slips."""
    stray = sum(words[cell] for cell in others if not re.search(r"\d", cell))
    broken = sum(words[cell] for cell in others) - stray
    few = len(others) <= 20
    return few and stray <= MOST_STRAY * total and broken <= MOST_BROKEN * total


def _text(cells: Mapping[str, int]) -> Decision:
    missing = set(_missing(cells, TEXT_MISSING))
    codes = sum(n for cell, n in cells.items() if re.fullmatch(r"[A-Z]{2,3}", cell))
    if "na" in missing and codes > 0.8 * sum(cells.values()):
        missing.discard("na")
    return Decision("text", missing=tuple(sorted(missing)))


def _missing(cells: Mapping[str, int], words: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({cell.lower() for cell in cells} & words))


def _among(cell: str, words: Iterable[str]) -> str:
    """SQL for "is one of the words".

    A pattern, because DuckDB makes a join of every IN and list_contains: 50 columns took 280 MB and 2.4 s for 24 rows,
    and the rows came out in another order.
    """
    either = "|".join(re.escape(word).replace("\\ ", " ") for word in words)
    return f"regexp_full_match(lower({cell}), {literal(either)})"
