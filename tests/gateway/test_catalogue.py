"""Photo search over HTTP: search, look, click, propose; sizes, forms, teams, strangers' pages, and many at once."""

from __future__ import annotations

import io
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from sqlalchemy import func, select

from tests.gateway.live import Live, configured, running
from tests.search import shop, taught
from tuneloop.access import keys
from tuneloop.db.photo_tables import new_products, photo_feedback, photo_queries
from tuneloop.encoders.choice import open_encoder
from tuneloop.gateway import finders
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.search.catalogue_sources import Product
from tuneloop.workspace import Workspace, open_workspace, write_atomically


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder, photos=2, names=shop.NAMES[:12])
    workspace = configured(folder / "work", grace=0.5)
    found = catalogue_sources.read(folder / "catalogue.csv")
    catalogue.put(workspace, found, open_encoder("classical"), source="shop")
    workspace.db.close()
    return folder


@pytest.fixture
def live(prepared: Path, tmp_path: Path) -> Iterator[Live]:
    shutil.copytree(prepared / "work", tmp_path / "work")
    with running(open_workspace(tmp_path / "work"), None) as live:
        yield live
    live.workspace.db.close()


@pytest.fixture
def photo(prepared: Path) -> bytes:
    return (prepared / "photos" / "red-ball-0.jpg").read_bytes()


