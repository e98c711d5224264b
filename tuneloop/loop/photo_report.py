"""What photo search confuses, with the pictures beside each other, and whose clicks it learns from.

The page is one file without a script or a network: pictures lie in it as small JPEGs, names are escaped.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from sqlalchemy import select

from tuneloop.db.photo_tables import photo_queries
from tuneloop.encoders import picture
from tuneloop.loop import photo_clicks
from tuneloop.search import catalogue
from tuneloop.texts import _, language
from tuneloop.workspace import Workspace

TEMPLATE = Path(__file__).parent / "photo_report.html"
SHOWN = 30  # confusions with their pictures on the page: about 0.4 MB
SIDE = 160  # pixels
MOST_OF_ONE = 0.5  # share of all clicks from which one person is pointed at


@dataclass(frozen=True, slots=True)
class Confusion:
    """`found` stood first where people said `right`, on `count` photos; `photo`: path of the newest, "" if gone."""

    found: str
    right: str
    count: int
    photo: str


def confusions(workspace: Workspace, *, tenant: str = "") -> list[Confusion]:
    """Pairs of products, the most frequent first. A photo counts once, however many people said the same of it."""
    named = [r for r in photo_clicks.votes(workspace, tenant=tenant) if r.verdict in ("right", "pointed")]
    first: dict[str, tuple[str, str]] = {}
    ids = list({row.query for row in named})
    with workspace.db.read() as rows:
        for start in range(0, len(ids), 500):
            part = photo_queries.c.id.in_(ids[start : start + 500])
            for row in rows.execute(
                select(photo_queries.c.id, photo_queries.c.results, photo_queries.c.path).where(part)
            ):
                if row.results:
                    first[row.id] = (row.results[0][0], row.path)
    met: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in named:
        found, path = first.get(row.query, (row.item, ""))
        if found != row.item:
            met[found, row.item].setdefault(row.photo, path)  # newest first
    made = [Confusion(*pair, len(photos), next(iter(photos.values()))) for pair, photos in met.items()]
    return sorted(made, key=lambda one: (-one.count, one.found, one.right))


def page(workspace: Workspace, told: dict[str, Any], *, tenant: str = "") -> str:
    """The whole page. told: `photo_training.report`."""
    pairs = confusions(workspace, tenant=tenant)
    parts = [f"<h1>{escape(_('Photo search'))}</h1>", _figures(told), _people(told)]
    parts.append(f"<h2>{escape(_('What is confused'))}</h2>")
    hint = _("A photo, what was found first, and what people said it is; the most frequent first.")
    parts.append(f'<p class="hint">{escape(hint)}</p>')
    parts += _confused(workspace, pairs[:SHOWN], tenant) or [f"<p>{escape(_('Nothing yet.'))}</p>"]
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(lang=language(), title=escape(_("Photo search")), body="\n".join(parts))


def _figures(told: dict[str, Any]) -> str:
    rows = [
        (_("products"), told["products"]),
        (_("searches"), told["searches"]),
        (_("clicks"), sum(told["verdicts"].values())),
        (_("clicks not learned from yet"), told["unused"]),
        (_("version that searches"), told["version"]),
    ]
    trained = [t for t in told["trainings"] if t["state"] == "done"][:1]
    rows += [(_("last training"), t["note"]) for t in trained]
    return _table((_("what"), _("value")), rows)


def _people(told: dict[str, Any]) -> str:
    rows = [(p["user"] or "-", p["verdicts"], f"{p['share']:.0%}") for p in told["people"]]
    out = f"<h2>{escape(_('Who clicked'))}</h2>"
    if len(rows) > 1 and told["people"][0]["share"] > MOST_OF_ONE:
        said = _("More than half of the clicks are one person's: look at them before you train.")
        out += f'<p class="warn">{escape(said)}</p>'
    hint = _("Of one named person the newest clicks count, as many as the setting photos.votes_per_user says.")
    return out + f'<p class="hint">{escape(hint)}</p>' + _table((_("person"), _("clicks"), _("share")), rows)


def _confused(workspace: Workspace, pairs: Sequence[Confusion], tenant: str) -> list[str]:
    items = {item.id: item for item in catalogue.items(workspace, tenant=tenant, state="")}
    paths = {one.photo for one in pairs}
    for one in pairs:
        for item in (items.get(one.found), items.get(one.right)):
            paths |= {item.pictures[0][1]} if item is not None and item.pictures else set()
    shown = _small(workspace, sorted(paths - {""}))

    def product(identity: str, style: str, said: str) -> str:
        item = items.get(identity)
        path = item.pictures[0][1] if item is not None and item.pictures else ""
        name = item.name if item is not None else identity
        return _figure(
            shown.get(path, ""), f'<b class="{style}">{escape(said)}</b> {escape(name)} ({escape(identity)})'
        )

    return [
        f'<div class="pair"><b>{one.count} ×</b>'
        + _figure(shown.get(one.photo, ""), escape(_("photo")))
        + product(one.found, "bad", _("found first"))
        + product(one.right, "good", _("right"))
        + "</div>"
        for one in pairs
    ]


def _small(workspace: Workspace, paths: list[str]) -> dict[str, str]:
    """{path: a small JPEG as a data address} of those that can be read; they are opened in a child process."""
    from PIL import Image

    made = {}
    for path, found in zip(paths, picture.read([workspace.path / p for p in paths], SIDE), strict=True):
        if found.pixels is not None:
            whole = io.BytesIO()
            Image.fromarray(found.pixels).save(whole, "JPEG", quality=70)
            made[path] = "data:image/jpeg;base64," + base64.b64encode(whole.getvalue()).decode()
    return made


def _figure(address: str, caption: str) -> str:
    shown = f'<img src="{address}" alt="">' if address else '<div class="none"></div>'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def cells(row: Sequence[Any], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if at else ''}>{escape(str(cell))}</{tag}>" for at, cell in enumerate(row))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{cells(columns, 'th')}</tr>{body}</table>"
