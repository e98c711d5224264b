"""A small language model as the last reader of a question: it gives one SELECT, and never sees a row.

It is told names, kinds, units and ranges of the columns, and the values of those that have few. That text comes first
and is the same for every question of a table, so an engine that keeps its prompt cache reads it once. Up to three
samples are run, each with one turn to repair what the sandbox refuses; what two of them find is the answer, otherwise
there is none (self-consistency by execution: Wang et al., ICLR 2023; Ni et al., LEVER, ICML 2023).
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from tuneloop import texts
from tuneloop.answer.judging import Judge
from tuneloop.ask.columns import Column, Profile
from tuneloop.ask.question import Reading, can_answer
from tuneloop.ask.reply import language_of
from tuneloop.ask.sandbox import Result
from tuneloop.ask.table import Table
from tuneloop.engines.engine import Limits
from tuneloop.errors import BadInput, EngineError, OutOfResources, Refused, TooMany
from tuneloop.texts import _

AGREE = 2  # of the samples; as soon as so many agree no more are asked
TEMPERATURES = (0.0, 0.7, 0.7)
TOKENS = 300  # of one answer: the longest of the project's own gold queries has 120
SURE = {2: 0.8, 3: 0.65}  # by how many samples were asked until two agreed
MOST_COLUMNS = 60
FEW_VALUES = 20  # different values that are told; more may be names of people
ROWS_A_VALUE = 5  # rows for each value, at least: a category, not a record
COMPARED = 200  # rows of a result that votes are compared by
LONGEST = 64_000  # characters of a model's answer that are looked at

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"```(?:sql)?\s*(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
# What reads nothing of the table answers nothing about it: "SELECT 42", as a text in a header may order.
_FROM_TABLE = re.compile(r'\bFROM\s+(?:main\.)?"?t"?(?!\w)', re.IGNORECASE)
_ORDER = re.compile(r"(?:^|[:.])[ \t]*(?:COPY|CREATE|EXPLAIN|EXPORT|INSERT|MERGE|PREPARE)\b[^;]*\Z", re.MULTILINE)
_SELECT = re.compile(r"\b(?:SELECT|WITH)\b.*", re.DOTALL | re.IGNORECASE)

_RULES = """You turn questions into one short SQL query for DuckDB over the table t. Its columns:
{columns}
Reply with one SELECT statement and nothing else. Use only these columns; quote names like "{name}".
If the columns cannot answer the question, reply NO."""


async def read_by_model(judge: Judge, question: str, table: Table, *, seconds: float = 5.0) -> Reading:
    """The reading on which two samples agree, or one without SQL. judge: the engine and model that are asked.

    seconds: for running one query. Raises EngineError when the engine fails or does not answer, TooMany when it is
    busy.
    """
    votes: dict[str, list[str]] = {}
    for n, temperature in enumerate(TEMPERATURES, 1):
        sql, found = await _sample(judge, question, table, temperature, seconds)
        vote = votes.setdefault(found, [])
        vote.append(sql)
        if len(vote) == AGREE and not found:
            return _none(question, _("The model found no column that holds the answer."), table.profile)
        if len(vote) == AGREE:
            why = _("read by the model {name}; {agree} of {n} samples agree")
            why = why.format(name=judge.name, agree=AGREE, n=n)
            return Reading(question, min(vote, key=len), SURE[n], why, "model", language_of(question))
    return _none(question, _("The model's readings of this question disagree."), table.profile)


def prompt(profile: Profile) -> str:
    """What the model is told of a table: no row of it."""
    lines = [_column(column) for column in profile.columns[:MOST_COLUMNS]]
    name = profile.columns[0].name if profile.columns else "name"
    return _RULES.format(columns="\n".join(lines), name=name.replace('"', '""'))


def select_of(text: str) -> str:
    """The SELECT in a model's answer, "" where there is none (it said NO, talked, or gave an order that has one)."""
    text = _THOUGHTS.sub("", text[:LONGEST])
    fenced = _FENCE.search(text)
    said = fenced[1] if fenced else text
    found = _SELECT.search(said)
    if not found or _ORDER.search(said[: found.start()]):
        return ""
    return found[0].partition(";")[0].strip()


def _column(column: Column) -> str:
    told = f"{column.sql} {column.kind}"
    if column.unit:
        told += f", in {column.unit}"
    if column.kind in ("number", "date") and column.low is not None:
        told += f", from {_short(column.low)} to {_short(column.high)}"
    few = column.distinct <= FEW_VALUES and column.rows - column.missing >= ROWS_A_VALUE * column.distinct
    if column.values and few and column.distinct == len(column.values):
        told += ": " + ", ".join("'" + value[:60].replace("'", "''") + "'" for value in column.values)
    elif column.kind == "text":
        told += f", {column.distinct} different values"
    return "- " + " ".join(told.split())


def _short(end: float | str | None) -> str:
    return f"{end:.6g}" if isinstance(end, float) else str(end)


async def _sample(judge: Judge, question: str, table: Table, temperature: float, seconds: float) -> tuple[str, str]:
    """(SQL, what it finds in one form); both "" where the model says no, or gives nothing that runs."""
    talk = [{"role": "system", "content": prompt(table.profile)}, {"role": "user", "content": question}]
    for _turn in range(2):
        said = await _asked(judge, talk, temperature)
        sql = select_of(said)
        if not _FROM_TABLE.search(sql):
            return "", ""
        try:
            result = await asyncio.to_thread(table.run, sql, seconds=seconds, most=COMPARED)
        except (BadInput, Refused, OutOfResources) as problem:
            repair = f"That query failed: {problem.message[:300]}. Reply with the corrected SELECT only."
            talk += [{"role": "assistant", "content": sql}, {"role": "user", "content": repair}]
            continue
        return (sql, _form(result)) if _says_something(result) else ("", "")
    return "", ""


def _says_something(result: Result) -> bool:
    return any(cell is not None for row in result.rows for cell in row)


def _form(result: Result) -> str:
    """A result so that two queries of one meaning give the same: no names, no order, six digits."""

    def cell(value: Any) -> Any:
        return f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else value

    rows = sorted(json.dumps([cell(value) for value in row], ensure_ascii=False) for row in result.rows)
    return json.dumps([len(result.columns), result.truncated, rows])


async def _asked(judge: Judge, talk: list[dict[str, str]], temperature: float) -> str:
    body = {
        "model": judge.model, "messages": talk, "temperature": temperature, "max_tokens": TOKENS, "stream": False,
    }  # fmt: skip
    limits = Limits(judge.seconds, judge.seconds, judge.seconds)
    reply = await judge.engine.ask("/chat/completions", json.dumps(body).encode(), stream=False, limits=limits)
    if reply.status != 200:
        said = _("the model '{name}' answered with status {status}")
        raise EngineError(said.format(name=judge.name, status=reply.status))
    try:
        text = json.loads(reply.body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""
    return text if isinstance(text, str) else ""


def _none(question: str, why: str, profile: Profile) -> Reading:
    return Reading(question, None, 0.0, f"{why} {can_answer(profile)}", "unknown", language_of(question))


async def tried(judge: Judge, question: str, table: Table) -> Reading:
    """As `read_by_model`; without SQL, and with the reason, where the engine fails."""
    with texts.speaking(language_of(question)):
        try:
            return await read_by_model(judge, question, table)
        except (EngineError, TooMany) as problem:
            return _none(question, problem.message + ".", table.profile)
