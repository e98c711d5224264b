"""The map of photo search: gradients against differences, the penalty's limits, what each rung is for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tuneloop.tune import image_map
from tuneloop.tune.image_map import Clicks, ImageMap, centred, learned, unit, without_nuisance

PRODUCTS, D = 30, 24


def world(seed: int = 0, d: int = D, per: int = 6, noise: float = 0.4) -> tuple[image_map.Matrix, Clicks, Clicks]:
    """Products, clicks on the first twenty, photos of all: the product, a shift, a strong nuisance in 4 directions."""
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(PRODUCTS, d))
    spoilt = np.linalg.qr(rng.normal(size=(d, 4)))[0]

    def photos(products: np.ndarray) -> np.ndarray:
        nuisance = rng.normal(0, 6, (len(products), 4)) @ spoilt.T
        return items[products] + 3 + nuisance + rng.normal(0, noise, (len(products), d))

    taught, asked = np.repeat(np.arange(20), per), np.repeat(np.arange(PRODUCTS), 5)
    nothing = [np.zeros(0, dtype=np.intp)] * len(asked)
    return (
        items.astype(np.float32),
        Clicks(photos(taught).astype(np.float32), taught, nothing[: len(taught)]),
        Clicks(photos(asked).astype(np.float32), asked, nothing),
    )


def recall(made: ImageMap, items: image_map.Matrix, asked: Clicks, products: slice) -> float:
    chosen = np.isin(asked.right, np.arange(PRODUCTS)[products])
    found = made.items(items)
    near = made.queries(asked.queries) @ found.T - made.bias(found)
    return float((near.argmax(axis=1) == asked.right)[chosen].mean())


def test_the_gradient_is_the_slope() -> None:
    items, clicks, _asked = world()
    some = clicks.some(np.arange(0, 60, 6))
    right = some.right.copy()
    right[[2, 5]] = -1  # only known what it is not
    wrong = [np.array([(r + 1) % PRODUCTS, (r + 7) % PRODUCTS], dtype=np.intp) for r in some.right]
    asked = Clicks(some.queries, right, wrong, np.linspace(0.5, 1.5, len(right)))
    owners = np.repeat(np.arange(PRODUCTS // 2), 2)  # two pictures a product
    asked.right[asked.right >= 0] //= 2
    problem = image_map._Problem(centred(items), items, owners, asked, 0.01)
    at = np.random.default_rng(1).normal(0, 0.1, problem.directions.shape[1] ** 2)
    _loss, slope = problem(at)
    assert np.allclose(slope, approx_fprime(at, lambda x: problem(x)[0], 1e-7), atol=2e-5)


def test_learning_lowers_the_loss_and_no_clicks_change_nothing() -> None:
    items, clicks, _asked = world()
    start = centred(items, photos=clicks.queries)
    problem = image_map._Problem(start, items, np.arange(PRODUCTS), clicks, 0.0)
    made = learned(start, items, np.arange(PRODUCTS), clicks, 0.0)
    after = image_map._Problem(made, items, np.arange(PRODUCTS), clicks, 0.0)
    nothing = np.zeros(problem.directions.shape[1] ** 2)
    assert after(np.zeros(after.directions.shape[1] ** 2))[0] < 0.5 * problem(nothing)[0]
    assert learned(start, items, np.arange(PRODUCTS), clicks.some(np.zeros(0, np.intp)), 0.1) is start
    assert learned(start, items, np.arange(PRODUCTS), clicks, np.inf) is start
    assert without_nuisance(start, items, np.arange(PRODUCTS), clicks, 0.0) is start


def test_a_large_penalty_is_the_identity() -> None:
    items, clicks, asked = world()
    start = centred(items, photos=clicks.queries)
    made = learned(start, items, np.arange(PRODUCTS), clicks, 1e6)
    assert np.allclose(made.queries(asked.queries), start.queries(asked.queries), atol=1e-3)


def test_each_rung_finds_more_of_the_products_that_nobody_clicked() -> None:
    items, clicks, asked = world()
    owners, unseen = np.arange(PRODUCTS), slice(20, None)
    plain = ImageMap(np.zeros(D, np.float32), np.zeros(D, np.float32), None)
    start = centred(items, photos=clicks.queries)
    cleaned = without_nuisance(start, items, owners, clicks, 3.0)
    found = [recall(made, items, asked, unseen) for made in (plain, start, cleaned)]
    assert found[0] <= found[1] < found[2] and found[2] > 0.8


def test_the_penalty_is_what_keeps_other_products_findable() -> None:
    """Few clicks, many dimensions, much noise: without a penalty the map learns the noise."""
    items, clicks, asked = world(d=100, per=2, noise=2.5)
    start, owners, unseen = centred(items, photos=clicks.queries), np.arange(PRODUCTS), slice(20, None)
    wild, held = (learned(start, items, owners, clicks, penalty) for penalty in (0.0, 0.1))
    before = recall(start, items, asked, unseen)
    assert recall(wild, items, asked, unseen) < before - 0.3
    assert recall(held, items, asked, unseen) > before - 0.05


def test_a_product_clicked_away_falls() -> None:
    items, clicks, _asked = world()
    start = centred(items, photos=clicks.queries)
    photo = clicks.queries[:1]
    near = start.queries(photo) @ start.items(items).T
    first = np.array([int(near.argmax())], dtype=np.intp)
    said = Clicks(np.repeat(photo, 4, axis=0), np.full(4, -1), [first] * 4)
    made = learned(start, items, np.arange(PRODUCTS), said, 0.001)
    after = made.queries(photo) @ made.items(items).T
    assert after[0, first[0]] < near[0, first[0]]


def test_hubs_lose_what_they_have_too_much() -> None:
    items, clicks, _asked = world()
    items[25] = clicks.queries.mean(axis=0)  # near every photo
    start = ImageMap(np.zeros(D, np.float32), np.zeros(D, np.float32), None, clicks.queries, 0.5)
    bias = start.bias(start.items(items))
    assert bias.argmax() == 25 and abs(bias.mean()) < 1e-6
    assert not ImageMap(start.query_centre, start.item_centre, None).bias(items).any()


def test_the_mean_of_photos_takes_over_from_the_expectation() -> None:
    items = np.zeros((3, 2), np.float32)
    shift, photos = np.array([4.0, 0.0], np.float32), np.tile(np.array([[0.0, 2.0]], np.float32), (30, 1))
    assert centred(items, shift).query_centre.tolist() == [4, 0]
    assert centred(items, shift, photos, prior=10).query_centre.tolist() == [1, 1.5]


@pytest.mark.parametrize("rows", [0, 1])
def test_unit_of_nothing_is_nothing(rows: int) -> None:
    assert np.array_equal(unit(np.zeros((rows, 3), np.float32)), np.zeros((rows, 3)))
