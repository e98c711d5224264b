"""A version of photo search on disk: three or four arrays and a card, nothing that runs code when it is read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuneloop import versions
from tuneloop.errors import Damaged
from tuneloop.texts import _
from tuneloop.tune.image_map import ImageMap
from tuneloop.workspace import Workspace, write_json

KIND = "photos"
ARRAYS = ("query_centre", "item_centre", "matrix", "photos")


def kind_of(tenant: str) -> str:
    """The kind of a team's versions: catalogue and clicks are the team's own, and so is what was learned from them."""
    return f"{KIND}:{tenant}" if tenant else KIND


@dataclass(frozen=True)
class PhotoVersion:
    """encoder: the one of the settings it belongs to; threshold: similarity from which a product is believed.

    tower: folder of the model that makes its vectors, where it has one of its own; space: the name that those are kept
    under, of the version that the tower was tuned for.
    """

    id: str
    encoder: str
    map: ImageMap
    threshold: float
    space: str
    tower: Path | None = None


def save(folder: Path, made: ImageMap, *, encoder: str, threshold: float, card: dict[str, Any]) -> None:
    """Write a version's files into an empty folder, the card last."""
    for name in ARRAYS:
        array = getattr(made, name)
        if array is not None:
            with (folder / f"{name}.npy").open("wb") as handle:
                np.save(handle, np.asarray(array, dtype=np.float32), allow_pickle=False)
    write_json(folder / "card.json", {"encoder": encoder, "hub": made.hub, "threshold": threshold, **card})


def load(workspace: Workspace, identity: str, *, tenant: str = "") -> PhotoVersion:
    """Read a version of a team. Raises Missing when it has none of that id, Damaged when its files have changed."""
    row = versions.find(workspace, identity, kind=kind_of(tenant))
    versions.check_files(workspace, row)
    folder = workspace.path / row.path
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        arrays = {
            name: np.load(folder / f"{name}.npy", allow_pickle=False) if (folder / f"{name}.npy").exists() else None
            for name in ARRAYS
        }
        hub, threshold = float(card["hub"]), float(card["threshold"])
        sound = all(bool(np.isfinite(array).all()) for array in arrays.values() if array is not None)
        if not (sound and math.isfinite(hub) and math.isfinite(threshold)):
            raise ValueError("card.json")
        tower = folder / "tower" if (folder / "tower").is_dir() else None
        encoder = str(card["encoder"])
        space = str(card.get("space") or f"tower-{row.id}") if tower else encoder
        return PhotoVersion(row.id, encoder, ImageMap(**arrays, hub=hub), threshold, space, tower)  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise Damaged(
            _("version {id} cannot be read: {problem}").format(id=row.id, problem=problem),
            fix=_("Activate another one: tuneloop photos versions"),
        ) from problem
