"""Routes for models: what there is and when it was used last; fetch, pull, create, copy, remove.

Long work is a stream of server-sent events, {"status", "done", "total"}; its last event is {"status": "success"} or
{"error": ...}, then `[DONE]`. What is wrong before any of it is done is an ordinary error with its status. A client
that leaves stops the work; what was downloaded stays, and the same request goes on there.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field, model_validator

from tuneloop import machine
from tuneloop.access.caller import Caller
from tuneloop.answer import models as store
from tuneloop.answer.book import Book
from tuneloop.answer.stores import room_of
from tuneloop.ask import trials
from tuneloop.engines.ollama import Ollama
from tuneloop.errors import TuneloopError
from tuneloop.gateway.answers import answers
from tuneloop.gateway.engines import listing
from tuneloop.gateway.failures import explained
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import Checked, Name, Text, bounded
from tuneloop.progress import Progress
from tuneloop.records import EngineSpec
from tuneloop.texts import _
from tuneloop.workspace import Workspace

router = APIRouter(tags=["models"])
Reader = Annotated[Caller, needs("reader")]
OWNER = [needs("owner")]  # models are the installation's, like its configuration
Url = Annotated[str, Field(max_length=4096)]
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Progress."}
}
EDIT = answers(404, 409, 422, 502, 503, 504, 507)
OFTEN = 0.1  # seconds between two events of one stage

Work = Callable[[Progress], Awaitable[dict[str, Any]]]


class PullRequest(Checked):
    """Either name: a model for an Ollama engine; or url: of a GGUF file for this workspace, with its sha256."""

    name: Name = ""
    engine: Name = "ollama"
    url: Url = ""
    sha256: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{64})?$")] = ""

    @model_validator(mode="after")
    def _one(self) -> PullRequest:
        if bool(self.name) == bool(self.url):
            raise ValueError(_("give a name or a url"))
        return self


class CreateRequest(Checked):
    """A model for an Ollama engine out of another one of it (`source`), or out of a file of this workspace."""

    name: Name
    engine: Name = "ollama"
    source: Name = ""
    file: Name = ""
    template: Text | None = None
    system: Text = ""
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=64)

    @model_validator(mode="after")
    def _one(self) -> CreateRequest:
        if bool(self.source) == bool(self.file):
            raise ValueError(_("give a source or a file"))
        bounded(self.parameters)
        return self


class CopyRequest(Checked):
    source: Name
    destination: Name
    engine: Name = "ollama"


@router.get("/models", responses=answers(422))
async def list_models(request: Request, caller: Reader) -> dict[str, Any]:
    """Files of the workspace (engine "") and the models of every engine; size in bytes, used in Unix seconds.

    unreachable: why an engine's models are not among them.
    """
    desk = request.app.state.desk
    found = await listing({name: s.engine for name, s in desk.engines.stations.items() if s.spec.kind != "local"})
    listed = await asyncio.to_thread(
        store.everything, desk.workspace, desk.shelf.book, found, tenant=caller.tenant
    )  # fmt: skip
    hidden = ("path",)  # where files lie is nobody's business outside
    return {
        "data": [{key: value for key, value in one.items() if key not in hidden} for one in listed],
        "unreachable": {name: why for name, why in found.items() if isinstance(why, str)},
    }


@router.get("/models/running", responses=answers(422), dependencies=[needs("reader")])
async def running_models(request: Request) -> dict[str, Any]:
    """What Ollama engines have in memory now; sizes in bytes, expires as they say it."""
    found = await running(_book(request))
    return {
        "data": [one for listed in found.values() if not isinstance(listed, str) for one in listed],
        "unreachable": {name: why for name, why in found.items() if isinstance(why, str)},
    }


@router.get("/models/trials", responses=answers(422), dependencies=[needs("reader")])
async def list_trials(request: Request) -> dict[str, Any]:
    """What `tuneloop models trial` found out on this machine, the best first; sizes in bytes, times in seconds.

    right of `asked` questions to a table, of `of` in the set; state: done, stopped at a limit (time, memory, machine),
    too large, or failed.
    """
    rows = await asyncio.to_thread(trials.read, _workspace(request))
    here = [row for row in rows.values() if row.machine == machine.name()]
    best = trials.best(here)
    return {
        "data": [trials.as_json(row) for row in trials.ranked(here)],
        "best": trials.as_json(best) if best else None,
    }


@router.post("/models/pull", responses=EDIT | EVENTS, response_class=StreamingResponse, dependencies=OWNER)
async def pull_model(request: Request, asked: PullRequest) -> StreamingResponse:
    """Let an Ollama engine download a model, or download a GGUF file, from public addresses only."""
    workspace = _workspace(request)
    if asked.url:
        return await _streamed(lambda watch: _fetched(workspace, asked, watch))
    spec = store.ollama(_book(request), asked.engine)
    await asyncio.to_thread(store.check_library, workspace, asked.name)

    async def work(watch: Progress) -> dict[str, Any]:
        async with server(spec) as one:
            await one.pull(asked.name, watch=watch, room=room_of(spec))
        return {"name": asked.name, "engine": asked.engine}

    return await _streamed(work)


@router.post("/models/create", responses=EDIT | EVENTS, response_class=StreamingResponse, dependencies=OWNER)
async def create_model(request: Request, asked: CreateRequest) -> StreamingResponse:
    """Make a model of an Ollama engine."""
    spec = store.ollama(_book(request), asked.engine)
    files = {}
    if asked.file:
        path = await asyncio.to_thread(store.file_of, _workspace(request), asked.file)
        files[path.name] = path

    async def work(watch: Progress) -> dict[str, Any]:
        async with server(spec) as one:
            await one.create(
                asked.name, files, source=asked.source, template=asked.template, system=asked.system,
                parameters=asked.parameters, watch=watch,
            )  # fmt: skip
        return {"name": asked.name, "engine": asked.engine}

    return await _streamed(work)


@router.post("/models/copy", responses=EDIT, dependencies=OWNER)
async def copy_model(request: Request, asked: CopyRequest) -> dict[str, Any]:
    """Give a model of an Ollama engine a second name."""
    async with server(store.ollama(_book(request), asked.engine)) as one:
        await one.copy(asked.source, asked.destination)
    return {"name": asked.destination, "engine": asked.engine}


@router.delete("/models/{name:path}", responses=EDIT, dependencies=OWNER)
async def remove_model(
    request: Request, name: str, engine: Annotated[str, Query(max_length=256)] = ""
) -> dict[str, Any]:
    """Remove a file, or with `engine` a model of that Ollama. 409 while something needs it: a variant, a running
    experiment, an engine, the active version or the one a rollback returns to.
    """
    workspace, book = _workspace(request), _book(request)
    if not engine:
        freed = await asyncio.to_thread(store.remove, workspace, name, book)
        return {"removed": name, "engine": "", "bytes": freed}
    spec = store.ollama(book, engine)
    await asyncio.to_thread(store.check_unneeded, workspace, book, engine, name)
    async with server(spec) as one:
        await one.delete(name)
    return {"removed": name, "engine": engine, "bytes": None}


def server(spec: EngineSpec) -> Ollama:
    """The Ollama behind an engine of the configuration."""
    return Ollama(spec.url, headers=spec.headers)


async def running(book: Book) -> dict[str, list[dict[str, Any]] | str]:
    """By Ollama engine: what it has in memory, or why it does not answer."""

    async def ask(spec: EngineSpec) -> list[dict[str, Any]] | str:
        try:
            async with Ollama(spec.url, timeout=5.0, headers=spec.headers) as one:
                listed = await one.running()
        except TuneloopError as problem:
            return problem.message
        return [
            {
                "engine": spec.name, "id": str(m.get("name") or m.get("model")), "size": m.get("size"),
                "gpu": m.get("size_vram"), "context": m.get("context_length"), "expires": m.get("expires_at"),
                "family": (m.get("details") or {}).get("family"),
                "quantisation": (m.get("details") or {}).get("quantization_level"),
            }
            for m in listed
        ]  # fmt: skip

    specs = [spec for spec in book.engines.values() if spec.kind == "ollama"]
    return {spec.name: found for spec, found in zip(specs, await asyncio.gather(*map(ask, specs)), strict=True)}


async def _fetched(workspace: Workspace, asked: PullRequest, watch: Progress) -> dict[str, Any]:
    """The download in a thread, which is told when the client has left."""
    loop, left = asyncio.get_running_loop(), threading.Event()

    def told(stage: str, done: float, total: float | None) -> None:
        if left.is_set():
            raise OSError(_("the client has left"))  # said by `fetch` as a download that broke off
        loop.call_soon_threadsafe(watch, stage, done, total)

    try:
        path = await asyncio.to_thread(store.fetch, workspace, asked.url, sha256=asked.sha256, watch=told)
    finally:
        left.set()
    return {"name": path.name, "bytes": path.stat().st_size}


async def _streamed(work: Work) -> StreamingResponse:
    """The events of some work. Raises what it raises before it has anything to tell."""
    events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    last: tuple[str, float] = ("", 0.0)

    def watch(stage: str, done: float, total: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or now - last[1] >= OFTEN or (total is not None and done >= total):
            last = stage, now
            events.put_nowait({"status": stage, "done": done, "total": total})

    task = asyncio.ensure_future(work(watch))
    task.add_done_callback(lambda _done: events.put_nowait(None))
    try:
        first = await events.get()
    except BaseException:
        task.cancel()
        raise
    if first is None:
        task.result()  # raises what went wrong
    return StreamingResponse(_told(task, events, first), media_type="text/event-stream")


async def _told(
    task: asyncio.Future[dict[str, Any]], events: asyncio.Queue[dict[str, Any] | None], first: dict[str, Any] | None
) -> AsyncIterator[bytes]:
    try:
        event = first
        while event is not None:
            yield _line(event)
            event = await events.get()
        try:
            end = {"status": "success", **task.result()}
        except TuneloopError as problem:
            end = explained(problem).body
        yield _line(end) + b"data: [DONE]\n\n"
    finally:
        task.cancel()


def _line(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def _book(request: Request) -> Book:
    book = request.app.state.desk.shelf.book
    assert isinstance(book, Book)
    return book


def _workspace(request: Request) -> Workspace:
    workspace = request.app.state.desk.workspace
    assert isinstance(workspace, Workspace)
    return workspace
