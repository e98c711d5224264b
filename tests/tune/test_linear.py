from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear

from tests.tune.small_models import build
from tuneloop.tune import linear, model


@pytest.mark.parametrize("family", ["llama3", "qwen2"])  # with and without biases on every projection
def test_the_lean_layer_computes_what_peft_computes(tmp_path: Path, family: str) -> None:
    with model.quiet_peft():
        wrapped = get_peft_model(
            model.load_model(build(tmp_path, family)),
            LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False),
        )
    ids = torch.arange(5, 45)[None]
    trained = [p for p in wrapped.parameters() if p.requires_grad]

    def step() -> tuple[torch.Tensor, list[torch.Tensor]]:
        wrapped.zero_grad()
        logits = wrapped(input_ids=ids).logits
        logits.logsumexp(-1).sum().backward()
        return logits.detach(), [p.grad.clone() for p in trained if p.grad is not None]

    expected, expected_gradients = step()
    with linear.lean(wrapped):
        logits, gradients = step()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert len(gradients) == len(trained) == 2 * 7 * 4  # A and B of seven layers in each of four blocks
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_pefts_own_forward_comes_back(tmp_path: Path) -> None:
    with model.quiet_peft():
        wrapped = get_peft_model(
            model.load_model(build(tmp_path, "llama")), LoraConfig(r=2, target_modules="all-linear")
        )
    layer = next(m for m in wrapped.modules() if isinstance(m, Linear))
    own = layer.forward.__func__
    with pytest.raises(RuntimeError), linear.lean(wrapped):
        assert getattr(layer.forward, "__func__", None) is not own
        raise RuntimeError
    assert layer.forward.__func__ is own
