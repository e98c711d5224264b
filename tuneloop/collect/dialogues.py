"""Turns and the links between them: the graph that conversations are cut out of.

A turn is what one person wrote in a row. Turns that answer the same turn within minutes, with nobody replying in
between, are one turn too. An edge leads from a turn to the turn it answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tuneloop.collect.columns import BURST_SECONDS, FORWARD, LETTERS, OPENER, QUESTION, Columns, Ints

NONE, REPLY, RANKED, TURN = range(4)
EDGES: dict[int, Literal["reply", "ranked", "turn"]] = {REPLY: "reply", RANKED: "ranked", TURN: "turn"}
TALK_SECONDS = 3600  # between two people: within an hour one answers the other; later only a question is answered

Guess = Callable[[NDArray[np.int64]], tuple[Ints, NDArray[np.float32]]]


@dataclass(slots=True, eq=False)
class Graph:
    """Turns in the order of the chat; all arrays but `turn` have one entry for each turn."""

    turn: Ints  # of every message
    first: Ints  # position of the first message
    last: Ints
    sender: Ints
    parent: Ints  # turn answered, -1 for none
    at: Ints  # position of the message answered, -1 for none
    kind: NDArray[np.int8]  # NONE REPLY RANKED TURN
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.first)


def graph(columns: Columns) -> Graph:
    """All turns, linked by the chat's own reply links."""
    turn = columns.burst
    n = len(columns)
    opens = np.flatnonzero(np.diff(turn, prepend=-1)) if n else np.zeros(0, np.int64)
    last = np.append(opens[1:], n) - 1 if n else opens
    count = len(opens)
    at = np.full(count, -1, np.int32)
    linked = np.flatnonzero(columns.parent >= 0)
    outside = linked[turn[columns.parent[linked]] != turn[linked]][::-1]  # backwards: a turn's first link wins
    at[turn[outside]] = columns.parent[outside]
    found = at >= 0
    return Graph(
        turn=turn,
        first=opens.astype(np.int32),
        last=last.astype(np.int32),
        sender=columns.sender[opens],
        parent=np.where(found, turn[at], -1).astype(np.int32),
        at=at,
        kind=np.where(found, REPLY, NONE).astype(np.int8),
        confidence=found.astype(np.float32),
    )


def add_guesses(columns: Columns, links: Graph, turns: NDArray[np.int64], guess: Guess, most_seconds: float) -> int:
    """Link those of `turns` that have no reply link by `guess`, which gets the positions of their first messages.

    Turns that greet everybody, forwards and turns without words start something new more often than they answer,
    so they are left alone. Returns how many turns were linked.
    """
    turns = turns[links.kind[turns] == NONE]
    flags = columns.flags[links.first[turns]]
    turns = turns[((flags & (OPENER | FORWARD)) == 0) & ((flags & LETTERS) > 0)]
    if not len(turns):
        return 0
    at, confidence = guess(links.first[turns].astype(np.int64))
    late = columns.time[links.first[turns]] - columns.time[at] > most_seconds
    good = (at >= 0) & ~late & (links.turn[at] != turns)
    _link(links, turns[good], at[good], RANKED, confidence[good])
    return int(good.sum())


def add_turn_taking(columns: Columns, links: Graph, most_seconds: float, confidence: float) -> None:
    """Between two people the turn before is what a turn answers, unless a pause lies between."""
    later = np.arange(1, len(links))
    before = links.last[later - 1]
    gap = columns.time[links.first[later]] - columns.time[before]
    asked = (np.bitwise_or.reduceat(columns.flags, links.first)[later - 1] & QUESTION) > 0
    close = (gap <= TALK_SECONDS) | (asked & (gap <= most_seconds))
    other = (links.sender[later] != links.sender[later - 1]) & (columns.topic[before] == columns.topic[before + 1])
    chosen = later[close & other & (links.kind[later] == NONE)]
    _link(links, chosen, links.last[chosen - 1], TURN, np.full(len(chosen), confidence, np.float32))


def _link(links: Graph, turns: NDArray[np.int64], at: Ints, kind: int, confidence: NDArray[np.float32]) -> None:
    links.at[turns] = at
    links.parent[turns] = links.turn[at]
    links.kind[turns] = kind
    links.confidence[turns] = confidence


def join_siblings(columns: Columns, links: Graph) -> Ints:
    """For each turn the turn it belongs to: itself, or an earlier one of the same person that answers the same
    turn at most BURST_SECONDS before, nobody having replied to that one in between."""
    whole = np.arange(len(links), dtype=np.int32)
    first_reply = np.full(len(links), len(columns), np.int64)
    answered = np.flatnonzero(links.parent >= 0)
    np.minimum.at(first_reply, links.parent[answered], links.first[answered])
    order = answered[np.lexsort((answered, links.sender[answered], links.parent[answered]))]
    one, two = order[:-1], order[1:]
    same = (links.parent[one] == links.parent[two]) & (links.sender[one] == links.sender[two])
    near = columns.time[links.first[two]] - columns.time[links.last[one]] <= BURST_SECONDS
    for early, late in zip(one[same & near].tolist(), two[same & near].tolist(), strict=True):
        if first_reply[early] > links.first[late] and first_reply[whole[early]] > links.first[late]:
            whole[late] = whole[early]
    return whole


def components(links: Graph, whole: Ints) -> Ints:
    """For each turn the number of its conversation: turns connected by edges share it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(links)
    linked = np.flatnonzero(links.parent >= 0)
    left = np.concatenate((linked, np.arange(n)))
    right = np.concatenate((links.parent[linked], whole))
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int32)
