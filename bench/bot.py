"""From a photo sent to the fifth picture answered: the bot over 10,000 products, Telegram on this machine.

    python -m bench.bot

24 products are real pictures of a made-up shop, the others are their vectors with noise. While fewer than 50 photos
were ever searched, each fifth search centres the first map anew: 2 ms of processor time beside 8, so both are shown.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from bench.frame import print_origin
from tests.bot import running
from tests.bot.fake_telegram import FakeTelegram
from tests.search import shop
from tuneloop.db.photo_tables import catalogue_items, catalogue_pictures, picture_vectors
from tuneloop.encoders.choice import open_encoder
from tuneloop.search import catalogue, vectors
from tuneloop.workspace import Workspace, open_workspace

PRODUCTS, PHOTOS, FIRST = 10_000, 200, 60


def fill(workspace: Workspace) -> None:
    """Bring the catalogue to PRODUCTS."""
    items = catalogue.items(workspace)
    encoder = open_encoder("classical").name
    known = vectors.load(workspace, [item.pictures[0][0] for item in items], encoder)
    rng = np.random.default_rng(0)
    stamp = {"tenant": "", "category": "", "price": "", "description": "", "source": "", "changed": 0.0, "revision": 2}
    products, pictures, made = [], [], []
    for n in range(PRODUCTS - len(items)):
        picture, path = items[n % len(items)].pictures[0]
        vector = known[picture] + rng.normal(0, 0.05, known[picture].shape)
        products.append({"id": f"x{n}", "name": f"product {n}", "state": "active", **stamp})
        pictures.append({"tenant": "", "item": f"x{n}", "id": f"{n:064x}", "path": path})
        row = {"id": f"{n:064x}", "encoder": encoder, "vector": vector.astype("<f4").tobytes(), "studio": False}
        made.append(row)
    with workspace.db.write() as rows:
        rows.execute(insert(catalogue_items), products)
        rows.execute(insert(catalogue_pictures), pictures)
        rows.execute(insert(picture_vectors), made)
    workspace.db.close()


def main() -> None:
    print_origin()
    folder = Path(tempfile.mkdtemp(prefix="bench-bot-"))
    try:
        running.prepare(folder, shop.NAMES, photos=9)
        fill(open_workspace(folder / "work"))
        with FakeTelegram() as telegram:
            workspace = running.copied(folder, folder / "copy", telegram, searches_per_hour=0)
            with running.running(workspace):
                times = [answered(telegram, file) for file in sorted((folder / "photos").iterdir())[:PHOTOS]]
        for name, part in (("first searches", times[:FIRST]), ("later searches", times[FIRST:])):
            median, p95 = np.percentile(part, [50, 95]) * 1000
            print(f"{name}: {len(part)}, median {median:.0f} ms, p95 {p95:.0f} ms")
    finally:
        shutil.rmtree(folder)


def answered(telegram: FakeTelegram, file: Path) -> float:
    """Seconds from the photo to its fifth product."""
    count = len(telegram.sent("sendPhoto")) + 5
    started = time.monotonic()
    telegram.sends_photo(running.ANN, file.read_bytes())
    telegram.wait(lambda: len(telegram.sent("sendPhoto")) >= count)
    return telegram.sent("sendPhoto")[-1].time - started


if __name__ == "__main__":
    main()
