"""A result as a plot where that reads better than rows: bars of groups, a line over time; as a PNG file or as text.

One rule decides for every face (terminal, file, page), so a question looks the same everywhere.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuneloop.ask.answer import Rows, number
from tuneloop.ask.query import Query
from tuneloop.errors import BadInput
from tuneloop.texts import _, visible
from tuneloop.workspace import write_atomically

MOST_BARS = 40  # more are a table
MOST_POINTS = 400  # of a line; a daily year
ORDERED_PARTS = ("year", "month", "year-month", "day", "hour")
LONGEST_LABEL = 32  # characters
_DAY = re.compile(r"\d{4}-\d{2}(-\d{2}.*)?")


@dataclass(frozen=True, slots=True)
class Chart:
    """Labels and their values, in the order of the result. `name`: what the values are."""

    kind: Literal["bars", "line"]
    name: str
    by: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    unit: str = ""


def chart(result: Rows, query: Query | None = None) -> Chart | None:
    """The plot of a result, or None when it is one row, a list of records, or no numbers.

    query: what was asked, where that is known; it names the unit and tells an order in time from a ranking.
    """
    if query is not None and not query.groups and query.kind != "rows":
        return None
    rows = [row for row in result.rows if _is_number(row[-1])]
    width = len(result.columns)
    if not 2 <= width <= 3 or len(rows) < 2 or result.truncated or len(rows) > MOST_POINTS:
        return None
    labels = tuple(", ".join(number(cell) for cell in row[:-1]) for row in rows)
    in_time = _is_in_time(rows, query)
    if len(set(labels)) < len(labels) or (len(rows) > MOST_BARS and not in_time):
        return None
    values = tuple(float(row[-1]) for row in rows)
    by = ", ".join(result.columns[:-1])
    # A line needs enough points to have a shape.
    kind: Literal["bars", "line"] = "line" if in_time and len(rows) > 4 else "bars"
    return Chart(kind, result.columns[-1], by, labels, values, _unit(query))


def write_png(drawn: Chart, path: Path, title: str) -> None:
    """Draw into a PNG file, 960 by 540 points or taller. Raises BadInput where it cannot be written."""
    if path.suffix.lower() != ".png":
        raise BadInput(_("'{name}' is no name of a PNG file").format(name=path.name), fix=_("Name it like plot.png."))
    if not path.absolute().parent.is_dir():
        raise BadInput(_("there is no folder {folder}").format(folder=path.absolute().parent), fix=_("Make it first."))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = [_plain(label) for label in drawn.labels]
    tall = max(4.5, 0.28 * len(labels) + 1.2) if drawn.kind == "bars" else 4.5
    figure = Figure(figsize=(8, tall), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(labels))
    if drawn.kind == "bars":
        axes.barh(places, drawn.values, color="#0b7a5b", height=0.7)
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        for place, value in zip(places, drawn.values, strict=True):
            axes.annotate(
                number(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
            )
        axes.margins(x=0.12)
    else:
        axes.plot(places, drawn.values, color="#0b7a5b", linewidth=1.8, marker="o" if len(labels) <= 60 else None)
        step = max(1, len(labels) // 10)
        axes.set_xticks(places[::step], labels[::step], rotation=30, ha="right")
    figures = _plain(f"{drawn.name}, {drawn.unit}" if drawn.unit else drawn.name)
    (axes.set_xlabel if drawn.kind == "bars" else axes.set_ylabel)(figures)
    axes.set_title(_plain(title, 90), loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, axis="x" if drawn.kind == "bars" else "y")
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that matplotlib's font has not (Chinese, emoji) are drawn as boxes, wide ones leave little room: the
        # picture tells that itself.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font|constrained_layout not applied")
        figure.savefig(picture, format="png")
    write_atomically(path, picture.getvalue())


def lines(drawn: Chart, width: int) -> list[str]:
    """The plot as lines of text for a terminal of `width` columns; [] where a value is negative."""
    if min(drawn.values) < 0:
        return []
    shown = [f"{number(value)} {drawn.unit}".strip() for value in drawn.values]
    labels = [_cut(" ".join(label.split())) for label in drawn.labels]
    left, right = max(map(len, labels)), max(map(len, shown))
    room = max(8, min(width, 100) - left - right - 4)
    most = max(drawn.values) or 1.0
    return [
        f"{label:<{left}}  {_bar(value / most, room):<{room}}  {said:>{right}}"
        for label, value, said in zip(labels, drawn.values, shown, strict=True)
    ]


def _bar(share: float, room: int) -> str:
    """A bar in eighths of a character."""
    eighths = round(share * room * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _is_in_time(rows: Sequence[Sequence[object]], query: Query | None) -> bool:
    if query is not None and query.groups:
        group = query.groups[0]
        return (
            len(query.groups) == 1
            and query.order in ("group", "")
            and (group.part in ORDERED_PARTS or group.column.kind == "date")
        )
    firsts = [str(row[0]) for row in rows]
    return len(rows[0]) == 2 and firsts == sorted(firsts) and all(_DAY.fullmatch(first) for first in firsts)


def _unit(query: Query | None) -> str:
    if query is None:
        return ""
    if query.kind == "share":
        return "%"
    counted = query.aggregate in ("distinct", "count", "variance")
    return query.measure.unit if query.measure and not counted else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cut(label: str, most: int = LONGEST_LABEL) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _plain(label: str, most: int = LONGEST_LABEL) -> str:
    """A label for matplotlib, to which "$" begins a formula."""
    return _cut(visible(" ".join(label.split())), most).replace("$", r"\$")
