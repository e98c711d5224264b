"""Routes for the versions of a team's photo search: which there are, switch to one, go back.

What searches is the team's alone, so its own administrators decide; "start" is the search before any version.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import StringConstraints

from tuneloop.access.caller import Caller
from tuneloop.gateway.answers import answers
from tuneloop.gateway.catalogue import reached
from tuneloop.gateway.guard import needs
from tuneloop.gateway.requests import ActivateRequest, Checked, Name
from tuneloop.loop import photo_switch
from tuneloop.versions import START

router = APIRouter(tags=["photos"])
SWITCH = answers(404, 409, 422, 503, 507)
Reader = Annotated[Caller, needs("reader")]
Admin = Annotated[Caller, needs("admin")]


class RollBackRequest(Checked):
    """of: what is rolled back, so that the same order twice goes back once; empty: whatever searches."""

    of: Name = ""
    note: Annotated[str, StringConstraints(max_length=2000)] = ""


@router.get("/catalogue/versions", responses=answers(422))
def list_photo_versions(request: Request, caller: Reader) -> dict[str, Any]:
    """The team's versions, newest first. active: which searches, "start" before any; before: where a roll back goes."""
    workspace = reached(request, caller).workspace
    found = photo_switch.listed(workspace, tenant=caller.tenant)
    shown = ("id", "name", "created", "active", "verdict")
    return {
        "data": [{key: getattr(one, key) for key in shown} for one in found],
        "active": next((one.id for one in found if one.active), START),
        "before": photo_switch.before(workspace, tenant=caller.tenant),
    }


@router.post("/catalogue/versions/rollback", responses=SWITCH)
def roll_back_photos(request: Request, order: RollBackRequest, caller: Admin) -> dict[str, Any]:
    """Return to what searched before: a version, or "start". Reaches every process at its next search."""
    workspace = reached(request, caller).workspace
    return {"active": photo_switch.roll_back(workspace, tenant=caller.tenant, note=order.note, of=order.of)}


@router.post("/catalogue/versions/{version}/activate", responses=answers(403, 404, 409, 422, 503, 507))
def activate_photos(request: Request, version: str, order: ActivateRequest, caller: Admin) -> dict[str, Any]:
    """Let a version of the team search, or "start". 403 unless the gate promoted it, or `force` overrules the gate."""
    workspace = reached(request, caller).workspace
    now = photo_switch.activate(workspace, version, tenant=caller.tenant, note=order.note, force=order.force)
    return {"active": now}
