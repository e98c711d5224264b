"""Examples that say the same: equal after normalisation, or nearly equal by the Jaccard similarity of their shingles.

MinHash with 128 permutations and banded LSH (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) only
proposes pairs; the similarity that decides is computed exactly, so precision does not depend on hashing. Written in
numpy because datasketch 2.0, fed in bulk, took 24 s and found 94 % of planted near copies where this takes 3 s and
finds all (100,000 examples of 300 letters, one core).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tuneloop.records import Example
from tuneloop.texts import _

SHINGLE = 5  # letters
PERMUTATIONS = 128
BAND_RECALL = 0.995  # chance that a pair exactly at the threshold is proposed
CHUNK = 2000
GROUP = 8  # of more examples in one bucket each is compared with the first few and its neighbours

_NOT_WORD = re.compile(r"[\W_]+")


def exact_and_near(examples: Sequence[Example], threshold: float) -> dict[str, str]:
    """Which examples repeat an earlier one of the list, by id, and why ("exact duplicate", "near duplicate").

    Question and answer together are compared. The first of the list is the one to keep, whatever follows; a near
    duplicate of a removed example alone is kept. threshold: Jaccard similarity of 5-letter shingles.
    """
    texts = [normal(example.question) + "\n" + normal(example.answer) for example in examples]
    reasons: dict[str, str] = {}
    kept: list[int] = []
    seen: set[str] = set()
    for place, (example, text) in enumerate(zip(examples, texts, strict=True)):
        if text in seen:
            reasons[example.id] = "exact duplicate"
        else:
            seen.add(text)
            kept.append(place)
    for place in _near([texts[place] for place in kept], threshold):
        reasons[examples[kept[place]].id] = "near duplicate"
    return reasons


def shared_questions(train: Iterable[Example], held_out: Iterable[Example]) -> dict[str, str]:
    """Held-out examples whose question, word for word, is in the training part too: their answer is no test."""
    asked = {normal(example.question) for example in train}
    return {e.id: "question is in training too" for e in held_out if normal(e.question) in asked}


def describe() -> dict[str, str]:
    """Each reason with one sentence for people."""
    return {
        "exact duplicate": _("the same question and answer came before"),
        "near duplicate": _("nearly the same question and answer came before"),
        "question is in training too": _("the same question is in the training part"),
    }


def normal(text: str) -> str:
    """Lower case, ё as е, runs of anything but letters and digits as one space."""
    return _NOT_WORD.sub(" ", text.lower().replace("ё", "е")).strip()


def similarity(one: str, two: str) -> float:
    """Jaccard similarity of the shingle sets of two normalised texts."""
    first, second = shingles(one), shingles(two)
    return len(first & second) / len(first | second)


def shingles(text: str) -> set[str]:
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def _near(texts: list[str], threshold: float) -> list[int]:
    """Places of texts that are nearly the same as an earlier one which is itself kept."""
    if len(texts) < 2:
        return []
    signatures = _signatures(texts)
    gone: set[int] = set()
    for early, late in _pairs(signatures, threshold):
        if early not in gone and late not in gone and similarity(texts[early], texts[late]) >= threshold:
            gone.add(late)
    return sorted(gone)


def _signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures, (texts, PERMUTATIONS)."""
    rng = np.random.default_rng(0)
    factor = rng.integers(0, 1 << 32, PERMUTATIONS, dtype=np.uint32) | np.uint32(1)
    shift = rng.integers(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)
    found = np.empty((len(texts), PERMUTATIONS), np.uint32)
    for start in range(0, len(texts), CHUNK):
        hashes, opens = _shingle_hashes(texts[start : start + CHUNK])
        for number in range(PERMUTATIONS):
            # Multiply-add-shift: odd factor, the high bits are the good ones, so they are moved down.
            mixed = hashes * factor[number] + shift[number]
            mixed ^= mixed >> np.uint32(15)
            mixed *= np.uint32(0x2C1B3C6D)
            found[start : start + CHUNK, number] = np.minimum.reduceat(mixed, opens)
    return found


def _shingle_hashes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """A hash of every shingle of every text, and where each text's shingles begin."""
    padded = [text if len(text) >= SHINGLE else text.ljust(SHINGLE) for text in texts]
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = np.fromiter((len(text) for text in padded), np.int64, len(padded))
    ends = np.cumsum(sizes)
    rolled = np.zeros(len(letters) - SHINGLE + 1, np.uint32)
    for offset in range(SHINGLE):
        rolled = rolled * np.uint32(0x01000193) + letters[offset : offset + len(rolled)]
    rolled ^= rolled >> np.uint32(16)
    rolled *= np.uint32(0x85EBCA6B)
    rolled ^= rolled >> np.uint32(13)
    inside = np.ones(len(letters), bool)
    for back in range(1, SHINGLE):  # shingles that would reach into the next text
        inside[ends - back] = False
    opens = ends - sizes - np.arange(len(padded)) * (SHINGLE - 1)
    return rolled[inside[: len(rolled)]], opens


def _pairs(signatures: NDArray[np.uint32], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) that share a band and look alike, ordered by the later, then the earlier place."""
    rows = max(r for r in range(1, 17) if r == 1 or _recall(threshold, r) >= BAND_RECALL)
    found: list[NDArray[np.int64]] = []
    for band in range(PERMUTATIONS // rows):
        part = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        keys = part.view(np.dtype((np.void, part.dtype.itemsize * rows))).ravel()
        _unique, group = np.unique(keys, return_inverse=True)
        order = np.argsort(group, kind="stable")
        found.append(_within(order, group[order]))
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), np.int64)
    # Far below the threshold by all 128 values (4 standard errors): not worth an exact comparison.
    slack = 4 * (threshold * (1 - threshold) / PERMUTATIONS) ** 0.5
    for start in range(0, len(pairs), 100_000):
        part_of = pairs[start : start + 100_000]
        alike = (signatures[part_of[:, 0]] == signatures[part_of[:, 1]]).mean(axis=1)
        yield from ((early, late) for late, early in part_of[alike >= threshold - slack].tolist())


def _recall(threshold: float, rows: int) -> float:
    return float(1 - (1 - threshold**rows) ** (PERMUTATIONS // rows))


def _within(order: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """(later, earlier) pairs of members of one group: with up to GROUP members before, and with the group's first."""
    pairs = []
    for back in range(1, min(GROUP, len(order) - 1) + 1):
        same = group[back:] == group[:-back]
        pairs.append(np.stack([order[back:][same], order[:-back][same]], axis=1))
    first = order[np.searchsorted(group, group)]
    later = first != order
    pairs.append(np.stack([order[later], first[later]], axis=1))
    return np.concatenate(pairs)