def search(live: Live, photo: bytes, *, key: str = "", headers: dict[str, str] | None = None, **fields: Any) -> Any:
    headers = (headers or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    return httpx.post(
        live.url + "/catalogue/search",
        files={"photo": ("photo", photo)},
        data={name: str(value) for name, value in fields.items()},
        headers=headers,
        timeout=60,
        trust_env=False,
    )


def count(workspace: Workspace, table: Any) -> int:
    with workspace.db.read() as rows:
        return int(rows.execute(select(func.count()).select_from(table)).scalar_one())


def test_a_photo_finds_products_with_pictures(live: Live, photo: bytes) -> None:
    found = search(live, photo, k=3, user="ann").json()
    assert found["known"] is True and found["method"] == "photo" and len(found["results"]) == 3
    first = found["results"][0]
    assert set(first) == {"item", "name", "category", "price", "similarity", "picture"}
    assert [one["similarity"] for one in found["results"]] == sorted(
        (one["similarity"] for one in found["results"]), reverse=True
    )
    for size, side in (("full", 200), ("small", 200)):
        reply = live.get(first["picture"], params={"size": size})
        opened = Image.open(io.BytesIO(reply.content))
        assert (opened.format, opened.size) == ("JPEG", (side, side)) and reply.headers["content-type"] == "image/jpeg"
        assert reply.headers["x-content-type-options"] == "nosniff" and "private" in reply.headers["cache-control"]
    with live.workspace.db.read() as rows:
        row = rows.execute(select(photo_queries)).one()
    assert (row.id, row.user, row.known) == (found["id"], "ann", True)
    inside = search(live, photo, category="BOTTLE", k=12).json()["results"]
    assert {one["category"] for one in inside} == {"bottle"} and len(inside) == 3


def test_a_small_picture_is_small_and_made_once(live: Live, tmp_path: Path) -> None:
    Image.new("RGB", (1500, 700), (10, 200, 30)).save(tmp_path / "wide.png")
    product = Product("wide/one", "Wide", pictures=(tmp_path / "wide.png",))
    catalogue.put(live.workspace, [product], open_encoder("classical"))
    shown = live.get("/catalogue/items/wide/one").json()
    for _time in range(2):
        small = Image.open(io.BytesIO(live.get(shown["pictures"][0], params={"size": "small"}).content))
        assert small.size == (320, 149)
    assert Image.open(io.BytesIO(live.get(shown["pictures"][0]).content)).size == (1024, 478)
    assert len(list((live.workspace.path / "photos").rglob("*.small.jpg"))) == 1


def test_items_are_paged_and_named(live: Live) -> None:
    seen, offset = [], 0
    while offset is not None:
        page = live.get("/catalogue/items", params={"limit": 5, "offset": offset}).json()
        assert page["total"] == 12
        seen += [one["id"] for one in page["data"]]
        offset = page["next"]
    assert seen == sorted(seen) and len(set(seen)) == 12
    named = live.get("/catalogue/items", params={"words": "ST gre"}).json()
    assert [one["id"] for one in named["data"]] == ["green-star"] and named["next"] is None
    assert live.get("/catalogue/items", params={"category": "Box", "words": "  "}).json()["total"] == 3
    one = live.get("/catalogue/items/green-star").json()
    assert (one["name"], one["price"], one["state"]) == ("green star", "10.50", "active") and one["pictures"]
    assert live.get("/catalogue/items/none").status_code == 404
    catalogue.retire(live.workspace, "green-star")
    assert live.get("/catalogue/items", params={"words": "green star"}).json()["total"] == 0
    assert live.get("/catalogue/items/green-star").json()["state"] == "retired"


def test_clicks_count_once_and_at_the_next_search(live: Live, photo: bytes) -> None:
    found = search(live, photo, user="ann").json()
    wanted = found["results"][3]["item"]
    said = {"query": found["id"], "verdict": "pointed", "item": wanted, "user": "ann"}
    ids = {live.post("/catalogue/feedback", said).json()["id"] for _time in range(3)}
    assert len(ids) == 1 and count(live.workspace, photo_feedback) == 1
    assert search(live, photo, user="bob").json()["results"][0]["item"] == wanted
    assert live.post("/catalogue/feedback", said | {"verdict": "wrong"}).status_code == 409
    back = {"query": found["id"], "item": wanted, "user": "ann"}
    assert [live.post("/catalogue/feedback/undo", back).json() for _time in range(2)] == [
        {"undone": True},
        {"undone": False},
    ]
    assert [one["item"] for one in search(live, photo).json()["results"]] == [one["item"] for one in found["results"]]
    assert live.post("/catalogue/feedback", said | {"verdict": "wrong"}).status_code == 200
    for verdict, more in (("absent", {}), ("comment", {"text": "хорошо"}), ("comment", {"item": wanted, "text": "да"})):
        assert live.post("/catalogue/feedback", {"query": found["id"], "verdict": verdict, **more}).status_code == 200
    bad = ({"verdict": "right"}, {"verdict": "absent", "item": wanted}, {"verdict": "comment"}, {"verdict": "great"})
    for body in bad:
        assert live.post("/catalogue/feedback", {"query": found["id"], **body}).status_code == 400, body
    for body in (said | {"query": "pq-none"}, said | {"item": "none"}):
        assert live.post("/catalogue/feedback", body).status_code == 404


def test_a_proposal_waits_for_an_admin(live: Live, photo: bytes) -> None:
    found = search(live, photo, user="ann").json()
    said = {"query": found["id"], "name": "Red balloon", "category": "toys", "price": "3", "user": "ann"}
    first, again = (live.post("/catalogue/proposals", said).json() for _time in range(2))
    other = live.post("/catalogue/proposals", said | {"name": "Other"}).json()
    assert first == again != other and count(live.workspace, new_products) == 2
    waiting = live.get("/catalogue/proposals").json()["data"]
    assert [one["name"] for one in waiting] == ["Red balloon", "Other"]
    assert live.get(waiting[0]["picture"]).headers["content-type"] == "image/jpeg"
    made = live.post(f"/catalogue/proposals/{first['id']}", {"decision": "approve"}).json()
    assert made["state"] == "approved" and made["item"]["name"] == "Red balloon"
    assert live.post(f"/catalogue/proposals/{first['id']}", {"decision": "reject"}).status_code == 409
    assert live.post(f"/catalogue/proposals/{other['id']}", {"decision": "reject"}).json()["state"] == "rejected"
    assert live.post("/catalogue/proposals/np-none", {"decision": "approve"}).status_code == 404
    assert search(live, photo).json()["results"][0]["name"] == "Red balloon"
    assert live.get("/catalogue/items", params={"words": "balloon"}).json()["total"] == 1


def test_words_search_names_where_the_encoder_knows_no_text(live: Live) -> None:
    found = live.post("/catalogue/search", {"text": " red  ball ", "k": 3}).json()
    assert (found["id"], found["known"], found["method"]) == (None, None, "names")
    assert [one["item"] for one in found["results"]] == ["red-ball"]
    form = httpx.post(
        live.url + "/catalogue/search", files={"text": (None, "green"), "k": (None, "2")}, trust_env=False
    )
    assert [one["item"] for one in form.json()["results"]] == ["green-ball", "green-bottle"]
    assert live.post("/catalogue/search", {"text": "red", "category": "hats"}).status_code == 400
    assert count(live.workspace, photo_queries) == 0


def test_words_search_pictures_where_the_encoder_knows_text(prepared: Path, tmp_path: Path) -> None:
    model = taught.write(tmp_path, steps=0)
    workspace = configured(tmp_path / "work", grace=0.5)
    write_atomically(workspace.path / "tuneloop.toml", f'[photos]\nencoder = "{model}"\n')
    workspace = open_workspace(tmp_path / "work")
    found = catalogue_sources.read(prepared / "catalogue.csv")
    catalogue.put(workspace, found, open_encoder(str(model)), source="shop")
    with running(workspace, None) as live:
        found = live.post("/catalogue/search", {"text": "green star", "k": 3}).json()
        assert (found["method"], found["id"], found["known"], len(found["results"])) == ("pictures", None, None, 3)
        assert found["results"][0]["similarity"] >= found["results"][2]["similarity"] >= -1
        photo = (prepared / "pictures" / "red-ball.png").read_bytes()
        assert search(live, photo, k=1).json()["method"] == "photo"


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"GIF89a" + bytes(100), 400, "GIF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 400, "damaged"),
        (b"<svg onload='alert(1)'/>", 400, "SVG"),
        (b"x" * 20_200_000, 413, "larger"),
    ],
)
def test_what_is_no_photo_is_one_error(live: Live, content: bytes, status: int, said: str) -> None:
    reply = search(live, content)
    assert reply.status_code == status and said in reply.json()["error"]["message"], reply.text
    assert count(live.workspace, photo_queries) == 0


