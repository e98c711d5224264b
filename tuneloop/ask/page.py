"""report.html of a table: what was loaded, every column with a plot, what to beware of. No script, no network.

Same page frame and plots as the dataset report. Everything that comes from cells is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from tuneloop.ask.columns import Column
from tuneloop.ask.facts import Facts, askable, facts, looks_like_id, warnings
from tuneloop.ask.report import in_words, sentence, subject, sum_of_rows
from tuneloop.ask.table import Table
from tuneloop.collect import plots
from tuneloop.collect.plots import area, bars, columns, esc, heat, number, percent
from tuneloop.errors import BadInput, TuneloopError
from tuneloop.texts import _, language
from tuneloop.workspace import write_atomically

TEMPLATE = Path(plots.__file__).parent / "report.html"  # the dataset report's page
BINS = 16
TOP = 10  # values shown of a text
MOST_PLOTS = 60  # columns with a plot; wider tables show the first
MOST_RELATED = 12  # columns of numbers in the table of correlations


def render(table: Table) -> str:
    """The whole page. Runs about two queries a column in the table's sandbox."""
    found = facts(table)
    # Bars of values fit into half of the page, histograms and lines do not.
    drawn = [
        _section(c.name, _about(c), _plot(table, c, found), wide=c.kind in ("number", "date"))
        for c in table.profile.columns[:MOST_PLOTS]
    ]
    related = _related(table, found)
    sections = [
        _section(_("From the file to the table"), _("Every row is accounted for."), _rows(table), wide=False),
        _section(_("Beware"), _("What makes figures misleading."), _listed(warnings(table, found)), wide=False),
        _section(_("Ask for example"), _("Questions that these columns can answer."), _listed(askable(table.profile))),
        _section(_("Missing cells"), _("Share of each column's rows."), _gaps(table)),
        *(
            [_section(_("What goes together"), _("Pearson correlation, its size."), related, wide=True)]
            if related
            else []
        ),
        *drawn,
    ]
    body = _header(table, found) + f'<div class="grid2">{"".join(sections)}</div>' + _footer(table)
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(lang=language(), title=esc(f"{table.path.name} — tuneloop"), body=body)


