"""From clicks to a version of photo search that may serve: examples, the ladder, the gate, registration.

Nothing is promoted because it looks better: two questions have to be answered. Are photos of clicked products found
more often than by what searches now (McNemar's exact test, one-sided, p <= 0.05)? And are products that nobody clicked
found no more than two points less often (lower 90 % bound over products)? Otherwise the version is registered, stays
inactive, and says why. Both are measured on photos that the tested map did not learn from (tune/image_ladder.py), and
where a version searches already, only on photos that it did not learn from either.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select, update

from tuneloop import versions
from tuneloop.db.photo_tables import photo_feedback, photo_queries, photo_trainings
from tuneloop.encoders.choice import Encoder, open_encoder
from tuneloop.errors import NotEnoughData
from tuneloop.loop import photo_clicks, photo_switch, photo_tower, photo_version
from tuneloop.loop.photo_gate import joined, verdict_of
from tuneloop.loop.photo_version import PhotoVersion, kind_of
from tuneloop.loop.photos import beginning, load_catalogue
from tuneloop.progress import Progress, silent
from tuneloop.records import Verdict, Version
from tuneloop.search import catalogue, vectors
from tuneloop.texts import _
from tuneloop.tune.image_ladder import Catalogue, Held, choose, fit, judge, threshold
from tuneloop.tune.image_map import Clicks, ImageMap, Indices, unit
from tuneloop.versions import START
from tuneloop.workspace import Workspace, write_json

SITTING = 1800.0  # seconds between two photos of one person of one product that still are one sitting
TWIN = 0.97  # cosine of centred vectors from which two photos are near-duplicates


@dataclass(frozen=True)
class Examples:
    """Photos that were judged, as the ladder wants them, and the feedback behind them."""

    clicks: Clicks
    groups: Indices  # (n,) near-duplicates and photos of one sitting share a number
    feedback: tuple[tuple[str, ...], ...]  # (n,) ids of each photo's
    photos: tuple[str, ...]  # (n,) their ids

    def outside(self, taught: set[str]) -> NDArray[np.bool_]:
        """(n,) True where nothing that was said of the photo is among `taught`."""
        return np.array([not taught.intersection(ids) for ids in self.feedback], dtype=bool)

    @property
    def known(self) -> int:
        """Photos of which the right product is known."""
        return int((self.clicks.right >= 0).sum())


@dataclass(frozen=True)
class Trained:
    """What a training brought: the version, what the gate said, and whether the version searches now."""

    version: Version
    verdict: Verdict
    active: bool
    seconds: float


def train(workspace: Workspace, *, tenant: str = "", watch: Progress = silent) -> Trained:
    """Climb the ladder on everything clicked so far; activate the result if the gate says so.

    What searches of the team is what the result is measured against, and all that its activation replaces. Raises
    NotEnoughData below `photos.min_examples` photos with a known product, saying how many are missing, and Conflict
    while another training of this workspace runs.
    """
    with workspace.lock("photos-train"):
        now = photo_tower.serving(workspace, tenant=tenant)
        encoder = photo_tower.space(workspace, now)
        started = time.time()
        items, raw = load_catalogue(workspace, encoder, tenant=tenant)
        found = examples(workspace, encoder, items, tenant=tenant)
        need_enough(workspace, found)
        row = _begin(workspace, tenant, found.known)
        try:
            done = _train(workspace, encoder, now, items, raw, found, tenant, watch)
        except BaseException as problem:
            _end(workspace, row, "failed", note=f"{type(problem).__name__}: {problem}"[:500])
            raise
        figures = done[1].figures["all"]
        _end(workspace, row, "done", note=done[1].why, version=done[0].id, figures=figures, used=_ids(found))
        active = versions.find(workspace, done[0].id, kind=kind_of(tenant)).active
        return Trained(done[0], done[1], active, time.time() - started)


def need_enough(workspace: Workspace, found: Examples) -> None:
    """Raises NotEnoughData, with how many examples are missing."""
    least = workspace.settings.integer("photos.min_examples")
    products = len(np.unique(found.clicks.right[found.clicks.right >= 0]))
    if found.known < least:
        raise NotEnoughData(
            _("{n} photos with a known product are there, {least} are needed: {missing} more").format(
                n=found.known, least=least, missing=least - found.known
            ),
            fix=_("Search with photos and say which product is right; 50 and more learn better."),
        )
    if products < 4:
        raise NotEnoughData(
            _("the clicks are about {n} products, at least 4 are needed to judge what was learned").format(n=products),
            fix=_("Search with photos of other products too."),
        )


def examples(workspace: Workspace, encoder: Encoder, items: list[catalogue.Item], *, tenant: str = "") -> Examples:
    """One example per photo: the product that most people named, and those that were clicked away."""
    limit = workspace.settings.integer("photos.votes_per_user")
    at = {item.id: i for i, item in enumerate(items)}
    photos: dict[str, list[Any]] = defaultdict(list)
    for row in photo_clicks.votes(workspace, tenant=tenant, limit=limit):
        if row.item in at:
            photos[row.photo].append(row)
    known = vectors.load(workspace, list(photos), encoder.name)
    if missing := [p for p in photos if p not in known]:  # searched while another version's model saw for it
        vectors.encode_copies(workspace, missing, encoder)
        known |= vectors.load(workspace, missing, encoder.name)
    right, wrong, queries, asked, feedback, ids = [], [], [], [], [], []
    for photo in sorted(p for p in photos if p in known):
        rows = photos[photo]
        named = Counter(at[r.item] for r in rows if r.verdict != "wrong")
        most = named.most_common(2)
        if len(most) == 2 and most[0][1] == most[1][1]:
            continue  # people disagree: it teaches nothing
        right.append(most[0][0] if most else -1)
        wrong.append(np.array(sorted({at[r.item] for r in rows if r.verdict == "wrong"} - set(named)), dtype=np.intp))
        queries.append(known[photo])
        ids.append(photo)
        asked.append((rows[0].user, float(rows[0].asked)))
        feedback.append(tuple(sorted(r.id for r in rows)))
    if not queries:
        nothing = Clicks(np.zeros((0, 1), dtype=np.float32), np.zeros(0, dtype=np.intp), [])
        return Examples(nothing, np.zeros(0, dtype=np.intp), (), ())
    clicks = Clicks(np.stack(queries), np.array(right, dtype=np.intp), wrong)
    return Examples(clicks, grouped(clicks, asked), tuple(feedback), tuple(ids))


def grouped(clicks: Clicks, asked: list[tuple[str, float]]) -> Indices:
    """(n,) group numbers: near-duplicate photos, and one person's photos of one product in one sitting."""
    centred = unit(clicks.queries - clicks.queries.mean(axis=0))
    parent = list(range(len(asked)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in np.argwhere(np.triu(centred @ centred.T >= TWIN, 1)):
        parent[root(int(b))] = root(int(a))
    last: dict[tuple[str, int], tuple[float, int]] = {}
    for i in sorted(range(len(asked)), key=lambda i: asked[i][1]):
        (user, when), product = asked[i], int(clicks.right[i])
        before = last.get((user, product))
        if before is not None and product >= 0 and when - before[0] <= SITTING:
            parent[root(i)] = root(before[1])
        last[user, product] = (when, i)
    return np.array([root(i) for i in range(len(asked))], dtype=np.intp)


def _train(
    workspace: Workspace,
    encoder: Encoder,
    now: PhotoVersion | None,
    items: list[catalogue.Item],
    raw: Catalogue,
    found: Examples,
    tenant: str,
    watch: Progress,
) -> tuple[Version, Verdict]:
    watch(_("learning"), 0, 3)
    start = beginning(workspace, encoder, items, raw, tenant=tenant)
    fair = found.outside(_taught(workspace, now.id, tenant)) if now else None
    searching = now.map if now else start
    tower = None
    if photo_tower.wanted(workspace, found):
        place = (now.tower if now else None) or Path(workspace.settings.text("photos.encoder")).expanduser()
        recipe = photo_tower.recipe_of(workspace)
        about: dict[str, Any] = {"place": place, "now": searching, "fair": fair, "recipe": recipe, "watch": watch}
        tower = photo_tower.climb(workspace, encoder, items, raw, found, start, **about)
    if tower is not None:
        rung, made, held = tower.rung, tower.map, tower.held
    else:
        rung = choose(start, raw, found.clicks, found.groups)
        made = fit(rung, start, raw, found.clicks)
        watch(_("learning"), 1, 3)
        held = judge(start, raw, found.clicks, found.groups, before=searching, fair=fair)
    watch(_("learning"), 2, 3)
    verdict = verdict_of(held, rung.name)
    version = _registered(workspace, made, verdict, held, found, now, tower, tenant)
    versions.judge(workspace, version, verdict)
    version = versions.find(workspace, version.id, kind=kind_of(tenant))
    pictures = [i for item in items for i, _p in item.pictures]
    photo_tower.encode(
        workspace, photo_version.load(workspace, version.id, tenant=tenant), [*pictures, *found.photos], watch
    )
    if verdict.decision == "promote":
        versions.activate(workspace, version, note=verdict.why)
    watch(_("learning"), 3, 3)
    return version, verdict


def _registered(
    workspace: Workspace,
    made: ImageMap,
    verdict: Verdict,
    held: dict[str, Held],
    found: Examples,
    now: PhotoVersion | None,
    tower: photo_tower.Tower | None,
    tenant: str,
) -> Version:
    everything = joined(held["seen"], held["unseen"])
    limit, kept, refused = threshold(everything.similarity, everything.without)
    card = {"figures": verdict.figures, "threshold_keeps": round(kept, 4), "threshold_refuses": round(refused, 4)}
    base = now.encoder if now else open_encoder(workspace.settings.text("photos.encoder")).name
    (workspace.path / "models").mkdir(exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".photos-", suffix=".part", dir=workspace.path / "models"))
    # Part of the files, and so of the id: the same clicks on two teams' like catalogues make two versions.
    more: dict[str, Any] = {"tenant": tenant} if tenant else {}
    if tower is not None:
        photo_tower.save(tower, staging)
        more |= {"tower": tower.against_map.why}
    elif now is not None and now.tower is not None:
        photo_tower.pass_on(now, staging)
        more |= {"space": now.space}
    photo_version.save(staging, made, encoder=base, threshold=limit, card=card | more)
    write_json(staging / "evidence.json", {"feedback": list(_ids(found))})
    meta = {"base": base, "examples": found.known, "tenant": tenant, **card, **more}
    return versions.register(workspace, staging, kind=kind_of(tenant), name=f"photos-{found.known}", meta=meta)


def _taught(workspace: Workspace, version: str, tenant: str) -> set[str]:
    """Ids of the feedback that a version learned from."""
    path = workspace.path / versions.find(workspace, version, kind=kind_of(tenant)).path / "evidence.json"
    return set(json.loads(path.read_text(encoding="utf-8"))["feedback"])


def _ids(found: Examples) -> tuple[str, ...]:
    return tuple(sorted(i for ids in found.feedback for i in ids))


def _begin(workspace: Workspace, tenant: str, count: int) -> int:
    row = {"tenant": tenant, "started": time.time(), "state": "running", "examples": count, "version": "", "note": ""}
    with workspace.db.write() as rows:
        # Only the holder of the lock is here: a row that still runs belongs to a process that died.
        dead = update(photo_trainings).where(photo_trainings.c.tenant == tenant, photo_trainings.c.state == "running")
        rows.execute(dead.values(state="failed", ended=time.time(), note="the process ended"))
        return int(rows.execute(insert(photo_trainings).values(**row)).inserted_primary_key[0])  # type: ignore[index]


def _end(
    workspace: Workspace,
    row: int,
    state: str,
    *,
    note: str,
    version: str = "",
    figures: dict[str, Any] | None = None,
    used: tuple[str, ...] = (),
) -> None:
    said: dict[str, Any] = {"state": state, "ended": time.time(), "note": note, "version": version}
    if figures:
        said |= {"before": figures["before"]["recall_1"], "after": figures["after"]["recall_1"]}
    with workspace.db.write() as rows:
        rows.execute(update(photo_trainings).where(photo_trainings.c.id == row).values(**said))
        for start in range(0, len(used), 500):
            mine = photo_feedback.c.id.in_(used[start : start + 500])
            rows.execute(update(photo_feedback).where(mine).values(used=version))


def note_failure(workspace: Workspace, note: str, *, tenant: str = "") -> None:
    """A training that ended without a word gets its row, or its own row gets an end. Raises Conflict while one runs."""
    said = {"state": "failed", "ended": time.time(), "note": note[:500]}
    with workspace.lock("photos-train"), workspace.db.write() as rows:
        running = (photo_trainings.c.tenant == tenant, photo_trainings.c.state == "running")
        if not rows.execute(update(photo_trainings).where(*running).values(**said)).rowcount:
            row = {"tenant": tenant, "started": time.time(), "examples": 0, "version": "", **said}
            rows.execute(insert(photo_trainings), [row])


def report(workspace: Workspace, *, tenant: str = "") -> dict[str, Any]:
    """What there is: products, searches, clicks by kind and by person, trainings newest first."""
    listed = catalogue.items(workspace, tenant=tenant, state="")
    said = photo_clicks.votes(workspace, tenant=tenant)
    with workspace.db.read() as rows:
        asked = list(rows.execute(select(photo_queries.c.latency_ms).where(photo_queries.c.tenant == tenant)))
        mine = select(photo_trainings).where(photo_trainings.c.tenant == tenant)
        trainings = [dict(r._mapping) for r in rows.execute(mine.order_by(photo_trainings.c.id.desc()).limit(20))]
    people = photo_clicks.concentration(workspace, tenant=tenant)
    active = photo_switch.active(workspace, tenant=tenant)
    return {
        "products": sum(i.state == catalogue.ACTIVE for i in listed),
        "retired": sum(i.state == catalogue.RETIRED for i in listed),
        "without_picture": sum(i.state == catalogue.ACTIVE and not i.pictures for i in listed),
        "searches": len(asked),
        "latency_ms": round(float(np.median([r.latency_ms for r in asked])), 1) if asked else None,
        "verdicts": dict(Counter(r.verdict for r in said)),
        "unused": sum(not r.used for r in said),
        "people": [{"user": user, "verdicts": n, "share": round(n / len(said), 3)} for user, n in people[:10]],
        "trainings": trainings,
        "version": active.id if active else START,
    }
