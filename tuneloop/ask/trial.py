"""Try every model that is configured: the same questions to a table and a look at its speed, one model after another.

Each model has a process of its own (`trial_child`), which is watched: past its time, past its memory, or when the
machine itself runs short, it is killed with everything it started, and the row says so. So a model that is too large
costs a minute and not the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO, Any

import psutil

from tuneloop import machine, texts
from tuneloop.answer import models, stores
from tuneloop.answer.book import Book
from tuneloop.ask import gold, trials
from tuneloop.ask.question import read as read_question
from tuneloop.ask.table import open_table
from tuneloop.ask.trials import Row, State
from tuneloop.engines import gguf_check
from tuneloop.errors import EngineError, Missing, TuneloopError
from tuneloop.progress import Progress, silent
from tuneloop.records import EngineSpec
from tuneloop.texts import _
from tuneloop.workspace import Workspace

LOCK = "trial"  # two at once would measure each other
OFTEN = 0.05  # seconds between two looks at its memory: a model maps 100 MB in that time
SPARE = 0.04  # of the machine's memory: with less free than this it would begin to swap
MANY = 12  # models of a far API, from which only those that tuneloop.toml names are tried

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can be tried. mark: changes when the model does."""

    engine: str
    model: str
    spec: EngineSpec
    asked: str  # what the engine calls it
    size: int | None = None
    quant: str = ""
    mark: str = ""
    reason: str = ""  # why it cannot be tried


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one model: seconds for all of it, bytes of all its processes, questions of the set."""

    seconds: float
    memory: int
    questions: int


def candidates(workspace: Workspace, book: Book, listing: models.Listing) -> list[Candidate]:
    """Files of the workspace, then the models of every engine. listing: what the engines say they have."""
    found = [
        _of_file("", str(one["id"]), Path(one["path"]), str(one["quantisation"]))
        for one in models.files(workspace, book)
    ]
    named = _named(workspace, book)
    for name, spec in book.engines.items():
        listed = listing.get(name, [])
        if spec.kind == "local":
            continue
        if isinstance(listed, str):
            found += [Candidate(name, model, spec, model, reason=listed) for model in named.get(name) or [""]]
            continue
        if spec.kind == "llamacpp":
            found += [_of_file(name, str(one["id"]), Path(spec.file), "", spec) for one in listed]
            continue
        wanted = [one for one in listed if len(listed) <= MANY or spec.kind == "ollama" or one["id"] in named[name]]
        found += [_of_engine(name, spec, one) for one in wanted]
    return found


def run(
    workspace: Workspace,
    wanted: Sequence[Candidate],
    limits: Limits,
    *,
    again: bool = False,
    watch: Progress = silent,
    told: Callable[[Row, bool], None] = lambda _row, _fresh: None,
) -> list[Row]:
    """Try what was not tried yet; every row, in the order of `wanted`. told: a row, and whether it is new.

    Raises Conflict while another trial runs in this workspace, MissingExtra without the parts for tables.
    """
    here = machine.name()
    rows = []
    with workspace.lock(LOCK), tempfile.TemporaryDirectory() as scratch:
        open_table(gold.TABLE, cache=Path(scratch)).close()  # loaded once, for all of them
        for one in wanted:
            known = trials.read(workspace).get(trials.key(one.engine, one.model, here))
            fresh = again or not trials.finished(
                known, mark=one.mark, of=limits.questions, seconds=limits.seconds, memory=limits.memory
            )
            row = _tried(one, limits, Path(scratch), here, watch) if fresh or known is None else known
            if fresh and one.asked:  # an engine that does not answer has no model to remember
                trials.keep(workspace, row)
            told(row, fresh)
            rows.append(row)
    return rows


def reader() -> int:
    """Right answers of the reader that needs no model, over the whole set."""
    with tempfile.TemporaryDirectory() as scratch:
        table = open_table(gold.TABLE, cache=Path(scratch))
        try:
            asked = gold.questions().items()
            return sum(gold.right(table, read_question(text, table.profile), query) for text, query in asked)
        finally:
            table.close()


def _of_file(engine: str, model: str, path: Path, quant: str, spec: EngineSpec | None = None) -> Candidate:
    """One slot is enough: the questions come one after another."""
    spec = replace(spec, parallel=1) if spec else EngineSpec("file", "llamacpp", file=str(path), parallel=1)
    if not path.exists():
        return Candidate(engine, model, spec, model, reason=_("there is no file {path}").format(path=path.name))
    status = path.stat()
    mark = f"{status.st_size}-{status.st_mtime_ns}"
    return Candidate(engine, model, spec, model if engine else "base", status.st_size, quant, mark)


def _of_engine(name: str, spec: EngineSpec, one: Mapping[str, Any]) -> Candidate:
    mark = str(one.get("modified") or "")
    size, quant = one.get("size"), str(one.get("quantisation") or "")
    return Candidate(name, str(one["id"]), spec, str(one["id"]), int(size) if size else None, quant, mark)


def _named(workspace: Workspace, book: Book) -> dict[str, list[str]]:
    """By engine: the models that tuneloop.toml names."""
    found: dict[str, list[str]] = {name: [] for name in book.engines}
    for task in book.tasks.values():
        for variant in task.variants:
            found[variant.engine].append(variant.model)
    for key in ("ask.model", "quality.judge"):
        engine, _slash, model = workspace.settings.text(key).partition("/")
        if engine in found:
            found[engine].append(model)
    return {name: list(dict.fromkeys(given)) for name, given in found.items()}


def _tried(one: Candidate, limits: Limits, scratch: Path, here: str, watch: Progress) -> Row:
    began = time.monotonic()
    row = Row(
        one.engine, one.model, here, one.spec.kind, "failed", time.time(), gold.edition(), limits.questions, one.size,
        *_header(one), one.mark, limit_seconds=limits.seconds, limit_memory=limits.memory,
        load=round(machine.load(), 2), error=one.reason,
    )  # fmt: skip
    if one.reason:
        return row
    ours = one.spec.kind == "llamacpp" or (one.spec.kind == "ollama" and stores.is_here(one.spec))
    if ours and (one.size or 0) > limits.memory:
        return replace(row, state="large")
    events: list[Event] = []
    state, error, peak = _watched(one, limits, scratch, events, watch)
    watch(_stage(one), limits.questions, limits.questions)  # also of one that was stopped: its bar is through
    if one.spec.kind == "ollama":
        _unload(one)
    return _filled(row, state, error, peak, events, time.monotonic() - began)


def _filled(row: Row, state: State, error: str, peak: int | None, events: Sequence[Event], took: float) -> Row:
    first = {str(one["event"]): one for one in reversed(events)}
    answers = [one for one in events if one["event"] == "question"]
    held = first.get("memory", {}).get("bytes")
    return replace(
        row, state=state, error=error, memory_bytes=held or (peak if row.kind == "llamacpp" else None),
        load_seconds=first.get("loaded", {}).get("seconds"),
        tokens_per_second=first.get("speed", {}).get("tokens_per_second"), asked=len(answers),
        right=sum(one["right"] for one in answers), wrong=sum(one["wrong"] for one in answers),
        question_seconds=median(one["seconds"] for one in answers) if answers else None, seconds=round(took, 2),
    )  # fmt: skip


def _stage(one: Candidate) -> str:
    return "/".join(part for part in (one.engine, one.model) if part)


def _watched(
    one: Candidate, limits: Limits, scratch: Path, events: list[Event], watch: Progress
) -> tuple[State, str, int | None]:
    """(how it ended, why it failed, peak bytes of the model's process); fills `events`."""
    order = {
        "spec": asdict(one.spec), "model": one.asked, "questions": limits.questions, "seconds": limits.seconds,
        "cache": str(scratch), "language": texts.language(),
    }  # fmt: skip
    watch(_stage(one), 0, limits.questions)
    until, peak = time.monotonic() + limits.seconds, 0
    with _child(order) as (process, said):
        while True:
            for line in said(min(OFTEN, max(0.0, until - time.monotonic()))):
                events.append(json.loads(line))
                watch(_stage(one), sum(e["event"] == "question" for e in events), limits.questions)
            everything, model = _memory(process.pid)
            peak = max(peak, model)
            last = events[-1]["event"] if events else ""
            if last in ("end", "error"):
                return "done" if last == "end" else "failed", str(events[-1].get("error", "")), peak or None
            if process.poll() is not None:
                return "failed", _died(process.returncode), peak or None
            if everything > limits.memory:
                return "memory", "", max(peak, everything)
            if machine.memory_free() < SPARE * machine.memory():
                return "machine", "", peak or None
            if time.monotonic() >= until:
                return "time", "", peak or None


@contextmanager
def _child(order: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[float], list[bytes]]]]:
    """The process, and what gives its new lines within so many seconds. It is dead when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tuneloop.ask.trial_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            yield process, _lines(process.stdout, waiting)
    finally:
        _end(process)


def _lines(pipe: IO[bytes], waiting: selectors.BaseSelector) -> Callable[[float], list[bytes]]:
    rest = b""

    def read(seconds: float) -> list[bytes]:
        nonlocal rest
        if not waiting.select(seconds):
            return []
        piece = os.read(pipe.fileno(), 1 << 16)
        if not piece:  # closed: it is dead, or nearly
            time.sleep(seconds)
        *whole, rest = (rest + piece).split(b"\n")
        return whole

    return read


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and all it started: a model's process would live on until it notices that its parent is gone."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(family, timeout=5)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process with all it started, and the most that the largest of those ever had."""
    everything, model = 0, 0
    try:
        mine = psutil.Process(pid)
        for one in (mine, *mine.children(recursive=True)):
            everything += one.memory_info().rss
            if "llamacpp_child.py" in " ".join(one.cmdline()):
                model = max(model, machine.peak_memory(one.pid) or one.memory_info().rss)
    except psutil.Error:  # one of them has just ended
        return everything, model
    return everything, model


def _died(code: int) -> str:
    return _("its process was killed by signal {n}").format(n=-code) if code < 0 else f"exit {code}"


def _header(one: Candidate) -> tuple[int | None, str]:
    """(how many weights, in which quantisation) a model has; of a file its header tells."""
    if one.spec.kind != "llamacpp" or one.reason:
        return None, one.quant
    try:
        header = gguf_check.check(Path(one.spec.file))
    except TuneloopError:  # the trial itself will say what is wrong with it
        return None, one.quant
    return header.weights, one.quant or header.main_type


def _unload(one: Candidate) -> None:
    """Let Ollama forget the model, or the next one has no room."""
    from tuneloop.engines.ollama import Ollama

    async def ask() -> None:
        async with Ollama(one.spec.url, headers=one.spec.headers, timeout=10.0) as server:
            await server.generate(one.asked, "", keep_alive=0)

    try:
        asyncio.run(ask())
    except (EngineError, Missing):
        return  # it is gone already, or does not answer any more
