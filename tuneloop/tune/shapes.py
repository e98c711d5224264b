"""What llama.cpp must be told about a model: from a Hugging Face `config.json` to GGUF keys, family by family.

Only what llama.cpp computes exactly as transformers does is let through; everything else is refused by name here,
before a file is written. Keys and rules follow the GGUF specification and llama.cpp's model loaders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tuneloop.errors import BadInput
from tuneloop.texts import _

# model_type of transformers -> architecture of llama.cpp
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
ACTIVATIONS = {"llama": ("silu",), "qwen2": ("silu",), "qwen3": ("silu",)}
GELU = ("gelu_pytorch_tanh", "gelu", None)  # Gemma's "gelu" always meant the tanh approximation
BIASES = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "qwen2": ("q_proj", "k_proj", "v_proj"),
}
# llama.cpp knows the 27 B models by their number of layers and scales their attention by width / heads
WIDE_SCALE = {("gemma2", 46), ("gemma3", 62)}


@dataclass(frozen=True)
class Shape:
    """One model's numbers. `fields` are GGUF keys and values; `rope_factors` divides each rotary frequency."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    tied: bool
    fields: dict[str, int | float | str | bool]
    rope_factors: npt.NDArray[np.float32] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def interleaved(self) -> bool:
        """llama.cpp's "llama" rotates neighbouring pairs, transformers the two halves: Q and K rows are reordered."""
        return self.architecture == "llama"

    @property
    def norm_offset(self) -> float:
        """Gemma multiplies by (1 + weight); llama.cpp by the weight."""
        return 1.0 if self.architecture.startswith("gemma") else 0.0

    def has_bias(self, module: str) -> bool:
        return module in BIASES.get(self.architecture, ())


def plan(config: dict[str, Any]) -> Shape:
    """Read a configuration. Raises BadInput naming the first thing that cannot be expressed."""
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise unsupported(_("model type {kind}").format(kind=kind))
    if config.get("quantization_config"):
        raise unsupported(_("weights that are quantised already"))
    arch = ARCHITECTURES[kind]
    activation = config.get("hidden_activation") or config.get("hidden_act")
    if activation not in ACTIVATIONS.get(arch, GELU):
        raise unsupported(_("activation {name}").format(name=activation))
    heads = int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
    notes: list[str] = []
    fields: dict[str, int | float | str | bool] = {
        "context_length": _context(config, arch, notes),
        "embedding_length": int(config["hidden_size"]),
        "block_count": int(config["num_hidden_layers"]),
        "feed_forward_length": int(config["intermediate_size"]),
        "attention.head_count": heads,
        "attention.head_count_kv": int(config.get("num_key_value_heads") or heads),
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": head_dim,
        "vocab_size": int(config["vocab_size"]),
    }
    fields |= _rope(config, arch)
    if arch in ("gemma2", "gemma3"):
        fields |= _gemma(config, arch, head_dim)
    return Shape(
        architecture=arch,
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        # transformers' own defaults where the key is absent: Gemma is tied, the others are not
        tied=bool(config.get("tie_word_embeddings", arch.startswith("gemma"))),
        fields={f"{arch}.{key}": value for key, value in fields.items()},
        rope_factors=_llama3_factors(config, head_dim),
        notes=notes,
    )


def unsupported(what: str) -> BadInput:
    """The refusal of everything this converter cannot express."""
    return BadInput(
        _("this model cannot be exported to GGUF: {what} is not supported").format(what=what),
        fix=_("Supported are Llama, Mistral, Qwen2, Qwen3, Gemma, Gemma 2 and Gemma 3 text models."),
    )


def _context(config: dict[str, Any], arch: str, notes: list[str]) -> int:
    length = int(config["max_position_embeddings"])
    window = config.get("sliding_window")
    if arch.startswith("gemma") or not window or not config.get("use_sliding_window", arch == "llama"):
        return length
    if window < length:
        # llama.cpp has no sliding window for these: up to the window both compute the same
        notes.append(_("context limited to the sliding window, {n} tokens").format(n=window))
    return min(length, int(window))


