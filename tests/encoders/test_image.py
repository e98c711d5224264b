"""The classical encoder: the same picture gives the same vector, likeness is likeness, a studio ground is left out."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import shared_data
from tests.search.shop import NAMES, photo, product
from tuneloop.encoders import image, picture, views


def pixels(*drawn: Image.Image) -> picture.Pixels:
    return np.stack([np.asarray(d.convert("RGB").resize((image.SIDE, image.SIDE))) for d in drawn])


def cosine(a: image.Vectors, b: image.Vectors) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_shape_norm_and_sameness() -> None:
    found = image.encode(pixels(product("red ball"), product("blue box"), product("red ball")))
    assert found.shape == (3, image.DIMENSIONS) and found.dtype == np.float32
    assert np.isfinite(found).all() and np.array_equal(found[0], found[2])
    expected = sum(w * w for w in image.WEIGHTS.values())
    assert np.allclose((found**2).sum(axis=1), expected, rtol=1e-4)


def test_no_pictures_and_plain_pictures() -> None:
    assert image.encode(np.zeros((0, 128, 128, 3), np.uint8)).shape == (0, image.DIMENSIONS)
    plain = np.stack([np.full((128, 128, 3), v, np.uint8) for v in (0, 255)])
    assert np.isfinite(image.encode(plain)).all()


def test_the_same_product_is_nearer_than_another() -> None:
    a, b, other, shape = image.encode(
        pixels(photo("red ball", 1), photo("red ball", 2), photo("blue ball", 3), photo("red box", 4))
    )
    assert cosine(a, b) > cosine(a, other)
    assert cosine(a, b) > cosine(a, shape)


def test_the_ground_of_a_studio_picture_is_left_out() -> None:
    white = product("green bottle")
    grey = Image.fromarray(np.where(np.asarray(white) > 250, 200, np.asarray(white)).astype(np.uint8))
    a, b = image.encode(pixels(white, grey))
    assert cosine(a, b) > 0.99
    mask = image.foreground(image.oklab(pixels(white)[0]))
    assert 0.02 < mask.mean() < 0.5 and mask[64, 64] and not mask[2, 2]
    assert image.foreground(image.oklab(pixels(photo("green bottle", 1))[0])).all()


def test_a_mirrored_picture_is_the_same_one() -> None:
    both = pixels(photo("red ball", 1), product("green bottle"))
    assert np.allclose(image.encode(both), image.encode(both[:, :, ::-1].copy()), atol=2e-2)


def test_oklab_of_known_colours() -> None:
    """Values of the definition's own table (B. Ottosson): white, and sRGB red."""
    found = image.oklab(np.array([[[255, 255, 255], [255, 0, 0]]], dtype=np.uint8))[0]
    assert np.allclose(found[0], [1.0, 0.0, 0.0], atol=2e-3)
    assert np.allclose(found[1], [0.628, 0.225, 0.126], atol=2e-3)


def test_texture_patterns_do_not_change_when_a_picture_is_turned() -> None:
    table = image._patterns()
    for code in range(256):
        turned = ((code << 1) | (code >> 7)) & 255
        assert table[code] == table[turned]
    assert len(set(table.tolist())) == 10


def test_made_up_photos_move_vectors_as_real_ones_do() -> None:
    """The mean difference between photos and studio pictures is found without a photo: their directions agree."""
    studio = pixels(*(product(name) for name in NAMES))
    masks = views.studio(studio)
    made = views.shop_photos(studio, masks, np.arange(len(NAMES)), seed=3)
    assert made.shape == studio.shape and np.array_equal(made, views.shop_photos(studio, masks, np.arange(24), seed=3))
    real = pixels(*(photo(name, 1) for name in NAMES))
    base = image.encode(studio).mean(axis=0)
    assert cosine(image.encode(made).mean(axis=0) - base, image.encode(real).mean(axis=0) - base) > 0.6


def test_real_groceries_beat_a_colour_histogram(tmp_path: Path) -> None:
    """246 test photos against 41 catalogue pictures, centred on each side; a histogram of 512 colours beside it."""
    with zipfile.ZipFile(shared_data("images_grocery_dev.zip")) as archive:
        archive.extractall(tmp_path)
    root = tmp_path / "grocery"
    products, photos = (
        list(csv.DictReader((root / name).read_text(encoding="utf-8").splitlines()))
        for name in ("catalogue.csv", "photos.csv")
    )
    asked = [p for p in photos if p["split"] == "test"]
    files = [root / p["catalogue_image"] for p in products] + [root / p["image"] for p in asked]
    read = [p.pixels for p in picture.read(files, image.SIDE)]
    stack = np.stack([p for p in read if p is not None])
    assert len(stack) == len(files)
    right = np.array([[p["product_id"] for p in products].index(a["product_id"]) for a in asked])
    bins = (stack // 32).astype(int) @ [64, 8, 1]
    plain = np.stack([np.bincount(b.ravel(), minlength=512) for b in bins]).astype(np.float32)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    found = image.encode(stack)
    centred = np.concatenate([found[:41] - found[:41].mean(axis=0), found[41:] - found[41:].mean(axis=0)])
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    histogram, ours = ((v[41:] @ v[:41].T).argmax(axis=1) == right for v in (plain, centred))
    print(f"recall@1: histogram {histogram.mean():.3f}, classical encoder {ours.mean():.3f}")
    assert ours.mean() >= 1.5 * histogram.mean() and ours.mean() > 0.28
