"""What strangers send to fill memory, connections and tables: refused at the limit, while others are answered."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psutil
import pytest

from tests.gateway.process import Served, serve
from tests.gateway.test_exchange import ASK, ECHO, task
from tuneloop.gateway.wire import HEADER_SECONDS
from tuneloop.workspace import open_workspace, write_atomically

LIMIT = 1_000_000
BIG = 300_000_000
PIECE = b"x" * 65536
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("floods") / "w"
    open_workspace(path, create=True)
    write_atomically(path / "tuneloop.toml", f"[serve]\nbody_limit = {LIMIT}\n" + ECHO + task("echo", limit="50/hour"))
    with serve(path) as served:
        assert healthy(served) < 10
        yield served


def connected(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30)


def healthy(served: Served) -> float:
    """Seconds that somebody else's request takes."""
    began = time.monotonic()
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/health").status_code == 200
    return time.monotonic() - began


def flood(served: Served, head: bytes, piece: bytes) -> tuple[int, int]:
    """(status, bytes sent before the server hung up) of a body that does not end by itself."""
    with connected(served) as connection:
        sent, reply = 0, b""
        try:
            connection.sendall(head)
            while sent < BIG:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:  # it hung up, as it should
            connection.settimeout(2)
        try:
            while more := connection.recv(65536):
                reply += more
        except OSError:
            pass  # a reset may overtake the answer
    found = re.search(rb"HTTP/1\.1 (\d+)", reply)
    return int(found[1]) if found else 0, sent


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/feedback"])
@pytest.mark.parametrize("kind", ["announced", "chunked", "parts"])
def test_three_hundred_megabytes_end_at_the_limit(served: Served, path: str, kind: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
    piece = PIECE
    if kind == "announced":
        head += JSON + b"Content-Length: %d\r\n\r\n" % BIG
    elif kind == "chunked":
        head += JSON + b"Transfer-Encoding: chunked\r\n\r\n"
        piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    else:
        head += b"Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
        parts = b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nv\r\n' * 1000
        piece = b"%x\r\n%b\r\n" % (len(parts), parts)
    process = psutil.Process(served.process.pid)
    before = process.memory_info().rss
    with ThreadPoolExecutor(8) as pool:
        floods = [pool.submit(flood, served, head, piece) for _n in range(8)]
        slowest = max(healthy(served) for _n in range(5))
        found = [one.result() for one in floods]
    grown = process.memory_info().rss - before
    print(f"{kind} {path}: {found[0]}, memory +{grown / 1e6:.1f} MB, others at most {slowest * 1e3:.0f} ms")
    assert {status for status, _sent in found} <= {0, 413, 415} and max(status for status, _sent in found) > 0
    assert max(sent for _status, sent in found) < BIG / 10  # what the system's buffers take
    assert grown < 30e6
    assert slowest < 10  # 1 s is the promise on a machine that does nothing else


def test_eight_hundred_half_sent_heads_stop_nobody_and_are_hung_up_on(served: Served) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(served)) for _n in range(800)]
        began = time.monotonic()
        for number, connection in enumerate(slow):
            connection.sendall(b"POST /feedback HTTP/1.1\r\nHost: localhost\r\nX-Slow: " if number % 2 else b"G")
        slowest = 0.0
        while time.monotonic() - began < HEADER_SECONDS - 1:
            slowest = max(slowest, healthy(served))
            for connection in slow[1::10]:  # a byte now and then does not start the clock again
                connection.send(b"y")
            time.sleep(0.5)
        ended = 0
        for connection in slow:
            connection.settimeout(max(0.1, began + HEADER_SECONDS + 5 - time.monotonic()))
            try:
                while connection.recv(65536):
                    continue
                ended += 1
            except ConnectionError:
                ended += 1
            except TimeoutError:
                continue
        took = time.monotonic() - began
    print(f"800 half-sent heads: {ended} hung up on within {took:.1f} s, others at most {slowest * 1e3:.0f} ms")
    assert ended == 800 and took < HEADER_SECONDS + 5
    assert slowest < 10  # 1 s is the promise on a machine that does nothing else


def test_a_thousand_forged_addresses_are_one_caller(served: Served) -> None:
    process = psutil.Process(served.process.pid)
    before = process.memory_info().rss
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        codes = []
        for n in range(1000):
            address = f"{n % 250}.{n // 250}.8.8"
            forged = {"X-Forwarded-For": address, "X-Real-IP": address, "Forwarded": f"for={address}"}
            codes.append(client.post("/v1/chat/completions", json=ASK, headers=forged).status_code)
    assert codes.count(200) == 50 and codes.count(429) == 950
    assert process.memory_info().rss - before < 10e6
