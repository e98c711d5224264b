"""Who a request says it talks to, and in which form: the first checks every request meets."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from tuneloop.gateway.failures import Failure
from tuneloop.texts import _


class Origin:
    """Remembers the few Host and Content-Type values that were found good: comparing them again takes 0.1 us.

    host: the address the server listens on. On a loopback address only names of this machine are accepted as Host:
    a page of a stranger can point its own name at 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, host: str) -> None:
        self.local = is_loopback(host)
        self._good: set[tuple[bytes, bytes]] = set()

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises Failure 400 for a foreign Host, 415 for a body that is not JSON."""
        pair = headers.get(b"host", b""), headers.get(b"content-type", b"")
        if pair in self._good:
            return
        check_host(pair[0], local=self.local)
        check_type(pair[1])
        if len(self._good) < 256:
            self._good.add(pair)


def check_host(host: bytes, *, local: bool) -> None:
    """Raises Failure 400 when only names of this machine are accepted and this is none."""
    if local and not is_loopback(_without_port(host.decode("latin-1"))):
        raise Failure(400, "wrong_host", _("this server answers only to names of this machine"))


def check_type(content_type: bytes) -> None:
    """Raises Failure 415: a page of a stranger may post text/plain to this machine without asking; JSON it may not."""
    if content_type.split(b";")[0].strip().lower() != b"application/json":
        raise Failure(415, "wrong_content_type", _("send JSON with Content-Type: application/json"))


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own: localhost, 127.x.x.x, ::1."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
