"""From a Hugging Face folder to a GGUF file that llama.cpp and Ollama load, tensor by tensor.

Needs the `gguf` package (writer and tensor names) and nothing compiled. Peak memory is the largest tensor in f16.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from tuneloop import __version__
from tuneloop.errors import Damaged, Missing
from tuneloop.progress import Progress, silent
from tuneloop.texts import _
from tuneloop.tune import gguf_vocab, shapes, weights
from tuneloop.tune.shapes import Shape, unsupported
from tuneloop.tune.weights import Tensor

F16_MAX = 65504.0
PIECE = 1 << 22  # values converted at once: 16 MB of float32
SKIPPED = ("rotary_emb.inv_freq",)  # recomputed from the configuration


@dataclass(frozen=True)
class _Target:
    name: str
    source: Tensor
    permute_heads: int  # 0: rows stay as they are
    add: float
    half: bool


def convert(folder: Path, out: Path, *, name: str = "", watch: Progress = silent) -> list[str]:
    """Write the model of `folder` (config.json, *.safetensors, tokenizer) to `out` in f16, norms in f32.

    Returns notes for people (limits of the export). Raises BadInput naming what is not supported, Missing or
    Damaged for an incomplete folder; `out` appears only when it is complete.
    """
    logging.getLogger("gguf").setLevel(logging.ERROR)  # it announces every file on stderr
    config = _config(folder)
    shape = shapes.plan(config)
    tensors = weights.folder(folder)
    targets = _targets(shape, tensors)
    rows = next(t.source.shape[0] for t in targets if t.name == "token_embd.weight")
    vocabulary = gguf_vocab.plan(folder, rows)
    partial = out.with_name(f".{out.name}.part")
    writer = gguf.GGUFWriter(partial, shape.architecture)
    try:
        _write_fields(writer, shape, vocabulary, name or folder.name)
        _announce(writer, shape, targets)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if shape.rope_factors is not None:
            writer.write_tensor_data(shape.rope_factors)
        for done, target in enumerate(targets):
            watch(_("convert"), done, len(targets))
            writer.write_tensor_data(_values(target))
        watch(_("convert"), len(targets), len(targets))
        writer.flush()
        writer.close()
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        partial.replace(out)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)
    return shape.notes + vocabulary.notes


def add_value(writer: Any, key: str, value: int | float | str | bool) -> None:
    """Write one key with the GGUF type of its Python type (int: uint32, float: float32)."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Missing(
            _("{path} has no config.json").format(path=folder),
            fix=_("Name a folder with config.json, tokenizer.json and *.safetensors."),
        ) from None
    except ValueError as problem:
        raise Damaged(
            _("{path} cannot be read: {problem}").format(path=path, problem=problem),
            fix=_("Copy the model again from its source."),
        ) from problem
    return dict(loaded)


def _targets(shape: Shape, tensors: dict[str, Tensor]) -> list[_Target]:
    """Every tensor of the folder with its name in GGUF, in the order of the layers."""
    architecture = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == shape.architecture)
    names = gguf.get_tensor_name_map(architecture, shape.layers)
    found = []
    for name, tensor in tensors.items():
        if name.endswith(SKIPPED) or (name == "lm_head.weight" and shape.tied):
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        module, _dot, kind = name.rpartition(".")
        last = module.rpartition(".")[2]
        if target is None or (kind == "bias" and not shape.has_bias(last)):
            raise unsupported(_("tensor {name}").format(name=name[:80]))
        heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}.get(last, 0) if shape.interleaved else 0
        norm = len(tensor.shape) == 1
        add = shape.norm_offset if norm and kind == "weight" else 0.0
        found.append(_Target(target, tensor, heads, add, half=not norm))
    present = {t.name for t in found}
    needed = ["token_embd.weight", "output_norm.weight", *([] if shape.tied else ["output.weight"])]
    needed += [f"blk.{i}.attn_q.weight" for i in range(shape.layers)]
    for name in needed:
        if name not in present:
            raise Damaged(
                _("the weights are incomplete: {name} is missing").format(name=name),
                fix=_("Copy the model again from its source."),
            )
    return sorted(found, key=_order)


def _order(target: _Target) -> tuple[int, int, str]:
    parts = target.name.split(".")
    if parts[0] == "blk":
        return (1, int(parts[1]), target.name)
    return (0 if parts[0] == "token_embd" else 2, 0, target.name)


def _announce(writer: Any, shape: Shape, targets: list[_Target]) -> None:
    if shape.rope_factors is not None:
        factors = shape.rope_factors
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for target in targets:
        dtype = np.dtype(np.float16 if target.half else np.float32)
        count = int(np.prod(target.source.shape))
        writer.add_tensor_info(target.name, target.source.shape, dtype, count * dtype.itemsize)


def _values(target: _Target) -> npt.NDArray[Any]:
    source = target.source
    if target.permute_heads or not target.half:
        values = source.load() + np.float32(target.add)
        if target.permute_heads:  # weights and biases alike
            values = _interleave(values, target.permute_heads)
        return _narrow(source, values) if target.half else values
    # Piece by piece: an embedding of 150,000 rows takes three times its float32 size otherwise.
    out = np.empty(source.shape, dtype=np.float16)
    step = max(1, PIECE // max(1, out[0].size))
    for first in range(0, len(out), step):
        out[first : first + step] = _narrow(source, source.load(first, first + step))
    return out


def _narrow(source: Tensor, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    if np.abs(values).max(initial=0.0) > F16_MAX:
        raise unsupported(_("tensor {name}, whose values do not fit into f16").format(name=source.name))
    return values.astype(np.float16)


def _interleave(values: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Reorder rows of Q and K within each head: halves (0, n/2), (1, n/2 + 1), ... become neighbours."""
    rows = values.shape[0] // heads // 2
    return values.reshape(heads, 2, rows, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _write_fields(writer: Any, shape: Shape, vocabulary: gguf_vocab.Vocabulary, name: str) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_description(f"made by tuneloop {__version__}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in shape.fields.items():
        add_value(writer, key, len(vocabulary.tokens) if key.endswith(".vocab_size") else value)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for key, value in vocabulary.fields.items():
        add_value(writer, f"tokenizer.{key}", value)
