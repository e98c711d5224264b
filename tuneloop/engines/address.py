"""Which addresses a URL that somebody gave may lead to, decided once and then connected to exactly that one.

A check of the name before and a second look-up at connecting can give two answers (rebinding), and a public address
may redirect to a private one: so the name is resolved here, every address it has must be allowed, and `connect`
opens the very address that was checked. Redirects are for the caller to follow, each through here again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence
from urllib.parse import urlsplit

from tuneloop.errors import BadInput, EngineDown, Refused
from tuneloop.texts import _

Resolver = Callable[[str, int], Sequence[str]]


def resolve(name: str, port: int) -> list[str]:
    """Every address the system knows for a name."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def allowed(url: str, *, hosts: Collection[str] = (), resolver: Resolver = resolve) -> tuple[str, str, int]:
    """(host name, the address to connect to, port) of an http or https URL.

    hosts: names that may be anywhere, this machine included. Raises BadInput for what is no such URL, EngineDown for
    a name nobody knows, Refused when any of its addresses is not a public one.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as problem:
        raise BadInput(_("'{url}' is not an http or https address").format(url=url[:200])) from problem
    host = (parts.hostname or "").rstrip(".")
    plain = host.isascii() and parts.username is None and "%" not in host and "\\" not in url
    if parts.scheme not in ("http", "https") or not host or not plain:
        raise BadInput(_("'{url}' is not an http or https address").format(url=url[:200]))
    try:
        addresses = list(resolver(host, port))
    except OSError as problem:
        raise EngineDown(_("nobody knows the name '{host}'").format(host=host)) from problem
    if not addresses:
        raise EngineDown(_("nobody knows the name '{host}'").format(host=host))
    for address in addresses:
        if host not in hosts and not is_public(address):
            raise Refused(
                _("'{host}' leads to {address}, which is not a public address").format(host=host, address=address),
                fix=_("If that is meant, add the name to models.allowed_hosts."),
            )
    return host, addresses[0], port


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet: not this machine, not a private or reserved network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if mapped is not None:
        found = mapped
    if isinstance(found, ipaddress.IPv6Address) and found in ipaddress.ip_network("64:ff9b::/96"):
        found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.is_global and not found.is_multicast


def connect(url: str, *, seconds: float, hosts: Collection[str] = (), resolver: Resolver = resolve) -> socket.socket:
    """An open connection to the address that was checked. Raises as `allowed`, EngineDown when nobody answers."""
    host, address, port = allowed(url, hosts=hosts, resolver=resolver)
    try:
        return socket.create_connection((address, port), timeout=seconds)
    except OSError as problem:
        raise EngineDown(_("{url} cannot be reached: {reason}").format(url=host, reason=problem)) from problem
