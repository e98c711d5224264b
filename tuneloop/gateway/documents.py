"""Routes for documents: collections of a team, search in them, and answers that a task's model gives from them.

Readers search, users have answers generated, administrators of the team decide what is in a collection: whoever may
put a text there speaks into every answer from it. A key of some tasks reads the collections that its scopes name as
"documents:NAME", and no other. A generated answer is a call like any other: it goes through the same door, limits,
experiments, engines and rows, and its id takes feedback.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, StringConstraints, field_validator

from tuneloop.access.caller import Caller
from tuneloop.errors import EngineError, Refused, TooMany
from tuneloop.gateway.answers import answers
from tuneloop.gateway.bridge import AsgiClient
from tuneloop.gateway.exchange import Exchange
from tuneloop.gateway.guard import needs
from tuneloop.gateway.quality import named
from tuneloop.gateway.requests import Checked, Name, Text, bounded
from tuneloop.search import documents, grounding, rerank
from tuneloop.search.documents import Document
from tuneloop.search.library import BAR, Found
from tuneloop.texts import _
from tuneloop.workspace import Workspace

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk

router = APIRouter(tags=["documents"])
READ = answers(404, 422)
WRITE = answers(404, 409, 422, 503, 507)
Reader = Annotated[Caller, needs("reader")]
User = Annotated[Caller, needs("user")]
Admin = Annotated[Caller, needs("admin")]
Question = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Bar = Annotated[float, Field(ge=0, le=1)]
Top = Annotated[int, Field(ge=1, le=100)]
PATH = "/v1/chat/completions"
LEAST = 1  # sources left when a model's window is too short for more
SCOPE = "documents:"

P = ParamSpec("P")
T = TypeVar("T")


class CollectionRequest(Checked):
    """A name: 1 to 64 letters, digits, or . _ -"""

    name: Name


class DocumentRequest(Checked):
    """A text under an id of your own. metadata: small JSON; its "title" is searched too."""

    id: Name
    text: Text
    metadata: dict[str, Any] = Field({})

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: dict[str, Any]) -> dict[str, Any]:
        return bounded(value) or {}


class DocumentsRequest(Checked):
    documents: list[DocumentRequest] = Field(min_length=1, max_length=100)


class SearchRequest(Checked):
    """similarity_threshold: 0 to 1, of the share of the question a passage holds, or of the encoder's cosine."""

    query: Question
    top_k: Top = 5
    similarity_threshold: Bar = 0.0


class GenerateRequest(Checked):
    """model: a task, "task/variant" or the version that serves. temperature and max_tokens are handed on."""

    query: Question
    model: Name = "active"
    top_k: Annotated[int, Field(ge=1, le=20)] = 5
    similarity_threshold: Bar = BAR
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1)
    user: Name = ""


class CleanUpRequest(Checked):
    """days: since a document was last sent."""

    days: float = Field(gt=0, le=36500)


@router.get("/collections", responses=READ)
def list_collections(request: Request, caller: Reader) -> dict[str, Any]:
    """Every collection of the team that this key may read."""
    found = documents.history(_desk(request).workspace, tenant=caller.tenant)
    return {"data": [one for one in found if not caller.scopes or SCOPE + one["name"] in caller.scopes]}


@router.post("/collections", responses=WRITE)
async def create_collection(request: Request, asked: CollectionRequest, caller: Admin) -> dict[str, Any]:
    """Make an empty collection; 409 when there is one of this name."""
    _may(caller, asked.name)
    return await _changed(request, "create", documents.create, asked.name, tenant=caller.tenant)


@router.delete("/collections/{name}", responses=WRITE)
async def remove_collection(request: Request, name: str, caller: Admin) -> dict[str, Any]:
    """Take a collection away with all its documents."""
    _may(caller, name)
    gone = await _changed(request, "drop", documents.drop, name, tenant=caller.tenant)
    return {"removed": name, "documents": gone}


