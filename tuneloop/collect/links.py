"""Who answers whom: guesses by a ranker trained on the chat's own reply links.

A fifth of the links is hidden for good and only used to test. The ranker looks twice (features.py, beliefs.py); each
look is trained in folds, so that no link is ever visible to its own features. A guess is used only above a
probability that reached the wanted precision on links not trained on, and the precision it then had on the hidden
links is part of the figures.

The figures hold for messages that answer something. A message without a link may also start a new subject, which
reply links cannot teach; turns that greet everybody are therefore never linked by a guess (dialogues.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tuneloop import stats
from tuneloop.collect import beliefs, features
from tuneloop.collect.columns import Columns, Ints
from tuneloop.collect.features import WINDOW, Floats, Rows, Truth
from tuneloop.progress import Progress, silent
from tuneloop.texts import _

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier as Model

FEWEST_LINKS = 200  # below it 20 % are under 40 hidden links: a precision of 0.85 would be known to +-0.11 only
MOST_LINKS = 10_000  # the newest; 2,000 -> 10,000 links add 0.2 points of F on the Ubuntu IRC set
NEWEST = 40_000  # guesses are made among this many newest messages; reply links are used everywhere
HIDDEN = 0.2
MODELS = 3  # of each look; a link is judged by one that did not learn it
FOLDS = 9  # a link is learnt from features that see all links but its own ninth, nearly as many as a test's see
NEGATIVES = 0.15  # share of wrong candidates the first look learns from; all cost 5 x the time and gain nothing
LIKELIEST = 12  # candidates of the first look that get a second one: all 25 gain nothing and take twice the memory
IMPOSSIBLE = -30.0  # log-odds

Figures = dict[str, Any]
Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Guesses:
    """For some messages without a link (`rows`: positions) the likeliest parent and how likely it is."""

    rows: Rows
    parent: Ints
    chance: Floats
    threshold: float  # below it a guess is not to be used
    figures: Figures
    tested: Answers  # the hidden links


def teach(columns: Columns) -> bool:
    """Whether the chat has reply links enough to learn from."""
    return int((columns.parent >= 0).sum()) >= FEWEST_LINKS


def guess(columns: Columns, precision: float, *, seed: int = 0, watch: Progress = silent) -> Guesses | None:
    """Train on the chat's reply links, test on the hidden ones, guess the rest; None under FEWEST_LINKS links.

    columns: at most about NEWEST messages (`Columns.newest`), or it takes long; with `likeness.compared` or without,
    which costs 2 points of F.
    precision: the share of used guesses that must be right, message for message, on links not trained on.
    """
    if not teach(columns):
        return None
    linked = np.flatnonzero(columns.parent >= 0)[-MOST_LINKS:]
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(linked)
    hidden = np.sort(mixed[: round(len(mixed) * HIDDEN)])
    folds = [np.sort(mixed[len(hidden) :][number::FOLDS]) for number in range(FOLDS)]
    loose = np.flatnonzero((columns.parent < 0) & (np.diff(columns.burst, prepend=-1) != 0))
    scores = _first_look(columns, _without(columns.parent, hidden), folds, np.concatenate((hidden, loose)), rng, watch)
    seen, tested, model = _second_look(columns, hidden, folds, scores, watch)
    found = _answers(columns, model, loose, _state(columns, columns.parent, scores), scores)
    figures = {"trained_on": sum(map(len, folds)), "wanted_precision": precision, "newest_messages": len(columns)}
    threshold = _threshold(seen, precision)
    figures |= _figures(columns, tested, threshold, _best_f(seen))
    figures |= baselines(columns, np.concatenate(folds), hidden)
    return Guesses(loose, found.parent, found.chance, threshold, figures, tested)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Predictions for `rows`; `right` where the true parent is known."""

    rows: Rows
    parent: Ints
    chance: Floats
    right: Truth


def _without(visible: Ints, rows: Rows) -> Ints:
    fewer = visible.copy()
    fewer[rows] = -1
    return fewer


def _fit(inputs: list[list[Values]], labels: list[list[Truth]]) -> Model:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.1,
        max_leaf_nodes=20,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    values = np.concatenate([part for parts in inputs for part in parts], dtype=np.float64)  # as sklearn wants it
    with _one_thread():
        return model.fit(values, np.concatenate([part for parts in labels for part in parts]))


