"""A photo in, products out, on a made-up shop: search, clicks at once, states that never mix, tenants."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from tests.search import shop
from tuneloop import versions
from tuneloop.db.photo_tables import photo_queries
from tuneloop.encoders.choice import open_encoder
from tuneloop.encoders.image import DIMENSIONS
from tuneloop.errors import BadInput, NotEnoughData
from tuneloop.loop import photo_clicks, photo_version
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.tune.image_map import ImageMap
from tuneloop.versions import register
from tuneloop.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the catalogue of the shop, copied for each test: encoding it takes a second."""
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder, photos=2)
    workspace = open_workspace(folder / "work", create=True)
    found = catalogue_sources.read(folder / "catalogue.csv")
    catalogue.put(workspace, found, open_encoder("classical"), source="shop", retire=True)
    workspace.db.close()
    return folder


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path) -> Workspace:
    import shutil

    shutil.copytree(prepared / "work", tmp_path / "work")
    return open_workspace(tmp_path / "work")


def photo(prepared: Path, name: str, n: int = 0) -> Path:
    return prepared / "photos" / f"{name}-{n}.jpg"


def test_a_search_answers_products_and_is_a_row(workspace: Workspace, prepared: Path) -> None:
    found = Finder(workspace).search(photo(prepared, "red-ball"), user="ann", k=3)
    assert len(found.hits) == 3 and found.known and found.version == ""
    assert found.hits[0].similarity >= found.hits[1].similarity >= found.hits[2].similarity
    with workspace.db.read() as rows:
        row = rows.execute(select(photo_queries)).one()
    assert (row.id, row.user, row.known) == (found.query, "ann", True)
    assert [i for i, _s in row.results] == [h.item for h in found.hits]
    assert (workspace.path / row.path).is_file() and (workspace.path / found.hits[0].picture).is_file()


def test_most_photos_of_the_shop_are_found_before_any_click(workspace: Workspace, prepared: Path) -> None:
    finder = Finder(workspace)
    names = [name.replace(" ", "-") for name in shop.NAMES]
    found = [finder.search(photo(prepared, name), k=5) for name in names]
    at_five = np.mean([name in [h.item for h in f.hits] for name, f in zip(names, found, strict=True)])
    assert at_five >= 0.6  # chance: 0.21


def test_a_click_counts_at_the_next_search_of_everybody(workspace: Workspace, prepared: Path) -> None:
    finder, other = Finder(workspace), Finder(workspace)
    first = finder.search(photo(prepared, "red-ball"), user="ann")
    wanted = first.hits[3].item
    other.search(photo(prepared, "red-ball", 1), user="bob")
    photo_clicks.record(workspace, first.query, "pointed", item=wanted, user="ann")
    for one in (finder, other):
        assert one.search(photo(prepared, "red-ball"), user="bob").hits[0].item == wanted
    photo_clicks.undo(workspace, first.query, item=wanted, user="ann")
    assert [h.item for h in finder.search(photo(prepared, "red-ball")).hits] == [h.item for h in first.hits]


def test_what_was_clicked_away_falls(workspace: Workspace, prepared: Path) -> None:
    finder = Finder(workspace)
    first = finder.search(photo(prepared, "blue-box"))
    photo_clicks.record(workspace, first.query, "wrong", item=first.hits[0].item)
    again = finder.search(photo(prepared, "blue-box"))
    assert again.hits[0].item == first.hits[1].item


def test_a_hundred_votes_of_one_user_weigh_as_much_as_one(workspace: Workspace, prepared: Path) -> None:
    finder = Finder(workspace)
    scores = []
    for n in range(4):
        found = finder.search(photo(prepared, "red-ball"), user="mob")
        scores.append(next(h.similarity for h in found.hits if h.item == found.hits[0].item))
        photo_clicks.record(workspace, found.query, "right", item=found.hits[0].item, user=f"mob{n}")
    assert scores[1] > scores[0] and np.ptp(scores[1:]) < 0.01


def test_catalogue_changes_reach_the_next_search(workspace: Workspace, prepared: Path) -> None:
    finder = Finder(workspace)
    first = finder.search(photo(prepared, "red-ball"), k=24)
    catalogue.retire(workspace, first.hits[0].item)
    again = finder.search(photo(prepared, "red-ball"), k=24)
    assert len(again.hits) == 23 and first.hits[0].item not in [h.item for h in again.hits]


def test_only_one_category(workspace: Workspace, prepared: Path) -> None:
    finder = Finder(workspace)
    found = finder.search(photo(prepared, "red-ball"), k=24, category="Bottle")
    assert {h.category for h in found.hits} == {"bottle"} and len(found.hits) == 6
    with pytest.raises(BadInput, match="no category"):
        finder.search(photo(prepared, "red-ball"), category="hats")


def test_bad_photos_leave_no_row(workspace: Workspace, tmp_path: Path) -> None:
    finder = Finder(workspace)
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match="empty"):
        finder.search(tmp_path / "x.jpg")
    with workspace.db.read() as rows:
        assert rows.execute(select(photo_queries)).first() is None


