"""Two versions over live people: sticky, never mixed, decided by clicks, ended at once."""

# ruff: noqa: F401, F811  fixtures of another module

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from tests.loop.test_photos import made_version, photo, prepared, workspace  # fixtures
from tests.search import shop
from tuneloop import versions
from tuneloop.choose import experiments
from tuneloop.db.photo_tables import photo_queries
from tuneloop.db.tables import outcomes
from tuneloop.encoders.choice import open_encoder
from tuneloop.encoders.image import DIMENSIONS
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.loop import photo_clicks, photo_comparison, photo_people, photo_version
from tuneloop.loop.photos import Finder
from tuneloop.tune.image_map import ImageMap
from tuneloop.workspace import Workspace


def useless(workspace: Workspace) -> versions.Version:
    """A version whose map leaves one direction of all: what it finds first is hardly ever right."""
    matrix = np.zeros((DIMENSIONS, DIMENSIONS), np.float32)
    matrix[300, 300] = 1
    staging = workspace.folder("models") / ".useless.part"
    staging.mkdir()
    made = ImageMap(np.zeros(DIMENSIONS, np.float32), np.zeros(DIMENSIONS, np.float32), matrix)
    photo_version.save(staging, made, encoder=open_encoder("classical").name, threshold=-1.0, card={})
    return versions.register(workspace, staging, kind="photos", name="useless", meta={})


def values(workspace: Workspace) -> list[tuple[str, float]]:
    with workspace.db.read() as rows:
        return [(r.arm, r.value) for r in rows.execute(select(outcomes).order_by(outcomes.c.id))]


def test_everybody_keeps_their_version_and_its_vectors(workspace: Workspace, prepared: Path) -> None:
    one, two = made_version(workspace, 1), made_version(workspace, 2)
    versions.activate(workspace, one, force=True, note="test")
    made = photo_comparison.begin(workspace, one.id, two.id)
    finder, other = Finder(workspace), Finder(workspace)
    met: dict[str, set[str]] = {}
    for turn in range(3):
        for n in range(20):
            found = (finder, other)[turn % 2].search(photo(prepared, "red-ball"), user=f"user{n}")
            met.setdefault(f"user{n}", set()).add(found.version)
            arm = experiments.choose_arm(made, f"user{n}")
            assert arm is not None and found.version == arm.variant
            state = finder.state(f"user{n}")
            own = photo_version.load(workspace, found.version).map
            eye = np.eye(DIMENSIONS, dtype=np.float32)[:1]
            assert np.array_equal(state.map.items(eye), own.items(eye)), "the map of one, the products of another"
    assert {version for seen in met.values() for version in seen} == {one.id, two.id}
    assert all(len(seen) == 1 for seen in met.values())
    nobody = {finder.search(photo(prepared, "red-ball")).version for _n in range(12)}
    assert nobody == {one.id, two.id}, "without a name each search is a lot of its own"


def test_the_end_reaches_running_searches_at_once(workspace: Workspace, prepared: Path) -> None:
    one, two = made_version(workspace, 1), made_version(workspace, 2)
    versions.activate(workspace, one, force=True, note="test")
    made, finder = photo_comparison.begin(workspace, one.id, two.id), Finder(workspace)
    user = next(f"u{n}" for n in range(99) if experiments.choose_arm(made, f"u{n}").name == "b")  # type: ignore[union-attr]
    assert finder.search(photo(prepared, "red-ball"), user=user).version == two.id
    started = time.monotonic()
    ended = experiments.roll_back(workspace, made)
    photo_comparison.settle(workspace, ended, ended.arms[0].variant)
    assert finder.search(photo(prepared, "red-ball"), user=user).version == one.id
    assert time.monotonic() - started < 5
    again = photo_comparison.begin(workspace, one.id, two.id, name="again")
    ended = experiments.promote(workspace, again, arm="b")
    photo_comparison.settle(workspace, ended, two.id)
    assert versions.find(workspace, "active", kind="photos").id == two.id
    back = experiments.roll_back(workspace, ended)
    photo_comparison.settle(workspace, back, one.id)
    assert finder.search(photo(prepared, "red-ball"), user=user).version == one.id


def test_clicks_decide(workspace: Workspace, prepared: Path) -> None:
    """60 people each say which product is right: the version that finds nothing loses."""
    bad = useless(workspace)
    made = photo_comparison.begin(workspace, "start", bad.id, least=10)
    finder = Finder(workspace)
    names = [name.replace(" ", "-") for name in shop.NAMES]
    for n in range(90):
        product = names[n % len(names)]
        found = finder.search(photo(prepared, product, n % 2), user=f"user{n}")
        first = found.hits[0].item == product
        photo_clicks.record(workspace, found.query, "right" if first else "pointed", item=product, user=f"user{n}")
    said = experiments.look(workspace, made)
    found_first = {arm: [v for a, v in values(workspace) if a == arm] for arm in "ab"}
    assert sum(map(len, found_first.values())) == 90
    assert np.mean(found_first["a"]) > np.mean(found_first["b"]) + 0.2
    assert said.comparisons[0].metric == photo_comparison.METRIC and said.arm != "b"


def test_one_outcome_of_a_search_and_undo_takes_it_back(workspace: Workspace, prepared: Path) -> None:
    one, two = made_version(workspace, 1), made_version(workspace, 2)
    versions.activate(workspace, one, force=True, note="test")
    photo_comparison.begin(workspace, one.id, two.id)
    found = Finder(workspace).search(photo(prepared, "red-ball"), user="ann")
    first, second, third = (hit.item for hit in found.hits[:3])
    click = {"user": "ann"}
    photo_clicks.record(workspace, found.query, "wrong", item=third, **click)
    assert values(workspace) == [], "that the third is wrong says nothing of the first"
    photo_clicks.record(workspace, found.query, "wrong", item=first, **click)
    photo_clicks.record(workspace, found.query, "right", item=second, **click)
    photo_clicks.record(workspace, found.query, "right", item=second, **click)
    assert [v for _a, v in values(workspace)] == [0.0]
    photo_clicks.undo(workspace, found.query, item=first, **click)
    assert len(values(workspace)) == 1
    photo_clicks.undo(workspace, found.query, item=second, **click)
    assert values(workspace) == []
    photo_clicks.record(workspace, found.query, "right", item=first, **click)
    assert [v for _a, v in values(workspace)] == [1.0]
    photo_people.forget(workspace, "ann")
    assert values(workspace) == []
    with workspace.db.read() as rows:
        assert rows.execute(select(photo_queries)).first() is None


def test_searches_of_before_do_not_count(workspace: Workspace, prepared: Path) -> None:
    one, two = made_version(workspace, 1), made_version(workspace, 2)
    versions.activate(workspace, one, force=True, note="test")
    found = Finder(workspace).search(photo(prepared, "red-ball"), user="ann")
    photo_comparison.begin(workspace, one.id, two.id)
    photo_clicks.record(workspace, found.query, "right", item=found.hits[0].item, user="ann")
    assert values(workspace) == []


def test_what_cannot_be_compared(workspace: Workspace) -> None:
    one, two = made_version(workspace, 1), made_version(workspace, 2)
    with pytest.raises(Conflict, match="does not search now"):
        photo_comparison.begin(workspace, one.id, two.id)
    with pytest.raises(Missing):
        photo_comparison.begin(workspace, "start", "nothing")
    with pytest.raises(BadInput, match="two different"):
        photo_comparison.begin(workspace, "start", "start")
    photo_comparison.begin(workspace, "start", one.id)
    with pytest.raises(Conflict):
        photo_comparison.begin(workspace, "start", two.id)  # one layer, all of its people are taken
