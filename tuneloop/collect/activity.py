"""One pass over a chat's messages: when people write, who answers whom, what words they use. For the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tuneloop.collect.style import count_words
from tuneloop.records import Message

# Replies reach back: a map of the last 200,000 messages' authors is about 20 MB and finds nearly all of them.
REMEMBERED = 200_000
# Beyond this many messages only every k-th is split into words: favourite words need a sample, not a census.
WORDS_FROM = 200_000
SHOWN_PEOPLE = 10


@dataclass
class Activity:
    """Figures of one chat. Months are "2020-03" (UTC); `hours` is weekday (Monday first) x hour of day (UTC)."""

    messages: int = 0
    first: int = 0
    last: int = 0
    months: Counter[str] = field(default_factory=Counter)
    speaker_months: Counter[str] = field(default_factory=Counter)
    hours: list[list[int]] = field(default_factory=lambda: [[0] * 24 for _day in range(7)])
    kinds: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)  # sender -> messages
    names: dict[str, str] = field(default_factory=dict)  # sender -> latest display name
    replies: Counter[tuple[str, str]] = field(default_factory=Counter)  # (who answers, whom) -> n
    own_words: Counter[str] = field(default_factory=Counter)
    other_words: Counter[str] = field(default_factory=Counter)

    def all_months(self) -> list[str]:
        """Every month from the first to the last, those without messages too."""
        if not self.months:
            return []
        year, month = map(int, min(self.months).split("-"))
        found = []
        while (key := f"{year:04d}-{month:02d}") <= max(self.months):
            found.append(key)
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        return found

    def most_replying(self) -> list[str]:
        """Senders with the most replies given and got, for a heat map a person can read."""
        totals: Counter[str] = Counter()
        for (who, whom), n in self.replies.items():
            totals[who] += n
            totals[whom] += n
        return sorted(totals, key=lambda s: (-totals[s], s))[:SHOWN_PEOPLE]


def look(messages: Iterable[Message], speakers: Sequence[str], expected: int = 0) -> Activity:
    """Count. expected: about how many messages will come (0: unknown); large chats have their words sampled."""
    found = Activity()
    authors: dict[int, str] = {}
    older: dict[int, str] = {}
    chosen = frozenset(speakers)
    stride = max(1, expected // WORDS_FROM)
    for number, message in enumerate(messages):
        found.messages += 1
        found.first = found.first or message.time
        found.last = message.time
        when = time.gmtime(message.time)
        month = f"{when.tm_year:04d}-{when.tm_mon:02d}"
        found.months[month] += 1
        found.hours[when.tm_wday][when.tm_hour] += 1
        found.kinds[message.kind] += 1
        found.people[message.sender] += 1
        if message.name:
            found.names[message.sender] = message.name
        if message.reply_to is not None:
            whom = authors.get(message.reply_to) or older.get(message.reply_to)
            if whom is not None and whom != message.sender:
                found.replies[message.sender, whom] += 1
        authors[message.id] = message.sender
        if len(authors) >= REMEMBERED // 2:
            authors, older = {}, authors
        if message.sender in chosen:
            found.speaker_months[month] += 1
        if message.forwarded is None and message.text and number % stride == 0:
            words = count_words([message.text])
            (found.own_words if message.sender in chosen else found.other_words).update(words)
    return found
