"""Plots as small hand-drawn SVG and HTML: no script, no font, no network, colours from the page's CSS variables.

Every text that comes from data goes through `esc`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from tuneloop.texts import language


def esc(text: object) -> str:
    """Text made safe for element content and quoted attributes; unprintable characters dropped."""
    return html.escape("".join(c for c in str(text) if c.isprintable() or c == "\n"), quote=True)


def number(n: float) -> str:
    """12 345, with narrow no-break spaces; decimals only below 100."""
    digits = 0 if n == int(n) or abs(n) >= 100 else 2 if abs(n) < 1 else 1
    text = f"{n:,.{digits}f}"
    text = text.replace(",", "\u202f")
    return text.replace(".", ",") if language() == "ru" else text


def percent(share: float, digits: int = 1) -> str:
    """85.3 %, with the reader's decimal mark."""
    text = f"{100 * share:.{digits}f}"
    return (text.replace(".", ",") if language() == "ru" else text) + "\u202f%"


def bars(
    rows: Sequence[tuple[str, float, str]], *, most: float | None = None, tone: str = "a", long: bool = False
) -> str:
    """Horizontal bars: (label, value, shown value); `most` is the full width (None: the largest); `long` labels."""
    top = most or max((value for _label, value, _shown in rows), default=0) or 1
    lines = [
        f'<div class="bar"><span class="bl">{esc(label)}</span>'
        f'<span class="bt"><i class="{tone}" style="width:{100 * value / top:.2f}%"></i></span>'
        f'<span class="bv">{esc(shown)}</span></div>'
        for label, value, shown in rows
    ]
    return f'<div class="bars{" long" if long else ""}">{"".join(lines)}</div>'


def area(labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Filled lines over time, the first behind; labels are the points' names, about eight are written."""
    width, height, left, bottom, top = 1040, 260, 52, 26, 12
    most = _nice(max((v for _n, values in series for v in values), default=1) or 1)
    wide, high = width - left - 12, height - bottom - top
    count = max(1, len(labels) - 1)

    def x(i: int) -> float:
        return left + wide * i / count if len(labels) > 1 else left + wide / 2

    def y(value: float) -> float:
        return top + high * (1 - value / most)

    parts = []
    for i in range(5):
        value = most * i / 4
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{number(value)}</text>'
        )
    step = max(1, math.ceil(len(labels) / 12))
    for i in range(0, len(labels), step):
        anchor = "end" if i and x(i) > width - 40 else "middle"  # the last would be cut by the edge
        parts.append(
            f'<text class="tick" x="{x(i):.1f}" y="{height - 6}" text-anchor="{anchor}">{esc(labels[i])}</text>'
        )
    for tone, (_name, values) in zip("cab", series, strict=False):
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values))
        if len(values) > 1:
            ground = f"{x(len(values) - 1):.1f},{y(0):.1f} {x(0):.1f},{y(0):.1f}"
            parts.append(f'<polygon class="fill {tone}" points="{points} {ground}"/>')
            parts.append(f'<polyline class="line {tone}" points="{points}"/>')
        else:
            parts += [f'<circle class="dot {tone}" cx="{x(0):.1f}" cy="{y(v):.1f}" r="5"/>' for v in values]
    band = wide / max(1, len(labels))
    for i, label in enumerate(labels):
        said = "; ".join(f"{name}: {number(values[i])}" for name, values in series)
        parts.append(
            f'<rect class="hit" x="{x(i) - band / 2:.1f}" y="{top}" width="{band:.1f}" height="{high}">'
            f"<title>{esc(label)} — {esc(said)}</title></rect>"
        )
    return _svg(width, height, parts) + legend([(name, tone) for tone, (name, _v) in zip("cab", series, strict=False)])


