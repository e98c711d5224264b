from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tuneloop.tune import loss


def plain(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float | None) -> torch.Tensor:
    logits = hidden @ head.t()
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return functional.cross_entropy(logits, targets, reduction="sum")


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("chunk", [1, 150, 1 << 20])  # a row at a time, 3 rows of 50 words, everything at once
def test_loss_and_gradient_are_those_of_the_textbook(
    softcap: float | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "_CHUNK", chunk)
    torch.manual_seed(0)
    head, targets = torch.randn(50, 8), torch.randint(0, 50, (11,))
    ours, theirs = (torch.randn(11, 8, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    value, expected = loss.answer_loss(ours, head, targets, softcap), plain(theirs, head, targets, softcap)
    (value * 0.3).backward()
    (expected * 0.3).backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_without_a_gradient_the_value_is_the_same() -> None:
    torch.manual_seed(0)
    hidden, head, targets = torch.randn(5, 8, requires_grad=True), torch.randn(20, 8), torch.arange(5)
    with torch.no_grad():
        quiet = loss.answer_loss(hidden, head, targets)
    assert not quiet.requires_grad
    assert quiet.item() == loss.answer_loss(hidden, head, targets).item()


def test_bf16_hidden_states_give_nearly_the_same_loss() -> None:
    torch.manual_seed(0)
    hidden, head, targets = torch.randn(64, 32), torch.randn(100, 32), torch.randint(0, 100, (64,))
    exact = loss.answer_loss(hidden, head, targets).item()
    assert loss.answer_loss(hidden.bfloat16(), head.bfloat16(), targets).item() == pytest.approx(exact, rel=0.01)
