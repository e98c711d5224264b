"""Who sends a request: the key or token in its Authorization header, looked up once and remembered for seconds."""

from __future__ import annotations

import hmac
import ipaddress
import time
from dataclasses import dataclass
from typing import TypeVar

from tuneloop.access import keys, tokens
from tuneloop.errors import Refused, TuneloopError, Unauthorised
from tuneloop.settings import secret
from tuneloop.texts import _
from tuneloop.workspace import Workspace

REMEMBER = 5.0  # seconds: within them another process's revocation is noticed
KNOWN = 10_000  # good and bad headers remembered, each
NOTE_USE = 60.0

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Caller:
    """tenant: the team whose rows it sees. key: id of its key, never the key. scopes: tasks it may ask; () = all."""

    tenant: str
    key: str
    role: str
    scopes: tuple[str, ...] = ()
    user: str = ""


class Doorkeeper:
    """Remembers by the whole header, never by a part of it: a cache keyed by the first 20 characters let strangers in
    elsewhere (CVE-2026-35030). host: the address the server listens on.

    Raises Refused when others can reach that address and there is no key.
    """

    def __init__(self, workspace: Workspace, *, host: str = "127.0.0.1") -> None:
        self._workspace = workspace
        self._fixed = workspace.settings.text("serve.key").encode()
        self._signing = secret(workspace.settings, "access.jwt_key_env")
        if self._signing:
            tokens.check_key(self._signing)
        self._loopback = _is_loopback(host)
        self._good: dict[bytes, tuple[float, Caller]] = {}
        self._bad: dict[bytes, tuple[float, TuneloopError]] = {}
        self._noted: dict[str, float] = {}
        self._keys_exist, self._looked = False, float("-inf")
        if not self._loopback and not self.locked:
            raise Refused(
                _("{host} is reachable by others, and no key is set").format(host=host),
                fix=_("Make one with `tuneloop keys create NAME --role admin`, or listen on 127.0.0.1."),
            )

    @property
    def locked(self) -> bool:
        """Whether a key is needed."""
        if not self._keys_exist and time.monotonic() - self._looked > REMEMBER:
            self._keys_exist, self._looked = keys.exist(self._workspace), time.monotonic()
        return bool(self._fixed or self._signing or self._keys_exist)

    def caller(self, authorization: bytes) -> Caller:
        """Raises Unauthorised for a missing, unknown, expired, revoked or forged key."""
        now = time.monotonic()
        known = self._good.get(authorization)
        if known is not None and now < known[0]:
            return known[1]
        refused = self._bad.get(authorization)
        if refused is not None and now < refused[0]:
            raise refused[1]
        try:
            found = self._look_up(authorization)
        except Unauthorised as problem:
            _remember(self._bad, authorization, (now + REMEMBER, problem))
            raise
        _remember(self._good, authorization, (now + REMEMBER, found))
        return found

    def forget(self) -> None:
        """Ask the database again for every key: one was made, rotated or revoked here."""
        self._good.clear()
        self._bad.clear()
        self._looked = float("-inf")

    def _look_up(self, authorization: bytes) -> Caller:
        kind, _space, sent = authorization.partition(b" ")
        sent = sent.strip()
        if kind.lower() != b"bearer" or not sent or len(sent) > 4096:
            if not self.locked:  # never on an address that others can reach: the start was refused then
                return Caller("", "", "admin")
            raise Unauthorised(_("the API key is missing; send it as 'Authorization: Bearer KEY'"))
        if self._fixed and hmac.compare_digest(sent, self._fixed):
            return Caller("", "serve.key", "admin")
        text = sent.decode("latin-1")
        if sent.startswith(b"tl_"):
            return self._of_key(text)
        if self._signing and sent.count(b".") == 2:
            claims = tokens.verify(text, self._signing)
            return Caller(claims["tenant"], "jwt", claims["role"], claims["scopes"], claims["sub"])
        if not self.locked:  # clients of OpenAI's API always send some key
            return Caller("", "", "admin")
        raise Unauthorised(_("the API key is wrong"))

    def _of_key(self, secret_text: str) -> Caller:
        key = keys.of_secret(self._workspace, secret_text)
        if key is None:
            raise Unauthorised(_("the API key is wrong"))
        if why := key.dead(time.time()):
            raise Unauthorised(why)
        if time.monotonic() - self._noted.get(key.id, float("-inf")) > NOTE_USE:
            self._noted[key.id] = time.monotonic()
            keys.note_use(self._workspace, key.id)
        return Caller(key.tenant, key.id, key.role, key.scopes)


def _remember(memory: dict[bytes, Entry], header: bytes, value: Entry) -> None:
    memory.pop(header, None)
    if len(memory) >= KNOWN:  # the oldest: dictionaries keep the order of insertion
        del memory[next(iter(memory))]
    memory[header] = value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
