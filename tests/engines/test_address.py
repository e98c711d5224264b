"""Where a given URL may lead: all spellings of this machine, rebinding names, a canary that must hear nothing."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.engines.address import allowed, connect, is_public
from tuneloop.errors import BadInput, EngineDown, Refused, TuneloopError

# Every one of these reaches loopback, a private network or a cloud's metadata, or pretends not to.
FORMS = [
    "http://127.0.0.1/", "http://127.1/", "http://0/", "http://0.0.0.0/", "http://2130706433/", "http://0x7f000001/",
    "http://0177.0.0.1/", "http://localhost/", "http://localhost./", "http://[::1]/", "http://[::]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
    "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/",
    "http://100.64.0.1/", "http://[fe80::1%25lo]/", "http://[fc00::1]/", "http://user@127.0.0.1/",
    "http://example.org@127.0.0.1/", "http://127.0.0.1\\@example.org/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/",
    "file:///etc/passwd", "gopher://127.0.0.1/", "http:///x", "http://127.0.0.1:99999/", "http://224.0.0.1/",
]  # fmt: skip


@pytest.mark.parametrize("url", FORMS)
def test_no_spelling_of_an_inner_address_is_let_through(url: str) -> None:
    with pytest.raises((Refused, BadInput, EngineDown)):
        allowed(url)


def test_a_name_with_one_inner_address_among_public_ones_is_refused() -> None:
    with pytest.raises(Refused, match=r"127\.0\.0\.1"):
        allowed("http://example.org/", resolver=lambda _name, _port: ["93.184.216.34", "127.0.0.1"])


def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """A resolver that answers differently the second time (rebinding) is asked only once; the canary hears nothing."""
    canary = socket.create_server(("127.0.0.1", 0))
    canary.settimeout(0.4)
    heard: list[object] = []

    def listen() -> None:
        try:
            heard.append(canary.accept())
        except TimeoutError:
            return

    listener = threading.Thread(target=listen)
    listener.start()
    answers = iter([["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"]])
    port = canary.getsockname()[1]
    with pytest.raises(TuneloopError):
        connect(f"http://example.org:{port}/", seconds=0.2, resolver=lambda _n, _p: next(answers))
    listener.join()
    canary.close()
    assert heard == []


def test_what_is_allowed_by_name_may_be_anywhere() -> None:
    assert allowed("http://models.lan:8080/x", hosts=["models.lan"], resolver=lambda _n, _p: ["10.1.2.3"]) == (
        "models.lan", "10.1.2.3", 8080,
    )  # fmt: skip
    assert allowed("https://example.org/", resolver=lambda _n, _p: ["93.184.216.34"])[2] == 443


@given(st.ip_addresses())
def test_public_is_what_the_registries_call_global(address: object) -> None:
    import ipaddress

    found = ipaddress.ip_address(str(address))
    if not found.is_global:
        assert not is_public(str(found))


@given(st.text(max_size=60))
def test_any_text_is_refused_or_resolved_but_never_breaks(text: str) -> None:
    try:
        allowed("http://" + text, resolver=lambda _n, _p: ["127.0.0.1"])
    except TuneloopError:
        return
    raise AssertionError("an inner address was let through")
