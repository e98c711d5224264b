"""Open a file as a table: loaded once into a columnar file beside it, reused while the source is unchanged.

table = open_table(Path("sales.csv"))
table.profile.columns, table.report
table.run("SELECT region, avg(price) FROM t GROUP BY region").rows
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tuneloop.ask import columns, report
from tuneloop.ask.columns import Profile
from tuneloop.ask.damage import FULL, disk_full
from tuneloop.ask.report import Finding, Report
from tuneloop.ask.sandbox import Result, Sandbox
from tuneloop.child import run_limited
from tuneloop.errors import BadInput, Missing, MissingExtra
from tuneloop.progress import Progress, silent
from tuneloop.texts import _

FORM = 2  # of what is kept; a newer tuneloop that keeps something else loads the source again
ENDS = 64 << 10  # bytes of the source's head and tail that its fingerprint covers
OVERRIDES = ("encoding", "separator", "quote", "decimal", "header", "dates", "sheet", "table", "kinds")
MEMORY = 3 << 30  # address space of the loading child; what it really uses is bounded by ingest.MEMORY


@dataclass(frozen=True)
class Table:
    """An opened table. Its rows are reached by `run` only, in a child process."""

    path: Path
    database: Path
    profile: Profile
    report: Report
    tables: tuple[str, ...] = ("t",)

    @cached_property
    def _sandbox(self) -> Sandbox:
        return Sandbox(str(self.database))

    def run(self, sql: str, *, seconds: float = 5.0, most: int = 1000) -> Result:
        """Run one SELECT over the table `t`; at most `most` rows come back.

        Raises BadInput (no such column, bad syntax), Refused (anything but one computing SELECT), OutOfResources
        (longer than `seconds`, more than 512 MB).
        """
        return self._sandbox.run(sql, self.tables, seconds=seconds, most=most)

    def close(self) -> None:
        """End the child process that runs queries."""
        self._sandbox.close()


def open_table(path: Path, *, cache: Path | None = None, watch: Progress = silent, **overrides: Any) -> Table:
    """Open a file (CSV, TSV, Excel, Parquet, JSON lines, SQLite) or a folder of such as a table.

    cache: folder for the columnar file; None: ".tuneloop" beside the source, or the user's cache where that cannot be
    written. overrides: encoding, separator, quote, decimal ("," or "."), header (its row, "3-4" for two, 0 for none),
    dates ("day" or "month" first), sheet, table, kinds ({column: "text"}).
    watch: hears the stages of a load (ask/pace.py). A load that was stopped, in whatever way, starts from the front.
    Raises Missing when there is no such file, BadInput when it is no table, MissingExtra without DuckDB.
    """
    path = Path(path)
    _look(path)
    asked = {name: value for name, value in overrides.items() if value is not None}
    if unknown := sorted(set(asked) - set(OVERRIDES)):
        raise BadInput(
            _("'{name}' is nothing that can be set for a table").format(name=unknown[0]),
            fix=_("Use one of {names}.").format(names=", ".join(OVERRIDES)),
        )
    folder = _folder(path, cache)
    mark = hashlib.sha256(json.dumps([str(path.absolute()), asked], sort_keys=True).encode()).hexdigest()[:12]
    try:
        return _opened(path, folder / f"{path.name[:80]}.{mark}", asked, watch)
    except OSError as problem:
        if problem.errno in FULL:
            raise disk_full(path) from None
        raise BadInput(
            _("{name} cannot be read: {problem}").format(name=path.name, problem=problem.strerror),
            fix=_("Check who may read it."),
        ) from None


def _opened(path: Path, kept: Path, asked: dict[str, Any], watch: Progress) -> Table:
    print_ = fingerprint(path)
    with _alone(kept.with_name(kept.name + ".lock")):
        card = _card(kept)
        if card is None or card["fingerprint"] != print_:
            card = _load(path, kept, asked, print_, watch)
    told = report.from_json(card["report"])
    return Table(path, _database(kept), columns.from_json(card["profile"]), told, tuple(card["tables"]))


def fingerprint(path: Path) -> str:
    """Changes when the file does: size, time of change, and a hash of its head and tail; of a folder, of all files."""
    digest = hashlib.sha256(str(FORM).encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_file() or ".tuneloop" in file.parts:
            continue
        status = file.stat()
        digest.update(f"{file.name}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
        with file.open("rb") as source:
            digest.update(source.read(ENDS))
            source.seek(max(0, status.st_size - ENDS))
            digest.update(source.read(ENDS))
    return digest.hexdigest()


def _look(path: Path) -> None:
    import importlib.util

    try:
        there, plain = path.exists(), path.is_file() or path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be looked into
        there = plain = False
    if not there:
        raise Missing(_("there is no file {path}").format(path=str(path)[:300]), fix=_("Check the name."))
    if not plain:  # a pipe is read once, and gives nothing until somebody writes
        raise BadInput(_("{name} is no plain file").format(name=path.name), fix=_("Save what it gives as a file."))
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise BadInput(
            _("the name of {name} is not valid UTF-8").format(name=path.name), fix=_("Rename the file.")
        ) from None
    if path.is_file() and path.stat().st_size == 0:
        raise BadInput(_("{name} is empty").format(name=path.name), fix=_("Choose a file with rows in it."))
    if importlib.util.find_spec("duckdb") is None:
        raise MissingExtra(_("tables need DuckDB, which is not installed"), fix=_("pip install 'tuneloop[ask]'"))


def _folder(path: Path, cache: Path | None) -> Path:
    """Where columnar files are kept: as asked, beside the source, or in the user's cache."""
    folder = cache or path.absolute().parent / ".tuneloop"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError as problem:
        if cache:
            raise BadInput(
                _("{folder} cannot be made: {problem}").format(folder=cache, problem=problem.strerror),
                fix=_("Name another folder."),
            ) from None
    folder = Path.home() / ".cache" / "tuneloop" / "tables"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(
            _("{folder} cannot be made: {problem}").format(folder=folder, problem=problem.strerror),
            fix=_("Name another folder with --cache."),
        ) from None
    return folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time loads a source; another waits and finds it loaded."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _card(kept: Path) -> dict[str, Any] | None:
    try:
        card = json.loads(kept.with_name(kept.name + ".json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return card if isinstance(card, dict) and card.get("form") == FORM and _database(kept).exists() else None


def _database(kept: Path) -> Path:
    return kept.with_name(kept.name + ".duckdb")


def _load(path: Path, kept: Path, asked: dict[str, Any], print_: str, watch: Progress) -> dict[str, Any]:
    """Load in a child, into a scratch folder, and put the finished files in their place; the card comes last."""
    from tuneloop.ask.ingest import ingest

    folder = kept.parent
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size
    mark = kept.name.rpartition(".")[2]
    for left in folder.glob(f".loading-{mark}-*"):  # of a process that was killed: the lock is ours now
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".loading-{mark}-", dir=folder))
    try:
        # 2 MB/s is what the exact reader manages on a busy machine.
        seconds = 60 + size / 2e6
        made = run_limited(
            ingest, path.absolute(), scratch, asked, seconds=seconds, memory=MEMORY, what=path.name, watch=watch
        )
        if fingerprint(path) != print_:  # rows that were there are loaded and add up; the next opening reads it again
            made["report"]["found"].append(asdict(Finding("source", path.name, "changed")))
        card = {"form": FORM, "fingerprint": print_, **made}
        kept.with_name(kept.name + ".json").unlink(missing_ok=True)
        (scratch / "table.duckdb").replace(_database(kept))
        draft = scratch / "card.json"
        draft.write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
        draft.replace(kept.with_name(kept.name + ".json"))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return card
