"""Tasks, variants and engines over HTTP: readers see them, administrators change tuneloop.toml through them.

Every change is checked as a whole and in force when its reply comes; a wrong one is a 400 that names the key, and
changes nothing. Keys are never shown: an engine names the environment variable that holds its key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, model_validator

from tuneloop.access.caller import Caller
from tuneloop.answer import documents
from tuneloop.answer.book import Book
from tuneloop.answer.tasks import Shelf
from tuneloop.errors import BadInput, Missing
from tuneloop.gateway.answers import answers
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import Checked, Name, Text, bounded
from tuneloop.records import EngineSpec, Task
from tuneloop.texts import _

router = APIRouter(tags=["tasks"])
READ = answers(404)
EDIT = answers(404, 409, 507)
Reader = Annotated[Caller, needs("reader")]
OWNER = [needs("owner")]  # the configuration is the installation's

P = ParamSpec("P")
T = TypeVar("T")


class Written(Checked):
    """Fields of tuneloop.toml. Those not named here are refused by the same check that reads the file."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _small(cls, sent: Any) -> Any:
        if isinstance(sent, dict):
            bounded({name: value for name, value in sent.items() if not isinstance(value, str)})
        return sent

    def fields(self, name: str) -> dict[str, Any]:
        """What was sent. Raises BadInput when it says that it is of another name."""
        found = self.model_dump(exclude_unset=True)
        if found.pop("name", name) != name:
            raise BadInput(_("'name' is not the name in the address"), fix=_("Leave it out."))
        return found


class VariantBody(Written):
    """A variant of a task. parameters are laid under the request's own; prices are per million tokens."""

    engine: Name | None = None
    model: Name | None = None
    weight: float | None = Field(None, ge=0)
    parameters: dict[str, Any] | None = None
    price_in: float | None = Field(None, ge=0)
    price_out: float | None = Field(None, ge=0)
    when: dict[str, str] | None = None


class TaskBody(Written):
    """A task. Without "variants" those that are there stay. "{text}" in the prompt is the last user message."""

    variants: dict[str, VariantBody] | None = Field(None, max_length=64)
    system: Text | None = None
    prompt: Text | None = None
    cleaner: Name | None = None
    checks: list[Name] | None = Field(None, max_length=64)
    route: Name | None = None
    fallback: bool | None = None
    retries: int | None = None
    total: float | None = None
    cache: float | None = None
    limit: Name | None = None
    original: Name | None = None
    switch: Name | None = None
    threshold: float | None = None


class EngineBody(Written):
    """An engine. key_env: the name of the environment variable that holds its key. Times in seconds."""

    kind: Name | None = None
    url: Text | None = None
    key_env: Name | None = None
    headers: dict[str, str] | None = Field(None, max_length=64)
    file: Text | None = None
    adapters: dict[str, str] | None = Field(None, max_length=256)
    parallel: int | None = None
    queue: int | None = None
    connect: float | None = None
    first: float | None = None
    gap: float | None = None
    total: float | None = None


class WeightsBody(Checked):
    """New weights of some variants of a task; the others keep theirs."""

    weights: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = Field(min_length=1, max_length=64)


@router.get("/tasks", responses=READ)
def list_tasks(request: Request, caller: Reader) -> dict[str, Any]:
    """Every task this key may ask for."""
    shelf = _shelf(request)
    return {
        "data": [_task(shelf, t) for name, t in shelf.book.tasks.items() if not caller.scopes or name in caller.scopes]
    }


@router.get("/tasks/{name}", responses=READ)
def show_task(request: Request, name: str, caller: Reader) -> dict[str, Any]:
    """One of them."""
    shelf = _shelf(request)
    found = shelf.book.tasks.get(name)
    if found is None or (caller.scopes and name not in caller.scopes):
        raise Missing(_("there is no task '{name}'").format(name=name), fix=_("GET /tasks lists what there is."))
    return _task(shelf, found)


@router.put("/tasks/{name}", responses=EDIT, dependencies=OWNER)
async def put_task(request: Request, name: str, body: TaskBody) -> dict[str, Any]:
    """Write a task: what the body leaves out takes its default."""
    shelf = _shelf(request)
    return _task(shelf, await edited(request, shelf.put_task, name, body.fields(name)))


