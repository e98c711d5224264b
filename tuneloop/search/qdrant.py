"""A Qdrant server beside the exact search: it says which pictures are worth an exact look; without it all are.

Every (workspace, team, version of the map) has a collection of its own, and a point's id is made of its product and
its vector, so vectors of two versions cannot meet and a changed catalogue costs only what changed. What Qdrant names
is scored again from our own matrix: the answer is the exact one wherever the right picture is among the candidates.

Copying happens in a thread while exact search answers. After a failure Qdrant is left alone for half a minute.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneloop.errors import MissingExtra
from tuneloop.search.index import Index, Matrix
from tuneloop.texts import _

CANDIDATES = 200  # pictures asked for; a search shows 5 products
SECONDS = 2  # a slower answer is none: exact search over 200,000 pictures takes 0.1 s
REST = 30.0  # seconds without Qdrant after a failure
AGAIN = 600.0  # seconds after which a collection is compared again: another process may have held an older catalogue
AT_ONCE = 256  # points of one request: 0.35 MB at 342 numbers
NAMESPACE = uuid.UUID("6f1d3c52-8f0e-4b41-9d3e-2b5a7c0e4d11")

log = logging.getLogger("tuneloop.search")


@dataclass(frozen=True)
class Copy:
    """What a collection holds. matrix: what the index was made of; rows: {id of a point: its row of the index}."""

    name: str
    matrix: str
    rows: dict[str, int]


def copy_of(prefix: str, version: str, matrix: str, index: Index, items: Sequence[str]) -> Copy:
    """The collection of an index. version: changes with the map; matrix: with the map or the catalogue.

    items: id of each product.
    """
    name = f"{prefix}-{hashlib.sha256(version.encode()).hexdigest()[:16]}"
    rows = {}
    for row, (vector, owner) in enumerate(zip(index.vectors, index.owners, strict=True)):
        content = hashlib.sha256(vector.tobytes()).hexdigest()
        rows[str(uuid.uuid5(NAMESPACE, f"{items[owner]}|{content}"))] = row
    return Copy(name, matrix, rows)


def prefix_of(workspace: str, tenant: str) -> str:
    """What names of a team's collections begin with; workspace: what tells this one from others of the server."""
    return "tuneloop-" + hashlib.sha256(f"{workspace}|{tenant}".encode()).hexdigest()[:12]


class Qdrant:
    """One server, for one team. Safe to use from several threads. Raises MissingExtra without its client."""

    def __init__(self, url: str, *, key: str = "", rest: float = REST) -> None:
        try:
            from qdrant_client import QdrantClient
            from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
        except ImportError as problem:
            raise MissingExtra(
                _("photos.qdrant_url needs the Qdrant client"), fix=_("Install it with: pip install 'tuneloop[qdrant]'")
            ) from problem
        self._failures = (ResponseHandlingException, UnexpectedResponse, OSError, ValueError)
        self._client: Any = QdrantClient(url=url, api_key=key or None, timeout=SECONDS, check_compatibility=False)
        self._rest = rest
        self._away = float("-inf")  # when it failed last
        self._ready: Copy | None = None  # is there as a whole
        self._compared = float("-inf")
        self._wanted: Copy | None = None
        self._copying = threading.Lock()
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None

    def candidates(self, copy: Copy, index: Index, query: Matrix) -> list[int] | None:
        """Products that are worth an exact look, for a (d,) unit vector; None while Qdrant cannot say."""
        if time.monotonic() - self._away < self._rest:
            return None
        if self._ready is not copy or time.monotonic() - self._compared > AGAIN:
            self._follow(copy, index)
            return None
        try:
            found = self._client.query_points(
                copy.name, query=query.tolist(), limit=CANDIDATES, with_payload=False
            ).points
        except self._failures as problem:
            self._failed(problem)
            return None
        return sorted({int(index.owners[copy.rows[str(one.id)]]) for one in found if str(one.id) in copy.rows})

    def settle(self, seconds: float) -> None:
        """Wait until nothing is copied any more."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _follow(self, copy: Copy, index: Index) -> None:
        with self._turn:
            if self._wanted is copy and self._thread is not None and self._thread.is_alive():
                return
            self._wanted = copy
            # A daemon: a server that stops does not wait for a copy that the next one goes on with.
            self._thread = threading.Thread(target=self._copy, args=(copy, index), daemon=True)
            self._thread.start()

    def _copy(self, copy: Copy, index: Index) -> None:
        with self._copying:
            try:
                if self._whole(copy, index):
                    self._ready, self._compared = copy, time.monotonic()
                    self._drop_others(copy.name)
            except self._failures as problem:
                self._failed(problem)

    def _whole(self, copy: Copy, index: Index) -> bool:
        """Bring the collection to what `copy` says; false when something newer is wanted meanwhile."""
        from qdrant_client import models

        client, name = self._client, copy.name
        if not client.collection_exists(name):
            shape = models.VectorParams(size=index.vectors.shape[1], distance=models.Distance.DOT)
            client.create_collection(name, vectors_config=shape)
        there = self._ids(name)
        gone = sorted(there - set(copy.rows))
        for start in range(0, len(gone), AT_ONCE):
            client.delete(name, points_selector=models.PointIdsList(points=gone[start : start + AT_ONCE]), wait=True)
        new = [(i, row) for i, row in copy.rows.items() if i not in there]
        for start in range(0, len(new), AT_ONCE):
            if self._wanted is not copy:
                return False
            part = new[start : start + AT_ONCE]
            points = [models.PointStruct(id=i, vector=index.vectors[row].tolist()) for i, row in part]
            client.upsert(name, points=points, wait=True)
        return True

    def _ids(self, name: str) -> set[str]:
        found: set[str] = set()
        at = None
        while True:
            points, at = self._client.scroll(name, limit=10_000, offset=at, with_payload=False, with_vectors=False)
            found |= {str(one.id) for one in points}
            if at is None:
                return found

    def _drop_others(self, name: str) -> None:
        """Remove collections of versions of this team that do not search any more."""
        prefix = name.rpartition("-")[0] + "-"
        for one in self._client.get_collections().collections:
            if one.name.startswith(prefix) and one.name != name:
                self._client.delete_collection(one.name)

    def _failed(self, problem: Exception) -> None:
        self._away, self._ready = time.monotonic(), None
        said = str(problem).strip().split("\n")[0][:200]
        log.warning("Qdrant does not answer, exact search does: %s", said or type(problem).__name__)
