"""A run's folder: what was asked, what happened, on what machine. Written so that a person can read it.

runs/<name>/config.json       every value and where it came from; `identity` names the run
            curve.csv, .png   loss, validation loss and learning rate by step
            metrics.json      speed, memory, duration, final losses; written last: its presence means finished
            environment.json  versions and processor
            checkpoint.safetensors  only while the run is unfinished
"""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuneloop import __version__
from tuneloop.errors import Conflict
from tuneloop.texts import _
from tuneloop.workspace import Workspace, write_atomically, write_json

COLUMNS = ("step", "epoch", "tokens", "loss", "validation", "rate", "norm", "seconds")
Row = dict[str, Any]  # one of COLUMNS each; "validation" is None between checks


def find_folder(workspace: Workspace, name: str, identity: str, *, again: bool) -> Path:
    """The folder of a run, not yet created when new. `again` forgets an earlier run of that name.

    Raises Conflict when the name belongs to a run with other options, another dataset or another base.
    """
    folder = workspace.folder("runs") / name
    if again and folder.exists():
        shutil.rmtree(folder)
    before = config(folder)
    if before and before["identity"] != identity:
        raise Conflict(
            _("the run '{name}' was made with another dataset, base model or other options").format(name=name),
            fix=_("Choose another --name, or replace that run with --again."),
        )
    return folder


def config(folder: Path) -> dict[str, Any]:
    """What the run was started with; empty when it was not started."""
    path = folder / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def metrics(folder: Path) -> dict[str, Any]:
    """The figures of a finished run; empty while it is unfinished."""
    path = folder / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_curve(folder: Path, rows: Sequence[Row]) -> None:
    """curve.csv, a row for each step."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(
        {k: (f"{v:.6g}" if isinstance(v, float) else v) for k, v in row.items() if k in COLUMNS} for row in rows
    )
    write_atomically(folder / "curve.csv", text.getvalue())


def draw_curve(folder: Path, rows: Sequence[Row], title: str, best_step: int) -> None:
    """curve.png: training loss (thin, with its moving mean), validation loss, the step that was kept, the rate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    trained = [(r["step"], r["loss"]) for r in rows if r["loss"] is not None]
    checked = [(r["step"], r["validation"]) for r in rows if r["validation"] is not None]
    if trained:
        steps, losses = zip(*trained, strict=True)
        axes.plot(steps, losses, color="#9bb8d3", linewidth=0.8)
        axes.plot(steps, _smooth(losses), color="#2f6ea5", linewidth=1.8, label=_("training"))
    if checked:
        axes.plot(*zip(*checked, strict=True), color="#c8553d", marker="o", markersize=4, label=_("validation"))
        kept = [(s, v) for s, v in checked if s == best_step]
        if kept:
            axes.plot(*zip(*kept, strict=True), "o", markersize=11, markerfacecolor="none", color="#c8553d")
            axes.annotate(_("kept"), kept[0], xytext=(8, 8), textcoords="offset points", color="#c8553d")
    axes.set_xlabel(_("step"))
    axes.set_ylabel(_("loss of answers, nats per token"))
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if trained or checked:
        axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomically(folder / "curve.png", picture.getvalue())


def _smooth(values: Sequence[float], reach: int = 4) -> list[float]:
    """The mean of each value and its `reach` neighbours on both sides."""
    parts = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def write_environment(folder: Path) -> None:
    """environment.json: what a stranger needs to get the same figures."""
    from importlib.metadata import version

    names = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")
    write_json(
        folder / "environment.json",
        {
            "tuneloop": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": _processor(),
            "packages": {name: version(name) for name in names},
        },
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def peak_memory_mb() -> int:
    """The most memory this process ever held, in MB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if platform.system() == "Darwin" else 1 << 10)
