"""A chat as numpy columns: everything the link ranker needs, without the texts.

One million messages are about 60 MB this way (as Message objects they would be ten times that), so the whole chat
can be looked at, forwards and backwards, while memory stays bounded; texts are read again only for what is kept.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tuneloop.records import Message

Ints = NDArray[np.int32]

(
    QUESTION,
    ASKS,
    LINK,
    MEDIA,
    THANKS,
    OPENER,
    ADDRESS,
    FORWARD,
    LETTERS,
    YES_NO,
    FAMILIAR,
    FORMAL,
    SELF,
    CONNECT,
    TROUBLE,
    ADVICE,
    SMILE,
    LOWER,
    LINES,
    LATIN,
    ELSEWHERE,
) = tuple(1 << bit for bit in range(21))

BURST_SECONDS = 300  # a person's messages in a row closer than this are one turn
READ_CHARS = 400  # words beyond this are not looked at: the start of a message says whom it answers
TOKENS_MOST = 20  # distinct words kept of a message, in the order written
TOKENS_HELD = 4_000_000  # words of the oldest messages are let go beyond this: the ranker looks at the newest only
BUCKETS = 1 << 16
_NO_REPLY = -(1 << 62)  # ids of migrated groups are negative, so -1 is an id

_WORD = re.compile(r"\w+")
_ENDINGS = "аеёиоуыэюяйьъ"
_ANYWHERE = {
    QUESTION: "кто что чего где куда когда как почему зачем какой какая какие какое каким сколько чем ли разве откуда "
    "подскажите подскажи посоветуйте помогите "
    "who what where when how why which whose anyone anybody does can could",
    THANKS: "спасибо спс благодарю сенкс пасиб понял понятно ясно thanks thank thx дякую",
    FAMILIAR: "ты тебе тебя твой твоя твоё твои тобой",
    FORMAL: "вы вам вас ваш ваша ваше ваши вами",
    SELF: "я мне меня мой моя моё мои мы нас нам i my me we our",
    TROUBLE: "ошибка ошибки ошибку ошибкой проблема проблемы проблему падает могу получается работает error failed",
    ADVICE: "можно попробуй попробуйте посмотри посмотрите используйте нужно надо через попробовать лучше try use",
}
_AT_START = {
    YES_NO: "да нет неа ага угу ок окей согласен точно именно верно не yes no yep nope ok",
    CONNECT: "а и но так ну тогда то so but and then",
    OPENER: "всем коллеги ребята ребят друзья народ господа привет приветствую здравствуйте товарищи добрый доброе "
    "hello hi hey everyone folks guys",
}
_WORD_FLAGS = {
    word: sum(f for f, ws in _ANYWHERE.items() if word in ws.split())
    for ws in _ANYWHERE.values()
    for word in ws.split()
}
_START_FLAGS = {
    word: sum(f for f, ws in _AT_START.items() if word in ws.split())
    for ws in _AT_START.values()
    for word in ws.split()
}


def _not_compared() -> NDArray[np.float16]:
    return np.zeros((0, 0), np.float16)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """n messages ordered by (topic, time, id); `parent` is the position of the message replied to, or -1."""

    ids: NDArray[np.int64]
    time: NDArray[np.int64]
    sender: Ints  # position in `senders`
    parent: Ints
    topic: Ints
    burst: Ints  # number of the turn; consecutive messages of one person share it
    length: Ints  # characters
    flags: Ints  # sums of the flags above
    start: NDArray[np.int64]  # tokens of message i are tokens[start[i]:start[i + 1]]
    tokens: NDArray[np.uint16]  # hashed word stems
    senders: list[str]
    labels: list[str]  # the last display name of each sender
    names: NDArray[np.int32]  # (senders, 3): hashed stems of the words of each display name, -1 where none
    alike: NDArray[np.float16] = field(
        default_factory=_not_compared
    )  # (n, REACH): likeness.band of the texts; only the ranker needs it

    def __len__(self) -> int:
        return len(self.ids)

    def without_words(self) -> Columns:
        """The same without what only the ranker needs: a third less memory while texts are read."""
        nothing = self.tokens[:0].copy()
        return replace(self, tokens=nothing, start=np.zeros(1, np.int64), length=self.length[:0].copy())

    def newest(self, most: int) -> tuple[Columns, NDArray[np.int64]]:
        """The newest `most` messages (more only where the oldest of them share their second), and their positions."""
        if len(self) <= most:
            return self, np.arange(len(self))
        places = np.flatnonzero(self.time >= np.partition(self.time, -most)[-most])
        here = np.full(len(self) + 1, -1, np.int32)  # the last place answers for parent -1
        here[places] = np.arange(len(places))
        start, tokens = _rows_of(self.start, self.tokens, places)
        return Columns(
            ids=self.ids[places],
            time=self.time[places],
            sender=self.sender[places],
            parent=here[self.parent[places]],
            topic=self.topic[places],
            burst=self.burst[places],
            length=self.length[places],
            flags=self.flags[places],
            start=start,
            tokens=tokens,
            senders=self.senders,
            labels=self.labels,
            names=self.names,
        ), places


def stem(word: str) -> int:
    """A bucket shared by the forms of a word: its first five letters without the vowels at their end."""
    return crc32((word[:5].rstrip(_ENDINGS) or word).encode("utf-8", "surrogatepass")) & (BUCKETS - 1)


def read(messages: Iterable[Message]) -> Columns:
    """Turn messages (any order) into columns in one pass."""
    ids, times, replies, starts = array("q"), array("q"), array("q"), array("q", [0])
    senders, topics, lengths, flags, tokens = array("i"), array("q"), array("i"), array("i"), array("H")
    codes: dict[str, int] = {}
    names: dict[int, str] = {}
    stems: dict[str, tuple[int, int]] = {}
    dropped = 0
    for message in messages:
        code = codes.setdefault(message.sender, len(codes))
        if message.name:
            names[code] = message.name
        words = _WORD.findall(message.text[:READ_CHARS].lower())
        seen: dict[int, None] = {}
        found = 0
        for word in words:
            if (known := stems.get(word)) is None:
                if len(stems) > 50_000:  # a bound on memory, not on words
                    stems.clear()
                known = stems[word] = (stem(word), _word_flags(word))
            seen[known[0]] = None
            found |= known[1]
        tokens.extend(list(seen)[:TOKENS_MOST])
        ids.append(message.id)
        times.append(message.time)
        senders.append(code)
        replies.append(_NO_REPLY if message.reply_to is None else message.reply_to)
        topics.append(message.topic or 0)
        lengths.append(len(message.text))
        flags.append(found | _message_flags(message, words))
        starts.append(dropped + len(tokens))
        if len(tokens) > TOKENS_HELD:
            del tokens[: TOKENS_HELD // 2]
            dropped += TOKENS_HELD // 2
    return _ordered(ids, times, senders, replies, topics, lengths, flags, starts, tokens, dropped, list(codes), names)


def _word_flags(word: str) -> int:
    return LETTERS | _WORD_FLAGS.get(word, 0) | (LATIN if len(word) > 3 and word.isascii() and word.isalpha() else 0)


def _message_flags(message: Message, words: list[str]) -> int:
    text = message.text
    found = 0
    if "?" in text:
        found |= QUESTION | (ASKS if text.rstrip().endswith("?") else 0)
    if "http" in text or "t.me/" in text:
        found |= LINK
    if "@" in text:
        found |= ADDRESS
    if "\n" in text:
        found |= LINES
    if text.endswith((")", "😂", "😁", "😊")):
        found |= SMILE
    if text[:1].islower():
        found |= LOWER
    if message.kind != "text":
        found |= MEDIA
    if message.forwarded is not None:
        found |= FORWARD
    for word in words[:3]:
        start = _START_FLAGS.get(word, 0)
        found |= start & OPENER if word is not words[0] else start
    return found


def _ordered(
    ids: array[int],
    times: array[int],
    senders: array[int],
    replies: array[int],
    topics: array[int],
    lengths: array[int],
    flags: array[int],
    starts: array[int],
    tokens: array[int],
    dropped: int,
    codes: list[str],
    names: dict[int, str],
) -> Columns:
    id_, time = np.frombuffer(ids, np.int64), np.frombuffer(times, np.int64)
    topic = np.unique(np.frombuffer(topics, np.int64), return_inverse=True)[1].astype(np.int32)
    sorting = np.lexsort((id_, time, topic))
    in_order = np.array_equal(sorting, np.arange(len(id_)))  # as it comes from the store: then nothing is copied
    order = slice(None) if in_order else sorting
    start, token = np.maximum(np.frombuffer(starts, np.int64) - dropped, 0), np.frombuffer(tokens, np.uint16)
    if not in_order:
        start, token = _rows_of(start, token, sorting)
    id_, time = id_[order], time[order]
    sender = np.frombuffer(senders, np.int32)[order]
    flags_ = np.frombuffer(flags, np.int32)[order]
    answered = np.frombuffer(replies, np.int64)[order]
    parent = _positions(id_, answered, topic[order])
    # What it answers is known not to be here, so no guess may say otherwise.
    flags_ = np.where((answered != _NO_REPLY) & (parent < 0), flags_ | ELSEWHERE, flags_)
    return Columns(
        ids=id_,
        time=time,
        sender=sender,
        parent=parent,
        topic=topic[order],
        burst=bursts(sender, time, topic[order], parent, flags_),
        length=np.frombuffer(lengths, np.int32)[order],
        flags=flags_,
        start=start,
        tokens=token,
        senders=codes,
        labels=[names.get(code, "") for code in range(len(codes))],
        names=_name_stems(codes, names),
    )


def _rows_of(
    start: NDArray[np.int64], tokens: NDArray[np.uint16], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """The same ragged array with its rows chosen and ordered by `rows`."""
    sizes = np.diff(start)[rows]
    ends = np.cumsum(sizes)
    pick = np.repeat(start[rows] - (ends - sizes), sizes) + np.arange(sizes.sum())
    return np.concatenate(([0], ends)), tokens[pick]


def _positions(ids: NDArray[np.int64], replies: NDArray[np.int64], topic: Ints) -> Ints:
    """Where each replied-to message stands; -1 for none, a later one, or one of another topic."""
    parent = np.full(len(ids), -1, np.int32)
    rows = np.flatnonzero(replies != _NO_REPLY)
    if len(rows):
        by_id = np.argsort(ids, kind="stable").astype(np.int32)
        found = np.searchsorted(ids, replies[rows], sorter=by_id)
        place = by_id[np.minimum(found, len(ids) - 1)]
        good = (ids[place] == replies[rows]) & (place < rows) & (topic[place] == topic[rows])
        parent[rows[good]] = place[good]
    return parent


def bursts(sender: Ints, time: NDArray[np.int64], topic: Ints, parent: Ints, flags: Ints) -> Ints:
    """Number the turns: a message continues the one before it when the same person wrote both within
    BURST_SECONDS (or forwarded both) and its reply link, if any, does not lead somewhere else than the turn's own."""
    joined = np.zeros(len(sender), bool)
    joined[1:] = (sender[1:] == sender[:-1]) & (np.diff(time) <= BURST_SECONDS) & (topic[1:] == topic[:-1])
    joined[1:] &= (flags[1:] & FORWARD) == (flags[:-1] & FORWARD)
    opens = ~joined
    first, target, last = -1, -1, -2  # of the turn at hand: its first message, what it answers, its last message
    for place in np.flatnonzero(joined).tolist():
        if place - 1 != last:
            first, target = place - 1, int(parent[place - 1])
        goal = int(parent[place])
        if not (goal < 0 or goal >= first or goal == target):
            opens[place] = True
            first, target = place, goal
        elif target < 0 and 0 <= goal < first:
            target = goal
        last = place
    return (np.cumsum(opens) - 1).astype(np.int32)


def _name_stems(codes: list[str], names: dict[int, str]) -> NDArray[np.int32]:
    table = np.full((len(codes), 3), -1, np.int32)
    for code, name in names.items():
        words = [w for w in _WORD.findall(name.lower()) if len(w) > 2][:3]
        for column, word in enumerate(words):
            table[code, column] = stem(word)
    return table
