"""The last rung: tune the picture tower of a CLIP or SigLIP model itself on photos and the right products' pictures.

The recipe is the one that such projects start with: AdamW, rate 1e-5, weight decay 0.01, batches of 8, 3 epochs,
contrastive inside the batch (Radford et al., 2021), all weights of the tower. LoRA (Hu et al., 2021) on the same layers
takes ten times the rate. Published figures warn of both: products without clicks are found less often afterwards
(Kumar et al., ICLR 2022: 7 points out of distribution), so the caller measures those, and keeps the map otherwise.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuneloop.encoders.clip import Clip
from tuneloop.encoders.picture import Pixels
from tuneloop.errors import Refused
from tuneloop.progress import Progress, silent
from tuneloop.texts import _
from tuneloop.tune.image_map import Indices

LAYERS = r".*vision_model.*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
SHARPEST = 100.0  # what CLIP lets its logits be multiplied with at most


@dataclass(frozen=True, slots=True)
class Recipe:
    """rank 0: all weights of the tower. steps: stop after so many; 0: when the epochs are over."""

    rate: float = 1e-5
    decay: float = 0.01
    batch: int = 8
    epochs: int = 3
    rank: int = 0
    seed: int = 0
    steps: int = 0


FULL = Recipe()
LORA = Recipe(rate=1e-4, rank=16)


def tuned(
    place: str, photos: Pixels, pictures: Pixels, product: Indices, *, recipe: Recipe = FULL, watch: Progress = silent
) -> Clip:
    """The model of a folder, tuned; nothing on the disk changes.

    photos, pictures: (n, side, side, 3), one pair of each click; product: (n,) whose, so that two photos of one product
    are no wrong answers to each other. Raises Refused when the loss is no number.
    """
    import torch

    torch.manual_seed(recipe.seed)
    clip = Clip(place)
    model = _adapted(clip.model, recipe) if recipe.rank else _opened(clip.model)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
    # A batch of one has no wrong answer to learn from.
    orders = np.random.default_rng(recipe.seed)
    batches = [
        part
        for _epoch in range(recipe.epochs)
        for part in _batches(orders.permutation(len(product)), recipe.batch)
        if len(part) > 1
    ]
    batches = batches[: recipe.steps or None]
    for step, part in enumerate(batches):
        watch(_("tuning the picture model"), step, len(batches))
        loss = _loss(clip, model, photos[part], pictures[part], product[part])
        if not bool(torch.isfinite(loss)):
            raise Refused(
                _("the loss is no number after {n} steps").format(n=step), fix=_("Set photos.tower to never.")
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
    watch(_("tuning the picture model"), len(batches), len(batches))
    clip.model = (model.merge_and_unload() if recipe.rank else model).eval().requires_grad_(False)
    return clip


def save(clip: Clip, folder: Path) -> None:
    """Write the tuned model as a folder that `Clip` opens, with what its origin had for texts and pixels."""
    clip.model.save_pretrained(folder)
    for file in sorted(Path(clip.place).iterdir()):
        described = file.suffix in (".json", ".txt", ".model") and "index" not in file.name
        if described and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


def _opened(model: Any) -> Any:
    """Train what pictures go through; texts and the scale stay as they are."""
    for name, weight in model.named_parameters():
        weight.requires_grad_("vision" in name or "visual" in name)
    return model


def _adapted(model: Any, recipe: Recipe) -> Any:
    from peft import LoraConfig, get_peft_model

    from tuneloop.tune.model import quiet_peft

    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=LAYERS, lora_dropout=0.0)
    with quiet_peft():
        return get_peft_model(model, config)


def _batches(order: Indices, size: int) -> list[Indices]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _loss(clip: Clip, model: Any, photos: Pixels, pictures: Pixels, product: Indices) -> Any:
    """Symmetric cross-entropy of photos against pictures; several photos of one product share the right answer."""
    import torch

    a, b = (_features(clip, model, pixels) for pixels in (photos, pictures))
    scale = model.logit_scale.detach().exp().clamp(max=SHARPEST)
    logits = scale * a @ b.T
    whose = torch.from_numpy(np.ascontiguousarray(product))
    same = (whose[:, None] == whose[None, :]).float()
    wanted = same / same.sum(dim=1, keepdim=True)
    lost = torch.nn.functional.cross_entropy
    return (lost(logits, wanted) + lost(logits.T, wanted)) / 2


def _features(clip: Clip, model: Any, pixels: Pixels) -> Any:
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    found = model.get_image_features(pixel_values=(batch.float() / 255 - clip._mean) / clip._spread)
    found = getattr(found, "pooler_output", found)
    return torch.nn.functional.normalize(found.float(), dim=-1)
