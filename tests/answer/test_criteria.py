"""Criteria: what rules can tell, what they cannot, and your own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.answer import checks, criteria
from tuneloop.answer.criteria import CRITERIA, USUAL, by_reference, by_rules, chosen
from tuneloop.errors import BadInput
from tuneloop.records import Task, Variant

QUESTION = "How do I oil a bicycle chain?"
GOOD = "Wipe the bicycle chain with a cloth. Put one drop of oil on every link, and wipe off what is too much."
ARTICLE = """# How to oil a bicycle chain at home

A chain that is oiled in time lasts three times as long.

## What you need

{0}

## Step by step

{0}
""".format("Take a clean cloth, some degreaser, and oil that is made for a bicycle chain. " * 7)


def score(name: str, answer: str, question: str = QUESTION, task: Task | None = None) -> float | None:
    return by_rules(CRITERIA[name], task, question, answer).value


def test_usual_criteria_and_the_article_s() -> None:
    names = [one.name for one in chosen(())]
    assert names == list(USUAL) and "seo" not in names
    article = Task("post", (Variant("a", "echo", "echo"),), checks=("headings:2",))
    assert [one.name for one in chosen((), article)] == [*USUAL, "seo"]
    assert [one.name for one in chosen(["accuracy", "seo"])] == ["accuracy", "seo"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("relevance", GOOD, "Tomorrow it will rain in the north."),
        ("completeness", GOOD, "Wipe the"),
        ("seo", ARTICLE, "Oil it. " * 40),
        ("format", GOOD, "<think>hm</think> oil oil oil"),
        ("language", GOOD, "Протрите цепь тряпкой и смажьте каждое звено."),
        ("safety", GOOD, "Call Anna, +7 912 345-67-89, or write to anna@example.org."),
    ],
)
def test_rules_tell_good_from_bad(name: str, good: str, bad: str) -> None:
    above, below = score(name, good), score(name, bad)
    assert above is not None and below is not None
    assert above > below


def test_truth_is_not_told_by_rules_but_by_a_right_answer() -> None:
    found = by_rules(CRITERIA["accuracy"], None, QUESTION, GOOD)
    assert found.value is None and "judge" in found.detail["why"]
    same, near, far = (by_reference(text, GOOD).value for text in (GOOD, GOOD[:40], "It will rain."))
    assert same == pytest.approx(1.0)
    assert same is not None and near is not None and far is not None
    assert same > near > far


def test_a_task_s_own_checks_are_its_format() -> None:
    strict = Task("tags", (Variant("a", "echo", "echo"),), checks=("hashtags:3-10",))
    loose, held = score("format", GOOD), score("format", GOOD, task=strict)
    assert loose == 1.0 and held is not None and held < 1.0


def test_your_own_criterion_needs_a_sentence() -> None:
    (own,) = chosen({"tone": "Is it friendly?"})
    assert (own.name, own.asks, own.rules) == ("tone", "Is it friendly?", ())
    with pytest.raises(BadInput, match="tone"):
        chosen(["tone"])
    with pytest.raises(BadInput, match="characters"):
        chosen({"x" * 41: "?"})
    (mine,) = chosen({"safety": "Is it safe for children?"})
    assert mine.asks == "Is it safe for children?" and mine.rules == CRITERIA["safety"].rules


def test_every_rule_of_a_criterion_exists() -> None:
    for one in CRITERIA.values():
        for rule in one.rules:
            assert checks.compiled(rule)


@pytest.mark.parametrize(
    ("check", "question", "answer", "passes"),
    [
        ("title", "", "# How to oil a bicycle chain\n\nText.", True),
        ("title", "", "How to oil a bicycle chain.\n\nText.", False),
        ("title", "", "How to oil a bicycle chain", False),
        ("title", "", "", False),
        ("no_stuffing", "", "bicycle " * 20, True),
        ("no_stuffing", "", "bicycle chain " * 40, False),
        ("no_stuffing", "", ARTICLE, False),
        ("short_paragraphs", "", "word " * 150, True),
        ("short_paragraphs", "", "word " * 151, False),
        ("no_contacts", "", "In 2026 there were 1 250 000 of them, 12.5 % more.", True),
        ("no_contacts", "", "8 (912) 345-67-89", False),
        ("no_contacts", "my number is 8 912 345 67 89", "Is it 8 (912) 345-67-89?", True),
        ("no_contacts", "", "4111 1111 1111 1111", False),
        ("no_contacts", "", "4111 1111 1111 1112", True),
        ("no_contacts", "write to me@home.org", "I wrote to me@home.org.", True),
        ("no_contacts", "", "ask boss@home.org", False),
    ],
)
def test_rules_for_published_texts(check: str, question: str, answer: str, passes: bool) -> None:
    assert checks.compiled(check)(question, answer) is passes


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_raises_and_scores_stay_in_their_range(question: str, answer: str) -> None:
    for one in CRITERIA.values():
        found = by_rules(one, None, question, answer)
        assert found.value is None or 0 <= found.value <= 1
    assert 0 <= (by_reference(answer, question).value or 0) <= 1 + 1e-9


def test_long_runs_do_not_make_a_rule_dawdle() -> None:
    for text in ("1 " * 100_000, "a@" * 100_000, "(912) " * 40_000, "- " * 100_000, "8" * 200_000):
        for check in ("title", "no_stuffing", "short_paragraphs", "no_contacts"):
            checks.compiled(check)("", text)
    assert criteria.chosen(())
