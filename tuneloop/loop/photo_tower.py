"""When to tune the picture model itself, what that is worth, and where its vectors go.

It is the last rung of the ladder and asked for with `photos.tower`: minutes to hours of work, and known to forget
products without clicks. So it is learned once without a part of the photos, beside the map that learned from the same
clicks; only where the gate prefers it on the photos left out, it is learned again from all of them. The tuned model is
a part of its version, and the version's name a part of its vectors' name: those of two towers cannot meet.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.encoders import picture
from tuneloop.encoders.choice import Encoder, open_encoder
from tuneloop.errors import BadInput
from tuneloop.loop import photo_switch, photo_version
from tuneloop.loop.photo_gate import verdict_of
from tuneloop.progress import Progress
from tuneloop.records import Verdict
from tuneloop.search import catalogue, vectors
from tuneloop.texts import _
from tuneloop.tune.image_ladder import Catalogue, Held, Rung, choose, fit, held_out, measured, ranks
from tuneloop.tune.image_map import Clicks, ImageMap, Indices, Matrix, centred
from tuneloop.workspace import Workspace

if TYPE_CHECKING:
    from tuneloop.encoders.clip import Clip
    from tuneloop.loop.photo_training import Examples
    from tuneloop.tune.image_tower import Recipe

LEAST = 300  # photos with a known product: with fewer the map is better in every published comparison
FOLDER = "tower"  # of a version
AT_ONCE = 64
CHOICES = ("never", "full", "lora")


@dataclass(frozen=True)
class Tower:
    """A tuned model that the gate prefers to the map, and the map on top of it. held: against what searches now."""

    model: Clip
    map: ImageMap
    rung: Rung
    held: dict[str, Held]
    against_map: Verdict


def wanted(workspace: Workspace, found: Examples) -> bool:
    """Whether somebody asked, there is a model to tune, and enough to learn from. Raises BadInput for the setting."""
    asked = workspace.settings.text("photos.tower")
    if asked not in CHOICES:
        raise BadInput(_("photos.tower is one of {choices}").format(choices=", ".join(CHOICES)))
    place = Path(workspace.settings.text("photos.encoder")).expanduser()
    return asked != "never" and found.known >= LEAST and (place / "config.json").is_file()


def space(workspace: Workspace, active: photo_version.PhotoVersion | None) -> Encoder:
    """The encoder whose vectors a training learns from: the tower of the version that searches, else the setting's."""
    if active is not None and active.tower is not None:
        return opened(active.tower, active.space)
    return open_encoder(workspace.settings.text("photos.encoder"))


@lru_cache(maxsize=2)
def opened(folder: Path, name: str) -> Encoder:
    """The encoder of a version's own model; `name` is what its vectors are kept under."""
    from tuneloop.encoders.clip import Clip

    model = Clip(str(folder))
    return Encoder(name, model.side, model.pictures, model.texts)


def climb(
    workspace: Workspace,
    encoder: Encoder,
    items: Sequence[catalogue.Item],
    raw: Catalogue,
    found: Examples,
    start: ImageMap,
    *,
    place: Path,
    now: ImageMap,
    fair: NDArray[np.bool_] | None,
    recipe: Recipe,
    watch: Progress,
) -> Tower | None:
    """The tuned tower if the gate prefers it to the map on photos that neither learned from, else None.

    place: the model to begin with; now: the map that searches; fair: (n,) photos that it did not learn from.
    """
    training, seen, unseen = held_out(found.clicks, found.groups)
    part = found.clicks.some(training)
    beside = fit(choose(start, raw, part, found.groups[training]), start, raw, part)
    model, moved, clicks = _learned(workspace, encoder, items, raw, found, training, place, recipe, watch)
    made, _rung = _mapped(moved, clicks.some(training), found.groups[training])
    against: dict[str, Held] = {}
    held: dict[str, Held] = {}
    for name, rows in (("seen", seen), ("unseen", unseen)):
        old = ranks(beside, raw, found.clicks.some(rows))
        against[name] = measured(made, moved, clicks.some(rows), old)
        new = rows if fair is None else rows[fair[rows]]
        held[name] = measured(made, moved, clicks.some(new), ranks(now, raw, found.clicks.some(new)))
    verdict = verdict_of(against, "tower")
    if verdict.decision != "promote":
        return None
    every = np.arange(len(found.clicks.right))
    model, moved, clicks = _learned(workspace, encoder, items, raw, found, every, place, recipe, watch)
    whole, rung = _mapped(moved, clicks, found.groups)
    return Tower(model, whole, replace(rung, name=f"tower, {rung.name}"), held, verdict)


