"""The demo model: its shape, a fast training loss, bits per character, and how the folder is written.

Why this shape: the shipped folder must stay below 8,000,000 bytes, and llama.cpp's K-quants need rows of
256 weights. Width 256, 4 layers and a tied 4096-token embedding give 3.41 M parameters = 6.8 MB in bfloat16.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from corpus import END_OF_TEXT, IM_END, IM_START, PAD
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

CONTEXT = 1024

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def build_model(tokenizer: Tokenizer, vocab: int) -> LlamaForCausalLM:
    """Make a freshly initialised model with a vocabulary of vocab tokens."""
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(END_OF_TEXT),
        eos_token_id=tokenizer.token_to_id(IM_END),
        pad_token_id=tokenizer.token_to_id(PAD),
        use_cache=False,
    )
    # "eager" is the fast choice here: at length 256 the CPU's fused attention took 35 % of a step
    # (9,500 tokens/s against 11,700 on one core, 14,000 with torch.compile on top).
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config)


class TiedLoss(torch.autograd.Function):
    """Mean cross entropy of hidden @ weight.T, with the gradients made chunk by chunk in the forward pass.

    The logits of a 4096-token batch would be 64 MB in float32; 256 rows at a time stay in the cache, which
    makes the whole training step 13 % faster than F.cross_entropy on all of them.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the loss and keep both gradients."""
        rows = hidden.shape[0]
        cast = weight.to(hidden.dtype)
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight)
        loss = torch.zeros(())
        for at in range(0, rows, 256):
            part, goal = hidden[at : at + 256], target[at : at + 256]
            logits = (part @ cast.t()).float()
            log_sum = torch.logsumexp(logits, dim=-1, keepdim=True)
            loss += (log_sum.squeeze(1) - logits.gather(1, goal[:, None]).squeeze(1)).sum()
            error = logits.sub_(log_sum).exp_()
            error[torch.arange(len(goal)), goal] -= 1.0
            scaled = (error / rows).to(hidden.dtype)
            hidden_grad[at : at + 256] = scaled @ cast
            weight_grad += scaled.t() @ part
        ctx.save_for_backward(hidden_grad, weight_grad)
        return loss / rows

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Hand the gradients over."""
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * grads[0], weight_grad * grads[0], None


def training_loss(body: Any, weight: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    """Next-token loss of a batch; the layers run in bfloat16 (2.3 times faster than float32 here)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = body(input_ids=windows[:, :-1]).last_hidden_state
    flat = hidden.reshape(-1, hidden.shape[-1]).to(torch.bfloat16)
    loss: torch.Tensor = TiedLoss.apply(flat, weight, windows[:, 1:].reshape(-1))  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def bits_per_char(model: LlamaForCausalLM, tokenizer: Tokenizer, text: str, window: int = 512) -> float:
    """Measure a text: nats of all its tokens but the first, in bits, divided by its characters.

    Windows do not overlap, so a token sees up to 511 tokens before it and 256 on average.
    """
    ids = [i for e in tokenizer.encode_batch(text.splitlines(keepends=True)) for i in e.ids]
    if len(ids) < 2:
        return math.nan
    model.eval()
    nats = 0.0
    for at in range(0, len(ids) - 1, window):
        part = torch.tensor(ids[at : at + window + 1])
        logits = model(input_ids=part[None, :-1]).logits[0].float()
        nats += float(F.cross_entropy(logits, part[1:], reduction="sum"))
    model.train()
    return nats / math.log(2) / len(text)


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": False,
        "bos_token": END_OF_TEXT,
        "eos_token": IM_END,
        "pad_token": PAD,
        "extra_special_tokens": [IM_START],
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "padding_side": "right",
        "truncation_side": "right",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def write_folder(folder: Path, model: LlamaForCausalLM, tokenizer: Tokenizer) -> None:
    """Write weights (bfloat16), configuration, tokenizer and chat template into a new folder."""
    folder.mkdir(parents=True)
    config = model.config
    saved = LlamaForCausalLM(config).to(torch.bfloat16)
    saved.load_state_dict(model.state_dict())
    saved.config.dtype = torch.bfloat16
    saved.config.use_cache = True
    saved.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    saved.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    saved.config.use_cache = False
    path = folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["rope_theta"] = 10000.0  # older readers look for it here, not in rope_parameters
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _write_tokenizer(folder, tokenizer)


def replace_folder(new: Path, old: Path) -> None:
    """Put the new folder in the place of the old one by renaming: readers never see half a model."""
    aside = old.with_name(old.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.replace(aside)
    new.replace(old)
    shutil.rmtree(aside, ignore_errors=True)
