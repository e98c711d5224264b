"""One question as a record, and the record as one SELECT over the table `t`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from tuneloop.ask.columns import Column

AGGREGATES = {
    "mean": "avg({x})",
    "median": "median({x})",
    "sum": "sum({x})",
    "min": "min({x})",
    "max": "max({x})",
    "spread": "stddev_samp({x})",
    "variance": "var_samp({x})",
    "range": "max({x}) - min({x})",
    "distinct": "count(DISTINCT {x})",
    "count": "count({x})",
    "share": "100.0 * avg({x})",
}
# An exact median keeps every value: of 54 million it took more than the 512 MB of a query. A t-digest takes 1.5 s.
EXACT_ROWS = 10_000_000
ESTIMATES = {"median": "approx_quantile({x}, 0.5)", "distinct": "approx_count_distinct({x})"}
SEPARATORS = (",", ";", "/", "&")  # between the things of a cell that holds several
PARTS = {  # parts of a date: SQL over a column
    "year": "year({x})",
    "month": "month({x})",
    "year-month": "strftime({x}, '%Y-%m')",
    "day": "CAST({x} AS DATE)",
    "weekday": "isodow({x})",
    "hour": "hour({x})",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one column: `op` is =, !=, <, <=, >, >=, between, in, not in, missing, known, like or average."""

    column: Column
    op: str
    values: tuple[float | str | bool | date, ...] = ()
    part: str = ""  # of a date
    place: int = 0  # where in the question it begins
    other: Column | None = None  # compared with instead of a value

    @property
    def sql(self) -> str:
        if self.op in ("not like", "not part", "not same", "not any"):
            return f"NOT {replace(self, op=self.op[4:]).sql}"
        x = PARTS[self.part].format(x=self.column.sql) if self.part else self.column.sql
        if self.op in ("missing", "known"):
            return f"{x} IS {'NOT ' if self.op == 'known' else ''}NULL"
        shown = [literal(value) for value in self.values]
        if self.op in ("in", "not in"):
            return f"{x} {'NOT ' if self.op == 'not in' else ''}IN ({', '.join(shown)})"
        if self.op == "between":
            return f"{x} BETWEEN {shown[0]} AND {shown[1]}"
        if self.op == "days":
            return f"{x} >= {shown[0]} AND {x} < {shown[1]}"
        if self.op == "like":
            return f"contains(lower({x}), {literal(str(self.values[0]).lower())})"
        if self.op == "part":
            split = f"regexp_split_to_array(lower({x}), '\\s*[{''.join(SEPARATORS)}]\\s*')"
            return f"list_contains({split}, {literal(str(self.values[0]).lower())})"
        if self.op == "any":
            return "(" + " OR ".join(replace(self, op="like", values=(value,)).sql for value in self.values) + ")"
        if self.op == "is not":
            return f"{x} IS DISTINCT FROM {shown[0]}"
        if self.op == "same":
            return f"lower({x}) = {literal(str(self.values[0]).lower())}"
        if self.op in ("> average", "< average"):
            return f"{x} {self.op[0]} (SELECT avg({x}) FROM t)"
        return f"{x} {self.op} {self.other.sql if self.other else shown[0]}"


def negated(condition: Condition) -> Condition:
    """The condition that holds where this one does not; missing values satisfy neither."""
    turned = {
        "=": "!=", "!=": "=", ">": "<=", ">=": "<", "<": ">=", "<=": ">", "in": "not in", "not in": "in",
        "missing": "known", "known": "missing", "> average": "< average", "< average": "> average",
    }  # fmt: skip
    if condition.op in ("like", "part", "same", "any"):
        return replace(condition, op=f"not {condition.op}")
    return replace(condition, op=turned.get(condition.op, condition.op))


