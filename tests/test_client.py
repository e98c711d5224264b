"""The client's docstrings are its tests: every example runs against a real server on a real socket."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.answer.models import add_packed
from tests.gateway.live import Live, running, until
from tuneloop.client import Client
from tuneloop.errors import BadInput, Conflict, EngineDown, Missing, Unauthorised
from tuneloop.loop import optimisations
from tuneloop.workspace import open_workspace, write_atomically

TOML = """
[engines.echo]
kind = "echo"
[tasks.support.variants.small]
engine = "echo"
model = "small"
[tasks.support.variants.big]
engine = "echo"
model = "big"
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    open_workspace(tmp_path / "work", create=True)
    write_atomically(tmp_path / "work/tuneloop.toml", TOML)
    workspace = open_workspace(tmp_path / "work")
    add_packed(workspace, "tiny")
    with running(workspace, None) as server:
        yield server
    until(lambda: all(one.state != "running" for one in optimisations.history(workspace)))


EXAMPLES = {
    name: doctest.DocTestParser().get_examples(method.__doc__ or "")
    for name, method in inspect.getmembers(Client, inspect.iscoroutinefunction)
    if not name.startswith("_") and name != "close"
}


def test_every_method_has_an_example() -> None:
    assert [name for name, examples in EXAMPLES.items() if not examples] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of(live: Live, name: str) -> None:
    async def scene() -> None:
        async with Client(live.url) as client:
            known: dict[str, object] = {"client": client}
            for example in EXAMPLES[name]:
                code = compile(example.source, name, "single", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                shown: list[str] = []
                known["__builtins__"] = {**vars(__import__("builtins"))}
                # in "single" mode an expression goes to sys.displayhook: evaluate it ourselves instead
                if example.want:
                    code = compile(example.source.strip(), name, "eval", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                found = eval(code, known)
                if inspect.isawaitable(found):
                    found = await found
                if example.want:
                    shown.append(repr(found))
                    assert shown == [example.want.strip()], example.source

    asyncio.run(scene())


def test_failures_are_tuneloops_errors(live: Live) -> None:
    async def scene() -> None:
        async with Client(live.url) as client:
            with pytest.raises(Missing, match="not served"):
                await client.generate_text("hi", "nothing")
            with pytest.raises(Missing, match="no variant 'huge'"):
                await client.create_ab_test("x", "support", "small", "huge")
            with pytest.raises(BadInput):
                await client.create_ab_test("x", "support", "small", "big", traffic_split=1.5)
            with pytest.raises(BadInput, match="response_time"):
                await client.optimize_model("tiny", {"response_time": 1.0})
            await client.create_ab_test("x", "support", "small", "big")
            with pytest.raises(Conflict):
                await client.create_ab_test("x", "support", "small", "big")
        async with Client("http://127.0.0.1:1") as nobody:
            with pytest.raises(EngineDown, match="nobody answers"):
                await nobody.get_system_health()

    asyncio.run(scene())


def test_the_same_key_gives_the_first_answer_and_another_question_is_a_conflict(live: Live) -> None:
    async def scene() -> None:
        async with Client(live.url) as client:
            first = await client.generate_text("one", "support", key="k1")
            again = await asyncio.gather(*(client.generate_text("one", "support", key="k1") for _n in range(20)))
            assert {reply["call_id"] for reply in again} == {first["call_id"]}
            with pytest.raises(Conflict):
                await client.generate_text("two", "support", key="k1")

    asyncio.run(scene())
    assert len(live.rows(1)) == 1


def test_a_wrong_key_is_said(live: Live) -> None:
    from tuneloop.access import keys

    keys.create(live.workspace, name="x")
    live.server.desk.doorkeeper.forget()

    async def scene() -> None:
        async with Client(live.url, key="tl_wrong") as client:
            with pytest.raises(Unauthorised):
                await client.list_models()

    asyncio.run(scene())
