"""Exact search over the pictures of a catalogue: one float32 matrix, one product, the best k.

At 342 numbers a picture, 200,000 of them take 0.3 GB and one thread reads them in under a tenth of a second; no
approximate index is as simple or as right. The matrix lies in a file that processes share; its name says what it was
made of, so that vectors of two versions cannot meet, and a missing or damaged file is made again from the rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Indices = NDArray[np.intp]
KEPT = 12  # matrices in a folder: four teams with the map that searches, the one before and what photos differ by
AT_ONCE = 4096  # rows of one block while near-duplicates are looked for


@dataclass(frozen=True)
class Index:
    """`owners` says which product a row shows and never falls: pictures of one product stand together."""

    vectors: Matrix  # (m, d) unit rows
    bias: Matrix  # (m,) taken from a row's similarity
    owners: Indices  # (m,) 0 to products - 1
    products: int

    def scores(self, queries: Matrix) -> Matrix:
        """(n, d) unit vectors -> (n, products) similarity of the product's nearest picture; -inf without one."""
        near = queries @ self.vectors.T - self.bias
        best = np.full((len(queries), self.products), -np.inf, dtype=np.float32)
        if len(self.owners):
            first = np.flatnonzero(np.r_[True, self.owners[1:] != self.owners[:-1]])
            best[:, self.owners[first]] = np.maximum.reduceat(near, first, axis=1)
        return best

    def some(self, query: Matrix, products: Indices) -> Matrix:
        """(d,) unit vector -> (products,) what `scores` says of these products, and -inf for all others."""
        rows = np.flatnonzero(np.isin(self.owners, products))
        best = np.full(self.products, -np.inf, dtype=np.float32)
        np.maximum.at(best, self.owners[rows], self.vectors[rows] @ query - self.bias[rows])
        return best

    def nearest(self, query: Matrix, k: int, extra: Matrix | None = None) -> list[tuple[int, float]]:
        """The k products nearest to one (d,) unit vector, best first. extra: (products,) added to their similarity."""
        score = self.scores(query[None])[0]
        if extra is not None:
            score = score + extra
        return top(score, k)


def top(score: Matrix, k: int) -> list[tuple[int, float]]:
    """Indices and values of the k greatest finite scores; of equal ones the first."""
    k = min(k, len(score))
    if k <= 0:
        return []
    chosen = np.flatnonzero(score >= np.partition(score, len(score) - k)[len(score) - k])
    order = chosen[np.argsort(-score[chosen], kind="stable")][:k]
    return [(int(i), float(score[i])) for i in order if np.isfinite(score[i])]


def stored(folder: Path, name: str, shape: tuple[int, int], make: Callable[[], Matrix]) -> Matrix:
    """The matrix in `folder`/`name`.npy, mapped from the disk; made, and older ones removed, when it is not there."""
    path = folder / f"{name}.npy"
    found = _mapped(path, shape)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with part.open("wb") as handle:
        np.save(handle, np.ascontiguousarray(make(), dtype=np.float32), allow_pickle=False)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)
    for old in sorted(folder.glob("*.npy"), key=lambda p: p.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)  # who has it mapped keeps it until he lets go
    found = _mapped(path, shape)
    return found if found is not None else np.asarray(make(), dtype=np.float32)


def _mapped(path: Path, shape: tuple[int, int]) -> Matrix | None:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def near_duplicates(vectors: Matrix, least: float, chosen: Indices | None = None) -> list[tuple[int, int, float]]:
    """Pairs of unit rows with at least this cosine, (first, second, cosine), first < second.

    chosen: only pairs with one of these rows. Takes 64 MB beside the rows, however many they are.
    """
    among = np.arange(len(vectors)) if chosen is None else np.sort(chosen)
    named = np.zeros(len(vectors), dtype=bool)
    named[among] = True
    found = []
    for start in range(0, len(among), AT_ONCE):
        rows = among[start : start + AT_ONCE]
        for left in range(0, len(vectors), AT_ONCE):
            near = vectors[rows] @ vectors[left : left + AT_ONCE].T
            for a, b in np.argwhere(near >= least):
                one, other = int(rows[a]), left + int(b)
                if one < other or (one > other and not named[other]):
                    found.append((min(one, other), max(one, other), float(near[a, b])))
    return sorted(found)
