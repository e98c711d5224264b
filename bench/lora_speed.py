"""LoRA tokens per second on this CPU: `tuneloop tune` beside peft + transformers.Trainer, same model, data, steps.

All contestants get the same token ids and labels, the same number of optimiser steps an epoch, learning rate,
schedule, clipping and thread count; no canaries. Tokens are real tokens of the examples (no padding) a second of
the training loop; setting up and evaluating are not counted for anybody. The final loss is taken for all by one
plain float32 forward pass over the same held-out examples.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from tuneloop.tune import fit, lora, model, packing, template, tokens
from tuneloop.tune import run as runs
from tuneloop.tune.folder import DEMO_BASE, inspect
from tuneloop.tune.options import Options
from tuneloop.workspace import Workspace, open_workspace

SAMPLE = DEMO_BASE.parent / "community" / "result.json"


@dataclass(frozen=True)
class Task:
    """One comparison: a base model, examples, and the options all contestants share."""

    workspace: Workspace
    base: Path
    dataset: Path
    corpus: tokens.Corpus
    options: Options
    batch: int  # examples of a step for those who count examples

    @property
    def real_tokens(self) -> int:
        return self.corpus.tokens * self.options.epochs


@dataclass(frozen=True)
class Outcome:
    """Tokens a second by the clock and by the processor's time, steps, held-out loss (nats per answer token)."""

    speed: float
    cpu_speed: float
    steps: int
    loss: float


def prepare(folder: Path, base: Path, dataset: Path, options: Options) -> Task:
    """Encode a dataset for a base, and find the batch size that makes Trainer take as many steps as we do."""
    checked = template.check(base)
    corpus, _card = tokens.load(dataset, model.load_tokenizer(base, checked), checked, max_length=options.max_length)
    lengths = [len(e.ids) for e in corpus.train]
    # A step of ours is so many tokens, one of theirs so many examples: widen ours until both count the same steps.
    for size in range(options.batch_tokens, 2 * options.batch_tokens, 16):
        steps = len(packing.plan(lengths, tokens=size, seed=options.seed, epoch=0))
        batch = math.ceil(len(lengths) / steps)
        if math.ceil(len(lengths) / batch) == steps:
            break
    return Task(open_workspace(folder, create=True), base, dataset, corpus, replace(options, batch_tokens=size), batch)


def tuneloop(task: Task) -> Outcome:
    """The product's own loop, from the dataset folder to the registered version."""
    version = lora.train(task.workspace, task.dataset, task.base, options=task.options, name="bench", again=True)
    figures = runs.metrics(task.workspace.path / version.meta["run"])
    tuned, _tokenizer = model.load_version(task.workspace, version)
    speeds = (figures["tokens_per_second"], figures["tokens_per_cpu_second"])
    return Outcome(*speeds, figures["steps"], held_out_loss(tuned, task.corpus.validation))


