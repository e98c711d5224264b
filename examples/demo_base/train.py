"""Trains the demo base model that ships in tuneloop/demo/base.

Why it exists: the package must run its whole loop offline on a laptop, so it brings its own base model, and
everybody must be able to make that model again. One free CPU core sees about 14,000 tokens/s (bfloat16
layers, torch.compile), 50 M an hour. The shipped model was made in 63 minutes on a busy machine: 25.6 M tokens,
seven passes over the Russian books and five over the English one, and the held-out loss never rose.
The learning rate follows the share of the budget used, in minutes or in steps; a run with --steps gives the
same losses every time on the same machine.

    python examples/demo_base/train.py --books books/ --out tuneloop/demo/base --minutes 60 --compile
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import card
import chat
import corpus as corpus_module
import torch
from corpus import Corpus, Sampler
from model import bits_per_char, build_model, replace_folder, training_loss, write_folder
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM


@dataclass
class Settings:
    """What decides the result; stored in training.json and in every checkpoint."""

    minutes: float
    steps: int
    seed: int
    threads: int
    vocab: int
    batch: int
    sequence: int
    long_sequence: int
    long_share: float
    dialogues: int
    rate: float
    weight_decay: float = 0.1
    warm_up: float = 0.02  # share of the budget
    final_rate: float = 0.02  # share of the peak rate

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget used: steps if they were given, else wall-clock time."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)

    def learning_rate(self, progress: float) -> float:
        """Linear warm-up, then half a cosine down to final_rate."""
        if progress < self.warm_up:
            return self.rate * max(progress, 1e-3) / self.warm_up
        along = min(1.0, (progress - self.warm_up) / (1 - self.warm_up))
        return self.rate * (self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * along)) / 2)


@dataclass
class State:
    """Where the run stands."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the small base model that ships with tuneloop.")
    parser.add_argument("--books", type=Path, required=True, help="folder of public-domain *.txt books")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--work", type=Path, help="folder for checkpoints (default: OUT with .work added)")
    parser.add_argument("--minutes", type=float, default=60.0, help="time budget of the training loop")
    parser.add_argument("--steps", type=int, default=0, help="step budget; replaces --minutes")
    parser.add_argument("--stop-after", type=int, default=0, help="stop (with a checkpoint) at this step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--compile", action="store_true", help="torch.compile: 20 %% faster, needs a C++ compiler")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=16, help="windows per step at --sequence")
    parser.add_argument("--sequence", type=int, default=256)
    parser.add_argument("--long-sequence", type=int, default=1024, help="window length at the end of the run")
    parser.add_argument("--long-share", type=float, default=0.1, help="share of the budget for long windows")
    parser.add_argument("--dialogues", type=int, default=40_000)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    return parser.parse_args()


def make_optimizer(model: LlamaForCausalLM, settings: Settings) -> torch.optim.AdamW:
    """AdamW; norm weights are not decayed."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), eps=1e-8, fused=True)


def save_checkpoint(
    path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW, settings: Settings, state: State
) -> None:
    """Write a checkpoint beside its place and move it there, so that a crash leaves the older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    data = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**data, "settings": asdict(settings), "state": asdict(state)}, part)
    part.replace(path)


def load_checkpoint(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW, settings: Settings) -> State:
    """Read a checkpoint; a different seed, vocabulary or corpus size would not continue the same run."""
    data = torch.load(path, weights_only=True)
    for name in ("seed", "vocab", "dialogues"):
        if data["settings"][name] != getattr(settings, name):
            raise SystemExit(f"--{name} differs from the checkpoint: {data['settings'][name]}")
    model.load_state_dict(data["model"])
    optimizer.load_state_dict(data["optimizer"])
    return State(**data["state"])


