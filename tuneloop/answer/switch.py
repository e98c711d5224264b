"""The quality switch: when an enhanced model's answer is good enough, and when the original answers instead.

An answer is scored by the task's checks. The threshold comes from people: among answers somebody marked right or
wrong, the lowest score above which the error rate is certified to stay below a target. Certified means fixed-sequence
testing with exact Clopper-Pearson bounds: thresholds are tried from the strictest on, each only while those before it
held, so that no correction for their number is needed (as in Learn-then-Test, Angelopoulos et al. 2021, arXiv
2110.01052). Taking the threshold whose observed error is below the target breaks the target in half of all cases.

Fewer than 100 labels: "uncalibrated", and the switch stays off unless it is forced. A new threshold replaces the old
one at most once in a window, and only when it differs enough (hysteresis): noise around a threshold must not make
people meet another model every minute.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from tuneloop.answer import checks
from tuneloop.answer.book import Book
from tuneloop.db.tables import calls, feedback, switches
from tuneloop.records import Task
from tuneloop.workspace import Workspace

LEAST = 100  # labels
TARGET = 0.15  # error rate among answers that pass
CONFIDENCE = 0.9
STRICTEST = 0.2  # share of traffic the strictest threshold lets through
STEPS = 20
WINDOW = 600.0  # seconds between changes
NARROW = 0.02  # thresholds closer than this are the same


@dataclass(frozen=True, slots=True)
class Calibration:
    """threshold: None: off. state: "calibrated", "uncalibrated" (too few labels), "unsafe" (no threshold holds)."""

    state: str
    threshold: float | None
    labels: int
    kept: float = 0.0  # share of labelled answers at or above the threshold
    errors: int = 0  # among those
    bound: float = 1.0  # upper bound of their error rate at CONFIDENCE


def calibrate(
    labelled: Sequence[tuple[float, bool]], *, target: float = TARGET, confidence: float = CONFIDENCE
) -> Calibration:
    """labelled: (score, was it right). The lowest threshold of a fixed sequence whose bound holds."""
    n = len(labelled)
    if n < LEAST:
        return Calibration("uncalibrated", None, n)
    ordered = sorted(labelled, key=lambda pair: -pair[0])
    best = Calibration("unsafe", None, n)
    tried = -1.0
    for step in range(STEPS):
        position = round(n * (STRICTEST + (1 - STRICTEST) * step / (STEPS - 1)))
        threshold = ordered[position - 1][0]
        if threshold == tried:
            continue
        tried = threshold
        passed = [right for score, right in ordered if score >= threshold]
        errors = passed.count(False)
        bound = clopper_pearson(errors, len(passed), confidence)
        if bound > target:
            break
        best = Calibration("calibrated", threshold, n, len(passed) / n, errors, bound)
    return best


def clopper_pearson(errors: int, n: int, confidence: float) -> float:
    """Exact one-sided upper bound of a rate (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if errors >= n else float(beta.ppf(confidence, errors + 1, n - errors))


class Switch:
    """The thresholds in force, by task; read by the hot path, learned from the database now and then."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._in_force: dict[str, float | None] = {}
        self._changed: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self.state: dict[str, Calibration] = {}

    def threshold(self, task: Task) -> float | None:
        """The score an enhanced answer must reach; None: the switch is off."""
        if task.switch == "forced":
            return task.threshold
        return self._in_force.get(task.name) if task.switch == "auto" else None

    def score(self, task: Task, question: str, answer: str) -> float:
        """0 to 1: the share of the task's checks that hold."""
        return checks.score(task.checks, question, answer)[0] if task.checks else float(bool(answer.strip()))

    def refresh(self, book: Book, *, every: float = 60.0) -> None:
        """Learn the thresholds of tasks whose switch is "auto"; blocking."""
        for task in book.tasks.values():
            now = time.monotonic()
            if task.switch == "auto" and now - self._looked.get(task.name, float("-inf")) >= every:
                self._looked[task.name] = now
                self.learn(task)

    def learn(self, task: Task, *, now: float | None = None) -> Calibration:
        """Calibrate from the labels there are; a change that is taken up becomes a row."""
        now = time.monotonic() if now is None else now
        found = self.state[task.name] = calibrate(labels(self._workspace, task))
        self.propose(task.name, found, now)
        return found

    def propose(self, name: str, found: Calibration, now: float) -> bool:
        """Take the threshold up unless it is much the same or the last change is too recent."""
        old = self._in_force.get(name)
        same = old is found.threshold or (
            old is not None and found.threshold is not None and abs(old - found.threshold) < NARROW
        )
        if same or now - self._changed.get(name, float("-inf")) < WINDOW:
            return False
        self._in_force[name], self._changed[name] = found.threshold, now
        evidence = {"labels": found.labels, "errors": found.errors, "kept": found.kept, "bound": found.bound}
        row = {"task": name, "time": time.time(), "on": found.threshold is not None, "threshold": found.threshold}
        with self._workspace.db.write() as rows:
            rows.execute(insert(switches), [row | {"evidence": evidence | {"state": found.state}}])
        return True


def labels(workspace: Workspace, task: Task) -> list[tuple[float, bool]]:
    """(score, right) of the task's answers that people marked, by thumb or score; the last mark of a person counts."""
    chosen = (
        select(calls.c.id, feedback.c.user, calls.c.quality, feedback.c.kind, feedback.c.value)
        .join(calls, calls.c.id == feedback.c.call)
        .where(calls.c.task == task.name, calls.c.status == "ok", calls.c.quality.is_not(None))
        .where(calls.c.variant != task.original, feedback.c.kind.in_(("thumb", "score")))
        .order_by(feedback.c.time)
    )
    last: dict[tuple[str, str], tuple[float, bool]] = {}
    with workspace.db.read() as rows:
        for call, user, quality, kind, value in rows.execute(chosen):
            last[call, user] = quality, value == "up" if kind == "thumb" else float(value) >= 7
    return list(last.values())


def history(workspace: Workspace, task: str) -> list[dict[str, Any]]:
    """Every change, newest first."""
    chosen = select(switches).where(switches.c.task == task).order_by(switches.c.id.desc())
    with workspace.db.read() as rows:
        return [dict(row._mapping) for row in rows.execute(chosen)]
