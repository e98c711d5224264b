"""Named yes/no rules every example is held against. Their share is the "rule pass rate"; it is never called quality:
only `dataset audit`, where a person looks, measures that.

Rules see the scrubbed text, so placeholders like [name] may appear in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tuneloop.collect.words import LISTS, lemmas
from tuneloop.records import Example
from tuneloop.texts import _

PLACEHOLDER = re.compile(r"\[[a-z]+\]")
WORD = re.compile(r"[^\W\d_]{2,}")
# "выше" alone is also "higher", so a word of telling or pointing must stand beside it.
ELSEWHERE = re.compile(
    r"\b(?:(?:см\.?|смотри\w*|написан\w*|писал\w*|совету\w+|советовал\w*|обсужда\w+|описа\w+|скинул\w*|ответ\w*|задал\w*"
    r"|увидел\w*|сообщени\w+|ссылк\w+|речь|сказан\w*|где-то|вот|есть)\s+выше"
    r"|выше\s+(?:(?:же|уже|было)\s+)*(?:написан|писал|советуют|обсужда|описа|скин|кинул|ответ|сказан|в переписке|в чате"
    r"|скрин|ссылк)\w*"
    r"|в закреп\w*|на (?:этом )?скрин\w*|вон тот|вот этот пост"
    r"|see above|as i (?:said|wrote) above|mentioned above|pinned (?:message|post)|in the screenshot)\b",
    re.IGNORECASE,
)
POINTING = re.compile(r"^\W*[\^☝👆⬆]+")
FILLER, HANGING, YES_NO = LISTS["filler"], LISTS["hanging"], LISTS["yes_no"]
UNSURE = frozenset({"", "und"})
SAD = re.compile(r"[:;=]-?\(+|\({2,}|\(+\s*$", re.MULTILINE)  # no brackets
CLOSING = {"(": ")", "[": "]", "{": "}", "«": "»", "“": "”"}


@dataclass(frozen=True)
class Score:
    """What the rules say. `failed` maps example id to the names of the rules it fails (absent: passes all)."""

    rates: dict[str, float]
    all_pass: float
    by_chance: float  # pass rate of `answers_question` when answers are dealt to other questions
    failed: dict[str, list[str]] = field(default_factory=dict)


def describe() -> dict[str, str]:
    """Rule name -> one sentence for people."""
    return {
        "answers_question": _("shares a content word with the question or its context, or answers yes or no"),
        "says_something": _("more than a filler word"),
        "more_than_placeholders": _("words are left beside the [placeholders] of the privacy step"),
        "not_cut": _("does not end in the middle of a thought, a bracket or a code block"),
        "not_only_a_question": _("not merely a question in return"),
        "stands_alone": _("does not lean on something unseen ('see above', a screenshot, a pinned post)"),
        "length_fits": _("neither 40 times longer nor 40 times shorter than the question"),
        "same_language": _("in the language of the question"),
        "no_personal_data": _("no e-mail, phone, card, link or @name is left"),
        "linked_for_certain": _("an explicit reply, a turn of a two-person chat, or a link above 95 %"),
    }


def score(
    examples: Sequence[Example],
    *,
    identify: Callable[[str], str],
    find_personal: Callable[[str], Mapping[str, int]],
) -> Score:
    """Hold every example against every rule.

    identify: text -> language code ("" or "und" when unsure). find_personal: text -> {kind: n} still
    in it.
    """
    checks = RULES | {"same_language": _same_language(identify), "no_personal_data": _nothing_personal(find_personal)}
    passed = dict.fromkeys(describe(), 0)
    failed: dict[str, list[str]] = {}
    for example in examples:
        for name in passed:
            if checks[name](example):
                passed[name] += 1
            else:
                failed.setdefault(example.id, []).append(name)
    n = max(1, len(examples))
    return Score(
        rates={name: round(good / n, 4) for name, good in passed.items()},
        all_pass=round((len(examples) - len(failed)) / n, 4),
        by_chance=round(_by_chance(examples), 4),
        failed=failed,
    )


def answers_question(example: Example) -> bool:
    """The answer shares a lemma with what was asked (or the turns before), or says yes or no to a question."""
    answer = lemmas(example.answer)
    asked = lemmas(example.question) | {lemma for _role, text in example.context[-2:] for lemma in lemmas(text)}
    if answer & asked or (answer and asked and not _comparable(answer, asked)):
        return True
    first = WORD.search(example.answer.lower())
    return "?" in example.question and first is not None and first.group() in YES_NO


def _comparable(one: set[str], other: set[str]) -> bool:
    """Whether both have words of one alphabet; otherwise no word can be shared, and `same_language` judges."""
    return bool(_alphabets(one) & _alphabets(other))


def _alphabets(words: set[str]) -> set[str]:
    return {"cyrillic" if "\u0400" <= word[0] <= "\u04ff" else "other" for word in words}


def says_something(example: Example) -> bool:
    words = WORD.findall(PLACEHOLDER.sub(" ", example.answer.lower()))
    meaningful = [w for w in words if w not in FILLER]
    return len(meaningful) >= 1 and (len(words) >= 2 or len(meaningful[0]) >= 4)


def more_than_placeholders(example: Example) -> bool:
    return all(WORD.search(PLACEHOLDER.sub(" ", text)) for text in (example.question, example.answer))


def not_cut(example: Example) -> bool:
    text = example.answer.rstrip()
    if text.endswith((",", "-", "–", "—", ":", ";")) or text.count("```") % 2:
        return False
    words = WORD.findall(text.lower()) or [""]
    if text[-1:].isalpha() and words[-1] in HANGING:
        return False
    text = SAD.sub(" ", text)
    # ")" alone is a smile in Russian chats, so only an opening without its closing counts.
    return all(text.count(opening) <= text.count(closing) for opening, closing in CLOSING.items())


def not_only_a_question(example: Example) -> bool:
    text = PLACEHOLDER.sub(" ", example.answer).strip()
    sentences = [s for s in re.split(r"(?<=[.!?…\n])\s*", text) if WORD.search(s)]
    return not sentences or not all(s.strip().endswith("?") for s in sentences)


def stands_alone(example: Example) -> bool:
    return not (ELSEWHERE.search(example.answer) or POINTING.match(example.answer))


def length_fits(example: Example) -> bool:
    # 40: "да" to a paragraph fails, a paragraph to "как?" passes up to 160 characters.
    ratio = (len(example.answer) + 1) / (len(example.question) + 1)
    return 1 / 40 <= ratio <= 40


def linked_for_certain(example: Example) -> bool:
    return example.edge in {"reply", "turn"} or example.confidence >= 0.95


RULES: dict[str, Callable[[Example], bool]] = {
    "answers_question": answers_question,
    "says_something": says_something,
    "more_than_placeholders": more_than_placeholders,
    "not_cut": not_cut,
    "not_only_a_question": not_only_a_question,
    "stands_alone": stands_alone,
    "length_fits": length_fits,
    "linked_for_certain": linked_for_certain,
}


def _same_language(identify: Callable[[str], str]) -> Callable[[Example], bool]:
    def rule(example: Example) -> bool:
        # Under 20 letters every identifier guesses; such answers pass.
        texts = [PLACEHOLDER.sub(" ", t) for t in (example.question, example.answer)]
        if min(sum(map(str.isalpha, t)) for t in texts) < 20:
            return True
        asked, answered = map(identify, texts)
        return asked == answered or UNSURE & {asked, answered} != set()

    return rule


def _nothing_personal(find: Callable[[str], Mapping[str, int]]) -> Callable[[Example], bool]:
    def rule(example: Example) -> bool:
        return not any(sum(find(text).values()) for text in (example.question, example.answer))

    return rule


def _by_chance(examples: Sequence[Example]) -> float:
    """Pass rate of `answers_question` with every question given the answer from half the data set away."""
    from dataclasses import replace

    if len(examples) < 2:
        return 0.0
    half = len(examples) // 2
    sample = range(0, len(examples), max(1, len(examples) // 2000))
    dealt = (replace(examples[i], answer=examples[(i + half) % len(examples)].answer) for i in sample)
    return sum(map(answers_question, dealt)) / len(sample)
