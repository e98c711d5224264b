"""A tiny CLIP that learned the made-up shop: built from its configuration, taught what the pictures are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search import shop
from tuneloop.encoders.picture import read

TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64,
    "max_position_embeddings": 8, "eos_token_id": 3, "pad_token_id": 0, "bos_token_id": 2,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def write(folder: Path, steps: int = 120) -> Path:
    """A CLIP of 40,000 numbers that was taught what the shop's pictures are called; with 0 steps it knows nothing."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

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
    if not steps:
        return folder / "model"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a machine that others use too: 27 s; with two threads 112 s
    encoder = _opened(folder / "model")
    for name in shop.NAMES:
        shop.product(name).save(folder / f"{name}.png")
    pixels = np.stack([p.pixels for p in read([folder / f"{n}.png" for n in shop.NAMES], 32) if p.pixels is not None])
    batch = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - encoder._mean) / encoder._spread
    tokens = encoder._tokenizer(shop.NAMES, padding="max_length", max_length=8, return_tensors="pt")
    optimiser = torch.optim.Adam(clip.parameters(), lr=3e-3)
    for _step in range(steps):
        optimiser.zero_grad()
        clip(pixel_values=batch, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
             return_loss=True).loss.backward()  # fmt: skip
        optimiser.step()
    torch.set_num_threads(threads)
    clip.save_pretrained(folder / "model")
    return folder / "model"


def _opened(folder: Path) -> Any:
    from tuneloop.encoders.clip import Clip

    found = Clip(str(folder))
    found.texts(["red"])
    return found
