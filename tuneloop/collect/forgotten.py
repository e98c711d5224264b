"""The names of forgotten people, found again in later imports although nobody keeps them.

`forget` masks a person's names in what is there; a new export may bring new messages that mention them. What stays to
find those is a salted hash of every form of the name that was theirs alone ("глебу", "sannikov") and of the display
names as a whole. Every word of an import is hashed and looked up; what is found becomes [name] before it is stored.
Datasets are made of what is stored, so they need no pass of their own.

What this cannot do. A hash hides a name from who reads the table, not from who guesses: the salt lies beside the
hashes (it must, or an import could not use them), and a list of all given names is soon tried. Forms that were not
foreseen stay: nicknames that were no display name, misspellings, initials, a name that only a photo shows. A first
name shared with somebody in the chat is left alone (it is theirs too) and is only found within the whole name. What
clients send to a server is no import. Of people forgotten before version 0.2 no forms are kept: they are left out as
authors, and that is all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import sha256
from secrets import token_hex

from tuneloop.collect.names import WORD, Forms, fold, forms

SALT = "salt:"  # the row of `forgotten` that holds the workspace's salt instead of a hash
LONGEST = 8  # words of a display name that is looked for as a whole


def new_salt() -> str:
    """The entry that makes this workspace's hashes its own: no table made elsewhere fits them."""
    return SALT + token_hex(16)


def salt_of(entries: Iterable[str]) -> str | None:
    """The salt among the entries of `forgotten`; None when no names are kept there."""
    return next((entry for entry in entries if entry.startswith(SALT)), None)


def hashes(names: Forms, salt: str) -> set[str]:
    """What is kept of these forms. "always", "capital" and the first word of a whole name are hashed apart, so that
    an import treats a found word as `privacy.remove_names` would."""
    told = {("always", word) for word in names.always} | {("capital", word) for word in names.capital}
    for first, rests in names.phrases.items():
        for rest in rests:
            if len(rest) < LONGEST:
                told |= {("first", first), ("whole", " ".join((first, *rest)))}
    return {_hash(salt, kind, words) for kind, words in told}


def recognised(texts: Iterable[str], entries: set[str], staying: Callable[[], Iterable[str]]) -> Forms | None:
    """The forms of forgotten names that occur in these texts; None when none does.

    entries: what `forgotten` holds. staying: display names of the people who are there; asked only when something was
    found. Their words are theirs: they stay, in all forms.
    """
    salt = salt_of(entries)
    if salt is None:
        return None

    @lru_cache(maxsize=200_000)  # the words of a chat of a million messages; each hash takes 1 us
    def kinds(word: str) -> tuple[str, ...]:
        return tuple(kind for kind in ("always", "capital", "first") if _hash(salt, kind, word) in entries)

    found: dict[str, set[str]] = {"always": set(), "capital": set()}
    phrases: dict[str, set[tuple[str, ...]]] = {}
    for text in texts:
        words = [fold(word) for word in WORD.findall(text)]
        for at, word in enumerate(words):
            for kind in kinds(word):
                if kind != "first":
                    found[kind].add(word)
                    continue
                for end in range(at + 2, min(at + LONGEST, len(words)) + 1):
                    if _hash(salt, "whole", " ".join(words[at:end])) in entries:
                        phrases.setdefault(word, set()).add(tuple(words[at + 1 : end]))
    if not (found["always"] or found["capital"] or phrases):
        return None
    shared = {w for name in staying() for w in map(fold, WORD.findall(name)) if {"always", "capital"} & set(kinds(w))}
    theirs = forms(shared)
    others = theirs.always | theirs.capital
    return Forms(
        always=frozenset(found["always"] - others),
        capital=frozenset(found["capital"] - others),
        phrases={first: tuple(sorted(rests, key=len, reverse=True)) for first, rests in phrases.items()},
    )


def _hash(salt: str, kind: str, words: str) -> str:
    return sha256(f"{salt}:{kind}:{words}".encode("utf-8", "replace")).hexdigest()
