"""Routes for API keys: an admin sees and changes the keys of its own team; one of the first team ("") those of all."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from tuneloop.access import keys
from tuneloop.access.caller import Caller
from tuneloop.errors import Refused
from tuneloop.gateway.answers import answers
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import Checked, Name
from tuneloop.texts import _
from tuneloop.workspace import Workspace

router = APIRouter(tags=["keys"])
Admin = Annotated[Caller, needs("admin")]


class KeyRequest(Checked):
    """A new key. `tenant` only from the first team; `scopes`: tasks it may ask for, none = all."""

    name: Name
    role: Name = "user"
    scopes: list[Name] = Field(default_factory=list, max_length=100)
    days: float | None = Field(None, gt=0, le=36500)
    tenant: Name | None = None


class RotateRequest(Checked):
    """How long the old key still works."""

    grace_hours: float = Field(24.0, ge=0, le=2160)


@router.get("/keys", responses=answers(422))
def list_keys(request: Request, caller: Admin) -> dict[str, Any]:
    """Keys without their secrets, dead ones included."""
    return {"data": [_shown(key) for key in keys.history(_workspace(request), _tenant(caller, None, all_teams=True))]}


@router.post("/keys", responses=answers(409, 422, 503, 507))
def create_key(request: Request, asked: KeyRequest, caller: Admin) -> dict[str, Any]:
    """Make a key; "secret" is in this reply and nowhere else."""
    tenant = _tenant(caller, asked.tenant) or ""
    key, secret = keys.create(
        _workspace(request), tenant=tenant, name=asked.name, role=asked.role, scopes=asked.scopes, days=asked.days
    )
    request.app.state.doorkeeper.forget()
    return _shown(key) | {"secret": secret}


@router.post("/keys/{identity}/rotate", responses=answers(404, 409, 422, 503, 507))
def rotate_key(request: Request, identity: str, asked: RotateRequest, caller: Admin) -> dict[str, Any]:
    """A new key with the same rights; the old one works until its time of grace is over."""
    tenant = _tenant(caller, None, all_teams=True)
    key, secret = keys.rotate(_workspace(request), identity, tenant=tenant, grace_hours=asked.grace_hours)
    request.app.state.doorkeeper.forget()
    return _shown(key) | {"secret": secret}


@router.delete("/keys/{identity}", responses=answers(404, 409, 422, 503, 507))
def revoke_key(request: Request, identity: str, caller: Admin) -> dict[str, Any]:
    """Refused from now on here, and within 5 s by other servers of the same database."""
    found = keys.revoke(_workspace(request), identity, tenant=_tenant(caller, None, all_teams=True))
    request.app.state.doorkeeper.forget()
    return _shown(found)


def _tenant(caller: Caller, asked: str | None, *, all_teams: bool = False) -> str | None:
    if caller.scopes:  # or it could make itself a key without them
        raise Refused(_("a key of some tasks may not see or change keys"), fix=_("Use one that is of all tasks."))
    if caller.tenant == "":
        return asked if asked is not None or not all_teams else None
    if asked not in (None, caller.tenant):
        raise Refused(_("keys of other teams are not yours to make"))
    return caller.tenant


def _workspace(request: Request) -> Workspace:
    workspace = request.app.state.desk.workspace
    assert isinstance(workspace, Workspace)
    return workspace


def _shown(key: keys.Key) -> dict[str, Any]:
    names = ("id", "tenant", "name", "role", "created", "expires", "revoked", "used", "replaces")
    return {name: getattr(key, name) for name in names} | {"scopes": list(key.scopes)}