def columns(labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Grouped columns (a histogram of two things side by side)."""
    width, height, left, bottom, top = 1040, 250, 52, 26, 12
    most = _nice(max((v for _n, values in series for v in values), default=1) or 1)
    wide, high = width - left - 12, height - bottom - top
    slot = wide / max(1, len(labels))
    thin = slot * 0.8 / max(1, len(series))
    parts = []
    for i in range(5):
        y = top + high * (1 - i / 4)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{number(most * i / 4)}</text>'
        )
    for i, label in enumerate(labels):
        middle = left + slot * (i + 0.5)
        parts.append(f'<text class="tick" x="{middle:.1f}" y="{height - 6}" text-anchor="middle">{esc(label)}</text>')
        for j, (tone, (name, values)) in enumerate(zip("ba", series, strict=False)):
            tall = high * values[i] / most
            parts.append(
                f'<rect class="col {tone}" x="{left + slot * (i + 0.1) + j * thin:.1f}" y="{top + high - tall:.1f}" '
                f'width="{thin - 1:.1f}" height="{tall:.1f}" rx="2">'
                f"<title>{esc(name)}, {esc(label)}: {number(values[i])}</title></rect>"
            )
    return _svg(width, height, parts) + legend([(name, tone) for tone, (name, _v) in zip("ba", series, strict=False)])


def heat(rows: Sequence[str], across: Sequence[str], values: Sequence[Sequence[float]], *, wide: bool = False) -> str:
    """A heat map with row and column labels; darker is more. `wide` for many narrow columns (hours)."""
    left, top = (38, 22) if wide else (140, 112)
    cell_w, cell_h = (19, 22) if wide else (42, 36)
    # Slanted column labels reach beyond the last column.
    width, height = left + cell_w * len(across) + (14 if wide else 76), top + cell_h * len(rows) + 6
    most = max((v for row in values for v in row), default=0) or 1
    parts = []
    for i, label in enumerate(across):
        x = left + cell_w * (i + 0.5)
        if wide:
            parts.append(f'<text class="tick" x="{x}" y="{top - 7}" text-anchor="middle">{esc(label)}</text>')
        else:
            place = f'transform="translate({x - 4},{top - 8}) rotate(-45)"'
            parts.append(f'<text class="tick" {place}>{esc(_cut(label, 18))}</text>')
    for r, label in enumerate(rows):
        y = top + cell_h * r
        name = esc(_cut(label, 20))
        parts.append(f'<text class="tick" x="{left - 8}" y="{y + cell_h / 2 + 4}" text-anchor="end">{name}</text>')
        for c, value in enumerate(values[r]):
            # A square root lets the quiet cells be seen beside the loud ones.
            strength = math.sqrt(value / most)
            parts.append(
                f'<rect class="cell" x="{left + cell_w * c + 1}" y="{y + 1}" width="{cell_w - 2}" '
                f'height="{cell_h - 2}" rx="4" style="opacity:{0.06 + 0.94 * strength:.3f}">'
                f"<title>{esc(label)} → {esc(across[c])}: {number(value)}</title></rect>"
            )
            if value and not wide:
                tone = "on" if strength > 0.55 else "off"
                parts.append(
                    f'<text class="val {tone}" x="{left + cell_w * (c + 0.5)}" y="{y + cell_h / 2 + 4}" '
                    f'text-anchor="middle">{number(value)}</text>'
                )
    return _svg(width, height, parts)


def strip(rows: Sequence[tuple[str, str, Sequence[int]]], first: int, last: int) -> str:
    """One line per row (label, tone, times), a tick per time, over a common period: where the splits lie in time."""
    width, left, tall = 520, 84, 34
    span = max(1, last - first)
    parts = []
    for r, (label, tone, times) in enumerate(rows):
        y = 6 + tall * r
        parts.append(f'<text class="tick" x="{left - 10}" y="{y + 17}" text-anchor="end">{esc(label)}</text>')
        parts.append(f'<rect class="track" x="{left}" y="{y}" width="{width - left - 12}" height="24" rx="6"/>')
        # 400 ticks are all the width can show.
        places = sorted({round((t - first) / span * 400) for t in times})
        for place in places:
            x = left + 3 + (width - left - 18) * place / 400
            parts.append(f'<rect class="col {tone}" x="{x:.1f}" y="{y + 3}" width="1.8" height="18"/>')
    return _svg(width, 12 + tall * len(rows), parts)


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Names beside their colours."""
    return '<p class="legend">' + "".join(f'<span><i class="{t}"></i>{esc(n)}</span>' for n, t in entries) + "</p>"


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    # On a phone a wide plot scrolls sideways rather than shrink its words out of sight.
    size = f"max-width:{width:g}px;min-width:{0.62 * width:g}px"
    return f'<div class="plot"><svg viewBox="0 0 {width:g} {height:g}" style="{size}">{"".join(parts)}</svg></div>'


def _nice(value: float) -> float:
    """The next value that divides into four round, whole steps."""
    unit = 10.0 ** max(0, math.floor(math.log10(value / 4)))
    return next(4.0 * unit * k for k in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if 4 * unit * k >= value)


def _cut(text: str, n: int) -> str:
    return text if len(text) <= n else text[: n - 1] + "…"
