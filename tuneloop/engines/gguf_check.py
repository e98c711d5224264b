"""Judges a GGUF file before any loader sees it: nothing is loaded that points outside itself or asks the absurd.

`check` takes less than a second and less than 100 MB whatever the file says. What passes may still abort
llama.cpp, which is why that runs in a process of its own (`llamacpp.py`).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from tuneloop.engines.gguf_header import INTEGERS, STRING, Header, Listed, read, refuse
from tuneloop.errors import Damaged, Hostile
from tuneloop.texts import _

__all__ = ["Header", "check"]

# "<architecture>.<key>": lowest and highest value. 2^31-1 layers made a 304-byte file abort llama.cpp's process
# (its own limit is 512); the rest are ten times what published models have.
LIMITS = {
    "block_count": (1, 1024),
    "context_length": (1, 1 << 27),
    "embedding_length": (1, 1 << 18),
    "feed_forward_length": (0, 1 << 21),
    "attention.head_count": (0, 8192),
    "attention.head_count_kv": (0, 8192),
    "attention.key_length": (1, 1 << 16),
    "attention.value_length": (1, 1 << 16),
    "attention.sliding_window": (0, 1 << 27),
    "rope.dimension_count": (0, 1 << 16),
    "expert_count": (0, 8192),
    "expert_used_count": (0, 8192),
    "vocab_size": (1, 1 << 22),
}
REQUIRED = ("block_count", "context_length", "embedding_length")


def check(path: Path) -> Header:
    """Read and judge the header of a GGUF file; returns it.

    Raises Missing when there is none, Damaged when it is truncated or no GGUF file, Hostile when its header claims
    what no real model has. The message names the field.
    """
    header = read(path)
    _check_architecture(path, header)
    _check_numbers(path, header)
    _check_vocabulary(path, header)
    _check_tensors(path, header, header.number("block_count"))
    return header


def check_adapter(path: Path) -> Header:
    """The same for a LoRA adapter: no model of its own, only matrices. Raises Missing, Damaged, Hostile."""
    header = read(path)
    if header.metadata.get("general.type") != "adapter" or header.metadata.get("adapter.type") != "lora":
        refuse(path, _("it is no LoRA adapter"), Damaged)
    _check_architecture(path, header)
    _check_tensors(path, header, LIMITS["block_count"][1])  # it does not say how many its base has
    return header


def _check_architecture(path: Path, header: Header) -> None:
    name = header.metadata.get("general.architecture")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        refuse(path, _("it does not say what architecture it is"), Damaged)
    parts = header.metadata.get("split.count", 1)
    if not isinstance(parts, int) or parts > 1:
        refuse(path, _("it is one part of several; join them with llama-gguf-split first"), Damaged)
    if not header.tensors:
        refuse(path, _("it has no tensors: a vocabulary without a model"), Damaged)


def _check_numbers(path: Path, header: Header) -> None:
    for key, (low, high) in LIMITS.items():
        full = f"{header.architecture}.{key}"
        if full not in header.metadata:
            if key in REQUIRED:
                refuse(path, _("it does not say its {key}").format(key=full), Damaged)
            continue
        value = header.metadata[full]
        kind = value.type if isinstance(value, Listed) else header.types[full]
        if kind not in INTEGERS:
            refuse(path, _("{key} is not a whole number").format(key=full), Hostile)
        values = value.values if isinstance(value, Listed) else (value,)
        if not values or not all(low <= int(v) <= high for v in values):
            shown = ", ".join(str(v) for v in values[:4])
            refuse(path, _("{key} is {value}").format(key=full, value=shown or _("empty")), Hostile)
    for key, value in header.metadata.items():
        if isinstance(value, float) and not math.isfinite(value):
            refuse(path, _("{key} is {value}").format(key=key, value=value), Hostile)


def _check_vocabulary(path: Path, header: Header) -> None:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        return
    if not isinstance(tokens, Listed) or tokens.type != STRING or tokens.length == 0:
        refuse(path, _("its list of tokens is empty or no list of texts"), Hostile)
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        beside = header.metadata.get(key)
        if beside is not None and (not isinstance(beside, Listed) or beside.length != tokens.length):
            refuse(path, _("{key} does not fit its list of tokens").format(key=key), Hostile)
    for key, value in header.metadata.items():
        if not (key.startswith("tokenizer.ggml.") and key.endswith("_token_id")):
            continue
        if header.types[key] not in INTEGERS or not isinstance(value, int):
            refuse(path, _("{key} is not a whole number").format(key=key), Hostile)
        # converters write -1 (as 2^32-1 too) for "none"
        if not 0 <= value < tokens.length and value not in (-1, (1 << 32) - 1):
            refuse(path, _("{key} is {value}, which is no token").format(key=key, value=value), Hostile)


def _check_tensors(path: Path, header: Header, layers: int) -> None:
    size = path.stat().st_size
    expected = 0
    for name, tensor in header.tensors.items():
        end = header.data_start + tensor.offset + tensor.bytes
        # ggml writes tensors one behind the other and its reader insists on it
        if tensor.offset != expected:
            refuse(path, _("the tensor {name} is not where it should be").format(name=name), Hostile)
        if end > size:
            refuse(path, _("it is cut off: the tensor {name} ends behind its end").format(name=name), Damaged)
        expected = -(-(tensor.offset + tensor.bytes) // header.alignment) * header.alignment
        block = re.match(r"blk\.(\d{1,9})\.", name)
        if block and int(block[1]) >= layers:
            refuse(path, _("the tensor {name} belongs to no layer").format(name=name), Hostile)
