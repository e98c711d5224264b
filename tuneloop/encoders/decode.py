"""The child's side of reading a picture: three formats by magic bytes, limits, one flat RGB picture out.

Without numpy, whose import would take longer than the work: a bot's customer waits for this child.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tuneloop.errors import BadInput, Damaged, Hostile, Missing, TuneloopError
from tuneloop.texts import _

MOST_PIXELS = 20_000_000
MOST_BYTES = 20_000_000  # what Telegram lets a bot download
KEPT_SIDE = 1024  # of the copy that is kept to be looked at
FORMATS = (("JPEG", b"\xff\xd8\xff"), ("PNG", b"\x89PNG\r\n\x1a\n"), ("WEBP", b"RIFF"))
# What people do send, and what to tell them.
FOREIGN = (
    *((b"GIF8", "GIF"), (b"%PDF", "PDF"), (b"%!PS", "EPS"), (b"\xc5\xd0\xd3\xc6", "EPS"), (b"BM", "BMP")),
    *((b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"<svg", "SVG"), (b"<?xml", "SVG"), (b"PK\x03\x04", "ZIP")),
)


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


def decode_all(orders: list[list[str]], side: int, raw: Path) -> list[list[str]]:
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
