"""Who may use a route: every route declares a role, and a server with a route that declares none does not start.

The check is part of the route itself. A gate in front that judged a path rebuilt from the Host header was walked
around elsewhere (CVE-2026-48710); here there is no second reading of the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute

from tuneloop.access.caller import Caller
from tuneloop.access.keys import ROLES
from tuneloop.errors import Refused
from tuneloop.gateway.failures import Failure
from tuneloop.texts import _

PUBLIC = "public"  # no key needed
OWNER = "owner"  # an admin of no team and of all tasks: may change what all teams share
ORDER = (PUBLIC, *ROLES, OWNER)  # each may do what those before it may
NOBODY = Caller("", "", PUBLIC)
BUILT_IN = frozenset({"/openapi.json"})


def needs(role: str) -> Any:
    """A FastAPI dependency that lets in callers of at least this role and gives the Caller.

    Use it as `dependencies=[needs("reader")]` or as `caller: Annotated[Caller, needs("admin")]`. "owner": whoever may
    point an engine elsewhere or switch the model reads and changes the answers of every team, so an administrator of
    one team, or of some tasks, may not.
    """
    assert role in ORDER, role
    return Depends(_CHECKS[role])


def role_of(caller: Caller) -> str:
    """One of ORDER."""
    return OWNER if caller.role == "admin" and not caller.tenant and not caller.scopes else caller.role


def declared(app: FastAPI) -> dict[str, str]:
    """ "METHOD path" -> role, of every route. Raises Refused for a route that declares none."""
    found = {}
    for route in _all(app.routes):
        path = getattr(route, "path", "")
        if path in BUILT_IN:
            continue
        roles = _roles(route) if isinstance(route, APIRoute) else []
        if not roles:
            raise Refused(
                _("the route {path} declares no role").format(path=path), fix=_("Give it dependencies=[needs(ROLE)].")
            )
        strictest = max(roles, key=ORDER.index)
        for method in getattr(route, "methods", None) or ():
            found[f"{method} {path}"] = strictest
    return found


def _all(routes: Iterable[Any]) -> Iterator[Any]:
    """Routes and, in their place, the routes of included routers, which FastAPI keeps unflattened."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from _all(inner.routes) if inner is not None else (route,)


def _roles(route: APIRoute) -> list[str]:
    return [role for dependency in route.dependant.dependencies if (role := getattr(dependency.call, "role", None))]


def _check(role: str) -> Any:
    def check(request: Request) -> Caller:
        if role == PUBLIC:
            return NOBODY
        caller: Caller = request.app.state.doorkeeper.caller(request.headers.get("authorization", "").encode("latin-1"))
        if ORDER.index(role_of(caller)) < ORDER.index(role):
            said = _("this needs an administrator's key that is of no team and of all tasks")
            raise Failure(
                403, "refused", said if role == OWNER else _("this needs the role '{role}'").format(role=role)
            )
        return caller

    check.role = role  # type: ignore[attr-defined]  # for `declared`
    return check


_CHECKS = {role: _check(role) for role in ORDER}
