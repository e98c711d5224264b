"""Every team has versions of its own: trained, searched with, activated, rolled back, compared, never another's."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import select

from tests.loop.test_photo_training import ENCODER, Shop
from tuneloop import versions
from tuneloop.choose import experiments
from tuneloop.db.photo_tables import photo_queries
from tuneloop.errors import BadInput, Conflict, Damaged, Missing, Refused
from tuneloop.loop import photo_comparison, photo_people, photo_switch, photo_training, photo_version
from tuneloop.loop.photo_version import kind_of
from tuneloop.loop.photos import Finder
from tuneloop.records import Verdict, Version
from tuneloop.tune.image_map import ImageMap
from tuneloop.versions import START
from tuneloop.workspace import Workspace

NOBODY, RED = "", "red"


def made(workspace: Workspace, name: str, tenant: str = "", decision: str = "promote") -> Version:
    """A version of the team with a map of its own."""
    staging = workspace.folder("models") / f".{name}{tenant}.part"
    staging.mkdir()
    nothing = np.zeros(40, np.float32)
    card = {"name": name, "tenant": tenant}
    photo_version.save(staging, ImageMap(nothing, nothing, None), encoder=ENCODER, threshold=-1.0, card=card)
    version = versions.register(workspace, staging, kind=kind_of(tenant), name=name, meta={"tenant": tenant})
    versions.judge(workspace, version, Verdict(decision, "because"))  # type: ignore[arg-type]
    return photo_switch.find(workspace, version.id, tenant=tenant)


def searching(workspace: Workspace, tenant: str = "") -> str:
    return Finder(workspace, tenant=tenant).state().version or START


def test_two_teams_train_and_each_searches_with_its_own(workspace: Workspace) -> None:
    trained = {}
    for seed, tenant in enumerate((NOBODY, RED)):
        Shop(workspace, seed=seed, tenant=tenant).many(150)
        trained[tenant] = photo_training.train(workspace, tenant=tenant)
        assert trained[tenant].active, trained[tenant].verdict
    for tenant, done in trained.items():
        assert searching(workspace, tenant) == done.version.id
        assert [v.id for v in photo_switch.listed(workspace, tenant=tenant)] == [done.version.id]
        assert photo_training.report(workspace, tenant=tenant)["version"] == done.version.id
        state = Finder(workspace, tenant=tenant).state()
        own = photo_version.load(workspace, done.version.id, tenant=tenant).map
        assert np.array_equal(state.map.query_centre, own.query_centre)
    photo_switch.roll_back(workspace, tenant=RED)
    assert (searching(workspace), searching(workspace, RED)) == (trained[NOBODY].version.id, START)


def test_another_teams_version_is_not_there(workspace: Workspace) -> None:
    mine, theirs = made(workspace, "a"), made(workspace, "a", RED)
    assert mine.id != theirs.id
    photo_switch.activate(workspace, theirs.id, tenant=RED)
    assert photo_switch.active(workspace) is None
    for reference in (theirs.id, theirs.id[:8]):
        with pytest.raises(Missing, match="no version"):
            photo_switch.activate(workspace, reference, force=True, note="mine now")
        with pytest.raises(Missing):
            photo_version.load(workspace, reference)
        with pytest.raises(Missing):
            photo_comparison.begin(workspace, "start", reference)
    with pytest.raises(Missing, match="searched before"):
        photo_switch.roll_back(workspace)
    photo_switch.activate(workspace, mine.id)
    photo_switch.activate(workspace, START)
    assert photo_switch.active(workspace, tenant=RED) == versions.find(workspace, theirs.id, kind="photos:red")


def test_the_first_version_is_rolled_back_to_start(workspace: Workspace) -> None:
    Shop(workspace)
    one, two = made(workspace, "one"), made(workspace, "two")
    assert photo_switch.before(workspace) is None and searching(workspace) == START
    for version in (one, two):
        assert photo_switch.activate(workspace, version.id) == version.id
    went = []
    for expected in (one.id, START):
        assert photo_switch.before(workspace) == expected
        went.append(photo_switch.roll_back(workspace, note="worse"))
        assert searching(workspace) == went[-1]
    assert went == [one.id, START]
    with pytest.raises(Missing, match="searched before"):
        photo_switch.roll_back(workspace)
    last = versions.events(workspace)[-1]
    assert (last["version"], last["event"], last["previous"], last["note"]) == (START, "rolled_back", one.id, "worse")
    photo_switch.activate(workspace, two.id)
    assert photo_switch.before(workspace) == START, "start is what searched before it this time"


def test_start_is_activated_and_rolled_back_like_a_version(workspace: Workspace) -> None:
    Shop(workspace)
    one, two = made(workspace, "one"), made(workspace, "two")
    assert photo_switch.activate(workspace, START) == START, "it searches already"
    photo_switch.activate(workspace, one.id)
    photo_switch.activate(workspace, two.id)
    assert photo_switch.activate(workspace, START, note="I wonder") == START and searching(workspace) == START
    assert photo_switch.activate(workspace, START) == START
    assert versions.events(workspace)[-1]["note"] == "I wonder", "the same again is no event"
    assert [photo_switch.roll_back(workspace) for _n in range(3)] == [two.id, one.id, START]


def test_an_order_to_roll_back_goes_back_once(workspace: Workspace) -> None:
    one, two = made(workspace, "one"), made(workspace, "two")
    for version in (one, two):
        photo_switch.activate(workspace, version.id)
    assert photo_switch.roll_back(workspace, of=two.id) == one.id
    for old in (two.id, START):
        with pytest.raises(Conflict, match="does not search any more"):
            photo_switch.roll_back(workspace, of=old)
    with pytest.raises(Conflict, match="not active any more"):
        versions.leave(workspace, two, event="rolled_back")
    assert photo_switch.roll_back(workspace, of=one.id) == START


def test_the_gate_and_the_files_are_asked_of_a_teams_version_too(workspace: Workspace) -> None:
    bad = made(workspace, "bad", RED, "refuse")
    with pytest.raises(Refused):
        photo_switch.activate(workspace, bad.id, tenant=RED)
    photo_switch.activate(workspace, bad.id, tenant=RED, force=True, note="I know")
    good = made(workspace, "good", RED)
    photo_switch.activate(workspace, good.id, tenant=RED)
    (workspace.path / bad.path / "card.json").write_text("{}")
    with pytest.raises(Damaged):
        photo_switch.roll_back(workspace, tenant=RED)
    assert photo_switch.active(workspace, tenant=RED) == photo_switch.find(workspace, good.id, tenant=RED)


def test_a_comparison_and_its_end_are_the_teams(workspace: Workspace) -> None:
    for tenant in (NOBODY, RED):
        Shop(workspace, tenant=tenant)
    mine = made(workspace, "mine")
    photo_switch.activate(workspace, mine.id)
    one = made(workspace, "one", RED)
    begun = photo_comparison.begin(workspace, "start", one.id, tenant=RED)
    finder = Finder(workspace, tenant=RED)
    assert {finder.state(f"u{n}").version for n in range(30)} == {"", one.id}
    assert {Finder(workspace).state(f"u{n}").version for n in range(30)} == {mine.id}
    ended = experiments.promote(workspace, begun, arm="b")
    photo_comparison.settle(workspace, ended, one.id)
    assert searching(workspace, RED) == one.id
    back = experiments.roll_back(workspace, ended)
    photo_comparison.settle(workspace, back, START)
    assert (searching(workspace, RED), searching(workspace)) == (START, mine.id)
    photo_switch.activate(workspace, one.id, tenant=RED)
    again = photo_comparison.begin(workspace, "active", "start", tenant=RED, name="is it worth it")
    assert [arm.variant for arm in again.arms] == [one.id, START]
    with pytest.raises(BadInput, match="two different"):
        photo_comparison.begin(workspace, "active", one.id, tenant=RED)


def test_who_is_forgotten_hears_of_the_own_teams_versions(workspace: Workspace) -> None:
    shops = {tenant: Shop(workspace, tenant=tenant, seed=n) for n, tenant in enumerate((NOBODY, RED))}
    for tenant, shop in shops.items():
        shop.many(24)
        photo_training.train(workspace, tenant=tenant)
    told = photo_people.forget(workspace, "user1", tenant=RED)
    (version,) = photo_switch.listed(workspace, tenant=RED)
    assert told.versions == (version.id,) and told.clicks
    with workspace.db.read() as rows:
        left = rows.execute(select(photo_queries.c.tenant).where(photo_queries.c.user == "user1")).scalars().all()
    assert set(left) == {NOBODY}
