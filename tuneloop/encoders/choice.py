"""The one seam behind which pictures become vectors: an encoder is a name, a size of picture and a function.

`[photos] encoder` names it: "classical" (nothing to download), the folder or hub name of a CLIP or SigLIP model, or
several joined by "+". Several are fused late: the cosine of joined unit vectors is the mean of the cosines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuneloop.encoders import image
from tuneloop.encoders.picture import Pixels
from tuneloop.errors import BadInput
from tuneloop.texts import _

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Encoder:
    """`pictures`: (n, side, side, 3) bytes -> (n, d) float32. `texts`: the same space, or None where it has no text."""

    name: str  # vectors are kept under it: another recipe has another name
    side: int
    pictures: Callable[[Pixels], Vectors]
    texts: Callable[[Sequence[str]], Vectors] | None = None


def open_encoder(wanted: str) -> Encoder:
    """The encoder that a setting names. Raises BadInput for an empty name, Missing or MissingExtra for a model."""
    parts = [part.strip() for part in wanted.split("+")]
    if not all(parts):
        raise BadInput(_("'{name}' names no encoder").format(name=wanted), fix=_("Use: classical"))
    found = [_one(part) for part in parts]
    return found[0] if len(found) == 1 else _joined(found)


def _one(name: str) -> Encoder:
    if name == "classical":
        return Encoder(image.NAME, image.SIDE, image.encode)
    from tuneloop.encoders import clip

    model = clip.Clip(str(Path(name).expanduser()) if name.startswith("~") else name)
    return Encoder(model.name, model.side, model.pictures, model.texts)


def _joined(parts: list[Encoder]) -> Encoder:
    side = max(part.side for part in parts)

    def pictures(pixels: Pixels) -> Vectors:
        return np.hstack([_unit(part.pictures(resized(pixels, part.side))) for part in parts])

    if not any(part.texts for part in parts):
        return Encoder("+".join(part.name for part in parts), side, pictures)

    def texts(said: Sequence[str]) -> Vectors:
        # Zeros where a part has no text: the product with a picture's vector is then that of the parts that have.
        blank = np.zeros((1, side, side, 3), dtype=np.uint8)
        widths = [part.pictures(resized(blank, part.side)).shape[1] for part in parts]
        made = [
            _unit(part.texts(said)) if part.texts else np.zeros((len(said), width), dtype=np.float32)
            for part, width in zip(parts, widths, strict=True)
        ]
        return np.hstack(made)

    return Encoder("+".join(part.name for part in parts), side, pictures, texts)


def resized(pixels: Pixels, side: int) -> Pixels:
    """The same pictures with another number of pixels."""
    if pixels.shape[1] == side:
        return pixels
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BOX)) for p in pixels])


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)
