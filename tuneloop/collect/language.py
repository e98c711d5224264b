"""Which language a short chat text is in, from its letters and little words.

One Ukrainian letter proves more than any detector guesses from "ок, дякую", and chats are full of commands, class
names and log lines in Latin letters that are in no language at all. py3langid was tried first: it takes 122 MB once
loaded, and in a load-testing group it called 260 of 30,553 Russian messages Bulgarian, Polish, Dutch, Turkish ...
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

UNKNOWN = "und"
FEWEST_LETTERS = 3

_NOT_PROSE = re.compile(r"https?://\S+|[@#]\w+|`[^`]*`|\[[a-z]+\]")
_WORD = re.compile(r"[^\W\d_]+")
_BY_SCRIPT = {
    "ARABIC": "ar",
    "ARMENIAN": "hy",
    "CJK": "zh",
    "DEVANAGARI": "hi",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "THAI": "th",
}
# Letters that only some Cyrillic alphabets have, the rarest first; Russian last among equals because it is quoted
# most. Kazakh shares "і" with Ukrainian, but no Kazakh sentence does without one of its other letters.
_LETTERS = (("kk", "әғқңөұүһ"), ("be", "ў"), ("uk", "їєґ"), ("sr", "ђјљњћџ"), ("ru", "ыэё"), ("uk", "і"))
_WORDS = {
    "uk": "що як та але це не на до з від за чи так ще вже мені тебе буде треба дякую був нема",
    "bg": "това съм със който няма ще беше какво защо може много тук благодаря аз ти той са като",
    "ru": "что как и но это не на до с от за или так ещё уже мне тебя будет надо спасибо был нет я ты в у а",
    "en": "the and is to of in you that it for was are with this have not but can what how do if thanks i my we",
    "de": "der die das und ist nicht ich du ein eine mit auf zu den wie was kann aber danke wir auch für es im",
    "fr": "le la les et est pas je tu un une des que pour dans qui avec merci mais vous nous ce sur il ça au",
    "es": "el los las y es no que un una por para con gracias pero como está muy qué yo se del al lo hay",
    "it": "il gli che è non un una per con grazie ma come sono di della questo ho si anche lo nel più mi",
    "pt": "o os as e é não que um uma por para com obrigado mas como está muito eu você do da em no na",
    "pl": "i w nie to jest że się na do z jak ale czy dzięki dla mam tak już o co po ma są tego",
    "tr": "ve bir bu için değil ne ama var mı çok ben sen teşekkürler da de nasıl gibi ile yok evet mi",
    "nl": "de het een en is niet ik je van op te dat met voor dank maar wat hoe zijn er aan ook naar",
    "uz": "va bu bilan uchun emas bor men sen rahmat ham qanday nima yoq kerak edi lekin shu yaxshi",
}
_LITTLE = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_CYRILLIC = ("ru", "uk", "bg")
_LATIN = ("en", "de", "fr", "es", "it", "pt", "pl", "tr", "nl", "uz")


def identify(text: str) -> str:
    """ISO 639-1 code of the text's language; "und" when it has fewer than three letters outside links and names."""
    prose = _NOT_PROSE.sub(" ", text[:2000]).lower()
    letters = [c for c in prose if c.isalpha()]
    if len(letters) < FEWEST_LETTERS:
        return UNKNOWN
    words = set(_WORD.findall(prose))
    cyrillic = Counter(c for c in letters if "\u0400" <= c <= "\u04ff")
    latin, hits = _most_little_words(words, _LATIN)
    # "задеплой jar в k8s" is Russian: jargon, code and logs do not count, only a Latin sentence does.
    prose_hits = _most_little_words(words, _CYRILLIC)[1]
    if cyrillic.total() * 2 >= len(letters) or (cyrillic and (hits < 3 or prose_hits >= hits)):
        return _cyrillic(cyrillic, words)
    if sum(c < "\u0250" for c in letters) * 2 >= len(letters):
        return latin if hits >= 2 else "en"
    scripts = Counter(unicodedata.name(c, "?").split()[0] for c in letters)
    if scripts["HIRAGANA"] or scripts["KATAKANA"]:
        return "ja"
    return _BY_SCRIPT.get(scripts.most_common(1)[0][0], UNKNOWN)


def _cyrillic(letters: Counter[str], words: set[str]) -> str:
    for language, proof in _LETTERS:
        if any(letters[c] for c in proof):
            return language
    language, hits = _most_little_words(words, _CYRILLIC)
    return language if hits >= 2 else "ru"


def _most_little_words(words: set[str], languages: tuple[str, ...]) -> tuple[str, int]:
    """The language with most little words (the first of `languages` when equal), and how many it has."""
    hits = [sum(word in _LITTLE[language] for word in words) for language in languages]
    return languages[hits.index(max(hits))], max(hits)
