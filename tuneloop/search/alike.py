"""Products whose pictures are nearly the same: a double entry, or two that no photo can tell apart.

Vectors are compared around the catalogue's mean. Of 41 groceries the two most alike have a cosine of 0.90; a picture
and its own copy, saved again as a poor JPEG, at half its size, brighter or with a margin, have 0.96 and more in nine
of ten cases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.search import catalogue, vectors
from tuneloop.search.index import near_duplicates
from tuneloop.workspace import Workspace

LEAST = 0.95
FEW = 30  # pictures; the mean of fewer is made of the very copies that are looked for


@dataclass(frozen=True, slots=True)
class Alike:
    """Products of which each is nearly the same as another of the group. similarity: of the nearest pair, to 1."""

    items: tuple[catalogue.Item, ...]
    similarity: float


def groups(
    workspace: Workspace,
    encoder: str,
    *,
    tenant: str = "",
    least: float = LEAST,
    changed: Iterable[str] | None = None,
) -> list[Alike]:
    """Groups of active products whose pictures have at least this similarity, the nearest first.

    encoder: its name; pictures that it has not seen are left out. changed: only groups with one of these products.
    10,000 pictures take 1e11 multiplications, about four seconds of one core.
    """
    items = [item for item in catalogue.items(workspace, tenant=tenant) if item.pictures]
    known = vectors.load(workspace, list({i for item in items for i, _p in item.pictures}), encoder)
    pairs = [(known[i], at) for at, item in enumerate(items) for i, _p in item.pictures if i in known]
    if len(pairs) < 2:
        return []
    owners = np.array([at for _v, at in pairs], dtype=np.intp)
    chosen = None
    if changed is not None:
        wanted = {at for at, item in enumerate(items) if item.id in set(changed)}
        chosen = np.flatnonzero(np.isin(owners, list(wanted)))
    return _grouped(items, owners, np.stack([v for v, _at in pairs]), least, chosen)


def _grouped(
    items: list[catalogue.Item],
    owners: NDArray[np.intp],
    raw: NDArray[np.float32],
    least: float,
    chosen: NDArray[np.intp] | None,
) -> list[Alike]:
    few = len(raw) < FEW
    moved = raw if few else raw - raw.mean(axis=0)
    rows = np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9), dtype=np.float32)
    # Not centred, the same pairs are half as far from 1: 0.95 there is 0.975 here (other groceries: 0.96).
    found = near_duplicates(rows, (1 + least) / 2 if few else least, chosen)
    group = {at: {at} for at in set(owners.tolist())}
    nearest: dict[int, float] = {}
    for a, b, cosine in found:
        one, other = int(owners[a]), int(owners[b])
        if one == other:
            continue
        joined = group[one] | group[other]
        for at in joined:
            group[at] = joined
            nearest[at] = max(nearest.get(at, 0.0), cosine)
    whole = {min(members): members for members in group.values() if len(members) > 1}
    made = [
        Alike(tuple(items[at] for at in sorted(members)), min(1.0, max(nearest[at] for at in members)))
        for members in whole.values()
    ]
    return sorted(made, key=lambda one: (-one.similarity, one.items[0].id))
