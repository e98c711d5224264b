"""A base model's folder, looked at without loading: config.json and safetensors headers.

Only local folders with safetensors: a model file is code, and a pickle runs it. Everything that can be known
from the headers is checked before a byte of weights is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop.errors import BadInput, Damaged, Hostile, Missing
from tuneloop.texts import _
from tuneloop.tune import weights

DEMO_BASE = Path(__file__).parents[1] / "demo" / "base"  # ships with the package
# config.json's model_type -> what people call it; others are refused until their parity is tested
SHAPES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3",
}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, slots=True)
class Base:
    """What a base model is, read from its headers. Sizes in elements, `bytes` of the weight files on disk."""

    folder: Path
    shape: str
    parameters: int
    bytes: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    linear: int  # parameters of the linear layers that LoRA wraps


def inspect(folder: Path) -> Base:
    """Look at a base model without loading it.

    Raises Missing when the folder is not there, BadInput when it is no causal language model of a known shape,
    Hostile when its weights are pickles, Damaged when a header does not fit its file.
    """
    folder = folder.expanduser().absolute()
    config = _config(folder)
    tensors = {name: tensor.shape for name, tensor in _tensors(folder).items()}
    if not (folder / "tokenizer.json").exists() and not (folder / "tokenizer.model").exists():
        raise BadInput(
            _("{folder} has no tokenizer (tokenizer.json or tokenizer.model)").format(folder=folder),
            fix=_("Copy the tokenizer files of the same model into the folder."),
        )
    hidden, vocabulary = int(config["hidden_size"]), int(config["vocab_size"])
    embedding = tensors.get("model.embed_tokens.weight")
    if embedding != (vocabulary, hidden):
        raise Damaged(
            _("{folder}: the weights do not fit config.json (embedding {found}, expected {expected})").format(
                folder=folder, found=embedding, expected=(vocabulary, hidden)
            ),
            fix=_("Download or export the model again; config.json and weights belong together."),
        )
    heads = int(config["num_attention_heads"])
    return Base(
        folder=folder,
        shape=str(config["model_type"]),
        parameters=sum(math.prod(shape) for shape in tensors.values()),
        bytes=sum(file.stat().st_size for file in weight_files(folder)),
        hidden=hidden,
        intermediate=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        vocabulary=vocabulary,
        context=int(config.get("max_position_embeddings") or 2048),
        linear=sum(math.prod(s) for name, s in tensors.items() if name.endswith("_proj.weight")),
    )


def fingerprint(folder: Path) -> str:
    """sha256 over everything of a base model that decides its outputs: config, weights, tokenizer, template."""
    names = {"config.json", "chat_template.jinja", "chat_template.json", *TOKENIZER_FILES}
    files = sorted(p for p in folder.iterdir() if p.name in names or p.suffix == ".safetensors")
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            total.update(f"{hashlib.file_digest(handle, 'sha256').hexdigest()}  {file.name}\n".encode())
    return total.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder. Raises Hostile for pickles, BadInput when there are none."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(_json(index).get("weight_map", {}).values()))
        files = [folder / str(name) for name in names if Path(str(name)).name == name]
        if len(files) == len(names) and files and all(file.is_file() for file in files):
            return files
        raise Damaged(
            _("{index} names files that are not in the folder").format(index=index),
            fix=_("Download the missing weight files of the model."),
        )
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    if pickles:
        raise Hostile(
            _("{folder} keeps its weights in {file}, a format that runs code when it is opened").format(
                folder=folder, file=pickles[0]
            ),
            fix=_("Take the same model with model.safetensors files."),
        )
    raise BadInput(
        _("{folder} has no model.safetensors").format(folder=folder),
        fix=_("Give the folder of a Hugging Face model with safetensors weights."),
    )


def _tensors(folder: Path) -> dict[str, weights.Tensor]:
    found = {name: t for file in weight_files(folder) for name, t in weights.header(file).items()}
    for tensor in found.values():
        if tensor.dtype not in weights.FLOATS:
            raise BadInput(
                _("{file} holds {kind} weights; an adapter needs bf16, f16 or f32").format(
                    file=tensor.file, kind=tensor.dtype
                ),
                fix=_("Take the same model without quantisation."),
            )
    return found


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise Missing(
            _("there is no model folder {folder}").format(folder=folder),
            fix=_("Give the folder of a Hugging Face model with --base; without it the demo base is used."),
        )
    if not (folder / "config.json").exists():
        raise BadInput(
            _("{folder} is not a model folder: it has no config.json").format(folder=folder),
            fix=_("Give the folder that holds config.json, model.safetensors and tokenizer.json."),
        )
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    known = ", ".join(SHAPES.values())
    if kind not in SHAPES or not any(str(a).endswith("ForCausalLM") for a in config.get("architectures") or ()):
        raise BadInput(
            _("{folder} is a '{kind}' ({architectures}), which cannot be tuned here").format(
                folder=folder, kind=kind, architectures=", ".join(map(str, config.get("architectures") or ())) or "?"
            ),
            fix=_("Take a causal language model of one of these shapes: {known}.").format(known=known),
        )
    if config.get("quantization_config"):
        raise BadInput(
            _("{folder} is quantised; an adapter needs the unquantised weights").format(folder=folder),
            fix=_("Take the same model without quantisation (bf16, f16 or f32)."),
        )
    needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    wrong = [key for key in needed if not isinstance(config.get(key), int) or not 0 < config[key] < 1 << 22]
    if wrong:
        raise Damaged(
            _("{folder}/config.json: '{key}' is missing or senseless").format(folder=folder, key=wrong[0]),
            fix=_("Download or export the model again."),
        )
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise Damaged(
            _("{path} is not valid JSON").format(path=path), fix=_("Download or export the model again.")
        ) from problem
    return content if isinstance(content, dict) else {}
