"""Reads the header of a GGUF file (version 2 or 3) without trusting a byte of it.

Loaders have been attacked through exactly these fields: a 49-byte file hangs the `gguf` package's reader, sizes
that overflow gave CVE-2025-53630, its bypass CVE-2026-27940, and offsets past the end of the file CVE-2026-7482.
Python's integers do not overflow; every count and length has a limit before anything is read for it. Work is
bounded by MAX_ELEMENTS (about 0.3 s) and memory by MAX_HEADER.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from tuneloop.engines.gguf_types import TENSOR_TYPES
from tuneloop.errors import Damaged, Hostile, Missing
from tuneloop.texts import _

MAX_HEADER = 64 << 20  # the largest headers known (262,144 tokens with merges) take 20 MB
MAX_ELEMENTS = 2_000_000  # strings of all arrays together; the largest vocabularies have 0.8 million with merges
MAX_KEYS = 4096
MAX_TENSORS = 16_384
MAX_KEY = 512
MAX_TENSOR_NAME = 63  # ggml's own limit, GGML_MAX_NAME - 1
MAX_TEXT = 1 << 20  # a chat template takes up to 50 KB
MAX_TEXTS = 4 << 20  # all single strings together
MAX_ALIGNMENT = 1 << 16

BOOL, STRING, ARRAY = 7, 8, 9
# value type -> struct code
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", BOOL: "B", 10: "Q", 11: "q", 12: "d"}
INTEGERS = {0, 1, 2, 3, 4, 5, 10, 11}

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Listed:
    """An array of the metadata. Numbers are kept only when there are at most 1024; strings never are."""

    type: int
    length: int
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True)
class Tensor:
    type: str
    shape: tuple[int, ...]  # the fastest dimension first, as ggml writes it
    offset: int  # from the start of the data
    bytes: int


@dataclass(slots=True)
class Header:
    """What the file says of itself. `metadata` values are Scalars or `Listed`."""

    version: int = 0
    alignment: int = 32
    data_start: int = 0
    metadata: dict[str, Scalar | Listed] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)  # value type of each key
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str, default: int = 0) -> int:
        """An integer of "<architecture>.<key>"; the largest of them when there is one per layer."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, Listed):
            return max((int(v) for v in value.values), default=default)
        return int(value)

    @property
    def weights(self) -> int:
        """How many numbers its tensors hold."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def main_type(self) -> str:
        """The type that takes most of its bytes, as "q4_k"; "" without tensors."""
        taken: dict[str, int] = {}
        for tensor in self.tensors.values():
            taken[tensor.type] = taken.get(tensor.type, 0) + tensor.bytes
        return max(taken, key=lambda kind: taken[kind], default="").lower()

    def cache_bytes(self, context: int) -> int:
        """Bytes of a 16-bit key-value cache for `context` tokens, from above."""
        heads = max(self.number("attention.head_count", 1), 1)
        width = self.number("embedding_length") // heads
        width = self.number("attention.key_length", width) + self.number("attention.value_length", width)
        return 2 * context * self.number("block_count") * self.number("attention.head_count_kv", heads) * width


def read(path: Path) -> Header:
    """Read the header of `path`. Raises Missing, Damaged (truncated, not GGUF) or Hostile (beyond every limit)."""
    if not path.exists():
        raise Missing(
            _("there is no file {path}").format(path=path), fix=_("Check the name; `tuneloop pack` makes GGUF files.")
        )
    if not path.is_file():  # a named pipe would make us wait for ever
        refuse(path, _("it is not a regular file"), Damaged)
    with path.open("rb") as file:
        return _read(_Bytes(file, path))


def refuse(path: Path, reason: str, kind: type[Damaged] | type[Hostile]) -> NoReturn:
    """Raise the one sentence that every refusal of a model file is."""
    raise kind(
        _("{path} is refused: {reason}").format(path=path.name, reason=reason),
        fix=_("Fetch or make the file again; nothing of it was loaded."),
    )


class _Bytes:
    """The beginning of the file, read as far as it is needed and never beyond MAX_HEADER."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.buffer = bytearray()
        self.at = 0
        self.elements = 0
        self.texts = 0

    def need(self, count: int) -> int:
        """Make `count` more bytes available; returns where they start and moves behind them."""
        end = self.at + count
        if end > len(self.buffer):
            if end > MAX_HEADER:
                self.hostile(_("its header claims more than {mb} MB").format(mb=MAX_HEADER >> 20))
            while end > len(self.buffer):  # in pieces, so that the header is never in memory twice
                piece = self.file.read(1 << 20)
                if not piece:
                    refuse(self.path, _("it ends in the middle of its header"), Damaged)
                self.buffer += piece
        start, self.at = self.at, end
        return start

    def number(self, code: str) -> int | float:
        layout = struct.Struct("<" + code)
        value: int | float = layout.unpack_from(self.buffer, self.need(layout.size))[0]
        return value

    def count(self, code: str, limit: int, what: str) -> int:
        value = int(self.number(code))
        if value > limit:
            self.hostile(_("it claims {n} {what}, more than {limit}").format(n=value, what=what, limit=limit))
        return value

    def text(self, limit: int, what: str) -> str:
        length = self.count("Q", limit, _("bytes in {what}").format(what=what))
        self.texts += length
        if self.texts > MAX_TEXTS:
            self.hostile(_("it holds more than {mb} MB of text").format(mb=MAX_TEXTS >> 20))
        start = self.need(length)
        try:
            return self.buffer[start : start + length].decode("utf-8")
        except UnicodeDecodeError:
            return refuse(self.path, _("{what} is not UTF-8").format(what=what), Damaged)

    def hostile(self, reason: str) -> NoReturn:
        refuse(self.path, reason, Hostile)


