"""Typing errors in a question, mended towards the words of the table and of the shipped lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Profile
from tuneloop.ask.linking import index
from tuneloop.ask.words import Token, distance, forms, inflections, is_cyrillic, is_known


def corrected(question: Sequence[Token], profile: Profile, taken: frozenset[int]) -> list[Token]:
    """The question with typing errors mended: words without a meaning here, near to one that has."""
    table = index(profile)
    words = {key for name in table.names for word in name for key in word.keys}
    words |= {key for key in table.cells if not key.startswith("#") and key.isalpha()}
    meanings = {m for name in table.names for word in name for m in word.meanings}
    meanings |= {key[1:] for key in table.cells if key.startswith("#")}
    words |= {word for meaning in meanings for word in lexicon.lexicon_words(meaning)} | lexicon.vocabulary()
    return [
        token
        if i in taken
        or token.kind != "word"
        or len(token.text) < 4
        or lexicon.known_word(token.text)
        or is_known(token.text)
        or token.keys & words
        else _mended(token, words)
        for i, token in enumerate(question)
    ]


def _mended(token: Token, words: Iterable[str]) -> Token:
    text = token.text
    most = 1 if len(text) < 8 else 2
    if not is_cyrillic(text) and len(text) < 6:
        return token  # short English words are too near to each other
    best: tuple[int, str] | None = None
    for word in words:
        if word[:1] != text[:1] or abs(len(word) - len(text)) > 4 or len(word) < 4 or word.isdigit():
            continue
        near = min((distance(text, form, most) for form in inflections(word)), default=9)
        if near <= most and len(text) + near > 4 and (best is None or (near, word) < best):
            best = (near, word)
    return Token(best[1], token.raw, "word", forms(best[1]), token.start, token.end) if best else token
