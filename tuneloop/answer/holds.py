"""What running experiments and open replays hold: tasks and variants that must not be taken away under them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from tuneloop.db.tables import experiments
from tuneloop.errors import Conflict
from tuneloop.texts import _
from tuneloop.workspace import Workspace

UNDER_WAY = ("running", "replaying")


def held(workspace: Workspace) -> dict[str, str]:
    """ "task" and "task/variant" -> the name of what needs it, over all teams."""
    chosen = select(experiments.c.name, experiments.c.task, experiments.c.design)
    with workspace.db.read() as rows:
        found = rows.execute(chosen.where(experiments.c.state.in_(UNDER_WAY)).order_by(experiments.c.created)).all()
    named: dict[str, str] = {}
    for name, task, design in found:
        arms = [arm["variant"] for arm in design.get("arms", ())] or [design["a"], design["b"]]
        for key in (task, *(f"{task}/{variant}" for variant in arms)):
            named.setdefault(key, name)
    return named


def check_free(workspace: Workspace, names: Iterable[str]) -> None:
    """Raises Conflict when one of these, "task" or "task/variant", is held."""
    wanted = sorted(names)
    needed = held(workspace) if wanted else {}
    for name in wanted:
        if name in needed:
            raise Conflict(
                _("'{name}' is used by the experiment '{experiment}'").format(name=name, experiment=needed[name]),
                fix=_("End it first: tuneloop experiment stop, or tuneloop experiment replay ... --end."),
            )
