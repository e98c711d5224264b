"""The part of the client that speaks of documents: collections, search, answers from what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

DEFAULT = "documents"  # the collection of whoever names none


class DocumentCalls:
    """Methods of `client.Client`, whose `_ask` sends the requests."""

    async def create_collection(self, name: str = DEFAULT) -> dict[str, Any]:
        """Make an empty collection. Raises Conflict when there is one of this name.

        >>> (await client.create_collection("manuals"))["documents"]
        0
        """
        return await self._ask("POST", "/collections", {"name": name})

    async def add_documents(
        self, documents: Sequence[str | Mapping[str, Any]], collection: str = DEFAULT
    ) -> dict[str, Any]:
        """Store documents: texts, or mappings with "text", and perhaps "id" and "metadata" (whose "title" is searched).

        A text without an id is known by its content. Sent again, a document changes nothing. At most 100 at once.

        >>> made = await client.create_collection("manuals")
        >>> oil = {"id": "oil", "text": "Oil the chain every 200 km.", "metadata": {"title": "Chain"}}
        >>> (await client.add_documents([oil], "manuals"))["added"]
        1
        >>> (await client.add_documents([oil], "manuals"))["unchanged"]
        1
        """
        sent = [{"text": one} if isinstance(one, str) else dict(one) for one in documents]
        body = {"documents": [{"id": _identity(one), **one} for one in sent]}
        return await self._ask("POST", _path(collection, "documents"), body)

    async def search_documents(
        self, query: str, top_k: int = 5, similarity_threshold: float = 0.0, *, collection: str = DEFAULT
    ) -> list[dict[str, Any]]:
        """Passages, best first: "document", "text", "score", "similarity" (0 to 1), "metadata".

        >>> made = await client.create_collection()
        >>> added = await client.add_documents([{"id": "oil", "text": "Oil the chain every 200 km."}])
        >>> [one["document"] for one in await client.search_documents("when do chains need oil?", top_k=1)]
        ['oil']
        >>> await client.search_documents("opening hours")
        []
        """
        body = {"query": query, "top_k": top_k, "similarity_threshold": similarity_threshold}
        found: list[dict[str, Any]] = (await self._ask("POST", _path(collection, "search"), body))["results"]
        return found

    async def generate_with_context(
        self, query: str, model_id: str = "active", top_k: int = 5, similarity_threshold: float | None = None,
        *, collection: str = DEFAULT, **parameters: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """An answer from the documents: "answer", "answered", "sources" (numbered, "cited" or not), "call_id".

        Where no passage is similar enough, no model is asked. parameters: temperature, max_tokens, user.

        >>> made = await client.create_collection()
        >>> added = await client.add_documents([{"id": "oil", "text": "Oil the chain every 200 km."}])
        >>> reply = await client.generate_with_context("When does the chain need oil?", "support")
        >>> reply["answered"], [source["document"] for source in reply["sources"]]
        (True, ['oil'])
        >>> (await client.generate_with_context("Are you open on Sunday?", "support"))["answered"]
        False
        """
        body = {"query": query, "model": model_id, "top_k": top_k, **parameters}
        if similarity_threshold is not None:
            body["similarity_threshold"] = similarity_threshold
        return await self._ask("POST", _path(collection, "generate"), body)

    async def get_collection_stats(self, collection: str = DEFAULT) -> dict[str, Any]:
        """How many documents, passages and characters a collection holds, and of when they are.

        >>> made = await client.create_collection()
        >>> (await client.get_collection_stats())["passages"]
        0
        """
        return await self._ask("GET", _path(collection, "stats"))

    async def cleanup_old_documents(self, days: float = 30.0, collection: str = DEFAULT) -> dict[str, Any]:
        """Take out documents that nobody has sent for so many days; "removed" says how many.

        >>> made = await client.create_collection()
        >>> (await client.cleanup_old_documents(30))["removed"]
        0
        """
        return await self._ask("POST", _path(collection, "cleanup"), {"days": days})

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        raise NotImplementedError


def _path(collection: str, what: str) -> str:
    return f"/collections/{quote(collection, safe='')}/{what}"


def _identity(document: Mapping[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(str(document.get("text", "")).encode("utf-8", "replace")).hexdigest()[:32]
