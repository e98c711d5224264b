"""Choosing and judging a rung: nobody is on both sides, noise is not promoted, real learning is seen."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tune.test_image_map import PRODUCTS, world
from tuneloop.tune import image_ladder
from tuneloop.tune.image_ladder import Catalogue, choose, fit, judge, product_scores, ranks, threshold
from tuneloop.tune.image_map import Clicks, centred


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 80), st.integers(2, 5))
def test_groups_and_products_never_stand_on_both_sides(seed: int, n: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.integers(-1, 9, n)
    groups = rng.integers(0, n, n)
    clicks = Clicks(rng.normal(size=(n, 3)).astype(np.float32), right, [np.zeros(0, np.intp)] * n)
    met: list[int] = []
    for training, seen, unseen in image_ladder._folds(clicks, groups, count, seed):
        for held in (seen, unseen):
            assert not set(groups[training]) & set(groups[held])
            assert (right[held] >= 0).all()
        assert not set(right[training]) & set(right[unseen]) - {-1}
        assert set(right[seen]) <= set(right[training])
        met += unseen.tolist()
    assert sorted(met) == np.flatnonzero(right >= 0).tolist()  # every known photo is once of an unseen product


def test_learning_is_found_and_measured() -> None:
    items, clicks, asked = world()
    catalogue = Catalogue(items, np.arange(PRODUCTS), PRODUCTS)
    start, groups = centred(items, photos=clicks.queries), np.arange(len(clicks.right))
    rung = choose(start, catalogue, clicks, groups)
    assert rung != image_ladder.LADDER[0]
    held = judge(start, catalogue, clicks, groups)
    for part in held.values():
        assert (part.after == 0).mean() > (part.before == 0).mean() + 0.1
    made = fit(rung, start, catalogue, clicks)
    assert (ranks(made, catalogue, asked) == 0).mean() > (ranks(start, catalogue, asked) == 0).mean() + 0.1


def test_only_photos_that_the_rival_did_not_learn_from_are_asked() -> None:
    items, clicks, _asked = world()
    catalogue = Catalogue(items, np.arange(PRODUCTS), PRODUCTS)
    fair = np.arange(len(clicks.right)) % 3 == 0
    held = judge(centred(items), catalogue, clicks, np.arange(len(fair)), fair=fair)
    assert len(held["unseen"].product) == fair.sum()


def test_a_large_catalogue_is_learned_against_its_neighbours(monkeypatch: object) -> None:
    items, clicks, _asked = world()
    catalogue = Catalogue(np.repeat(items, 40, axis=0), np.repeat(np.arange(PRODUCTS), 40), PRODUCTS)
    near = image_ladder._near(centred(items), catalogue, clicks.some(np.arange(6)))
    assert len(near) == image_ladder.MOST_ITEMS and (np.diff(near) > 0).all()
    assert set(np.flatnonzero(catalogue.owners == 0)) <= set(near.tolist())  # the clicked product's own pictures


def test_scores_of_a_product_are_those_of_its_nearest_picture() -> None:
    items, clicks, _asked = world()
    start = centred(items)
    twice = Catalogue(np.concatenate([items[:1], items]), np.r_[0, np.arange(PRODUCTS)], PRODUCTS + 1)
    once = product_scores(start, Catalogue(items, np.arange(PRODUCTS), PRODUCTS), clicks.queries)
    found = product_scores(start, twice, clicks.queries)
    assert np.allclose(found[:, :-1], once) and np.isneginf(found[:, -1]).all()


def test_the_threshold_keeps_nine_of_ten_and_refuses_strangers() -> None:
    rng = np.random.default_rng(0)
    cut, kept, refused = threshold(rng.normal(0.7, 0.05, 200), rng.normal(0.3, 0.05, 200))
    assert 0.5 < cut < 0.7 and kept >= 0.9 and refused > 0.99
    nothing = np.zeros(0, np.float32)
    assert threshold(nothing, nothing)[0] == -1.0