@router.delete("/tasks/{name}", responses=EDIT, dependencies=OWNER)
async def remove_task(request: Request, name: str) -> dict[str, Any]:
    """Take a task out of the configuration."""
    await edited(request, _shelf(request).remove_task, name)
    return {"removed": name}


@router.put("/tasks/{name}/variants/{variant}", responses=EDIT, dependencies=OWNER)
async def put_variant(request: Request, name: str, variant: str, body: VariantBody) -> dict[str, Any]:
    """Write a variant of a task; a new one comes last."""
    shelf = _shelf(request)
    found = await edited(request, shelf.put_variant, name, variant, body.fields(variant))
    return {"name": found.name, **documents.of_variant(found)}


@router.delete("/tasks/{name}/variants/{variant}", responses=EDIT, dependencies=OWNER)
async def remove_variant(request: Request, name: str, variant: str) -> dict[str, Any]:
    """Take a variant out of a task; the last one stays (409)."""
    await edited(request, _shelf(request).remove_variant, name, variant)
    return {"removed": f"{name}/{variant}"}


@router.post("/tasks/{name}/weights", responses=EDIT, dependencies=OWNER)
async def set_weights(request: Request, name: str, body: WeightsBody) -> dict[str, Any]:
    """Share a task's requests out anew."""
    shelf = _shelf(request)
    return _task(shelf, await edited(request, shelf.set_weights, name, body.weights))


@router.get("/engines", responses=READ, dependencies=[needs("reader")])
def list_engines(request: Request) -> dict[str, Any]:
    """Every engine; of its headers only the names."""
    shelf = _shelf(request)
    return {"data": [_engine(shelf, spec) for spec in shelf.book.engines.values()]}


@router.get("/engines/{name}", responses=READ, dependencies=[needs("reader")])
def show_engine(request: Request, name: str) -> dict[str, Any]:
    """One of them."""
    shelf = _shelf(request)
    if name not in shelf.book.engines:
        raise Missing(_("there is no engine '{name}'").format(name=name), fix=_("GET /engines lists what there is."))
    return _engine(shelf, shelf.book.engines[name])


@router.put("/engines/{name}", responses=EDIT, dependencies=OWNER)
async def put_engine(request: Request, name: str, body: EngineBody) -> dict[str, Any]:
    """Write an engine. The value "***" of a header leaves it as it was."""
    shelf = _shelf(request)
    fields = documents.with_hidden(body.fields(name), shelf.book.engines.get(name))
    return _engine(shelf, await edited(request, shelf.put_engine, name, fields))


@router.delete("/engines/{name}", responses=EDIT, dependencies=OWNER)
async def remove_engine(request: Request, name: str) -> dict[str, Any]:
    """Take an engine out of the configuration; one that a variant uses stays (409)."""
    await edited(request, _shelf(request).remove_engine, name)
    return {"removed": name}


@router.get("/config", responses=READ, dependencies=[needs("reader")])
def show_configuration(request: Request) -> dict[str, Any]:
    """Whether tuneloop.toml is in force; if not, what is wrong with it, and since when the last good one goes on."""
    return _configuration(_shelf(request))


@router.post("/config/undo", responses=EDIT, dependencies=OWNER)
async def undo(request: Request) -> dict[str, Any]:
    """Take back the last change made through the API or the command line; undone twice it is made again."""
    shelf = _shelf(request)
    await edited(request, shelf.undo)
    return _configuration(shelf)


def _shelf(request: Request) -> Shelf:
    shelf = request.app.state.desk.shelf
    assert isinstance(shelf, Shelf)
    return shelf


async def edited(request: Request, edit: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Make an edit beside the event loop, and let the engines follow it before the reply."""
    done = await asyncio.to_thread(edit, *arguments, **named)
    desk = request.app.state.desk
    book: Book = desk.shelf.book
    desk.engines.follow(book)
    return done


def _task(shelf: Shelf, task: Task) -> dict[str, Any]:
    return documents.of_task(task, shelf.workspace.path)


def _engine(shelf: Shelf, spec: EngineSpec) -> dict[str, Any]:
    return documents.of_engine(spec, shelf.workspace.path)


def _configuration(shelf: Shelf) -> dict[str, Any]:
    return {
        "state": "kept" if shelf.problem else "ok",
        "problem": shelf.problem,
        "failures": shelf.failures,
        "engines": list(shelf.book.engines),
        "tasks": list(shelf.book.tasks),
    }