def train_step(
    body: Any, model: LlamaForCausalLM, optimizer: torch.optim.AdamW, windows: torch.Tensor, rate: float
) -> float:
    """One plain optimiser step; returns the loss in nats per token."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = training_loss(body, model.lm_head.weight, windows)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def train(
    model: LlamaForCausalLM,
    sampler: Sampler,
    settings: Settings,
    state: State,
    args: argparse.Namespace,
    held_out: Callable[[], float],
) -> bool:
    """Run to the end of the budget (True) or to --stop-after (False), with checkpoints on the way."""
    optimizer = make_optimizer(model, settings)
    path = checkpoint_path(args)
    if args.resume and path.exists():
        state.__dict__.update(load_checkpoint(path, model, optimizer, settings).__dict__)
        print(f"resumed at step {state.step}", flush=True)
    body = torch.compile(model.model, dynamic=False) if args.compile else model.model
    before, started, saved = state.seconds, time.monotonic(), time.monotonic()
    logged = (started, state.tokens)
    recent: list[float] = []
    while (progress := settings.progress(state.step, state.seconds)) < 1.0:
        if args.stop_after and state.step >= args.stop_after:
            save_checkpoint(path, model, optimizer, settings, state)
            return False
        length = settings.long_sequence if progress >= 1 - settings.long_share else settings.sequence
        size = max(1, settings.batch * settings.sequence // length)
        windows = torch.from_numpy(sampler.batch(state.step, size, length)).long()
        rate = settings.learning_rate(progress)
        recent.append(train_step(body, model, optimizer, windows, rate))
        now = time.monotonic()
        state.step, state.tokens = state.step + 1, state.tokens + size * length
        state.seconds = before + now - started
        if state.step % args.log_every == 0 or state.step == 1:
            speed = (state.tokens - logged[1]) / (now - logged[0])
            loss = sum(recent) / len(recent)
            print(f"step {state.step} loss {loss:.4f} rate {rate:.5f} {speed:.0f} tokens/s", flush=True)
            state.history.append({"step": state.step, "loss": round(loss, 4), "seconds": round(state.seconds)})
            logged, recent = (now, state.tokens), []
        if now - saved > 60 * args.checkpoint_minutes:
            bits = round(held_out(), 4)
            print(f"held-out {bits} bits per character", flush=True)
            state.history.append({"step": state.step, "held_out_bits": bits})
            save_checkpoint(path, model, optimizer, settings, state)
            saved = now
    save_checkpoint(path, model, optimizer, settings, state)
    return True


def checkpoint_path(args: argparse.Namespace) -> Path:
    """Checkpoints lie beside the model folder, not in it: they are five times its size."""
    work: Path = args.work or args.out.with_name(args.out.name + ".work")
    return work / "checkpoint.pt"


def measure(folder: Path, tokenizer: Tokenizer, corpus: Corpus) -> dict[str, float]:
    """Bits per character of the written weights on every held-out text."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return {name: round(bits_per_char(model, tokenizer, text), 4) for name, text in corpus.held_out.items() if text}


def finish(
    model: LlamaForCausalLM, tokenizer: Tokenizer, corpus: Corpus, settings: Settings, state: State, out: Path
) -> None:
    """Write the folder, measure what was written, add the card, and put it in place."""
    new = out.with_name(out.name + ".new")
    if new.exists():
        raise SystemExit(f"{new} is in the way: an earlier run broke off; remove it")
    write_folder(new, model, tokenizer)
    bits = measure(new, tokenizer, corpus)
    keep = max(1, len(state.history) // 100)
    history = [entry for at, entry in enumerate(state.history) if at % keep == 0 or "held_out_bits" in entry]
    record: dict[str, Any] = {
        **asdict(settings),
        **{k: v for k, v in asdict(state).items() if k != "history"},
        "steps": state.step,
        "parameters": sum(p.numel() for p in model.parameters()),
        "config": {k: v for k, v in model.config.to_dict().items() if isinstance(v, int | float | bool)},
        "shares": corpus_module.SHARES,
        "training_chars": corpus.training_chars(),
        "exchanges": sum(len(chat.load_chat_text(lang).exchanges) for lang in chat.LANGUAGES),
        "bits_per_char": bits,
        "history": history,
        "books": corpus.titles,
    }
    card.write_card(new, record)
    replace_folder(new, out)
    print(f"wrote {out}: {bits}", flush=True)


def main() -> None:
    """Make or resume the model."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    names = Settings.__dataclass_fields__
    settings = Settings(**{k: v for k, v in vars(args).items() if k in names})
    corpus = corpus_module.build_corpus(args.books, settings.dialogues, settings.seed)
    stored = checkpoint_path(args).with_name("tokenizer.json")
    if args.resume and stored.exists():
        tokenizer = Tokenizer.from_file(str(stored))
    else:
        tokenizer = corpus_module.train_tokenizer(corpus, settings.vocab)
        stored.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(stored))
    streams = corpus_module.encode_streams(corpus, tokenizer)
    sizes = ", ".join(f"{name} {len(stream.tokens):,}" for name, stream in streams.items())
    print(f"tokens: {sizes}", flush=True)
    model = build_model(tokenizer, settings.vocab)
    state = State()

    def held_out() -> float:
        """Follow the largest held-out text: it would rise if the books were being learnt by heart."""
        return bits_per_char(model, tokenizer, max(corpus.held_out.values(), key=len))

    if train(model, Sampler(streams, settings.seed), settings, state, args, held_out):
        finish(model, tokenizer, corpus, settings, state, args.out)


if __name__ == "__main__":
    main()
