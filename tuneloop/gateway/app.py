"""The HTTP API: OpenAI's paths, feedback, versions, health, a page to talk to it, and the routers of other nouns.

Requests that models answer do not come here (see `wire` and `exchange`); everything else is ordinary FastAPI.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tuneloop import __version__, versions
from tuneloop.access.caller import Caller
from tuneloop.answer import feedback
from tuneloop.answer.serving import Serving
from tuneloop.errors import Conflict, Missing, TuneloopError
from tuneloop.gateway import (
    bridge,
    catalogue,
    documents,
    experiments,
    figures,
    guard,
    keys,
    metrics,
    models,
    optimisations,
    pages,
    people,
    photo_versions,
    quality,
    replays,
    tables,
    tasks,
)
from tuneloop.gateway.answers import answers
from tuneloop.gateway.desk import Desk
from tuneloop.gateway.failures import Failure, explained
from tuneloop.gateway.fence import Fence
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import ActivateRequest, FeedbackRequest
from tuneloop.loop import photo_preparation
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.workspace import Workspace

router = APIRouter()
ROUTERS = (
    bridge.router, tasks.router, experiments.router, replays.router, models.router, figures.router, metrics.router,
    keys.router, quality.router, optimisations.router, documents.router, tables.router,
    catalogue.router, people.router, photo_versions.router,
)  # fmt: skip


def create(workspace: Workspace, serving: Serving | None, *, host: str = "127.0.0.1") -> FastAPI:
    """The app over a started `serving` (None: only engines of tuneloop.toml answer).

    host: the address it will listen on; decides which Host headers are ours, and whether it may work without a key.
    Raises Refused for an address others can reach when no key exists.
    """
    desk = Desk(workspace, serving, host=host)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        await desk.start()
        yield
        await desk.close()

    app = FastAPI(
        title="tuneloop", version=__version__, docs_url=None, redoc_url=None, lifespan=life, redirect_slashes=False
    )
    app.state.desk = desk
    app.state.doorkeeper = desk.doorkeeper
    for one in (router, *ROUTERS):
        app.include_router(one)
    app.add_middleware(Fence, origin=desk.origin, body_limit=workspace.settings.integer("serve.body_limit"))
    app.add_exception_handler(TuneloopError, _on_our_error)
    app.add_exception_handler(Failure, _on_failure)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_nobody)
    app.add_exception_handler(Exception, _on_bug)
    app.openapi = lambda: bridge.documented(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    guard.declared(app)
    return app


@router.get("/v1/models", responses=answers(422), tags=["chat"], dependencies=[needs("reader")])
def list_models(request: Request) -> dict[str, Any]:
    """What a request may name as its model: tasks, "task/variant", and the version that serves."""
    return {"object": "list", "data": [_model(name, request) for name in _desk(request).engines.names]}


@router.get("/v1/models/{name:path}", responses=answers(404, 422), tags=["chat"], dependencies=[needs("reader")])
def show_model(request: Request, name: str) -> dict[str, Any]:
    """One of them."""
    if name not in _desk(request).engines.names:
        raise Failure(404, "model_not_found", _("the model '{name}' is not served").format(name=name), param="model")
    return _model(name, request)


@router.post("/feedback", responses=answers(404, 409, 422, 503, 507), tags=["feedback"])
def give_feedback(
    request: Request,
    said: FeedbackRequest,
    caller: Annotated[Caller, needs("user")],
    idempotency_key: str = Header("", max_length=feedback.MAX_KEY),
) -> dict[str, Any]:
    """What a person says of a call; committed before this replies.

    kind and value: thumb "up" or "down"; score 0 to 10; comment, any text; demonstration, the answer that should
    have been given. Send an Idempotency-Key per click: repeating it repeats the first reply and adds nothing, using
    it for something else is 409. Without one the content is the key.
    """
    desk = _desk(request)
    if not feedback.is_known(desk.workspace, said.call):
        desk.settle()  # its row may still wait in the journal
    found = feedback.record(
        desk.workspace,
        call=said.call,
        kind=said.kind,
        value=str(said.value),
        user=said.user or caller.user,
        key=idempotency_key,
        tenant=caller.tenant,
    )
    return {key: getattr(found, key) for key in ("id", "call", "kind", "value", "time", "user")}


@router.get("/versions", responses=answers(422), tags=["versions"], dependencies=[needs("reader")])
def list_versions(request: Request) -> dict[str, Any]:
    """All versions, newest first."""
    return {"data": [_version(v) for v in versions.history(_desk(request).workspace)]}


@router.post(
    "/versions/{reference}/activate",
    responses=answers(403, 404, 409, 422, 503, 507),
    tags=["versions"],
    dependencies=[needs("owner")],
)
def activate(request: Request, reference: str, order: ActivateRequest) -> dict[str, Any]:
    """Load a version beside the one that serves, try it, and switch. If it cannot be loaded nothing changes (422)."""
    serving = _desk(request).serving
    if serving is None:
        raise Conflict(_("this server serves no version"), fix=_("Start `tuneloop serve` with an active version."))
    return {"active": _version(serving.activate(reference, note=order.note, force=order.force))}


@router.get(
    "/health", responses={503: {"description": "No model answers."}}, tags=["health"], dependencies=[needs("public")]
)
def health(request: Request) -> Response:
    """What serves, what went wrong last, how full the queue is. 200 while a model answers, else 503."""
    desk = _desk(request)
    status = desk.serving.status() if desk.serving else {"status": "ok", "serving": None, "failure": None}
    try:
        active = versions.find(desk.workspace, "active").id
    except Missing:
        active = None
    status |= {
        "active": active,
        "engines": {name: station.status for name, station in desk.engines.stations.items()},
        "configuration": desk.shelf.problem,
        "refused": desk.refused,
        "unrecorded": desk.journal.lost,
        "uptime": int(time.time() - desk.started),
        "tuneloop": __version__,
    }
    if status["status"] != "down" or len(desk.engines.stations) > 1:
        return JSONResponse(status)
    return JSONResponse(status, 503, {"Retry-After": str(desk.retry_after)})


@router.get("/", include_in_schema=False, dependencies=[needs("public")])
def page(request: Request) -> HTMLResponse:
    return pages.chat(locked=_desk(request).doorkeeper.locked, served=_served(request))


@router.get("/ask", include_in_schema=False, dependencies=[needs("public")])
def ask_page(request: Request) -> HTMLResponse:
    desk = _desk(request)
    largest = desk.workspace.settings.integer("tables.bytes")
    return pages.ask(locked=desk.doorkeeper.locked, served=_served(request), largest=largest)


@router.get("/photos", include_in_schema=False, dependencies=[needs("public")])
def photos_page(request: Request) -> HTMLResponse:
    return pages.photos(locked=_desk(request).doorkeeper.locked, served=_served(request))


@router.get("/docs", include_in_schema=False, dependencies=[needs("public")])
def docs(request: Request) -> HTMLResponse:
    return pages.reference(request.app.openapi())


def _desk(request: Request) -> Desk:
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def _served(request: Request) -> set[str]:
    """The pages that have something to show: a model that answers, tables, a catalogue of pictures."""
    desk = _desk(request)
    found = set()
    if desk.serving or any(station.spec.kind != "local" for station in desk.engines.stations.values()):
        found.add("/")
    if importlib.util.find_spec("duckdb"):
        found.add("/ask")
    if photo_preparation.is_wanted(desk.workspace):
        found.add("/photos")
    return found


def _model(name: str, request: Request) -> dict[str, Any]:
    created = int(_desk(request).started)
    return {"id": name, "object": "model", "created": created, "owned_by": "tuneloop"}


def _version(version: Version) -> dict[str, Any]:
    shown = ("id", "kind", "name", "created", "active", "verdict")
    return {key: getattr(version, key) for key in shown}


async def _on_our_error(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, TuneloopError)
    return explained(problem, retry_after=_desk(request).retry_after).response


async def _on_failure(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Failure)
    return problem.response


async def _on_invalid(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:])
    return Failure(400, "invalid_value", f"{param}: {first['msg']}" if param else first["msg"], param=param).response


async def _on_http_error(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    try:  # who has no key does not learn which paths there are
        request.app.state.doorkeeper.caller(request.headers.get("authorization", "").encode("latin-1"))
    except TuneloopError as refused:
        return explained(refused).response
    answer = Failure(problem.status_code, "http_error", str(problem.detail)).response
    answer.headers.update(problem.headers or {})
    return answer


async def _on_nobody(_request: Request, _problem: Exception) -> Response:
    """The client left in the middle of its body: nobody reads this, and it is no bug of ours."""
    return Response(status_code=499)


async def _on_bug(_request: Request, _problem: Exception) -> Response:
    return Failure(500, "internal_error", _("something went wrong here; the server's log has the details")).response
