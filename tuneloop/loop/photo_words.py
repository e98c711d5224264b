"""Products by words: by what their pictures show where the encoder has text, else by what they are called.

A text is no photo: it does not pass the map that clicks taught, because that one bridges shop and customer photos, and
it takes no clicks. It is compared with the pictures as the encoder gave them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneloop.errors import BadInput, NotEnoughData
from tuneloop.loop.photos import Finder, Hit, hit, load_catalogue, of_category
from tuneloop.search import catalogue
from tuneloop.search.index import Index, top
from tuneloop.texts import _

LONGEST = 500  # characters; CLIP reads 77 tokens of them
PICTURES, NAMES = "pictures", "names"


@dataclass(frozen=True, slots=True)
class ByWords:
    """What words found. method: "pictures" (their cosine with the text), or "names": 1.0 for each that holds them."""

    hits: tuple[Hit, ...]
    method: str
    latency_ms: float


class Words:
    """Searches by words beside the searches by photo of one Finder; safe to use from several threads."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder
        self._held: tuple[int, tuple[catalogue.Item, ...], Index] | None = None

    def search(self, text: str, *, k: int = 0, category: str = "") -> ByWords:
        """The k products that fit the words best. Raises BadInput for no words, NotEnoughData without a catalogue."""
        started = time.perf_counter()
        said = " ".join(text.split())
        if not said or len(said) > LONGEST:
            raise BadInput(_("the words to search for must have 1 to {n} characters").format(n=LONGEST))
        k = k or self.finder.workspace.settings.integer("photos.results")
        if self.finder.encoder.texts is None:
            hits, method = self._by_names(said, k, category), NAMES
        else:
            hits, method = self._by_pictures(said, k, category), PICTURES
        return ByWords(hits, method, (time.perf_counter() - started) * 1000)

    def _by_names(self, said: str, k: int, category: str) -> tuple[Hit, ...]:
        items = catalogue.items(self.finder.workspace, tenant=self.finder.tenant)
        if not items:
            raise NotEnoughData(
                _("the catalogue has no products yet"), fix=_("Import one: tuneloop photos import CATALOGUE.csv")
            )
        inside = of_category(items, category)
        found = catalogue.matching([i for i, chosen in zip(items, inside, strict=True) if chosen], said)
        return tuple(hit(item, 1.0) for item in found[:k])

    def _by_pictures(self, said: str, k: int, category: str) -> tuple[Hit, ...]:
        assert self.finder.encoder.texts is not None
        items, index = self._pictures()
        vector: Any = self.finder.encoder.texts([said])
        score = np.where(of_category(items, category), index.scores(vector)[0], -np.inf).astype(np.float32)
        return tuple(hit(items[i], similarity) for i, similarity in top(score, k))

    def _pictures(self) -> tuple[tuple[catalogue.Item, ...], Index]:
        """Products and the vectors of their pictures as the encoder gave them, of the catalogue as it is now."""
        revision = catalogue.revision(self.finder.workspace, tenant=self.finder.tenant)
        held = self._held
        if held is None or held[0] != revision:
            items, raw = load_catalogue(self.finder.workspace, self.finder.encoder, tenant=self.finder.tenant)
            index = Index(raw.vectors, np.zeros(len(raw.vectors), dtype=np.float32), raw.owners, raw.products)
            self._held = held = (revision, tuple(items), index)
        return held[1], held[2]
