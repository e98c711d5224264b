"""A photo in, products out, and every click counts from the next search on.

A search is the active map over the catalogue's vectors plus what people said of photos like this one: a confirmed photo
draws its product up, a rejected one pushes it down, by how near the two photos are (the additive cache of Tip-Adapter,
ECCV 2022). Nothing of the catalogue is moved for that, so products that nobody clicked stay where they were.

What is held in memory belongs to one version, one encoder and one state of the catalogue; before each search small
questions to the database say whether it still does. So an activation reaches every process at its next search.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, insert, select

from tuneloop.db.photo_tables import photo_feedback, photo_queries, picture_vectors
from tuneloop.db.tables import versions as version_rows
from tuneloop.encoders import views
from tuneloop.encoders.choice import Encoder, open_encoder
from tuneloop.encoders.picture import read
from tuneloop.errors import BadInput, Missing, NotEnoughData
from tuneloop.loop import photo_clicks, photo_comparison, photo_tower, photo_version
from tuneloop.loop.photo_version import kind_of
from tuneloop.search import catalogue, qdrant, vectors
from tuneloop.search.index import Index, stored, top
from tuneloop.settings import secret
from tuneloop.texts import _
from tuneloop.tune.image_ladder import Catalogue
from tuneloop.tune.image_map import ImageMap, Matrix, centred
from tuneloop.versions import START
from tuneloop.workspace import Workspace

log = logging.getLogger("tuneloop.photos")

# At once, 100 simulated clicks on groceries: clicked products +9 points recall@1, the others -3 with weight 0.5.
CACHE, SHARPNESS = 0.5, 10.0
SAME_PHOTO, CERTAIN = 0.995, 2.0  # the photo that was judged itself: more than two cosines can differ by
SETTLED = 50  # unlabelled photos whose mean centres the first map; more of them move it no further
STUDIO_SAMPLE, VIEWS = 64, 3
FEW = 20  # products that Qdrant's candidates are enough for


@dataclass(frozen=True, slots=True)
class Hit:
    """One product that was found. `similarity`: of the photo and its nearest picture with what was said, -1 to 1."""

    item: str
    name: str
    category: str
    price: str
    similarity: float
    picture: str  # path of its first picture, relative to the workspace; "" without one


@dataclass(frozen=True, slots=True)
class Found:
    """What a search answered. `known` is false when the photo is more likely of nothing in the catalogue."""

    query: str
    hits: tuple[Hit, ...]
    known: bool
    version: str
    latency_ms: float


@dataclass(frozen=True)
class State:
    """Everything a search needs, of one moment; never changed, only replaced."""

    key: tuple[str, int, int]  # version, revision of the catalogue, photos that centre the first map
    version: str  # the version that searches; "" for the map before any
    clicks: tuple[int, float]  # how many there are and when the last one came or went
    items: tuple[catalogue.Item, ...]
    index: Index
    map: ImageMap
    threshold: float
    confirmed: Matrix  # (c, d) mapped photos that were judged
    judged: Any  # (c,) product of each
    verdicts: Any  # (c,) +1 right, -1 wrong
    encoder: Encoder  # its own where the version has a tuned model
    shift: Matrix | None = None  # expected difference of a photo from a picture, where no version searches
    copy: qdrant.Copy | None = None  # of the index, where a Qdrant server is named


class Finder:
    """Searches of one workspace and tenant; safe to use from several threads."""

    def __init__(self, workspace: Workspace, *, tenant: str = "", encoder: Encoder | None = None) -> None:
        self.workspace = workspace
        self.tenant = tenant
        self.encoder = encoder or open_encoder(workspace.settings.text("photos.encoder"))
        url = workspace.settings.text("photos.qdrant_url")
        key = secret(workspace.settings, "photos.qdrant_key_env") if url else ""
        self.qdrant = qdrant.Qdrant(url, key=key) if url else None
        self._states: dict[str, State] = {}  # of each version that searches: one, or two that are compared
        self._building = threading.Lock()

    def search(self, photo: Path, *, user: str = "", k: int = 0, category: str = "") -> Found:
        """The k products nearest to a photo, best first, and a row of it; a clean copy of the photo is kept.

        Raises BadInput, Damaged, Hostile or Missing for a photo that cannot be read, NotEnoughData without a catalogue.
        """
        started = time.perf_counter()
        query = "pq-" + uuid.uuid4().hex[:20]
        state = self.state(user or query)
        found = vectors.keep(self.workspace, [photo], state.encoder)[0]
        if found.problem is not None:
            raise found.problem
        vector = vectors.load(self.workspace, [found.id], state.encoder.name)[found.id]
        score = self._scores(state, vector, among_all=bool(category) or k > FEW)
        if category:
            score = np.where(of_category(state.items, category), score, -np.inf).astype(np.float32)
        best = top(score, k or self.workspace.settings.integer("photos.results"))
        known = bool(best) and best[0][1] >= state.threshold
        return self._noted(query, state, found, best, known, user, started)

    def _noted(
        self,
        query: str,
        state: State,
        found: vectors.Kept,
        best: Sequence[tuple[int, float]],
        known: bool,
        user: str,
        started: float,
    ) -> Found:
        hits = tuple(hit(state.items[i], similarity) for i, similarity in best)
        latency = (time.perf_counter() - started) * 1000
        row = {
            "id": query,
            "tenant": self.tenant,
            "user": user,
            "time": time.time(),
            "photo": found.id,
            "path": found.path,
            "version": state.version,
            "encoder": state.encoder.name,
            "results": [[hit.item, round(hit.similarity, 4)] for hit in hits],
            "known": known,
            "latency_ms": latency,
        }
        with self.workspace.db.write() as rows:
            rows.execute(insert(photo_queries), [row])
        return Found(query, hits, known, state.version, latency)

    def _scores(self, state: State, vector: Matrix, *, among_all: bool) -> Matrix:
        query = state.map.queries(vector[None])[0]
        if self.qdrant is not None and state.copy is not None and not among_all:
            chosen = self.qdrant.candidates(state.copy, state.index, query)
            if chosen is not None:  # a click may lift a product from far away
                near = state.index.some(query, np.union1d(chosen, state.judged).astype(np.intp))
                return np.asarray(near + said_of_alike(state, query), dtype=np.float32)
        return np.asarray(state.index.scores(query[None])[0] + said_of_alike(state, query), dtype=np.float32)

    def state(self, unit: str = "") -> State:
        """What searches use now; unit: for whom, where versions are compared over people.

        Raises NotEnoughData while the catalogue has no pictures.
        """
        key, clicks, in_use = self._asked(unit)
        state = self._states.get(key[0])
        if state is not None and state.key == key and state.clicks == clicks:
            return state
        with self._building:
            state = self._states.get(key[0])
            if state is not None and not state.version and state.key[:2] == key[:2] and state.key != key:
                state = self._recentred(state, key)
            elif state is None or state.key != key:
                state = self._built(key)
            made = self._with_clicks(state, clicks)
            self._states = {v: s for v, s in self._states.items() if v in in_use} | {key[0]: made}
            return made

    def _asked(self, unit: str) -> tuple[tuple[str, int, int], tuple[int, float], set[str]]:
        """Key of the state, how far the clicks are, and the versions that search for anybody now."""
        with self.workspace.db.read() as rows:
            active = rows.execute(
                select(version_rows.c.id).where(version_rows.c.kind == kind_of(self.tenant), version_rows.c.active)
            ).scalar()
            mine = photo_feedback.c.tenant == self.tenant
            asked = select(func.count(), func.max(photo_feedback.c.time), func.max(photo_feedback.c.undone)).where(mine)
            count, last, undone = rows.execute(asked).one()
        compared = photo_comparison.running(self.workspace, tenant=self.tenant)
        own = photo_comparison.version_of(compared, unit) if unit else None
        chosen = str(active or "") if own is None else own
        photos = 0
        if not chosen:
            with self.workspace.db.read() as rows:
                some = select(photo_queries.c.id).where(photo_queries.c.tenant == self.tenant).limit(SETTLED)
                photos = len(rows.execute(some).all()) // 5 * 5
        variants = {arm.variant for one in compared for arm in one.arms}
        in_use = {str(active or ""), *variants} | ({""} if START in variants else set())
        revision = catalogue.revision(self.workspace, tenant=self.tenant)
        return (chosen, revision, photos), (int(count), max(last or 0.0, undone or 0.0)), in_use

    def _built(self, key: tuple[str, int, int]) -> State:
        version = photo_version.load(self.workspace, key[0], tenant=self.tenant) if key[0] else None
        if version is not None and version.encoder != self.encoder.name:
            version = None
        tower = version.tower if version is not None else None
        encoder = self.encoder if version is None or tower is None else photo_tower.opened(tower, version.space)
        items, raw = load_catalogue(self.workspace, encoder, tenant=self.tenant)
        shift = None
        if version is None:
            searching, limit = "", -np.inf
            shift = expected_shift(self.workspace, self.encoder, items)
            made = centred(raw.vectors, shift, _searched(self.workspace, self.encoder, self.tenant))
        else:
            searching, made, limit = key[0], version.map, version.threshold
        named = f"{self.tenant}|{encoder.name}|{key[:2]}|{_mark(made)}"
        name = hashlib.sha256(named.encode()).hexdigest()[:24]
        mapped = stored(_folder(self.workspace), name, raw.vectors.shape, lambda: made.items(raw.vectors))
        index = Index(mapped, made.bias(mapped), raw.owners, raw.products)
        copy = before.copy if (before := self._states.get(searching)) else None
        if self.qdrant is not None and (copy is None or copy.matrix != name):
            prefix = qdrant.prefix_of(str(self.workspace.path.resolve()), self.tenant)
            of_map = f"{encoder.name}|{searching}|{_mark(made)}"
            copy = qdrant.copy_of(prefix, of_map, name, index, [item.id for item in items])
        nothing = np.zeros((0, raw.vectors.shape[1]), dtype=np.float32)
        judged, verdicts, clicks = np.zeros(0, dtype=np.intp), np.zeros(0), (-1, 0.0)
        plain = (key, searching, clicks, tuple(items), index, made, limit, nothing, judged, verdicts)
        return State(*plain, encoder=encoder, shift=shift, copy=copy)

    def _recentred(self, state: State, key: tuple[str, int, int]) -> State:
        """The same catalogue around more photos: reading 10,000 products again made each fifth search 0.2 s slower."""
        seen = _searched(self.workspace, self.encoder, self.tenant)
        made = centred(state.map.item_centre[None], state.shift, seen)
        return replace(state, key=key, map=made, clicks=(-1, 0.0))

    def _with_clicks(self, state: State, clicks: tuple[int, float]) -> State:
        at = {item.id: i for i, item in enumerate(state.items)}
        limit = self.workspace.settings.integer("photos.votes_per_user")
        rows = [r for r in photo_clicks.votes(self.workspace, tenant=self.tenant, limit=limit) if r.item in at]
        known = vectors.load(self.workspace, list({r.photo for r in rows}), state.encoder.name)
        rows = [r for r in rows if r.photo in known]
        raw = np.stack([known[r.photo] for r in rows]) if rows else state.confirmed[:0]
        verdicts = np.array([1.0 if r.verdict in ("right", "pointed") else -1.0 for r in rows])
        judged = np.array([at[r.item] for r in rows], dtype=np.intp)
        return replace(state, clicks=clicks, confirmed=state.map.queries(raw), judged=judged, verdicts=verdicts)


def said_of_alike(state: State, query: Matrix) -> Matrix:
    """(products,) what clicks on photos like this one add: the nearest confirmed less the nearest rejected photo."""
    added = np.zeros(len(state.items), dtype=np.float32)
    if not len(state.judged):
        return added
    cosine = state.confirmed @ query
    near = np.where(cosine >= SAME_PHOTO, CERTAIN, CACHE * np.exp(SHARPNESS * (cosine - 1))).astype(np.float32)
    lost = np.zeros_like(added)
    # The nearest counts, not their sum: a hundred votes of one user weigh as much as one.
    np.maximum.at(added, state.judged[state.verdicts > 0], near[state.verdicts > 0])
    np.maximum.at(lost, state.judged[state.verdicts < 0], near[state.verdicts < 0])
    return added - lost


def load_catalogue(
    workspace: Workspace, encoder: Encoder, *, tenant: str = ""
) -> tuple[list[catalogue.Item], Catalogue]:
    """Active products that have a picture, and their vectors. Raises NotEnoughData when there is none."""
    items = [item for item in catalogue.items(workspace, tenant=tenant) if item.pictures]
    known = encoded(workspace, encoder, items)
    items = [item for item in items if any(i in known for i, _p in item.pictures)]
    if not items:
        raise NotEnoughData(
            _("the catalogue has no pictures yet"), fix=_("Import one: tuneloop photos import CATALOGUE.csv")
        )
    pairs = [(known[i], at) for at, item in enumerate(items) for i, _p in item.pictures if i in known]
    owners = np.array([at for _v, at in pairs], dtype=np.intp)
    return items, Catalogue(np.stack([v for v, _at in pairs]), owners, len(items))


def encoded(workspace: Workspace, encoder: Encoder, items: Sequence[catalogue.Item]) -> dict[str, Matrix]:
    """{picture: vector} of every picture; those that this encoder has not seen are encoded from their clean copies."""
    ids = list(dict.fromkeys(i for item in items for i, _p in item.pictures))
    known = vectors.load(workspace, ids, encoder.name)
    missing = [i for i in ids if i not in known]
    if missing:
        vectors.encode_copies(workspace, missing, encoder)
        known |= vectors.load(workspace, missing, encoder.name)
    return known


def beginning(
    workspace: Workspace, encoder: Encoder, items: Sequence[catalogue.Item], raw: Catalogue, *, tenant: str = ""
) -> ImageMap:
    """The map before any version: centred where photos of this catalogue are to be expected.

    The expectation comes from made-up photos of its studio pictures; photos that were searched for take over from it.
    """
    shift = expected_shift(workspace, encoder, items)
    return centred(raw.vectors, shift, _searched(workspace, encoder, tenant))


def _searched(workspace: Workspace, encoder: Encoder, tenant: str) -> Matrix | None:
    """(n, d) the first photos that were searched for, n at most SETTLED; None without one."""
    asked = select(photo_queries.c.photo).where(photo_queries.c.tenant == tenant).order_by(photo_queries.c.time)
    with workspace.db.read() as rows:
        photos = [r.photo for r in rows.execute(asked.limit(SETTLED))]
    seen = vectors.load(workspace, list(dict.fromkeys(photos)), encoder.name)
    return np.stack(list(seen.values())) if seen else None


def expected_shift(workspace: Workspace, encoder: Encoder, items: Sequence[catalogue.Item]) -> Matrix | None:
    """(d,) difference of a photo from a picture that made-up photos lead to expect; None without a studio picture."""
    named = [i for item in items for i, _p in item.pictures]
    with workspace.db.read() as rows:
        plain = select(picture_vectors.c.id).where(picture_vectors.c.encoder == encoder.name, picture_vectors.c.studio)
        studio = {r.id for r in rows.execute(plain)}
    mine = sorted(set(named) & studio)
    ids = mine[:: max(1, len(mine) // STUDIO_SAMPLE)][:STUDIO_SAMPLE]
    if not ids:
        return None
    share = len(mine) / len(set(named))
    name = "shift-" + hashlib.sha256(f"{encoder.name}{ids}".encode()).hexdigest()[:24]
    shape = (1, len(next(iter(vectors.load(workspace, ids[:1], encoder.name).values()))))
    try:
        made = stored(_folder(workspace), name, shape, lambda: _shift(workspace, encoder, ids))
    except Missing as problem:  # it searches without: 14 instead of 30 of 100 first photos were right
        log.warning("%s", problem.message)
        return None
    return np.asarray(share * made[0], dtype=np.float32)


def _shift(workspace: Workspace, encoder: Encoder, ids: list[str]) -> Matrix:
    """(1, d) mean difference between made-up photos and the studio pictures they were made of.

    Raises Missing when none of the clean copies can be read any more.
    """
    read_ = read([workspace.path / vectors.place(i) for i in ids], encoder.side)
    found = [p.pixels for p in read_ if p.pixels is not None]
    if not found:
        raise Missing(
            _("the copies of the catalogue's pictures are gone from {path}").format(path=workspace.path / "photos"),
            fix=_("Import the catalogue again."),
        )
    pixels = np.stack(found)
    chosen = np.repeat(np.arange(len(pixels)), VIEWS)
    made = views.shop_photos(pixels, views.studio(pixels), chosen)
    return np.asarray([encoder.pictures(made).mean(axis=0) - encoder.pictures(pixels).mean(axis=0)], dtype=np.float32)


def _folder(workspace: Workspace) -> Path:
    return workspace.path / "photos" / "index"


def of_category(items: Sequence[catalogue.Item], category: str) -> Any:
    """(products,) whether each is of the category; "" is all. Raises BadInput for one that no product has."""
    inside = np.array([not category or i.category.casefold() == category.casefold() for i in items], dtype=bool)
    if not inside.any():
        raise BadInput(
            _("there is no category '{name}'").format(name=category[:80]),
            fix=_("`tuneloop photos list` shows the catalogue."),
        )
    return inside


def hit(item: catalogue.Item, similarity: float) -> Hit:
    """A product as a search shows it."""
    picture = item.pictures[0][1] if item.pictures else ""
    shown = min(1.0, max(-1.0, similarity))  # what was said of photos like it may lead out of the cosines
    return Hit(item.id, item.name, item.category, item.price, shown, picture)


def _mark(made: ImageMap) -> str:
    """Changes with everything that the catalogue's mapped vectors depend on."""
    total = hashlib.sha256(made.item_centre.tobytes())
    total.update(b"" if made.matrix is None else made.matrix.tobytes())
    return total.hexdigest()[:16]
