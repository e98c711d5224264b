"""Tuning a tiny CLIP made here: real steps, the text tower untouched, the folder opens again, texts of no number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.encoders.test_clip import clip, pictures, siglip

pytest.importorskip("torch")

from tuneloop.encoders.clip import Clip
from tuneloop.tune import image_tower
from tuneloop.tune.image_tower import FULL, LORA, Recipe


def weights(model: Clip, part: str) -> dict[str, np.ndarray]:
    return {n: t.detach().numpy().copy() for n, t in model.model.state_dict().items() if part in n}


@pytest.mark.parametrize("make", [clip, siglip])
@pytest.mark.parametrize("recipe", [FULL, LORA], ids=["full", "lora"])
def test_three_real_steps_move_pictures_and_not_texts(tmp_path: Path, make: object, recipe: Recipe) -> None:
    folder = make(tmp_path / "model")  # type: ignore[operator]
    photos, studio = pictures(24, 32), pictures(24, 32)[::-1]
    before = Clip(str(folder))
    steps = Recipe(rate=recipe.rate * 100, rank=recipe.rank, steps=3)
    tuned = image_tower.tuned(str(folder), photos, studio, np.arange(24), recipe=steps)
    assert not np.allclose(tuned.pictures(photos), before.pictures(photos), atol=1e-4)
    for part in ("text_model", "logit_scale"):
        one, two = weights(before, part), weights(tuned, part)
        assert all(np.array_equal(one[name], two[name]) for name in one)
    image_tower.save(tuned, tmp_path / "saved")
    again = Clip(str(tmp_path / "saved"))
    assert np.allclose(again.pictures(photos), tuned.pictures(photos), atol=1e-5)
    assert again.name != before.name, "another name for other weights"
    assert (tmp_path / "saved" / "preprocessor_config.json").exists() == (folder / "preprocessor_config.json").exists()


def test_what_is_tuned_on_is_found_better(tmp_path: Path) -> None:
    folder = clip(tmp_path / "model")
    rng = np.random.default_rng(1)
    studio = rng.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    product = np.repeat(np.arange(8), 6)
    dim = studio[product] * 0.5 + 20 + rng.normal(0, 25, (48, 32, 32, 3))
    photos = np.clip(dim, 0, 255).astype(np.uint8)

    def right(model: Clip) -> float:
        score = model.pictures(photos) @ model.pictures(studio).T
        return float((score.argmax(axis=1) == product).mean())

    before = right(Clip(str(folder)))
    recipe = Recipe(rate=3e-3, epochs=20)
    after = right(image_tower.tuned(str(folder), photos, studio[product], product, recipe=recipe))
    assert after > before + 0.2, (before, after)


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    folder = clip(tmp_path / "model")
    photos = pictures(16, 32)
    one, two = (
        image_tower.tuned(str(folder), photos, photos, np.arange(16), recipe=Recipe(steps=2)) for _n in range(2)
    )
    assert np.allclose(one.pictures(photos), two.pictures(photos), atol=1e-6)
