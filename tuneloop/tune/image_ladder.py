"""How far up the ladder of photo search to climb, and what that is worth on photos that were not learned from.

The rungs: centring, correcting hubs, removing nuisance, a penalised linear map. Which one is taken is decided by
cross-validation whose folds are products, so that a rung that forgets products without clicks does not win. What it is
worth is measured by a second cross-validation around the first: every click is once a photo of a product that nobody
had clicked (unseen), and once a photo of a clicked product from another session (seen). Groups, that is
near-duplicates and photos of one sitting, never stand on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.tune.image_map import Clicks, ImageMap, Indices, Matrix, learned, without_nuisance

OUTER, INNER = 4, 3
MOST_ITEMS = 512  # pictures that a map is learned against: those of clicked products and their nearest neighbours


@dataclass(frozen=True, slots=True)
class Rung:
    """nuisance: strength of its removal; penalty: of the map, inf without one; hub: share of the hub correction."""

    name: str
    nuisance: float = 0.0
    penalty: float = float("inf")
    hub: float = 0.0


LADDER = (
    Rung("centring"),
    Rung("nuisance", nuisance=0.3, hub=0.5),
    Rung("nuisance", nuisance=1.0, hub=0.5),
    Rung("nuisance", nuisance=1.0, hub=0.75),
    Rung("map", penalty=0.1, hub=0.5),
    Rung("map", penalty=0.1, hub=0.75),
    Rung("nuisance and map", nuisance=0.1, penalty=0.1, hub=0.75),
)
# Products without clicks weigh double: clicked ones gain several times as much by any rung.
UNSEEN_WEIGHT = 2.0


@dataclass(frozen=True)
class Catalogue:
    """The pictures that are searched: vectors as the encoder gave them, and the product of each."""

    vectors: Matrix  # (m, d)
    owners: Indices  # (m,) ascending
    products: int


@dataclass(frozen=True)
class Held:
    """Photos that were not learned from: the rank of the right product (0 is first), before and after learning."""

    product: Indices
    before: Indices
    after: Indices
    similarity: Matrix  # after: of the best product
    without: Matrix  # after: of the best other product, as if the right one were not in the catalogue


def fit(rung: Rung, start: ImageMap, catalogue: Catalogue, clicks: Clicks) -> ImageMap:
    """The map of one rung, learned from all the clicks given."""
    near = _near(start, catalogue, clicks)
    items, owners = catalogue.vectors[near], catalogue.owners[near]
    bare = replace(start, hub=0.0)
    cleaned = without_nuisance(bare, items, owners, clicks, rung.nuisance)
    moved = learned(cleaned, items, owners, clicks, rung.penalty)
    return replace(moved, photos=clicks.queries if rung.hub else start.photos, hub=rung.hub or start.hub)


def choose(start: ImageMap, catalogue: Catalogue, clicks: Clicks, groups: Indices, *, seed: int = 0) -> Rung:
    """The rung with the best mean reciprocal rank on seen and unseen products, the latter counted twice.

    A rung that certainly lowers unseen products is not taken, however much seen ones gain.
    """
    near = _near(start, catalogue, clicks)
    small = Catalogue(catalogue.vectors[near], catalogue.owners[near], catalogue.products)
    folds = list(_folds(clicks, groups, INNER, seed))
    found = []
    for rung in LADDER:
        seen: list[NDArray[Any]] = []
        unseen: list[NDArray[Any]] = []
        for training, known, new in folds:
            made = fit(rung, start, small, clicks.some(training))
            seen.append(1 / (1 + ranks(made, small, clicks.some(known))))
            unseen.append(1 / (1 + ranks(made, small, clicks.some(new))))
        found.append((np.concatenate(seen), np.concatenate(unseen)))
    worth = []
    for known, new in found:
        change = new - found[0][1]
        error = change.std() / max(len(change), 1) ** 0.5 if len(change) else 0.0
        harms = len(change) > 0 and change.mean() < -1.645 * error  # one-sided 5 %; the gate looks again
        worth.append(-np.inf if harms else _mean(known) + UNSEEN_WEIGHT * _mean(new))
    return LADDER[int(np.argmax(worth))]


def judge(
    start: ImageMap,
    catalogue: Catalogue,
    clicks: Clicks,
    groups: Indices,
    *,
    before: ImageMap | None = None,
    fair: NDArray[np.bool_] | None = None,
    seed: int = 1,
) -> dict[str, Held]:
    """{"seen": ..., "unseen": ...}: what climbing brings, cross-fitted.

    before: what it is compared with (`start`); fair: (n,) photos that `before` did not learn from (all).
    """
    parts: dict[str, list[Held]] = {"seen": [], "unseen": []}
    for name, training, chosen in _halves(clicks, groups, seed):
        taught = clicks.some(training)
        made = fit(choose(start, catalogue, taught, groups[training], seed=seed), start, catalogue, taught)
        asked = clicks.some(chosen if fair is None else chosen[fair[chosen]])
        old = ranks(before or start, catalogue, asked)
        parts[name].append(measured(made, catalogue, asked, old))
    return {
        name: Held(*(np.concatenate([getattr(one, field.name) for one in found]) for field in fields(Held)))
        for name, found in parts.items()
    }


def measured(made: ImageMap, catalogue: Catalogue, asked: Clicks, before: Indices) -> Held:
    """How a map finds photos that it did not learn from; before: (n,) their ranks by what it is compared with."""
    score = product_scores(made, catalogue, asked.queries)
    rows = np.arange(len(asked.right))
    own, best = score[rows, asked.right], score.max(axis=1)
    after = (score > own[:, None]).sum(axis=1)
    score[rows, asked.right] = -np.inf
    return Held(asked.right, before, after, best, score.max(axis=1))


def held_out(clicks: Clicks, groups: Indices, *, seed: int = 2) -> tuple[Indices, Indices, Indices]:
    """(training, seen, unseen) once, for what takes too long to be learned four times."""
    return next(_folds(clicks, groups, OUTER, seed))


def ranks(made: ImageMap, catalogue: Catalogue, clicks: Clicks) -> Indices:
    """(n,) how many products stand before the right one; every click given must know it."""
    score = product_scores(made, catalogue, clicks.queries)
    own = score[np.arange(len(clicks.right)), clicks.right]
    return np.asarray((score > own[:, None]).sum(axis=1), dtype=np.intp)


def product_scores(made: ImageMap, catalogue: Catalogue, queries: Matrix) -> Matrix:
    """(n, d) photos -> (n, products) similarity of the product's nearest picture; -inf for one without pictures."""
    found = made.items(catalogue.vectors)
    near = made.queries(queries) @ found.T - made.bias(found)
    best = np.full((len(queries), catalogue.products), -np.inf, dtype=np.float32)
    first = np.flatnonzero(np.r_[True, catalogue.owners[1:] != catalogue.owners[:-1]])
    best[:, catalogue.owners[first]] = np.maximum.reduceat(near, first, axis=1)
    return best


