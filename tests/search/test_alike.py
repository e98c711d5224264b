"""Products that are there twice are found, others are not, and an import warns of its own only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.search import shop
from tuneloop.encoders.choice import open_encoder
from tuneloop.search import alike, catalogue, catalogue_sources
from tuneloop.search.index import near_duplicates
from tuneloop.workspace import open_workspace


def test_a_copy_is_found_however_it_was_saved(tmp_path: Path) -> None:
    """24 products and two copies: so few that they are compared as they are."""
    workspace, encoder = open_workspace(tmp_path / "work", create=True), open_encoder("classical")
    lines = shop.write(tmp_path).read_text().splitlines()
    for n, name in enumerate(("red-ball", "blue-star")):
        copied = Image.open(tmp_path / "pictures" / f"{name}.png").resize((140, 140))
        copied.save(tmp_path / "pictures" / f"copy{n}.jpg", quality=60)
        lines.append(f"copy{n},copy of {name},x,1,pictures/copy{n}.jpg")
    (tmp_path / "catalogue.csv").write_text("\n".join(lines) + "\n")
    products = catalogue_sources.read(tmp_path / "catalogue.csv")
    done = catalogue.put(workspace, products, encoder)
    assert len(done.fresh) == 26
    found = alike.groups(workspace, encoder.name)
    assert {tuple(item.id for item in one.items) for one in found} == {("copy0", "red-ball"), ("blue-star", "copy1")}
    assert all(0.95 <= one.similarity <= 1 for one in found)
    (one,) = alike.groups(workspace, encoder.name, changed=["copy1"])
    assert [item.id for item in one.items] == ["blue-star", "copy1"]
    assert alike.groups(workspace, encoder.name, changed=["red-box"]) == []
    catalogue.retire(workspace, "copy0")
    assert len(alike.groups(workspace, encoder.name)) == 1


def test_several_pictures_of_one_product_are_no_double(tmp_path: Path) -> None:
    workspace, encoder = open_workspace(tmp_path / "work", create=True), open_encoder("classical")
    shop.write(tmp_path, names=shop.NAMES[:2])
    picture = tmp_path / "pictures" / "red-ball.png"
    again = tmp_path / "again.png"
    Image.open(picture).resize((190, 190)).save(again)
    one = catalogue_sources.Product("a", "a", "", "", "", (picture, again))
    assert alike.groups(workspace, encoder.name) == []
    catalogue.put(workspace, [one], encoder)
    assert alike.groups(workspace, encoder.name) == []
    catalogue.put(workspace, [catalogue_sources.Product("b", "b", "", "", "", (picture,))], encoder)
    (found,) = alike.groups(workspace, encoder.name)
    assert round(found.similarity, 5) == 1.0 and [item.id for item in found.items] == ["a", "b"]


def test_pairs_of_chosen_rows_are_those_of_all(monkeypatch: object) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    every = near_duplicates(rows, 0.9)
    chosen = np.array([3, 17, 40])
    some = near_duplicates(rows, 0.9, chosen)
    assert [(a, b) for a, b, _c in some] == [(a, b) for a, b, _c in every if a in chosen or b in chosen] and some
