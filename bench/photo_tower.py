"""Tuning the picture model itself against the map: time, clicked and other products, on real groceries.

The CLIP is made from a configuration and randomly initialised: read what tuning costs and whether it forgets, not the
level. A second one has the size of CLIP ViT-B/32; of its tuning 10 steps are timed (time does not depend on what the
weights are) and multiplied. BENCH_PHOTOS as in bench/photos.py; BENCH_SEEDS draws (default 3 here).
"""

from __future__ import annotations

import os
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.photos import DATA, Groceries, groceries, recall, simulated
from tuneloop.encoders.choice import resized
from tuneloop.encoders.clip import Clip
from tuneloop.tune.image_ladder import Catalogue, choose, fit, product_scores
from tuneloop.tune.image_map import Clicks, centred
from tuneloop.tune.image_tower import FULL, LORA, tuned

SEEDS = int(os.environ.get("BENCH_SEEDS", "3"))
CLICKS = 325
TIMED = 10  # steps of the large model
SHAPE = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}


def run() -> None:
    archive = DATA / "images_grocery_dev.zip"
    if not archive.exists():
        print(f"not measured: {archive} is not there (BENCH_PHOTOS)")
        return
    with tempfile.TemporaryDirectory() as name:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(name)
        shop = groceries(Path(name) / "grocery")
        full_size(shop, model(Path(name) / "large", {"vision": {}, "projection_dim": 512}))
        place = model(
            Path(name) / "clip", {"vision": SHAPE | {"image_size": 64, "patch_size": 8}, "projection_dim": 128}
        )
        found: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(SEEDS):
            for way, figures in draw(shop, place, seed).items():
                found.setdefault(way, []).append(figures)
    print(f"randomly initialised CLIP, {CLICKS} simulated clicks, recall@1 (%), mean of {SEEDS} draws")
    for way, draws in found.items():
        seen, unseen, seconds = np.mean(draws, axis=0)
        print(f"  {way:28} clicked products {seen:5.1f}  others {unseen:5.1f}  {seconds:7.2f} cpu s")


def model(folder: Path, made_of: dict[str, Any]) -> str:
    """A CLIP of this configuration; its own defaults are those of ViT-B/32."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    words = SHAPE | {"vocab_size": 64}
    config = CLIPConfig(text_config=words, vision_config=made_of["vision"], projection_dim=made_of["projection_dim"])
    CLIPModel(config).save_pretrained(folder)
    return str(folder)


def full_size(shop: Groceries, place: str) -> None:
    """What both cost with a CLIP of the usual size: pictures encoded once, then the map, or the recipe's epochs."""
    clip = Clip(place)
    studio, photos = resized(shop.studio, clip.side), resized(shop.photos[:CLICKS], clip.side)
    began = time.process_time()
    items, queries = clip.pictures(studio), clip.pictures(photos)
    encoding = time.process_time() - began
    catalogue = Catalogue(items, np.arange(len(items)), len(items))
    right = shop.product[:CLICKS]
    clicks = Clicks(queries, right, [np.zeros(0, dtype=np.intp)] * CLICKS)
    start = centred(items, photos=queries)
    began = time.process_time()
    fit(choose(start, catalogue, clicks, np.arange(CLICKS)), start, catalogue, clicks)
    learning = time.process_time() - began
    began = time.process_time()
    tuned(place, photos, studio[right], right, recipe=replace(FULL, steps=TIMED))
    steps = FULL.epochs * -(-CLICKS // FULL.batch)
    tuning = (time.process_time() - began) * steps / TIMED
    print(f"CLIP of the size of ViT-B/32, {CLICKS} clicks, processor seconds: {encoding:.0f} to encode the pictures, ")
    print(f"  then the map {learning:.1f}; all weights tuned {tuning:.0f} ({TIMED} of {steps} steps timed)")


def draw(shop: Groceries, place: str, seed: int) -> dict[str, tuple[float, float, float]]:
    """{way: recall@1 of clicked products, of others, processor seconds}."""
    clip = Clip(place)
    studio, photos = resized(shop.studio, clip.side), resized(shop.photos, clip.side)
    base, asked = clip.pictures(studio), clip.pictures(photos)
    taught, unseen = simulated(shop, asked, centred(base), base, CLICKS, seed)
    # Which photos those were: the same draw again, as `simulated` makes it.
    rng = np.random.default_rng(seed)
    assert np.array_equal(unseen, np.isin(np.arange(len(base)), rng.permutation(len(base))[:14]))
    chosen = rng.permutation(np.flatnonzero(~shop.test & ~unseen[shop.product]))[:CLICKS]
    new = unseen[shop.product]
    known = np.flatnonzero(taught.right >= 0)

    def measured(encoder: Clip, learn: bool, began: float) -> tuple[float, float, float]:
        items, queries = encoder.pictures(studio), encoder.pictures(photos)
        catalogue = Catalogue(items, np.arange(len(items)), len(items))
        clicks = replace(taught, queries=queries[chosen])
        made = centred(items, photos=clicks.queries)
        if learn:
            made = fit(choose(made, catalogue, clicks, np.arange(len(chosen))), made, catalogue, clicks)
        seconds = time.process_time() - began
        parts = (shop.test & ~new, new)
        seen, other = (recall(product_scores(made, catalogue, queries[p]), shop.product[p])[0] for p in parts)
        return seen, other, seconds

    found = {
        "centred": measured(clip, False, time.process_time()),
        "map (the ladder)": measured(clip, True, time.process_time()),
    }
    for name, recipe in (("tower, all weights, 1e-5", FULL), ("tower, LoRA, 1e-4", LORA)):
        began = time.process_time()
        pairs = (photos[chosen[known]], studio[taught.right[known]], taught.right[known])
        own = tuned(place, *pairs, recipe=recipe)
        found[name] = measured(own, False, began)
        found[name + ", and map"] = measured(own, True, began)
    return found


if __name__ == "__main__":
    run()