@router.get("/collections/{name}/stats", responses=READ)
def collection_stats(request: Request, name: str, caller: Reader) -> dict[str, Any]:
    """How much it holds, and of when. Times are Unix seconds."""
    _may(caller, name)
    return documents.stats(_desk(request).workspace, name, tenant=caller.tenant)


@router.get("/collections/{name}/documents", responses=READ)
def list_documents(
    request: Request,
    name: str,
    caller: Reader,
    after: Annotated[Name, Query()] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """Documents in the order of their ids, without their texts; those after the id `after`."""
    _may(caller, name)
    workspace = _desk(request).workspace
    return {"data": documents.listing(workspace, name, tenant=caller.tenant, after=after, limit=limit)}


@router.post("/collections/{name}/documents", responses=WRITE)
async def add_documents(request: Request, name: str, asked: DocumentsRequest, caller: Admin) -> dict[str, Any]:
    """Store documents, all or none, committed before the reply; one that is there already changes nothing."""
    _may(caller, name)
    sent = [Document(one.id, one.text, one.metadata) for one in asked.documents]
    done = await _changed(request, "add", documents.add, name, sent, tenant=caller.tenant)
    return {"collection": name, **asdict(done)}


@router.delete("/collections/{name}/documents/{identity:path}", responses=WRITE)
async def remove_document(request: Request, name: str, identity: str, caller: Admin) -> dict[str, Any]:
    """Take one document out; "documents" is 0 when it was not there."""
    _may(caller, name)
    gone = await _changed(request, "remove", documents.remove, name, [identity], tenant=caller.tenant)
    return {"removed": identity, "documents": gone}


@router.post("/collections/{name}/cleanup", responses=WRITE)
async def clean_up(request: Request, name: str, asked: CleanUpRequest, caller: Admin) -> dict[str, Any]:
    """Take out documents that nobody has sent for so many days."""
    _may(caller, name)
    gone = await _changed(request, "cleanup", documents.clean_up, name, asked.days, tenant=caller.tenant)
    return {"collection": name, "days": asked.days, "removed": gone}


@router.post("/collections/{name}/search", responses=answers(404, 422, 503))
async def search_documents(request: Request, name: str, asked: SearchRequest, caller: Reader) -> dict[str, Any]:
    """Passages by lemmas, best first, ordered anew by the encoder of quality.encoder where one is set and answers."""
    desk = _desk(request)
    _may(caller, name)
    await desk.limit("key:" + caller.key, desk.limit_key)
    found, problem = await _found(desk, name, asked.query, asked.top_k, asked.similarity_threshold, caller)
    desk.tally.searches["found" if found else "nothing"] += 1
    return {
        "collection": name, "query": asked.query, "results": [_shown(one) for one in found], "encoder_problem": problem,
    }  # fmt: skip


@router.post("/collections/{name}/generate", responses=answers(404, 409, 422, 502, 503, 504, 507))
async def generate(request: Request, name: str, asked: GenerateRequest, caller: User) -> Response:
    """An answer from the passages found, which are its numbered sources, and the id of the call for feedback.

    "answered" is false when no passage passes the threshold (then no model is asked) or the model says that the
    sources do not hold the answer. An Idempotency-Key works while the collection stays as it is.
    """
    desk = _desk(request)
    _may(caller, name)
    found, problem = await _found(desk, name, asked.query, asked.top_k, asked.similarity_threshold, caller)
    told: dict[str, Any] = {"collection": name, "query": asked.query, "encoder_problem": problem}
    if not found:
        desk.tally.generations["nothing"] += 1
        nothing = {"answer": _("This is not in the documents."), "answered": False, "sources": [], "call_id": None}
        return JSONResponse(told | nothing | {"model": None, "usage": None})
    while True:
        status, body = await _asked(request, desk, name, asked, found)
        if status == 200 or len(found) == LEAST or b'"context_length_exceeded"' not in body:
            break
        found = found[: len(found) // 2]  # the model's window is too short for so many
    if status != 200:
        desk.tally.generations["error"] += 1
        return Response(body, status, media_type="application/json")
    reply = msgspec.json.decode(body)
    said = str(reply["choices"][0]["message"].get("content") or "")
    answered = not grounding.found_nothing(said)
    desk.tally.generations["answered" if answered else "not found"] += 1
    named_ = grounding.cited(said, len(found))
    sources = [{"source": n, "cited": n in named_, **_shown(one)} for n, one in enumerate(found, 1)]
    told |= {"answer": said if answered else _("This is not in the documents."), "answered": answered}
    told |= {"sources": sources, "call_id": reply["id"], "model": reply.get("model"), "usage": reply.get("usage")}
    return JSONResponse(told)


async def _changed(
    request: Request, operation: str, change: Callable[Concatenate[Workspace, P], T], *given: P.args, **more: P.kwargs
) -> T:
    """Make a change beside the event loop; counted when it is committed."""
    desk = _desk(request)
    done = await asyncio.to_thread(change, desk.workspace, *given, **more)
    desk.tally.operations[operation] += 1
    return done


async def _found(
    desk: Desk, name: str, query: str, top_k: int, bar: float, caller: Caller
) -> tuple[list[Found], str | None]:
    """What passes the bar, and why the encoder was not heard, where one is set."""
    desk.tally.operations["search"] += 1
    encoder = named(desk, "quality.encoder")
    most = max(top_k, rerank.CANDIDATES) if encoder else top_k
    found = await asyncio.to_thread(
        desk.library.search, name, query, tenant=caller.tenant, top_k=most, similarity_threshold=0.0 if encoder else bar
    )
    problem = None
    if encoder:
        try:
            found = await rerank.reranked(
                found, query, encoder.engine, encoder.model, name=encoder.name, seconds=encoder.seconds
            )
        except (EngineError, TooMany) as failed:  # words still find
            problem = failed.message
            desk.log.warning("documents are searched without the encoder: %s", problem)
    return [one for one in found if one.similarity >= bar][:top_k], problem


async def _asked(
    request: Request, desk: Desk, name: str, asked: GenerateRequest, sources: Sequence[Found]
) -> tuple[int, bytes]:
    """The reply to the question over its sources, as the hot path gives it to any client; ends when this one leaves."""
    route, _lane = desk.engines.find(asked.model)
    body: dict[str, Any] = {
        "model": asked.model,
        "messages": grounding.messages(asked.query, sources, system=route.task.system if route else ""),
        "metadata": {"collection": name},
    }
    given = {"temperature": asked.temperature, "max_tokens": asked.max_tokens, "user": asked.user or None}
    body |= {key: value for key, value in given.items() if value is not None}
    inner = AsgiClient({**request.scope, "path": PATH}, msgspec.json.encode(body), _unsent)
    work = asyncio.create_task(Exchange(desk, inner).run())
    left = asyncio.create_task(_leaves(request, work))
    with contextlib.suppress(asyncio.CancelledError):
        await work
    left.cancel()
    if not inner.last:
        return 499, b"{}"  # nobody reads it
    return inner.last[0]["status"], inner.last[1]["body"]


async def _unsent(_message: Any) -> None:
    """An exchange that does not stream sends nothing before its end."""


async def _leaves(request: Request, work: asyncio.Task[None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
    work.cancel()


def _shown(one: Found) -> dict[str, Any]:
    return {
        "document": one.document, "passage": one.number, "text": one.text, "score": round(one.score, 6),
        "similarity": round(one.similarity, 6), "method": one.method, "metadata": one.metadata,
    }  # fmt: skip


def _may(caller: Caller, name: str) -> None:
    if caller.scopes and SCOPE + name not in caller.scopes:
        raise Refused(_("this key may not read '{name}'").format(name=name[:100]))


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk
