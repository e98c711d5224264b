"""Every route of the real app, met by everybody: who has no key, each role, a key of some tasks, a key of another team.

The table below is compared with the app's own list of routes: a new route stands here, with its role and a request
that would do something, or the suite fails.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.answer.marked import call, write
from tests.gateway.live import Live
from tests.gateway.test_exchange import ASK, ECHO, gateway, task
from tests.search import shop
from tuneloop import journal, versions
from tuneloop.access import keys
from tuneloop.ask import clicks, uploads
from tuneloop.ask.reply import reply
from tuneloop.choose import experiments
from tuneloop.db import metadata, tables
from tuneloop.encoders.choice import open_encoder
from tuneloop.gateway import guard
from tuneloop.loop import photo_clicks, replay
from tuneloop.loop.photo_version import kind_of
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue, documents
from tuneloop.search.catalogue_sources import Product
from tuneloop.search.documents import Document
from tuneloop.workspace import Workspace

# "METHOD path" -> (role, body). {names} are filled in with what belongs to the team "red".
ROUTES: dict[str, tuple[str, Any]] = {
    "GET /": ("public", None),
    "GET /ask": ("public", None),
    "GET /photos": ("public", None),
    "GET /docs": ("public", None),
    "GET /health": ("public", None),
    "GET /v1/models": ("reader", None),
    "GET /v1/models/{name:path}": ("reader", None),
    "POST /v1/chat/completions": ("user", ASK),
    "POST /v1/completions": ("user", {"model": "t", "prompt": "раз"}),
    "POST /v1/embeddings": ("user", {"model": "t", "input": "раз"}),
    "POST /feedback": ("user", {"call": "{call}", "kind": "thumb", "value": "down"}),
    "GET /versions": ("reader", None),
    "POST /versions/{reference}/activate": ("owner", {}),
    "GET /tasks": ("reader", None),
    "GET /tasks/{name}": ("reader", None),
    "PUT /tasks/{name}": ("owner", {"system": "stolen"}),
    "DELETE /tasks/{name}": ("owner", None),
    "PUT /tasks/{name}/variants/{variant}": ("owner", {"engine": "echo", "model": "stolen"}),
    "DELETE /tasks/{name}/variants/{variant}": ("owner", None),
    "POST /tasks/{name}/weights": ("owner", {"weights": {"echo": 0.1}}),
    "GET /engines": ("reader", None),
    "GET /engines/{name}": ("reader", None),
    "PUT /engines/{name}": ("owner", {"url": "http://evil.example/v1"}),
    "DELETE /engines/{name}": ("owner", None),
    "GET /config": ("reader", None),
    "POST /config/undo": ("owner", None),
    "GET /experiments": ("reader", None),
    "POST /experiments": ("admin", {"name": "theirs", "task": "t", "arms": {"a": "echo", "b": "other"}}),
    "GET /experiments/{experiment}": ("reader", None),
    "GET /experiments/{experiment}/verdict": ("reader", None),
    "POST /experiments/{experiment}/select": ("user", {"user": "u"}),
    "POST /experiments/{experiment}/outcomes": ("user", {"metric": "sales", "value": 9.0, "arm": "a", "user": "u"}),
    "POST /experiments/{experiment}/stop": ("admin", {}),
    "POST /experiments/{experiment}/promote": ("owner", {"arm": "b"}),
    "POST /experiments/{experiment}/rollback": ("owner", {}),
    "GET /replays": ("reader", None),
    "POST /replays": ("admin", {"task": "t", "a": "echo", "b": "other", "questions": 20}),
    "GET /replays/{replay}": ("reader", None),
    "GET /replays/{replay}/next": ("user", None),
    "POST /replays/{replay}/judgements": ("user", {"question": 0, "verdict": "skip"}),
    "POST /replays/{replay}/end": ("admin", None),
    "GET /models": ("reader", None),
    "GET /models/running": ("reader", None),
    "GET /models/trials": ("reader", None),
    "POST /models/pull": ("owner", {"name": "stolen"}),
    "POST /models/create": ("owner", {"name": "stolen", "source": "m"}),
    "POST /models/copy": ("owner", {"source": "m", "destination": "stolen"}),
    "DELETE /models/{model:path}": ("owner", None),
    "POST /quality": ("user", {"call": "{call}"}),
    "POST /quality/compare": ("user", {"question": "a", "one": "b", "other": "c"}),
    "GET /quality/stats": ("reader", None),
    "GET /tasks/{name}/switch": ("reader", None),
    "PUT /tasks/{name}/switch": ("owner", {"mode": "off"}),
    "GET /stats": ("reader", None),
    "GET /stats/by/{group}": ("reader", None),
    "GET /stats/models/{model:path}": ("reader", None),
    "GET /health/history": ("reader", None),
    "GET /metrics": ("reader", None),
    "GET /optimisations": ("reader", None),
    "GET /optimisations/{identity}": ("reader", None),
    "POST /optimisations": ("owner", {"model": "latest"}),
    "GET /collections": ("reader", None),
    "POST /collections": ("admin", {"name": "theirs"}),
    "DELETE /collections/{collection}": ("admin", None),
    "GET /collections/{collection}/stats": ("reader", None),
    "GET /collections/{collection}/documents": ("reader", None),
    "POST /collections/{collection}/documents": ("admin", {"documents": [{"id": "d", "text": "подброшено"}]}),
    "DELETE /collections/{collection}/documents/{identity:path}": ("admin", None),
    "POST /collections/{collection}/cleanup": ("admin", {"days": 0.001}),
    "POST /collections/{collection}/search": ("reader", {"query": "сокровенное"}),
    "POST /collections/{collection}/generate": ("user", {"query": "сокровенное", "model": "t"}),
    "GET /tables": ("reader", None),
    "POST /tables": ("user", {"not": "a file"}),
    "GET /tables/loads/{load}": ("reader", None),
    "GET /tables/{table}": ("reader", None),
    "POST /tables/{table}/ask": ("user", {"question": "сколько строк"}),
    "POST /tables/{table}/clicks": ("user", {"answer": "{answer}", "verdict": "right"}),
    "DELETE /tables/{table}": ("user", None),
    "POST /catalogue/search": ("user", {"text": "сокровенное"}),
    "GET /catalogue/items": ("reader", None),
    "GET /catalogue/items/{item:path}": ("reader", None),
    "GET /catalogue/pictures/{picture}": ("reader", None),
    "POST /catalogue/feedback": ("user", {"query": "{search}", "verdict": "right", "item": "red-item"}),
    "POST /catalogue/feedback/undo": ("user", {"query": "{search}", "item": "red-item", "user": "red-user"}),
    "GET /catalogue/proposals": ("admin", None),
    "POST /catalogue/proposals": ("user", {"query": "{search}", "name": "stolen"}),
    "POST /catalogue/proposals/{proposal}": ("admin", {"decision": "approve"}),
    "GET /catalogue/people/{user}": ("user", None),
    "DELETE /catalogue/people/{user}": ("user", None),
    "GET /catalogue/versions": ("reader", None),
    "POST /catalogue/versions/rollback": ("admin", {}),
    "POST /catalogue/versions/{version}/activate": ("admin", {"force": True, "note": "mine"}),
    "GET /keys": ("admin", None),
    "POST /keys": ("admin", {"name": "theirs", "tenant": "red"}),
    "DELETE /keys/{identity}": ("admin", None),
    "POST /keys/{identity}/rotate": ("admin", {}),
}
SECRETS = ("сокровенное", "red-experiment", "red-key", "red-user", "red-tag")  # words only the team "red" may read
REACH = {"reader": 1, "user": 2, "admin": 3, "owner": 4}
MORE = ("[tasks.t.variants.other]", "[tasks.u.variants.v]")
TOML = ECHO + task("echo") + "".join(f'{head}\nengine = "echo"\nmodel = "m"\n' for head in MORE)


@dataclass
class Scene:
    live: Live
    secrets: dict[str, str]  # who -> key
    reds: dict[str, str]  # name of a placeholder -> red's own

    def ask(self, route: str, who: str, body: Any = None, **headers: str) -> httpx.Response:
        method, path = self.filled(route).split(" ", 1)
        if who in self.secrets:
            headers["Authorization"] = f"Bearer {self.secrets[who]}"
        elif who:
            headers["Authorization"] = who
        content = None if body is None else json.dumps(body)
        for own in ("call", "answer", "search") if content else ():
            content = str(content).replace("{" + own + "}", self.reds.get(own, ""))
        kind = {"Content-Type": "application/json"} if content is not None or method == "POST" else {}
        return httpx.request(
            method, self.live.url + path, content=content, headers=headers | kind, trust_env=False, timeout=30
        )

    def filled(self, route: str) -> str:
        return re.sub(r"\{(\w+)(:path)?\}", lambda found: self.reds[found[1]], route)

    def rows(self) -> dict[str, list[Any]]:
        """What belongs to "red", and the configuration, which is of all; without what the server notes by itself."""
        journal.settle(self.live.workspace)
        found: dict[str, list[Any]] = {"toml": [(self.live.workspace.path / "tuneloop.toml").read_bytes()]}
        for table in metadata.tables.values():
            shown = [column for column in table.columns if column.name not in ("used", "verdict")]
            chosen = select(*shown).order_by(*table.primary_key)
            if "tenant" in table.columns:
                chosen = chosen.where(table.c.tenant == "red")
            elif "experiment" in table.columns:
                theirs = select(tables.experiments.c.id).where(tables.experiments.c.tenant == "red")
                chosen = chosen.where(table.c.experiment.in_(theirs))
            elif not table.name.startswith("version"):
                continue
            with self.live.workspace.db.read() as rows:
                found[table.name] = [tuple(row) for row in rows.execute(chosen)]
        return found


def red_table(workspace: Workspace) -> dict[str, str]:
    """A table of the team "red" and an answer that was given of it."""
    identity, folder = uploads.place(workspace)
    (folder / "red.csv").write_text("город,сумма\nсокровенное,1\nдругое,2\n", encoding="utf-8")
    uploads.register(workspace, identity, tenant="red")
    opened = uploads.Opened(workspace)
    with opened.lease(identity) as table:
        given = clicks.noted(clicks.Rows(workspace, "red"), table, identity, reply(table, "сколько строк"))
    opened.close()
    return {"table": identity, "answer": given.id}


def red_catalogue(workspace: Workspace, folder: Path) -> dict[str, str]:
    """A catalogue of the team "red", a search in it with a click, and a product that was proposed."""
    shop.product("red ball").save(folder / "red.png")
    product = Product("red-item", "сокровенное", pictures=(folder / "red.png",))
    catalogue.put(workspace, [product], open_encoder("classical"), tenant="red")
    found = Finder(workspace, tenant="red").search(folder / "red.png", user="red-user")
    photo_clicks.record(workspace, found.query, "right", item="red-item", user="red-user", tenant="red")
    proposed = photo_clicks.propose(workspace, found.query, "сокровенное", tenant="red")
    picture = catalogue.find(workspace, "red-item", tenant="red").pictures[0][0]
    (folder / "version").mkdir()
    (folder / "version" / "card.json").write_text('{"tenant": "red"}')
    workspace.folder("models")
    version = versions.register(workspace, folder / "version", kind=kind_of("red"), name="сокровенное", meta={})
    versions.activate(workspace, version, force=True, note="test")
    found_in = {"item": "red-item", "picture": picture, "version": version.id}
    return found_in | {"search": found.query, "proposal": proposed, "user": "red-user"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with gateway(tmp_path_factory.mktemp("roles"), TOML) as live:
        secrets = {
            f"{team}-{role}": keys.create(live.workspace, tenant=team, name="k", role=role)[1]
            for team in ("red", "blue")
            for role in ("reader", "user", "admin")
        }
        for role in ("reader", "user"):
            secrets[role] = keys.create(live.workspace, name="k", role=role)[1]
        secrets["owner"] = keys.create(live.workspace, name="k", role="admin")[1]
        secrets["some tasks"] = keys.create(live.workspace, name="k", role="admin", scopes=["u"])[1]
        revoked, secrets["revoked"] = keys.create(live.workspace, name="k", role="admin")
        keys.revoke(live.workspace, revoked.id)
        live.server.desk.doorkeeper.forget()
        named, _secret = keys.create(live.workspace, tenant="red", name="red-key", role="admin")
        one = experiments.create(
            live.workspace, name="red-experiment", task="t", arms={"a": "echo", "b": "other"}, tenant="red"
        )
        reds = {"identity": named.id, "experiment": one.name, "name": "t", "reference": "latest", "variant": "other"}
        reds |= {"group": "user", "model": "m-echo"}
        stored = [
            call(f"red-{n}", tenant="red", task="t", question=f"сокровенное {n}", user="red-user") for n in range(20)
        ]
        write(live.workspace, stored, [])
        replayed = live.server.desk.shelf.book.tasks["t"]
        reds["replay"] = replay.begin(live.workspace, replayed, "echo", "other", questions=20, tenant="red").id
        documents.create(live.workspace, "red-collection", tenant="red")
        documents.add(live.workspace, "red-collection", [Document("d", "сокровенное место")], tenant="red")
        reds["collection"] = "red-collection"
        live.server.desk.tables.loads["red", "red-load"] = uploads.Load("reading", 0.5, 10)
        reds["load"] = "red-load"
        reds |= red_table(live.workspace) | red_catalogue(live.workspace, tmp_path_factory.mktemp("photos"))
        scene = Scene(live, secrets, reds)
        body = ASK | {"messages": [{"role": "user", "content": "сокровенное"}], "user": "red-user"}
        asked = scene.ask(
            "POST /v1/chat/completions", "red-user", body | {"metadata": {"k": "red-tag"}}, **{"Idempotency-Key": "k1"}
        )
        reds["call"] = asked.json()["id"]
        said = {"call": reds["call"], "kind": "comment", "value": "сокровенное", "user": "red-user"}
        assert scene.ask("POST /feedback", "red-user", said).status_code == 200
        sold = {"metric": "sales", "value": 1.0, "user": "red-user"}
        assert scene.ask("POST /experiments/{experiment}/outcomes", "red-user", sold).status_code == 200
        yield scene


def own_names(route: str) -> str:
    """{name} of an experiment is another thing than that of a task."""
    for folder, name in (("experiments", "experiment"), ("replays", "replay"), ("models", "model"),
                         ("collections", "collection")):  # fmt: skip
        route = re.sub(rf"( /{folder}/)\{{name\b", rf"\1{{{name}", route)
    return route


def test_the_table_is_the_apps_own_list(scene: Scene) -> None:
    declared = {
        own_names(route): role
        for route, role in guard.declared(scene.live.server.config.app).items()
        if not route.startswith("HEAD")
    }
    assert declared == {route: role for route, (role, _body) in ROUTES.items()}


@pytest.mark.parametrize("route", [route for route, (role, _body) in ROUTES.items() if role != "public"])
def test_who_may_not_is_told_so_and_changes_nothing(scene: Scene, route: str) -> None:
    role, body = ROUTES[route]
    before = scene.rows()
    for nobody in ("", "Bearer", "Bearer wrong", "Basic " + scene.secrets["owner"], "revoked", "Bearer ' OR 1=1 --"):
        assert scene.ask(route, nobody, body).status_code == 401, nobody
    for team in ("", "red-", "blue-"):
        for lower in ("reader", "user", "admin"):
            if REACH[lower] < REACH[role] and team + lower in scene.secrets:
                assert scene.ask(route, team + lower, body).status_code == 403, team + lower
    if role == "owner":
        assert scene.ask(route, "some tasks", body).status_code == 403
    assert scene.rows() == before


@pytest.mark.parametrize("route", ROUTES)
def test_another_teams_administrator_sees_and_changes_nothing(scene: Scene, route: str) -> None:
    """Red's own names, call, key and experiment are named in every request of blue."""
    _role, body = ROUTES[route]
    before = scene.rows()
    reply = scene.ask(route, "blue-admin", body, **{"Idempotency-Key": "k1"})
    told = reply.text + str(reply.headers)
    assert reply.status_code < 500 or (reply.status_code, route) == (503, "GET /health")
    # what was asked for may be named again in the sentence that it is not there
    assert not [word for word in SECRETS if word in told and word not in scene.filled(route)]
    for own in (
        "experiment}",
        "identity}",
        "replay}",
        "collection}",
        "{table}",
        "{item",
        "{picture}",
        "{proposal}",
        "{version}",
        "{load}",
    ):
        if own in route:
            assert reply.status_code == (403 if ROUTES[route][0] == "owner" else 404)
    assert scene.rows() == before


def test_what_belongs_to_a_team_is_there_for_it(scene: Scene) -> None:
    """The counter-proof: the requests above would have shown and done something."""
    reads = ("GET /experiments/{experiment}", "GET /experiments", "GET /stats/by/{group}", "GET /keys")
    told = "".join(scene.ask(route, "red-admin").text for route in reads)
    assert {word for word in SECRETS if word in told} == {"red-experiment", "red-user", "red-key"}
    before = scene.rows()
    for route in ("POST /feedback", "POST /experiments/{experiment}/outcomes"):
        assert scene.ask(route, "red-user", ROUTES[route][1]).status_code == 200
    after = scene.rows()
    assert {name for name in after if after[name] != before[name]} == {"feedback", "outcomes"}


def test_a_key_of_some_tasks_makes_itself_none_of_all(scene: Scene) -> None:
    for route in ("GET /keys", "POST /keys", "DELETE /keys/{identity}", "POST /keys/{identity}/rotate"):
        assert scene.ask(route, "some tasks", ROUTES[route][1]).status_code == 403, route
    assert scene.ask("POST /experiments", "some tasks", ROUTES["POST /experiments"][1]).status_code == 403
    assert scene.ask("GET /experiments/{experiment}", "some tasks").status_code == 404
    assert [t["name"] for t in scene.ask("GET /tasks", "some tasks").json()["data"]] == ["u"]
    assert scene.ask("POST /v1/chat/completions", "some tasks", ASK).status_code == 403


def test_metrics_are_of_all_teams_and_so_for_none_of_them(scene: Scene) -> None:
    assert scene.ask("GET /metrics", "red-admin").status_code == 403
    assert scene.ask("GET /metrics", "reader").status_code == 200


# --- around the router

TRICKS = (
    "/{0}", "/x/..{0}", "/health/..{0}", "/health/%2e%2e{0}", "/health%2f..{0}", "/docs/../{0}", "{0}/", "{0}//",
    "{0};x=/health", "{0}?path=/health", "{0}#/health", "{0}%00", "{0}%20", "{0}/.", "http://localhost{0}",
    "http://localhost/health@evil{0}", "*{0}", "\\{0}",
)  # fmt: skip


def raw(live: Live, request: bytes, replies: int = 1) -> list[int]:
    """The status of each answer to bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(request)
        seen = b""
        while len(found := re.findall(rb"HTTP/1\.1 (\d+)", seen)) < replies and (piece := connection.recv(65536)):
            seen += piece
    return [int(code) for code in found]


@pytest.mark.parametrize("route", [route for route, (role, _body) in ROUTES.items() if role != "public"])
def test_no_spelling_of_a_path_and_no_host_leads_around_the_key(scene: Scene, route: str) -> None:
    method, path = scene.filled(route).split(" ", 1)
    body = json.dumps(ROUTES[route][1] or {}).encode()
    spellings = [(form.format(path), "localhost") for form in TRICKS]
    spellings += [(path.upper(), "localhost"), (path.title(), "localhost"), (path.replace("/", "%2F"), "localhost")]
    hosts = ("localhost/health?", "localhost#", "evil.example", "localhost:80@evil", "127.0.0.1/docs", "")
    spellings += [(path, host) for host in hosts]
    for target, host in spellings:
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        more = "X-Original-URL: /health\r\nX-Rewrite-URL: /health\r\nX-HTTP-Method-Override: GET\r\n"
        sent = f"{head}{more}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        codes = raw(scene.live, sent)
        assert codes and codes[0] in (400, 401, 404, 405), (target, host, codes)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_a_request_behind_another_one_needs_its_own_key(scene: Scene, path: str) -> None:
    """The second of two on a connection comes through ASGI, not past it; the first one's key is not its own."""
    body = json.dumps(ASK | {"prompt": "a", "input": "a"}).encode()
    owner = f"Authorization: Bearer {scene.secrets['owner']}\r\n"
    common = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    first = f"GET /versions HTTP/1.1\r\nHost: localhost\r\n{owner}\r\n".encode()
    second = f"POST {path} HTTP/1.1\r\n{common}\r\n".encode() + body
    assert raw(scene.live, first + second, 2) == [200, 401]
    assert raw(scene.live, f"POST {path} HTTP/1.1\r\n{common}{owner}\r\n".encode() + body)[0] != 401
