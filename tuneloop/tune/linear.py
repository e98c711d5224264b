"""A LoRA linear layer in one autograd step.

peft's forward goes through three modules, two casts and a scaled copy for each of seven layers; this one saves the
input and its rank-r image, and adds in place. peft stays for wrapping, the file format and merging. Measured on the
shipped demo base (bf16): 7,500 against 6,200 tokens per CPU second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional


class _LoraLinear(torch.autograd.Function):
    """y = x W' + b + scale (x A') B', with gradients for x, A and B only.

    x: (..., in), W: (out, in), A: (r, in), B: (out, r).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ a.t()
        y = functional.linear(flat, weight, bias).addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale = scale
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight, a, b, low = ctx.saved_tensors
        dy = gradient.reshape(-1, gradient.shape[-1])
        dlow = (dy @ b).mul_(ctx.scale)
        db = (dy.t() @ low).mul_(ctx.scale)
        da = dlow.t() @ flat
        dx = None
        if ctx.needs_input_grad[0]:  # the first layer's input is the frozen embedding
            dx = (dy @ weight).addmm_(dlow, a).view(*gradient.shape[:-1], -1)
        return dx, None, None, da, db, None


@contextmanager
def lean(model: Any, adapter: str = "default") -> Iterator[None]:
    """Inside the block, every peft LoRA linear of the model runs as one autograd step (plain LoRA, no dropout)."""
    from peft.tuners.lora import Linear

    layers = [module for module in model.modules() if isinstance(module, Linear)]
    try:
        for layer in layers:
            layer.forward = _forward_of(layer, adapter)
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own shows again


def _forward_of(layer: Any, adapter: str) -> Any:
    a, b, scale = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight, layer.scaling[adapter]
    frozen = layer.base_layer

    def forward(x: torch.Tensor) -> Any:
        # Adapters are kept in float32; they work in the precision of the base.
        return _LoraLinear.apply(x, frozen.weight, frozen.bias, a.to(x.dtype), b.to(x.dtype), scale)

    return forward
