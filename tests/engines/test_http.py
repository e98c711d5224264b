"""The client to engines against servers that behave well, badly, slowly, and die."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.raw import STREAM_HEAD, chunk, raw_server, read_request, reset, whole
from tuneloop.engines.engine import Limits, Reply
from tuneloop.engines.http import Http, in_words
from tuneloop.errors import BadInput, EngineDown, EngineTimeout

FAST = Limits(first=5, gap=5, total=5)


async def ask(url: str, limits: Limits = FAST, *, stream: bool = False) -> Reply:
    async with Http(url) as http:
        reply = await http.request("POST", "/chat/completions", b'{"a": 1}', limits, stream=stream)
        if reply.pieces:
            reply.body = b"".join([piece async for piece in reply.pieces])
        return reply


def test_sends_exactly_one_request_and_returns_status_headers_and_body() -> None:
    async def scene() -> None:
        async with raw_server(lambda r, w: answer(w, whole(b'{"ok": true}', 201, b"X-Thing: 7\r\n"))) as server:
            reply = await ask(server.url)
            assert (reply.status, reply.headers[b"x-thing"], reply.body) == (201, b"7", b'{"ok": true}')
            head, _end, body = server.requests[0].partition(b"\r\n\r\n")
            assert body == b'{"a": 1}'
            assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
            assert b"\r\nContent-Length: 8" in head and head.count(b"Content-Length") == 1

    asyncio.run(scene())


async def answer(writer: asyncio.StreamWriter, *parts: bytes) -> None:
    for part in parts:
        writer.write(part)
        await writer.drain()


def test_a_connection_is_kept_and_used_again() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _turn in range(3):
            await answer(writer, whole(b"{}"))
            await read_request(reader)

    async def scene() -> None:
        async with raw_server(play) as server, Http(server.url) as http:
            for _turn in range(3):
                assert (await http.request("POST", "/x", b"{}", FAST)).status == 200
            assert server.connections == 1

    asyncio.run(scene())


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_without_a_word() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer, whole(b"{}"))
        await read_request(reader)  # takes the second request and hangs up without an answer

    async def scene() -> None:
        async with raw_server(play) as server, Http(server.url) as http:
            assert (await http.request("POST", "/x", b"{}", FAST)).status == 200
            assert (await http.request("POST", "/x", b"{}", FAST)).status == 200
            assert server.connections == 2

    asyncio.run(scene())


def test_a_fresh_connection_that_hangs_up_is_an_error_and_not_tried_again() -> None:
    async def scene() -> None:
        async with raw_server(lambda r, w: answer(w)) as server:
            with pytest.raises(EngineDown):
                await ask(server.url)
            assert server.connections == 1

    asyncio.run(scene())


CUTS = {
    "short body": (whole(b'{"ok": true}')[:-4], False),
    "chunks without an end": (STREAM_HEAD + chunk(b"data: 1\n\n"), False),
    "reset": (STREAM_HEAD + chunk(b"data: 1\n\n"), True),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", False),
    "no http": (b"SSH-2.0-OpenSSH_9.2\r\n", False),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_ends_too_early_is_an_error(cut: str, stream: bool) -> None:
    sent, hard = CUTS[cut]

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer, sent)
        await asyncio.sleep(0.05)
        if hard:
            reset(writer)

    async def scene() -> None:
        async with raw_server(play) as server:
            with pytest.raises(EngineDown):
                await ask(server.url, stream=stream)

    asyncio.run(scene())


def test_a_body_that_ends_with_its_connection_is_whole() -> None:
    async def scene() -> None:
        async with raw_server(lambda r, w: answer(w, b"HTTP/1.1 200 OK\r\n\r\n", b'{"a":', b"1}")) as server:
            assert (await ask(server.url)).body == b'{"a":1}'

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("limits", "said"),
    [(Limits(0.2, 9, 9), "nothing"), (Limits(9, 9, 0.2), "no complete answer")],
    ids=["first byte", "total"],
)
def test_a_silent_engine_is_given_up_in_time(limits: Limits, said: str) -> None:
    async def scene() -> None:
        async with raw_server(lambda r, w: asyncio.sleep(8)) as server:
            began = time.monotonic()
            with pytest.raises(EngineTimeout, match=said):
                await ask(server.url, limits)
            assert 0.15 < time.monotonic() - began < 4

    asyncio.run(scene())


def test_a_drip_of_bytes_passes_the_gap_and_ends_at_the_total() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for _drop in range(100):
            writer.write(chunk(b":"))
            await writer.drain()
            await asyncio.sleep(0.05)

    async def scene() -> None:
        async with raw_server(play) as server:
            began = time.monotonic()
            with pytest.raises(EngineTimeout, match="no complete answer"):
                await ask(server.url, Limits(5, 0.5, 0.6), stream=True)
            assert 0.5 < time.monotonic() - began < 4

    asyncio.run(scene())


def test_a_stream_that_falls_silent_ends_at_the_gap() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer, STREAM_HEAD, chunk(b"data: 1\n\n"))
        await asyncio.sleep(3)

    async def scene() -> None:
        async with raw_server(play) as server:
            with pytest.raises(EngineTimeout, match="silent"):
                await ask(server.url, Limits(5, 0.2, 5), stream=True)

    asyncio.run(scene())


@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_closes_the_connection(stream: bool) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if stream:
            await answer(writer, STREAM_HEAD, chunk(b"data: 1\n\n"))
        assert await reader.read() == b""  # until the client closes
        closed.set()

    closed = asyncio.Event()

    async def scene() -> None:
        async with raw_server(play) as server, Http(server.url) as http:
            if stream:
                reply = await http.request("POST", "/x", b"{}", FAST, stream=True)
                assert reply.pieces is not None
                await reply.pieces.__anext__()
                await reply.pieces.aclose()
            else:
                task = asyncio.create_task(http.request("POST", "/x", b"{}", FAST))
                await asyncio.sleep(0.1)
                task.cancel()
            await asyncio.wait_for(closed.wait(), 1)

    asyncio.run(scene())


def test_an_error_to_a_stream_request_comes_whole() -> None:
    async def scene() -> None:
        async with raw_server(lambda r, w: answer(w, whole(b'{"error": {}}', 429))) as server:
            reply = await ask(server.url, stream=True)
            assert (reply.status, reply.body, reply.pieces) == (429, b'{"error": {}}', None)

    asyncio.run(scene())


def test_nobody_there_is_said() -> None:
    for url in ("http://127.0.0.1:1/v1", "http://localhost:1"):  # two addresses: "Multiple exceptions"
        with pytest.raises(EngineDown, match=r"cannot be reached: nothing listens there$"):
            asyncio.run(ask(url))
    both = OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed")
    assert (
        in_words(both) == "nothing listens there" and in_words(OSError(113, "No route to host")) == "No route to host"
    )
    assert in_words(socket.gaierror(-2, "Name or service not known")) == "nobody knows this name"


@pytest.mark.parametrize("url", ["ftp://x/v1", "localhost:80", "http://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        Http(url)


def test_a_header_cannot_smuggle_a_second_one() -> None:
    with pytest.raises(BadInput):
        Http("http://localhost/", {"X-A": "1\r\nX-B: 2"})


def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer, whole(b'{"mine": 1}') + whole(b'{"somebody elses": 1}'))
        await read_request(reader)
        await answer(writer, whole(b'{"mine": 2}'))

    async def scene() -> None:
        async with raw_server(play) as server, Http(server.url) as http:
            for _turn in range(2):
                reply = await http.request("POST", "/x", b"{}", FAST)
                assert reply.body == b'{"mine": 1}'  # of a fresh connection: the old one was not trusted
            assert server.connections == 2

    asyncio.run(scene())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=8), st.integers(1, 700))
def test_any_split_of_a_stream_gives_the_same_bytes(pieces: list[bytes], size: int) -> None:
    sent = STREAM_HEAD + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await asyncio.sleep(0)

    async def scene() -> None:
        async with raw_server(play) as server:
            assert (await ask(server.url, stream=True)).body == b"".join(pieces)

    asyncio.run(scene())


def test_a_slow_reader_makes_the_engine_wait_instead_of_filling_memory() -> None:
    size = 32 << 20

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for _block in range(size >> 16):
            writer.write(chunk(b"x" * 65536))
            await writer.drain()
        sent.set()
        await answer(writer, b"0\r\n\r\n")

    sent = asyncio.Event()

    async def scene() -> None:
        async with raw_server(play) as server, Http(server.url) as http:
            reply = await http.request("POST", "/x", b"{}", Limits(5, 30, 30), stream=True)
            assert reply.pieces is not None
            await asyncio.sleep(0.5)
            assert not sent.is_set()
            total = 0
            async for piece in reply.pieces:
                total += len(piece)
            assert total == size

    asyncio.run(scene())


def test_many_at_once_over_few_connections_all_come_back() -> None:
    """A connection is taken for the next request before who asked the last one has looked at the answer."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = b"x"
        while request:
            await answer(writer, whole(b"{}"))
            request = await read_request(reader)

    async def scene() -> None:
        async with raw_server(play) as server, Http(server.url) as http:

            async def client() -> None:
                for _turn in range(40):
                    assert (await http.request("POST", "/x", b"{}", FAST)).status == 200

            await asyncio.wait_for(asyncio.gather(*(client() for _n in range(20))), 10)
            assert server.connections <= 20

    asyncio.run(scene())
