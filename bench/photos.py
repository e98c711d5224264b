"""Photo search on real pictures: encoder, clicks (simulated from labels), gate, times, 200,000 products.

BENCH_PHOTOS names the folder with images_grocery_dev.zip and images_clothing_dev.zip: 41 groceries with a catalogue
picture, 492 training and 246 test photos; 10 classes of clothes, 500 and 186 photos. Clicks are simulated: a customer
photographs a product, says "right" when it is among the first five (and "wrong" of a product before it), else points at
it every second time and says "wrong" the other times. 27 products get clicks; the 14 others are the unseen ones.
"""

from __future__ import annotations

import csv
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.frame import ROOT
from tuneloop.encoders import image, picture, views
from tuneloop.loop.photo_gate import verdict_of
from tuneloop.search.index import Index
from tuneloop.tune.image_ladder import Catalogue, choose, fit, judge, product_scores
from tuneloop.tune.image_map import Clicks, ImageMap, centred, learned, unit

DATA = Path(os.environ.get("BENCH_PHOTOS", str(ROOT.parent / "shared" / "data")))
SEEDS = int(os.environ.get("BENCH_SEEDS", "10"))
UNSEEN = 14

Bytes = NDArray[np.uint8]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Groceries:
    studio: Bytes
    photos: Bytes
    product: NDArray[np.intp]  # of each photo
    test: NDArray[np.bool_]


def run() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for archive in ("images_grocery_dev.zip", "images_clothing_dev.zip"):
            if not (DATA / archive).exists():
                print(f"not measured: {DATA / archive} is not there (BENCH_PHOTOS)")
                return
            with zipfile.ZipFile(DATA / archive) as packed:
                packed.extractall(folder)
        shop = groceries(folder / "grocery")
        encoders(shop, folder / "clothing")
        clicks(shop)
        times()


def groceries(root: Path) -> Groceries:
    products, photos = (
        list(csv.DictReader((root / name).read_text(encoding="utf-8").splitlines()))
        for name in ("catalogue.csv", "photos.csv")
    )
    files = [root / p["catalogue_image"] for p in products] + [root / p["image"] for p in photos]
    picture.read(files[:1], image.SIDE)  # the first child pays for cold files
    started = time.perf_counter()
    read = pixels(files)
    image.encode(read)
    taken = time.perf_counter() - started
    print(f"reading in a child and encoding, one process: {len(files) / taken:.0f} photos/s")
    at = {p["product_id"]: n for n, p in enumerate(products)}
    product = np.array([at[p["product_id"]] for p in photos])
    test = np.array([p["split"] == "test" for p in photos])
    return Groceries(read[: len(products)], read[len(products) :], product, test)


def pixels(files: list[Path]) -> Bytes:
    return np.stack([p.pixels for p in picture.read(files, image.SIDE) if p.pixels is not None])


