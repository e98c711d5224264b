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
NOBODY = Caller("", "", PUBLIC)
BUILT_IN = frozenset({"/openapi.json"})


def needs(role: str) -> Any:
    """A FastAPI dependency that lets in callers of at least this role and gives the Caller.

    Use it as `dependencies=[needs("reader")]` or as `caller: Annotated[Caller, needs("admin")]`.
    """
    assert role in (*ROLES, PUBLIC), role
    return Depends(_CHECKS[role])


def allows(role: str, needed: str) -> bool:
    """Whether a caller of `role` may do what `needed` may."""
    return needed == PUBLIC or (role in ROLES and ROLES.index(role) >= ROLES.index(needed))


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
        strictest = max(roles, key=lambda role: -1 if role == PUBLIC else ROLES.index(role))
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
        if not allows(caller.role, role):
            raise Failure(403, "refused", _("this needs the role '{role}'").format(role=role))
        return caller

    check.role = role  # type: ignore[attr-defined]  # for `declared`
    return check


_CHECKS = {role: _check(role) for role in (*ROLES, PUBLIC)}
