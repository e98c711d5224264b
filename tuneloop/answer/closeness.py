"""How much a text sounds like a person, and how much of it was copied: figures of the gate that need no model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The most frequent trigrams carry style (endings, punctuation, particles), the rare ones carry topics.
_TRIGRAMS = 400
_CROWD = 6  # parts into which other people's texts are dealt, each one voice of the chat
VERBATIM_CHARS = 30


def trigram_profile(texts: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.float64]:
    """Relative frequencies of these character trigrams, shape (len(vocabulary),)."""
    counts = _trigrams(texts)
    total = max(sum(counts.values()), 1)
    return np.array([counts[t] / total for t in vocabulary])


def distance(a: Sequence[str], b: Sequence[str], reference: Sequence[Sequence[str]]) -> float:
    """Cosine delta between two sets of texts: 0 the same style, 1 unrelated, up to 2.

    Frequencies of the commonest character trigrams of `reference` (several sets of texts, for the spread), as
    z-scores, compared by cosine. Source: Smith & Aldridge 2011; Evert et al. 2017, "Understanding and explaining
    Delta measures".
    """
    together = Counter[str]()
    for texts in reference:
        together += _trigrams(texts)
    vocabulary = [t for t, _n in sorted(together.items(), key=lambda item: (-item[1], item[0]))[:_TRIGRAMS]]
    spread = np.array([trigram_profile(texts, vocabulary) for texts in reference])
    mean, deviation = spread.mean(axis=0), spread.std(axis=0)
    deviation[deviation == 0] = 1.0
    x = (trigram_profile(a, vocabulary) - mean) / deviation
    y = (trigram_profile(b, vocabulary) - mean) / deviation
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return 1.0 - float(x @ y) / size if size else 1.0


def closeness(base: Sequence[str], tuned: Sequence[str], own: Sequence[str], others: Sequence[str]) -> dict[str, float]:
    """Where the tuned answers stand between the base model (0) and the person's own other half (1).

    own: the person's real answers; others: what other people of the chat write. Together they say how common each
    trigram is and how much it varies; the models' texts do not, or a model that repeats itself would set the scale.
    Returns distances `base`, `tuned`, `self` (the person's split-half distance: the best one can do) and
    `closeness` = (base - tuned) / (base - self); nan when base is already as close as the person to themself.
    """
    half_a, half_b = own[::2], own[1::2]
    reference = [half_a, half_b, *(list(others[i::_CROWD]) for i in range(_CROWD) if others[i::_CROWD])]
    d_self = distance(half_a, half_b, reference)
    d_base = (distance(base, half_a, reference) + distance(base, half_b, reference)) / 2
    d_tuned = (distance(tuned, half_a, reference) + distance(tuned, half_b, reference)) / 2
    room = d_base - d_self
    return {
        "base": d_base,
        "tuned": d_tuned,
        "self": d_self,
        "closeness": (d_base - d_tuned) / room if room > 0 else float("nan"),
    }


def chrf(candidate: str, truth: str, *, n: int = 6, beta: float = 2.0) -> float:
    """Character n-gram F-score, 0..100, without word n-grams (M. Popović 2015, "chrF")."""
    precisions, recalls = [], []
    for size in range(1, n + 1):
        ours, theirs = _grams(candidate, size), _grams(truth, size)
        if not ours or not theirs:
            continue
        same = sum((ours & theirs).values())
        precisions.append(same / sum(ours.values()))
        recalls.append(same / sum(theirs.values()))
    if not precisions:
        return 0.0
    p, r = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 100 * (1 + beta**2) * p * r / (beta**2 * p + r) if p + r else 0.0


def is_verbatim(generated: str, source: str) -> bool:
    """Whether 30 characters in a row of a training answer were reproduced (spaces folded).

    Shorter answers count when they are at least 15 characters long and reproduced whole.
    """
    a, b = (re.sub(r"\s+", " ", t).strip().lower() for t in (generated, source))
    if len(b) < VERBATIM_CHARS:
        return len(b) >= VERBATIM_CHARS // 2 and b in a
    return any(b[i : i + VERBATIM_CHARS] in a for i in range(len(b) - VERBATIM_CHARS + 1))


def _trigrams(texts: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        padded = f"  {text.lower()} "
        counts.update(padded[i : i + 3] for i in range(len(padded) - 2))
    return counts


def _grams(text: str, size: int) -> Counter[str]:
    squeezed = "".join(text.split())
    return Counter(squeezed[i : i + size] for i in range(len(squeezed) - size + 1))
