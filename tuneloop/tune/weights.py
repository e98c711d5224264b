"""Reads safetensors files: our own judge of the header, and one tensor at a time as float32.

The format is eight bytes of length, a JSON header, and raw data. A header may lie about every number in it, so all
are checked before a byte of data is touched. numpy alone suffices; torch is not imported.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuneloop.errors import BadInput, Damaged, Hostile, Missing
from tuneloop.texts import _

# The reference implementation refuses headers above 100 MB; a 400 B parameter model needs about 0.3 MB.
MAX_HEADER = 16 << 20
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "U16": 2, "U32": 4,
    "U64": 8, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
FLOATS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where one tensor lies: `start` and `bytes` are from the beginning of the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    bytes: int

    def load(self, first: int = 0, last: int | None = None) -> npt.NDArray[np.float32]:
        """Rows first..last (default: all) as float32.

        Raises BadInput for a dtype without plain floats, Damaged for values that are no numbers.
        """
        if self.dtype not in FLOATS:
            raise BadInput(
                _("tensor {name} of {file} is {dtype}: only F32, F16 and BF16 weights can be converted").format(
                    name=self.name, file=self.file.name, dtype=self.dtype
                ),
                fix=_("Use the model's original, unquantised weights."),
            )
        width = math.prod(self.shape[1:])
        rows = (self.shape[0] if last is None else min(last, self.shape[0])) - first if self.shape else 1
        offset = self.start + first * width * SIZES[self.dtype]
        raw = np.fromfile(self.file, FLOATS[self.dtype], rows * width, offset=offset)
        if self.dtype == "BF16":  # bfloat16 is the upper half of a float32
            values: npt.NDArray[np.float32] = (raw.astype(np.uint32) << 16).view(np.float32)
        else:
            values = raw.astype(np.float32)
        if not np.isfinite(values).all():
            raise Damaged(
                _("tensor {name} of {file} has values that are no numbers").format(name=self.name, file=self.file.name),
                fix=_("The weights are broken: copy them again, or tune again with a lower learning rate."),
            )
        return values.reshape((rows, *self.shape[1:]) if self.shape else ())


def header(path: Path) -> dict[str, Tensor]:
    """All tensors of one safetensors file, by name.

    Raises Damaged when it is truncated or no safetensors file, Hostile when its header lies: too large, a tensor
    outside the file, tensors that overlap or leave holes, a size that is not shape x dtype.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(8)
        if len(start) < 8:
            raise _bad(Damaged, path, _("it is too short"))
        length = struct.unpack("<Q", start)[0]
        if length > MAX_HEADER:
            raise _bad(Hostile, path, _("its header would take {n} bytes").format(n=length))
        if 8 + length > size:
            raise _bad(Damaged, path, _("it ends inside its header"))
        raw = handle.read(length)
    try:
        listed = json.loads(raw, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise _bad(Damaged, path, _("its header is not JSON")) from None
    if not isinstance(listed, dict):
        raise _bad(Damaged, path, _("its header is not a JSON object"))
    listed.pop("__metadata__", None)
    found = {name: _tensor(path, name, entry, 8 + length, size) for name, entry in listed.items()}
    _check_cover(path, found, 8 + length, size)
    return found


def folder(path: Path) -> dict[str, Tensor]:
    """All tensors of a model folder, whether one file or several. Raises Missing when it has no safetensors file."""
    files = sorted(path.glob("model*.safetensors"))
    if not files:
        pickles = [p.name for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
        raise Missing(
            _("{path} has no safetensors weights").format(path=path),
            fix=_("Its {names} can run code when opened and is never read; get the safetensors form.").format(
                names=", ".join(pickles)
            )
            if pickles
            else _("Name a folder with config.json, tokenizer.json and *.safetensors."),
        )
    found: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in header(file).items():
            if name in found:
                raise _bad(Damaged, file, _("tensor {name} is also in another file").format(name=name))
            found[name] = tensor
    return found


def _tensor(path: Path, name: str, entry: Any, base: int, size: int) -> Tensor:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError):
        raise _bad(Damaged, path, _("tensor {name} is not described").format(name=name[:80])) from None
    if dtype not in SIZES or not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers) or len(shape) > 8:
        raise _bad(Hostile, path, _("tensor {name} has an impossible size or type").format(name=name[:80]))
    if end - begin != math.prod(shape) * SIZES[dtype] or base + end > size:
        raise _bad(Hostile, path, _("tensor {name} lies about its size").format(name=name[:80]))
    return Tensor(path, name, dtype, tuple(shape), base + begin, end - begin)


def _check_cover(path: Path, found: dict[str, Tensor], start: int, size: int) -> None:
    """Tensors must tile the data exactly: an overlap or a hole can hide what no reader looks at."""
    position = start
    for tensor in sorted(found.values(), key=lambda t: (t.start, t.bytes)):
        if tensor.start != position:
            raise _bad(
                Hostile, path, _("tensor {name} overlaps another or leaves a hole").format(name=tensor.name[:80])
            )
        position += tensor.bytes
    if position != size:
        raise _bad(Hostile, path, _("{n} bytes belong to no tensor").format(n=size - position))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _value in pairs}) != len(pairs):
        raise ValueError("a name is given twice")
    return dict(pairs)


def _bad(kind: type[BadInput], path: Path, reason: str) -> BadInput:
    return kind(
        _("{file} is not a usable safetensors file: {reason}").format(file=path.name, reason=reason),
        fix=_("Copy it again from its source, or ask its author for another one."),
    )
