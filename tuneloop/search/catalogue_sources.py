"""Where a catalogue comes from: a CSV file, a folder of pictures, or an SQLite database such as other bots keep.

Columns are found by the names that shops give them, in English and Russian. Pictures are paths beside the file.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneloop.child import run_limited
from tuneloop.errors import BadInput, Damaged, Missing
from tuneloop.texts import _

COLUMNS = {
    "id": ("id", "product_id", "sku", "article", "артикул", "код", "ид"),
    "name": ("name", "title", "product", "product_name", "название", "наименование", "товар", "имя"),
    "category": ("category", "group", "section", "категория", "группа", "раздел"),
    "price": ("price", "cost", "цена", "стоимость"),
    "description": ("description", "text", "описание"),
    "pictures": (
        *("picture", "pictures", "image", "images", "photo", "photos", "image_path", "picture_path", "photo_path"),
        *("catalogue_image", "catalog_image", "image_local_path", "картинка", "изображение", "фото", "фотография"),
    ),
}
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
MOST_ROWS = 1_000_000
MOST_TEXT = 20_000  # characters of one field


@dataclass(frozen=True)
class Product:
    """One product as its source describes it. `pictures`: files that may or may not be there."""

    id: str
    name: str
    category: str = ""
    price: str = ""
    description: str = ""
    pictures: tuple[Path, ...] = field(default=())


def read(path: Path) -> list[Product]:
    """Every product of a CSV file, an SQLite database or a folder.

    Raises Missing when it is not there, BadInput for unknown columns or one id for two products, Damaged.
    """
    if path.is_dir():
        return from_folder(path)
    if not path.is_file():
        raise Missing(_("{path} is not there").format(path=path))
    with path.open("rb") as handle:
        head = handle.read(16)
    if head.startswith(b"SQLite format 3"):
        rows = run_limited(_sqlite_rows, path.absolute(), seconds=120.0, memory=1 << 30, what=path.name)
    else:
        rows = _csv_rows(path)
    return _products(path, rows)


def from_folder(folder: Path) -> list[Product]:
    """A folder that holds pictures is a product, the one above it its category; single pictures are products too."""
    groups: dict[Path, list[Path]] = {}
    for file in sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file()):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            groups.setdefault(file.parent, []).append(file)
    found = []
    for place, files in groups.items():
        inside = place.relative_to(folder)
        if place == folder:
            found += [Product(file.stem, _spoken(file.stem), pictures=(file,)) for file in files]
        else:
            category = "" if inside.parent == Path() else _spoken(inside.parent.as_posix())
            found.append(Product(inside.as_posix(), _spoken(place.name), category, pictures=tuple(files)))
    if not found:
        raise BadInput(
            _("{path} holds no pictures").format(path=folder), fix=_("Give a folder with JPEG, PNG or WebP files.")
        )
    return _distinct(folder, found)


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").strip()


def _csv_rows(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    if b"\0" in raw[:4096]:
        raise BadInput(_("{path} is no text").format(path=path), fix=_("Give a CSV file, a folder or an SQLite file."))
    try:
        said = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        said = raw.decode("cp1251", errors="replace")
    first = said.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    csv.field_size_limit(MOST_TEXT * 10)
    try:
        rows = list(csv.DictReader(said.splitlines(), delimiter=delimiter, restkey="", strict=True))
    except csv.Error as problem:
        raise Damaged(_("{path} is not a whole CSV file: {problem}").format(path=path, problem=problem)) from problem
    return [{str(k): v for k, v in row.items() if isinstance(v, str)} for row in rows]


def _sqlite_rows(path: Path) -> list[dict[str, str]]:
    """In the child: the rows of the table that looks most like a catalogue, every value as text."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as rows:
            if said := [row[0] for row in rows.execute("PRAGMA quick_check(1)") if row[0] != "ok"]:
                raise sqlite3.DatabaseError(str(said[0])[:200])
            named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            tables = [row[0] for row in rows.execute(named)]
            best, most = "", 1  # an id and a name at least
            for table in tables:
                quoted = '"' + table.replace('"', '""') + '"'
                columns = [row[1] for row in rows.execute(f"PRAGMA table_info({quoted})")]
                known = _known_columns(columns)
                if {"id", "name"} <= set(known) and len(known) > most:
                    best, most = quoted, len(known)
            if not best:
                raise BadInput(
                    _("no table of {path} has an id and a name").format(path=path.name),
                    fix=_("Name the columns: id, name, category, price, picture, description."),
                )
            cursor = rows.execute(f"SELECT * FROM {best} LIMIT {MOST_ROWS}")
            names = [column[0] for column in cursor.description]
            return [{n: "" if v is None else str(v) for n, v in zip(names, row, strict=True)} for row in cursor]
    except sqlite3.Error as problem:
        raise Damaged(_("{path} cannot be read: {problem}").format(path=path.name, problem=problem)) from problem


def _known_columns(columns: Iterable[str]) -> dict[str, str]:
    """{our name: theirs}"""
    folded = {column.strip().casefold().replace(" ", "_"): column for column in columns}
    found = {}
    for ours, names in COLUMNS.items():
        theirs = next((folded[name] for name in names if name in folded), None)
        if theirs is not None:
            found[ours] = theirs
    return found


def _products(path: Path, rows: list[dict[str, str]]) -> list[Product]:
    if not rows:
        raise BadInput(_("{path} holds no products").format(path=path))
    known = _known_columns(rows[0])
    if "id" not in known or "name" not in known:
        raise BadInput(
            _("{path} has no column for the {what}").format(path=path, what="id" if "id" not in known else "name"),
            fix=_("Name the columns: id, name, category, price, picture, description."),
        )
    found = []
    for row in rows:
        said = {ours: _text(row, theirs) for ours, theirs in known.items()}
        if not said["id"]:
            raise BadInput(_("{path}: the product '{name}' has no id").format(path=path, name=said["name"][:80]))
        files = said.pop("pictures", "")
        found.append(Product(**said, pictures=tuple(_inside(path.parent, part) for part in _split(files))))
    return _distinct(path, found)


def _text(row: Mapping[str, Any], column: str) -> str:
    return str(row.get(column) or "").strip()[:MOST_TEXT]


def _split(files: str) -> list[str]:
    for separator in ("|", ";", "\n"):
        if separator in files:
            return [part.strip() for part in files.split(separator) if part.strip()]
    return [files] if files else []


def _inside(folder: Path, named: str) -> Path:
    """A picture beside the catalogue file; a name that leads out of the folder is refused, not followed."""
    place = (folder / named).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise BadInput(
            _("the picture '{name}' lies outside of {folder}").format(name=named[:200], folder=folder),
            fix=_("Put the pictures into the folder of the catalogue file."),
        )
    return folder / named


def _distinct(path: Path, products: list[Product]) -> list[Product]:
    """Lines with the same id and name are one product with several pictures; with another name they are a mistake."""
    found: dict[str, Product] = {}
    for product in products:
        before = found.get(product.id)
        if before is None:
            found[product.id] = product
            continue
        if before.name != product.name:
            raise BadInput(
                _("{path}: the id '{id}' names two products, '{one}' and '{other}'").format(
                    path=path, id=product.id, one=before.name[:80], other=product.name[:80]
                ),
                fix=_("Give each product an id of its own; nothing was imported."),
            )
        files = tuple(dict.fromkeys(before.pictures + product.pictures))
        found[product.id] = Product(
            before.id, before.name, before.category, before.price, before.description, pictures=files
        )
    return list(found.values())
