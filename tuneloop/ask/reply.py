"""One question of a table, answered: a sentence, its rows, a plot, the SQL, how sure and why; or what else to ask.

Tried in this order: what people confirmed of such questions (ask/memory.py), the deterministic reader
(ask/question.py), and a small model where one is configured (ask/by_model.py). The rows never reach any of them: each
gives one SELECT, which the sandbox runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Literal

from tuneloop import texts
from tuneloop.ask import memory
from tuneloop.ask.answer import number, tell
from tuneloop.ask.chart import Chart, chart
from tuneloop.ask.facts import askable
from tuneloop.ask.memory import Confirmed
from tuneloop.ask.question import LONGEST, Reading, read
from tuneloop.ask.sandbox import Cell, Result
from tuneloop.ask.table import Table
from tuneloop.ask.words import is_cyrillic, tokens
from tuneloop.errors import BadInput
from tuneloop.texts import _, n_

State = Literal["answered", "unknown", "refused"]
SHOWN = 5  # rows that a sentence names
# What is asked when the reader has no answer: gives a Reading, mostly of a language model.
Other = Callable[[str, Table], Reading]


@dataclass(frozen=True, slots=True)
class Reply:
    """`state`: "answered", "unknown" (no column holds it, or not sure enough), "refused" (an order to change rows).

    Of the last two `sentence` says why, and `askable` what can be asked instead.
    """

    question: str
    state: State
    sentence: str
    sql: str | None
    sure: float
    why: str
    route: str  # "confirmed" | "reader" | "model"
    language: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    truncated: bool = False
    chart: Chart | None = None
    askable: tuple[str, ...] = ()
    seconds: float = 0.0


def as_json(reply: Reply) -> dict[str, Any]:
    """JSON values only."""
    return asdict(reply)


def reply(
    table: Table,
    question: str,
    known: Sequence[Confirmed] = (),
    *,
    other: Other | None = None,
    seconds: float = 5.0,
    most: int = 50,
) -> Reply:
    """Answer in the question's language. known: clicks on questions of tables with these columns, newest first.

    Raises BadInput for an empty or endless question, OutOfResources when the query takes longer than `seconds`.
    """
    began = perf_counter()
    question = " ".join(question.split())
    if not question or len(question) > LONGEST:
        raise BadInput(
            _("a question has 1 to {n} characters").format(n=LONGEST), fix=_("Ask for one figure of the table.")
        )
    language = language_of(question)
    with texts.speaking(language):
        route, reading = _reading(table, question, known, other)
        if reading.sql is None:
            return _abstained(table, reading, route, perf_counter() - began)
        result = table.run(reading.sql, seconds=seconds, most=most)
        sentence = tell(reading, result, language) if reading.query else plain(result)
        return Reply(
            question, "answered", sentence, reading.sql, reading.sure, reading.why, route, language,
            result.columns, tuple(result.rows), result.truncated, chart(result, reading.query),
            seconds=round(perf_counter() - began, 4),
        )  # fmt: skip


def language_of(question: str) -> str:
    """ "ru" or "en", as most of its words are: names of columns may be in the other language."""
    words = [token.text for token in tokens(question) if token.kind == "word"]
    russian = sum(map(is_cyrillic, words))
    first = bool(words) and is_cyrillic(words[0])
    return "ru" if 2 * russian > len(words) or (2 * russian == len(words) and first) else "en"


def _reading(table: Table, question: str, known: Sequence[Confirmed], other: Other | None) -> tuple[str, Reading]:
    """How the question is read, and by which route."""
    reading = read(question, table.profile)
    if reading.intent == "refuse":
        return "reader", reading
    recalled = memory.recall(question, table.profile, known)
    if recalled.sql is not None:
        query = reading.query if reading.sql == recalled.sql else None
        sure, why = recalled.sure, recalled.why
        return "confirmed", Reading(question, recalled.sql, sure, why, "confirmed", reading.language, query)
    if reading.sql in recalled.wrong:
        reading = _marked_wrong(reading)
    if reading.sql is None and other is not None:
        found = other(question, table)
        if found.sql not in recalled.wrong:
            return "model", found
    return "reader", reading


def _marked_wrong(reading: Reading) -> Reading:
    why = _("This reading was marked as wrong, and another one was not found.")
    return Reading(reading.question, None, 0.0, why, "unknown", reading.language)


def _abstained(table: Table, reading: Reading, route: str, seconds: float) -> Reply:
    state: State = "refused" if reading.intent == "refuse" else "unknown"
    return Reply(
        reading.question, state, reading.why, None, reading.sure, reading.why, route, reading.language,
        askable=tuple(askable(table.profile)), seconds=round(seconds, 4),
    )  # fmt: skip


def plain(result: Result) -> str:
    """A result as a sentence when only its SQL is known."""
    rows = result.rows
    if not rows or all(cell is None for cell in rows[0]):
        return _("No row of the table fits.")
    if len(rows) == 1 and len(rows[0]) == 1 and "(" in result.columns[0]:  # an expression without a name
        return _("The answer is {value}.").format(value=number(rows[0][0]))
    if len(rows) == 1:
        return "; ".join(f"{number(n)}: {number(c)}" for n, c in zip(result.columns, rows[0], strict=True)) + "."
    shown = "; ".join(" ".join(number(cell) for cell in row[:6]) for row in rows[:SHOWN])
    if result.truncated:
        return _("{rows} and many more.").format(rows=shown)
    rest = len(rows) - SHOWN
    return (
        n_("{rows} and {n} more.", "{rows} and {n} more.", rest).format(rows=shown, n=rest) if rest > 0 else shown + "."
    )
