"""Read pictures that strangers sent: in a child process, by magic bytes, within limits, and without their metadata.

A 493 KB PNG can take 1.3 GB when it is opened, and Pillow knows 43 formats of which a shop needs three. So only JPEG,
PNG and WebP up to 20 megapixels are read, never in the process that serves, and what is kept is written anew: turned
as its EXIF says, with no EXIF, and so without the place where it was taken.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuneloop.child import run_limited
from tuneloop.encoders.decode import decode_all
from tuneloop.errors import BadInput, Damaged, Hostile, Missing, TuneloopError
from tuneloop.texts import _

Pixels = NDArray[np.uint8]  # (n, side, side, 3) RGB

MEMORY = 300 << 20  # bytes a child may take: 20 megapixels of RGBA and one copy
SMALL_SIDE = 320  # pixels of a picture in a list
AT_ONCE = 64  # pictures of one child: its start takes 0.15 s, a picture 4 ms
SAID: dict[str, type[TuneloopError]] = {e.__name__: e for e in (BadInput, Damaged, Hostile, Missing)}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that could be read, or the error that says why not."""

    pixels: Pixels | None  # (side, side, 3)
    problem: TuneloopError | None = None


def read(paths: Sequence[Path], side: int, *, keep: Sequence[Path | None] | None = None) -> list[Picture]:
    """Every picture as `side` x `side` RGB pixels, in the order given; what cannot be read carries its error.

    keep: where to write a clean copy of each (JPEG, at most 1024 pixels wide or high, no metadata); None: nowhere.
    """
    done: list[Picture] = []
    kept = list(keep) if keep is not None else [None] * len(paths)
    for start in range(0, len(paths), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        try:
            done += _read_together(list(paths[part]), side, kept[part])
        except Hostile:  # one of them ended the child; which one shows when each has its own
            for path, target in zip(paths[part], kept[part], strict=True):
                try:
                    done += _read_together([path], side, [target])
                except Hostile as problem:
                    done.append(Picture(None, problem))
    return done


def _read_together(paths: list[Path], side: int, keep: Sequence[Path | None]) -> list[Picture]:
    orders = [[str(p.absolute()), str(k.absolute()) if k else ""] for p, k in zip(paths, keep, strict=True)]
    with tempfile.TemporaryDirectory(prefix="tuneloop-pictures-") as folder:
        raw = Path(folder) / "pixels.rgb"
        seconds = 20.0 + len(paths)
        said = run_limited(decode_all, orders, side, raw, seconds=seconds, memory=MEMORY, what=_("the picture"))
        pixels = np.fromfile(raw, dtype=np.uint8)
    size = side * side * 3
    found, at = [], 0
    for problem in said:
        if problem:
            found.append(Picture(None, SAID.get(problem[0], Damaged)(str(problem[1]), fix=str(problem[2]))))
        else:
            found.append(Picture(pixels[at : at + size].reshape(side, side, 3)))
            at += size
    return found


def small_copy(copy: Path) -> Path:
    """A JPEG of at most 320 pixels beside a clean copy, made once; the copy itself where it cannot be read.

    In this process: the copy was written by our own child, as a plain JPEG of at most 1024 pixels.
    """
    from PIL import Image, UnidentifiedImageError

    small = copy.with_suffix(".small.jpg")
    if small.is_file():
        return small
    part = small.with_name(f".{small.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with Image.open(copy, formats=("JPEG",)) as opened:
            opened.draft("RGB", (SMALL_SIDE, SMALL_SIDE))
            opened.thumbnail((SMALL_SIDE, SMALL_SIDE))
            opened.save(part, format="JPEG", quality=85)
    except (OSError, UnidentifiedImageError, SyntaxError):  # a damaged copy: whoever looks at it sees that it is
        part.unlink(missing_ok=True)
        return copy
    part.replace(small)
    return small
