"""JSON Web Tokens (RFC 7519) for callers that another system vouches for: one algorithm, short lives, a long key.

PyJWT by itself accepts a token without an end, one that ends in 2121 and a key of three bytes; here all three are
refused. The algorithm is never taken from the token (RFC 8725, 3.1).
"""

from __future__ import annotations

import time
from typing import Any

import jwt

from tuneloop.access.keys import ROLES
from tuneloop.errors import BadInput, Unauthorised
from tuneloop.texts import _

ALGORITHM = "HS256"
AUDIENCE = "tuneloop"
LONGEST = 24 * 3600  # seconds a token may live
SHORTEST_KEY = 32  # bytes; RFC 7518, 3.2: at least the size of the hash
SKEW = 30  # seconds two clocks may differ


def check_key(key: str) -> bytes:
    """The signing key as bytes. Raises BadInput for one that is too short to be safe."""
    raw = key.encode()
    if len(raw) < SHORTEST_KEY:
        raise BadInput(
            _("the key for signing tokens has {n} bytes, {least} are needed").format(n=len(raw), least=SHORTEST_KEY),
            fix=_("Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'"),
        )
    return raw


def issue(key: str, *, subject: str, tenant: str, role: str, scopes: tuple[str, ...] = (), seconds: int = 3600) -> str:
    """A signed token. Raises BadInput for a wrong role, a life over 24 h, a short key."""
    if role not in ROLES:
        raise BadInput(_("'{role}' is no role").format(role=role), fix=_("Use reader, user or admin."))
    if not 0 < seconds <= LONGEST:
        raise BadInput(_("a token lives 1 s to 24 h"))
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": now + seconds, "aud": AUDIENCE, "tenant": tenant, "role": role}
    return jwt.encode(claims | {"scopes": list(scopes)}, check_key(key), ALGORITHM)


def verify(token: str, key: str) -> dict[str, Any]:
    """The claims of a good token: sub, tenant, role, scopes, exp. Raises Unauthorised with the reason for any other."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            check_key(key),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            leeway=SKEW,
            options={"require": ["exp", "sub", "iat", "aud"], "strict_aud": True, "enforce_minimum_key_length": True},
        )
    except jwt.PyJWTError as problem:
        raise Unauthorised(_("the token is not valid: {why}").format(why=str(problem)[:200])) from None
    if claims["exp"] - claims["iat"] > LONGEST or claims["exp"] > time.time() + LONGEST + SKEW:
        raise Unauthorised(_("the token lives longer than 24 h"))
    scopes, tenant, role = claims.get("scopes", []), claims.get("tenant", ""), claims.get("role", "user")
    strings = isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes)
    if role not in ROLES or not strings or not isinstance(tenant, str) or not isinstance(claims["sub"], str):
        raise Unauthorised(_("the token's claims are not understood"))
    return claims | {"scopes": tuple(scopes), "tenant": tenant, "role": role}
