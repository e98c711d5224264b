from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tune.small_models import build
from tuneloop.tune import model, packing
from tuneloop.tune.tokens import Encoded

# mistral's window is 96 tokens, gemma2's and gemma3's 48: the documents below are shorter and longer than both
FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen2-yarn", "qwen3", "gemma", "gemma2", "gemma3")
LENGTHS = (7, 130, 49, 60)


def documents(vocabulary: int) -> list[Encoded]:
    make = torch.Generator().manual_seed(1)
    rows = [torch.randint(5, vocabulary, (n,), generator=make).tolist() for n in LENGTHS]
    return [Encoded(row, max(1, len(row) - 20)) for row in rows]


def packed_hidden(loaded: Any, pack: packing.Pack) -> torch.Tensor:
    with packing.packed(loaded):
        out = loaded.model(input_ids=pack.ids, position_ids=pack.positions, layout=pack.layout, use_cache=False)
    return out.last_hidden_state[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_logits_equal_those_of_each_document_alone(tmp_path: Path, family: str) -> None:
    loaded = model.load_model(build(tmp_path, family))
    examples = documents(loaded.config.vocab_size)
    pack = packing.pack(examples)
    with torch.no_grad():
        together = loaded.lm_head(packed_hidden(loaded, pack))
        loaded.set_attn_implementation("eager")
        alone = [loaded.lm_head(loaded.model(torch.tensor([e.ids[:-1]])).last_hidden_state[0]) for e in examples]
    assert torch.cat(alone).std() > 0.1  # else everything would be equal to everything
    assert (together - torch.cat(alone)).abs().max() < 1e-4


def test_long_documents_take_the_fused_attention_and_stay_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = model.load_model(build(tmp_path, "qwen2"))
    pack = packing.pack(documents(loaded.config.vocab_size))
    with torch.no_grad():
        product = packed_hidden(loaded, pack)
        monkeypatch.setattr(packing, "_LONG", 8)
        fused = packed_hidden(loaded, pack)
    assert not torch.equal(product, fused)  # really another way
    assert (product - fused).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["mistral", "gemma2", "qwen3"])
def test_gradients_of_packed_documents_are_the_sum_of_their_own(tmp_path: Path, family: str) -> None:
    loaded = model.load_model(build(tmp_path, family))
    examples = documents(loaded.config.vocab_size)
    weight = loaded.model.layers[0].self_attn.k_proj.weight

    def gradient(parts: list[list[Encoded]]) -> torch.Tensor:
        loaded.zero_grad()
        for part in parts:
            (packed_hidden(loaded, packing.pack(part)) ** 2).sum().backward()
        return weight.grad.clone()

    whole, pieces = gradient([examples]), gradient([[e] for e in examples])
    assert (whole - pieces).abs().max() < 1e-4 * whole.abs().max()


def test_the_attention_is_put_back(tmp_path: Path) -> None:
    loaded = model.load_model(build(tmp_path, "llama"))
    before = loaded.config._attn_implementation
    with pytest.raises(RuntimeError), packing.packed(loaded):
        assert loaded.config._attn_implementation == packing.NAME
        raise RuntimeError
    assert loaded.config._attn_implementation == before


def test_a_pack_predicts_answers_only() -> None:
    pack = packing.pack([Encoded([1, 2, 3, 4], 2), Encoded([5, 6, 7], 1)])
    assert pack.ids.tolist() == [[1, 2, 3, 5, 6]]
    assert pack.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert pack.answers.tolist() == [1, 2, 3, 4]
    assert pack.targets.tolist() == [3, 4, 6, 7]
    assert pack.tokens == 7


@given(
    lengths=st.lists(st.integers(2, 300), min_size=1, max_size=80),
    tokens=st.integers(16, 400),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_every_example_is_in_one_step_and_steps_keep_their_size(
    lengths: list[int], tokens: int, seed: int, epoch: int
) -> None:
    steps = packing.plan(lengths, tokens=tokens, seed=seed, epoch=epoch)
    assert sorted(i for step in steps for i in step) == list(range(len(lengths)))
    assert all(len(step) == 1 or sum(lengths[i] for i in step) <= tokens for step in steps)
    assert steps == packing.plan(lengths, tokens=tokens, seed=seed, epoch=epoch)


def test_steps_hold_similar_lengths_in_an_order_that_changes() -> None:
    lengths = [10 + i % 100 for i in range(800)]
    steps = packing.plan(lengths, tokens=600, seed=0, epoch=0)
    spread = [max(lengths[i] for i in s) - min(lengths[i] for i in s) for s in steps]
    assert sum(spread) / len(spread) < 20  # 99 when left to chance
    assert steps != packing.plan(lengths, tokens=600, seed=0, epoch=1)
    assert steps != packing.plan(lengths, tokens=600, seed=1, epoch=0)
