"""Exact search: what a plain sort says, on any matrix; files that are missing, damaged or of another shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.search.index import KEPT, Index, near_duplicates, stored, top


def unit(rng: np.random.Generator, n: int, d: int = 16) -> np.ndarray:
    made = rng.normal(size=(n, d)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12))
def test_nearest_is_what_a_sort_says(seed: int, pictures: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    owners = np.sort(rng.integers(0, 12, pictures))
    vectors, query = unit(rng, pictures), unit(rng, 1)[0]
    bias = rng.normal(0, 0.1, pictures).astype(np.float32)
    found = Index(vectors, bias, owners, 12).nearest(query, k)
    each = vectors @ query - bias
    best = {int(o): float(each[owners == o].max()) for o in set(owners.tolist())}
    expected = sorted(best.items(), key=lambda pair: -pair[1])[:k]
    assert [i for i, _s in found] == [i for i, _s in expected]
    assert np.allclose([s for _i, s in found], [s for _i, s in expected], atol=1e-6)


def test_what_is_added_decides() -> None:
    vectors = np.eye(3, dtype=np.float32)
    index = Index(vectors, np.zeros(3, np.float32), np.arange(3), 4)
    assert [i for i, _s in index.nearest(vectors[0], 9)] == [0, 1, 2]  # the fourth has no picture
    assert index.nearest(vectors[0], 1, np.array([0, 0, 2, 0], np.float32))[0] == (2, 2.0)


def test_equal_scores_keep_their_order_and_nothing_is_nothing() -> None:
    assert top(np.array([1, 3, 3, 2], np.float32), 3) == [(1, 3.0), (2, 3.0), (3, 2.0)]
    assert top(np.zeros(0, np.float32), 3) == [] and top(np.ones(3, np.float32), 0) == []
    assert top(np.full(3, -np.inf, np.float32), 2) == []


def test_a_matrix_is_made_once_and_mapped(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    for _time in range(3):
        found = stored(tmp_path, "a", (2, 3), make)
        assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert made == [1] and isinstance(found, np.memmap)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not a matrix at all", None])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes | None) -> None:
    stored(tmp_path, "a", (2, 3), lambda: np.ones((2, 3), np.float32))
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-4] if damage is None else damage)
    assert stored(tmp_path, "a", (2, 3), lambda: np.zeros((2, 3), np.float32)).sum() == 0
    assert stored(tmp_path, "a", (1, 3), lambda: np.ones((1, 3), np.float32)).shape == (1, 3)


def test_old_matrices_are_removed(tmp_path: Path) -> None:
    for n in range(KEPT + 4):
        stored(tmp_path, f"m{n}", (1, 1), lambda: np.ones((1, 1), np.float32))
    assert len(list(tmp_path.glob("*.npy"))) == KEPT and (tmp_path / f"m{KEPT + 3}.npy").exists()


def test_near_duplicates_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneloop.search.index.AT_ONCE", 3)
    vectors = unit(np.random.default_rng(0), 10)
    vectors[7] = vectors[2]
    vectors[9] = vectors[4]
    assert [(a, b) for a, b, _c in near_duplicates(vectors, 0.999)] == [(2, 7), (4, 9)]