def _read(data: _Bytes) -> Header:
    header = Header(version=_version(data))
    tensors = data.count("Q", MAX_TENSORS, _("tensors"))
    keys = data.count("Q", MAX_KEYS, _("keys"))
    for _n in range(keys):
        key = data.text(MAX_KEY, _("a key"))
        if not key or not key.isprintable():
            data.hostile(_("it has a key without a readable name"))
        if key in header.metadata:
            data.hostile(_("the key {key} is there twice").format(key=key))
        kind = int(data.number("I"))
        header.types[key] = kind
        header.metadata[key] = _array(data, key) if kind == ARRAY else _scalar(data, kind, key)
    header.alignment = _alignment(data, header)
    for _n in range(tensors):
        name = data.text(MAX_TENSOR_NAME, _("the name of a tensor"))
        if name in header.tensors:
            data.hostile(_("the tensor {name} is there twice").format(name=name))
        header.tensors[name] = _tensor(data, name)
    header.data_start = -(-data.at // header.alignment) * header.alignment
    return header


def _version(data: _Bytes) -> int:
    start = data.need(4)
    magic = bytes(data.buffer[start : start + 4])
    if magic != b"GGUF":
        code = {b"PK\x03\x04": _("a zip archive"), b"\x80\x02": _("a pickle"), b"\x80\x04": _("a pickle")}
        guess = next((what for sign, what in code.items() if magic.startswith(sign)), "")
        if guess:  # PyTorch checkpoints are both, and both can run code when opened
            data.hostile(_("it is {guess}, not a GGUF file, and may hold code").format(guess=guess))
        refuse(data.path, _("it is not a GGUF file"), Damaged)
    version = int(data.number("I"))
    if version & 0xFFFF == 0:
        refuse(data.path, _("it was made for a big-endian machine"), Damaged)
    if version not in (2, 3):
        refuse(data.path, _("its GGUF version is {n}; 2 and 3 are known").format(n=version), Damaged)
    return version


def _scalar(data: _Bytes, kind: int, key: str) -> Scalar:
    if kind == STRING:
        return data.text(MAX_TEXT, key)
    if kind not in SCALARS:
        data.hostile(_("the key {key} has the unknown type {kind}").format(key=key, kind=kind))
    value = data.number(SCALARS[kind])
    if kind == BOOL and value not in (0, 1):
        data.hostile(_("the key {key} is neither true nor false").format(key=key))
    return bool(value) if kind == BOOL else value


def _array(data: _Bytes, key: str) -> Listed:
    kind = int(data.number("I"))
    if kind != STRING and kind not in SCALARS:  # arrays of arrays are allowed by the format, and used by nobody
        data.hostile(_("the key {key} is a list of the unknown type {kind}").format(key=key, kind=kind))
    length = data.count("Q", MAX_ELEMENTS, _("entries in {key}").format(key=key))
    data.elements += length
    if data.elements > MAX_ELEMENTS:
        data.hostile(_("its lists have more than {n} entries").format(n=MAX_ELEMENTS))
    if kind == STRING:
        _skip_strings(data, length, key)
        return Listed(kind, length)
    start = data.need(length * struct.calcsize("<" + SCALARS[kind]))
    short = struct.unpack_from(f"<{length}{SCALARS[kind]}", data.buffer, start) if length <= 1024 else ()
    return Listed(kind, length, short)


def _skip_strings(data: _Bytes, count: int, key: str) -> None:
    # The only loop that runs a million times, so it steps through the buffer itself: 0.3 s instead of 1.1 s.
    size_of = struct.Struct("<Q").unpack_from
    buffer, at = data.buffer, data.at
    for _n in range(count):
        if at + 8 > len(buffer):
            data.at = at
            data.need(8)
        size = size_of(buffer, at)[0]
        if size > MAX_TEXT:
            data.hostile(_("an entry of {key} claims {n} bytes").format(key=key, n=size))
        at += 8 + size
    data.at = at
    data.need(0)


def _alignment(data: _Bytes, header: Header) -> int:
    key = "general.alignment"
    value = header.metadata.get(key, 32)
    if header.types.get(key, 4) != 4 or not isinstance(value, int):
        data.hostile(_("its alignment is not an unsigned number"))
    if not 8 <= value <= MAX_ALIGNMENT or value & (value - 1):
        data.hostile(_("its alignment is {n}, not a power of two from 8 to 65536").format(n=value))
    return value


def _tensor(data: _Bytes, name: str) -> Tensor:
    dimensions = int(data.number("I"))
    if not 1 <= dimensions <= 4:
        data.hostile(_("the tensor {name} has {n} dimensions").format(name=name, n=dimensions))
    shape = tuple(int(data.number("Q")) for _n in range(dimensions))
    kind, offset = int(data.number("I")), int(data.number("Q"))
    if kind not in TENSOR_TYPES:
        data.hostile(_("the tensor {name} has the unknown type {kind}").format(name=name, kind=kind))
    label, block, block_bytes = TENSOR_TYPES[kind]
    total = 1
    for extent in shape:
        total *= extent
        if not 1 <= total < 1 << 48:  # 281 terabytes of bytes: nobody's model, and no overflow in anybody's integer
            data.hostile(_("the tensor {name} has an impossible shape").format(name=name))
    if shape[0] % block:
        data.hostile(_("the rows of the tensor {name} do not fit its type {kind}").format(name=name, kind=label))
    return Tensor(label, shape, offset, total // block * block_bytes)
