"""A tokenizer as llama.cpp must be told it: token list, types, merges or scores, special ids, chat template.

llama.cpp splits text before merging by rules it knows by name ("gpt-2", "llama-bpe", ...). The name is recognised
from the definition in tokenizer.json itself, not from a hash of a sample text: a retrained tokenizer with a known
rule works, an unknown rule is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneloop.texts import _
from tuneloop.tune.shapes import unsupported

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.cpp's token types

_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START = r"[^\r\n\p{L}\p{N}]?"
# the splitting expression in tokenizer.json -> llama.cpp's name of it
SPLITS = {
    _WORDS + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL: "llama-bpe",
    _WORDS + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL: "qwen2",
    f"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*"
    + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL: "tekken",
}  # fmt: skip


@dataclass
class Vocabulary:
    """`fields` are GGUF keys (without "tokenizer."); `notes` are sentences for people."""

    tokens: list[str]
    types: list[int]
    fields: dict[str, int | float | str | bool]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan(folder: Path, rows: int) -> Vocabulary:
    """Read the tokenizer of a Hugging Face folder for a model with `rows` embedding rows.

    Raises BadInput naming what llama.cpp could not reproduce.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise unsupported(_("a tokenizer without tokenizer.json"))
    definition = json.loads(backend.to_str())
    model = definition["model"]
    if model["type"] != "BPE":
        raise unsupported(_("a {kind} tokenizer").format(kind=model["type"]))
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise unsupported(_("a tokenizer with {key}").format(key=key))
    found = _sentencepiece(definition) if model.get("byte_fallback") else _byte_level(definition)
    _pad(found, rows)
    _special(found, tokenizer)
    if starts_first(definition) and _begins_with_token(tokenizer):
        # llama.cpp puts the space behind every special token or nowhere: for prompts that begin with one, nowhere
        found.fields["ggml.add_space_prefix"] = False
        found.notes.append(_("a text without chat template is split as if it followed a special token"))
    return found


def starts_first(definition: dict[str, Any]) -> bool:
    """Whether only the very beginning of a text gets a space in front, as newer Llama tokenizers do."""
    pre = definition.get("pre_tokenizer") or {}
    return pre.get("type") == "Metaspace" and pre.get("prepend_scheme") == "first"


def _begins_with_token(tokenizer: Any) -> bool:
    if not tokenizer.chat_template:
        return False
    text = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    return any(text.startswith(token) for token in tokenizer.get_added_vocab())


def _byte_level(definition: dict[str, Any]) -> Vocabulary:
    model = definition["model"]
    pre = _splitting(definition)
    normalizer = definition.get("normalizer")
    if normalizer not in (None, {"type": "NFC"}) and normalizer != {"type": "Sequence", "normalizers": []}:
        raise unsupported(_("the text normaliser {kind}").format(kind=normalizer.get("type")))
    if model.get("ignore_merges") and pre not in ("llama-bpe", "tekken"):
        raise unsupported(_("a tokenizer with ignore_merges"))
    found = _tokens(definition, NORMAL)
    found.fields |= {"ggml.model": "gpt2", "ggml.pre": pre}
    pairs = _pairs(model)
    if any(" " in part for pair in pairs for part in pair):
        raise unsupported(_("a tokenizer whose merges contain spaces"))
    found.merges = [" ".join(pair) for pair in pairs]
    if normalizer:
        found.notes.append(
            _("the tokenizer composes letters and accents (NFC): tuneloop does so before it asks, Ollama does not")
        )
    return found


def _splitting(definition: dict[str, Any]) -> str:
    pre = definition.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", []) if pre.get("type") == "Sequence" else [pre]
    kinds = [s.get("type") for s in steps]
    levels = [s for s in steps if s.get("type") == "ByteLevel"]
    if kinds[-1:] == ["ByteLevel"] and not levels[0].get("add_prefix_space"):
        if kinds == ["ByteLevel"] and levels[0].get("use_regex", True):
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and levels[0].get("use_regex", True):
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and not levels[0].get("use_regex", True):
            split = steps[0]
            name = SPLITS.get(split["pattern"].get("Regex", ""))
            if (
                name
                and split["behavior"] in ("Isolated", "Removed")
                and split["invert"] == (split["behavior"] == "Removed")
            ):
                return name
    shown = json.dumps(pre, ensure_ascii=False)
    raise unsupported(_("this way of splitting text into words: {rule}").format(rule=shown[:200]))