def _one_thread() -> AbstractContextManager[object]:
    """The sums of several threads differ in their last bit; and two on busy cores took 46 s where one took 5 s."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(limits=1)  # type: ignore[no-any-return]


def _log_odds(model: Model, values: Floats, exists: Truth) -> Floats:
    found = np.full(exists.shape, IMPOSSIBLE, np.float32)
    real = values[exists]
    # Each tree walks over all rows it is given: pieces that fit the processor's cache are 2.5 x faster.
    with _one_thread():
        odds = [model.decision_function(real[start : start + 2500]) for start in range(0, len(real), 2500)]
    found[exists] = np.concatenate(odds) if odds else 0
    return found


def _parts(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), features.CHUNK):
        yield rows[start : start + features.CHUNK]


def _first_look(
    columns: Columns, visible: Ints, folds: list[Rows], others: Rows, rng: np.random.Generator, watch: Progress
) -> Floats:
    """Log-odds of every candidate, (n, WINDOW), for the rows of the folds and for `others`.

    Each fold is judged by a model that did not learn it, from features without its links. Fold f belongs to model
    f % MODELS.
    """
    inputs: list[list[Values]] = [[] for _fold in folds]
    labels: list[list[Truth]] = [[] for _fold in folds]
    # Half precision: half the memory, and trees only ask what is larger.
    for number, fold in enumerate(folds):
        known = features.threads(columns, _without(visible, fold))
        for rows in _parts(fold):
            values, place, exists = features.pairs(columns, known, rows)
            right = (place == columns.parent[rows][:, None]) & exists
            kept = exists & (right | (rng.random(exists.shape) < NEGATIVES))
            inputs[number].append(values[kept].astype(np.float16))
            labels[number].append(right[kept])
    scores = np.full((len(columns), WINDOW), IMPOSSIBLE, np.float32)
    for left_out in range(MODELS + 1):  # the last model leaves nothing out
        watch(_("learning who answers whom"), left_out, MODELS + 1)
        used = [number for number in range(len(folds)) if number % MODELS != left_out]
        model = _fit([inputs[n] for n in used], [labels[n] for n in used])
        judged = [(fold, _without(visible, fold)) for number, fold in enumerate(folds) if number not in used]
        for rows_of, seen in judged or [(others, visible)]:
            known = features.threads(columns, seen)
            for rows in _parts(rows_of):
                values, _place, exists = features.pairs(columns, known, rows)
                # Learnt with fewer wrong candidates than there are; weights would say so too, but then sklearn 1.9
                # takes ten times as long to fit.
                scores[rows] = _log_odds(model, values, exists) + math.log(NEGATIVES)
    return scores


def _state(columns: Columns, visible: Ints, scores: Floats) -> Floats:
    """Beliefs about every message: certain where its link is visible, else what the first look said."""
    state = beliefs.normalised(scores)
    linked = np.flatnonzero(visible >= 0)
    state[linked] = 0
    back = linked - visible[linked] - 1
    near = back < WINDOW
    state[linked[near], back[near]] = 1
    return state


def _second_values(
    columns: Columns, known: features.Threads, state: Floats, rows: Rows, scores: Floats
) -> tuple[Floats, Truth]:
    place, exists = features.candidates(columns, rows)
    rank = np.argsort(np.argsort(-scores[rows], axis=1, kind="stable"), axis=1)
    return beliefs.features(columns, known, state, rows, place, exists, scores[rows]), exists & (rank < LIKELIEST)


def _second_look(
    columns: Columns, hidden: Rows, folds: list[Rows], scores: Floats, watch: Progress
) -> tuple[Answers, Answers, Model]:
    """Answers for the folds (each by a model that did not learn it) and for the hidden links; the final model."""
    visible = _without(columns.parent, hidden)
    known = features.threads(columns, visible)
    inputs: list[list[Values]] = [[] for _fold in folds]
    labels: list[list[Truth]] = [[] for _fold in folds]
    for number, fold in enumerate(folds):
        state = _state(columns, _without(visible, fold), scores)
        for rows in _parts(fold):
            values, exists = _second_values(columns, known, state, rows, scores)
            place = features.candidates(columns, rows)[0]
            inputs[number].append(values[exists])
            labels[number].append((place == columns.parent[rows][:, None])[exists])
    seen = []
    for left_out in range(MODELS):
        used = [number for number in range(len(folds)) if number % MODELS != left_out]
        model = _fit([inputs[n] for n in used], [labels[n] for n in used])
        for fold in folds[left_out::MODELS]:
            state = _state(columns, _without(visible, fold), scores)
            seen.append(_answers(columns, model, fold, state, scores, known))
    model = _fit(inputs, labels)
    tested = _answers(columns, model, hidden, _state(columns, visible, scores), scores, known)
    whole = Answers(*(np.concatenate([getattr(part, name) for part in seen]) for name in Answers.__slots__))
    return whole, tested, model


def _answers(
    columns: Columns, model: Model, rows: Rows, state: Floats, scores: Floats, known: features.Threads | None = None
) -> Answers:
    known = known or features.threads(columns, columns.parent)
    parent, chance = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.float32)
    for number, part in enumerate(_parts(rows)):
        values, exists = _second_values(columns, known, state, part, scores)
        odds = _log_odds(model, values, exists)
        best, lines = odds.argmax(axis=1), np.arange(len(part))
        at = slice(number * features.CHUNK, number * features.CHUNK + len(part))
        parent[at] = features.candidates(columns, part)[0][lines, best]
        chance[at] = 1 / (1 + np.exp(-odds[lines, best]))
    return Answers(rows, parent, chance, parent == columns.parent[rows])


def _threshold(seen: Answers, precision: float) -> float:
    """The lowest probability above which guesses were right often enough, even at the lower end of a one-sided 95 %
    Wilson interval; infinite when none was."""
    order = np.argsort(-seen.chance, kind="stable")
    right, n = np.cumsum(seen.right[order]), np.arange(1, len(order) + 1)
    z = 1.645
    share = right / n
    low = (share + z * z / (2 * n) - z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    good = np.flatnonzero(low >= precision)
    return float(seen.chance[order][good[-1]]) if len(good) else math.inf


def _best_f(seen: Answers) -> float:
    """The probability below which making no guess gives the best F."""
    order = np.argsort(-seen.chance, kind="stable")
    f = 2 * np.cumsum(seen.right[order]) / (np.arange(1, len(order) + 1) + len(order))
    return float(seen.chance[order][f.argmax()])


def _figures(columns: Columns, tested: Answers, threshold: float, best: float) -> Figures:
    """Message for message over the hidden links: precision = right / guessed, recall = right / hidden."""
    n = len(tested.rows)
    turn = columns.burst[tested.parent] == columns.burst[columns.parent[tested.rows]]
    guessed, used = tested.chance >= best, tested.chance >= threshold
    right, kept, kept_right = int((tested.right & guessed).sum()), int(used.sum()), int((tested.right & used).sum())
    return {
        "hidden": n,
        "precision": right / max(1, int(guessed.sum())),
        "recall": right / n,
        "f": 2 * right / (int(guessed.sum()) + n),
        "turn_f": 2 * int((turn & guessed).sum()) / (int(guessed.sum()) + n),
        "always_guessing": float(tested.right.mean()),
        "turn_always_guessing": float(turn.mean()),
        "threshold": threshold if kept else None,
        "precision_at_threshold": kept_right / kept if kept else None,
        "precision_interval": list(stats.wilson(kept_right, kept)),
        "turn_precision_at_threshold": float(turn[used].mean()) if kept else None,
        "recall_at_threshold": kept_right / n,
    }


def baselines(columns: Columns, learnt: Rows, hidden: Rows) -> Figures:
    """F of two simple rules on the hidden links: the message before, and the message before unless a pause
    (chosen on the learnt links out of 1 minute ... 1 day) lies between."""
    best = max((60, 120, 300, 600, 1800, 3600, 86400), key=lambda pause: _gap_f(columns, learnt, pause))
    return {
        "previous_f": float((columns.parent[hidden] == hidden - 1).mean()),
        "gap_f": _gap_f(columns, hidden, best),
        "gap_seconds": best,
    }


def _gap_f(columns: Columns, rows: Rows, pause: int) -> float:
    near = columns.time[rows] - columns.time[rows - 1] <= pause
    right = int((near & (columns.parent[rows] == rows - 1)).sum())
    return 2 * right / (int(near.sum()) + len(rows))
