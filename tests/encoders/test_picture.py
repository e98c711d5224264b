"""Pictures from strangers: what is read, what is refused in one sentence, what is left of the metadata."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tuneloop.encoders import decode, picture
from tuneloop.errors import BadInput, Damaged, Hostile, Missing, TuneloopError

RED, BLUE = (220, 30, 30), (30, 30, 220)


def halves(path: Path, size: tuple[int, int] = (300, 200), **options: object) -> Path:
    """Left red, right blue."""
    drawn = Image.new("RGB", size, RED)
    drawn.paste(BLUE, (size[0] // 2, 0, size[0], size[1]))
    drawn.save(path, **options)  # type: ignore[arg-type]
    return path


def one(path: Path, side: int, *, keep: Path | None = None) -> picture.Pixels:
    (found,) = picture.read([path], side, keep=[keep])
    if found.problem is not None:
        raise found.problem
    assert found.pixels is not None
    return found.pixels[None]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(path: Path, width: int, height: int, *chunks: bytes) -> Path:
    """A PNG that says it is so large, whatever is in it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_becomes_pixels(tmp_path: Path, name: str) -> None:
    pixels = one(halves(tmp_path / name), 64)
    assert pixels.shape == (1, 64, 64, 3) and pixels.dtype == np.uint8
    assert abs(pixels[0, 32, 10].astype(int) - RED).max() < 12
    assert abs(pixels[0, 32, 54].astype(int) - BLUE).max() < 12


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    assert one(halves(tmp_path / "a.jpg").rename(tmp_path / "a.txt"), 16).shape == (1, 16, 16, 3)


def test_a_turned_photo_is_turned_back_and_its_place_forgotten(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: left and right change places
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (55.0, 45.0, 21.0)
    path = halves(tmp_path / "a.jpg", exif=exif)
    assert b"Exif" in path.read_bytes()
    pixels = one(path, 64, keep=tmp_path / "kept.jpg")
    assert abs(pixels[0, 32, 10].astype(int) - BLUE).max() < 12
    assert b"Exif" not in (tmp_path / "kept.jpg").read_bytes()
    with Image.open(tmp_path / "kept.jpg") as kept:
        assert not kept.getexif()
        assert kept.getpixel((10, 100))[2] > 150  # type: ignore[index]


def test_what_is_kept_is_small_enough_to_look_at(tmp_path: Path) -> None:
    one(halves(tmp_path / "a.jpg", (3000, 1500)), 64, keep=tmp_path / "kept.jpg")
    with Image.open(tmp_path / "kept.jpg") as kept:
        assert max(kept.size) == decode.KEPT_SIDE


def test_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert one(tmp_path / "a.png", 16).min() == 255


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_other_colour_models_are_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (50, 50), RED).convert(mode).save(path)
    assert one(path, 16).shape == (1, 16, 16, 3)


FOREIGN = [
    (b"", "empty"),
    (b"hello, this is text", "no picture"),
    (b"GIF89a" + bytes(30), "GIF"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
    (b"\0\0\0\x18ftypheic" + bytes(30), "HEIC"),
    (b"\0\0\0\x18ftypavif" + bytes(30), "AVIF"),
    (b"II*\0" + bytes(30), "TIFF"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    (b"RIFF\0\0\0\0WAVE", "no picture"),
]


@pytest.mark.parametrize(("content", "said"), FOREIGN, ids=lambda v: v if isinstance(v, str) else "")
def test_other_files_are_named_and_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "renamed.jpg"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=said) as refused:
        one(path, 16)
    assert "JPEG, PNG or WebP" in refused.value.fix


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path: Path) -> None:
    for side in (13_000, 4_600):
        with pytest.raises(Hostile, match="20 million pixels"):
            one(png(tmp_path / "a.png", side, side, chunk(b"IDAT", zlib.compress(b""))), 16)


def test_a_bomb_in_a_text_chunk_is_refused(tmp_path: Path) -> None:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200 << 20), 9))
    with pytest.raises(TuneloopError):
        one(png(tmp_path / "a.png", 16, 16, bomb), 16)


def test_a_truncated_picture_is_damaged(tmp_path: Path) -> None:
    path = halves(tmp_path / "a.jpg", (800, 800))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Damaged, match="damaged"):
        one(path, 16)


def test_a_moving_picture_and_a_tiny_one_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), c) for c in (RED, BLUE)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(BadInput, match="moves"):
        one(tmp_path / "a.webp", 16)
    halves(tmp_path / "b.png", (6, 90))
    with pytest.raises(BadInput, match="smaller than 8"):
        one(tmp_path / "b.png", 16)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"gone\.jpg"):
        one(tmp_path / "gone.jpg", 16)


def test_one_bad_picture_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    paths = [halves(tmp_path / "a.jpg"), tmp_path / "bad.jpg", halves(tmp_path / "c.png")]
    found = picture.read(paths, 16)
    assert [p.problem is None for p in found] == [True, False, True]
    assert found[2].pixels is not None and abs(found[2].pixels[8, 2].astype(int) - RED).max() < 12


def test_a_picture_that_kills_its_reader_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hardly any memory the child of the large picture dies or gives up; the small one is read on its own."""
    large = tmp_path / "large.png"
    Image.new("RGBA", (4400, 4400), (1, 2, 3, 4)).save(large)
    monkeypatch.setattr(picture, "MEMORY", 48 << 20)
    found = picture.read([large, halves(tmp_path / "a.png")], 16)
    assert isinstance(found[0].problem, Hostile | Damaged)
    assert found[1].problem is None


@settings(max_examples=200)
@given(st.binary(max_size=40))
def test_kind_knows_three_formats_or_says_no(head: bytes) -> None:
    try:
        assert decode.kind(head) in ("JPEG", "PNG", "WEBP")
    except BadInput as refused:
        assert refused.message and refused.fix
