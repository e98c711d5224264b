"""The address a request comes from, when proxies stand in between."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from tuneloop.errors import BadInput
from tuneloop.texts import _

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """ "10.0.0.0/8, 192.168.1.5" -> networks. Raises BadInput."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as problem:
        raise BadInput(
            _("'{text}' names no proxies: {why}").format(text=text[:80], why=problem),
            fix=_("Write addresses or networks: 10.0.0.0/8, 192.168.1.5."),
        ) from None


def client_address(peer: str, forwarded: bytes, trusted: Sequence[Network]) -> str:
    """The nearest address that is not one of our proxies.

    X-Forwarded-For is read from the right, and only as long as each hop is a proxy we named: what stands to the left
    anybody may have written. Anything unreadable ends the walk at the last address that was vouched for.
    """
    address = peer
    for hop in reversed(forwarded[:4096].decode("latin-1").split(",")):
        if not _is_trusted(address, trusted):
            break
        try:
            address = str(ipaddress.ip_address(hop.strip()))
        except ValueError:
            break
    return address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        return any(ipaddress.ip_address(address) in network for network in trusted)
    except ValueError:
        return False
