"""The catalogue: products and their pictures, imported again and again from the same sources.

An import changes what changed, adds what is new and retires what its source no longer lists; nothing is deleted, so
clicks on a retired product keep their meaning. It is one transaction: a catalogue is the old one or the new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from tuneloop.db.photo_tables import catalogue_items, catalogue_pictures
from tuneloop.encoders.choice import Encoder
from tuneloop.errors import BadInput, Missing
from tuneloop.progress import Progress, silent
from tuneloop.search import vectors
from tuneloop.search.catalogue_sources import Product
from tuneloop.texts import _
from tuneloop.workspace import Workspace

ACTIVE, RETIRED = "active", "retired"
WORDS = ("name", "category", "price", "description")


@dataclass(frozen=True, slots=True)
class Item:
    """A product as the catalogue has it. `pictures`: (id, path of the clean copy relative to the workspace)."""

    id: str
    name: str
    category: str
    price: str
    description: str
    state: str
    pictures: tuple[tuple[str, str], ...] = ()


@dataclass
class Imported:
    """What an import did. `problems`: (product, why its picture could not be used); `fresh`: added and changed ids."""

    read: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    retired: int = 0
    without_picture: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list, compare=False)


def put(
    workspace: Workspace,
    products: Sequence[Product],
    encoder: Encoder,
    *,
    source: str = "",
    tenant: str = "",
    retire: bool = False,
    watch: Progress = silent,
) -> Imported:
    """Bring products into the catalogue. retire: products of the same source that are not among them are retired.

    A product whose pictures cannot be used is kept without them: it can be found by name and pointed at.
    Raises BadInput when a product has no id or name.
    """
    for product in products:
        if not product.id or not product.name:
            raise BadInput(_("a product needs an id and a name"), fix=_("Give both; nothing was imported."))
    files = list(dict.fromkeys(file for product in products for file in product.pictures))
    kept = dict(zip(files, vectors.keep(workspace, files, encoder, watch=watch), strict=True))
    done = Imported(read=len(products))
    for product in products:
        said = [p.message for f in product.pictures if (p := kept[f].problem)]
        usable = any(kept[f].problem is None for f in product.pictures)
        done.without_picture += not usable
        done.problems += [(product.id, text) for text in (said or ([] if usable else [_("no picture is given")]))]
    with workspace.db.write() as rows:
        _store(rows, products, kept, done, source, tenant, retire)
    return done


def _store(
    rows: Connection,
    products: Sequence[Product],
    kept: dict[Path, vectors.Kept],
    done: Imported,
    source: str,
    tenant: str,
    retire: bool,
) -> None:
    known = {i.id: i for i in _items(rows, tenant)}
    mine = catalogue_items.c.tenant == tenant
    sources = {r.id: r.source for r in rows.execute(select(catalogue_items.c.id, catalogue_items.c.source).where(mine))}
    stamp = {"changed": time.time(), "revision": _revision(rows, tenant) + 1}
    for product in products:
        pictures = {kept[f].id: kept[f].path for f in product.pictures if kept[f].problem is None}
        words = {name: getattr(product, name) for name in WORDS}
        before = known.get(product.id)
        if before and before.state == ACTIVE and _same(before, words, pictures) and sources[product.id] == source:
            done.unchanged += 1
            continue
        row = {"tenant": tenant, "id": product.id, "source": source, "state": ACTIVE, **words, **stamp}
        if before is None:
            rows.execute(insert(catalogue_items), [row])
        else:
            rows.execute(update(catalogue_items).where(mine, catalogue_items.c.id == product.id).values(**row))
        done.fresh.append(product.id)
        done.added += before is None
        done.changed += before is not None
        theirs = (catalogue_pictures.c.tenant == tenant, catalogue_pictures.c.item == product.id)
        rows.execute(delete(catalogue_pictures).where(*theirs))
        if pictures:
            named = [{"tenant": tenant, "item": product.id, "id": i, "path": p} for i, p in pictures.items()]
            rows.execute(insert(catalogue_pictures), named)
    if retire:
        listed = {product.id for product in products}
        gone = [i for i, item in known.items() if i not in listed and sources[i] == source and item.state == ACTIVE]
        for identity in gone:
            gone_row = update(catalogue_items).where(mine, catalogue_items.c.id == identity)
            rows.execute(gone_row.values(state=RETIRED, **stamp))
        done.retired = len(gone)


def _same(before: Item, words: dict[str, str], pictures: dict[str, str]) -> bool:
    return all(getattr(before, n) == w for n, w in words.items()) and {i for i, _p in before.pictures} == set(pictures)


def retire(workspace: Workspace, item: str, *, tenant: str = "") -> None:
    """Take one product out of the search. Raises Missing when there is none of that id."""
    find(workspace, item, tenant=tenant)
    with workspace.db.write() as rows:
        stamp = {"changed": time.time(), "revision": _revision(rows, tenant) + 1, "state": RETIRED}
        mine = (catalogue_items.c.tenant == tenant, catalogue_items.c.id == item)
        rows.execute(update(catalogue_items).where(*mine).values(**stamp))


def items(workspace: Workspace, *, tenant: str = "", state: str = ACTIVE) -> list[Item]:
    """Every product of the tenant in this state ("" for all), in the order of its id."""
    with workspace.db.read() as rows:
        return [item for item in _items(rows, tenant) if state in ("", item.state)]


def find(workspace: Workspace, item: str, *, tenant: str = "") -> Item:
    """One product, also a retired one. Raises Missing."""
    with workspace.db.read() as rows:
        for found in _items(rows, tenant, item):
            return found
    raise Missing(_("there is no product '{id}'").format(id=item), fix=_("`tuneloop photos list` shows the catalogue."))


def named(workspace: Workspace, text: str, *, tenant: str = "", limit: int = 10) -> list[Item]:
    """Active products whose name, category or id holds every word of the text; names that begin with it come first."""
    return matching(items(workspace, tenant=tenant), text)[:limit] if text.split() else []


def matching(among: Iterable[Item], text: str) -> list[Item]:
    """Those products whose name, category or id holds every word; names that begin with the first one come first."""
    words = text.casefold().split()
    found = []
    for item in among:
        said = f"{item.name} {item.category} {item.id}".casefold()
        if all(word in said for word in words):
            later = bool(words) and not item.name.casefold().startswith(words[0])
            found.append((later, item.name.casefold(), item.id, item))
    return [item for *_order, item in sorted(found, key=lambda f: f[:3])]


def picture(workspace: Workspace, identity: str, *, tenant: str = "") -> Path:
    """The clean copy of a picture that a product of this tenant has or had. Raises Missing."""
    mine = (catalogue_pictures.c.tenant == tenant, catalogue_pictures.c.id == identity)
    with workspace.db.read() as rows:
        found = rows.execute(select(catalogue_pictures.c.path).where(*mine).limit(1)).first()
    path = workspace.path / str(found.path if found else "")
    if not path.is_file():
        raise Missing(_("there is no picture '{id}'").format(id=identity[:80]))
    return path


def revision(workspace: Workspace, *, tenant: str = "") -> int:
    """A number that grows with every change of the tenant's catalogue; 0 before the first."""
    with workspace.db.read() as rows:
        return _revision(rows, tenant)


def _revision(rows: Connection, tenant: str) -> int:
    asked = select(func.max(catalogue_items.c.revision)).where(catalogue_items.c.tenant == tenant)
    return int(rows.execute(asked).scalar() or 0)


def _items(rows: Connection, tenant: str, item: str | None = None) -> list[Item]:
    wanted: list[Any] = [catalogue_items.c.tenant == tenant]
    theirs: list[Any] = [catalogue_pictures.c.tenant == tenant]
    if item is not None:
        wanted.append(catalogue_items.c.id == item)
        theirs.append(catalogue_pictures.c.item == item)
    pictures: dict[str, list[tuple[str, str]]] = {}
    for row in rows.execute(select(catalogue_pictures).where(*theirs).order_by(catalogue_pictures.c.id)):
        pictures.setdefault(row.item, []).append((row.id, row.path))
    return [
        Item(r.id, r.name, r.category, r.price, r.description, r.state, tuple(pictures.get(r.id, ())))
        for r in rows.execute(select(catalogue_items).where(*wanted).order_by(catalogue_items.c.id))
    ]