def write(table: Table, path: Path) -> None:
    """Write the page to a file. Raises BadInput for a name that is not one of a page: it might be the table's own."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInput(
            _("'{name}' is no name of an HTML page").format(name=path.name), fix=_("Name it like report.html.")
        )
    if not path.absolute().parent.is_dir():
        raise BadInput(_("there is no folder {folder}").format(folder=path.absolute().parent), fix=_("Make it first."))
    write_atomically(path, render(table))


def _header(table: Table, found: Facts) -> str:
    profile, report = table.profile, table.report
    kinds = [sum(c.kind == kind for c in profile.columns) for kind in ("number", "text", "date")]
    cells = profile.rows * len(profile.columns)
    missing = sum(c.missing for c in profile.columns)
    tiles = (
        (number(profile.rows), _("rows")),
        (number(len(profile.columns)), _("columns")),
        (f"{kinds[0]} · {kinds[1]} · {kinds[2]}", _("numbers · texts · dates")),
        (percent(missing / cells if cells else 0), _("of the cells are missing")),
        ("—" if found.repeated is None else number(found.repeated), _("repeated rows")),
        (number(sum(report.rejected.values())), _("rejected rows")),
    )
    shown = "".join(f'<div class="tile"><b>{esc(value)}</b><span>{esc(label)}</span></div>' for value, label in tiles)
    title = f'<p class="eyebrow">{esc(_("Table report"))}</p><h1>{esc(table.path.name)}</h1>'
    return f'<header>{title}<p>{esc(sum_of_rows(report))}</p></header><div class="tiles">{shown}</div>'


def _rows(table: Table) -> str:
    facts_ = "".join(
        f"<div><dt>{esc(subject(f))}</dt><dd>{esc(in_words(f))}</dd><dt>{esc(sentence(f))}</dt></div>"
        for f in table.report.found
    )
    return f'<p class="sum">{esc(sum_of_rows(table.report))}</p><dl class="facts">{facts_}</dl>'


def _listed(lines: Sequence[str]) -> str:
    if not lines:
        return f'<p class="hint">{esc(_("Nothing."))}</p>'
    return "<ul>" + "".join(f"<li>{esc(line)}</li>" for line in lines[:30]) + "</ul>"


def _gaps(table: Table) -> str:
    holed = sorted((c for c in table.profile.columns if c.missing), key=lambda c: -c.missing)[:15]
    if not holed:
        return f'<p class="hint">{esc(_("No cell is missing."))}</p>'
    return bars([(c.name, c.missing / c.rows, percent(c.missing / c.rows)) for c in holed], most=1, tone="w")


def _about(column: Column) -> str:
    there = column.rows - column.missing
    said = _("{n} values, {distinct} different").format(n=number(there), distinct=number(column.distinct))
    if column.kind in ("number", "date") and column.low is not None:
        low, high = (number(end) if isinstance(end, float) else str(end) for end in (column.low, column.high or ""))
        said += ", " + _("from {low} to {high}").format(low=low, high=high) + (f" {column.unit}" if column.unit else "")
    return said


def _plot(table: Table, column: Column, found: Facts) -> str:
    try:
        if column.rows == column.missing:
            return _listed([_("empty")])
        if column.kind == "number":
            return _histogram(table, column) + _figures(column, found)
        if column.kind == "date":
            return _over_time(table, column)
        return _values(table, column)
    except TuneloopError as problem:  # a plot that takes too long is no reason to have no report
        return _listed([problem.message])


def _histogram(table: Table, column: Column) -> str:
    """Sixteen bins between the 1st and the 99th percentile; what lies beyond is in the outer ones."""
    (low, high), *_rest = table.run(
        f"SELECT approx_quantile({column.sql}, 0.01), approx_quantile({column.sql}, 0.99) FROM t", seconds=20
    ).rows
    low, high = float(low or 0), float(high or 0)
    whole = column.distinct <= BINS
    if whole or high <= low:
        counts = f"SELECT {column.sql}, count(*) FROM t WHERE {column.sql} IS NOT NULL GROUP BY 1 ORDER BY 1"
        rows = table.run(counts).rows
        rows = rows[: BINS + 4]
        return columns([_short(value) for value, _n in rows], [(_("rows"), [float(n or 0) for _v, n in rows])])
    step = (high - low) / BINS
    place = f"greatest(0, least({BINS - 1}, floor(({column.sql} - {low!r}) / {step!r})))"
    counted = {
        int(at or 0): float(n or 0)
        for at, n in table.run(f"SELECT {place}, count(*) FROM t WHERE {column.sql} IS NOT NULL GROUP BY 1").rows
    }
    names = [_short(low + step * i) for i in range(BINS)]
    return columns(names, [(_("rows"), [counted.get(i, 0.0) for i in range(BINS)])])


def _figures(column: Column, found: Facts) -> str:
    if column.name not in found.numbers or looks_like_id(column):
        return ""
    numbers = found.numbers[column.name]
    shown = (
        (_("mean"), numbers.mean),
        (_("median"), numbers.median),
        (_("quartiles"), (numbers.low_quartile, numbers.high_quartile)),
        (_("far out"), numbers.far),
    )
    cells = "".join(
        f"<div><dt>{esc(label)}</dt><dd>"
        f"{' … '.join(number(v) for v in (value if isinstance(value, tuple) else (value,)))}</dd></div>"
        for label, value in shown
    )
    return f'<dl class="facts">{cells}</dl>'


def _values(table: Table, column: Column) -> str:
    rows = table.run(
        f"SELECT {column.sql}, count(*) FROM t WHERE {column.sql} IS NOT NULL GROUP BY 1"
        f" ORDER BY 2 DESC, 1 LIMIT {TOP}",
        seconds=20,
    ).rows
    top = [(str(value)[:60], float(n or 0), number(float(n or 0))) for value, n in rows]
    rest = column.rows - column.missing - sum(n for _v, n, _s in top)
    shown = bars(top, tone="b")
    if rest > 0:
        said = _("and {n} rows with {m} other values").format(n=number(rest), m=number(column.distinct - len(top)))
        shown += f'<p class="hint"><br>{esc(said)}</p>'
    return shown


def _over_time(table: Table, column: Column) -> str:
    """Rows per day, month or year: the finest of them with at most 60 points."""
    for unit, form in (("day", "%Y-%m-%d"), ("month", "%Y-%m"), ("year", "%Y")):
        rows = table.run(
            f"SELECT strftime(date_trunc('{unit}', {column.sql}), '{form}'), count(*) FROM t"
            f" WHERE {column.sql} IS NOT NULL GROUP BY 1 ORDER BY 1",
            seconds=20,
            most=200,
        ).rows
        if len(rows) <= 60:
            break
    return area([str(day) for day, _n in rows], [(_("rows"), [float(n or 0) for _d, n in rows])])


def _related(table: Table, found: Facts) -> str:
    chosen = [c for c in table.profile.columns if c.name in found.numbers and not looks_like_id(c) and c.distinct > 2]
    chosen = chosen[:MOST_RELATED]
    if len(chosen) < 3:
        return ""
    pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[i + 1 :]]
    asked = ", ".join(f"corr({a.sql}, {b.sql})" for a, b in pairs)
    found_ = table.run(f"SELECT {asked} FROM t", seconds=20).rows[0]
    size = {
        (a.name, b.name): abs(float(r)) if isinstance(r, int | float) else 0.0
        for (a, b), r in zip(pairs, found_, strict=True)
    }
    names = [c.name for c in chosen]
    values = [[1.0 if a == b else round(size.get((a, b), size.get((b, a), 0.0)), 2) for b in names] for a in names]
    return heat(names, names, values)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _footer(table: Table) -> str:
    said = _("Made by tuneloop from {name}. It shows values of the table: keep it where the table may be.")
    return f"<footer>{esc(said.format(name=table.path.name))}</footer>"


def _section(title: str, hint: str, body: str, *, wide: bool = False) -> str:
    text = f'<h2>{esc(title)}</h2><p class="hint">{esc(hint)}</p>{body}'
    return f'<section class="{"wide" if wide else ""}">{text}</section>'
