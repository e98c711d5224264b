"""CLIP and SigLIP through transformers, on tiny models made here: pictures, sizes, names, fusion, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tuneloop.encoders import image
from tuneloop.encoders.choice import open_encoder, resized
from tuneloop.errors import BadInput, Missing

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def clip(folder: Path, seed: int = 0) -> Path:
    import torch

    torch.manual_seed(seed)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    config = transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    transformers.SiglipModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    return folder


def pictures(n: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("make", [clip, siglip])
def test_pictures_become_unit_vectors(tmp_path: Path, make: object) -> None:
    encoder = open_encoder(str(make(tmp_path / "model")))  # type: ignore[operator]
    assert encoder.side == 32
    found = encoder.pictures(pictures(20, 32))
    assert found.dtype == np.float32 and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.allclose(found[:3], encoder.pictures(pictures(20, 32)[:3]), atol=1e-5)


def test_pixels_are_normalised_as_the_model_s_own_processor_does(tmp_path: Path) -> None:
    import torch

    from tuneloop.encoders.clip import Clip

    folder = clip(tmp_path / "model")
    model, pixels = Clip(str(folder)), pictures(2, 32)
    mean, spread = (
        np.array(v, np.float32) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    batch = torch.from_numpy(((pixels / 255 - mean) / spread).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.inference_mode():
        vision = model.model.vision_model(pixel_values=batch).pooler_output
        expected = model.model.visual_projection(vision).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(model.pictures(pixels), expected, atol=1e-5)


def test_other_weights_have_another_name(tmp_path: Path) -> None:
    one, two, again = (clip(tmp_path / n / "model", seed) for n, seed in (("a", 0), ("b", 1), ("c", 0)))
    names = [open_encoder(str(folder)).name for folder in (one, two, again)]
    assert names[0] == names[2] != names[1]


def test_two_encoders_are_fused(tmp_path: Path) -> None:
    folder = clip(tmp_path / "model")
    both, alone = open_encoder(f"classical + {folder}"), open_encoder(str(folder))
    pixels = pictures(3, both.side)
    found = both.pictures(pixels)
    assert found.shape == (3, image.DIMENSIONS + 12) and both.side == 128
    assert np.allclose(found[:, image.DIMENSIONS :], alone.pictures(resized(pixels, 32)), atol=1e-5)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no picture model"):
        open_encoder(str(tmp_path / "nothing"))
    with pytest.raises(BadInput):
        open_encoder("classical+")