def test_without_a_catalogue_there_is_nothing_to_find(tmp_path: Path, prepared: Path) -> None:
    empty = open_workspace(tmp_path / "empty", create=True)
    with pytest.raises(NotEnoughData, match="no pictures yet"):
        Finder(empty).search(photo(prepared, "red-ball"))


def test_tenants_search_their_own_catalogue(workspace: Workspace, prepared: Path) -> None:
    with pytest.raises(NotEnoughData):
        Finder(workspace, tenant="other").search(photo(prepared, "red-ball"))
    few = [p for p in catalogue_sources.read(prepared / "catalogue.csv") if "box" in p.id]
    catalogue.put(workspace, few, open_encoder("classical"), tenant="other")
    found = Finder(workspace, tenant="other").search(photo(prepared, "red-ball"), k=24)
    assert len(found.hits) == 6
    with pytest.raises(Exception, match="no search"):
        photo_clicks.record(workspace, found.query, "absent")  # the default tenant did not ask that


def made_version(workspace: Workspace, turn: int) -> versions.Version:
    """A version whose map turns every vector: its products are others, so that mixing would show."""
    items = catalogue.items(workspace)
    d = DIMENSIONS
    matrix = np.roll(np.eye(d, dtype=np.float32), turn, axis=1)
    made = ImageMap(np.zeros(d, np.float32), np.zeros(d, np.float32), matrix)
    staging = workspace.folder("models") / f".made-{turn}.part"
    staging.mkdir()
    encoder = open_encoder("classical").name
    photo_version.save(staging, made, encoder=encoder, threshold=-1.0, card={"turn": turn, "items": len(items)})
    return register(workspace, staging, kind="photos", name=f"turn{turn}", meta={})


def test_activation_and_rollback_reach_running_searches_and_never_mix(workspace: Workspace, prepared: Path) -> None:
    one, two = made_version(workspace, 1), made_version(workspace, 2)
    versions.activate(workspace, one, force=True, note="test")
    finder, done, bad = Finder(workspace), threading.Event(), []

    def look() -> None:
        while not done.is_set():
            state = finder.state()
            version = photo_version.load(workspace, state.version)
            expected = version.map.items(np.eye(DIMENSIONS, dtype=np.float32)[:1])
            if not np.array_equal(state.map.items(np.eye(DIMENSIONS, dtype=np.float32)[:1]), expected):
                bad.append(state.version)

    threads = [threading.Thread(target=look) for _n in range(3)]
    for thread in threads:
        thread.start()
    for _n in range(6):
        versions.activate(workspace, two, force=True, note="test")
        assert finder.search(photo(prepared, "red-ball")).version == two.id
        versions.roll_back(workspace, kind="photos")
        assert finder.search(photo(prepared, "red-ball")).version == one.id
    done.set()
    for thread in threads:
        thread.join()
    assert bad == []


def test_a_version_with_other_files_does_not_search(workspace: Workspace, prepared: Path) -> None:
    one = made_version(workspace, 1)
    versions.activate(workspace, one, force=True, note="test")
    (workspace.path / one.path / "matrix.npy").write_bytes(b"changed")
    with pytest.raises(Exception, match="have changed"):
        Finder(workspace).search(photo(prepared, "red-ball"))


def test_a_lost_matrix_is_made_again(workspace: Workspace, prepared: Path) -> None:
    first = Finder(workspace).search(photo(prepared, "red-ball"))
    for file in (workspace.path / "photos/index").glob("*.npy"):
        file.write_bytes(b"")
    again = Finder(workspace).search(photo(prepared, "red-ball"))
    assert [h.item for h in again.hits] == [h.item for h in first.hits]


def test_pictures_that_are_gone_do_not_stop_the_search(workspace: Workspace, prepared: Path) -> None:
    """Their vectors are rows: products are found all the same, only without the expectation of shop photos."""
    for copy in (workspace.path / "photos").glob("??/*.jpg"):
        copy.unlink()
    found = Finder(workspace).search(photo(prepared, "red-ball"), k=24)
    assert len(found.hits) == 24
    assert not list((workspace.path / "photos/index").glob("shift-*")), "what was not made is not kept"


def test_the_first_searches_move_the_centre_and_read_the_catalogue_once(workspace: Workspace, prepared: Path) -> None:
    finder = Finder(workspace)
    before = finder.state()
    for name in shop.NAMES[:10]:
        finder.search(photo(prepared, name.replace(" ", "-")))
    after, fresh = finder.state(), Finder(workspace).state()
    assert after.items is before.items and after.index is before.index
    assert not np.allclose(after.map.query_centre, before.map.query_centre)
    assert np.allclose(after.map.query_centre, fresh.map.query_centre, atol=1e-6), "as if it was built anew"
    assert np.array_equal(after.map.item_centre, fresh.map.item_centre)
