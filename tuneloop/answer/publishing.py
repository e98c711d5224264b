"""Rules for texts that are published or shown to strangers: what search engines' guides ask for, and no contacts.

They read the text only. Nothing here knows whether an article is found, or true.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

Test = Callable[[str, str], bool]  # question, answer

TITLE = (20, 70)  # characters: longer ones are cut off in results
LEAST = 50  # words under which the shares below say nothing
STUFFED = 0.08  # share of the words that one stem may make up
PARAGRAPH = 150  # words
_WORD = re.compile(r"[^\W\d_]{4,}")
_MARKS = re.compile(r"^[#>*\s]+|[*_`#]+$")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63})+")
_PHONE = re.compile(r"(?<![\w.])(?:\+|8|7)?[\s(-]{0,2}\d{3}[\s)-]{0,2}\d{3}[\s-]?\d{2}[\s-]?\d{2}(?![\w.])")
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){13,19}(?!\d)")


def title() -> Test:
    """title - the first line is a title: 20 to 70 characters, without a full stop."""

    def test(question: str, answer: str) -> bool:
        lines = answer.strip().splitlines()
        first = _MARKS.sub("", lines[0].strip()) if lines else ""
        return TITLE[0] <= len(first) <= TITLE[1] and not first.endswith(".") and len(lines) > 1

    return test


def no_stuffing() -> Test:
    """no_stuffing - no word makes up more than 8 % of the text's longer words; texts of under 50 words pass."""

    def test(question: str, answer: str) -> bool:
        words = [word[:5] for word in _WORD.findall(answer.casefold())]
        return len(words) < LEAST or max(Counter(words).values()) <= max(4, STUFFED * len(words))

    return test


def short_paragraphs() -> Test:
    """short_paragraphs - no paragraph has more than 150 words."""
    return lambda question, answer: all(len(part.split()) <= PARAGRAPH for part in re.split(r"\n\s*\n", answer))


def no_contacts() -> Test:
    """no_contacts - no e-mail address, telephone or card number that was not in the question."""

    def test(question: str, answer: str) -> bool:
        known = re.sub(r"\D", "", question)
        return not (
            any(found.group() not in question for found in _EMAIL.finditer(answer))
            or any(re.sub(r"\D", "", found.group()) not in known for found in _PHONE.finditer(answer))
            or any(_luhn(found.group()) for found in _CARD.finditer(answer))
        )

    return test


def _luhn(text: str) -> bool:
    """Whether the digits are a card's (ISO/IEC 7812-1, annex B)."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d if n % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for n, d in enumerate(reversed(digits))]
    return len(digits) >= 13 and sum(doubled) % 10 == 0 and len(set(digits)) > 1
