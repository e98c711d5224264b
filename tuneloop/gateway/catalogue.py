"""Routes for photo search: find the product of a photo or of words, look at the catalogue, say what was right.

Users search, click and propose products; readers look; administrators of the team decide on proposals. A team sees its
own catalogue only. A key of some tasks reaches it when its scopes name "photos:catalogue". A photo is opened in a child
process, by its first bytes and within limits; what is kept of it is a clean copy.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import Field, StringConstraints, ValidationError

from tuneloop.access import proxies
from tuneloop.access.caller import Caller
from tuneloop.encoders.decode import MOST_BYTES
from tuneloop.encoders.picture import small_copy
from tuneloop.errors import BadInput, Missing, Refused
from tuneloop.gateway.answers import answers
from tuneloop.gateway.failures import Failure
from tuneloop.gateway.guard import needs
from tuneloop.gateway.multipart import Form, boundary_of
from tuneloop.gateway.requests import Checked, Name
from tuneloop.loop import photo_clicks, photo_people, photo_proposals
from tuneloop.loop.photo_words import LONGEST, ByWords
from tuneloop.loop.photos import Found, Hit
from tuneloop.search import catalogue
from tuneloop.search.catalogue import Item
from tuneloop.texts import _
from tuneloop.workspace import need_disk

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk

router = APIRouter(tags=["photos"])
READ = answers(404, 409, 422, 503)
WRITE = answers(404, 409, 422, 503, 507)
Reader = Annotated[Caller, needs("reader")]
User = Annotated[Caller, needs("user")]
Admin = Annotated[Caller, needs("admin")]
Product = Annotated[str, StringConstraints(max_length=1000)]
Short = Annotated[str, StringConstraints(max_length=photo_clicks.MOST_NAME)]
SCOPE = "photos:catalogue"
UPLOAD_SECONDS = 120.0  # 20 MB take 80 s at 2 Mbit/s
SLACK = 100_000  # bytes of a form besides its photo, and of a search by words
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


class WordsRequest(Checked):
    """A search by words. k: how many products, 0: as the server is set."""

    text: Annotated[str, StringConstraints(max_length=LONGEST)] = ""
    k: int = Field(0, ge=0, le=100)
    category: Short = ""
    user: Name = ""


class PhotoFeedbackRequest(Checked):
    """query: id of the search. item: the product, for right, wrong and pointed, and where a comment is about one."""

    query: Name
    verdict: Literal["right", "wrong", "pointed", "absent", "comment"]
    item: Product = ""
    text: Annotated[str, StringConstraints(max_length=photo_clicks.MOST_TEXT)] = ""
    user: Name = ""


class UndoRequest(Checked):
    """Whose verdict of which product for which search; no item: that the photo shows nothing of the catalogue."""

    query: Name
    item: Product = ""
    user: Name = ""


class ProposalRequest(Checked):
    """A product that the catalogue misses; the photo of the search becomes its picture."""

    query: Name
    name: Annotated[str, StringConstraints(min_length=1, max_length=photo_clicks.MOST_NAME)]
    category: Short = ""
    price: Short = ""
    user: Name = ""


class DecisionRequest(Checked):
    decision: Literal["approve", "reject"]


_FIELDS = WordsRequest.model_json_schema()
BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"photo": {"type": "string", "format": "binary"}, **_FIELDS["properties"]},
            }
        },
        "application/json": {"schema": _FIELDS},
    },
}


@router.post("/catalogue/search", responses=WRITE, openapi_extra={"requestBody": BODY})
async def search_catalogue(request: Request, caller: User) -> dict[str, Any]:
    """Send a form with the file `photo` (JPEG, PNG, WebP), or JSON with `text`; products come back, best first.

    `id` names the search of a photo in feedback; one by words has none. known: false when the photo seems to show
    nothing of the catalogue, null by words. method: "photo", "pictures" (words against pictures, where the encoder
    knows text) or "names". similarity: -1 to 1.
    """
    desk = reached(request, caller)
    await desk.limit("key:" + caller.key, desk.limit_key)
    with tempfile.TemporaryDirectory(prefix="tuneloop-photo-") as folder:
        photo = Path(folder) / "photo"
        asked = await _received(request, caller, photo)
        user = asked.user or caller.user
        who = user or _address(request, desk)  # without a name, everybody behind one address is one user
        await desk.limit(f"user:{caller.tenant}:{who}", desk.limit_user)
        return await desk.photos.run(_searched, desk, caller.tenant, asked, photo, user)


@router.get("/catalogue/items", responses=READ)
def list_items(
    request: Request,
    caller: Reader,
    words: Annotated[str, Query(max_length=LONGEST)] = "",
    category: Annotated[str, Query(max_length=photo_clicks.MOST_NAME)] = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Active products by id, or those whose name, category or id holds all `words`, best first; `limit` at a time.

    total: how many there are in all. next: the offset of the next page, null on the last.
    """
    found = reached(request, caller).photos.items(caller.tenant)
    if category:
        found = [item for item in found if item.category.casefold() == category.casefold()]
    if words.split():
        found = catalogue.matching(found, words)
    following = offset + limit
    return {
        "data": [_item(item) for item in found[offset:following]],
        "total": len(found),
        "next": following if following < len(found) else None,
    }


