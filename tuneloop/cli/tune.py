"""`tuneloop tune`: a dataset and a local base model become a version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuneloop.cli.show import Door
from tuneloop.errors import Missing
from tuneloop.texts import _
from tuneloop.workspace import Workspace

if TYPE_CHECKING:
    from tuneloop.tune.prepare import Job


@click.command(help=_("Tune a LoRA adapter for a local base model on a dataset (default: the newest one)."))
@click.argument("dataset", required=False)
@click.option("--base", type=click.Path(path_type=Path), help=_("Model folder; default: the demo base."))
@click.option("--name", help=_("Name of the run and of the version."))
@click.option("--epochs", type=int, help=_("Passes over the training part."))
@click.option("--rank", type=int, help=_("LoRA rank."))
@click.option("--alpha", type=int, help=_("LoRA alpha."))
@click.option("--rate", type=float, help=_("Learning rate."))
@click.option("--batch-tokens", type=int, help=_("Tokens of one optimiser step."))
@click.option("--max-length", type=int, help=_("Longest example, in tokens."))
@click.option("--patience", type=int, help=_("Checks without improvement before it stops; 0: never."))
@click.option("--seed", type=int, help=_("Seed of the adapter's start and of the order of examples."))
@click.option("--dtype", type=click.Choice(["auto", "bf16", "fp32"]), help=_("Precision; auto measures."))
@click.option("--threads", type=int, help=_("CPU threads; default: as many as are idle."))
@click.option("--max-hours", type=float, help=_("Refuse to run longer than this."))
@click.option("--mlflow-url", help=_("MLflow tracking server to log to."))
@click.option("--again", is_flag=True, help=_("Forget an earlier run of this name and start over."))
@click.pass_obj
def tune(door: Door, /, dataset: str | None, base: Path | None, name: str | None, again: bool, **flags: Any) -> None:
    workspace = door.workspace()
    from tuneloop.tune.options import resolve

    options = resolve(workspace.settings, flags)
    folder = find_dataset(workspace, dataset)
    from tuneloop.tune import lora, run  # torch takes seconds: only now, when the order makes sense
    from tuneloop.tune.folder import DEMO_BASE

    known: list[Job] = []

    def announce(job: Job) -> None:
        known.append(job)
        if job.done:
            door.say(_("The run {name} is finished; --again starts it over.").format(name=job.name))
            return
        door.table(_("Run {name}").format(name=job.name), (_("name"), _("value"), _("from")), job.values())
        rows = [(key, number) for key, number in job.corpus.counts.items()]
        door.table(_("Examples"), (_("what"), _("how many")), rows, right=(1,))

    with door.progress() as watch:
        version = lora.train(
            workspace,
            folder,
            base or DEMO_BASE,
            options=options,
            name=name,
            again=again,
            announce=announce,
            watch=watch,
        )
    figures = run.metrics(known[0].folder)
    if not known[0].done:
        _show(door, figures)
    door.say(_("Version {id} in {path}").format(id=version.id, path=workspace.path / version.path))
    door.say(_("Run folder: {path} (curve.png, metrics.json)").format(path=known[0].folder))
    door.hint(_("Next: tuneloop gate {id}").format(id=version.id))
    door.result({"version": version.id, "name": version.name, "run": str(known[0].folder), **figures})


def find_dataset(workspace: Workspace, given: str | None) -> Path:
    """A dataset folder by path or by its name in the workspace; the newest one when nothing is given."""
    if given is not None:
        inside = workspace.folder("datasets") / given
        return inside if inside.is_dir() else Path(given).expanduser()
    built = sorted(workspace.folder("datasets").glob("*/card.json"), key=lambda card: card.stat().st_mtime)
    if not built:
        raise Missing(
            _("there is no dataset in {path}").format(path=workspace.path),
            fix=_("Build one: tuneloop collect YOUR_EXPORT, then tuneloop dataset build."),
        )
    return built[-1].parent


def _show(door: Door, figures: dict[str, Any]) -> None:
    rows = [
        (_("steps"), figures["steps"]),
        (_("kept step"), figures["best_step"]),
        (_("loss at the last step"), f"{figures['loss']:.3f}"),
        (_("speed, tokens/s"), f"{figures['tokens_per_second']:.0f}"),
        (_("training, s"), f"{figures['seconds']:.1f}"),
        (_("peak memory, MB"), figures["peak_memory_mb"]),
    ]
    if figures["validation"] is not None:
        change = f"{figures['validation_before']:.3f} -> {figures['validation']:.3f}"
        rows.insert(2, (_("validation loss, before -> kept"), change))
    if figures["stopped"]:
        rows.append((_("stopped early"), figures["stopped"]))
    if figures["mlflow"] is False:
        rows.append(("MLflow", _("did not answer; the figures are in the run folder only")))
    door.table(_("Result"), (_("what"), _("figure")), rows, right=(1,))
