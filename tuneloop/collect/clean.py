"""What is no use to learn from. Each check is small, has a name, and that name is the reason that is counted.

Checks see one example at a time, before it is scrubbed; duplicates are found later, among all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tuneloop.records import Example
from tuneloop.settings import Settings
from tuneloop.texts import _

LINK = re.compile(r"(?:https?://|www\.|t\.me/)\S+", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
_WORD_OR_NUMBER = re.compile(r"[^\W_]{2,}")  # "65535" answers "how many?"
_COMMAND = re.compile(r"^/[a-z]\w*(?:@\w+)?(?:\s|$)", re.IGNORECASE)
_CODE_LINE = re.compile(
    r"^\s*(?:at [\w.$]+\(|[{}\[\]();<>]|\d{4}-\d\d-\d\d[T ]|\S+Exception\b|(?:import|package|def|class|public|private) "
    r"|[\w.$\"']+\s*[=(:{].*[;{,)\]]\s*$|</?\w)"
)
_NOT_WORD = re.compile(r"[\W_]+")
_MONEY = re.compile(
    r"\b(?:заработ\w+|доход\w*|пассивн\w+|крипт\w+|usdt|казино|ставк\w+ на спорт|вложен\w+|промокод\w*|розыгрыш\w*"
    r"|инвест\w+|earn\w*|income|crypto|casino|betting|profit\w*|airdrop|giveaway)\b",
    re.IGNORECASE,
)
_CALL = re.compile(
    r"(?:пиши\w*|в лс|в личк\w+|личные сообщения|жми\w*|переход\w+ по ссылк\w+|подпис\w+|регистр\w+|количество мест"
    r"|dm me|contact me|sign up|join (?:now|my|our)|subscribe|click|[$€₽]\s?\d{2,}|\d{2,}\s?(?:\$|€|₽|руб|usd))",
    re.IGNORECASE,
)

_POLITE_WORDS = (
    "спасибо спс пасиб пасибо благодарю сенкс большое огромное пожалуйста плиз понял поняла понятно ясно ок окей ага "
    "угу супер класс круто отлично привет приветствую здравствуйте здрасьте добрый доброе доброго день дня вечер "
    "вечера утро утра время суток времени ночи всем вам вас тебе за ответ ответы помощь коллеги ребята ребят друзья "
    "дякую вітаю thanks thank thx you ty very much ok okay got it cool great nice hi hello hey all everyone guys good "
    "morning day evening afternoon welcome please sure np"
)
_POLITE = frozenset(_POLITE_WORDS.split())


def _norm(text: str) -> str:
    return _NOT_WORD.sub(" ", text.lower()).strip()


def _words(text: str) -> list[str]:
    return _norm(text).split()


def _only_polite(text: str) -> bool:
    words = _words(text)
    return bool(words) and all(word in _POLITE for word in words)


def _link_only(text: str) -> bool:
    return bool(LINK.search(text)) and not _WORD.search(LINK.sub(" ", text))


def _spam(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    shouting = len(letters) >= 30 and sum(c.isupper() for c in letters) > 0.6 * len(letters)
    marks = [bool(_MONEY.search(text)), bool(_CALL.search(text)), len(LINK.findall(text)) >= 3, shouting]
    return sum(marks) >= 2


def _code(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) >= 5 and sum(bool(_CODE_LINE.match(line)) for line in lines) > 0.8 * len(lines)


Check = Callable[[Example, Settings], bool]

# The first that applies is the reason. Order: what is missing, what is not the speaker's, what says nothing.
CHECKS: dict[str, Check] = {
    "question without words": lambda e, s: not _WORD.search(LINK.sub(" ", e.question)) and not LINK.search(e.question),
    "answer is a link only": lambda e, s: _link_only(e.answer),
    "answer without words": lambda e, s: not _WORD_OR_NUMBER.search(e.answer),
    "answer too short": lambda e, s: len(e.answer.strip()) < s.integer("dataset.min_chars"),
    "answer too long": lambda e, s: len(e.answer) > s.integer("dataset.max_chars"),
    "question too long": lambda e, s: len(e.question) > s.integer("dataset.max_chars"),
    "bot command": lambda e, s: bool(_COMMAND.match(e.question) or _COMMAND.match(e.answer)),
    "answer repeats the question": lambda e, s: _norm(e.answer) == _norm(e.question),
    "question is a link only": lambda e, s: _link_only(e.question),
    "question only greets or thanks": lambda e, s: _only_polite(e.question),
    "answer only greets or thanks": lambda e, s: _only_polite(e.answer),
    "spam": lambda e, s: _spam(e.question) or _spam(e.answer),
    "answer is code or a log only": lambda e, s: _code(e.answer),
}


def check(example: Example, settings: Settings) -> str | None:
    """The name of the first check that speaks against the example, or None. Names are keys of CHECKS."""
    return next((name for name, applies in CHECKS.items() if applies(example, settings)), None)


def describe() -> dict[str, str]:
    """Each reason with one sentence for people."""
    return {
        "question without words": _("a sticker, picture, number or emoji was answered"),
        "answer is a link only": _("nothing but links"),
        "answer without words": _("emoji or punctuation only"),
        "answer too short": _("shorter than dataset.min_chars"),
        "answer too long": _("longer than dataset.max_chars"),
        "question too long": _("longer than dataset.max_chars"),
        "bot command": _("a command to a bot"),
        "answer repeats the question": _("the same words as the question"),
        "question is a link only": _("what was asked is behind the link"),
        "question only greets or thanks": _("a greeting or thanks asks nothing"),
        "answer only greets or thanks": _("a greeting or thanks answers nothing"),
        "spam": _("two or more of: money, a call to act, many links, capitals"),
        "answer is code or a log only": _("five lines or more without a word of prose"),
    }
