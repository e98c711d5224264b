"""From clicks to a version: enough or not, people who disagree, the gate's words, kills, retraining, figures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select

from tuneloop import versions
from tuneloop.db.photo_tables import (
    catalogue_items,
    catalogue_pictures,
    photo_feedback,
    photo_queries,
    photo_trainings,
    picture_vectors,
)
from tuneloop.encoders.choice import open_encoder
from tuneloop.errors import Conflict, NotEnoughData
from tuneloop.loop import photo_training as training
from tuneloop.loop.photo_gate import verdict_of
from tuneloop.loop.photos import Finder, load_catalogue
from tuneloop.tune.image_ladder import Held
from tuneloop.workspace import Workspace, open_workspace

ENCODER = "classical-2"
PRODUCTS, D = 24, 40


class Shop:
    """Rows as a shop with many searches has them, without a picture: vectors of products and of photos."""

    def __init__(self, workspace: Workspace, *, nuisance: float = 5.0, seed: int = 0, tenant: str = "") -> None:
        self.workspace, self.tenant = workspace, tenant
        self.rng, self.nuisance = np.random.default_rng(seed), nuisance
        self.items = self.rng.normal(size=(PRODUCTS, D))
        self.spoilt = np.linalg.qr(self.rng.normal(size=(D, 4)))[0]
        self.asked = 0
        stamp = {"tenant": tenant, "category": "", "price": "", "description": "", "source": "", "changed": 0.0}
        ids = [f"i{n:02}" for n in range(PRODUCTS)]
        with workspace.db.write() as rows:
            rows.execute(
                insert(catalogue_items), [{"id": i, "name": i, "state": "active", "revision": 1, **stamp} for i in ids]
            )
            pictures = [{"tenant": tenant, "item": i, "id": f"pic-{tenant}{i}", "path": f"photos/{i}.jpg"} for i in ids]
            rows.execute(insert(catalogue_pictures), pictures)
            rows.execute(
                insert(picture_vectors),
                [self.vector(f"pic-{tenant}{i}", v) for i, v in zip(ids, self.items, strict=True)],
            )

    def vector(self, identity: str, values: np.ndarray) -> dict[str, Any]:
        return {"id": identity, "encoder": ENCODER, "vector": values.astype("<f4").tobytes(), "studio": False}

    def click(self, product: int, *said: tuple[str, int], user: str = "ann", noise: float = 0.5) -> None:
        """One photo of a product and what is said of it: ("right", 3) ..."""
        n, self.asked = self.asked, self.asked + 1
        photo = self.items[product] + 2 + self.rng.normal(0, self.nuisance, 4) @ self.spoilt.T
        photo = photo + self.rng.normal(0, noise, D)
        name = f"{self.tenant}{n}"
        query = {
            "id": f"q{name}", "tenant": self.tenant, "user": user, "time": 1e6 + 4000.0 * n, "photo": f"photo{name}",
            "path": "",
            "version": "", "encoder": ENCODER, "results": [], "known": True, "latency_ms": 5.0,
        }  # fmt: skip
        fresh = {"tenant": self.tenant, "text": "", "undone": None, "excluded": False, "quality": None, "used": ""}
        rows_ = [
            {"id": f"f{name}-{k}", "query": f"q{name}", "item": f"i{item:02}", "kind": "verdict", "verdict": verdict,
             "user": f"{user}{k}" if k else user, "time": 1e6 + 4000.0 * n, **fresh}
            for k, (verdict, item) in enumerate(said)
        ]  # fmt: skip
        with self.workspace.db.write() as rows:
            rows.execute(insert(photo_queries), [query])
            rows.execute(insert(picture_vectors), [self.vector(f"photo{name}", photo)])
            if rows_:
                rows.execute(insert(photo_feedback), rows_)

    def many(self, count: int, products: int = PRODUCTS) -> None:
        for n in range(count):
            self.click(n % products, ("right", n % products), user=f"user{n % 9}")


@pytest.fixture
def shop(workspace: Workspace) -> Shop:
    return Shop(workspace)


def trainings(workspace: Workspace) -> list[Any]:
    with workspace.db.read() as rows:
        return list(rows.execute(select(photo_trainings).order_by(photo_trainings.c.id)))


def test_too_few_examples_say_how_many_are_missing(workspace: Workspace, shop: Shop) -> None:
    shop.many(14)
    with pytest.raises(NotEnoughData, match=r"14 .* 20 are needed: 6 more"):
        training.train(workspace)
    shop.many(10, products=2)
    assert trainings(workspace) == [] and versions.history(workspace, kind="photos") == []


def test_clicks_on_three_products_are_not_enough_to_judge(workspace: Workspace, shop: Shop) -> None:
    shop.many(30, products=3)
    with pytest.raises(NotEnoughData, match="3 products"):
        training.train(workspace)


def test_what_helps_is_promoted_and_searches(workspace: Workspace, shop: Shop) -> None:
    shop.many(150)
    done = training.train(workspace)
    assert done.verdict.decision == "promote" and done.active, done.verdict
    figures = done.verdict.figures
    for part in ("seen", "unseen"):
        assert figures[part]["after"]["recall_1"] > figures[part]["before"]["recall_1"] + 0.02
        low, high = figures[part]["after"]["recall_1_interval"]
        assert low < figures[part]["after"]["recall_1"] <= high
    assert Finder(workspace).state().version == done.version.id
    (row,) = trainings(workspace)
    assert (row.state, row.version, row.examples) == ("done", done.version.id, 150) and row.after > row.before
    with workspace.db.read() as rows:
        assert set(rows.execute(select(photo_feedback.c.used)).scalars()) == {done.version.id}


def test_noise_is_not_promoted(workspace: Workspace) -> None:
    """Six shops whose clicks are random: at 5 % each, three promotions would be 0.2 % likely."""
    promoted = 0
    for seed in range(6):
        made = open_workspace(workspace.path / f"w{seed}", create=True)
        shop = Shop(made, nuisance=0.5, seed=seed)
        for n in range(60):
            shop.click(n % PRODUCTS, ("right", int(shop.rng.integers(PRODUCTS))), user=f"user{n % 9}")
        done = training.train(made)
        promoted += done.active
        assert done.active or (done.verdict.why and not versions.history(made, kind="photos")[0].active)
        made.db.close()
    assert promoted <= 2


def test_a_second_training_is_judged_on_photos_new_to_the_first(workspace: Workspace, shop: Shop) -> None:
    shop.many(120)
    first = training.train(workspace)
    assert first.active
    shop.many(48)
    second = training.train(workspace)
    assert second.verdict.figures["unseen"]["photos"] == 48
    assert second.verdict.decision in ("promote", "not enough data", "refuse")
    assert second.version.meta["examples"] == 168


def test_people_who_disagree_teach_nothing(workspace: Workspace, shop: Shop) -> None:
    items, _raw = load_catalogue(workspace, open_encoder("classical"))
    shop.click(1, ("right", 1), ("right", 2))
    shop.click(1, ("right", 1), ("right", 2), ("pointed", 2))
    shop.click(1, ("wrong", 5), ("wrong", 7))
    shop.click(1, ("right", 1), ("wrong", 1))
    found = training.examples(workspace, open_encoder("classical"), items)
    assert found.clicks.right.tolist() == [2, -1, 1] and found.known == 2
    assert found.clicks.wrong[1].tolist() == [5, 7] and found.clicks.wrong[2].tolist() == []


def test_one_sitting_and_near_duplicates_are_one_group(workspace: Workspace, shop: Shop) -> None:
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(5, 30)).astype(np.float32)
    queries[4] = queries[0] + 1e-3
    clicks = training.Clicks(queries, np.array([1, 2, 2, 2, 3]), [np.zeros(0, np.intp)] * 5)
    asked = [("ann", 0.0), ("ann", 10.0), ("ann", 100.0), ("ann", 5000.0), ("bob", 0.0)]
    groups = training.grouped(clicks, asked)
    assert groups[0] == groups[4] and groups[1] == groups[2] != groups[3]
    assert len(set(groups.tolist())) == 3


def held(product: list[int], before: list[int], after: list[int]) -> Held:
    nothing = np.zeros(len(product), np.float32)
    return Held(np.array(product), np.array(before), np.array(after), nothing, nothing)


def judged(better: int, worse: int, unseen: Held, same: int = 40) -> str:
    before = [1] * better + [0] * worse + [0] * same
    after = [0] * better + [1] * worse + [0] * same
    seen = held(list(range(len(before))), before, after)
    return verdict_of({"seen": seen, "unseen": unseen}, "map").decision


def test_the_gate_promotes_exactly_what_the_test_allows() -> None:
    fine = held(list(range(50)), [0] * 50, [0] * 50)
    # The smallest passing counts of McNemar's exact one-sided test at 5 %.
    for better, worse in ((5, 0), (7, 1), (9, 2), (10, 3), (12, 4), (13, 5)):
        assert judged(better, worse, fine) == "promote"
        assert judged(better - 1, worse, fine) == "not enough data"
    assert judged(0, 5, fine) == "refuse"


def test_the_gate_protects_products_without_clicks() -> None:
    worse = held(list(range(50)), [0] * 50, [1] * 5 + [0] * 45)
    assert judged(20, 0, worse) == "not enough data"
    assert judged(20, 0, held([], [], [])) == "not enough data"
    # Two of a hundred lost, all of one product: the bound is over products, not over photos.
    one = held([0] * 10 + list(range(1, 11)) * 9, [0] * 100, [1] * 4 + [0] * 96)
    assert judged(20, 0, one) == "not enough data"


def test_two_trainings_at_once_are_one(workspace: Workspace, shop: Shop) -> None:
    shop.many(30)
    with workspace.lock("photos-train"), pytest.raises(Conflict):
        training.train(workspace)


def test_a_killed_training_leaves_nothing_half_done(workspace: Workspace, shop: Shop) -> None:
    """kill -9 at several moments: no version listed that is not whole, no example marked, the next one says so."""
    shop.many(100)
    code = (
        "import sys; from pathlib import Path\n"
        "from tuneloop.workspace import open_workspace\n"
        "from tuneloop.loop import photo_training\n"
        "print('ready', flush=True)\n"
        "photo_training.train(open_workspace(Path(sys.argv[1])))\n"
    )
    for delay in (0.05, 0.3, 0.7):
        command = [sys.executable, "-c", code, str(workspace.path)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
        ) as child:
            assert child.stdout is not None and child.stdout.readline()
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
        for version in versions.history(workspace, kind="photos"):
            versions.check_files(workspace, version)
    done = training.train(workspace)
    versions.check_files(workspace, done.version)
    states = [t.state for t in trainings(workspace)]
    assert states[-1] == "done" and "running" not in states
    assert sum(v.active for v in versions.history(workspace, kind="photos")) <= 1


def test_the_report_shows_who_clicked(workspace: Workspace, shop: Shop) -> None:
    for n in range(6):
        shop.click(n, ("right", n), user="eve")
    shop.click(7, ("wrong", 3), user="ann")
    found = training.report(workspace)
    assert (found["products"], found["searches"], found["unused"]) == (PRODUCTS, 7, 7)
    assert found["verdicts"] == {"right": 6, "wrong": 1}
    assert found["people"][0] == {"user": "eve", "verdicts": 6, "share": 0.857}
