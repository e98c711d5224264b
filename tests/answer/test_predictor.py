"""The predictor behind the route `cheapest`: learned from marks, certified, silent while it knows too little."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answer.marked import TASK, call, mark, write
from tuneloop.answer import predictor
from tuneloop.answer.book import Book
from tuneloop.answer.labels import Label
from tuneloop.answer.predictor import COLUMNS, NEVER, Predictors, features, train
from tuneloop.records import Task
from tuneloop.workspace import Workspace

CHEAPEST: Task = replace(TASK, route="cheapest", switch="off")
EASY = ("Where is the key?", "When do you open?", "How much is the ticket?", "Who is on duty today?")
HARD = ("Compare the contracts of both suppliers clause by clause", "Write code that parses {this} log in three passes")


def labels(n: int, *, noise: float = 0.08, seed: int = 0, easy: float = 0.7) -> list[Label]:
    """Simulated: the cheap model answers easy questions well and hard ones badly, up to the noise."""
    draw = random.Random(seed)
    found = []
    for number in range(n):
        simple = draw.random() < easy
        name = "".join(draw.choice("bdgklmnprst") + draw.choice("aeiou") for _n in range(3))
        text = draw.choice(EASY if simple else HARD) + f" asks {name}"
        right = simple if draw.random() > noise else not simple
        found.append(Label(f"c{number}", text, "answer", right))
    return found


def test_easy_questions_go_to_the_cheap_variant() -> None:
    found = train("own", labels(600), target=0.15)
    assert found is not None
    easy, hard = (np.mean([found.probability(text) for text in texts]) for texts in (EASY, HARD))
    assert easy > 0.8
    assert hard < 0.3
    assert hard < found.bar <= easy
    assert found.agreement.auc is not None and found.agreement.auc > 0.85
    assert found.ece < 0.08


def test_the_certified_share_of_wrong_answers_holds_on_new_questions() -> None:
    """300 labels each time; the promise is a bound that holds in nine calibrations of ten."""
    broken, kept = 0, 0.0
    for seed in range(40):
        found = train("own", labels(300, seed=seed), target=0.2)
        assert found is not None
        fresh = labels(1500, seed=1000 + seed)
        sent = [label for label in fresh if found.probability(label.question) >= found.bar]
        kept += len(sent) / 1500
        broken += bool(sent) and sum(not label.right for label in sent) / len(sent) > 0.2
    assert broken <= 7  # 4 are allowed for, and chance
    assert kept / 40 > 0.4


def test_too_few_or_one_sided_labels_predict_nothing() -> None:
    assert train("own", labels(190), target=0.15) is None
    assert train("own", [], target=0.15) is None
    assert train("own", [replace(label, right=True) for label in labels(300)], target=0.15) is None


def test_without_a_certificate_nothing_is_sent_to_the_cheap_one() -> None:
    found = train("own", labels(400, easy=0.05), target=0.01)
    assert found is not None and found.bar == NEVER
    assert found.as_dict()["bar"] is None


def test_marks_in_the_database_teach_the_route_and_new_ones_teach_it_again(workspace: Workspace) -> None:
    known = Predictors(workspace)
    book = Book({}, {CHEAPEST.name: CHEAPEST})
    known.refresh(book, every=0)
    assert known.of(CHEAPEST) is None
    made = labels(260)
    write(
        workspace,
        [call(f"c{n}", question=label.question) for n, label in enumerate(made)],
        [mark(f"c{n}", "up" if label.right else "down", user=f"u{n % 7}") for n, label in enumerate(made)],
    )
    known.refresh(book, every=0)
    first = known.of(CHEAPEST)
    assert first is not None and first.variant == predictor.cheapest(CHEAPEST.variants).name == "own"
    assert known.of(replace(CHEAPEST, route="fixed")) is None
    known.refresh(book, every=0)
    assert known.of(CHEAPEST) is first, "nothing new: nothing learned"
    write(workspace, [call("new", question="Where is it?")], [mark("new", "up")])
    known.refresh(book, every=0)
    assert known.of(CHEAPEST) is not first


@given(st.text(max_size=400))
def test_any_question_has_finite_features(text: str) -> None:
    found = features(text)
    assert len(found) == 7 + COLUMNS
    assert np.isfinite(found).all()
    assert np.linalg.norm(found[7:]) == pytest.approx(1.0) or not any(found[7:])
