"""LoRA on one machine: a visible loop over packed steps, that a kill -9 cannot hurt.

Recipe (Schulman et al. 2025, "LoRA Without Regret"; Hu et al. 2021): rank 16, alpha 32, all linear layers, no
dropout, AdamW, cosine rate with warm-up, loss on answers only; a check against the validation part every quarter
of an epoch decides which adapter is kept and when to stop.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tuneloop import versions
from tuneloop.errors import OutOfResources, Refused
from tuneloop.progress import Progress, silent
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.tune import checkpoint, fit, linear, packing, run, tokens, tracking
from tuneloop.tune.loss import answer_loss
from tuneloop.tune.model import copy_tokenizer, load_model, quiet_peft
from tuneloop.tune.options import Options
from tuneloop.tune.prepare import Job, prepare, relative_dataset, write_config
from tuneloop.workspace import Workspace, write_atomically, write_json

_PROBE, _PROBE_SECONDS = 20, 60.0  # so many first steps, or seconds, tell how long the run would take


@dataclass
class State:
    """Where a run is; kept in its checkpoint as JSON."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # of training steps alone, over all resumed parts
    cpu_seconds: float = 0.0  # the same by the processor's clock, of all threads: what a busy machine leaves alone
    best: float = math.inf
    best_step: int = 0
    stale: int = 0  # checks since the best one
    stopped: str = ""
    tracked: str = ""  # id of the MLflow run
    sent: int = 0  # rows it has
    rows: list[run.Row] = field(default_factory=list)


