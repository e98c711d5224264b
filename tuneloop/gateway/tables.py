"""Routes for tables: upload one, look at what it holds, ask it, click on the answers, remove it.

A team sees its own tables only. Readers look, users upload, ask and click, and remove what is not needed. A key of some
tasks reaches the tables that its scopes name as "tables:ID", and uploads none. The rows of a table go to no model.
"""

from __future__ import annotations

import asyncio
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints

from tuneloop.access.caller import Caller
from tuneloop.answer import quality
from tuneloop.ask import clicks, memory, uploads
from tuneloop.ask.by_model import tried
from tuneloop.ask.clicks import Rows
from tuneloop.ask.facts import askable, warnings
from tuneloop.ask.question import LONGEST
from tuneloop.ask.reply import Other, Reply, as_json, reply
from tuneloop.ask.report import in_words, sentence, subject, sum_of_rows
from tuneloop.errors import Missing, Refused
from tuneloop.gateway.answers import answers
from tuneloop.gateway.failures import Failure
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import Checked, Name
from tuneloop.gateway.table_loads import named, registered
from tuneloop.texts import _
from tuneloop.workspace import need_disk

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk

router = APIRouter(tags=["tables"])
READ = answers(404, 409, 422, 503, 507)
Reader = Annotated[Caller, needs("reader")]
User = Annotated[Caller, needs("user")]
SCOPE = "tables:"
UPLOAD_SECONDS = 600.0  # 100 MB take 80 s at 10 Mbit/s
FORM = "application/octet-stream"  # a page of a stranger may not send it without asking
BODY = {"required": True, "content": {FORM: {"schema": {"type": "string", "format": "binary"}}}}


class QuestionRequest(Checked):
    """One question in Russian or English. most: rows of the answer."""

    question: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
    most: int = Field(50, ge=1, le=1000)
    user: Name = ""


class ClickRequest(Checked):
    """answer: its id. reading: with "wrong", what was meant: one SELECT, or the question in other words."""

    answer: Name
    verdict: Literal["right", "wrong"]
    reading: Annotated[str, StringConstraints(max_length=clicks.LONGEST_READING)] = ""
    user: Name = ""


@router.post("/tables", responses=answers(404, 409, 422, 503, 507), openapi_extra={"requestBody": BODY})
async def upload_table(
    request: Request,
    caller: User,
    name: Annotated[str, Query(min_length=1, max_length=200)],
    load: Annotated[str, Query(max_length=64)] = "",
) -> dict[str, Any]:
    """Send a file (CSV, TSV, Excel, Parquet, JSON lines, SQLite) as the body; the answer is what `GET` gives of it.

    Content-Type: application/octet-stream. It is stored and loaded when this replies, or nothing of it is kept, also
    when you hang up before. load: a name of your choice, under which `GET /tables/loads/{load}` tells how far it is.
    """
    if caller.scopes:
        raise Refused(_("a key of some tasks uploads no tables"))
    desk = _desk(request)
    limit = desk.workspace.settings.integer("tables.bytes")
    expected = _check_head(request, limit)
    await asyncio.to_thread(uploads.room, desk.workspace, tenant=caller.tenant)
    need_disk(desk.workspace.path, 2 * expected)
    with named(desk, caller, load) as state:
        identity, folder = await asyncio.to_thread(uploads.place, desk.workspace)
        try:
            await _receive(request, folder / uploads.safe_name(name), limit)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        state.stage = "waiting"
        async with desk.tables.loading:
            await registered(request, desk, identity, caller, state)
        return await asyncio.to_thread(_profile, desk, identity, caller)


@router.get("/tables", responses=answers(422, 503))
def list_tables(request: Request, caller: Reader) -> dict[str, Any]:
    """The team's tables, newest first. `created`: Unix seconds."""
    found = uploads.history(_desk(request).workspace, tenant=caller.tenant)
    return {"data": [asdict(one) for one in found if not caller.scopes or SCOPE + one.id in caller.scopes]}


@router.get("/tables/loads/{load}", responses=answers(404, 422, 503))
def show_load(request: Request, load: str, caller: Reader) -> dict[str, Any]:
    """How far an upload is that is still under way: its stage, 0 to 1 of it, rows so far (null: not known)."""
    if caller.scopes:
        raise Refused(_("a key of some tasks uploads no tables"))
    found = _desk(request).tables.loads.get((caller.tenant, load))
    if found is None:
        raise Missing(_("there is no upload '{id}' under way").format(id=load[:64]), fix=_("List what is there."))
    return asdict(found)


@router.get("/tables/{table}", responses=READ)
def show_table(request: Request, table: str, caller: Reader) -> dict[str, Any]:
    """What it holds: columns with their kinds, ranges and values, what was found out of the file, what to beware of."""
    return _profile(_desk(request), table, caller)


