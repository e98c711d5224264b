"""Everything a run decides before a model is loaded, in one value that can be printed.

Cheap things first: headers, template, tokens, one second of measuring, the fit check. A run that cannot work says
so here, in seconds, having written nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop import versions
from tuneloop.errors import BadInput, Missing
from tuneloop.progress import Progress, silent
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.tune import canaries, fit, model, run, template, tokens
from tuneloop.tune.fit import Fit, Machine
from tuneloop.tune.folder import SHAPES, Base, fingerprint, inspect
from tuneloop.tune.options import Options
from tuneloop.workspace import Workspace, write_json


@dataclass(frozen=True)
class Job:
    """A run, decided but not begun. `done`: its version when the same command has finished before."""

    name: str
    identity: str
    folder: Path
    base: Base
    base_sha256: str
    template: template.Template
    tokenizer: Any
    corpus: tokens.Corpus
    dataset: Path
    card: dict[str, Any]
    options: Options
    machine: Machine
    fit: Fit
    done: Version | None
    canaries: int = 0  # as many as were planted

    @property
    def rate(self) -> float:
        return self.options.rate_for(self.base.parameters)

    @property
    def tokens(self) -> int:
        """Tokens of all epochs."""
        return self.corpus.tokens * self.options.epochs

    def values(self) -> list[tuple[str, str, str]]:
        """(name, value, where it came from) of everything that was decided, for people."""
        asked, machine, measured = self.options, self.machine, _("measured")
        rows = [
            ("base", f"{self.base.folder} ({SHAPES[self.base.shape]}, {self.base.parameters / 1e6:.1f} M)", _("asked")),
            (
                "dataset",
                f"{self.dataset.name} ({len(self.corpus.train) - self.canaries} + {len(self.corpus.validation)})",
                _("asked"),
            ),
            (
                "template",
                _("the model's own") if self.template.own else _("plain ChatML: the model has none"),
                measured,
            ),
        ]
        numbers = ("rank", "alpha", "epochs", "batch_tokens", "max_length", "warm_up", "clip", "patience", "seed")
        for name in numbers:
            rows.append((name, f"{getattr(asked, name):g}", asked.told(name)))
        by_size = _("{n} examples").format(n=len(self.corpus.train) - self.canaries)
        rows.append(("canaries", str(self.canaries), asked.told("canaries") if asked.canaries >= 0 else by_size))
        size = _("{n:.0f} M parameters").format(n=self.base.parameters / 1e6)
        rows.append(("rate", f"{self.rate:g}", asked.told("rate") if asked.rate else size))
        faster = _("measured: bf16 {gain:.1f}x as fast").format(gain=machine.bf16_gain)
        rows += [
            ("dtype", machine.dtype, faster if asked.dtype == "auto" else asked.told("dtype")),
            ("device", machine.device, measured),
            ("threads", str(machine.threads), asked.told("threads") if asked.threads else measured),
            ("memory", f"{self.fit.memory_needed / 1e9:.1f} / {self.fit.memory_free / 1e9:.1f} GB", measured),
            ("disk", f"{self.fit.disk_needed / 1e9:.2f} / {self.fit.disk_free / 1e9:.2f} GB", measured),
            ("micro_tokens", str(self.fit.micro_tokens), measured),
            ("max_hours", f"{asked.max_hours:g}", asked.told("max_hours")),
        ]
        return rows


def prepare(
    workspace: Workspace,
    dataset: Path,
    base: Path,
    *,
    options: Options,
    name: str | None = None,
    again: bool = False,
    watch: Progress = silent,
) -> Job:
    """Decide a run. An unfinished run of the same identity keeps the precision and threads it began with.

    Raises BadInput, Hostile, Damaged, Missing (base, dataset), NotEnoughData, Conflict (name), OutOfResources.
    """
    if name is not None and (Path(name).name != name or name.startswith(".")):
        raise BadInput(_("'{name}' is no name for a run").format(name=name), fix=_("Use letters, digits and dashes."))
    tokens.check_folder(dataset)
    looked = inspect(base)
    checked = template.check(looked.folder)
    tokenizer = model.load_tokenizer(looked.folder, checked)
    length = min(options.max_length, looked.context)
    corpus, card = tokens.load(dataset, tokenizer, checked, max_length=length, watch=watch)
    planted = _planted(tokenizer, checked, str(card["id"]), canaries.count(options.canaries, len(corpus.train)), length)
    corpus.train.extend(planted)
    _check_words(corpus, looked)
    sha256 = fingerprint(looked.folder)
    identity = options.identity(str(card["id"]), sha256)
    name = name or f"{dataset.name}-{identity[:8]}"
    folder = run.find_folder(workspace, name, identity, again=again)
    before = run.config(folder)
    machine = Machine(**before["machine"]) if before else fit.measure(looked, options)
    need = fit.estimate(
        looked,
        options,
        machine,
        workspace.path,
        tokens=corpus.tokens * options.epochs,
        longest=corpus.longest,
        most=before.get("micro_tokens"),
    )
    done = _finished(workspace, folder)
    if done is None:
        fit.check(looked, options, need, workspace.path)
    return Job(
        name=name,
        identity=identity,
        folder=folder,
        base=looked,
        base_sha256=sha256,
        template=checked,
        tokenizer=tokenizer,
        corpus=corpus,
        dataset=dataset,
        card=card,
        options=options,
        machine=machine,
        fit=need,
        done=done,
        canaries=len(planted),
    )


def _planted(
    tokenizer: Any, checked: template.Template, dataset: str, wanted: int, length: int
) -> list[tokens.Encoded]:
    """The first canaries of a dataset as the run sees them. All or none fit: they are of one length to a few tokens,
    and the gate looks for the first so many."""
    encoded = [tokens.encode(tokenizer, checked, c, max_length=length)[0] for c in canaries.planted(dataset)[:wanted]]
    return [e for e in encoded if e] if all(encoded) else []


def _check_words(corpus: tokens.Corpus, base: Base) -> None:
    if max(max(e.ids) for e in [*corpus.train, *corpus.validation]) >= base.vocabulary:
        raise BadInput(
            _("the tokenizer of {folder} has tokens that the model does not know").format(folder=base.folder),
            fix=_("Copy the tokenizer files that belong to this model into its folder."),
        )


def relative_dataset(workspace: Workspace, dataset: Path) -> str:
    """The dataset's path as versions keep it: relative to the workspace where it lies inside."""
    path = dataset.absolute()
    return os.path.relpath(path, workspace.path) if path.is_relative_to(workspace.path) else str(path)


def write_config(job: Job) -> None:
    """Make the run's folder and its config.json: before the first step, read when the run is resumed."""
    from dataclasses import asdict

    job.folder.mkdir(exist_ok=True)
    write_json(
        job.folder / "config.json",
        {
            "name": job.name,
            "identity": job.identity,
            "base": str(job.base.folder),
            "base_sha256": job.base_sha256,
            "dataset": job.card["id"],
            "dataset_path": str(job.dataset.absolute()),
            "card_sha256": _card_hash(job.dataset),
            "machine": asdict(job.machine),
            "micro_tokens": job.fit.micro_tokens,
            "examples": job.corpus.counts,
            "values": [{"name": n, "value": v, "origin": o} for n, v, o in job.values()],
        },
    )


def _card_hash(dataset: Path) -> str:
    import hashlib

    return hashlib.sha256((dataset / "card.json").read_bytes()).hexdigest()


def _finished(workspace: Workspace, folder: Path) -> Version | None:
    if not (identity := run.metrics(folder).get("version")):
        return None
    try:
        return versions.find(workspace, str(identity))
    except Missing:
        return None  # the version was removed: make it again
