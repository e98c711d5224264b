"""Search in collections of documents: one BM25 index per collection in memory, made from its rows when they change.

Every search asks the collection's revision first (0.1 ms), so what any process has committed is found by the next
search of every other. Indexes that were not asked for longest are forgotten once all of them together hold more
passages than the setting documents.passages; one passage of 800 characters takes about 1 KB.

Similarity of words is the share of the question that a passage holds, each lemma weighed by its rarity. It is a
filter, not a judgement: pages about similar things use similar words. Of questions about one half of an encyclopaedia
a bar of 0.45 let 97 % through; of those about the other half, whose page was not there, 73 %. (0.6: 82 % and 40 %.)
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from tuneloop.db.document_tables import collections, documents, passages
from tuneloop.search.bm25 import Bm25, lemmas
from tuneloop.search.documents import missing
from tuneloop.workspace import Workspace

METHOD = "words"
BAR = 0.45  # similarity under which a passage is no source, unless another bar is asked for
Place = tuple[str, int]  # document, number of its passage


@dataclass(frozen=True, slots=True)
class Found:
    """A passage. score orders what one search found (BM25, or of ranks); similarity, 0 to 1, as `method` says."""

    document: str
    number: int
    text: str
    score: float
    similarity: float
    method: str = METHOD
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Index:
    revision: str
    places: list[Place]
    words: Bm25


class Library:
    """The collections of a workspace, searched. Threads may share it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._most = workspace.settings.integer("documents.passages")
        self._indexes: OrderedDict[tuple[str, str], _Index] = OrderedDict()
        self._making = threading.Lock()  # one index at a time: each takes a core, and memory
        self.made = 0  # indexes, since the start

    @property
    def held(self) -> int:
        """Passages in memory."""
        return sum(len(index.places) for index in list(self._indexes.values()))

    def search(
        self, name: str, query: str, *, tenant: str = "", top_k: int = 5, similarity_threshold: float = 0.0
    ) -> list[Found]:
        """The passages that hold most of a question, best first. Raises Missing without the collection."""
        index = self._index(name, tenant)
        best = [
            (index.places[at], score, share)
            for at, score, share in index.words.best(lemmas(query), top_k)
            if share >= similarity_threshold
        ]
        with self._workspace.db.read() as rows:
            texts = _texts(rows, name, tenant, [place for place, _score, _share in best])
        return [
            Found(*place, texts[place][0], score, share, METHOD, texts[place][1])
            for place, score, share in best
            if place in texts  # another process may have taken it out just now
        ]

    def _index(self, name: str, tenant: str) -> _Index:
        key = (tenant, name)
        with self._workspace.db.read() as rows:
            mine = and_(collections.c.tenant == tenant, collections.c.name == name)
            revision = rows.execute(select(collections.c.revision).where(mine)).scalar()
        if revision is None:
            self._indexes.pop(key, None)
            raise missing(name)
        known = self._indexes.get(key)
        if known is not None and known.revision == revision:
            return self._used(key, known)
        with self._making:
            known = self._indexes.get(key)
            if known is not None and known.revision == revision:  # made while this one waited
                return self._used(key, known)
            with self._workspace.db.read() as rows:
                made = _made(rows, name, tenant)
            self.made += 1
            self._indexes[key] = made
            return self._used(key, made)

    def _used(self, key: tuple[str, str], index: _Index) -> _Index:
        try:
            self._indexes.move_to_end(key)
            while self.held > self._most and len(self._indexes) > 1:
                self._indexes.popitem(last=False)
        except KeyError:  # another thread has just forgotten it; it is still good
            return index
        return index


def _made(rows: Connection, name: str, tenant: str) -> _Index:
    """Revision and passages in one statement, so that they are of one moment."""
    both = and_(passages.c.tenant == collections.c.tenant, passages.c.collection == collections.c.name)
    chosen = (
        select(collections.c.revision, passages.c.document, passages.c.number, passages.c.lemmas)
        .outerjoin_from(collections, passages, both)
        .where(collections.c.tenant == tenant, collections.c.name == name)
        .order_by(passages.c.document, passages.c.number)
    )
    revision, places = "", []

    def texts() -> Iterator[list[str]]:
        nonlocal revision
        for row in rows.execution_options(yield_per=2000).execute(chosen):
            revision = row.revision
            if row.document is not None:
                places.append((row.document, row.number))
                yield row.lemmas.split(" ")

    words = Bm25(texts())
    if not revision:
        raise missing(name)
    return _Index(revision, places, words)


def _texts(rows: Connection, name: str, tenant: str, places: list[Place]) -> dict[Place, tuple[str, dict[str, Any]]]:
    if not places:
        return {}
    both = and_(
        documents.c.tenant == passages.c.tenant,
        documents.c.collection == passages.c.collection,
        documents.c.id == passages.c.document,
    )
    wanted = or_(*(and_(passages.c.document == document, passages.c.number == number) for document, number in places))
    chosen = (
        select(passages.c.document, passages.c.number, passages.c.text, documents.c.metadata)
        .join_from(passages, documents, both)
        .where(passages.c.tenant == tenant, passages.c.collection == name, wanted)
    )
    return {(row.document, row.number): (row.text, row.metadata or {}) for row in rows.execute(chosen)}
