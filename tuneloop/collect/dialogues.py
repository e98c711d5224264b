"""Turns and the links between them: the graph that conversations are cut out of.

A turn is what one person wrote in a row. Turns that answer the same turn within minutes, with nobody replying in
between, are one turn too. An edge leads from a turn to the turn it answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tuneloop.collect.columns import BURST_SECONDS, ELSEWHERE, FORWARD, LETTERS, OPENER, QUESTION, Columns, Ints
from tuneloop.collect.features import Truth
from tuneloop.collect.links import Guesses

NONE, REPLY, RANKED, TURN = range(4)
EDGES: dict[int, Literal["reply", "ranked", "turn"]] = {REPLY: "reply", RANKED: "ranked", TURN: "turn"}
TALK_SECONDS = 3600  # between two people: within an hour one answers the other; later only a question is answered


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


def usable(columns: Columns, links: Graph, guesses: Guesses, places: NDArray[np.int64], most_seconds: float) -> Truth:
    """Which guesses may be used at all, however likely: those about turns without a reply link.

    places: where the messages that were guessed about stand in `columns`.

    Turns that greet everybody, forwards and turns without words start something new more often than they answer, so
    they are left alone; so are replies to messages that are not here.
    most_seconds: a longer pause is not bridged by a guess.
    """
    rows, at = places[guesses.rows], places[guesses.parent]
    turns = links.turn[rows].astype(np.int64)
    flags = columns.flags[rows]
    good: Truth = (links.kind[turns] == NONE) & (links.first[turns] == rows) & (links.turn[at] != turns)
    good &= ((flags & (OPENER | FORWARD | ELSEWHERE)) == 0) & ((flags & LETTERS) > 0)
    return good & (columns.time[rows] - columns.time[at] <= most_seconds)


def surest(chances: NDArray[np.float32], precision: float) -> float:
    """The lowest chance down to which guesses are right, on average, as often as wanted, and each of them rather
    right than wrong; infinite when none is.

    A threshold found on reply links alone holds for messages like those: in the sample chat 94 % of the links are
    easy, so every guess passed, down to a chance of 10 %. The chances themselves are honest (load-testing group, 1,953
    hidden links: of guesses between 0.8 and 0.9, 85 % right; between 0.4 and 0.5, 53 %), so their mean tells.
    """
    falling = np.sort(chances[chances > 0.5])[::-1].astype(np.float64)
    last_of_its_kind = np.diff(falling, append=-1.0) < 0  # equal chances are used together
    good = np.flatnonzero((np.cumsum(falling) >= precision * np.arange(1, len(falling) + 1)) & last_of_its_kind)
    return float(falling[good[-1]]) if len(good) else math.inf


def add_guesses(links: Graph, guesses: Guesses, places: NDArray[np.int64], chosen: Truth) -> int:
    """Use the chosen guesses; returns how many they are."""
    rows, at = places[guesses.rows[chosen]], places[guesses.parent[chosen]].astype(np.int32)
    _link(links, links.turn[rows].astype(np.int64), at, RANKED, guesses.chance[chosen])
    return len(rows)


def add_turn_taking(columns: Columns, links: Graph, most_seconds: float, confidence: float) -> None:
    """Between two people the turn before is what a turn answers, unless a pause lies between."""
    later = np.arange(1, len(links))
    before = links.last[later - 1]
    gap = columns.time[links.first[later]] - columns.time[before]
    asked = (np.bitwise_or.reduceat(columns.flags, links.first)[later - 1] & QUESTION) > 0
    close = (gap <= TALK_SECONDS) | (asked & (gap <= most_seconds))
    other = (links.sender[later] != links.sender[later - 1]) & (columns.topic[before] == columns.topic[before + 1])
    here = (columns.flags[links.first[later]] & ELSEWHERE) == 0
    chosen = later[close & other & here & (links.kind[later] == NONE)]
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


def components(links: Graph) -> Ints:
    """For each turn the first turn of its conversation: edges lead to earlier turns, so it is where they end."""
    top = np.where(links.parent >= 0, links.parent, np.arange(len(links))).astype(np.int32)
    while not np.array_equal(further := top[top], top):
        top = further
    return top
