"""Routes for what photo search keeps of a person: to look at, and to have it removed.

A name that a page made up ("web:" and 16 random digits) is known to that browser alone, so knowing it is enough; a
token may ask of its own subject. Of everybody else only an administrator of the team may.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request

from tuneloop.access.caller import Caller
from tuneloop.errors import Refused
from tuneloop.gateway.answers import answers
from tuneloop.gateway.catalogue import reached
from tuneloop.gateway.guard import needs
from tuneloop.loop import photo_people
from tuneloop.texts import _

router = APIRouter(tags=["photos"])
CODES = answers(404, 409, 422, 503, 507)
User = Annotated[Caller, needs("user")]
MADE_UP = re.compile("web:[0-9a-f]{16}")


@router.get("/catalogue/people/{user}", responses=CODES)
def show_person(request: Request, user: str, caller: User) -> dict[str, Any]:
    """Every search, click, comment and proposal that is kept under this name."""
    desk = reached(request, caller)
    _may(caller, user)
    found = photo_people.kept_of(desk.workspace, user, tenant=caller.tenant)
    return {"user": user} | {
        name: [{key: value for key, value in row.items() if key != "tenant"} for row in rows]
        for name, rows in found.items()
    }


@router.delete("/catalogue/people/{user}", responses=CODES)
def forget_person(request: Request, user: str, caller: User) -> dict[str, Any]:
    """Remove all of it for good, photos included. `versions` learned from their clicks and cannot unlearn them."""
    desk = reached(request, caller)
    _may(caller, user)
    return asdict(photo_people.forget(desk.workspace, user, tenant=caller.tenant))


def _may(caller: Caller, user: str) -> None:
    if caller.role != "admin" and user != caller.user and not (MADE_UP.fullmatch(user) and not caller.user):
        raise Refused(_("only an administrator may ask about others"))
