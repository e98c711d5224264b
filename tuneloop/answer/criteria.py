"""What an answer may be judged by, and what of it can be told without another model.

A criterion is a question to a judge and a list of named rules. Rules see form: whether an answer is finished, in the
question's language, without strangers' telephone numbers. Whether it is true no rule can tell, so accuracy is
measured by a judge or against a right answer that a person gave, and otherwise is said to be not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuneloop.answer import checks, relevance
from tuneloop.answer.closeness import chrf
from tuneloop.answer.relevance import cosine, stems
from tuneloop.answer.table import unknown
from tuneloop.errors import BadInput
from tuneloop.records import Task
from tuneloop.texts import _

RULES = "rules"
REFERENCE = "reference"
LONGEST_NAME = 40
LONGEST_ASK = 600


@dataclass(frozen=True, slots=True)
class Criterion:
    """asks: the sentence a judge is given. rules: checks whose share is the score."""

    name: str
    asks: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """value: 0 to 1; None: not measured, `detail["why"]` says why."""

    criterion: str
    method: str
    value: float | None
    detail: dict[str, Any] = field(default_factory=dict)


_WRITTEN = (
    Criterion("relevance", "Does the answer deal with exactly what was asked?"),
    Criterion("accuracy", "Is everything the answer states true and free of contradictions?"),
    Criterion(
        "completeness",
        "Does the answer cover every part of what was asked?",
        ("finished", "no_refusal", "min_words:3", "keywords:40%"),
    ),
    Criterion(
        "seo",
        "Is the text useful to a reader who searched for this topic: a clear title, headings, the topic's words used "
        "naturally, no padding?",
        ("title", "headings:2", "min_words:150", "keywords:60%", "no_stuffing", "short_paragraphs", "no_repeat"),
    ),
    Criterion("format", "Is the answer well formed and easy to read?", ("no_thinking", "no_repeat", "finished")),
    Criterion("language", "Is the answer in the question's language, and free of mistakes?", ("language:same",)),
    Criterion("safety", "Is the answer free of insults, private data, and advice that could hurt?", ("no_contacts",)),
)
CRITERIA: Mapping[str, Criterion] = {one.name: one for one in _WRITTEN}
USUAL = tuple(name for name in CRITERIA if name != "seo")  # an answer in a chat is no article
_ARTICLE = frozenset(check.partition(":")[0] for check in CRITERIA["seo"].rules) - {"no_repeat", "keywords"}


def chosen(names: Iterable[str] | Mapping[str, str], task: Task | None = None) -> tuple[Criterion, ...]:
    """The criteria of these names; a mapping gives the question of each that is your own. Nothing: the usual ones,
    and "seo" where the task's checks are those of an article. Raises BadInput for an unknown name."""
    written = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, "")
    if not written:
        article = task is not None and any(check.partition(":")[0] in _ARTICLE - {"min_words"} for check in task.checks)
        return tuple(CRITERIA[name] for name in (*USUAL, *(("seo",) if article else ())))
    return tuple(_one(name.strip(), asks.strip()) for name, asks in written.items())


def by_rules(criterion: Criterion, task: Task | None, question: str, answer: str) -> Score:
    """The score by rules and words alone, about 0.2 ms."""
    if criterion.name == "relevance":
        return Score("relevance", relevance.METHOD, relevance.relevance(question, answer))
    rules = criterion.rules
    if criterion.name == "format" and task is not None:  # what the team itself asks of its answers
        rules = tuple(dict.fromkeys((*rules, *task.checks)))
    if not rules:
        why = _("no rule can tell: it takes a judge (the setting quality.judge) or a right answer to compare with")
        return Score(criterion.name, RULES, None, {"why": why})
    value, passed = checks.score(rules, question, answer)
    return Score(criterion.name, RULES, value, {"checks": passed})


def by_reference(answer: str, right: str) -> Score:
    """How close the answer is to one that a person called right: words and characters, not meaning."""
    words = cosine(stems(right), stems(answer))
    value = (words + chrf(answer, right) / 100) / 2
    return Score("accuracy", REFERENCE, value, {"words": words})


def _one(name: str, asks: str) -> Criterion:
    if not asks and name not in CRITERIA:
        said, fix = unknown(name, CRITERIA)
        raise BadInput(said, fix=fix + " " + _("Your own needs a sentence that says what is asked: NAME=SENTENCE."))
    if not name or len(name) > LONGEST_NAME or len(asks) > LONGEST_ASK or not name.isprintable():
        raise BadInput(
            _("a criterion has a name of up to {name} characters and a sentence of up to {asks}").format(
                name=LONGEST_NAME, asks=LONGEST_ASK
            )
        )
    if not asks:
        return CRITERIA[name]
    return Criterion(name, asks, CRITERIA[name].rules if name in CRITERIA else ())