def literal(value: float | str | bool | date) -> str:
    """A value as SQL text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"{value:.0f}" if value == int(value) else repr(float(value))


def where(conditions: tuple[Condition, ...]) -> str:
    return " AND ".join(c.sql for c in conditions)


@dataclass(frozen=True, slots=True)
class Group:
    """What rows are grouped by: a column, or a part of a date column."""

    column: Column
    part: str = ""

    @property
    def sql(self) -> str:
        return PARTS[self.part].format(x=self.column.sql) if self.part else self.column.sql

    @property
    def name(self) -> str:
        return f"{self.column.name}, {self.part}" if self.part else self.column.name


@dataclass(frozen=True, slots=True)
class Query:
    """What a question asks of the table, before it is SQL.

    kind: "aggregate" (optionally by groups), "share", "compare", "correlation", "rows", "neighbour", "truth".
    order: "desc" or "asc" by the aggregate (groups) or by `measure` (rows); "group" by the group itself.
    """

    kind: str
    aggregate: str = ""
    measure: Column | None = None
    other: Column | None = None
    groups: tuple[Group, ...] = ()
    show: tuple[Column, ...] = ()
    filters: tuple[Condition, ...] = ()
    part: tuple[Condition, ...] = ()  # numerator of a share, first side of a comparison
    rest: tuple[Condition, ...] | None = None  # second side of a comparison; None: all other rows
    having: tuple[str, float] | None = None
    order: str = ""
    limit: int = 0
    fraction: float = 0.5
    step: int = 0  # neighbour: +1 the row after, -1 the row before

    @property
    def sql(self) -> str:
        return _WRITERS[self.kind](self)

    @property
    def value_sql(self) -> str:
        """The SQL of the asked figure."""
        if self.aggregate == "percentile" and self.measure:
            return _quantile(self.measure, self.fraction)
        if self.measure is None:
            return "count(*)"
        form = AGGREGATES[self.aggregate]
        if self.estimated:
            form = ESTIMATES[self.aggregate]
        return form.format(x=number_sql(self.measure))

    @property
    def estimated(self) -> bool:
        """Whether the figure is an estimate, because the exact one does not fit into a query's memory."""
        if self.measure is None or self.measure.rows <= EXACT_ROWS:
            return False
        if self.aggregate == "distinct":
            return self.measure.distinct > EXACT_ROWS // 5
        return self.kind == "summary" or self.aggregate in ("percentile", "median")


def columns_of(query: Query) -> list[Column]:
    """Every column the query reads."""
    tests = (*query.filters, *query.part, *(query.rest or ()))
    named = (query.measure, query.other, *query.show, *(g.column for g in query.groups))
    named += (*(c.column for c in tests), *(c.other for c in tests))
    return list(dict.fromkeys(column for column in named if column is not None))


def number_sql(column: Column) -> str:
    """A column as something that can be averaged: flags become 0 and 1."""
    return f"CAST({column.sql} AS INTEGER)" if column.kind == "bool" else column.sql


def _filtered(query: Query, *more: str) -> str:
    tests = [c.sql for c in query.filters] + [m for m in more if m]
    return " WHERE " + " AND ".join(tests) if tests else ""


def _tail(query: Query, value: str, group: str = "") -> str:
    text = ""
    if query.having:
        text += f" HAVING {value} {query.having[0]} {literal(query.having[1])}"
    if query.order == "group":
        text += f" ORDER BY {group}"
    elif query.order:
        text += f" ORDER BY {value} {query.order.upper()}" + (f", {group}" if group else "")
    return text + (f" LIMIT {query.limit}" if query.limit else "")


def _aggregate(query: Query) -> str:
    value, name = query.value_sql, query.aggregate if query.measure else "count"
    if not query.groups:
        return f'SELECT {value} AS "{name}" FROM t{_filtered(query)}'
    groups = ", ".join(g.sql if not g.part else f'{g.sql} AS "{g.part}"' for g in query.groups)
    keys = ", ".join(g.sql for g in query.groups)
    known = [f"{g.sql} IS NOT NULL" for g in query.groups] if query.limit == 1 else []
    return (
        f'SELECT {groups}, {value} AS "{name}" FROM t{_filtered(query, *known)} GROUP BY {keys}'
        f"{_tail(query, value, keys)}"
    )


