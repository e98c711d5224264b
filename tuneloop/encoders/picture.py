"""Read pictures that strangers sent: in a child process, by magic bytes, within limits, and without their metadata.

A 493 KB PNG can take 1.3 GB when it is opened, and Pillow knows 43 formats of which a shop needs three. So only JPEG,
PNG and WebP up to 20 megapixels are read, never in the process that serves, and what is kept is written anew: turned
as its EXIF says, with no EXIF, and so without the place where it was taken.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.child import run_limited
from tuneloop.errors import BadInput, Damaged, Hostile, Missing, TuneloopError
from tuneloop.texts import _

Pixels = NDArray[np.uint8]  # (n, side, side, 3) RGB

MOST_PIXELS = 20_000_000
MOST_BYTES = 20_000_000  # what Telegram lets a bot download
KEPT_SIDE = 1024  # of the copy that is kept to be looked at
MEMORY = 300 << 20  # bytes a child may take: 20 megapixels of RGBA and one copy
AT_ONCE = 64  # pictures of one child: its start takes 0.15 s, a picture 4 ms
FORMATS = (("JPEG", b"\xff\xd8\xff"), ("PNG", b"\x89PNG\r\n\x1a\n"), ("WEBP", b"RIFF"))
# What people do send, and what to tell them.
FOREIGN = (
    *((b"GIF8", "GIF"), (b"%PDF", "PDF"), (b"%!PS", "EPS"), (b"\xc5\xd0\xd3\xc6", "EPS"), (b"BM", "BMP")),
    *((b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"<svg", "SVG"), (b"<?xml", "SVG"), (b"PK\x03\x04", "ZIP")),
)
SAID: dict[str, type[TuneloopError]] = {e.__name__: e for e in (BadInput, Damaged, Hostile, Missing)}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that could be read, or the error that says why not."""

    pixels: Pixels | None  # (side, side, 3)
    problem: TuneloopError | None = None


def kind(head: bytes) -> str:
    """The format that a file's first 32 bytes declare: "JPEG", "PNG" or "WEBP". Raises BadInput for every other."""
    for name, magic in FORMATS:
        if head.startswith(magic) and (name != "WEBP" or head[8:12] == b"WEBP"):
            return name
    if not head:
        said = _("the file is empty")
    elif head[4:8] == b"ftyp":
        said = _("this is a {format} file").format(format="AVIF" if head[8:12] == b"avif" else "HEIC")
    else:
        other = next((name for magic, name in FOREIGN if head.startswith(magic)), "")
        said = _("this is a {format} file").format(format=other) if other else _("this is no picture")
    raise BadInput(said, fix=_("Send a JPEG, PNG or WebP picture."))


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


def read_one(path: Path, side: int, *, keep: Path | None = None) -> Pixels:
    """One picture as (1, side, side, 3) pixels. Raises BadInput, Damaged, Hostile or Missing."""
    found = read([path], side, keep=[keep])[0]
    if found.problem is not None:
        raise found.problem
    assert found.pixels is not None
    return found.pixels[None]


def _read_together(paths: list[Path], side: int, keep: Sequence[Path | None]) -> list[Picture]:
    orders = [[str(p.absolute()), str(k.absolute()) if k else ""] for p, k in zip(paths, keep, strict=True)]
    with tempfile.TemporaryDirectory(prefix="tuneloop-pictures-") as folder:
        raw = Path(folder) / "pixels.rgb"
        seconds = 20.0 + len(paths)
        said = run_limited(_decode_all, orders, side, raw, seconds=seconds, memory=MEMORY, what=_("the picture"))
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


def _decode_all(orders: list[list[str]], side: int, raw: Path) -> list[list[str]]:
    """In the child: write the pixels of every readable picture one after another; answer [] or the error of each."""
    said: list[list[str]] = []
    with raw.open("wb") as handle:
        for path, target in orders:
            try:
                handle.write(_decode(Path(path), side, Path(target) if target else None))
                said.append([])
            except MemoryError:
                said.append(["Hostile", _("the picture takes too much memory to open"), _("Send a smaller picture.")])
            except TuneloopError as problem:
                said.append([type(problem).__name__, problem.message, problem.fix])
    return said


def _decode(path: Path, side: int, keep: Path | None) -> bytes:
    from PIL import Image, ImageOps

    named = _format_of(path)
    warnings.simplefilter("error")
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    try:
        with Image.open(path, formats=(named,)) as opened:
            _check(opened)
            opened.draft("RGB", (KEPT_SIDE, KEPT_SIDE) if keep else (2 * side, 2 * side))
            flat = _flattened(ImageOps.exif_transpose(opened))
    except (TuneloopError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise _too_large() from problem
    except Exception as problem:
        said = str(problem).strip().split("\n")[0][:120] or type(problem).__name__
        raise Damaged(
            _("the picture is damaged: {problem}").format(problem=said), fix=_("Send the original once more.")
        ) from problem
    if keep:
        copy = flat.copy()
        copy.thumbnail((KEPT_SIDE, KEPT_SIDE))
        copy.save(keep, format="JPEG", quality=88)
    return bytes(flat.resize((side, side), Image.Resampling.BOX, reducing_gap=2.0).tobytes())


def _format_of(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(
                _("the picture has more than {n} MB").format(n=MOST_BYTES // 10**6), fix=_("Send a smaller picture.")
            )
        with path.open("rb") as handle:
            return kind(handle.read(32))
    except OSError as problem:
        raise Missing(_("{path} cannot be read: {problem}").format(path=path, problem=problem.strerror)) from problem


def _check(opened: Any) -> None:
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise _too_large()
    if min(width, height) < 8:
        raise BadInput(_("the picture is smaller than 8 pixels"), fix=_("Send a larger picture."))
    if getattr(opened, "n_frames", 1) > 1:
        raise BadInput(_("this picture moves"), fix=_("Send one still picture."))


def _flattened(picture: Any) -> Any:
    """RGB, on white where it is transparent: shops cut their products out."""
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def _too_large() -> Hostile:
    return Hostile(
        _("the picture has more than {n} million pixels").format(n=MOST_PIXELS // 10**6),
        fix=_("Send a smaller picture."),
    )
