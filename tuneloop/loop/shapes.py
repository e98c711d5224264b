"""What a model is, before it is loaded or even fetched: from the shipped list, a GGUF file, a folder, or Ollama.

shape = listed()["qwen3:0.6b"]
shape.file_bytes("q4_K_M"), shape.cache_bytes(2048)
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tuneloop.engines import gguf_check
from tuneloop.errors import BadInput, Missing
from tuneloop.texts import _

LIST = Path(__file__).with_name("small_models.toml")
QUANTS = ("q4_K_M", "q5_K_M", "q6_K", "q8_0", "f16")
# Bits per weight, as `tune.quantise` mixes its types: of the layers, of an output that is also the embedding, of an
# embedding that is not; then the same three for widths that 256 does not divide. Within 3 % of that rule (a test).
_BITS: dict[str, tuple[float, float, float, float, float, float]] = {
    "q4_K_M": (4.82, 6.5625, 4.5, 5.47, 8.5, 5.5),
    "q5_K_M": (5.65, 6.5625, 5.5, 6.09, 8.5, 6.0),
    "q6_K": (6.5625, 6.5625, 6.5625, 8.0, 8.5, 8.5),
    "q8_0": (8.5, 8.5, 8.5, 8.5, 8.5, 8.5),
    "f16": (16.0, 16.0, 16.0, 16.0, 16.0, 16.0),
}

Source = Literal["list", "file", "folder", "ollama"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes in elements. bytes: on this disk already, 0 when it has to be fetched; quant: of that file."""

    name: str
    source: Source
    parameters: int
    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    tied: bool = True
    window: int = 0
    window_layers: int = 0
    licence: str = ""
    ollama: str = ""
    quant: str = ""
    bytes: int = 0
    path: str = ""

    def file_bytes(self, quant: str) -> int:
        """Bytes of a GGUF file in this quantisation: an estimate, but for the file that is here."""
        if self.bytes and quant == self.quant:
            return self.bytes
        layers, output, embedding = _BITS[quant][:3] if self.hidden % 256 == 0 else _BITS[quant][3:]
        table = self.vocabulary * self.hidden
        rest = self.parameters - table * (1 if self.tied else 2)
        size = rest * layers + table * output + (0 if self.tied else table * embedding)
        return int(size / 8) + 40 * self.vocabulary  # the header lists its tokens: 6 MB for 151,936

    def cache_bytes(self, context: int) -> int:
        """Bytes of a 16-bit key-value cache for so many tokens."""
        token = 2 * 2 * self.kv_heads * self.head_dim
        near = self.window_layers * min(context, self.window)
        return token * ((self.layers - self.window_layers) * context + near)

    @property
    def quants(self) -> tuple[str, ...]:
        """In which it can be had: those it could be made in, or the one it is in."""
        return (self.quant,) if self.quant else QUANTS


@cache
def listed() -> dict[str, Shape]:
    """The shipped list by name, smallest first."""
    found = {}
    for one in tomllib.loads(LIST.read_text(encoding="utf-8"))["model"]:
        known = {key: value for key, value in one.items() if key not in ("intermediate", "heads")}
        found[one["name"]] = Shape(source="list", **known)
    return found


def dated() -> str:
    """When the list was put together, ISO 8601."""
    return str(tomllib.loads(LIST.read_text(encoding="utf-8"))["date"])


def in_list(name: str) -> Shape | None:
    """The entry of that name, or of that name in Ollama's library, in any case."""
    wanted = name.lower().removeprefix("hf.co/").rpartition("/")[2]
    return next((s for s in listed().values() if wanted and wanted in (s.name.lower(), s.ollama)), None)


def of_file(path: Path) -> Shape:
    """A GGUF file here. Raises Missing, Damaged, Hostile."""
    header = gguf_check.check(path)
    heads = max(header.number("attention.head_count", 1), 1)
    hidden = header.number("embedding_length")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return Shape(
        name=path.name, source="file", parameters=header.weights, layers=header.number("block_count"), hidden=hidden,
        kv_heads=header.number("attention.head_count_kv", heads),
        head_dim=header.number("attention.key_length", hidden // heads),
        vocabulary=getattr(tokens, "length", 0), context=header.number("context_length"),
        tied="output.weight" not in header.tensors, quant=header.main_type,
        bytes=path.stat().st_size, path=str(path), licence=str(header.metadata.get("general.license", "")),
    )  # fmt: skip


def of_folder(folder: Path) -> Shape:
    """A Hugging Face folder here, which `tuneloop tune` and `pack` can make files of. Raises as `tune.folder.inspect`.

    What it would be packed as is estimated; the folder itself is on the disk already.
    """
    from tuneloop.tune.folder import inspect

    base = inspect(folder)
    tables = 2 if base.parameters - base.linear > 1.5 * base.vocabulary * base.hidden else 1
    return Shape(
        name=folder.name, source="folder", parameters=base.parameters, layers=base.layers, hidden=base.hidden,
        kv_heads=base.kv_heads, head_dim=base.head_dim, vocabulary=base.vocabulary, context=base.context,
        tied=tables == 1, path=str(folder),
    )  # fmt: skip


def of_ollama(name: str, told: Mapping[str, Any], size: int) -> Shape:
    """A model that an Ollama has. told: its answer to /api/show. Raises BadInput when it says too little."""
    info, details = told.get("model_info") or {}, told.get("details") or {}
    kind = str(info.get("general.architecture", ""))

    def number(key: str, default: int = 0) -> int:
        value = info.get(f"{kind}.{key}")
        return int(value) if isinstance(value, int | float) else default

    heads, hidden = max(number("attention.head_count", 1), 1), number("embedding_length")
    if not kind or not hidden:
        raise BadInput(_("Ollama does not say what '{name}' is made of").format(name=name[:100]))
    return Shape(
        name=name, source="ollama", parameters=int(info.get("general.parameter_count") or 0),
        layers=number("block_count"), hidden=hidden, kv_heads=number("attention.head_count_kv", heads),
        head_dim=number("attention.key_length", hidden // heads), vocabulary=number("vocab_size"),
        context=number("context_length"), quant=str(details.get("quantization_level") or "?").lower(), bytes=size,
        licence=str(info.get("general.license") or ""), ollama=name,
    )  # fmt: skip


def unknown(name: str) -> Missing:
    """There is no such model: the error."""
    return Missing(
        _("'{name}' is no file, no folder, no model of an Ollama here, and not in the list").format(name=name[:100]),
        fix=_("`tuneloop models fit` shows the list."),
    )
