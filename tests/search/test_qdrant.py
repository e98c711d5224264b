"""Photo search beside a Qdrant server, through Qdrant's own client: the same answers, and exact search without it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.search import shop
from tests.search.qdrant_server import Qdrant, qdrant
from tuneloop import versions
from tuneloop.encoders.choice import open_encoder
from tuneloop.loop import photo_clicks, photo_version
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue, catalogue_sources, vectors
from tuneloop.search import qdrant as ours
from tuneloop.search.index import top
from tuneloop.tune.image_map import ImageMap
from tuneloop.workspace import Workspace, open_workspace, write_atomically

pytest.importorskip("qdrant_client")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder, photos=1)
    workspace = open_workspace(folder / "work", create=True)
    catalogue.put(workspace, catalogue_sources.read(folder / "catalogue.csv"), open_encoder("classical"), source="shop")
    workspace.db.close()
    return folder


@pytest.fixture
def server() -> Iterator[Qdrant]:
    with qdrant() as server:
        yield server


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path, server: Qdrant) -> Workspace:
    shutil.copytree(prepared / "work", tmp_path / "work")
    write_atomically(tmp_path / "work/tuneloop.toml", f'[photos]\nqdrant_url = "{server.url}"\n')
    return open_workspace(tmp_path / "work")


def photos(prepared: Path) -> list[Path]:
    return sorted((prepared / "photos").glob("*.jpg"))


def settled(finder: Finder, photo: Path) -> Finder:
    """The first search sends the copy on its way; from the end of that on Qdrant is asked."""
    finder.search(photo)
    assert finder.qdrant is not None
    finder.qdrant.settle(10)
    return finder


def names(finder: Finder, photo: Path) -> list[str]:
    return [hit.item for hit in finder.search(photo).hits]


def asked(server: Qdrant) -> int:
    return sum(line.endswith("/points/query") for line in server.seen)


def test_answers_are_those_of_exact_search(
    workspace: Workspace, prepared: Path, server: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "CANDIDATES", 12)  # of 24, or nothing would be left out
    finder = settled(Finder(workspace), photos(prepared)[0])
    kept = vectors.keep(workspace, photos(prepared), finder.encoder)
    known, state = vectors.load(workspace, [one.id for one in kept], finder.encoder.name), finder.state()
    for vector in known.values():
        few, all_ = (finder._scores(state, vector, among_all=among) for among in (False, True))
        best = [product for product, _similarity in top(all_, 5)]
        assert [product for product, _similarity in top(few, 5)] == best
        assert np.allclose(few[best], all_[best], atol=1e-5) and np.isinf(few).sum() == 12
    assert asked(server) == 24
    ((name, held),) = server.collections.items()
    assert name.startswith("tuneloop-") and len(held["points"]) == 24
    finder.search(photos(prepared)[0], category="star")
    finder.search(photos(prepared)[0], k=24)
    assert asked(server) == 24  # of one category, or of many, exact search is the better one


def test_a_click_lifts_a_product_that_is_no_candidate(
    workspace: Workspace, prepared: Path, server: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "CANDIDATES", 5)
    finder = settled(Finder(workspace), photos(prepared)[0])
    last = Finder(workspace).search(photos(prepared)[0], k=24).hits[-1].item
    found = finder.search(photos(prepared)[0])
    photo_clicks.record(workspace, found.query, "pointed", item=last)
    before = asked(server)
    assert finder.search(photos(prepared)[0]).hits[0].item == last and asked(server) == before + 1


def test_versions_and_teams_never_share_a_collection(workspace: Workspace, prepared: Path, server: Qdrant) -> None:
    photo = photos(prepared)[0]
    finder = settled(Finder(workspace), photo)
    first = set(server.collections)
    catalogue.put(
        workspace, catalogue_sources.read(prepared / "catalogue.csv")[:6], finder.encoder, source="s", tenant="red"
    )
    settled(Finder(workspace, tenant="red"), photo)
    assert len(server.collections) == 2 and first < set(server.collections)
    state = finder.state()
    staging = workspace.folder("models") / ".staging"
    staging.mkdir()
    made = ImageMap(state.map.query_centre, state.map.item_centre + np.float32(0.01), None)
    photo_version.save(staging, made, encoder=finder.encoder.name, threshold=0.1, card={})
    version = versions.register(workspace, staging, kind="photos", name="v", meta={})
    versions.activate(workspace, version, note="n", force=True)
    settled(finder, photo)
    assert len(server.collections) == 2 and not first & set(server.collections)  # the old version's is gone
    before = len(server.seen)
    catalogue.retire(workspace, "red-ball")
    settled(finder, photo)
    changes = [line for line in server.seen[before:] if not line.endswith(("/scroll", "/exists", "/query"))]
    assert [line.rpartition("/")[2] for line in changes] == ["delete", "collections"]  # one point, nothing again
    assert finder.search(photo).version


def test_without_qdrant_exact_search_answers(workspace: Workspace, prepared: Path, server: Qdrant) -> None:
    photo = photos(prepared)[0]
    finder = settled(Finder(workspace), photo)
    expected = names(finder, photo)
    server.fail = True
    assert names(finder, photo) == expected
    tried = len(server.seen)
    assert names(finder, photo) == expected and len(server.seen) == tried  # left alone for a while
    server.fail = False
    assert finder.qdrant is not None
    finder.qdrant._rest = 0.0
    settled(finder, photo)
    before = asked(server)
    assert names(finder, photo) == expected and asked(server) == before + 1
    server.hang = 5.0
    started = time.monotonic()
    assert names(finder, photo) == expected
    assert time.monotonic() - started < 4


def test_nobody_listens(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared / "work", tmp_path / "work")
    write_atomically(tmp_path / "work/tuneloop.toml", '[photos]\nqdrant_url = "http://127.0.0.1:9"\n')
    finder = Finder(open_workspace(tmp_path / "work"))
    for photo in photos(prepared)[:3]:
        assert finder.search(photo).hits
    assert finder.qdrant is not None
    finder.qdrant.settle(10)
    assert finder.search(photos(prepared)[0]).hits
