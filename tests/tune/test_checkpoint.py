from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tuneloop.errors import Damaged
from tuneloop.tune import checkpoint


def optimiser_after(steps: int) -> tuple[list[str], torch.optim.Optimizer]:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]
    optimiser = torch.optim.AdamW(parameters, lr=0.1, fused=True)
    for step in range(steps):
        for p in parameters:
            p.grad = torch.full_like(p, 0.5 + step)
        optimiser.step()
    return ["layers.0/a", "b"], optimiser


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    names, optimiser = optimiser_after(3)
    adapter, best = {"x.lora_A": torch.randn(2, 3)}, {"x.lora_A": torch.randn(2, 3).t().contiguous().t()}
    state = {"step": 3, "rows": [{"loss": 0.1, "validation": None}]}
    checkpoint.write(tmp_path / "c.safetensors", adapter, best, optimiser, names, state)
    kept = checkpoint.read(tmp_path / "c.safetensors")
    assert kept is not None
    assert torch.equal(kept[0]["x.lora_A"], adapter["x.lora_A"])
    assert torch.equal(kept[1]["x.lora_A"], best["x.lora_A"])
    assert kept[3] == state
    _names, fresh = optimiser_after(0)
    checkpoint.restore(fresh, names, kept[2])
    for old, new in zip(optimiser.param_groups[0]["params"], fresh.param_groups[0]["params"], strict=True):
        assert optimiser.state[old].keys() == fresh.state[new].keys()
        assert all(torch.equal(v, fresh.state[new][k]) for k, v in optimiser.state[old].items())


def test_a_restored_optimiser_goes_on_bit_for_bit(tmp_path: Path) -> None:
    names, straight = optimiser_after(2)
    checkpoint.write(tmp_path / "c", {}, {}, straight, names, {})
    kept = checkpoint.read(tmp_path / "c")
    assert kept is not None
    _names, resumed = optimiser_after(0)
    for a, b in zip(straight.param_groups[0]["params"], resumed.param_groups[0]["params"], strict=True):
        b.data.copy_(a)
    checkpoint.restore(resumed, names, kept[2])
    for optimiser in (straight, resumed):
        for p in optimiser.param_groups[0]["params"]:
            p.grad = torch.full_like(p, 7.0)
        optimiser.step()
    for a, b in zip(straight.param_groups[0]["params"], resumed.param_groups[0]["params"], strict=True):
        assert torch.equal(a, b)


def test_no_checkpoint_is_none_and_a_broken_one_says_so(tmp_path: Path) -> None:
    assert checkpoint.read(tmp_path / "none") is None
    (tmp_path / "broken").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(Damaged, match="cannot be read") as told:
        checkpoint.read(tmp_path / "broken")
    assert "--again" in told.value.fix
