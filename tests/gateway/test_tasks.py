"""Tasks and engines over HTTP: who may see and change what, and that a wrong change changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response

from tuneloop.access import keys
from tuneloop.access.caller import Doorkeeper
from tuneloop.answer.tasks import Book, Shelf
from tuneloop.errors import TuneloopError
from tuneloop.gateway import guard, tasks
from tuneloop.gateway.failures import Failure, explained
from tuneloop.workspace import Workspace

DEEPSEEK = {"url": "https://api.deepseek.com/v1", "key_env": "DEEPSEEK_API_KEY", "headers": {"X-Org": "s3cret"}}
HASHTAGS = {
    "prompt": "Hashtags: {text}",
    "checks": ["hashtags:3-10"],
    "variants": {"own": {"weight": 0.9}, "far": {"engine": "deepseek", "model": "deepseek-chat", "weight": 0.1}},
}


class Api:
    """The routes over a real workspace; `followed` are the books that the engines were told of."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.shelf = Shelf(workspace)
        self.followed: list[Book] = []
        self.app = FastAPI()
        self.app.include_router(tasks.router)
        for kind, explain in HANDLERS.items():
            self.app.add_exception_handler(kind, explain)
        engines = SimpleNamespace(follow=self.followed.append)
        self.app.state.desk = SimpleNamespace(shelf=self.shelf, engines=engines)
        self.app.state.doorkeeper = Doorkeeper(workspace)

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                return await client.request(method, path, json=body, headers=headers)

        return asyncio.run(send())

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        reply = self.ask(method, path, body)
        assert reply.status_code == 200, reply.text
        return reply.json()


def _ours(_request: Request, problem: Any) -> Response:
    return explained(problem).response


def _failure(_request: Request, problem: Any) -> Response:
    response: Response = problem.response
    return response


def _invalid(_request: Request, problem: Any) -> Response:
    return JSONResponse({"error": str(problem.errors()[0]["msg"])}, 400)


HANDLERS: dict[type[Exception], Callable[[Request, Any], Response]] = {
    TuneloopError: _ours,
    Failure: _failure,
    RequestValidationError: _invalid,
}


@pytest.fixture
def api(workspace: Workspace) -> Api:
    api = Api(workspace)
    api.ok("PUT", "/engines/deepseek", DEEPSEEK)
    api.ok("PUT", "/tasks/hashtags", HASHTAGS)
    return api


def test_what_was_put_is_shown_and_in_force(api: Api) -> None:
    shown = api.ok("GET", "/tasks/hashtags")
    assert shown["variants"]["far"]["model"] == "deepseek-chat"
    assert shown["variants"]["own"]["engine"] == "local"
    assert (shown["name"], shown["checks"], shown["route"]) == ("hashtags", ["hashtags:3-10"], "weighted")
    assert api.ok("GET", "/tasks") == {"data": [shown]}
    assert api.followed[-1] is api.shelf.book
    assert "hashtags/far" in api.shelf.book.names
    assert api.ok("PUT", "/tasks/hashtags", shown) == shown


def test_variants_and_weights(api: Api) -> None:
    made = api.ok("PUT", "/tasks/hashtags/variants/third", {"weight": 2, "parameters": {"temperature": 0}})
    assert (made["name"], made["parameters"]) == ("third", {"temperature": 0})
    shared = api.ok("POST", "/tasks/hashtags/weights", {"weights": {"own": 1, "third": 0}})
    assert {name: v["weight"] for name, v in shared["variants"].items()} == {"own": 1, "far": 0.1, "third": 0}
    assert api.ok("DELETE", "/tasks/hashtags/variants/third") == {"removed": "hashtags/third"}
    api.ok("DELETE", "/tasks/hashtags/variants/far")
    assert api.ask("DELETE", "/tasks/hashtags/variants/own").status_code == 409
    assert api.ok("DELETE", "/engines/deepseek") == {"removed": "deepseek"}
    assert api.ok("DELETE", "/tasks/hashtags") == {"removed": "hashtags"}
    assert [task["name"] for task in api.ok("GET", "/tasks")["data"]] == ["chat"]


def test_configuration_and_undo(api: Api) -> None:
    assert api.ok("GET", "/config") == {
        "state": "ok",
        "problem": None,
        "failures": 0,
        "engines": ["local", "deepseek"],
        "tasks": ["hashtags"],
    }
    assert api.ok("POST", "/config/undo")["tasks"] == ["chat"]
    assert api.followed[-1].tasks.keys() == {"chat"}
    assert api.ok("POST", "/config/undo")["tasks"] == ["hashtags"]
    api.shelf.path.unlink()
    api.shelf.refresh()
    kept = api.ok("GET", "/config")
    assert (kept["state"], kept["failures"], kept["tasks"]) == ("kept", 1, ["hashtags"])
    assert kept["problem"]["fix"]


def test_hidden_headers_come_back_as_they_were(api: Api) -> None:
    shown = api.ok("GET", "/engines/deepseek")
    assert shown["headers"] == {"X-Org": "***"}
    assert shown["key_env"] == "DEEPSEEK_API_KEY"
    api.ok("PUT", "/engines/deepseek", shown | {"parallel": 3})
    assert api.shelf.book.engines["deepseek"].headers == {"X-Org": "s3cret"}
    assert api.shelf.book.engines["deepseek"].parallel == 3
    for path in ("/engines", "/tasks", "/config"):
        assert "s3cret" not in api.ask("GET", path).text


