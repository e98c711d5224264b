"""What a person should know of a table before asking: outliers, repeated rows, gaps, and what can be asked.

Counted by queries in the sandbox like any question; every query here is one SELECT over `t`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuneloop.ask.columns import Column, Profile
from tuneloop.ask.question import read
from tuneloop.ask.sandbox import Cell
from tuneloop.ask.table import Table
from tuneloop.errors import OutOfResources
from tuneloop.texts import _, n_

EXACT_ROWS = 2_000_000  # beyond it quantiles are estimated (t-digest) and repeated rows are not counted
SECONDS = 20.0
FENCE = 3.0  # interquartile ranges: "far out" of J. W. Tukey, Exploratory Data Analysis, 1977
MUCH_MISSING = 0.2  # share of empty cells worth a warning
MOST_GROUPS = 30  # distinct values that still make a table of groups


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of one column of numbers. `far`: values more than three interquartile ranges beyond the quartiles."""

    mean: float
    median: float
    low_quartile: float
    high_quartile: float
    far: int


@dataclass(frozen=True, slots=True)
class Facts:
    """`repeated`: rows that are there before, None where they were not counted."""

    numbers: dict[str, Numbers]
    repeated: int | None


def facts(table: Table) -> Facts:
    """Count. Raises OutOfResources only when not even the means can be had in 20 s."""
    columns = [c for c in table.profile.columns if c.kind == "number" and c.rows > c.missing]
    numbers: dict[str, Numbers] = {}
    quantile = "quantile_cont" if table.profile.rows <= EXACT_ROWS else "approx_quantile"
    # Twenty columns at once: quantiles keep their values in memory.
    for start in range(0, len(columns), 20):
        some = columns[start : start + 20]
        asked = ", ".join(
            f"avg({c.sql}), {quantile}({c.sql}, 0.5), {quantile}({c.sql}, 0.25), {quantile}({c.sql}, 0.75)"
            for c in some
        )
        found = _floats(table.run(f"SELECT {asked} FROM t", seconds=SECONDS).rows[0])
        fences = [found[4 * i + 2 : 4 * i + 4] for i in range(len(some))]
        counted = ", ".join(
            f"count_if({c.sql} < {low - FENCE * (high - low)!r} OR {c.sql} > {high + FENCE * (high - low)!r})"
            for c, (low, high) in zip(some, fences, strict=True)
        )
        far = _floats(table.run(f"SELECT {counted} FROM t", seconds=SECONDS).rows[0])
        for i, column in enumerate(some):
            low, high = fences[i]
            # Half of the values are equal: everything else would be "far".
            beyond = int(far[i]) if high > low else 0
            numbers[column.name] = Numbers(found[4 * i], found[4 * i + 1], low, high, beyond)
    return Facts(numbers, _repeated(table))


def _repeated(table: Table) -> int | None:
    if table.profile.rows > EXACT_ROWS:
        return None
    every = ", ".join(c.sql for c in table.profile.columns)
    try:
        # 64-bit hashes of whole rows: among two million rows two different ones meet once in ten million tables.
        different = table.run(f"SELECT count(DISTINCT hash({every})) FROM t", seconds=SECONDS).rows[0][0]
    except OutOfResources:
        return None
    return table.profile.rows - int(different or 0)


def _floats(cells: Sequence[Cell]) -> list[float]:
    return [float(cell) if isinstance(cell, int | float) else 0.0 for cell in cells]


def warnings(table: Table, found: Facts) -> list[str]:
    """One sentence for each thing that makes figures misleading."""
    said = []
    for column in table.profile.columns:
        if column.missing == column.rows:
            said.append(_("{name}: empty").format(name=column.name))
        elif column.missing > MUCH_MISSING * column.rows:
            share = f"{100 * column.missing / column.rows:.0f} %"
            said.append(_("{name}: {share} of its cells are missing").format(name=column.name, share=share))
    for name, (n, cells) in table.report.unread.items():
        shown = ", ".join(repr(cell) for cell in cells[:3])
        said.append(
            n_(
                "{name}: {n} cell is read as missing: {cells}", "{name}: {n} cells are read as missing: {cells}", n
            ).format(name=name, n=n, cells=shown or _("no number or date"))
        )
    for name, numbers in found.numbers.items():
        if numbers.far:
            said.append(
                n_(
                    "{name}: {n} value lies far out; the median ({median}) says more than the mean ({mean})",
                    "{name}: {n} values lie far out; the median ({median}) says more than the mean ({mean})",
                    numbers.far,
                ).format(name=name, n=f"{numbers.far:,}", median=f"{numbers.median:.4g}", mean=f"{numbers.mean:.4g}")
            )
    if found.repeated:
        said.append(
            n_("{n} row is there twice", "{n} rows are there before", found.repeated).format(n=f"{found.repeated:,}")
        )
    return said


def askable(profile: Profile) -> list[str]:
    """Questions that this table's columns can answer, as examples."""
    numbers = [c for c in profile.columns if c.kind == "number" and not looks_like_id(c)]
    groups = [c for c in profile.columns if c.kind == "text" and 2 <= c.distinct <= MOST_GROUPS]
    dates = [c for c in profile.columns if c.kind == "date"]
    said = []
    if numbers:
        said.append(_("What is the average {number}?").format(number=numbers[0].name))
    if numbers and groups:
        said.append(_("How does {number} differ by {group}?").format(number=numbers[-1].name, group=groups[0].name))
        said.append(_("Which {group} has the highest {number}?").format(number=numbers[0].name, group=groups[-1].name))
    if groups and groups[0].values:
        value = groups[0].values[0]
        said.append(_("How many rows have {group} {value}?").format(group=groups[0].name, value=value))
    if len(numbers) > 1:
        said.append(_("Is {one} related to {other}?").format(one=numbers[0].name, other=numbers[1].name))
    if dates and numbers:
        said.append(_("How did {number} change by month of {date}?").format(number=numbers[0].name, date=dates[0].name))
    # A column may have a name that no question can be made with.
    return [question for question in said if read(question, profile).sql is not None]


def looks_like_id(column: Column) -> bool:
    """Whole numbers that are all different and named so: nobody asks for their average."""
    there = column.rows - column.missing
    words = column.name.lower().replace("_", " ").split()
    named = bool(words) and (words[-1] in ("id", "№", "no", "index", "код", "инн", "inn") or words[0] in ("id", "№"))
    return named or (column.kind == "number" and there > 20 and column.distinct == there and column.high == there)
