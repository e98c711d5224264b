"""Products by words: by pictures with a tiny CLIP that learned the made-up shop, by names without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.search import shop, taught
from tuneloop.encoders.choice import Encoder, open_encoder
from tuneloop.errors import BadInput, Missing, NotEnoughData
from tuneloop.loop.photo_words import NAMES, PICTURES, Words
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.search.catalogue_sources import Product
from tuneloop.workspace import Workspace


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught.write(tmp_path_factory.mktemp("clip"))


def stocked(workspace: Workspace, folder: Path, encoder: Encoder) -> Words:
    shop.write(folder)
    catalogue.put(workspace, catalogue_sources.read(folder / "catalogue.csv"), encoder, source="shop")
    return Words(Finder(workspace, encoder=encoder))


@pytest.mark.parametrize("fused", [False, True])
def test_words_find_what_pictures_show(workspace: Workspace, tmp_path: Path, model: Path, fused: bool) -> None:
    encoder = open_encoder(f"classical+{model}" if fused else str(model))
    words = stocked(workspace, tmp_path / "shop", encoder)
    found = {name: words.search(name, k=1) for name in shop.NAMES}
    assert {one.method for one in found.values()} == {PICTURES}
    right = np.mean([one.hits[0].name == name for name, one in found.items()])
    assert right >= 0.9  # chance: 0.04
    reds = words.search("red", k=6).hits
    assert sum(hit.name.startswith("red") for hit in reds) >= 3  # of 4; chance: 1
    assert {hit.category for hit in words.search("red", k=9, category="star").hits} == {"star"}
    assert -1 <= reds[-1].similarity <= reds[0].similarity <= 1


def test_words_know_the_catalogue_of_now(workspace: Workspace, tmp_path: Path, model: Path) -> None:
    words = stocked(workspace, tmp_path / "shop", open_encoder(str(model)))
    first = words.search("blue star", k=2).hits
    catalogue.retire(workspace, first[0].item)
    assert words.search("blue star", k=1).hits[0].item == first[1].item


def test_without_text_names_are_searched(workspace: Workspace, tmp_path: Path) -> None:
    words = stocked(workspace, tmp_path / "shop", open_encoder("classical"))
    catalogue.put(workspace, [Product("p", "Red without a picture")], words.finder.encoder)
    found = words.search("  RED  b ")
    assert [hit.item for hit in found.hits] == ["red-ball", "red-bottle", "red-box"] and found.method == NAMES
    assert [hit.item for hit in words.search("picture").hits] == ["p"]
    assert words.search("nothing like it").hits == ()


def test_what_cannot_be_searched_for(workspace: Workspace, tmp_path: Path, model: Path) -> None:
    words = Words(Finder(workspace, encoder=open_encoder("classical")))
    with pytest.raises(NotEnoughData):
        words.search("red")
    for text in ("", "  ", "x" * 501):
        with pytest.raises(BadInput):
            words.search(text)
    stocked(workspace, tmp_path / "shop", words.finder.encoder)
    with pytest.raises(BadInput, match="no category"):
        words.search("red", category="hats")


def test_a_model_without_a_tokenizer_says_so(workspace: Workspace, tmp_path: Path, model: Path) -> None:
    import shutil

    for file in ("config.json", "model.safetensors"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        shutil.copy(model / file, tmp_path / "bare" / file)
    words = stocked(workspace, tmp_path / "shop", open_encoder(str(tmp_path / "bare")))
    with pytest.raises(Missing, match="tokenizer"):
        words.search("red")
