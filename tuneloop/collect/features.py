"""What the link ranker knows of a pair (message, earlier message it may reply to), computed for many at once.

The chat is read as it lies on disk, finished: what follows a message (who replied to it, who speaks next) is as good
evidence as what precedes it. `visible` holds the reply links that may be seen; a link that is being learnt or tested
is taken out of it first, so it never shows in its own features.
Features after Kummerfeld et al., ACL 2019, and the threads that a chat's own reply links draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuneloop.collect import columns as reading
from tuneloop.collect import likeness
from tuneloop.collect.columns import BUCKETS, Columns, Ints

WINDOW = 25  # candidates: 96 % of a load-testing group's 9,765 reply links reach no further back
CHILDREN = 3  # replies of a message that are looked at
AHEAD = 40  # messages after it in which the other one's next is looked for
WORDS = 12  # of each message that are compared
CHUNK = 300  # rows at once: with their intermediate arrays 15 MB

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Truth = NDArray[np.bool_]
Blocks = list[NDArray[np.generic]]

_BOTH = (
    *(reading.QUESTION, reading.ASKS, reading.LINK, reading.MEDIA, reading.THANKS, reading.OPENER, reading.YES_NO),
    *(reading.FAMILIAR, reading.FORMAL, reading.SELF, reading.CONNECT, reading.TROUBLE, reading.ADVICE),
    *(reading.SMILE, reading.LOWER, reading.LINES, reading.LATIN),
)


@dataclass(frozen=True, slots=True, eq=False)
class Threads:
    """What the visible links say of every message and of every sender."""

    parent: Ints
    burst: Ints  # turns as they are without the links that may not be seen
    children: Ints  # (n, CHILDREN) positions of the first replies to each message, -1 where none
    replies: Ints  # how many replies each message has
    before: Ints  # the same person's message before, -1 where none
    after: Ints
    nearby: Ints  # visible links among the 20 messages before and after
    habits: Floats  # (senders, 4): replies to the message just before, log distance, share of links, messages
    answered: Floats  # (senders,): replies received for each message
    pairs: NDArray[np.int64]  # sender * senders + sender answered, sorted
    pair_counts: Ints
    idf: Floats  # of every word bucket, and 0 for "no word" at the end
    names: Ints  # (senders, 3) word buckets of names that are no everyday words, -3 elsewhere
    is_name: Truth  # of every bucket


def threads(columns: Columns, visible: Ints) -> Threads:
    """Prepare the look-ups for one set of visible links."""
    n = len(columns)
    replies = np.bincount(visible[visible >= 0], minlength=n).astype(np.int32)
    linked = np.flatnonzero(visible >= 0)
    before, after = _own_neighbours(columns)
    running = np.concatenate(([0], np.cumsum(visible >= 0)))
    places = np.arange(n)
    nearby = running[np.minimum(places + 21, n)] - running[np.maximum(places - 20, 0)]
    habits, answered, pairs, pair_counts = _habits_of(columns, linked, visible)
    counts = np.bincount(columns.tokens, minlength=BUCKETS)
    idf = np.append(np.log((n + 1) / (counts + 1)), 0).astype(np.float32)
    is_name = np.zeros(BUCKETS, bool)
    is_name[columns.names[columns.names >= 0]] = True
    is_name &= counts < max(20, n * 0.01)
    names = np.where((columns.names >= 0) & is_name[columns.names], columns.names, -3).astype(np.int32)
    return Threads(
        parent=visible,
        burst=reading.bursts(columns.sender, columns.time, columns.topic, visible, columns.flags),
        children=_first_replies(visible, linked, n),
        replies=replies,
        before=before,
        after=after,
        nearby=nearby.astype(np.int32),
        habits=habits,
        answered=answered,
        pairs=pairs,
        pair_counts=pair_counts,
        idf=idf,
        names=names,
        is_name=is_name,
    )


def _first_replies(visible: Ints, linked: Rows, n: int) -> Ints:
    children = np.full((n, CHILDREN), -1, np.int32)
    by_parent = linked[np.argsort(visible[linked], kind="stable")]
    parents = visible[by_parent]
    rank = np.arange(len(parents)) - np.searchsorted(parents, parents)
    kept = rank < CHILDREN
    children[parents[kept], rank[kept]] = by_parent[kept]
    return children


def _own_neighbours(columns: Columns) -> tuple[Ints, Ints]:
    before, after = (np.full(len(columns), -1, np.int32) for _side in range(2))
    order = np.lexsort((columns.sender, columns.topic)).astype(np.int32)
    who, where = columns.sender[order], columns.topic[order]
    same = (who[1:] == who[:-1]) & (where[1:] == where[:-1])
    before[order[1:][same]] = order[:-1][same]
    after[order[:-1][same]] = order[1:][same]
    return before, after


def _habits_of(columns: Columns, linked: Rows, visible: Ints) -> tuple[Floats, Floats, NDArray[np.int64], Ints]:
    people = len(columns.senders)
    who, whom, distance = columns.sender[linked], columns.sender[visible[linked]], linked - visible[linked]
    count = np.bincount(who, minlength=people).astype(np.float64)
    written = np.bincount(columns.sender, minlength=people)
    near, far = (np.bincount(who, weights=w, minlength=people) for w in (distance == 1, np.log(distance)))
    some = max(1, len(linked))  # five links of the average person are added to everybody's own
    habits = [
        (near + 5 * (distance == 1).sum() / some) / (count + 5),
        (far + 5 * np.log(distance).sum() / some) / (count + 5),
        (count + 1) / (written + 3),
        np.log1p(written),
    ]
    answered = (np.bincount(whom, minlength=people) + 1) / (written + 3)
    pairs, pair_counts = np.unique(who.astype(np.int64) * people + whom, return_counts=True)
    return np.stack(habits, 1).astype(np.float32), answered.astype(np.float32), pairs, pair_counts.astype(np.int32)


def candidates(columns: Columns, rows: Rows) -> tuple[Rows, Truth]:
    """The WINDOW messages before each row in its topic, nearest first, and which of them exist."""
    place = rows[:, None] - np.arange(1, WINDOW + 1)
    exists = place >= 0
    place = np.maximum(place, 0)
    return place, exists & (columns.topic[place] == columns.topic[rows][:, None])


def pairs(columns: Columns, known: Threads, rows: Rows) -> tuple[Floats, Rows, Truth]:
    """Features (rows, WINDOW, F), candidate positions (rows, WINDOW) and which exist (rows, WINDOW)."""
    place, exists = candidates(columns, rows)
    themes = (_distances, _typing, _kinds, _people, _threads, _own_thread, _habits, _afterwards, _words, _likeness)
    blocks = [block for theme in themes for block in theme(columns, known, rows, place, exists)]
    features = np.empty((*place.shape, len(blocks)), np.float32)
    for number, block in enumerate(blocks):
        features[:, :, number] = block if block.ndim == 2 else block[:, None]
    return features, place, exists


def _distances(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    ahead, back = np.minimum(place + 1, len(columns) - 1), np.maximum(place - 1, 0)
    gap = columns.time[rows][:, None] - columns.time[place]
    return [
        np.log1p(gap),
        np.broadcast_to(np.arange(1, WINDOW + 1), place.shape),
        known.burst[rows][:, None] - known.burst[place],
        np.log1p(gap[:, 0]),
        np.log1p(gap) - np.log1p(gap[:, :1]),
        np.log1p(columns.time[ahead] - columns.time[place]),  # how long nobody said anything after the candidate
        np.log1p(columns.time[place] - columns.time[back]),
        known.burst[place] == known.burst[ahead],  # its turn goes on
        known.burst[place] == known.burst[back],
    ]


def _typing(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    """What I can have read when I began to type, at two speeds, and where in it the candidate stands."""
    blocks: Blocks = []
    for characters_per_second in (3, 6):
        began = columns.time[rows] - columns.length[rows] / characters_per_second
        seen = columns.time[place] <= began[:, None]
        blocks += [seen, np.cumsum(seen & exists, axis=1)]
    gap = columns.time[rows][:, None] - columns.time[place]
    return [*blocks, np.log1p(gap) - np.log1p(columns.length[rows])[:, None]]


def _kinds(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    mine, theirs = columns.flags[rows], columns.flags[place]
    asked = ((theirs & reading.QUESTION) > 0) & exists
    return [
        *((theirs & bit) > 0 for bit in _BOTH),
        *((mine & bit) > 0 for bit in (*_BOTH, reading.ADDRESS)),
        np.cumsum(asked, axis=1) - asked,  # questions in between
        np.log1p(columns.length[place]),
        np.log1p(columns.length[rows]),
    ]


def _people(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    me, they = columns.sender[rows][:, None], columns.sender[place]
    by_me = (they == me) & exists
    above = known.parent[place]
    whom = np.where(above >= 0, columns.sender[above], -2)
    again, written, to_me, from_me, beside, fresh = (np.zeros(place.shape, np.float32) for _block in range(6))
    for step in range(WINDOW):  # who wrote, who answered whom, who wrote right after whom, within the window
        author = they[:, step : step + 1]
        same = they == author
        again[:, step] = same[:, :step].sum(axis=1)
        written[:, step] = same.sum(axis=1)
        to_me[:, step] = (same & (whom == me)).sum(axis=1)
        from_me[:, step] = (by_me & (whom == author)).sum(axis=1)
        beside[:, step] = (same[:, 1:] & by_me[:, :-1]).sum(axis=1) + (same[:, :-1] & by_me[:, 1:]).sum(axis=1)
        fresh[:, step] = (again[:, step] == 0) & exists[:, step]
    since_me = np.full(place.shape, 30.0, np.float32)  # how far before the candidate I last wrote
    for step in range(29, 0, -1):
        since_me[columns.sender[np.maximum(place - step, 0)] == me] = step
    return [
        they == me,
        np.cumsum(by_me, axis=1) - by_me,  # how often I wrote between the candidate and now
        by_me.sum(axis=1),
        *(again, written, to_me, from_me, beside, since_me),
        np.cumsum(fresh, axis=1),
        *(columns.sender[np.maximum(place - step, 0)] == me for step in (1, 2, 3)),
    ]


def _threads(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    me, they = columns.sender[rows][:, None], columns.sender[place]
    above = known.parent[place]
    children, kids = known.children[place], known.children[rows]
    before = known.before[rows][:, None]
    kid_sender = np.where(kids >= 0, columns.sender[kids], -2)
    return [
        above >= 0,
        (above >= 0) & (columns.sender[above] == me),
        (above == before) & (before >= 0),
        known.replies[place],
        ((children >= 0) & (children < rows[:, None, None])).sum(axis=2),
        ((children >= 0) & (columns.sender[children] == me[:, :, None])).any(axis=2),
        (kid_sender[:, None, :] == they[:, :, None]).any(axis=2),  # its author replied to me later
        (kids >= 0).sum(axis=1),
        (above >= 0) & (place[:, :1] + 1 - above > WINDOW),
    ]


def _own_thread(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    """My own messages before and after: which thread they are in."""
    they = columns.sender[place]
    blocks: Blocks = []
    for other in (known.before[rows], known.after[rows]):
        real = other >= 0
        goal = np.where(real, known.parent[other], -1)
        has_goal = (goal >= 0)[:, None]
        blocks += [
            goal[:, None] == place,
            has_goal & (columns.sender[goal][:, None] == they),
            np.where(real, np.log1p(np.abs(columns.time[rows] - columns.time[other])), 20.0),
            has_goal & (known.parent[place] == goal[:, None]),
            real & (known.burst[other] == known.burst[rows]),
            goal >= 0,
            np.where(has_goal, np.sign(place - goal[:, None]), 0),
        ]
    return blocks


def _habits(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    me, they = columns.sender[rows], columns.sender[place]
    wanted = me[:, None].astype(np.int64) * len(columns.senders) + they
    count = np.zeros(place.shape, np.float32)
    if len(known.pairs):
        at = np.minimum(np.searchsorted(known.pairs, wanted), len(known.pairs) - 1)
        count = np.where(known.pairs[at] == wanted, known.pair_counts[at], 0).astype(np.float32)
    total = np.expm1(known.habits[me, 3]) * known.habits[me, 2]
    return [
        *known.habits[me].T,
        known.habits[they, 3],
        known.answered[they],
        (count + 0.2) / (total[:, None] + 4),
        known.nearby[rows],
    ]


def _afterwards(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    """When the candidate's author speaks next: people go back and forth."""
    they, last = columns.sender[place], len(columns) - 1
    steps, pause = np.full(place.shape, AHEAD + 1.0, np.float32), np.full(place.shape, 20.0, np.float32)
    thanks, towards = np.zeros(place.shape, bool), np.zeros(place.shape, np.float32)
    for step in range(AHEAD, 0, -1):
        at = np.minimum(rows + step, last)
        hit = (columns.sender[at][:, None] == they) & (
            (rows + step <= last) & (columns.topic[at] == columns.topic[rows])
        )[:, None]
        goal = known.parent[at]
        direction = np.where(goal < 0, 0, np.where(goal == rows, 2, np.sign(goal - rows)))
        steps[hit] = step
        pause = np.where(hit, np.log1p(np.maximum(columns.time[at] - columns.time[rows], 0))[:, None], pause)
        thanks = np.where(hit, ((columns.flags[at] & reading.THANKS) > 0)[:, None], thanks)
        towards = np.where(hit, direction[:, None], towards)
    return [
        *(steps, pause, thanks, towards),
        (columns.sender[np.minimum(rows + 1, last)] == columns.sender[rows]),
    ]


