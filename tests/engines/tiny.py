"""A random Llama of 27,000 weights as a GGUF file, and the means to write files that lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

TEMPLATE = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)


def vocabulary() -> list[str]:
    """Three special tokens and the 256 letters of the GPT-2 byte alphabet, plus one merge."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    letters = [chr(b) for b in plain] + [chr(256 + n) for n in range(len(rest))]
    return ["<|pad|>", "<|im_start|>", "<|im_end|>", *letters, "he"]


def write_tiny(
    path: Path,
    *,
    seed: int = 0,
    context: int = 2048,
    template: str = TEMPLATE,
    width: int = 32,
    inner: int = 64,
    change: Callable[[gguf.GGUFWriter], Any] = lambda writer: None,
) -> Path:
    """A model that llama.cpp loads and that answers nonsense. `change` may add keys before the file is written."""
    rng = np.random.default_rng(seed)
    heads = 2
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(path.stem)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    tokens = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    change(writer)
    shapes = {"token_embd": (len(tokens), width), "output": (len(tokens), width), "output_norm": (width,)}
    shapes |= {f"blk.0.{n}": (width, width) for n in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {"blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,), "blk.0.ffn_down": (width, inner)}
    shapes |= {"blk.0.ffn_gate": (inner, width), "blk.0.ffn_up": (inner, width)}
    for name, shape in shapes.items():
        writer.add_tensor(name + ".weight", (rng.standard_normal(shape) * 0.1).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    """One key of the metadata: its name, value type and packed value."""
    return text(key) + struct.pack("<I", kind) + value


def u32(key: str, value: int) -> bytes:
    return pair(key, 4, struct.pack("<I", value))


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


BASICS = (
    pair("general.architecture", 8, text("llama")),
    u32("llama.block_count", 1),
    u32("llama.context_length", 64),
    u32("llama.embedding_length", 32),
)


def by_hand(
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    keys: tuple[bytes, ...] = BASICS,
    tensors: tuple[bytes, ...] = (tensor("a", (32,), 0, 0),),
    key_count: int | None = None,
    tensor_count: int | None = None,
    data: bytes = bytes(128),
    alignment: int = 32,
) -> bytes:
    """A GGUF file from parts; the defaults are a file that passes the check."""
    counts = (len(tensors) if tensor_count is None else tensor_count, len(keys) if key_count is None else key_count)
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data