def test_forms_that_say_nothing_sensible(live: Live, photo: bytes) -> None:
    url = live.url + "/catalogue/search"
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    assert search(live, photo, k="many").json()["error"]["param"] == "k"
    assert search(live, photo, k=-1).status_code == search(live, photo, text="red").status_code == 400
    assert (
        live.post("/catalogue/search", {}).status_code == live.post("/catalogue/search", {"text": 5}).status_code == 400
    )
    for body, headers, status in (
        (b"", form, 400),
        (b"--B\r\n", form, 400),
        (b"{}", {"Content-Type": "multipart/form-data"}, 400),
        (photo, {"Content-Type": "image/jpeg"}, 415),
        (b"{", {"Content-Type": "application/json"}, 400),
        (b'{"text": "%s"}' % (b"x" * 200_000), {"Content-Type": "application/json"}, 413),
        (b'{"text": "\\ud800"}', {"Content-Type": "application/json"}, 400),
    ):
        reply = httpx.post(url, content=body, headers=headers, trust_env=False)
        assert reply.status_code == status and "error" in reply.json(), (body[:40], reply.text)


def test_a_body_without_an_end_is_not_read_on(live: Live) -> None:
    """A length of 100 GB is believed no further than the limit, and the connection ends."""
    port = int(live.url.rpartition(":")[2])
    head = "POST /catalogue/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n"
    start = b'--B\r\nContent-Disposition: form-data; name="photo"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: 100000000000\r\n\r\n".encode() + start)
        sent = 0
        try:
            while sent < 60_000_000:
                sent += connection.send(bytes(1 << 20))
        except OSError:
            return
        assert b" 413 " in connection.recv(1000)


def test_a_strangers_page_may_not_search_where_no_key_is_needed(live: Live, photo: bytes) -> None:
    for origin in ("http://evil.example", "null", "http://localhost:1"):
        assert search(live, photo, headers={"Origin": origin}).status_code == 403, origin
    assert search(live, photo, headers={"Origin": live.url}).status_code == 200
    assert search(live, photo, headers={"Host": "evil.example"}).status_code == 400


def test_without_a_catalogue_it_is_said_what_to_do(tmp_path: Path, photo: bytes) -> None:
    with running(configured(tmp_path / "work", grace=0.5), None) as live:
        for reply in (
            search(live, photo),
            live.post("/catalogue/search", {"text": "red"}),
            live.get("/catalogue/items"),
        ):
            assert reply.status_code == 409 and "tuneloop photos import" in reply.json()["error"]["message"]