def _share(query: Query) -> str:
    if query.groups and not query.part:
        keys = ", ".join(g.sql for g in query.groups)
        value = f"sum({query.measure.sql})" if query.measure else "count(*)"
        share = f"100.0 * {value} / sum({value}) OVER ()"
        return f'SELECT {keys}, {share} AS "percent" FROM t{_filtered(query)} GROUP BY {keys} ORDER BY {value} DESC' + (
            f" LIMIT {query.limit}" if query.limit else ""
        )
    test = where(query.part)
    if query.measure:
        share = f"100.0 * sum({query.measure.sql}) FILTER (WHERE {test}) / sum({query.measure.sql})"
    else:
        share = f"100.0 * count(*) FILTER (WHERE {test}) / count(*)"
    if query.groups:
        keys = ", ".join(g.sql for g in query.groups)
        known = [f"{g.sql} IS NOT NULL" for g in query.groups] if query.limit == 1 else []
        rows = f"FROM t{_filtered(query, *known)} GROUP BY {keys}"
        return f'SELECT {keys}, {share} AS "percent" {rows}{_tail(query, share, keys)}'
    counted = f', count(*) FILTER (WHERE {test}) AS "part", count(*) AS "all"' if not query.measure else ""
    return f'SELECT {share} AS "percent"{counted} FROM t{_filtered(query)}'


def _compare(query: Query) -> str:
    first = where(query.part)
    second = where(query.rest) if query.rest is not None else f"NOT ({first})"
    value = query.value_sql
    a, b = f"{value} FILTER (WHERE {first})", f"{value} FILTER (WHERE {second})"
    return (
        f'SELECT a AS "first", b AS "second", a - b AS "difference", 100.0 * (a - b) / nullif(b, 0) AS "percent" '
        f"FROM (SELECT {a} AS a, {b} AS b FROM t{_filtered(query)})"
    )


def _quantile(column: Column, share: float) -> str:
    """A quantile of a column of numbers, estimated where the column is long."""
    return f"{'approx_quantile' if column.rows > EXACT_ROWS else 'quantile_cont'}({column.sql}, {share})"


def _summary(query: Query) -> str:
    """A measure by itself: its ends, quartiles and mean."""
    if query.measure is None:
        raise ValueError("a summary has a measure")
    x = query.measure.sql
    quartiles = ", ".join(
        f'{_quantile(query.measure, q)} AS "{name}"' for name, q in (("q1", 0.25), ("median", 0.5), ("q3", 0.75))
    )
    return f'SELECT min({x}) AS "min", {quartiles}, max({x}) AS "max", avg({x}) AS "mean" FROM t{_filtered(query)}'


def _correlation(query: Query) -> str:
    if query.measure is None or query.other is None:
        raise ValueError("a correlation has two measures")
    return (
        f'SELECT corr({number_sql(query.measure)}, {number_sql(query.other)}) AS "correlation" FROM t{_filtered(query)}'
    )


def _rows(query: Query) -> str:
    shown = ", ".join(dict.fromkeys(c.sql for c in query.show)) or "*"
    known = f"{query.measure.sql} IS NOT NULL" if query.measure else ""
    if query.aggregate == "distinct":
        return f"SELECT DISTINCT {shown} FROM t{_filtered(query, known)} ORDER BY 1" + (
            f" LIMIT {query.limit}" if query.limit else ""
        )
    order = ""
    if query.measure and query.order:
        order = f" ORDER BY {query.measure.sql} {query.order.upper()}"
    elif query.order in ("first", "last"):
        order = f" ORDER BY rowid {'ASC' if query.order == 'first' else 'DESC'}"
    return f"SELECT {shown} FROM t{_filtered(query, known)}{order}" + (f" LIMIT {query.limit}" if query.limit else "")


def _neighbour(query: Query) -> str:
    shown = ", ".join(dict.fromkeys(c.sql for c in query.show)) or "*"
    anchor = f"(SELECT {'max' if query.step > 0 else 'min'}(rowid) FROM t{_filtered(query)})"
    sign, way = (">", "ASC") if query.step > 0 else ("<", "DESC")
    return f"SELECT {shown} FROM t WHERE rowid {sign} {anchor} ORDER BY rowid {way} LIMIT 1"


def _truth(query: Query) -> str:
    if not query.having:
        return f'SELECT count(*) > 0 AS "so", count(*) AS "count" FROM t{_filtered(query)}'
    share = f"100.0 * count(*) FILTER (WHERE {where(query.part)}) / count(*)"
    return (
        f'SELECT {share} {query.having[0]} {literal(query.having[1])} AS "so", {share} AS "percent" '
        f"FROM t{_filtered(query)}"
    )


_WRITERS = {
    "aggregate": _aggregate,
    "share": _share,
    "compare": _compare,
    "correlation": _correlation,
    "summary": _summary,
    "rows": _rows,
    "neighbour": _neighbour,
    "truth": _truth,
}
