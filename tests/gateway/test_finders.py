"""A server prepares its first photo search once it listens; one without a catalogue loads nothing for it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from tests.gateway.live import configured, running, until
from tests.gateway.process import serve
from tests.search import shop
from tuneloop.encoders.choice import open_encoder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.workspace import Workspace, open_workspace


def with_catalogue(folder: Path, *teams: str) -> Workspace:
    shop.write(folder / "shop", photos=1, names=shop.NAMES[:4])
    configured(folder / "work", grace=0.5)
    workspace = open_workspace(folder / "work")
    for team in teams:
        found = catalogue_sources.read(folder / "shop" / "catalogue.csv")
        catalogue.put(workspace, found, open_encoder("classical"), source="shop", tenant=team)
    return workspace


def holds(process: int, library: str) -> bool:
    return library in Path(f"/proc/{process}/maps").read_text()


def test_every_team_with_a_catalogue_is_prepared(tmp_path: Path) -> None:
    workspace = with_catalogue(tmp_path, "", "red")
    with running(workspace, None) as live:
        photos = live.server.desk.photos
        until(lambda: len(photos._words) == 2 and all(w.finder._states for w in photos._words.values()))
        assert live.get("/health").status_code == 200
    workspace.db.close()


def test_a_catalogue_that_cannot_be_searched_stops_no_server(tmp_path: Path) -> None:
    workspace = with_catalogue(tmp_path, "")
    (workspace.path / "tuneloop.toml").write_text('[serve]\ngrace = 0.5\n[photos]\nencoder = "/no/such/folder"\n')
    with running(open_workspace(workspace.path), None) as live:
        until(lambda: live.get("/catalogue/items").status_code == 200)
        assert live.post("/catalogue/search", {"text": "red"}).status_code in (404, 409, 422)
    workspace.db.close()


def test_only_a_server_with_a_catalogue_loads_what_a_search_needs(tmp_path: Path) -> None:
    with_catalogue(tmp_path, "").db.close()
    configured(tmp_path / "bare").db.close()
    with serve(tmp_path / "bare", group="photos") as bare, serve(tmp_path / "work", group="photos") as full:
        until(lambda: holds(full.process.pid, "/scipy/"), seconds=60)
        time.sleep(1)
        assert httpx.get(bare.url + "/health", trust_env=False).status_code == 200
        assert not holds(bare.process.pid, "/scipy/")


def test_the_bar_of_links_grows_with_the_first_catalogue(tmp_path: Path) -> None:
    configured(tmp_path / "work", grace=0.5).db.close()
    with running(open_workspace(tmp_path / "work"), None) as live:
        assert 'href="/photos"' not in live.get("/ask").text and 'href="/"' not in live.get("/ask").text
        with_catalogue(tmp_path, "red").db.close()
        assert 'href="/photos"' in live.get("/ask").text