def test_teams_have_catalogues_of_their_own(live: Live, photo: bytes, prepared: Path) -> None:
    key = {team: keys.create(live.workspace, tenant=team, name="k", role="admin")[1] for team in ("red", "blue", "")}
    narrow = keys.create(live.workspace, name="n", role="user", scopes=["t"])[1]
    wide = keys.create(live.workspace, name="w", role="user", scopes=["t", "photos:catalogue"])[1]
    live.server.desk.doorkeeper.forget()
    file = prepared / "pictures" / "red-ball.png"
    catalogue.put(
        live.workspace, [Product("r", "Red's own", pictures=(file,))], open_encoder("classical"), tenant="red"
    )
    mine = search(live, photo, key=key["red"]).json()
    assert [one["name"] for one in mine["results"]] == ["Red's own"]
    assert search(live, photo, key=key["blue"]).status_code == 409
    assert "Red's own" not in search(live, photo, key=key[""], k=100).text

    def as_(who: str) -> dict[str, Any]:
        return {"headers": {"Authorization": f"Bearer {who}"}}

    theirs = {"query": mine["id"], "verdict": "right", "item": "r"}
    assert live.post("/catalogue/feedback", theirs, **as_(key["blue"])).status_code == 404
    assert live.get("/catalogue/items/r", **as_(key["blue"])).status_code == 404
    # the same file is a picture of both catalogues, so that only a picture of one of them tells
    own = live.get("/catalogue/items/green-star", **as_(key[""])).json()["pictures"][0]
    assert live.get(own, **as_(key["red"])).status_code == 404
    assert live.get(own, **as_(narrow)).status_code == 403 and search(live, photo, key=narrow).status_code == 403
    assert live.get(own, **as_(wide)).status_code == 200 and search(live, photo, key=wide).status_code == 200


def test_many_at_once_share_a_finder_and_leave_the_loop_free(live: Live, prepared: Path) -> None:
    photos = sorted((prepared / "photos").glob("*.jpg"))[:16]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda path: search(live, path.read_bytes()), photos))
        assert live.get("/health").elapsed.total_seconds() < 1
    assert {reply.status_code for reply in found} == {200}
    assert len(live.server.desk.photos._words) == 1 and count(live.workspace, photo_queries) == 16


def test_too_many_at_once_are_told_to_wait(live: Live, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finders, "WAITING", -finders.AT_ONCE)
    reply = search(live, photo)
    assert reply.status_code == 503 and int(reply.headers["retry-after"]) >= 1


def test_a_person_is_shown_and_forgotten(live: Live, photo: bytes) -> None:
    found = search(live, photo, user="web:0123456789abcdef").json()
    said = {"query": found["id"], "verdict": "right", "item": "red-ball", "user": "web:0123456789abcdef"}
    assert live.post("/catalogue/feedback", said).status_code == 200
    search(live, photo, user="ann")
    admin, user = (keys.create(live.workspace, name=role, role=role)[1] for role in ("admin", "user"))
    live.server.desk.doorkeeper.forget()

    def ask(method: str, name: str, key: str) -> httpx.Response:
        told = {"Authorization": f"Bearer {key}"}
        return httpx.request(method, f"{live.url}/catalogue/people/{name}", headers=told, trust_env=False)

    kept = ask("GET", said["user"], user).json()
    assert [len(kept[name]) for name in ("searches", "clicks", "proposals")] == [1, 1, 0]
    assert ask("GET", "ann", user).status_code == ask("DELETE", "ann", user).status_code == 403
    gone = ask("DELETE", said["user"], user).json()
    assert (gone["searches"], gone["clicks"], gone["photos"]) == (1, 1, 0)  # ann sent the same photo
    assert ask("DELETE", "ann", admin).json()["photos"] == 1
    assert count(live.workspace, photo_queries) == count(live.workspace, photo_feedback) == 0


def test_one_person_searches_as_often_as_is_set(prepared: Path, tmp_path: Path, photo: bytes) -> None:
    shutil.copytree(prepared / "work", tmp_path / "work")
    write_atomically(tmp_path / "work/tuneloop.toml", '[access]\nlimit_user = "2/minute"\n[serve]\ngrace = 0.5\n')
    with running(open_workspace(tmp_path / "work"), None) as live:
        assert [search(live, photo, user="ann").status_code for _time in range(3)] == [200, 200, 429]
        assert [search(live, photo).status_code for _time in range(3)] == [200, 200, 429]  # by address
        assert search(live, photo, user="bob").status_code == 200