def trainer(task: Task, **precision: bool) -> Outcome:
    """peft + transformers.Trainer as their documentation shows them: padded batches, shuffled."""
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Stopwatch(TrainerCallback):
        started = seconds = cpu_started = cpu_seconds = 0.0

        def on_train_begin(self, *_arguments: Any, **_more: Any) -> None:
            self.started, self.cpu_started = time.perf_counter(), time.process_time()

        def on_train_end(self, *_arguments: Any, **_more: Any) -> None:
            self.seconds = time.perf_counter() - self.started
            self.cpu_seconds = time.process_time() - self.cpu_started

    options = task.options
    torch.manual_seed(options.seed)
    with model.quiet_peft():
        wrapped = get_peft_model(
            model.load_model(task.base),
            LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
    rows = [{"input_ids": e.ids, "labels": [-100] * e.start + e.ids[e.start :]} for e in task.corpus.train]
    arguments = TrainingArguments(
        output_dir=str(task.workspace.path / "trainer"),
        use_cpu=True,
        per_device_train_batch_size=task.batch,
        num_train_epochs=options.epochs,
        learning_rate=options.rate_for(inspect(task.base).parameters),
        lr_scheduler_type="cosine",
        warmup_steps=options.warm_up,
        max_grad_norm=options.clip,
        seed=options.seed,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **precision,
    )
    watch = Stopwatch()
    trainer_ = Trainer(model=wrapped, args=arguments, train_dataset=rows, data_collator=_pad, callbacks=[watch])
    trainer_.train()
    loss = held_out_loss(wrapped.float().eval(), task.corpus.validation)
    speeds = (task.real_tokens / watch.seconds, task.real_tokens / watch.cpu_seconds)
    return Outcome(*speeds, trainer_.state.global_step, loss)


def _pad(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)

    def rectangle(key: str, filler: int) -> torch.Tensor:
        return torch.tensor([row[key] + [filler] * (width - len(row[key])) for row in rows])

    ids = rectangle("input_ids", 0)
    mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": rectangle("labels", -100)}


@torch.no_grad()
def held_out_loss(loaded: Any, examples: list[tokens.Encoded]) -> float:
    """Mean -log p of answer tokens by the model's ordinary forward pass, one example at a time."""
    total = 0.0
    for example in examples:
        logits = loaded(input_ids=torch.tensor([example.ids])).logits[0, example.start - 1 : -1].float()
        total += float(functional.cross_entropy(logits, torch.tensor(example.ids[example.start :]), reduction="sum"))
    return total / sum(len(e.ids) - e.start for e in examples)


def compare(task: Task, contestants: dict[str, Callable[[Task], Outcome]], rounds: int) -> None:
    """Run the contestants in turns and print medians; the ratio is the median of each round's own ratio."""
    found: dict[str, list[Outcome]] = {name: [] for name in contestants}
    for _round in range(rounds):
        for name, contestant in contestants.items():
            found[name].append(contestant(task))
            print(f"  {name}: {found[name][-1].speed:.0f} tokens/s", flush=True)
    ours = found["tuneloop"]
    train = task.corpus.train
    print(f"{len(train)} examples, {task.corpus.tokens} tokens an epoch, {task.options.threads} thread(s), "
          f"{rounds} round(s)")  # fmt: skip
    print(f"{'':28}{'tokens/s':>9}{'per CPU s':>11}{'tuneloop is':>22}{'steps':>7}{'held-out loss':>15}{'ours':>8}")
    for name, outcomes in found.items():
        pairs = list(zip(ours, outcomes, strict=True))
        ratio = statistics.median(a.speed / b.speed for a, b in pairs)
        cpu_ratio = statistics.median(a.cpu_speed / b.cpu_speed for a, b in pairs)
        apart = statistics.median(a.loss / b.loss - 1 for a, b in pairs)
        speed = statistics.median(o.speed for o in outcomes)
        cpu_speed = statistics.median(o.cpu_speed for o in outcomes)
        loss = statistics.median(o.loss for o in outcomes)
        times = f"{ratio:.2f}x ({cpu_ratio:.2f}x CPU)"
        print(f"{name:28}{speed:9.0f}{cpu_speed:11.0f}{times:>22}{outcomes[0].steps:7d}{loss:15.4f}{apart:+8.2%}")


def sample(workspace: Workspace) -> Path:
    """The dataset folder of the shipped sample chat."""
    from tuneloop.collect import dataset, imports

    imports.import_export(workspace, SAMPLE)
    return dataset.build(workspace, name="sample")


CONTESTANTS: dict[str, Callable[[Task], Outcome]] = {
    "peft + Trainer (fp32)": trainer,
    "peft + Trainer (bf16=True)": lambda task: trainer(task, bf16=True),
    "tuneloop": tuneloop,
}


def run() -> None:
    """The shipped demo base on the shipped sample chat: one epoch, 3 rounds."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = open_workspace(Path(scratch) / "work", create=True)
        built = sample(workspace)
        threads = fit.measure(inspect(DEMO_BASE), Options()).threads
        options = Options(patience=0, threads=threads, epochs=1, canaries=0)
        torch.set_num_threads(threads)
        compare(prepare(workspace.path, DEMO_BASE, built, options), CONTESTANTS, rounds=3)
