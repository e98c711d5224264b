"""Products by words: by pictures with a tiny CLIP that learned the made-up shop, by names without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.search import shop
from tuneloop.encoders.choice import Encoder, open_encoder
from tuneloop.encoders.picture import read
from tuneloop.errors import BadInput, Missing, NotEnoughData
from tuneloop.loop.photo_words import NAMES, PICTURES, Words
from tuneloop.loop.photos import Finder
from tuneloop.search import catalogue, catalogue_sources
from tuneloop.search.catalogue_sources import Product
from tuneloop.workspace import Workspace

TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64,
    "max_position_embeddings": 8, "eos_token_id": 3, "pad_token_id": 0, "bos_token_id": 2,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 40,000 numbers that was taught what the shop's pictures are called; 3 s."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("clip")
    words = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", *shop.PAINTS, *shop.SHAPES]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 3)])
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(folder / "model")
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    clip = transformers.CLIPModel(config)
    clip.save_pretrained(folder / "model")
    encoder = _opened(folder / "model")
    for name in shop.NAMES:
        shop.product(name).save(folder / f"{name}.png")
    pixels = np.stack([p.pixels for p in read([folder / f"{n}.png" for n in shop.NAMES], 32) if p.pixels is not None])
    batch = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - encoder._mean) / encoder._spread
    tokens = encoder._tokenizer(shop.NAMES, padding="max_length", max_length=8, return_tensors="pt")
    steps = torch.optim.Adam(clip.parameters(), lr=3e-3)
    for _step in range(120):
        steps.zero_grad()
        clip(pixel_values=batch, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
             return_loss=True).loss.backward()  # fmt: skip
        steps.step()
    clip.save_pretrained(folder / "model")
    return folder / "model"


def _opened(folder: Path) -> object:
    from tuneloop.encoders.clip import Clip

    found = Clip(str(folder))
    found.texts(["red"])
    return found


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
