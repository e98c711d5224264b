"""Writes training.json and the model card from the figures the training run measured.

Why a script and not a hand-written card: the card quotes losses, sizes and hours, and they must be those of
the weights that lie beside it.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

CARD = """\
---
license: mit
language: [ru, en]
pipeline_tag: text-generation
---
# tuneloop demo base

A very small language model ({parameters:,} parameters, {bytes:,} bytes of weights in bfloat16). It ships with
tuneloop so that the whole loop (clean chats, tune, measure, export, chat) runs on a laptop, without a download.

**It knows nothing and is not useful for answering questions.** It has seen a few novels and some made-up
small talk. It writes text that looks like Russian or English, keeps the chat format and ends its turns; what
it says is invented. Use it to try the pipeline, and take a real model for real work.

## Shape

LlamaForCausalLM: width {hidden_size}, {num_hidden_layers} layers, {num_attention_heads} heads of {head_dim} \
({num_key_value_heads} key/value heads), feed-forward {intermediate_size}, vocabulary {vocab_size} (byte-level
BPE, GPT-2 pre-tokenizer), tied embeddings, context {max_position_embeddings}. Trained at length {sequence}, \
the last {long_percent} % of the time at length {long_sequence}.

Chat format: ChatML (`<|im_start|>role`, a new line, the text, `<|im_end|>`), system message optional.
`<|im_end|>` ends the text, `<|pad|>` pads, no token is put in front.

## Training

{steps:,} steps, {tokens:,} tokens, {hours:.2f} hours on {threads} CPU thread(s), seed {seed}; made by
`examples/demo_base/train.py`, settings and losses in `training.json`.

| source | characters | share of the tokens seen |
|---|---:|---:|
{sources}

The chat part is written by the project: {exchanges} short exchanges in `examples/demo_base/text/`, multiplied
by a seeded generator into {dialogues:,} dialogues. No real chat was used.

## Held-out loss

Bits per character of the shipped bfloat16 weights, on text left out of training (lower is better; a model
that knows nothing at all needs 8 bits per byte, so about 14.5 per Russian and 8 per English character):

| text | bits per character |
|---|---:|
{losses}

Book passages are cut out of the middle of books whose other pages were trained on. The dialogues come from
the same generator as the training dialogues, so their figure says how well the templates were learnt, not
how well the model talks. The project's own prose is modern and unlike anything in training.

## Licence

Weights, tokenizer and the project's own text: MIT. The books are in the public domain, were read from a
folder and are not part of this package; the same texts are on Project Gutenberg, Wikisource and lib.ru.

## Books ({book_count})

{books}
"""

LABELS = {
    "books_ru": "Russian books",
    "books_en": "English books",
    "own_ru": "the project's own Russian prose",
    "own_en": "the project's own English prose",
    "chat_ru": "Russian dialogues (generator)",
    "chat_en": "English dialogues (generator)",
}


def _books(titles: list[str]) -> str:
    """List the titles, one line per folder."""
    lines = []
    for folder, group in groupby(titles, key=lambda t: t.split(": ", 1)[0]):
        lines.append(f"- {folder}: " + "; ".join(t.split(": ", 1)[1] for t in group))
    return "\n".join(lines)


def write_card(folder: Path, record: dict[str, Any]) -> None:
    """Write training.json and README.md into the model folder."""
    text = json.dumps(record, ensure_ascii=False, indent=1)
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")
    sources = [
        f"| {LABELS[name]} | {chars:,} | {record['shares'][name]:.0%} |"
        for name, chars in record["training_chars"].items()
        if name in record["shares"]
    ]
    bits = record["bits_per_char"]
    losses = [f"| {label} | {bits[name]:.2f} |" for name, label in LABELS.items() if name in bits]
    card = CARD.format(
        **{k: v for k, v in record.items() if isinstance(v, int | float)},
        **record["config"],
        bytes=(folder / "model.safetensors").stat().st_size,
        hours=record["seconds"] / 3600,
        long_percent=round(100 * record["long_share"]),
        sources="\n".join(sources),
        losses="\n".join(losses),
        books=_books(record["books"]),
        book_count=len(record["books"]),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
