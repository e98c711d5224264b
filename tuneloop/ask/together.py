"""Several files as one table: a folder of monthly exports, an archive, each file's name in a column `file`."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from tuneloop.ask.bombs import MOST_RATIO, bomb
from tuneloop.ask.columns import literal
from tuneloop.ask.reading import Count
from tuneloop.ask.report import Finding
from tuneloop.ask.sources import SUFFIXES
from tuneloop.ask.staging import Staged
from tuneloop.errors import BadInput, TuneloopError
from tuneloop.texts import _

MOST_FILES = 2_000
MOST_UNPACKED = 50 << 30  # bytes


def tables_in(folder: Path) -> list[Path]:
    """Files of a folder and its folders that may be tables, in order. Raises BadInput when there is none."""
    found = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES and ".tuneloop" not in p.parts
    )
    if not found:
        raise BadInput(
            _("{name} holds no table").format(name=folder.name), fix=_("Put CSV, Excel, Parquet or JSON files there.")
        )
    if len(found) > MOST_FILES:
        raise BadInput(
            _("{name} holds {n:,} files, the limit is {limit:,}").format(
                name=folder.name, n=len(found), limit=MOST_FILES
            ),
            fix=_("Name a folder with fewer files."),
        )
    return found


def united(files: Sequence[Path], root: Path, stage: Callable[[Path, int], Staged]) -> Staged:
    """One staged source of all files that have the same columns as most rows have; the others are told of.

    stage: stages one file; its second argument numbers the files.
    """
    staged: dict[Path, Staged] = {}
    unreadable: list[str] = []
    for n, file in enumerate(files):
        try:
            staged[file] = stage(file, n)
        except TuneloopError as problem:
            unreadable.append(f"{file.relative_to(root)}: {problem.message}")
    if not staged:
        raise BadInput(_("no file there is a table: {why}").format(why="; ".join(unreadable[:3])), fix="")
    shapes: Counter[frozenset[str]] = Counter()
    for file, one in staged.items():
        shapes[_shape(one)] += file.stat().st_size
    shape = max(shapes, key=lambda s: shapes[s])
    chosen = {file: one for file, one in staged.items() if _shape(one) == shape}
    others = [str(file.relative_to(root)) for file in staged if file not in chosen] + unreadable
    first = next(iter(chosen.values()))
    if len(chosen) == 1 and not others:
        return first
    count = Count()
    relations = []
    for file, one in chosen.items():
        _add(count, one.count)
        places = {name.lower(): n for n, name in enumerate(one.names)}
        cells = [f"c{places[name.lower()]} AS c{n}" for n, name in enumerate(first.names)]
        cells.append(f"{literal(str(file.relative_to(root)))} AS c{len(first.names)}")
        relations.append(f"SELECT {', '.join(cells)} FROM {one.relation}")
    known = {name.lower() for name in first.names}
    name = next(n for n in ("file", "source file", "file (source)", *map(str, range(99))) if n not in known)
    detail = {"others": "; ".join(others[:5]) + ("; ..." if len(others) > 5 else "")}
    found = Finding("files", str(len(chosen)), "united but" if others else "united", detail if others else {})
    return replace(
        first,
        names=(*first.names, name),
        relation=f"({' UNION ALL '.join(relations)})",
        count=count,
        found=[found, *first.found],
        reader="exact" if any(one.reader == "exact" for one in chosen.values()) else "fast",
        header=(*first.header, "") if first.header else (),
        given=(*first.given, "VARCHAR") if first.given else (),
        files=tuple(file for one in chosen.values() for file in one.files),
    )


def unpacked(archive: Path, into: Path) -> Path:
    """The file in a gzip file, or a folder with the tables of a zip. Raises Hostile for a bomb."""
    into.mkdir()
    if not zipfile.is_zipfile(archive):
        made = into / (archive.stem if archive.suffix == ".gz" else archive.name)
        with gzip.open(archive) as source, made.open("wb") as target:
            _copy(source, target, archive)
        return made
    with zipfile.ZipFile(archive) as source:
        members = [m for m in source.infolist() if not m.is_dir() and Path(m.filename).suffix.lower() in SUFFIXES]
        if not members or len(members) > MOST_FILES:
            raise BadInput(_("{name} holds no table").format(name=archive.name), fix=_("Unpack it and name the file."))
        if sum(m.file_size for m in members) > MOST_RATIO * archive.stat().st_size:
            raise bomb(archive)
        if any(m.flag_bits & 1 for m in members):
            raise BadInput(
                _("{name} is protected by a password").format(name=archive.name), fix=_("Unpack it and name the file.")
            )
        for n, member in enumerate(members):
            # Only the last part of a name: "../../x.csv" stays here, and equal names are told apart.
            made = into / Path(member.filename).name
            made = made if not made.exists() else into / f"{n}-{made.name}"
            with source.open(member) as packed, made.open("wb") as target:
                _copy(packed, target, archive)
    return into if len(members) > 1 else made


def _copy(source: IO[bytes] | gzip.GzipFile, target: IO[bytes], archive: Path) -> None:
    most = min(MOST_UNPACKED, MOST_RATIO * archive.stat().st_size + (1 << 20))
    size = 0
    while block := source.read(1 << 20):
        size += len(block)
        if size > most:
            raise bomb(archive)
        target.write(block)


def _shape(one: Staged) -> frozenset[str]:
    return frozenset(name.lower() for name in one.names)


def _add(total: Count, more: Count) -> None:
    for name in ("lines", "above", "header", "blank", "continued", "loaded", "padded"):
        setattr(total, name, getattr(total, name) + getattr(more, name))
    total.rejected.update(more.rejected)
    total.examples = (total.examples + more.examples)[:5]
