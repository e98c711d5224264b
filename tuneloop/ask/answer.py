"""The result of a reading as one sentence in the question's language, with a warning where a figure looks odd."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from statistics import median
from typing import Any, Protocol

from tuneloop import texts
from tuneloop.ask.query import Condition, Query
from tuneloop.ask.question import Reading
from tuneloop.texts import _, n_

FAR = 10.0  # times the median of the others: a first row so far away is mostly a unit, a typing error, or a total
SHOWN = 5  # rows that a sentence names; the table beside it has all
LONGEST = 200  # characters of a text in a sentence; its row has all of it


class Rows(Protocol):
    """What running a query gives: column names, rows of values, whether more rows were left."""

    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[Any]]: ...
    @property
    def truncated(self) -> bool: ...


def tell(reading: Reading, result: Rows, language: str) -> str:
    """One sentence for a person, in `language` ("en" or "ru"), and another one where a figure needs a second look."""
    with texts.speaking(language):
        query = reading.query
        if query is None or reading.sql is None:
            return reading.why
        if not result.rows or all(value is None for value in result.rows[0]):
            return _("No row of the table fits.")
        sentence = _sentence(query, [tuple(row) for row in result.rows], result.truncated)
        return " ".join([sentence[:1].upper() + sentence[1:], *left_out(reading), *odd(query, result)])


def left_out(reading: Reading) -> list[str]:
    """Words of the question that the answer does not take into account."""
    if not reading.unread:
        return []
    return [_("Not taken into account: {words}.").format(words=", ".join(reading.unread))]


def odd(query: Query, result: Rows) -> list[str]:
    """Warnings: the first of a list is far away from the others, a condition lies outside of what the column holds."""
    found = []
    values = [float(row[-1]) for row in result.rows if _is_number(row[-1])] if query.order in ("desc", "asc") else []
    if len(values) >= 3 and query.kind != "share":
        rest = median(values[1:])
        if rest > 0 and values[0] > FAR * rest:
            told = _("The first, {value}, is {times} times the middle of the others: check its unit.")
            found.append(told.format(value=number(values[0]), times=number(values[0] / rest)))
    for test in query.filters:
        high = test.column.high
        value = test.values[0] if test.values else None
        if isinstance(high, int | float) and _is_number(value) and not test.part and float(str(value)) > high > 0:
            found.append(
                _("{column} reaches {high} only: was another unit meant?").format(
                    column=test.column.name, high=number(high)
                )
            )
    return found


def _sentence(query: Query, rows: list[tuple[Any, ...]], truncated: bool) -> str:
    figure, where = _figure(query), _where(query.filters)
    first = rows[0]
    if query.kind == "correlation":
        return _("{figure}{where}: {value} ({strength}).").format(
            figure=figure, where=where, value=number(first[0]), strength=_strength(float(first[0]))
        )
    if query.kind == "truth":
        share = _(" ({percent} %)").format(percent=number(first[1])) if query.having else ""
        return (_("Yes{share}.") if first[0] else _("No{share}.")).format(share=share)
    if query.kind == "compare":
        return _("{figure}{where}: {part} {a}, {rest} {b}; the difference is {difference} ({percent} %).").format(
            figure=figure,
            where=where,
            part=_tests(query.part),
            a=number(first[0]),
            rest=_tests(query.rest) if query.rest else _("the others"),
            b=number(first[1]),
            difference=number(first[2]),
            percent=number(first[3]),
        )
    if query.kind == "summary":
        names = (_("least"), _("lower quartile"), _("median"), _("upper quartile"), _("greatest"), _("mean"))
        parts = ", ".join(f"{name} {number(value)}" for name, value in zip(names, first, strict=True))
        return _("{figure}{where}: {parts}.").format(figure=figure, where=where, parts=parts)
    if query.groups:
        return _grouped(query, figure, where, rows, truncated)
    if query.kind == "share":
        counts = _(" ({part} of {all})").format(part=number(first[1]), all=number(first[2])) if len(first) > 2 else ""
        return _("{percent} % are {part}{where}{counts}.").format(
            percent=number(first[0]), part=_tests(query.part), where=where, counts=counts
        )
    if query.kind == "aggregate":
        return _("{figure}{where}: {value}.").format(figure=figure, where=where, value=_with_unit(query, first[-1]))
    return _listed(where, rows, truncated)


def _grouped(query: Query, figure: str, where: str, rows: list[tuple[Any, ...]], truncated: bool) -> str:
    def name(row: tuple[Any, ...]) -> str:
        return ", ".join(number(value) for value in row[: len(query.groups)])

    unit = "%" if query.kind == "share" else query.measure.unit if query.measure else ""
    if len(rows) == 1:
        return _("{name}: {figure}{where} {value}.").format(
            name=name(rows[0]), figure=figure, where=where, value=f"{number(rows[0][-1])} {unit}".strip()
        )
    shown = "; ".join(f"{name(row)} {number(row[-1])}{' ' * bool(unit)}{unit}" for row in rows[:SHOWN])
    return _("{figure} by {groups}{where}: {shown}{more}.").format(
        figure=figure,
        groups=", ".join(g.name for g in query.groups),
        where=where,
        shown=shown,
        more=_more(len(rows) - SHOWN, truncated),
    )


def _listed(where: str, rows: list[tuple[Any, ...]], truncated: bool) -> str:
    shown = "; ".join(", ".join(number(value) for value in row[:6]) for row in rows[:SHOWN])
    return _("{shown}{more}{where}.").format(shown=shown, more=_more(len(rows) - SHOWN, truncated), where=where)


def _more(rest: int, truncated: bool) -> str:
    if rest <= 0:
        return ""
    if truncated:
        return _(" and many more")
    return n_(" and {n} more", " and {n} more", rest).format(n=rest)


def _figure(query: Query) -> str:
    """What the figure is, in words."""
    column = query.measure.name if query.measure else ""
    if query.kind == "correlation" and query.other:
        return _("Correlation of {a} and {b}").format(a=column, b=query.other.name)
    if query.kind == "share":
        return _("share of {what}").format(what=_tests(query.part) if query.part else column or _("rows"))
    if query.aggregate == "percentile":
        return _("percentile {percent} of {column}").format(percent=number(query.fraction * 100), column=column)
    named = {
        "mean": _("mean of {column}"),
        "median": _("median of {column}"),
        "sum": _("sum of {column}"),
        "min": _("least {column}"),
        "max": _("greatest {column}"),
        "spread": _("standard deviation of {column}"),
        "variance": _("variance of {column}"),
        "range": _("range of {column}"),
        "distinct": _("different values of {column}"),
    }
    return named.get(query.aggregate, "{column}" if column else _("number of rows")).format(column=column)


def _where(tests: tuple[Condition, ...]) -> str:
    shown = _tests(tuple(t for t in tests if t.op != "is not"))
    return _(" where {tests}").format(tests=shown) if shown else ""


def _tests(tests: tuple[Condition, ...]) -> str:
    return _(" and ").join(_test(test) for test in tests)


def _test(test: Condition) -> str:
    column = f"{test.column.name}, {test.part}" if test.part else test.column.name
    values = [number(value) for value in test.values]
    if test.op == "missing":
        return _("{column} is missing").format(column=column)
    if test.op == "known":
        return _("{column} is known").format(column=column)
    if test.other is not None:
        return f"{column} {test.op} {test.other.name}"
    if test.op == "between":
        return _("{column} from {low} to {high}").format(column=column, low=values[0], high=values[1])
    if test.op == "days":
        return _("{column} from {low}, before {high}").format(column=column, low=values[0], high=values[1])
    if test.op in ("> average", "< average"):
        return _("{column} {sign} its mean").format(column=column, sign=test.op[0])
    if test.op.startswith("not ") or test.op == "!=":
        return _("{column} is not {values}").format(column=column, values=" / ".join(values))
    if test.op in ("like", "part", "any", "same", "in"):
        return f"{column} = {' / '.join(values)}"
    return f"{column} {test.op} {values[0]}"


def _with_unit(query: Query, value: Any) -> str:
    unit = query.measure.unit if query.measure and query.aggregate not in ("distinct", "count", "variance") else ""
    return f"{number(value)} {unit}".strip()


def _strength(r: float) -> str:
    """Words for a correlation, by J. Cohen's bounds (Statistical Power Analysis, 1988): 0.1, 0.3, 0.5."""
    size = abs(r)
    if size < 0.1:
        return _("practically none")
    strength = _("weak") if size < 0.3 else _("moderate") if size < 0.5 else _("strong")
    return (
        _("{strength}, the more the more").format(strength=strength)
        if r > 0
        else _("{strength}, the more the less").format(strength=strength)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def number(value: object) -> str:
    """A value for people: grouped thousands, at most two decimals that matter, the language's decimal sign."""
    if value is None:
        return _("(missing)")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes")
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, int | float | Decimal):
        told = texts.visible(" ".join(str(value).split()))
        return told if len(told) <= LONGEST else told[: LONGEST - 1] + "…"
    figure = float(value)
    if 1000 <= figure <= 2199 and figure == int(figure) and not isinstance(value, float):
        return str(int(figure))  # most likely a year
    shown = f"{figure:,.0f}" if figure == int(figure) else f"{figure:,.2f}" if abs(figure) >= 0.1 else f"{figure:.3g}"
    return shown.replace(",", "\u00a0").replace(".", ",") if texts.language() == "ru" else shown
