"""The comparison of `lora_speed` on a model of Qwen2.5-0.5B's shape (random weights), a few steps: it is slow.

What differs from the demo base: matrix products decide, and the head has 151,936 words. Needs 8 GB of memory.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from bench.lora_speed import CONTESTANTS, compare, prepare, sample
from tuneloop.tune import fit
from tuneloop.tune.folder import DEMO_BASE, TOKENIZER_FILES, inspect
from tuneloop.tune.options import Options
from tuneloop.workspace import open_workspace

EXAMPLES = 12


def build(folder: Path) -> Path:
    """Qwen2.5-0.5B from its configuration, random weights in bfloat16, with the demo base's tokenizer."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    for name in (*TOKENIZER_FILES, "chat_template.jinja"):
        if (DEMO_BASE / name).exists() and name != "generation_config.json":
            shutil.copyfile(DEMO_BASE / name, folder / name)
    return folder


def run() -> None:
    """12 examples, one epoch, one round."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = open_workspace(Path(scratch) / "work", create=True)
        base = build(Path(scratch) / "qwen2.5-0.5b-shape")
        threads = fit.measure(inspect(base), Options()).threads
        torch.set_num_threads(threads)
        built = sample(workspace)
        for name, most in (("train.jsonl", EXAMPLES), ("validation.jsonl", 4)):
            lines = (built / name).read_text(encoding="utf-8").splitlines(keepends=True)
            (built / name).write_text("".join(lines[:most]), encoding="utf-8")
        options = Options(patience=0, threads=threads, epochs=1, batch_tokens=512, canaries=0)
        task = prepare(workspace.path, base, built, options)
        compare(task, CONTESTANTS, rounds=1)
