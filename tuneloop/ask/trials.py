"""The table of trials: what was found out about each model of each engine on this machine, kept in trials.json.

One file of the workspace, written whole after every row: a kill loses the row that was being measured and no other.
A row is finished when it was measured or stopped at a limit; one that failed is tried again the next time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tuneloop.ask import gold
from tuneloop.texts import _, visible
from tuneloop.workspace import Workspace, write_json

FILE = "trials.json"
BUSY = (
    1.2  # `machine.load` from which speeds tell nothing of an idle machine: at 3, two threads made 3 tokens/s, not 30
)
GOOD = 0.8  # of the questions: from here a model is worth asking
FIGURES = ("model", "engine", "size", "load", "speed", "memory", "right", "wrong", "seconds", "verdict")  # of `cells`
_MARKUP = re.compile(r"[\\`*\[\]|]")
QUICK = 20.0  # seconds for a question that people still wait for

State = Literal["done", "time", "memory", "machine", "large", "failed"]


@dataclass(frozen=True, slots=True)
class Row:
    """One model. Sizes in bytes, times in seconds; None: not known, or not reached.

    state: done; stopped at its limit of "time" or "memory", or when the "machine" ran out of memory; too "large" to
    be tried; "failed" with `error`. mark: of the file or model that was measured.
    """

    engine: str
    model: str
    machine: str
    kind: str
    state: State
    when: float  # Unix seconds
    edition: str  # of the questions
    of: int
    size: int | None = None
    parameters: int | None = None
    quant: str = ""
    mark: str = ""
    load_seconds: float | None = None
    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    asked: int = 0
    right: int = 0
    wrong: int = 0
    question_seconds: float | None = None  # the median
    seconds: float = 0.0  # all of it
    limit_seconds: float = 0.0
    limit_memory: int = 0
    load: float = 0.0  # `machine.load` when it began
    error: str = ""

    @property
    def key(self) -> str:
        return key(self.engine, self.model, self.machine)

    @property
    def good(self) -> bool:
        """Whether it answers well enough to be asked."""
        return self.state == "done" and self.right >= GOOD * self.of

    @property
    def said(self) -> str:
        """The verdict in one line."""
        if self.state == "failed":
            return self.error or _("failed")
        if self.state in STOPPED:
            told = STOPPED_WORDS[self.state]()
            return told.format(seconds=self.limit_seconds, gb=self.limit_memory / 1e9)
        if self.kind == "echo":
            return _("an echo, no model")
        if not self.good:
            return _("too often wrong")
        return _("right, but slow") if (self.question_seconds or 0) > QUICK else _("good")


STOPPED = ("time", "memory", "machine", "large")
STOPPED_WORDS = {
    "time": lambda: _("stopped at its limit of {seconds:.0f} s"),
    "memory": lambda: _("stopped at its limit of {gb:.2f} GB of memory"),
    "machine": lambda: _("stopped: the machine ran out of memory"),
    "large": lambda: _("not tried: the file alone is larger than {gb:.2f} GB of memory"),
}


def key(engine: str, model: str, machine: str) -> str:
    """What a row is known by. engine: "" for a file of the workspace."""
    return f"{engine}|{model}|{machine}"


def read(workspace: Workspace) -> dict[str, Row]:
    """The rows by key; none where there was no trial yet, or the file is damaged (then they are measured again)."""
    try:
        written = json.loads((workspace.path / FILE).read_text(encoding="utf-8"))["rows"]
        rows = [Row(**one) for one in written]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {row.key: row for row in rows}


def keep(workspace: Workspace, row: Row) -> None:
    """Put a row in its place."""
    rows = read(workspace) | {row.key: row}
    write_json(workspace.path / FILE, {"rows": [asdict(one) for one in rows.values()]})


def finished(row: Row | None, *, mark: str, of: int, seconds: float, memory: int) -> bool:
    """Whether a row need not be measured: the same model, questions and no wider limits than those it stopped at."""
    if row is None or row.state == "failed" or (row.mark, row.edition, row.of) != (mark, gold.edition(), of):
        return False
    if row.state == "time":
        return seconds <= row.limit_seconds
    if row.state in ("memory", "machine", "large"):
        return memory <= row.limit_memory
    return True


def ranked(rows: Iterable[Row]) -> list[Row]:
    """The best first: most right answers, then the quickest; those without an answer at the end."""
    return sorted(rows, key=lambda row: (row.state != "done", -row.right, row.question_seconds or 1e9, row.model))


def best(rows: Iterable[Row]) -> Row | None:
    """The one to take: good, and of those with most right answers the quickest."""
    return next((row for row in ranked(rows) if row.good and row.kind != "echo"), None)


def speeds(workspace: Workspace, machine: str) -> list[dict[str, Any]]:
    """What llama.cpp did with files on this machine while it was idle: parameters, size, quant, tokens_per_second."""
    mine = [row for row in read(workspace).values() if row.machine == machine and row.kind == "llamacpp"]
    return [asdict(row) for row in mine if row.parameters and row.tokens_per_second and row.load < BUSY]


def as_json(row: Row) -> dict[str, Any]:
    """JSON values only, with the verdict in words."""
    return asdict(row) | {"said": row.said, "good": row.good}


def markdown(rows: Iterable[Row], reader: int | None) -> str:
    """The rows as a table in Markdown. reader: right answers of the reader that needs no model."""
    ordered = ranked(rows)
    heads = [head.replace("\n", " ") for head in columns()]
    lines = ["| " + " | ".join(heads) + " |", "| --- | --- |" + " ---: |" * (len(heads) - 3) + " --- |"]
    lines += ["| " + " | ".join(map(_literal, cells(row))) + " |" for row in ordered]
    if reader is not None and ordered:
        lines += ["", without(reader, len(gold.questions()))]
    return "\n".join(lines) + "\n"


def _literal(cell: str) -> str:
    """A cell as plain text in Markdown: an engine may call its model "<img>" or "[x](javascript:...)"."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(visible(cell).split())).replace("<", "&lt;")


def columns() -> tuple[str, ...]:
    """Heads of `cells`."""
    return (
        _("model"), _("engine"), _("size"), _("load,\ns"), _("tokens/s"), _("memory"), _("right\nanswers"),
        _("wrong\nanswers"),
        _("s per\nquestion"), _("verdict"),
    )  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as people read it."""
    asked = f"{row.right}/{row.of}" if row.asked == row.of or not row.asked else f"{row.right}/{row.asked} ({row.of})"
    return (
        row.model, row.engine or _("file"), megabytes(row.size), _number(row.load_seconds),
        _number(row.tokens_per_second), megabytes(row.memory_bytes), asked if row.asked else "-",
        str(row.wrong) if row.asked else "-", _number(row.question_seconds), row.said,
    )  # fmt: skip


def without(right: int, of: int) -> str:
    """What the reader reaches that needs no model."""
    return _("Without any model the reader of questions has {right} of {of} right.").format(right=right, of=of)


def megabytes(size: int | None) -> str:
    """1,234 MB, or a dash."""
    if not size:
        return "-"
    return _("{n} MB").format(n=f"{size / 1e6:,.0f}" if size >= 1e6 else f"{size / 1e6:.1f}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"