def padded_tokens(columns: Columns, rows: Rows) -> Ints:
    """The first WORDS words of each row, -1 where it has fewer: (rows, WORDS)."""
    start = columns.start[rows]
    at = np.arange(WORDS)
    inside = at < (columns.start[rows + 1] - start)[:, None]
    if not len(columns.tokens):
        return np.full(inside.shape, -1, np.int32)
    return np.where(inside, columns.tokens[np.where(inside, start[:, None] + at, 0)].astype(np.int32), -1)


def _words(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    mine = padded_tokens(columns, rows)
    unique, inverse = np.unique(place, return_inverse=True)
    inverse = inverse.reshape(place.shape)
    their_words = padded_tokens(columns, unique)
    total_theirs = known.idf[their_words].sum(axis=1)[inverse]
    theirs = their_words[inverse]
    weight = known.idf[mine]
    total_mine = np.maximum(weight.sum(axis=1), 1e-6)[:, None]
    they, names = columns.sender[place], known.names[columns.sender[place]]
    shared = np.zeros((*place.shape, WORDS), bool)
    named, naming_me = np.zeros(place.shape, bool), np.zeros(place.shape, bool)
    for number in range(WORDS):
        word = np.where(mine[:, number] >= 0, mine[:, number], -2)[:, None, None]
        shared[:, :, number] = (theirs == word).any(axis=2)
        named |= (names == word).any(axis=2)
    for number in range(names.shape[2]):
        naming_me |= (theirs == known.names[columns.sender[rows], number][:, None, None]).any(axis=2)
    common = (shared * weight[:, None, :]).sum(axis=2)
    by_author = np.zeros(place.shape, np.float32)  # words shared with anything the candidate's author said lately
    for step in range(WINDOW):
        said = (shared & (they == they[:, step : step + 1])[:, :, None]).any(axis=1)
        by_author[:, step] = (said * weight).sum(axis=1)
    likeness = common / np.sqrt(np.maximum(total_mine * total_theirs, 1e-6))
    return [
        common,
        (shared * weight[:, None, :]).max(axis=2),
        likeness,
        likeness - likeness.max(axis=1, keepdims=True),
        common / total_mine,
        (shared / np.maximum(shared.sum(axis=1), 1)[:, None, :] * weight[:, None, :]).sum(axis=2),
        by_author,
        by_author - by_author.max(axis=1, keepdims=True),
        *(named, naming_me),
        (known.is_name[np.maximum(mine, 0)] & (mine >= 0)).any(axis=1),
    ]


def _likeness(columns: Columns, known: Threads, rows: Rows, place: Rows, exists: Truth) -> Blocks:
    """By their letters: me and the candidate, me and its turn, my turn and the candidate."""
    own = likeness.between(columns, rows[:, None], place)
    theirs, mine = own.copy(), np.zeros_like(own)
    last = len(columns) - 1
    for step in (*range(-5, 0), *range(1, 6)):
        other = place + step
        same = (other >= 0) & (other < rows[:, None])
        same &= known.burst[np.clip(other, 0, last)] == known.burst[place]
        theirs = np.maximum(theirs, np.where(same, likeness.between(columns, rows[:, None], other), 0))
        if abs(step) > 3:
            continue
        other = np.clip(rows + step, 0, last)
        same = (known.burst[other] == known.burst[rows])[:, None]
        mine = np.maximum(mine, np.where(same, likeness.between(columns, other[:, None], place), 0))
    return [*likeness.ranked(own, exists), theirs, mine]