def threshold(known: Matrix, unknown: Matrix) -> tuple[float, float, float]:
    """The similarity below which a photo is of nothing in the catalogue: (threshold, kept, refused).

    known: best similarities of photos whose product is there; unknown: the same with that product taken out. The cut is
    the highest that keeps 90 % of the known photos: an answer withheld costs a shop more than a wrong one shown.
    """
    if not len(known) or not len(unknown):
        return -1.0, 1.0, 0.0  # nothing was measured: every photo is taken to be of something
    cut = float(np.quantile(known, 0.1, method="lower"))
    return cut, float((known >= cut).mean()), float((unknown < cut).mean())


def _folds(clicks: Clicks, groups: Indices, count: int, seed: int) -> Iterator[tuple[Indices, Indices, Indices]]:
    """(training, seen, unseen) indices, `count` times; clicks that know no right product only ever train."""
    fold, part = _dealt(clicks, groups, count, seed)
    for k in range(count):
        new = fold == k
        training = ~new & (part != k) & ~np.isin(groups, groups[new])
        yield np.flatnonzero(training), _known_again(clicks, groups, training, (part == k) & ~new), np.flatnonzero(new)


def _halves(clicks: Clicks, groups: Indices, seed: int) -> Iterator[tuple[str, Indices, Indices]]:
    """(name, training, held out): unseen products and seen ones apart, so that each leaves out only a quarter."""
    fold, part = _dealt(clicks, groups, OUTER, seed)
    for k in range(OUTER):
        new = fold == k
        yield "unseen", np.flatnonzero(~new & ~np.isin(groups, groups[new])), np.flatnonzero(new)
        training = part != k
        yield "seen", np.flatnonzero(training), _known_again(clicks, groups, training, part == k)


def _dealt(clicks: Clicks, groups: Indices, count: int, seed: int) -> tuple[Indices, Indices]:
    """For each click the fold of its product (-1: not known) and the part of its group."""
    rng = np.random.default_rng(seed)
    products = np.unique(clicks.right[clicks.right >= 0])
    fold_of = dict(zip(rng.permutation(products).tolist(), (np.arange(len(products)) % count).tolist(), strict=True))
    fold = np.array([fold_of.get(p, -1) for p in clicks.right.tolist()], dtype=np.intp)
    names, at = np.unique(groups, return_inverse=True)
    return fold, np.asarray((rng.permutation(len(names)) % count)[at], dtype=np.intp)


def _known_again(clicks: Clicks, groups: Indices, training: NDArray[np.bool_], held: NDArray[np.bool_]) -> Indices:
    """Of the photos held out those of a product that training knows, and of no group that it knows."""
    taught = np.unique(clicks.right[training & (clicks.right >= 0)])
    return np.flatnonzero(held & np.isin(clicks.right, taught) & ~np.isin(groups, groups[training]))


def _near(start: ImageMap, catalogue: Catalogue, clicks: Clicks) -> Indices:
    """Rows to learn against: all of a small catalogue, else those of clicked products and the photos' neighbours."""
    if len(catalogue.owners) <= MOST_ITEMS:
        return np.arange(len(catalogue.owners))
    clicked = np.concatenate([clicks.right, *clicks.wrong])
    mine = np.isin(catalogue.owners, clicked)
    best = (start.queries(clicks.queries) @ start.items(catalogue.vectors).T).max(axis=0)
    best[mine] = np.inf
    count = max(MOST_ITEMS, int(mine.sum()))
    chosen = np.argpartition(-best, count - 1)[:count] if count < len(best) else np.arange(len(best))
    return np.sort(chosen)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0