@router.post("/tables/{table}/ask", responses=READ)
async def ask_table(request: Request, table: str, asked: QuestionRequest, caller: User) -> dict[str, Any]:
    """Ask in plain words; `id` of the answer takes clicks.

    state: "answered"; "unknown" when no column holds it or the reading is not sure (then `askable` says what can be
    asked); "refused" for orders to change rows. `chart` has labels and values where a plot reads better.
    """
    desk = _desk(request)
    await desk.limit("key:" + caller.key, desk.limit_key)
    judge = quality.named(desk.workspace.settings.text("ask.model"), desk.engines.stations)
    given = await asyncio.to_thread(_replied, desk, table, asked, caller)
    if judge and given.state == "unknown":
        with desk.tables.lease(table) as opened:  # open already; no thread waits for the model
            found = await tried(judge, given.question, opened)
        given = await asyncio.to_thread(_replied, desk, table, asked, caller, lambda _question, _table: found)
    return await asyncio.to_thread(_noted, desk, table, asked, caller, given)


@router.post("/tables/{table}/clicks", responses=READ)
def click_answer(request: Request, table: str, said: ClickRequest, caller: User) -> dict[str, Any]:
    """Say of an answer that it was right, or wrong and what was meant; committed before this replies.

    It holds for every table of the team with these columns; the same click again changes nothing.
    """
    desk = _desk(request)
    _find(desk, table, caller)
    shelf = Rows(desk.workspace, caller.tenant)
    with desk.tables.lease(table) as opened:
        given = shelf.answer(said.answer, table)
        user = said.user or caller.user
        kept = clicks.click(shelf, opened, given, said.verdict, reading=said.reading, user=user)
    return {"question": given.question, "kept": [{"verdict": one.verdict, "sql": one.sql} for one in kept]}


@router.delete("/tables/{table}", responses=READ)
def remove_table(request: Request, table: str, caller: User) -> dict[str, Any]:
    """Remove a table, its file and what it was asked. Confirmed questions stay for tables with the same columns."""
    desk = _desk(request)
    _find(desk, table, caller)
    desk.tables.forget(table)
    uploads.drop(desk.workspace, table, tenant=caller.tenant)
    return {"removed": table}


def _check_head(request: Request, limit: int) -> int:
    """Check form and size as the request says them, before a byte of the file is read; the size, at most the limit."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Failure(415, "wrong_content_type", _("send the file with Content-Type: {form}").format(form=FORM))
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return limit  # it comes in pieces
    if int(length[:20]) > limit:
        raise _too_large(limit)
    return int(length)


async def _receive(request: Request, path: Path, limit: int) -> None:
    """The body into a file. Raises Failure 413 beyond the limit, 408 when it does not arrive in time."""
    size = 0
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            with path.open("wb") as file:
                async for piece in request.stream():
                    size += len(piece)
                    if size > limit:
                        raise _too_large(limit)
                    await asyncio.to_thread(file.write, piece)
    except TimeoutError:
        raise Failure(408, "slow_body", _("the request did not arrive in time")) from None


def _too_large(limit: int) -> Failure:
    return Failure(413, "too_large", _("the request is larger than {n} bytes").format(n=limit))


def _profile(desk: Desk, identity: str, caller: Caller) -> dict[str, Any]:
    found = _find(desk, identity, caller)
    counted = desk.tables.facts(identity)
    with desk.tables.lease(identity) as table:
        shown = asdict(found) | {
            "columns": [
                asdict(column) | {"values": column.values[:20], "facts": asdict(counted.numbers[column.name])}
                if column.name in counted.numbers
                else asdict(column) | {"values": column.values[:20], "facts": None}
                for column in table.profile.columns
            ],
            "repeated": counted.repeated,
            "lines": sum_of_rows(table.report),
            "found": [f"{subject(one)}: {in_words(one)} ({sentence(one)})" for one in table.report.found],
            "warnings": warnings(table, counted),
            "askable": askable(table.profile),
        }
    return dict(_finite(shown))


def _replied(desk: Desk, identity: str, asked: QuestionRequest, caller: Caller, other: Other | None = None) -> Reply:
    _find(desk, identity, caller)
    with desk.tables.lease(identity) as table:
        known = Rows(desk.workspace, caller.tenant).known(memory.mark(table.profile))
        return reply(table, asked.question, known, other=other, most=asked.most)


def _noted(desk: Desk, identity: str, asked: QuestionRequest, caller: Caller, given: Reply) -> dict[str, Any]:
    shelf = Rows(desk.workspace, caller.tenant)
    with desk.tables.lease(identity) as table:
        kept = clicks.noted(shelf, table, identity, given, user=asked.user or caller.user)
    return {"id": kept.id, **_finite(as_json(given))}


def _find(desk: Desk, identity: str, caller: Caller) -> uploads.Upload:
    if caller.scopes and SCOPE + identity not in caller.scopes:
        raise Refused(_("this key may not read '{name}'").format(name=identity[:100]))
    return uploads.find(desk.workspace, identity, tenant=caller.tenant)


def _finite(value: Any) -> Any:
    """The value with nothing in it that JSON has no word for: infinities become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk
