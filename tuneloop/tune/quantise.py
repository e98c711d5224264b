"""From an f16 GGUF file to a smaller one, with llama.cpp's own block formats and its own rule of what gets which.

The rule (`type_of`) follows llama.cpp's quantiser: "_M" mixes give some attn_v and ffn_down tensors and the output
more bits, and rows that do not divide into blocks fall back to the next wider format. The work runs in a child
process, because C code may abort.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType, LlamaFileType

from tuneloop.errors import BadInput, OutOfResources, TuneloopError
from tuneloop.progress import Progress, silent
from tuneloop.texts import _
from tuneloop.tune import native

# name -> (type of most tensors, llama.cpp's number of the mix)
QUANTS: dict[str, tuple[Type, LlamaFileType]] = {
    "q8_0": (Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q6_K": (Type.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "q5_K_M": (Type.Q5_K, LlamaFileType.MOSTLY_Q5_K_M),
    "q5_K_S": (Type.Q5_K, LlamaFileType.MOSTLY_Q5_K_S),
    "q5_1": (Type.Q5_1, LlamaFileType.MOSTLY_Q5_1),
    "q5_0": (Type.Q5_0, LlamaFileType.MOSTLY_Q5_0),
    "q4_K_M": (Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "q4_K_S": (Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_S),
    "q4_1": (Type.Q4_1, LlamaFileType.MOSTLY_Q4_1),
    "q4_0": (Type.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
# A row that is no multiple of the block (256 for K types, 32 for the others) takes the next wider type.
FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
PIECE = 1 << 22  # values quantised in one call: 16 MB of float32


@dataclass(frozen=True, slots=True)
class Model:
    """What the rule needs to know of a model."""

    architecture: str
    layers: int
    has_output: bool  # false: output and embedding are one tensor
    grouped: bool  # fewer key heads than heads


def type_of(name: str, width: int, quant: str, model: Model) -> Type:
    """The block type of a tensor (`width`: values of a row) in a mix, as llama.cpp chooses it."""
    usual = QUANTS[quant][0]
    chosen = usual
    part = ".".join(name.split(".")[2:])
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
    more = _more_bits(layer, model.layers)
    if name == "output.weight" or (name == "token_embd.weight" and not model.has_output):
        if width % gguf.GGML_QUANT_SIZES[usual][0]:
            chosen = Type.Q8_0
        elif usual != Type.Q8_0:
            chosen = Type.Q6_K
    elif part == "attn_v.weight":
        if quant in ("q4_K_M", "q5_K_M") and more:
            chosen = Type.Q6_K
        elif quant == "q4_K_S" and layer < 4:
            chosen = Type.Q5_K
        # Eight query heads share a value head in the 80-layer models: it is small and worth more bits.
        if chosen == Type.Q4_K and model.layers == 80 and model.grouped and model.architecture in ("llama", "qwen2"):
            chosen = Type.Q5_K
    elif part == "ffn_down.weight":
        if quant in ("q4_K_M", "q5_K_M") and more:
            chosen = Type.Q6_K
        elif quant == "q4_K_S" and layer < model.layers // 8:
            chosen = Type.Q5_K
    if width % gguf.GGML_QUANT_SIZES[chosen][0]:
        chosen = FALLBACK.get(chosen, chosen)
    return Type.F16 if width % gguf.GGML_QUANT_SIZES[chosen][0] else chosen


def _more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def quantise(f16: Path, out: Path, quant: str, *, threads: int | None = None, watch: Progress = silent) -> None:
    """Write `out` from the f16 (or f32) GGUF file `f16`. `out` appears only when it is complete.

    Raises BadInput for an unknown quantisation, OutOfResources when the disk fills up, TuneloopError with the
    child's last words when it died.
    """
    check_name(quant)
    partial = out.with_name(f".{out.name}.part")
    threads = threads or min(os.cpu_count() or 1, 8)
    command = [sys.executable, "-P", "-m", "tuneloop.tune.quantise", str(f16), str(partial), quant, str(threads)]
    try:
        with tempfile.TemporaryFile() as noise:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise) as child:
                assert child.stdout
                for line in child.stdout:
                    done, total = json.loads(line)
                    watch(_("quantise {quant}").format(quant=quant), done, total)
            if child.returncode != 0:
                noise.seek(0)
                _explain(child.returncode, noise.read().decode("utf-8", "replace"), quant, out)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def check_name(quant: str) -> None:
    """Raises BadInput unless `quant` can be made (f16 is what conversion makes)."""
    if quant != "f16" and quant not in QUANTS:
        raise BadInput(
            _("there is no quantisation '{quant}'").format(quant=quant),
            fix=_("Choose from: {names}.").format(names=", ".join(["f16", *QUANTS])),
        )


def bits(quant: str) -> float:
    """Bits per weight, for estimates of size."""
    if quant == "f16":
        return 16.0
    values, size = gguf.GGML_QUANT_SIZES[QUANTS[quant][0]]
    return 8.0 * size / values


def _explain(code: int, said: str, quant: str, out: Path) -> None:
    if "No space left" in said:
        raise OutOfResources(
            _("the disk filled up while {file} was written").format(file=out.name),
            fix=_("Free some space and run the same command again; what was finished stays."),
        )
    last = (said.strip().splitlines() or [""])[-1]
    raise TuneloopError(
        _("quantising to {quant} failed (exit {code}): {said}").format(quant=quant, code=code, said=last[:300]),
        fix=_("Please report this; --quant f16 works without it."),
    )


def _work(source: Path, out: Path, quant: str, threads: int) -> None:
    """In the child: copy all keys, quantise tensor by tensor, tell how far it is on stdout."""
    logging.getLogger("gguf").setLevel(logging.ERROR)
    lib = native.library()
    reader = gguf.GGUFReader(source)
    model = _model(reader)
    writer = gguf.GGUFWriter(out, model.architecture)
    _copy_fields(reader, writer, QUANTS[quant][1])
    kinds = {t.name: _kind(t, quant, model) for t in reader.tensors}
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]  # GGUF names the row width first, numpy last
        kind = kinds[tensor.name]
        size = gguf.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(tensor.name, size, np.dtype(np.uint8), int(np.prod(size)), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    total = sum(int(t.n_elements) for t in reader.tensors)
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for tensor in reader.tensors:
            writer.write_tensor_data(_converted(lib, pool, tensor, kinds[tensor.name]))
            done += int(tensor.n_elements)
            print(json.dumps([done, total]), flush=True)  # noqa: T201  the parent reads it
    writer.flush()
    writer.close()
    with out.open("rb") as handle:
        os.fsync(handle.fileno())


def _model(reader: Any) -> Model:
    architecture = reader.fields["general.architecture"].contents()
    number = {
        key: int(reader.fields[f"{architecture}.{key}"].contents())
        for key in ("block_count", "attention.head_count", "attention.head_count_kv")
    }
    return Model(
        architecture=architecture,
        layers=number["block_count"],
        has_output=any(t.name == "output.weight" for t in reader.tensors),
        grouped=number["attention.head_count"] != number["attention.head_count_kv"],
    )


def _kind(tensor: Any, quant: str, model: Model) -> Type:
    """Vectors and norms stay as they are; of the rest the rule decides."""
    if len(tensor.shape) < 2 or not tensor.name.endswith(".weight") or "_norm." in tensor.name:
        return Type(tensor.tensor_type)
    return type_of(tensor.name, int(tensor.shape[0]), quant, model)


def _copy_fields(reader: Any, writer: Any, file_type: LlamaFileType) -> None:
    for key, value in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = value.types[0]
        content = int(file_type) if key == "general.file_type" else value.contents()
        writer.add_key_value(key, content, kind, value.types[-1] if kind == GGUFValueType.ARRAY else None)


def _converted(lib: Any, pool: ThreadPoolExecutor, tensor: Any, kind: Type) -> npt.NDArray[np.uint8]:
    shape = [int(n) for n in reversed(tensor.shape)]
    if kind == Type(tensor.tensor_type):
        return np.ascontiguousarray(tensor.data).view(np.uint8)
    if kind == Type.F16:
        return np.ascontiguousarray(tensor.data.astype(np.float16)).view(np.uint8)
    values = tensor.data.reshape(-1, shape[-1])
    out = np.empty(gguf.quant_shape_to_byte_shape(values.shape, kind), dtype=np.uint8)
    step = max(1, PIECE // shape[-1])

    def piece(start: int) -> None:
        rows = np.ascontiguousarray(values[start : start + step], dtype=np.float32)
        native.quantise_rows(lib, int(kind), rows, out[start : start + step])

    _finish(pool.map(piece, range(0, values.shape[0], step)))
    return out.reshape(gguf.quant_shape_to_byte_shape(shape, kind))


def _finish(results: Iterable[None]) -> None:
    for _result in results:
        continue  # asking for each result raises what a thread raised


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
