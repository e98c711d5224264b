"""How alike two messages are by their letters: cosine of TF-IDF over pieces of 3 to 5 letters.

Pieces survive what whole words do not: inflection, typing errors, names of programs in two alphabets' spellings
("jmeter", "jmeter-а"). On a load-testing group's 9,765 reply links the message replied to is more alike than a random
candidate in 66 % of cases; by words 59 %, by pretrained vectors of Russian words (navec, news) 60 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tuneloop.collect.columns import Columns
from tuneloop.records import Message

REACH = 50  # messages back: twice the ranker's window, for the messages that candidates answer
CHARS = 600  # of each message
PIECES = 1 << 18  # hash buckets
ROWS = 500  # at once: 1 MB of cosines

Likeness = NDArray[np.float16]


def compared(columns: Columns, messages: Iterable[Message]) -> Columns:
    """The same with `alike` filled; messages: at least those of the columns, in any order. One that is gone by now is
    like no other. 40,000 messages: 4 s, 100 MB while it runs and 4 MB of it kept."""
    places = {number: place for place, number in enumerate(columns.ids.tolist())}
    texts = [""] * len(columns)
    for message in messages:
        if (place := places.get(message.id)) is not None:
            texts[place] = message.text[:CHARS]
    return replace(columns, alike=band(texts))


def band(texts: Sequence[str]) -> Likeness:
    """(n, REACH): cosine in 0..1 of message i and message i - 1 - k, in the order given; 0 where there is none."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    n = len(texts)
    found = np.zeros((n, REACH), np.float16)
    if not n:
        return found
    # A lone surrogate cannot be hashed.
    readable = [text[:CHARS].lower().encode("utf-8", "ignore").decode() for text in texts]
    cut = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=PIECES, alternate_sign=False, norm=None, dtype=np.float32
    )
    weighted: csr_matrix = csr_matrix(TfidfTransformer(sublinear_tf=True).fit_transform(cut.transform(readable)))
    for start in range(0, n, ROWS):
        rows = np.arange(start, min(n, start + ROWS))
        oldest = max(0, start - REACH)
        cosines = (weighted[rows] @ weighted[oldest : rows[-1] + 1].T).toarray()
        for back in range(1, REACH + 1):
            inside = rows[rows >= back]
            found[inside, back - 1] = cosines[inside - start, inside - back - oldest]
    return found


def between(columns: Columns, one: NDArray[np.integer], two: NDArray[np.integer]) -> NDArray[np.float32]:
    """Likeness of the messages at two arrays of positions, in any order; 0 where a position is none of the chat's,
    where both are one, and farther than REACH apart."""
    late, early = np.maximum(one, two), np.minimum(one, two)
    back = late - early - 1
    known = (early >= 0) & (late < len(columns.alike)) & (back >= 0) & (back < REACH)
    if not len(columns.alike):
        return np.zeros(known.shape, np.float32)
    found = columns.alike[np.where(known, late, 0), np.where(known, back, 0)]
    return np.where(known, found, 0).astype(np.float32)


def ranked(values: NDArray[np.float32], exists: NDArray[np.bool_]) -> Iterator[NDArray[np.generic]]:
    """A value of every candidate as it is, beside the best of its row, and as a rank: 3 blocks of (rows, WINDOW)."""
    held = np.where(exists, values, -1)
    yield values
    yield held - held.max(axis=1, keepdims=True)
    yield np.argsort(np.argsort(-held, axis=1, kind="stable"), axis=1)
