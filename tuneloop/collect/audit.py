"""A person looks at a random sample and says yes or no; the share of yes is the dataset's precision, with an interval.

The order of the sample is fixed by the dataset, so several raters see the same examples and a stopped audit goes on
where it was. Every click is a row of table judgements, committed before the next example is shown.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from tuneloop.collect.dataset import Dataset
from tuneloop.collect.split import SPLITS
from tuneloop.db.tables import judgements
from tuneloop.records import Example
from tuneloop.workspace import Workspace

VERDICTS = ("yes", "no", "skip")
Z = 1.959964  # 95 %


@dataclass(frozen=True)
class Share:
    """`good` of `n` judged, with a 95 % interval."""

    good: int
    n: int
    low: float
    high: float

    @property
    def rate(self) -> float | None:
        return self.good / self.n if self.n else None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rate": self.rate}


@dataclass(frozen=True)
class Standing:
    """What the audit says so far. `kappa`: agreement of the two raters with most common clicks beyond chance."""

    precision: Share
    passing: Share  # among examples that pass every rule
    failing: Share
    skipped: int
    raters: tuple[str, ...]
    kappa: float | None
    both_judged: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "precision": self.precision.as_dict(),
            "passing_rules": self.passing.as_dict(),
            "failing_rules": self.failing.as_dict(),
            "skipped": self.skipped,
            "raters": list(self.raters),
            "kappa": self.kappa,
            "both_judged": self.both_judged,
        }


def sample(dataset: Dataset, n: int) -> list[Example]:
    """The first `n` examples (of all splits) in an order that depends on the dataset only."""
    everything = [e for part in SPLITS for e in dataset.examples(part)]
    order = sorted(everything, key=lambda e: hashlib.sha256(f"{dataset.id}/{e.id}".encode()).digest())
    return order[:n]


def judged(workspace: Workspace, dataset: Dataset) -> list[tuple[str, str, str]]:
    """(example id, rater, verdict) of every click on this dataset, oldest first."""
    query = (
        select(judgements.c.subject, judgements.c.rater, judgements.c.verdict)
        .where(judgements.c.kind == "audit", judgements.c.subject.startswith(f"{dataset.id}/", autoescape=True))
        .order_by(judgements.c.id)
    )
    with workspace.db.read() as rows:
        return [(r.subject.split("/", 1)[1], r.rater, r.verdict) for r in rows.execute(query)]


def judge(workspace: Workspace, dataset: Dataset, example: Example, verdict: str, rater: str) -> None:
    """Commit one click; a second click of the same rater replaces the first."""
    assert verdict in VERDICTS, verdict
    subject = f"{dataset.id}/{example.id}"
    meta = {"dataset": dataset.folder.name, "failed": dataset.failed.get(example.id, [])}
    row = {"kind": "audit", "subject": subject, "rater": rater, "verdict": verdict, "meta": meta}
    with workspace.db.write() as rows:
        rows.execute(_of(subject, rater))
        rows.execute(insert(judgements), [{**row, "time": int(time.time())}])


def undo(workspace: Workspace, dataset: Dataset, example: Example, rater: str) -> None:
    """Take a click back."""
    with workspace.db.write() as rows:
        rows.execute(_of(f"{dataset.id}/{example.id}", rater))


def standing(workspace: Workspace, dataset: Dataset) -> Standing:
    """Precision from all clicks so far. An example two raters disagree on counts as no."""
    clicks = judged(workspace, dataset)
    said: dict[str, dict[str, bool]] = {}
    for example, rater, verdict in clicks:
        if verdict != "skip":
            said.setdefault(example, {})[rater] = verdict == "yes"
    total = sum(int(n) for n in dataset.card["counts"].values())
    failing = len(dataset.failed)
    yes = {example: all(votes.values()) for example, votes in said.items()}
    bad = dataset.failed.keys()
    kappa, both = _kappa(said)
    return Standing(
        precision=share(list(yes.values()), total),
        passing=share([v for e, v in yes.items() if e not in bad], total - failing),
        failing=share([v for e, v in yes.items() if e in bad], failing),
        skipped=sum(verdict == "skip" for _e, _r, verdict in clicks),
        raters=tuple(sorted({rater for _e, rater, _v in clicks})),
        kappa=kappa,
        both_judged=both,
    )


def share(verdicts: Sequence[bool], population: int) -> Share:
    """Share of true with a Wilson interval, corrected for a finite population.

    Judging n of N without replacement tells as much as n (N - 1) / (N - n) draws from an endless supply (Cochran,
    Sampling Techniques, 2.8), so that number goes into Wilson's formula (Wilson 1927); all judged: no doubt left.
    """
    n, good = len(verdicts), sum(verdicts)
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    p = good / n
    if n >= population:
        return Share(good, n, p, p)
    m = n * (population - 1) / (population - n)
    centre = (p + Z * Z / (2 * m)) / (1 + Z * Z / m)
    half = Z / (1 + Z * Z / m) * math.sqrt(p * (1 - p) / m + Z * Z / (4 * m * m))
    # What is certain already: at least `good` of the population are good, at least n - good are not.
    return Share(good, n, max(centre - half, good / population), min(centre + half, 1 - (n - good) / population))


def _of(subject: str, rater: str) -> Any:
    return delete(judgements).where(
        judgements.c.kind == "audit", judgements.c.subject == subject, judgements.c.rater == rater
    )


def _kappa(said: Mapping[str, Mapping[str, bool]]) -> tuple[float | None, int]:
    """Cohen's kappa of the pair of raters with most examples in common, and how many those are."""
    from collections import Counter
    from itertools import combinations

    pairs: Counter[tuple[str, str]] = Counter()
    for votes in said.values():
        pairs.update(combinations(sorted(votes), 2))
    if not pairs:
        return None, 0
    (one, other), n = min(pairs.items(), key=lambda item: (-item[1], item[0]))
    both = [(v[one], v[other]) for v in said.values() if one in v and other in v]
    agreed = sum(a == b for a, b in both) / n
    a, b = sum(x for x, _y in both) / n, sum(y for _x, y in both) / n
    expected = a * b + (1 - a) * (1 - b)
    return (None if expected == 1 else (agreed - expected) / (1 - expected)), n