def _sentencepiece(definition: dict[str, Any]) -> Vocabulary:
    """BPE with byte fallback: sentencepiece's algorithm, which merges by the score of the result, best first."""
    model = definition["model"]
    found = _tokens(definition, NORMAL)
    for i, token in enumerate(found.tokens):
        if re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            found.types[i] = BYTE
    if found.types.count(BYTE) != 256:
        raise unsupported(_("a sentencepiece tokenizer without all 256 byte tokens"))
    if (unknown := model.get("unk_token")) in model["vocab"]:
        found.types[model["vocab"][unknown]] = UNKNOWN
    rank: dict[str, int] = {}
    pairs = _pairs(model)
    for position, (left, right) in enumerate(pairs):
        rank.setdefault(left + right, position)
    found.scores = [
        0.0 if kind != NORMAL else -float(rank.get(token, len(pairs)))
        for token, kind in zip(found.tokens, found.types, strict=True)
    ]
    found.fields |= {
        "ggml.model": "llama",
        "ggml.pre": "default",
        "ggml.add_space_prefix": _space_prefix(definition),
        "ggml.remove_extra_whitespaces": False,
    }
    return found


def _space_prefix(definition: dict[str, Any]) -> bool:
    """Whether a text gets a space in front. Raises BadInput for anything but spaces written as U+2581."""
    normalizer = definition.get("normalizer") or {"type": "Sequence", "normalizers": []}
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    prefix = False
    for step in steps:
        if step["type"] == "Prepend" and step["prepend"] == "▁":
            prefix = True
        elif not (step["type"] == "Replace" and step["pattern"] == {"String": " "} and step["content"] == "▁"):
            raise unsupported(_("the text normaliser {kind}").format(kind=step["type"]))
    pre = definition.get("pre_tokenizer")
    if pre is None or (pre["type"] == "Split" and pre["pattern"] == {"String": " "} and steps):
        return prefix
    if pre["type"] == "Metaspace" and not pre.get("split", True):
        return prefix or pre.get("prepend_scheme", "always") != "never"
    raise unsupported(
        _("this way of splitting text into words: {rule}").format(rule=json.dumps(pre, ensure_ascii=False)[:200])
    )


def _pairs(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Merges in either spelling: "a b" or ["a", "b"]."""
    split = (m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"])
    return [(left, right) for left, right in split]


def _tokens(definition: dict[str, Any], kind: int) -> Vocabulary:
    vocab = {index: token for token, index in definition["model"]["vocab"].items()}
    added = {entry["id"]: entry for entry in definition.get("added_tokens", [])}
    size = max([*vocab, *added]) + 1
    tokens, types = [], []
    for i in range(size):
        if i in added:
            if added[i].get("lstrip") or added[i].get("rstrip"):
                raise unsupported(_("the added token {name}, which eats spaces").format(name=added[i]["content"]))
            tokens.append(added[i]["content"])
            types.append(CONTROL if added[i].get("special") else USER_DEFINED)
        elif i in vocab:
            tokens.append(vocab[i])
            types.append(kind)
        else:
            tokens.append(f"[PAD{i}]")
            types.append(UNUSED)
    return Vocabulary(tokens, types, {})


def _pad(found: Vocabulary, rows: int) -> None:
    """Embedding rows beyond the vocabulary get names; a vocabulary beyond the rows cannot work."""
    if len(found.tokens) > rows:
        raise unsupported(_("a tokenizer with {n} tokens for {rows} rows").format(n=len(found.tokens), rows=rows))
    for i in range(len(found.tokens), rows):
        found.tokens.append(f"[PAD{i}]")
        found.types.append(UNUSED)
        if found.scores:
            found.scores.append(0.0)


def _special(found: Vocabulary, tokenizer: Any) -> None:
    """Ids of special tokens, whether a text begins with BOS, the chat template, and what ends an answer."""
    for key in ("bos", "eos", "unk"):
        if (index := getattr(tokenizer, f"{key}_token_id")) is not None:
            found.fields[f"ggml.{key}_token_id"] = int(index)
    if tokenizer.pad_token_id is not None:
        found.fields["ggml.padding_token_id"] = int(tokenizer.pad_token_id)
    bos = tokenizer.bos_token
    begins = bool(bos) and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\x00"}]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        # llama.cpp puts BOS in front of every prompt or of none: the prompts the model was tuned on decide
        begins = bool(bos) and text.startswith(bos)
        end = text.partition("\x00")[2]
        for token, index in tokenizer.get_added_vocab().items():
            if end.strip().startswith(token) and index != tokenizer.eos_token_id:
                found.fields["ggml.eot_token_id"] = int(index)
        found.fields["chat_template"] = without_generation_tags(template_text(tokenizer))
    found.fields["ggml.add_bos_token"] = begins
    found.fields["ggml.add_eos_token"] = False


def template_text(tokenizer: Any) -> str:
    """The tokenizer's default chat template."""
    template = tokenizer.chat_template
    return str(template["default"] if isinstance(template, dict) else template)


def without_generation_tags(template: str) -> str:
    """Replace the trainer's {% generation %} marks by blocks that do nothing, so that white space stays as it was."""
    template = re.sub(r"\{%([-+]?)\s*generation\s*([-+]?)%\}", r"{%\1 if true \2%}", template)
    return re.sub(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", r"{%\1 endif \2%}", template)
