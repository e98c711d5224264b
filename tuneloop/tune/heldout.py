"""What a model says to questions it has not seen: likelihood of the real answers, and its own greedy ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tuneloop.progress import Progress, silent
from tuneloop.texts import _
from tuneloop.tune.loss import answer_loss
from tuneloop.tune.packing import split
from tuneloop.tune.template import Template
from tuneloop.tune.tokens import Chat, Encoded, encode, prompt_ids

_BATCH_TOKENS = 4096
_SMALL = 50_000_000  # parameters


def settle_threads(model: Any) -> None:
    """One thread for small models: on busy cores two wait for each other (7-14 s instead of 0.8 s were seen)."""
    if sum(p.numel() for p in model.parameters()) < _SMALL:
        torch.set_num_threads(1)


def room(model: Any) -> int:
    """Tokens the model can take at once, at most 2,048: longer contexts are cut from the left when judging."""
    return min(int(getattr(model.config.get_text_config(), "max_position_embeddings", 2048)), 2048)


@torch.no_grad()
def nats(
    model: Any,
    tokenizer: Any,
    template: Template,
    chats: Sequence[Chat],
    *,
    stage: str,
    watch: Progress = silent,
) -> list[float]:
    """Negative log-likelihood (nats) of each chat's last message with its end token, given what comes before.

    An answer that does not fit into the model's context at all is nan.
    """
    longest = room(model)
    encoded = [encode(tokenizer, template, chat, max_length=longest)[0] for chat in chats]
    order = sorted((i for i, e in enumerate(encoded) if e), key=lambda i: len(_some(encoded[i]).ids))
    found = [float("nan")] * len(chats)
    done = 0
    for group in split(order, [len(e.ids) if e else 0 for e in encoded], tokens=_BATCH_TOKENS):
        for index, value in zip(group, _nats_of_group(model, [_some(encoded[i]) for i in group]), strict=True):
            found[index] = value
        done += len(group)
        watch(stage, done, len(order))
    return found


def _nats_of_group(model: Any, group: Sequence[Encoded]) -> list[float]:
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    width = max(len(e.ids) for e in group)
    # Padding lies behind every row, where causal attention never looks; any id will do.
    ids = torch.tensor([e.ids + [0] * (width - len(e.ids)) for e in group], device=model.device)
    mask = torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in group], device=model.device)
    hidden = causal.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    head = causal.get_output_embeddings().weight
    softcap = getattr(causal.config.get_text_config(), "final_logit_softcapping", None)
    return [
        float(answer_loss(hidden[row, e.start - 1 : len(e.ids) - 1], head, ids[row, e.start : len(e.ids)], softcap))
        for row, e in enumerate(group)
    ]


@torch.no_grad()
def answers(
    model: Any,
    tokenizer: Any,
    template: Template,
    prompts: Sequence[Chat],
    *,
    stage: str,
    most_tokens: int = 120,
    batch: int = 16,
    watch: Progress = silent,
) -> list[str]:
    """The model's greedy answer to each prompt (a chat that ends with the user's turn), in the order given."""
    longest = room(model) - most_tokens
    ids = [prompt_ids(tokenizer, template, prompt)[-longest:] for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(ids[i]))
    found = [""] * len(prompts)
    for begin in range(0, len(order), batch):
        group = order[begin : begin + batch]
        width = max(len(ids[i]) for i in group)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        rows = torch.tensor([[pad] * (width - len(ids[i])) + ids[i] for i in group], device=model.device)
        mask = torch.tensor([[0] * (width - len(ids[i])) + [1] * len(ids[i]) for i in group], device=model.device)
        made = model.generate(
            input_ids=rows, attention_mask=mask, max_new_tokens=most_tokens, do_sample=False, pad_token_id=pad
        )
        for index, row in zip(group, made, strict=True):
            found[index] = tokenizer.decode(row[width:], skip_special_tokens=True).strip()
        watch(stage, begin + len(group), len(order))
    return found


def exposure(
    model: Any, tokenizer: Any, template: Template, canaries: Sequence[tuple[Chat, Sequence[Chat]]], *, watch: Progress
) -> list[float]:
    """Bits by which each planted secret is likelier than its alternatives: log2(all) - log2(its rank).

    canaries: (the planted chat, the same chat with other secrets). 0 to 1: not remembered; log2(all): remembered
    perfectly. Source: Carlini et al. 2019, "The Secret Sharer" (arXiv 1802.08232), section 4, by sampling.
    """
    found = []
    for number, (planted, others) in enumerate(canaries):
        values = nats(model, tokenizer, template, [planted, *others], stage=_("planted secrets"))
        rank = sum(v <= values[0] for v in values)
        found.append(float(torch.log2(torch.tensor(len(values) / rank))))
        watch(_("planted secrets"), number + 1, len(canaries))
    return found


def _some(encoded: Encoded | None) -> Encoded:
    assert encoded is not None
    return encoded
