"""Questions whose answers are known: the set that models are tried on, and when a result is right.

A result is right when it holds the columns of the gold query's result; more columns may stand beside.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Sequence
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

from tuneloop.ask.question import Reading
from tuneloop.ask.table import Table
from tuneloop.errors import BadInput, OutOfResources, Refused

FOLDER = Path(__file__).with_name("trial_set")
TABLE = FOLDER / "shop.csv"

Rows = Sequence[Sequence[Any]]


def questions() -> dict[str, str]:
    """The set: question -> gold SQL, "" where the table does not hold the answer."""
    return tomllib.loads((FOLDER / "questions.toml").read_text(encoding="utf-8"))


def edition() -> str:
    """Changes when the set does: figures of another one are not comparable."""
    both = (FOLDER / "questions.toml").read_bytes() + TABLE.read_bytes()
    return hashlib.sha256(both).hexdigest()[:12]


def right(table: Table, reading: Reading, gold: str) -> bool:
    """Whether a reading finds what the gold query finds; no SQL is right where there is no gold."""
    if not gold or reading.sql is None:
        return not gold and reading.sql is None
    try:
        return same(table.run(gold).rows, table.run(reading.sql).rows)
    except (BadInput, Refused, OutOfResources):
        return False


def same(gold: Rows, got: Rows) -> bool:
    """Whether every gold column stands in the result, row by row, in any order; more columns may stand beside."""
    if len(gold) != len(got) or (gold and len(gold[0]) > len(got[0])):
        return False
    if not gold:
        return True
    wanted = sorted(tuple(map(_plain, row)) for row in gold)
    columns = [sorted(_plain(row[j]) for row in got) for j in range(len(got[0]))]
    fits = [[j for j, c in enumerate(columns) if c == sorted(r[i] for r in wanted)] for i in range(len(gold[0]))]
    return any(
        len(set(pick)) == len(pick) and sorted(tuple(_plain(row[j]) for j in pick) for row in got) == wanted
        for pick in product(*fits)
    )


def _plain(value: Any) -> str:
    """A value for comparing: six significant digits, truth values as numbers."""
    if isinstance(value, bool | int | float | Decimal):
        return f"{float(value):.6g}" if math.isfinite(float(value)) else "nan"
    return str(value)
