"""The HTTP API: OpenAI's chat completions and models, feedback, versions, health, a page to talk to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from tuneloop import __version__, versions
from tuneloop.answer import feedback
from tuneloop.answer.serving import Serving
from tuneloop.errors import Missing, TuneloopError
from tuneloop.gateway import pages
from tuneloop.gateway.chat import Exchange
from tuneloop.gateway.desk import Desk
from tuneloop.gateway.failures import Failure, explained
from tuneloop.gateway.fence import Fence, is_loopback
from tuneloop.gateway.requests import ActivateRequest, ChatRequest, ErrorBody, FeedbackRequest
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.workspace import Workspace


def answers(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of the errors a route may give; 400 to 415 are the fence's, for every route."""
    return {code: {"model": ErrorBody} for code in (400, 401, 408, 413, 415, *codes)}


router = APIRouter()


def create(workspace: Workspace, serving: Serving, *, host: str = "127.0.0.1") -> FastAPI:
    """The app over a started `serving`. host: the address it will listen on; decides which Host headers are ours."""
    desk = Desk(workspace, serving)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await desk.close()

    app = FastAPI(title="tuneloop", version=__version__, docs_url=None, redoc_url=None, lifespan=life)
    app.state.desk = desk
    app.include_router(router)
    app.add_middleware(
        Fence,
        key=workspace.settings.text("serve.key"),
        local=is_loopback(host),
        body_limit=workspace.settings.integer("serve.body_limit"),
    )
    app.add_exception_handler(TuneloopError, _on_our_error)
    app.add_exception_handler(Failure, _on_failure)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_bug)
    return app


@router.post("/v1/chat/completions", responses=answers(404, 422, 502, 503, 504), tags=["chat"])
async def chat_completions(request: Request, asked: ChatRequest) -> Response:
    """A chat completion, as OpenAI's API has it; with "stream": true as server-sent events.

    "model" is "active", "tuneloop", or the id or name of the version that serves. The id of the reply names the
    call in /feedback.
    """
    desk = _desk(request)
    if asked.model not in desk.serving.names:
        said = _("the model '{name}' is not served; ask for 'active'").format(name=asked.model)
        raise Failure(404, "model_not_found", said, param="model")
    return Exchange(desk, asked)


@router.get("/v1/models", responses=answers(422), tags=["chat"])
def list_models(request: Request) -> dict[str, Any]:
    """What a request may name as its model: "tuneloop", and the version that serves."""
    return {"object": "list", "data": [_model(n, request) for n in sorted(_desk(request).serving.names - {""})]}


@router.get("/v1/models/{name}", responses=answers(404, 422), tags=["chat"])
def show_model(request: Request, name: str) -> dict[str, Any]:
    """One of them."""
    if name not in _desk(request).serving.names:
        raise Failure(404, "model_not_found", _("the model '{name}' is not served").format(name=name), param="model")
    return _model(name, request)


@router.post("/feedback", responses=answers(404, 409, 422, 503, 507), tags=["feedback"])
def give_feedback(
    request: Request, said: FeedbackRequest, idempotency_key: str = Header("", max_length=feedback.MAX_KEY)
) -> dict[str, Any]:
    """What a person says of a call; committed before this replies.

    kind and value: thumb "up" or "down"; score 0 to 10; comment, any text; demonstration, the answer that should
    have been given. Send an Idempotency-Key per click: repeating it repeats the first reply and adds nothing, using
    it for something else is 409. Without one the content is the key.
    """
    found = feedback.record(
        _desk(request).workspace,
        call=said.call,
        kind=said.kind,
        value=str(said.value),
        user=said.user,
        key=idempotency_key,
    )
    return {key: getattr(found, key) for key in ("id", "call", "kind", "value", "time", "user")}


@router.get("/versions", responses=answers(422), tags=["versions"])
def list_versions(request: Request) -> dict[str, Any]:
    """All versions, newest first."""
    return {"data": [_version(v) for v in versions.history(_desk(request).workspace)]}


@router.post("/versions/{reference}/activate", responses=answers(403, 404, 409, 422, 503, 507), tags=["versions"])
def activate(request: Request, reference: str, order: ActivateRequest) -> dict[str, Any]:
    """Load a version beside the one that serves, try it, and switch. If it cannot be loaded nothing changes (422)."""
    serving = _desk(request).serving
    return {"active": _version(serving.activate(reference, note=order.note, force=order.force))}


@router.get("/health", responses={503: {"description": "No model answers."}}, tags=["health"])
def health(request: Request) -> Response:
    """What serves, what went wrong last, how full the queue is. 200 while a model answers, else 503."""
    desk = _desk(request)
    status = desk.serving.status()
    try:
        active = versions.find(desk.workspace, "active").id
    except Missing:
        active = None
    status |= {
        "active": active,
        "queue": {"running": desk.running, "waiting": desk.waiting, "places": desk.parallel, "limit": desk.queue},
        "refused": desk.refused,
        "unrecorded": desk.unrecorded,
        "uptime": int(time.time() - desk.started),
        "tuneloop": __version__,
    }
    if status["status"] != "down":
        return JSONResponse(status)
    return JSONResponse(status, 503, {"Retry-After": str(desk.serving.retry_after)})


@router.get("/", include_in_schema=False)
def page(request: Request) -> HTMLResponse:
    return pages.chat(locked=bool(_desk(request).workspace.settings.text("serve.key")))


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    return pages.reference(request.app.openapi())


def _desk(request: Request) -> Desk:
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def _model(name: str, request: Request) -> dict[str, Any]:
    serving = _desk(request).serving.status()["serving"] or {}
    return {"id": name, "object": "model", "created": serving.get("since", 0), "owned_by": "tuneloop"}


def _version(version: Version) -> dict[str, Any]:
    shown = ("id", "kind", "name", "created", "active", "verdict")
    return {key: getattr(version, key) for key in shown}


async def _on_our_error(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, TuneloopError)
    return explained(problem, retry_after=_desk(request).serving.retry_after).response


async def _on_failure(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Failure)
    return problem.response


async def _on_invalid(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:])
    return Failure(400, "invalid_value", f"{param}: {first['msg']}" if param else first["msg"], param=param).response


async def _on_http_error(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    answer = Failure(problem.status_code, "http_error", str(problem.detail)).response
    answer.headers.update(problem.headers or {})
    return answer


async def _on_bug(_request: Request, _problem: Exception) -> Response:
    return Failure(500, "internal_error", _("something went wrong here; the server's log has the details")).response
