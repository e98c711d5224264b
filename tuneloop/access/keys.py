"""API keys: made, listed, rotated, revoked. Only a hash of a key is ever stored.

A key is `tl_<id>_<43 characters>`, the last part 32 random bytes. For a secret of 256 random bits a plain SHA-256 is
the right hash: there is nothing to guess, and it is looked up for every request (slow password hashes protect secrets
that people choose). The hash is never shown and never accepted in place of the key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update

from tuneloop.db.tables import keys
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.texts import _
from tuneloop.workspace import Workspace

ROLES = ("reader", "user", "admin")  # each may do what those before it may
NAME = re.compile(r"[\w .@-]{1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """What may be shown of a key. Times are Unix seconds; None: never."""

    id: str
    tenant: str
    name: str
    role: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None = None
    revoked: float | None = None
    used: float | None = None
    replaces: str = ""

    def dead(self, now: float) -> str:
        """Why it is no longer accepted; "" while it is."""
        if self.revoked is not None and now >= self.revoked:
            return _("this key was revoked")
        if self.expires is not None and now >= self.expires:
            return _("this key has expired")
        return ""


def create(
    workspace: Workspace,
    *,
    tenant: str = "",
    name: str,
    role: str = "user",
    scopes: Sequence[str] = (),
    days: float | None = None,
    replaces: str = "",
) -> tuple[Key, str]:
    """Make a key; the secret is returned here and nowhere else.

    scopes: names of the tasks it may ask for; none: all. days: until it expires.
    Raises BadInput for a name, role or time that makes no sense.
    """
    if not NAME.fullmatch(name) or (tenant and not NAME.fullmatch(tenant)):
        raise BadInput(_("names of keys and teams have 1 to 64 letters, digits, spaces or . @ _ -"))
    if role not in ROLES:
        raise BadInput(_("'{role}' is no role").format(role=role), fix=_("Use reader, user or admin."))
    if days is not None and not 0 < days <= 36500:
        raise BadInput(_("a key lives more than 0 and at most 36500 days"))
    identity = secrets.token_hex(6)
    secret = f"tl_{identity}_{secrets.token_urlsafe(32)}"
    now = time.time()
    key = Key(identity, tenant, name, role, tuple(scopes), now, now + days * 86400 if days else None, replaces=replaces)
    with workspace.db.write() as rows:
        rows.execute(insert(keys), [_row(key) | {"hash": hashed(secret)}])
    return key, secret


def history(workspace: Workspace, tenant: str | None = None) -> list[Key]:
    """All keys of a team (None: of all), newest first, dead ones included."""
    chosen = select(keys).order_by(keys.c.created.desc(), keys.c.id)
    if tenant is not None:
        chosen = chosen.where(keys.c.tenant == tenant)
    with workspace.db.read() as rows:
        return [_key(row._mapping) for row in rows.execute(chosen)]


def rotate(
    workspace: Workspace, identity: str, *, tenant: str | None = None, grace_hours: float = 24.0
) -> tuple[Key, str]:
    """A new key with the old one's rights; the old one works for `grace_hours` more. Raises Missing, Conflict."""
    if not 0 <= grace_hours <= 24 * 90:
        raise BadInput(_("the time of grace is 0 to 2160 hours"))
    old = find(workspace, identity, tenant=tenant)
    now = time.time()
    if why := old.dead(now):
        raise Conflict(why, fix=_("Make a new key instead."))
    days = None if old.expires is None else (old.expires - old.created) / 86400
    made = create(
        workspace, tenant=old.tenant, name=old.name, role=old.role, scopes=old.scopes, days=days, replaces=old.id
    )
    _set(workspace, old.id, revoked=now + grace_hours * 3600)
    return made


def revoke(workspace: Workspace, identity: str, *, tenant: str | None = None) -> Key:
    """From now on the key is refused. Raises Missing."""
    found = find(workspace, identity, tenant=tenant)
    if found.revoked is None or found.revoked > time.time():
        _set(workspace, identity, revoked=time.time())
    return find(workspace, identity, tenant=tenant)


def find(workspace: Workspace, identity: str, *, tenant: str | None = None) -> Key:
    """Raises Missing, also for a key of another team."""
    found = next((key for key in history(workspace, tenant) if key.id == identity), None)
    if found is None:
        raise Missing(_("there is no key '{id}'").format(id=identity[:64]), fix=_("`tuneloop keys list` shows them."))
    return found


def of_secret(workspace: Workspace, secret: str) -> Key | None:
    """The key behind what a client sent, dead or alive; None for an unknown one."""
    with workspace.db.read() as rows:
        row = rows.execute(select(keys).where(keys.c.hash == hashed(secret))).first()
    return None if row is None else _key(row._mapping)


def exist(workspace: Workspace) -> bool:
    """Whether any key was ever made here."""
    with workspace.db.read() as rows:
        return bool(rows.execute(select(func.count()).select_from(keys)).scalar())


def note_use(workspace: Workspace, identity: str) -> None:
    """Write the time of use; callers do so once a minute at most."""
    _set(workspace, identity, used=time.time())


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _set(workspace: Workspace, identity: str, **values: float) -> None:
    with workspace.db.write() as rows:
        rows.execute(update(keys).where(keys.c.id == identity).values(**values))


def _row(key: Key) -> dict[str, object]:
    names = ("id", "tenant", "name", "role", "created", "expires", "revoked", "used", "replaces")
    return {name: getattr(key, name) for name in names} | {"scopes": list(key.scopes)}


def _key(row: object) -> Key:
    known = {name: value for name, value in dict(row).items() if name != "hash"}  # type: ignore[call-overload]
    return Key(**(known | {"scopes": tuple(known["scopes"])}))
