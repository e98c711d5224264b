"""The score learned from clicks: better than a coin, calibrated, and silent where it knows too little."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.answer.labels import Label
from tuneloop.answer.learned import FEATURES, Scorer, features, learn
from tuneloop.answer.threshold import calibrate
from tuneloop.errors import Damaged

TOPICS = (
    ("How do I oil a bicycle chain?", "Wipe the bicycle chain, then oil every link of it."),
    ("When does the shop open on Sunday?", "The shop opens at ten on Sunday."),
    ("Which tyre fits a wheel of 28 inches?", "A tyre of 28 inches fits the wheel."),
    ("What does the repair of a brake cost?", "The repair of a brake costs about twenty."),
)
WRONG = ("I am sorry, I cannot help with that.", "yes", "It rains in the north today", "Протрите цепь тряпкой.")


def labels(n: int, seed: int = 0, noise: float = 0.08) -> list[Label]:
    """Simulated clicks: right answers are praised and wrong ones faulted, up to the noise."""
    draw = random.Random(seed)
    made = []
    for number in range(n):
        question, answer = draw.choice(TOPICS)
        good = draw.random() < 0.7
        right = good if draw.random() > noise else not good
        made.append(Label(f"c{number}", f"{question} ({number})", answer if good else draw.choice(WRONG), right))
    return made


def test_clicks_teach_a_calibrated_score() -> None:
    found = learn(labels(600))
    assert found.state == "calibrated" and found.scorer is not None
    assert found.agreement.low is not None and found.agreement.low > 0.75
    assert found.ece is not None and found.ece <= 0.05
    question, answer = TOPICS[0]
    assert found.scorer.probability(question, answer) > 0.8
    assert found.scorer.probability(question, WRONG[0]) < 0.3
    assert Scorer.of(found.scorer.as_dict()) == found.scorer


def test_noise_teaches_nothing_and_is_seen_to() -> None:
    draw = random.Random(3)
    found = learn([Label(f"c{n}", f"q{n}", draw.choice(WRONG), draw.random() < 0.5) for n in range(400)])
    assert found.agreement.low is not None and found.agreement.low < 0.5
    assert all(0.3 < p < 0.7 for p in found.out_of_fold)


def test_the_bar_that_was_certified_holds_on_new_answers() -> None:
    """300 labels each time; the promise is a bound that holds in nine calibrations of ten."""
    broken = certified = 0
    for seed in range(30):
        made = labels(300, seed)
        found = learn(made)
        bar = calibrate(found.out_of_fold, [label.right for label in made], target=0.2).threshold
        assert found.scorer is not None
        if bar is None:
            continue
        certified += 1
        fresh = labels(1500, 1000 + seed)
        sent = [label for label in fresh if found.scorer.probability(label.question, label.answer) >= bar]
        broken += sum(not label.right for label in sent) / len(sent) > 0.2
    assert certified >= 20
    assert broken <= 6  # 3 are allowed for, and chance


def test_few_labels_and_labels_of_one_kind_are_said_to_be() -> None:
    assert learn(labels(60)).state == "uncalibrated"
    assert learn([]).state == "uncalibrated"
    one_sided = learn([Label(f"c{n}", f"q{n}", "a", True) for n in range(200)])
    assert (one_sided.state, one_sided.scorer) == ("one-sided", None)


def test_one_question_asked_again_and_again_can_be_learned_from() -> None:
    found = learn([Label(f"c{n}", "How?", "yes." if n % 3 else "no", bool(n % 3)) for n in range(120)])
    assert found.state == "calibrated" and found.agreement.auc == 1.0


def test_a_rare_variant_s_label_weighs_more() -> None:
    made = labels(300)
    heavy = [Label(x.call, x.question, x.answer, x.right, 20.0 if n % 10 == 0 else 1.0) for n, x in enumerate(made)]
    plain, weighed = learn(made).scorer, learn(heavy).scorer
    assert plain is not None and weighed is not None and plain.weights != weighed.weights


@pytest.mark.parametrize("spoiled", ["weights", "bias", "calibrator"])
def test_a_score_of_another_version_is_damaged(spoiled: str) -> None:
    scorer = learn(labels(200)).scorer
    assert scorer is not None
    written = scorer.as_dict()
    written[spoiled] = None
    with pytest.raises(Damaged):
        Scorer.of(written)
    with pytest.raises(Damaged):
        Scorer.of(scorer.as_dict() | {"weights": {"length": 1.0}})


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_texts_have_finite_features(question: str, answer: str) -> None:
    found = features(question, answer, ("min_chars:5",))
    assert len(found) == len(FEATURES)
    assert np.isfinite(found).all()