@router.get("/catalogue/items/{item:path}", responses=READ)
def show_item(request: Request, item: str, caller: Reader) -> dict[str, Any]:
    """One product, also one that is searched no more (state "retired")."""
    desk = reached(request, caller)
    return _item(catalogue.find(desk.workspace, item, tenant=caller.tenant))


@router.get("/catalogue/pictures/{picture}", responses=READ | JPEG, response_class=Response)
def show_picture(
    request: Request, picture: str, caller: Reader, size: Literal["full", "small"] = "full"
) -> FileResponse:
    """A product's picture as JPEG without metadata, at most 1024 pixels wide or high; "small": 320.

    Administrators see the photos of proposed products too.
    """
    desk = reached(request, caller)
    try:
        path = catalogue.picture(desk.workspace, picture, tenant=caller.tenant)
    except Missing:
        if caller.role != "admin":
            raise
        path = photo_proposals.picture(desk.workspace, picture, tenant=caller.tenant)
    headers = {
        "Cache-Control": "private, max-age=86400",
        "Vary": "Authorization",  # two teams may use one browser
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return FileResponse(small_copy(path) if size == "small" else path, media_type="image/jpeg", headers=headers)


@router.post("/catalogue/feedback", responses=WRITE)
def judge_search(request: Request, said: PhotoFeedbackRequest, caller: User) -> dict[str, Any]:
    """Say what a search's photo shows; committed before this replies, and known to the next search of everybody.

    right, wrong and pointed are said of a product, absent of the photo. The same again is the same fact; something
    else of the same product is 409 until the first is undone.
    """
    desk = reached(request, caller)
    user = said.user or caller.user
    identity = photo_clicks.record(
        desk.workspace, said.query, said.verdict, item=said.item, user=user, text=said.text, tenant=caller.tenant
    )
    return {"id": identity, "query": said.query, "verdict": said.verdict, "item": said.item}


@router.post("/catalogue/feedback/undo", responses=WRITE)
def undo_feedback(request: Request, said: UndoRequest, caller: User) -> dict[str, Any]:
    """Take back what this person said of a product for a search. undone: false when nothing stood; comments stay."""
    desk = reached(request, caller)
    user = said.user or caller.user
    stands = photo_people.said_of(desk.workspace, said.query, user, tenant=caller.tenant)
    if said.item not in stands:
        return {"undone": False}
    photo_clicks.undo(desk.workspace, said.query, item=said.item, user=user, tenant=caller.tenant)
    return {"undone": True}


@router.post("/catalogue/proposals", responses=WRITE)
def propose_item(request: Request, said: ProposalRequest, caller: User) -> dict[str, Any]:
    """Propose a product that is missing. It is searched once an administrator approves it; the same again adds none."""
    desk = reached(request, caller)
    words = {"category": said.category, "price": said.price, "user": said.user or caller.user}
    identity = photo_clicks.propose(desk.workspace, said.query, said.name, tenant=caller.tenant, **words)
    return {"id": identity, "state": "pending"}


@router.get("/catalogue/proposals", responses=READ)
def list_proposals(
    request: Request, caller: Admin, state: Literal["pending", "approved", "rejected"] = "pending"
) -> dict[str, Any]:
    """Proposed products, oldest first. `time`: Unix seconds."""
    found = photo_clicks.proposals(reached(request, caller).workspace, tenant=caller.tenant, state=state)
    shown = ("id", "name", "category", "price", "user", "time", "state", "item")
    return {"data": [{key: getattr(one, key) for key in shown} | {"picture": _url(one.path)} for one in found]}


@router.post("/catalogue/proposals/{proposal}", responses=WRITE)
async def decide_proposal(request: Request, proposal: str, said: DecisionRequest, caller: Admin) -> dict[str, Any]:
    """Let a proposed product into the catalogue, or not; only once (409)."""
    desk = reached(request, caller)
    by = caller.user or f"key:{caller.key}"
    if said.decision == "reject":
        await asyncio.to_thread(photo_proposals.reject, desk.workspace, proposal, by=by, tenant=caller.tenant)
        return {"id": proposal, "state": "rejected", "item": None}
    made = await desk.photos.run(_approved, desk, caller.tenant, proposal, by)
    return {"id": proposal, "state": "approved", "item": _item(made)}


def _searched(desk: Desk, tenant: str, asked: WordsRequest, photo: Path, user: str) -> dict[str, Any]:
    words = desk.photos.words(tenant)
    if not photo.is_file():
        return _shown_words(words.search(asked.text, k=asked.k, category=asked.category))
    return _shown(words.finder.search(photo, user=user, k=asked.k, category=asked.category))


def _approved(desk: Desk, tenant: str, proposal: str, by: str) -> Item:
    encoder = desk.photos.finder(tenant).encoder
    return photo_proposals.approve(desk.workspace, proposal, encoder, by=by, tenant=tenant)


# --- what a search is asked


async def _received(request: Request, caller: Caller, photo: Path) -> WordsRequest:
    """What the body asks; its photo, where it has one, is in the file. Raises Failure 400, 408, 413, 415, BadInput."""
    told = request.headers.get("content-type", "")
    form = told.partition(";")[0].strip().lower()
    if form == "application/json":
        body = bytearray()
        await _read(request, SLACK, body.extend)
        asked = _checked(body)
    elif form == "multipart/form-data":
        _check_page(request, caller)
        need_disk(photo.parent, MOST_BYTES)
        with photo.open("wb") as file:
            parts = Form(boundary_of(told), {"photo": file})
            await _read(request, MOST_BYTES + SLACK, parts.feed)
            asked = _checked({name: text for name, text in parts.close().items() if text})
        if "photo" not in parts.sizes:
            photo.unlink()
    else:
        said = _("send a form with a photo (multipart/form-data), or words as application/json")
        raise Failure(415, "wrong_content_type", said)
    if bool(asked.text.strip()) == photo.is_file():
        raise BadInput(_("a search needs a photo or words, and not both"))
    return asked


async def _read(request: Request, limit: int, take: Any) -> None:
    size = 0
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise Failure(413, "too_large", _("the request is larger than {n} bytes").format(n=limit))
                take(piece)  # 64 KB into the page cache: quicker than a thread to do it in
    except TimeoutError:
        raise Failure(408, "slow_body", _("the request did not arrive in time")) from None


def _checked(body: bytearray | Mapping[str, str]) -> WordsRequest:
    try:
        if isinstance(body, bytearray):
            return WordsRequest.model_validate_json(bytes(body))
        return WordsRequest.model_validate(body, strict=False)
    except ValidationError as problem:
        first = problem.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise Failure(
            400, "invalid_value", f"{param}: {first['msg']}" if param else first["msg"], param=param
        ) from None


def _address(request: Request, desk: Desk) -> str:
    peer = request.client.host if request.client else ""
    told = request.headers.get("x-forwarded-for", "").encode("latin-1")
    return proxies.client_address(peer, told, desk.proxies) if desk.proxies else peer


def _check_page(request: Request, caller: Caller) -> None:
    """A page of a stranger may send a form without asking: where no key is needed, its Origin must be ours."""
    origin = request.headers.get("origin")
    if not caller.key and origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        raise Refused(
            _("a page of another server may not search here"), fix=_("Make a key for it: tuneloop keys create NAME")
        )


# --- what is shown of things


def _shown(found: Found) -> dict[str, Any]:
    return {
        "id": found.query,
        "known": found.known,
        "method": "photo",
        "version": found.version,
        "latency_ms": round(found.latency_ms, 1),
        "results": [_hit(one) for one in found.hits],
    }


def _shown_words(found: ByWords) -> dict[str, Any]:
    return {
        "id": None,
        "known": None,
        "method": found.method,
        "version": "",
        "latency_ms": round(found.latency_ms, 1),
        "results": [_hit(one) for one in found.hits],
    }


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "item": hit.item, "name": hit.name, "category": hit.category, "price": hit.price,
        "similarity": round(hit.similarity, 4), "picture": _url(hit.picture),
    }  # fmt: skip


def _item(item: Item) -> dict[str, Any]:
    shown = {key: getattr(item, key) for key in ("id", "name", "category", "price", "description", "state")}
    return shown | {"pictures": [_url(path) for _id, path in item.pictures if path]}


def _url(path: str) -> str | None:
    """Where a picture of the workspace is served; null where there is none."""
    return f"/catalogue/pictures/{Path(path).stem}" if path else None


def reached(request: Request, caller: Caller) -> Desk:
    """The desk, for a caller whose key reaches the catalogue. Raises Refused for a key of other things."""
    if caller.scopes and SCOPE not in caller.scopes:
        raise Refused(_("this key may not read '{name}'").format(name=SCOPE))
    desk: Desk = request.app.state.desk
    return desk