def train(
    workspace: Workspace,
    dataset: Path,
    base: Path,
    *,
    options: Options | None = None,
    name: str | None = None,
    again: bool = False,
    announce: Callable[[Job], None] = lambda job: None,
    watch: Progress = silent,
) -> Version:
    """Tune an adapter for `base` on a dataset folder and register it as a version of kind "chat".

    announce is called once with everything that was decided, before the model is loaded. The same command again
    goes on where a killed run stopped; a finished run returns its version (unless `again`).

    Raises what `prepare` raises; OutOfResources when the first steps show that max_hours would not do; Refused when
    the loss is no number before there is an adapter to keep; KeyboardInterrupt after Ctrl-C, checkpoint written.
    """
    options = options or Options()
    with workspace.lock("tune"):
        job = prepare(workspace, dataset, base, options=options, name=name, again=again, watch=watch)
        announce(job)
        if job.done:
            return job.done
        write_config(job)
        run.write_environment(job.folder)

        train_set, lengths = job.corpus.train, [len(e.ids) for e in job.corpus.train]
        schedule = [
            (epoch, group)
            for epoch in range(options.epochs)
            for group in packing.plan(lengths, tokens=options.batch_tokens, seed=options.seed, epoch=epoch)
        ]
        every = max(1, len(schedule) // options.epochs // 4)
        check = options.patience > 0 and bool(job.corpus.validation)

        torch.set_num_threads(job.machine.threads)
        model = wrap(job)
        names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
        optimiser = torch.optim.AdamW(parameters, lr=job.rate, weight_decay=0.0, fused=True)
        state, best = resume(job, model, optimiser, names)
        saved = begun = time.monotonic()
        probing = state.step == 0  # a resumed run has shown its speed; refusing it now would lose its work
        parts = job.fit.micro_tokens

        with packing.packed(model), linear.lean(model), interruptible() as interrupted:
            if check and not state.rows:
                before = evaluate(model, job)
                state.rows.append(dict.fromkeys(run.COLUMNS, 0) | {"loss": None, "validation": before})

            for step, (epoch, group) in enumerate(schedule[state.step :], start=state.step + 1):
                if state.stopped:
                    break
                clock, cpu_clock = time.perf_counter(), time.process_time()
                rate = job.rate * shape_of_rate(step, len(schedule), options.warm_up)
                answers = sum(len(train_set[i].ids) - train_set[i].start for i in group)
                total = 0.0
                for part in packing.split(group, lengths, tokens=parts):
                    packed = packing.pack([train_set[i] for i in part], job.machine.device)
                    loss = answer_losses(model, packed) / answers
                    loss.backward()
                    total += loss.item()
                norm = float(torch.nn.utils.clip_grad_norm_(parameters, options.clip))
                if not math.isfinite(total + norm):
                    state.stopped = _("the loss became no number at step {step}").format(step=step)
                    break
                optimiser.param_groups[0]["lr"] = rate
                optimiser.step()
                optimiser.zero_grad()

                state.step = step
                state.tokens += sum(lengths[i] for i in group)
                state.seconds += time.perf_counter() - clock
                state.cpu_seconds += time.process_time() - cpu_clock
                state.rows.append(
                    {"step": step, "epoch": epoch + 1, "tokens": state.tokens, "loss": total, "rate": rate}
                    | {"norm": norm, "seconds": state.seconds, "validation": None}
                )
                watch(_("tuning"), step, len(schedule))

                if check and (step % every == 0 or step == len(schedule)):
                    now = state.rows[-1]["validation"] = evaluate(model, job)
                    if now < state.best:
                        state.best, state.best_step, state.stale = now, step, 0
                        best = adapter_of(model)
                    else:
                        state.stale += 1
                        if state.stale >= options.patience:
                            state.stopped = _("validation loss did not fall any more")
                if probing and (step >= _PROBE or time.monotonic() - begun > _PROBE_SECONDS):
                    refuse_if_slow(job, state)
                    probing = False
                if time.monotonic() - saved > 60 * options.checkpoint_minutes or interrupted or step == len(schedule):
                    save(job, model, best, optimiser, names, state)
                    saved = time.monotonic()
                if interrupted:
                    raise KeyboardInterrupt

        return finish(workspace, job, model, best, state)


def wrap(job: Job) -> Any:
    """The base model in the run's precision with a fresh adapter (float32) on all linear layers."""
    from peft import LoraConfig, get_peft_model

    kind = torch.bfloat16 if job.machine.dtype == "bf16" else torch.float32
    model = load_model(job.base.folder, kind, job.machine.device)
    config = LoraConfig(
        r=job.options.rank,
        lora_alpha=job.options.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with quiet_peft(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.options.seed)
        return get_peft_model(model, config).eval()  # eval: no dropout of the base's own


def answer_losses(model: Any, packed: packing.Pack) -> torch.Tensor:
    """Sum of -log p over the answers of a pack: the trunk on packed tokens, the head on answers alone."""
    causal = model.base_model.model
    trunk = causal.model(
        input_ids=packed.ids, position_ids=packed.positions, layout=packed.layout, use_cache=False
    ).last_hidden_state[0]
    hidden = packing.collect(trunk, packed.answers)
    softcap = getattr(causal.config, "final_logit_softcapping", None)
    return answer_loss(hidden, causal.get_output_embeddings().weight, packed.targets, softcap)


def evaluate(model: Any, job: Job, most: int = 512) -> float:
    """Mean -log p per answer token, in nats, over (the first `most` examples of) the validation part."""
    examples = job.corpus.validation[:most]
    lengths = [len(e.ids) for e in examples]
    order = sorted(range(len(examples)), key=lambda i: (lengths[i], i))
    total = 0.0
    with torch.no_grad():
        for part in packing.split(order, lengths, tokens=job.fit.micro_tokens):
            total += answer_losses(model, packing.pack([examples[i] for i in part], job.machine.device)).item()
    return total / sum(len(e.ids) - e.start for e in examples)


def shape_of_rate(step: int, steps: int, warm_up: float) -> float:
    """Share of the learning rate at a step (from 1): linear warm-up, then a cosine that ends near 0."""
    rising = max(1, round(steps * warm_up))
    if step <= rising:
        return step / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising + 1)))


def adapter_of(model: Any) -> checkpoint.Adapter:
    """A copy of the adapter's tensors under the names of peft's file format."""
    from peft import get_peft_model_state_dict

    return {name: t.detach().cpu().clone() for name, t in sorted(get_peft_model_state_dict(model).items())}


def set_adapter(model: Any, adapter: checkpoint.Adapter) -> None:
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, adapter)


def resume(
    job: Job, model: Any, optimiser: torch.optim.Optimizer, names: Sequence[str]
) -> tuple[State, checkpoint.Adapter]:
    """The state of the run's checkpoint, its tensors put back; a fresh state when there is none."""
    kept = checkpoint.read(job.folder / "checkpoint.safetensors")
    if kept is None:
        return State(tracked=tracking.start(job)), {}
    adapter, best, moments, written = kept
    set_adapter(model, adapter)
    checkpoint.restore(optimiser, names, moments)
    return State(**written), best


