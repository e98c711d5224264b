"""The learned score: the probability that people will call an answer right, from cheap features of its text.

A logistic model over ten figures that need no other model, trained on the clicks there are, each weighed by how many
requests it stands for. Its figures are measured on answers it was not trained on: folds by question, so that the
same question is never on both sides, and the calibration, too, is made without the fold it is measured on.
Below 100 labels it is "uncalibrated": the figures are shown and nothing may act on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneloop.answer import checks
from tuneloop.answer.agreement import FEWEST_OF_A_KIND, Agreement, agreement, ece
from tuneloop.answer.labels import Label
from tuneloop.answer.logistic import Array, Calibrator, calibrate, damaged, finite, fit, folds
from tuneloop.answer.relevance import cosine, likelihood, stems

METHOD = "learned"
LEAST = 100  # labels
FOLDS = 5
FEATURES = (
    "length", "length_to_question", "much_longer", "same_language", "relevance", "covered", "repetition", "refusal",
    "finished", "checks",
)  # fmt: skip
LOOKED_AT = 4000  # characters
_WORD = re.compile(r"\w+")
_SAME = checks.compiled("language:same")
_NO_REFUSAL = checks.compiled("no_refusal")
_FINISHED = checks.compiled("finished")


@dataclass(frozen=True, slots=True)
class Scorer:
    """weights and bias of the features as they are; `calibrator` makes a probability of their sum."""

    weights: tuple[float, ...]
    bias: float
    calibrator: Calibrator

    def probability(self, question: str, answer: str, rules: Sequence[str] = ()) -> float:
        """rules: the task's checks. About 0.2 ms for an answer of 2,000 characters; never raises."""
        found = features(question, answer, rules)
        return self.calibrator.probability(self.bias + sum(w * f for w, f in zip(self.weights, found, strict=True)))

    def as_dict(self) -> dict[str, Any]:
        named = dict(zip(FEATURES, self.weights, strict=True))
        return {"weights": named, "bias": self.bias, "calibrator": self.calibrator.as_dict()}

    @classmethod
    def of(cls, written: Any) -> Scorer:
        """Raises Damaged for what `as_dict` did not write, or wrote before the features changed."""
        try:
            if set(written["weights"]) != set(FEATURES):
                raise ValueError("features")
            weights = tuple(finite(written["weights"][name]) for name in FEATURES)
            return cls(weights, finite(written["bias"]), Calibrator.of(written["calibrator"]))
        except (KeyError, TypeError, ValueError):
            raise damaged() from None


@dataclass(frozen=True, slots=True)
class Learned:
    """state: "calibrated", "uncalibrated" (fewer than LEAST labels) or "one-sided" (all right, or all wrong).

    out_of_fold: the probability of each label in the order given, ranked by a model that did not see its question.
    ece: expected calibration error, of probabilities made without the fold they are measured on.
    """

    state: str
    labels: int
    agreement: Agreement
    scorer: Scorer | None = None
    ece: float | None = None
    out_of_fold: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {"state": self.state, "labels": self.labels, "ece": self.ece, **self.agreement.as_dict()}


def features(question: str, answer: str, rules: Sequence[str] = ()) -> tuple[float, ...]:
    """In the order of FEATURES."""
    question, answer = question[:LOOKED_AT], answer[:LOOKED_AT].strip()
    asked, said = len(question.strip()), len(answer)
    wanted, there = stems(question), stems(answer)
    words = _WORD.findall(answer.casefold())
    groups = list(zip(words, words[1:], words[2:], strict=False))
    return (
        math.log1p(said) / 5,
        math.log((said + 20) / (asked + 20)) / 3,
        max(0.0, math.log((said + 20) / (asked + 20)) - 3),
        float(_SAME(question, answer)),
        likelihood(cosine(wanted, there)),
        sum(stem in there for stem in wanted) / len(wanted) if wanted else 1.0,
        1 - len(set(groups)) / len(groups) if groups else 0.0,
        1.0 - _NO_REFUSAL(question, answer),
        float(_FINISHED(question, answer)),
        checks.score(rules, question, answer)[0] if rules else float(bool(answer)),
    )


def learn(labels: Sequence[Label], rules: Sequence[str] = (), *, ridge: float = 5.0) -> Learned:
    """Train on labels and measure on those left out."""
    n, good = len(labels), sum(label.right for label in labels)
    if min(good, n - good) < FEWEST_OF_A_KIND:
        return Learned("uncalibrated" if n < LEAST else "one-sided", n, Agreement(n, good))
    x = np.array([features(label.question, label.answer, rules) for label in labels])
    found = measured(x, labels, ridge)
    scorer = Scorer(found.weights, found.bias, found.calibrator)
    score = agreement(found.out_of_fold, [label.right for label in labels])
    return Learned("calibrated" if n >= LEAST else "uncalibrated", n, score, scorer, found.ece, found.out_of_fold)


@dataclass(frozen=True, slots=True)
class Measured:
    """A model of "right" with its figures on labels it did not see. out_of_fold: the probability of each label."""

    weights: tuple[float, ...]
    bias: float
    calibrator: Calibrator
    ece: float
    out_of_fold: tuple[float, ...]


def measured(x: Array, labels: Sequence[Label], ridge: float) -> Measured:
    """Train on the features x (labels, d), each label by its weight; both kinds of labels must be there."""
    right = np.array([label.right for label in labels], dtype=np.float64)
    weights = np.array([label.weight for label in labels])
    weights *= len(labels) / weights.sum()
    questions = [label.question for label in labels]
    if len(set(questions)) < FOLDS:  # one form sent again and again: its answers are all there is to divide
        questions = [label.call for label in labels]
    side = folds(questions, FOLDS)
    trained = fit_scaled(x, right, weights, ridge)
    values = left_out(x, right, weights, side, ridge, x @ trained[:-1] + trained[-1])
    made = calibrate(values, right, weights)
    error = ece(apart(values, right, weights, side), [label.right for label in labels])
    found = tuple(made.probability(float(value)) for value in values)
    return Measured(tuple(map(float, trained[:-1])), float(trained[-1]), made, error, found)


def left_out(x: Array, right: Array, weights: Array, side: Any, ridge: float, whole: Array) -> Array:
    """The value of each row by a model that did not see its fold, on the scale of `whole`, the final model's values.

    Without the common scale a fold with many wrong answers scores highest, because the others have few: over all rows
    together each model's values are brought to the mean and spread of the final one's.
    """
    values = np.zeros(len(x))
    for fold in np.unique(side):
        inside = side == fold
        trained = fit_scaled(x[~inside], right[~inside], weights[~inside], ridge)
        every = x @ trained[:-1] + trained[-1]
        spread = every.std()
        aligned = whole.mean() + (every - every.mean()) * (whole.std() / spread if spread > 1e-12 else 0.0)
        values[inside] = aligned[inside]
    return values


def apart(values: Array, right: Array, weights: Array, side: Any) -> list[float]:
    """The probability of each value by a calibration that was made without its fold."""
    probabilities = np.zeros(len(values))
    for fold in np.unique(side):
        inside = side == fold
        made = calibrate(values[~inside], right[~inside], weights[~inside])
        probabilities[inside] = [made.probability(float(value)) for value in values[inside]]
    return list(map(float, probabilities))


def fit_scaled(x: Array, right: Array, weights: Array, ridge: float) -> Array:
    """As `logistic.fit`, with columns brought to the same spread first; weights are given for `x` as it is."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread < 1e-9] = 1.0
    found = fit((x - mean) / spread, right, weights, ridge=ridge)
    found[:-1] /= spread
    found[-1] -= float(found[:-1] @ mean)
    return found