def _rope_parameters(config: dict[str, Any], layers: str = "full_attention") -> dict[str, Any]:
    """Both spellings: `rope_parameters` of transformers 5 and `rope_theta` with `rope_scaling` before it."""
    given = config.get("rope_parameters") or {}
    if isinstance(given.get(layers), dict):
        return dict(given[layers])
    if given:
        return dict(given)
    if layers == "sliding_attention":
        return {"rope_theta": config.get("rope_local_base_freq", 10000.0)}
    scaling = dict(config.get("rope_scaling") or {})
    scaling.setdefault("rope_type", scaling.get("type", "default"))
    return {"rope_theta": config.get("rope_theta", 10000.0), **scaling}


def _rope(config: dict[str, Any], arch: str) -> dict[str, int | float | str | bool]:
    rope = _rope_parameters(config)
    kind = rope.get("rope_type") or "default"
    partial = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if partial not in (None, 1, 1.0):
        raise unsupported(_("a partial rotary embedding ({share})").format(share=partial))
    fields: dict[str, int | float | str | bool] = {"rope.freq_base": float(rope.get("rope_theta") or 10000.0)}
    if kind == "linear":
        fields |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
    elif kind == "yarn":
        if rope.get("attention_factor") is not None or rope.get("mscale") is not None:
            raise unsupported(_("yarn with its own attention factor"))
        original = int(rope.get("original_max_position_embeddings") or config["max_position_embeddings"])
        fields |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(rope["factor"]),
            "rope.scaling.original_context_length": original,
            "rope.scaling.yarn_beta_fast": float(rope.get("beta_fast") or 32.0),
            "rope.scaling.yarn_beta_slow": float(rope.get("beta_slow") or 1.0),
        }
    elif kind not in ("default", "llama3"):
        raise unsupported(_("rotary scaling '{kind}'").format(kind=kind))
    if kind != "default" and arch.startswith("gemma") and arch != "gemma3":
        raise unsupported(_("rotary scaling '{kind}'").format(kind=kind))
    return fields


def _llama3_factors(config: dict[str, Any], head_dim: int) -> npt.NDArray[np.float32] | None:
    """How much each rotary frequency is slowed down (Llama 3.1's formula); None for every other model."""
    rope = _rope_parameters(config)
    if rope.get("rope_type") != "llama3":
        return None
    factor, low, high = (float(rope[k]) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    old = float(rope["original_max_position_embeddings"])
    theta = float(rope.get("rope_theta") or 10000.0)
    factors = []
    for i in range(0, head_dim, 2):
        wave = 2 * math.pi * theta ** (i / head_dim)
        if wave < old / high:
            factors.append(1.0)
        elif wave > old / low:
            factors.append(factor)
        else:
            smooth = (old / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def _gemma(config: dict[str, Any], arch: str, head_dim: int) -> dict[str, int | float | str | bool]:
    layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
    scale = int(config["hidden_size"]) // heads if (arch, layers) in WIDE_SCALE else head_dim
    if float(config.get("query_pre_attn_scalar", scale)) != scale:
        raise unsupported(_("query_pre_attn_scalar {value}").format(value=config["query_pre_attn_scalar"]))
    if config.get("use_bidirectional_attention"):
        raise unsupported(_("bidirectional attention"))
    every = 2 if arch == "gemma2" else 6
    pattern = ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(layers)]
    given = config.get("layer_types")
    if (given or pattern) != pattern or (not given and int(config.get("sliding_window_pattern") or every) != every):
        raise unsupported(_("this order of sliding and full attention layers"))
    fields: dict[str, int | float | str | bool] = {"attention.sliding_window": int(config["sliding_window"])}
    attention, final = config.get("attn_logit_softcapping"), config.get("final_logit_softcapping")
    if arch == "gemma2":
        if not attention or not final:
            raise unsupported(_("Gemma 2 without its soft caps"))
        fields["attn_logit_softcapping"] = float(attention)
    elif attention:
        raise unsupported(_("a soft cap in Gemma 3's attention"))
    if final:
        fields["final_logit_softcapping"] = float(final)
    if arch == "gemma3":
        sliding = _rope_parameters(config, "sliding_attention")
        if sliding.get("rope_type", "default") != "default":
            raise unsupported(_("rotary scaling in sliding layers"))
        fields["rope.freq_base_swa"] = float(sliding.get("rope_theta") or 10000.0)
    return fields