def refuse_if_slow(job: Job, state: State) -> None:
    """Raises OutOfResources when the speed so far means more than max_hours; the run then leaves nothing behind."""
    speed = state.tokens / state.seconds
    try:
        fit.check_time(job.options, job.tokens / speed / 3600, tokens_per_second=speed)
    except OutOfResources:
        shutil.rmtree(job.folder)
        raise


def save(
    job: Job,
    model: Any,
    best: checkpoint.Adapter,
    optimiser: torch.optim.Optimizer,
    names: Sequence[str],
    state: State,
) -> None:
    """Write the checkpoint and the curve so far."""
    state.sent = tracking.log(job, state.tracked, state.rows, state.sent)
    path = job.folder / "checkpoint.safetensors"
    checkpoint.write(path, adapter_of(model), best, optimiser, names, asdict(state))
    run.write_curve(job.folder, state.rows)


def finish(workspace: Workspace, job: Job, model: Any, best: checkpoint.Adapter, state: State) -> Version:
    """Register the kept adapter as a version; the run's metrics.json is written last.

    The version's folder holds nothing that changes from run to run: no time, no speed.
    """
    if state.stopped and not best:
        raise Refused(
            _("{why}, and there is no earlier adapter to keep").format(why=state.stopped),
            fix=_("Try a lower --rate (it was {rate:g}) with --again.").format(rate=job.rate),
        )
    if not best:
        best, state.best_step = adapter_of(model), state.step
    checked = [row["validation"] for row in state.rows if row["validation"] is not None]
    figures = {
        "examples": len(job.corpus.train),
        "steps": state.step,
        "best_step": state.best_step,
        "tokens": state.tokens,
        "loss": round(next(row["loss"] for row in reversed(state.rows) if row["loss"] is not None), 6),
        "validation_before": round(checked[0], 6) if checked else None,
        "validation": round(state.best, 6) if checked else None,
    }
    meta = {
        "base": str(job.base.folder),
        "base_sha256": job.base_sha256,
        "dataset": job.card["id"],
        "dataset_path": relative_dataset(workspace, job.dataset),
        "run": str(job.folder.relative_to(workspace.path)),
        "canaries": job.canaries,
        "figures": figures,
    }
    staging = workspace.folder("models") / f".{job.name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    write_version(staging, job, model, best, meta)
    version = versions.register(workspace, staging, kind="chat", name=job.name, meta=meta)

    run.write_curve(job.folder, state.rows)
    run.draw_curve(job.folder, state.rows, job.name, state.best_step)
    tracking.log(job, state.tracked, state.rows, state.sent)
    told = {
        "version": version.id,
        **figures,
        "stopped": state.stopped or None,
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
        "tokens_per_cpu_second": round(state.tokens / max(state.cpu_seconds, 1e-9), 1),
        "seconds": round(state.seconds, 2),
        "peak_memory_mb": run.peak_memory_mb(),
        "mlflow": tracking.finish(job, state.tracked, figures) if state.tracked else None,
    }
    write_json(job.folder / "metrics.json", told)
    (job.folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return version


def write_version(folder: Path, job: Job, model: Any, adapter: checkpoint.Adapter, meta: dict[str, Any]) -> None:
    """A version's files: adapter/ as peft reads it, the tokenizer, the training template, tuneloop.json."""
    from safetensors.torch import save as as_bytes

    (folder / "adapter").mkdir(parents=True)
    model.peft_config["default"].save_pretrained(str(folder / "adapter"))
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    # peft keeps the names in a set: their order changes with Python's hash seed
    config |= {"target_modules": sorted(config["target_modules"]), "inference_mode": True}
    write_json(folder / "adapter" / "adapter_config.json", dict(sorted(config.items())))
    write_atomically(folder / "adapter" / "adapter_model.safetensors", as_bytes(adapter, metadata={"format": "pt"}))
    copy_tokenizer(job.base.folder, folder)
    write_atomically(folder / "chat_template.jinja", job.tokenizer.chat_template)
    asked = job.options.deciding() | {"rate": job.rate, "dtype": job.machine.dtype}
    # Ids only, no text: enough to say, after the dataset is gone, whose messages are in these weights.
    write_json(folder / "evidence.json", tokens.evidence(job.dataset))
    write_json(folder / "tuneloop.json", meta | {"options": asked, "own_template": job.template.own})


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Ctrl-C and a polite kill wait for the end of the step: the list then holds the signal. A second one does not."""
    seen: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, _frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before.clear()  # only the main thread may set handlers; elsewhere the caller stops the run
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
