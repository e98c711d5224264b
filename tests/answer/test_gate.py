"""The gate on simulated contestants: it rarely promotes what is not better, and says when it cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from tuneloop.answer.gate import Item, Memory, bits_per_char, compare_bits, compare_chrf, decide
from tuneloop.records import Verdict

CLEAN = Memory(train_copied=0, train_tried=50, heldout_copied=0, heldout_tried=50)


def simulated(n: int, gain: float, seed: int, *, per_dialogue: int = 2, retrieval_gain: float = 0.0) -> list[Item]:
    """n questions where the candidate is better than "base" by `gain` nats per character on average, with noise as
    large as seen on real chats (0.4 nats per character between questions, half of it shared in a dialogue)."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(n):
        if number % per_dialogue == 0:
            shared = rng.normal(0, 0.2)
        chars = int(rng.integers(15, 120))
        base = 2.0 * chars + rng.normal(0, 5)
        tuned = base - chars * (gain + shared + rng.normal(0, 0.35))
        truth = rng.uniform(5, 30)
        items.append(
            Item(
                example=str(number),
                dialogue=str(number // per_dialogue),
                chars=chars,
                nats={"tuned": tuned, "base": base},
                chrf={"tuned": truth + retrieval_gain + rng.normal(0, 4), "history": truth},
            )
        )
    return items


def verdict(items: list[Item], memory: Memory = CLEAN, **options: object) -> Verdict:
    return decide(items, memory, candidate="tuned", rivals=["base"], **options)  # type: ignore[arg-type]


def test_a_better_model_is_promoted_with_the_figures() -> None:
    said = verdict(simulated(120, 0.3, 1), retrieval="history")
    assert said.decision == "promote", said.why
    assert said.figures["against"]["base"]["low"] > 0
    assert said.figures["bits_per_char"]["tuned"] < said.figures["bits_per_char"]["base"]
    assert "base" in said.why and "bits per character" in said.why


def test_too_few_questions_is_not_enough_data() -> None:
    said = verdict(simulated(12, 1.0, 1))
    assert said.decision == "not enough data" and "12 held-out questions" in said.why


def test_an_equal_model_is_rarely_promoted() -> None:
    """Two-sided 95 % intervals leave 2.5 % in the direction of promotion; the bootstrap of 60 adds a little."""
    runs = 300
    promoted = sum(verdict(simulated(60, 0.0, seed)).decision == "promote" for seed in range(runs))
    assert promoted <= 0.05 * runs


def test_a_worse_model_is_never_promoted() -> None:
    decisions = [verdict(simulated(60, -0.15, seed)).decision for seed in range(200)]
    assert decisions.count("promote") <= 2  # 1 %
    assert decisions.count("refuse") >= 190


def test_a_gain_that_chance_could_make_asks_for_more_questions() -> None:
    unclear = next(
        said for seed in range(100) if (said := verdict(simulated(40, 0.05, seed))).decision == "not enough data"
    )
    assert "more questions" in unclear.why


def test_losing_to_retrieval_is_a_refusal() -> None:
    said = verdict(simulated(120, 0.3, 1, retrieval_gain=-6.0), retrieval="history")
    assert said.decision == "refuse" and "history" in said.why


@pytest.mark.parametrize(
    ("memory", "word"),
    [
        (Memory(0, 50, 0, 50, canaries=5, canaries_extracted=1), "secrets"),
        (Memory(30, 50, 1, 50), "word for word"),
    ],
)
def test_a_parrot_is_refused_however_good_it_is(memory: Memory, word: str) -> None:
    said = verdict(simulated(120, 0.5, 1), memory)
    assert said.decision == "refuse" and word in said.why


def test_chance_overlap_does_not_refuse() -> None:
    assert verdict(simulated(120, 0.5, 1), Memory(2, 50, 1, 50)).decision == "promote"


def test_bits_per_char_is_the_definition() -> None:
    items = [Item("a", "d", 10, {"m": 10 * np.log(2)}, {}), Item("b", "d", 30, {"m": 50 * np.log(2)}, {})]
    assert bits_per_char(items, "m") == pytest.approx(60 / 40)


def test_comparisons_are_signed_towards_the_candidate() -> None:
    items = simulated(60, 0.3, 3, retrieval_gain=5.0)
    there, back = compare_bits(items, "tuned", "base"), compare_bits(items, "base", "tuned")
    assert there["gain"] > 0 > back["gain"] and there["gain"] == pytest.approx(-back["gain"])
    assert there["p"] < 0.01 < back["p"]
    assert compare_chrf(items, "tuned", "history")["low"] > 0


@pytest.mark.parametrize("canaries", [3, 5, 10])
def test_exposure_by_chance_is_exceeded_one_time_in_twenty(canaries: int) -> None:
    """By simulation: a model that has never seen a secret ranks it anywhere among 256."""
    ranks = np.random.default_rng(canaries).integers(1, 257, (40_000, canaries))
    exposures = np.log2(256 / ranks).mean(axis=1)
    said = verdict(simulated(40, 0.3, 1), Memory(0, 50, 0, 50, canaries=canaries, exposure=1.0))
    bar = said.figures["memory"]["exposure_by_chance"]
    assert (exposures > bar).mean() == pytest.approx(0.05, abs=0.01)


def test_without_planted_secrets_there_is_no_bar() -> None:
    assert verdict(simulated(40, 0.3, 1)).figures["memory"]["exposure_by_chance"] == 0