def histogram(found: Bytes) -> Vectors:
    """512 colours, counted: the plain contestant."""
    bins = (found // 32).astype(int) @ [64, 8, 1]
    return np.stack([np.bincount(b.ravel(), minlength=512) for b in bins]).astype(np.float32)


def recall(score: Vectors, right: NDArray[Any], labels: NDArray[Any] | None = None) -> tuple[float, float]:
    """recall@1 and @5 in per cent."""
    order = np.argsort(-score, axis=1, kind="stable")[:, :5]
    named = order if labels is None else labels[order]
    hit = named == right[:, None]
    return 100 * float(hit[:, 0].mean()), 100 * float(hit.any(axis=1).mean())


def encoders(shop: Groceries, clothing: Path) -> None:
    print("\nphoto -> catalogue picture before any click, recall@1 / @5 (%)")
    studio, photos = image.encode(shop.studio), image.encode(shop.photos)
    start = centred(studio, expected_shift(shop.studio))
    some = np.random.default_rng(0).permutation(len(photos))[:50]
    cases = {
        "colour histogram, cosine": unit(histogram(shop.photos)) @ unit(histogram(shop.studio)).T,
        "colour histogram, centred": cosines(histogram(shop.photos) ** 0.5, histogram(shop.studio) ** 0.5),
        "classical, not centred": unit(photos) @ unit(studio).T,
        "classical, made-up photos centre it": start.queries(photos) @ start.items(studio).T,
        "classical, 50 photos searched": scores(
            centred(studio, expected_shift(shop.studio), photos[some]), photos, studio
        ),
    }
    for name, score in cases.items():
        print("  groceries, 41 products  {:38} {:5.1f} / {:5.1f}".format(name, *recall(score, shop.product)))
    files = {part: sorted((clothing / part).rglob("*.jpg")) for part in ("train", "validation")}
    label = {part: np.array([f.parent.name for f in found]) for part, found in files.items()}
    read = {part: pixels(found) for part, found in files.items()}
    for name, made in (("colour histogram, cosine", histogram), ("classical, centred", image.encode)):
        base, asked = (made(read[part]) for part in ("train", "validation"))
        score = unit(asked) @ unit(base).T if made is histogram else scores(centred(base), asked, base)
        found = recall(score, label["validation"], label["train"])
        print("  clothes, 10 classes     {:38} {:5.1f} / {:5.1f}".format(name, *found))


def expected_shift(studio: Bytes) -> Vectors:
    masks = views.studio(studio)
    plain = np.flatnonzero(~masks.all(axis=(1, 2)))
    made = views.shop_photos(studio, masks, np.repeat(plain, 3))
    shift = image.encode(made).mean(axis=0) - image.encode(studio[plain]).mean(axis=0)
    return np.asarray(shift * len(plain) / len(studio), dtype=np.float32)


def cosines(asked: Vectors, base: Vectors) -> Vectors:
    return unit(asked - asked.mean(axis=0)) @ unit(base - base.mean(axis=0)).T


def scores(made: ImageMap, asked: Vectors, base: Vectors) -> Vectors:
    return made.queries(asked) @ made.items(base).T


def simulated(
    shop: Groceries, photos: Vectors, start: ImageMap, base: Vectors, n: int, seed: int
) -> tuple[Clicks, NDArray[np.bool_]]:
    """Clicks on n training photos, and which products get none."""
    rng = np.random.default_rng(seed)
    unseen = np.isin(np.arange(len(base)), rng.permutation(len(base))[:UNSEEN])
    asked = rng.permutation(np.flatnonzero(~shop.test & ~unseen[shop.product]))[:n]
    shown = np.argsort(-scores(start, photos[asked], base), axis=1)[:, :5]
    right, wrong = [], []
    for product, five in zip(shop.product[asked].tolist(), shown.tolist(), strict=True):
        known = product in five or rng.random() < 0.5
        right.append(product if known else -1)
        wrong.append(np.array([five[0]] if five[0] != product else [], dtype=np.intp))
    return Clicks(photos[asked], np.array(right), wrong), unseen


def clicks(shop: Groceries) -> None:
    base, photos = image.encode(shop.studio), image.encode(shop.photos)
    catalogue = Catalogue(base, np.arange(len(base)), len(base))
    shift = expected_shift(shop.studio)
    print(f"\nsimulated clicks, recall@1 (%) before -> after, mean of {SEEDS} draws; unseen: 90 % bound over the draws")
    for n in (50, 100, 200, 325):
        draws = [draw(shop, photos, catalogue, shift, n, seed) for seed in range(SEEDS)]
        show(n, {name: [ways[name] for ways, _promoted in draws] for name in draws[0][0]})
        print(f"  {n:4} clicks  the gate promoted {sum(promoted for _ways, promoted in draws)} of {SEEDS}")


def draw(
    shop: Groceries, photos: Vectors, catalogue: Catalogue, shift: Vectors, n: int, seed: int
) -> tuple[dict[str, tuple[float, float, float]], bool]:
    """{way: recall@1 of seen products, of unseen ones, processor seconds} of one draw; whether the gate promotes."""
    base = catalogue.vectors
    taught, unseen = simulated(shop, photos, centred(base, shift), base, n, seed)
    start = centred(base, shift, taught.queries[:50])
    groups = np.arange(len(taught.right))
    began = time.process_time()
    wild = learned(start, base, catalogue.owners, taught, 0.0)
    wild_took = time.process_time() - began
    began = time.process_time()
    rung = choose(start, catalogue, taught, groups)
    made = fit(rung, start, catalogue, taught)
    took = time.process_time() - began
    new = unseen[shop.product]
    asked = (shop.test & ~new, new)

    def measured(score: Callable[[Vectors], Vectors], seconds: float = 0.0) -> tuple[float, float, float]:
        seen, other = (recall(score(photos[chosen]), shop.product[chosen])[0] for chosen in asked)
        return seen, other, seconds

    ways = {
        "before": measured(lambda q: product_scores(start, catalogue, q)),
        "clicks at once, no training": measured(lambda q: at_once(start, catalogue, taught, q)),
        "map without a penalty": measured(lambda q: product_scores(wild, catalogue, q), wild_took),
        "train": measured(lambda q: product_scores(made, catalogue, q), took),
        "train + clicks at once": measured(lambda q: at_once(made, catalogue, taught, q)),
    }
    return ways, verdict_of(judge(start, catalogue, taught, groups), rung.name).decision == "promote"


def at_once(made: ImageMap, catalogue: Catalogue, taught: Clicks, asked: Vectors) -> Vectors:
    """Scores with the additive cache of loop/photos.py."""
    from tuneloop.encoders.choice import open_encoder
    from tuneloop.loop.photos import State, said_of_alike

    known = taught.right >= 0
    judged = np.concatenate([taught.right[known], *taught.wrong])
    rows = np.concatenate([np.flatnonzero(known), *(np.full(len(w), i) for i, w in enumerate(taught.wrong))]).astype(
        int
    )
    verdicts = np.r_[np.ones(known.sum()), -np.ones(len(judged) - known.sum())]
    mapped = made.queries(taught.queries)[rows]
    index = Index(
        made.items(catalogue.vectors), made.bias(made.items(catalogue.vectors)), catalogue.owners, catalogue.products
    )
    items: tuple[Any, ...] = tuple(range(catalogue.products))
    encoder = open_encoder("classical")
    state = State(("", 0, 0), "", (0, 0.0), items, index, made, -1.0, mapped, judged, verdicts, encoder)
    return index.scores(made.queries(asked)) + np.stack([said_of_alike(state, q) for q in made.queries(asked)])


def show(n: int, ways: dict[str, list[tuple[float, float, float]]]) -> None:
    before = np.array(ways["before"])
    for name, found in ways.items():
        now = np.array(found)
        change = now[:, :2] - before[:, :2]
        seen, unseen, seconds = now.mean(axis=0)
        # Student's t with 9 degrees of freedom, one-sided 90 %, for the ten draws
        low = change[:, 1].mean() - 1.383 * change[:, 1].std(ddof=1) / len(change) ** 0.5
        said = f"seen {seen:5.1f} ({change[:, 0].mean():+5.1f})  unseen {unseen:5.1f} ({change[:, 1].mean():+5.1f}, "
        print(f"  {n:4} clicks  {name:28} {said}bound {low:+5.1f})  {seconds:5.2f} cpu s")


def times() -> None:
    rng = np.random.default_rng(0)
    print("\ntimes, made-up vectors of the encoder's size")
    items = rng.normal(size=(10_000, image.DIMENSIONS)).astype(np.float32)
    right = rng.integers(0, 10_000, 500)
    photos = items[right] + rng.normal(0, 2.5, (500, image.DIMENSIONS)).astype(np.float32) + 1
    taught = Clicks(photos.astype(np.float32), right, [np.zeros(0, dtype=np.intp)] * 500)
    catalogue = Catalogue(items, np.arange(10_000), 10_000)
    start = centred(items, photos=taught.queries)
    started, worked = time.perf_counter(), time.process_time()
    rung = choose(start, catalogue, taught, np.arange(500))
    made = fit(rung, start, catalogue, taught)
    chosen, work = time.perf_counter() - started, time.process_time() - worked
    judge(start, catalogue, taught, np.arange(500))
    judged = time.perf_counter() - started
    print(
        f"  train on 500 clicks, 10,000 products: {chosen:.2f} s ({work:.2f} of processor), judged after {judged:.2f} s"
    )
    made = made if made.matrix is not None else replace(made, matrix=np.eye(image.DIMENSIONS, dtype=np.float32))
    started = time.perf_counter()
    made.items(items)
    print(f"  re-embedding 10,000 products: {time.perf_counter() - started:.3f} s")
    many = unit(rng.normal(size=(200_000, image.DIMENSIONS)).astype(np.float32))
    index = Index(many, np.zeros(200_000, dtype=np.float32), np.arange(200_000), 200_000)
    taken, same = [], 0
    for query in many[rng.integers(0, 200_000, 60)] + rng.normal(0, 0.03, (60, image.DIMENSIONS)).astype(np.float32):
        started = time.perf_counter()
        found = index.nearest(query, 10)
        taken.append(time.perf_counter() - started)
        same += {i for i, _s in found} == set(np.argsort(-(many.astype(np.float64) @ query))[:10].tolist())
    p50, p95 = (1000 * float(np.quantile(taken, q)) for q in (0.5, 0.95))
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"  exact search over 200,000: p50 {p50:.0f} ms, p95 {p95:.0f} ms, {threads} thread(s)")
    print(f"  the same ten as a full sort: {same} of {len(taken)} searches")