DEEP: Any = 1
for _n in range(300):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/tasks/none", None, 404, "there is no task 'none'"),
        ("GET", "/engines/none", None, 404, "there is no engine 'none'"),
        ("DELETE", "/tasks/none", None, 404, "tasks.none"),
        ("DELETE", "/tasks/hashtags/variants/none", None, 404, "variants.none"),
        ("DELETE", "/engines/deepseek", None, 409, "hashtags/far"),
        ("DELETE", "/engines/local", None, 404, "engines.local"),
        ("PUT", "/tasks/active", {}, 400, "tasks.active"),
        ("PUT", "/tasks/A%20b", {}, 400, "a name has"),
        ("PUT", "/tasks/hashtags", {"sytem": "x"}, 400, "did you mean 'system'"),
        ("PUT", "/tasks/hashtags", {"name": "other"}, 400, "'name'"),
        ("PUT", "/tasks/hashtags", {"retries": "1"}, 400, "valid integer"),
        ("PUT", "/tasks/hashtags", {"checks": ["no_such"]}, 400, "no_such"),
        ("PUT", "/tasks/hashtags", {"checks": ["json_schema:../../etc/passwd"]}, 400, "leaves the workspace"),
        ("PUT", "/tasks/hashtags", {"x": DEEP}, 400, "nested deeper"),
        ("PUT", "/tasks/hashtags", {"variants": {"a": {"parameters": {"x": DEEP}}}}, 400, "nested deeper"),
        ("PUT", "/tasks/hashtags", {"variants": {"a": {"weight": -1}}}, 400, "greater than or equal to 0"),
        ("PUT", "/tasks/hashtags", {"variants": {"a": {"engine": "deepsek"}}}, 400, "did you mean 'deepseek'"),
        ("PUT", "/tasks/none/variants/a", {}, 404, "tasks.none"),
        ("PUT", "/tasks/hashtags/variants/own", {"when": {"a": 1}}, 400, "valid string"),
        ("POST", "/tasks/hashtags/weights", {"weights": {}}, 400, "at least 1"),
        ("POST", "/tasks/hashtags/weights", {"weights": {"none": 1}}, 404, "variants.none"),
        ("POST", "/tasks/hashtags/weights", {"weights": {"own": 0, "far": 0}}, 400, "above 0"),
        ("PUT", "/engines/x", {"url": "ftp://h"}, 400, "http://"),
        ("PUT", "/engines/x", {"url": "https://u:s3cret@h"}, 400, "password"),
        ("PUT", "/engines/x", {"url": "https://h", "api_key": "s3cret"}, 400, "never written down"),
        ("PUT", "/engines/x", {"url": "https://h", "key_env": "sk-s3cret"}, 400, "key_env"),
        ("PUT", "/engines/local", {"kind": "echo"}, 400, "local"),
    ],
)
def test_wrong_requests_change_nothing(api: Api, method: str, path: str, body: Any, status: int, said: str) -> None:
    before, book = api.shelf.path.read_bytes(), api.shelf.book
    reply = api.ask(method, path, body)
    assert (reply.status_code, said in json.dumps(reply.json(), ensure_ascii=False)) == (status, True), reply.text
    assert "s3cret" not in reply.text
    assert api.shelf.path.read_bytes() == before
    assert api.shelf.book is book


EDITS = [
    ("PUT", "/tasks/hashtags", {}),
    ("DELETE", "/tasks/hashtags", None),
    ("PUT", "/tasks/hashtags/variants/own", {}),
    ("DELETE", "/tasks/hashtags/variants/own", None),
    ("POST", "/tasks/hashtags/weights", {"weights": {"own": 1}}),
    ("PUT", "/engines/deepseek", {"url": "http://evil.example/v1", "key_env": "DEEPSEEK_API_KEY"}),
    ("DELETE", "/engines/deepseek", None),
    ("POST", "/config/undo", None),
]


def test_every_route_declares_its_role(api: Api) -> None:
    bare = FastAPI(docs_url=None, redoc_url=None)
    bare.router.routes.extend(tasks.router.routes)
    roles = guard.declared(bare)
    assert {path for path, role in roles.items() if role == "owner"} == {
        f"{method} {path.replace('hashtags', '{name}').replace('deepseek', '{name}').replace('/own', '/{variant}')}"
        for method, path, _body in EDITS
    }
    assert set(roles.values()) == {"owner", "reader"}


@pytest.mark.parametrize(("method", "path", "body"), EDITS)
def test_only_the_installations_administrators_change_it(api: Api, method: str, path: str, body: Any) -> None:
    """Whoever may point an engine elsewhere reads the questions of every team, and gets the engine's key."""
    before = api.shelf.path.read_bytes()
    strangers = [
        {"role": "reader"},
        {"role": "user"},
        {"role": "admin", "tenant": "shop"},
        {"role": "admin", "scopes": ["hashtags"]},
    ]
    for stranger in strangers:
        _key, secret = keys.create(api.workspace, name="k", **stranger)  # type: ignore[arg-type]
        assert api.ask(method, path, body, key=secret).status_code == 403, stranger
    api.app.state.doorkeeper.forget()
    assert api.ask(method, path, body).status_code == 401
    assert api.shelf.path.read_bytes() == before
    _key, secret = keys.create(api.workspace, name="k", role="admin")
    assert api.ask(method, path, body, key=secret).status_code in (200, 409)


def test_readers_see_the_tasks_of_their_scope(api: Api) -> None:
    api.ok("PUT", "/tasks/seo", {"system": "Write."})
    _key, narrow = keys.create(api.workspace, name="n", role="reader", scopes=["seo"], tenant="shop")
    _key, wide = keys.create(api.workspace, name="w", role="reader")
    assert [task["name"] for task in api.ask("GET", "/tasks", key=narrow).json()["data"]] == ["seo"]
    assert api.ask("GET", "/tasks/hashtags", key=narrow).status_code == 404
    assert len(api.ask("GET", "/tasks", key=wide).json()["data"]) == 2
    assert api.ask("GET", "/engines", key=wide).status_code == 200