def recipe_of(workspace: Workspace) -> Recipe:
    """What the setting asks for."""
    from tuneloop.tune import image_tower

    return image_tower.LORA if workspace.settings.text("photos.tower") == "lora" else image_tower.FULL


def save(tower: Tower, folder: Path) -> None:
    """Put the model into a version's folder."""
    from tuneloop.tune import image_tower

    image_tower.save(tower.model, folder / FOLDER)


def pass_on(before: photo_version.PhotoVersion, folder: Path) -> None:
    """A version whose map stands on an older version's tower has the same files, not a copy of them."""
    assert before.tower is not None
    shutil.copytree(before.tower, folder / FOLDER, copy_function=os.link)


def encode(workspace: Workspace, version: photo_version.PhotoVersion, ids: Sequence[str], watch: Progress) -> None:
    """Give the catalogue and the photos their vectors of a new tower, before the first search needs them."""
    if version.tower is not None:
        missing = [i for i in ids if i not in vectors.known(workspace, ids, version.space)]
        vectors.encode_copies(workspace, missing, opened(version.tower, version.space), watch=watch)


def serving(workspace: Workspace, *, tenant: str = "") -> photo_version.PhotoVersion | None:
    """The version that the team searches with, if it fits the encoder of the settings."""
    active = photo_switch.active(workspace, tenant=tenant)
    if active is None:
        return None
    found = photo_version.load(workspace, active.id, tenant=tenant)
    return found if found.encoder == open_encoder(workspace.settings.text("photos.encoder")).name else None


def _learned(
    workspace: Workspace,
    encoder: Encoder,
    items: Sequence[catalogue.Item],
    raw: Catalogue,
    found: Examples,
    rows: Indices,
    place: Path,
    recipe: Recipe,
    watch: Progress,
) -> tuple[Clip, Catalogue, Clicks]:
    """The model tuned on some of the clicks, and the catalogue and all clicks as it sees them."""
    from tuneloop.tune import image_tower

    known = vectors.known(workspace, [i for item in items for i, _p in item.pictures], encoder.name)
    listed = [(i, at) for at, item in enumerate(items) for i, _p in item.pictures if i in known]
    first = {at: i for i, at in reversed(listed)}
    pairs = [(found.photos[n], first[p], p) for n in rows.tolist() if (p := int(found.clicks.right[n])) >= 0]
    pixels = _pixels(workspace, [i for photo, shown, _p in pairs for i in (photo, shown)], encoder.side)
    pairs = [pair for pair in pairs if pair[0] in pixels and pair[1] in pixels]
    model = image_tower.tuned(
        str(place),
        np.stack([pixels[photo] for photo, _s, _p in pairs]),
        np.stack([pixels[shown] for _p, shown, _n in pairs]),
        np.array([p for _p, _s, p in pairs]),
        recipe=recipe,
        watch=watch,
    )
    moved = replace(raw, vectors=_seen(workspace, [i for i, _at in listed], encoder, model))
    queries = _seen(workspace, found.photos, encoder, model)
    return model, moved, replace(found.clicks, queries=queries)


def _mapped(moved: Catalogue, clicks: Clicks, groups: Indices) -> tuple[ImageMap, Rung]:
    start = centred(moved.vectors, photos=clicks.queries)
    rung = choose(start, moved, clicks, groups)
    return fit(rung, start, moved, clicks), rung


def _pixels(workspace: Workspace, ids: Sequence[str], side: int) -> dict[str, Any]:
    """{picture: (side, side, 3)} of the clean copies that can still be read."""
    once = list(dict.fromkeys(ids))
    read = picture.read([workspace.path / vectors.place(i) for i in once], side)
    return {i: p.pixels for i, p in zip(once, read, strict=True) if p.pixels is not None}


def _seen(workspace: Workspace, ids: Sequence[str], encoder: Encoder, model: Clip) -> Matrix:
    """(n, d) vectors of kept pictures, 64 read at a time; zeros for one whose copy is gone."""
    made: list[Matrix] = []
    for start in range(0, len(ids), AT_ONCE):
        part = list(ids[start : start + AT_ONCE])
        pixels = _pixels(workspace, part, encoder.side)
        blank = np.zeros((encoder.side, encoder.side, 3), dtype=np.uint8)
        seen = model.pictures(np.stack([pixels.get(i, blank) for i in part]))
        made.append(np.where(np.array([i in pixels for i in part])[:, None], seen, np.float32(0)))
    return np.concatenate(made)
