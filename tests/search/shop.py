"""A made-up shop: studio pictures of shapes in paints on white, and photos of them on a busy shelf in other light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PAINTS = {
    "red": (200, 40, 40),
    "green": (60, 150, 60),
    "blue": (50, 70, 180),
    "yellow": (220, 200, 60),
    "brown": (120, 80, 50),
    "pink": (230, 150, 170),
}
SHAPES = ("ball", "box", "bottle", "star")
NAMES = [f"{paint} {shape}" for paint in PAINTS for shape in SHAPES]


def product(name: str, size: int = 200) -> Image.Image:
    """The studio picture: the product alone, on white."""
    return _draw(Image.new("RGB", (size, size), (255, 255, 255)), name, (size // 2, size // 2), int(size * 0.4))


def photo(name: str, seed: int, size: int = 240) -> Image.Image:
    """What a customer sends: the product near the middle, others around it, warm dim light and some noise."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    scene = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(60, 150, 3)))
    pen = ImageDraw.Draw(scene)
    for _n in range(40):  # a busy shelf: no plain ground to cut the product from
        x, y, w, h = (int(v) for v in rng.integers(0, size, 4))
        shade = tuple(int(v) for v in rng.integers(20, 220) + rng.integers(-25, 25, 3))
        pen.rectangle((x, y, x + w // 3, y + h // 3), fill=shade)
    for _n in range(6):
        place = tuple(int(v) for v in rng.integers(0, size, 2))
        _draw(scene, NAMES[int(rng.integers(len(NAMES)))], place, int(size * 0.12))
    middle = tuple(int(size / 2 + v) for v in rng.normal(0, size / 20, 2))
    _draw(scene, name, middle, int(size * rng.uniform(0.25, 0.38)))
    light = np.asarray(scene).astype(float) * rng.uniform(0.6, 0.9) * np.array([1.0, 0.92, 0.75])
    noisy = light + rng.normal(0, 6, light.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def write(folder: Path, *, photos: int = 0, names: list[str] | None = None) -> Path:
    """catalogue.csv with a picture of each product, and photos/NAME-SEED.jpg; the path of the CSV file."""
    chosen = NAMES if names is None else names
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    (folder / "photos").mkdir(exist_ok=True)
    lines = ["id,name,category,price,picture"]
    for name in chosen:
        file = name.replace(" ", "-")
        product(name).save(folder / "pictures" / f"{file}.png")
        lines.append(f"{file},{name},{name.split()[1]},{len(file)}.50,pictures/{file}.png")
        for seed in range(photos):
            photo(name, seed).save(folder / "photos" / f"{file}-{seed}.jpg", quality=85)
    path = folder / "catalogue.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _draw(scene: Image.Image, name: str, middle: tuple[int, ...], half: int) -> Image.Image:
    paint, shape = name.split()
    pen, (x, y), colour = ImageDraw.Draw(scene), middle, PAINTS[paint]
    if shape == "ball":
        pen.ellipse((x - half, y - half, x + half, y + half), fill=colour)
    elif shape == "box":
        pen.rectangle((x - half, y - half * 0.7, x + half, y + half * 0.7), fill=colour)
    elif shape == "bottle":
        pen.rectangle((x - half * 0.4, y - half * 0.3, x + half * 0.4, y + half), fill=colour)
        pen.rectangle((x - half * 0.15, y - half, x + half * 0.15, y - half * 0.3), fill=(40, 40, 40))
    else:
        turns = np.arange(10) * np.pi / 5 - np.pi / 2
        reach = np.where(np.arange(10) % 2, half * 0.4, half)
        pen.polygon([(x + r * np.cos(t), y + r * np.sin(t)) for t, r in zip(turns, reach, strict=True)], fill=colour)
    return scene
