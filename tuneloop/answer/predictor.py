"""Routing by `cheapest`: the probability that the cheapest variant's answer to a question will do, before it is asked.

A small logistic model over the question alone (its length, language, form, and its words' stems hashed into a few
columns), learned by task from the clicks on the cheapest variant's answers, each weighed by how many requests it
stands for. The bar it must reach is certified as the quality switch's threshold is (`threshold.calibrate`): of the
questions sent to the cheapest variant at most the target share is answered wrongly. It is certified on clicks the
model was not trained on, every second question: with scores from cross-validation instead, the model that is used and
those that were measured differ, and 45 of 60 simulated calibrations broke their promise where now 1 does. With fewer
than 100 labels in either half there is no prediction, and requests are shared out by weight.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from tuneloop.answer import checks, labels
from tuneloop.answer.agreement import FEWEST_OF_A_KIND, Agreement, agreement
from tuneloop.answer.book import Book
from tuneloop.answer.labels import Label
from tuneloop.answer.learned import Measured, measured
from tuneloop.answer.logistic import Calibrator, folds
from tuneloop.answer.relevance import stems
from tuneloop.answer.threshold import LEAST, Calibration, calibrate
from tuneloop.records import Task, Variant
from tuneloop.workspace import Workspace

COLUMNS = 32  # of hashed stems: with the usual few hundred labels more columns learn names by heart
RIDGE = 10.0
LOOKED_AT = 4000  # characters
NEVER = 2.0  # a bar no probability reaches
_QUESTION = re.compile(
    r"\?|^\s*(?:как|что|где|когда|почему|зачем|сколько|how|what|where|when|why|which)\b", re.I | re.M
)
_CODE = re.compile(r"```|[{}<>]|\w+\(")


@dataclass(frozen=True, slots=True)
class Predictor:
    """What is known of one task. bar: the probability from which on the cheapest variant is asked."""

    variant: str
    weights: tuple[float, ...]
    bias: float
    calibrator: Calibrator
    bar: float
    ece: float
    certified: Calibration
    agreement: Agreement

    def probability(self, question: str) -> float:
        """Takes about 0.1 ms for a question of 1,000 characters; never raises."""
        return _probability(self, question)

    def as_dict(self) -> dict[str, Any]:
        shown = {"variant": self.variant, "bar": self.bar if self.bar < NEVER else None, "ece": self.ece}
        return shown | {"certified": self.certified.as_dict(), **self.agreement.as_dict()}


class Predictors:
    """Of every task whose route is "cheapest"; learned beside the hot path, from what is in the database."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, Predictor] = {}
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._rest: dict[str, float] = {}

    def of(self, task: Task) -> Predictor | None:
        """None: not enough data."""
        return self._known.get(task.name) if task.route == "cheapest" else None

    def refresh(self, book: Book, *, every: float = 60.0) -> None:
        """Learn where there are new clicks, at most once in `every` seconds by task (0: always). Blocking."""
        for task in book.tasks.values():
            now = time.monotonic()
            if task.route != "cheapest" or (every and now < self._rest.get(task.name, float("-inf"))):
                continue
            seen = (*labels.stamp(self._workspace, task.name), task)
            if seen != self._seen.get(task.name):
                found = learn(self._workspace, task)
                self._known.pop(task.name, None)
                if found is not None:
                    self._known[task.name] = found
                self._seen[task.name] = seen
            if every:
                self._rest[task.name] = now + max(every, 20 * (time.monotonic() - now))


def cheapest(variants: Sequence[Variant]) -> Variant:
    return min(variants, key=lambda v: v.price_in + v.price_out)


def learn(workspace: Workspace, task: Task) -> Predictor | None:
    """From the labels of the task's cheapest variant; None with too few, or too few of a kind."""
    variant = cheapest(task.variants).name
    gathered = labels.of_task(workspace, task, only=variant).labels
    return train(variant, gathered, target=workspace.settings.number("quality.target_error"))


def train(variant: str, gathered: Sequence[Label], *, target: float) -> Predictor | None:
    """None below LEAST labels in either half, or with nearly all of them of a kind."""
    side = folds([label.question for label in gathered], 2) if gathered else np.zeros(0)
    taught = [label for label, fold in zip(gathered, side, strict=True) if fold == 0]
    kept = [label for label, fold in zip(gathered, side, strict=True) if fold == 1]
    right = [label.right for label in kept]
    good = sum(label.right for label in taught)
    if min(len(taught), len(kept)) < LEAST or min(good, len(taught) - good) < FEWEST_OF_A_KIND:
        return None
    found = measured(np.array([features(label.question) for label in taught]), taught, RIDGE)
    scores = [_probability(found, label.question) for label in kept]
    certified = calibrate(scores, right, target=target)
    bar = NEVER if certified.threshold is None else certified.threshold
    score = agreement(scores, right)
    return Predictor(variant, found.weights, found.bias, found.calibrator, bar, found.ece, certified, score)


def _probability(model: Predictor | Measured, question: str) -> float:
    value = model.bias + sum(w * f for w, f in zip(model.weights, features(question), strict=True))
    return model.calibrator.probability(value)


def features(question: str) -> tuple[float, ...]:
    """Seven figures of the question's form, then its stems in COLUMNS signed columns of unit length."""
    text = question[:LOOKED_AT]
    letters = sum(c.isalpha() for c in text)
    columns = [0.0] * COLUMNS
    for stem, weight in stems(text).items():
        place = crc32(stem.encode("utf-8", "replace"))
        columns[place % COLUMNS] += weight if place & 0x10000 else -weight
    size = math.sqrt(sum(value * value for value in columns)) or 1.0
    return (
        math.log1p(len(text)) / 5,
        float(checks.script(text) == "cyrillic"),
        float(bool(_QUESTION.search(text))),
        float(bool(_CODE.search(text))),
        sum(c.isdigit() for c in text) / max(1, len(text)),
        letters / max(1, len(text)),
        math.log1p(text.count("\n")),
        *(value / size for value in columns),
    )
