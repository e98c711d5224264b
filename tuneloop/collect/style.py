"""How the speaker writes: lengths, punctuation, emoji, questions, lower case, and the words that set them apart.

Favourite words are ranked by the log-odds ratio with an informative Dirichlet prior, as z-scores: Monroe, Colaresi &
Quinn, "Fightin' Words", Political Analysis 16(4), 2008. The prior is the whole chat, so a word needs evidence.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tuneloop.collect.words import FUNCTION, lemma, tokens

EMOJI = re.compile(
    "[\U0001f300-\U0001faff\U00002600-\U000027bf\U0001f1e6-\U0001f1ff\u2b50\u2b55\u2934\u2935\u231a\u231b][\ufe0f\u200d]?"
)
SENTENCE = re.compile(r"[^.!?…\n]*[^\W_][^.!?…\n]*")
SMILE = re.compile(r"(?:\){1,}|[:;]-?[)D]|😀|🙂|😁|😄|😅|😂|🤣)\s*$")
MARKS = {"commas": ",", "exclamations": "!", "questions": "?", "ellipses": "…", "dashes": "—", "brackets": ")"}
GREETINGS = re.compile(
    r"^\W*(всем привет|привет\w*|приветствую|здравствуйте|здравствуй|доброе утро|добрый день|добрый вечер|доброй ночи"
    r"|доброго \w+|день добрый|хай|здарова|салют|коллеги|ребят\w*|hi all|hi|hello|hey|good (?:morning|evening|day))\b",
    re.IGNORECASE,
)


def profile(answers: Sequence[str], own: Counter[str], rest: Counter[str]) -> dict[str, Any]:
    """The speaker's profile; rates are shares of answers unless the name says otherwise.

    answers: their texts. own, rest: word counts of the speaker and of everybody else in the chat (`count_words`).
    """
    n = len(answers)
    if n == 0:
        return {}
    lengths = sorted(map(len, answers))
    letters = [c for text in answers for c in text if c.isalpha()]
    characters = max(1, sum(lengths))
    emoji = Counter(symbol.rstrip("\ufe0f\u200d") for text in answers for symbol in EMOJI.findall(text))

    def share(test: Iterable[object]) -> float:
        return round(sum(map(bool, test)) / n, 4)

    return {
        "answers": n,
        "length_median": lengths[n // 2],
        "length_p90": lengths[min(n - 1, (n * 9) // 10)],
        "words_mean": round(sum(len(tokens(t)) for t in answers) / n, 2),
        "sentences_mean": round(sum(max(1, len(SENTENCE.findall(t))) for t in answers) / n, 2),
        "per_100_characters": {
            name: round(100 * sum(t.replace("...", "…").count(mark) for t in answers) / characters, 3)
            for name, mark in MARKS.items()
        },
        "emoji_share": share(EMOJI.search(t) for t in answers),
        "emoji": [[symbol, count] for symbol, count in _most(emoji, 8)],
        "question_share": share("?" in t for t in answers),
        "lower_start_share": share(_first_letter(t).islower() for t in answers),
        "final_stop_share": share(t.rstrip().endswith(".") for t in answers),
        "smile_end_share": share(SMILE.search(t) for t in answers),
        "several_lines_share": share("\n" in t.strip() for t in answers),
        "latin_share": round(sum(c.isascii() for c in letters) / max(1, len(letters)), 4),
        "favourite_words": [[word, round(z, 2)] for word, z in favourites(own, rest)],
        "greetings": [[text, count] for text, count in _most(_greetings(answers), 5)],
    }


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Words of three letters and more, lower case, as written."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word in tokens(text) if len(word) > 2)
    return counts


def favourites(own: Counter[str], rest: Counter[str], top: int = 20) -> list[tuple[str, float]]:
    """The words with the highest z-scores (only above 1.96), best first: (word, z).

    Monroe et al. 2008, equations 15, 16, 20 and 22, with the whole chat as prior, scaled to the size of the smaller
    side, so that neither a rare word nor a long-winded rest decides.
    """
    n_own, n_rest = sum(own.values()), sum(rest.values())
    if not n_own or not n_rest:
        return []
    scale = min(n_own, n_rest) / (n_own + n_rest)
    weight = (n_own + n_rest) * scale
    found = []
    for word, count in own.items():
        if count < 3 or word in FUNCTION:
            continue
        other = rest[word]
        prior = (count + other) * scale
        a, b = count + prior, other + prior
        delta = math.log(a / (n_own + weight - a)) - math.log(b / (n_rest + weight - b))
        z = delta / math.sqrt(1 / a + 1 / b)
        if z > 1.96 and lemma(word) not in FUNCTION:
            found.append((word, z))
    return sorted(found, key=lambda item: (-item[1], item[0]))[:top]


def _first_letter(text: str) -> str:
    return next((c for c in text if c.isalpha()), "")


def _greetings(answers: Iterable[str]) -> Counter[str]:
    return Counter(match.group(1).lower() for text in answers if (match := GREETINGS.match(text)))


def _most(counts: Counter[str], top: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]
