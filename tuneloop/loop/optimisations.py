"""Rows of `optimise`: what was asked, how far it is, every look that was taken, and who works on it.

Every look is a row before the next begins, so that a killed process loses at most one. Looks do not depend on the
targets: other targets for the same version and ladder on the same machine take over what was measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import replace as changed
from typing import Any

import psutil
from sqlalchemy import Connection, delete, insert, select, update

from tuneloop.db.optimisation_tables import optimisation_samples, optimisations
from tuneloop.errors import Conflict, Missing
from tuneloop.loop.ladder import Ladder, Row, Targets, choose, optimal
from tuneloop.loop.ladder import row as summed
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.workspace import Workspace

SILENT = 1800.0  # seconds after which a worker on another machine is taken for dead
Look = tuple[str, dict[str, Any]]  # state (measured refused failed) and figures


@dataclass(frozen=True, slots=True)
class Optimisation:
    """state: running interrupted done failed; "interrupted" is running whose process is gone: begin it again."""

    id: str
    tenant: str
    version: str
    ladder: Ladder
    targets: Targets
    state: str
    stage: str
    done: int
    total: int
    created: float
    changed: float
    error: str

    @property
    def progress(self) -> float:
        """0 to 1."""
        return 1.0 if self.state == "done" else min(self.done / max(self.total, 1), 0.99)


def begin(
    workspace: Workspace,
    version: Version,
    targets: Targets,
    asked: Ladder,
    *,
    again: bool = False,
    tenant: str = "",
    by: str = "",
) -> Optimisation:
    """The optimisation that was asked for before (unfinished: `run` goes on with it), else a new row of it.

    A new one takes over what was measured for other targets. again: measure everything anew, unless that is already
    under way.
    """
    mark, wanted = fingerprint(version, asked), asdict(targets)
    now = time.time()
    with workspace.db.write() as rows:
        same = select(optimisations).where(
            optimisations.c.tenant == tenant, optimisations.c.version == version.id, optimisations.c.fingerprint == mark
        )
        known = list(rows.execute(same.order_by(optimisations.c.created.desc(), optimisations.c.id)))
        mine = next((one for one in known if one.targets == wanted), None)
        if mine is None or (again and mine.state == "done"):
            identity = "op-" + secrets.token_hex(8)
            row = {
                "id": identity, "tenant": tenant, "version": version.id, "ladder": asdict(asked), "fingerprint": mark,
                "targets": wanted, "state": "running", "stage": "", "done": 0, "total": asked.steps, "worker": "",
                "created": now, "changed": now, "error": "", "by": by,
            }  # fmt: skip
            rows.execute(insert(optimisations), [row])
            if known and not again:
                taken = select(optimisation_samples).where(optimisation_samples.c.optimisation == known[0].id)
                copies = [{**one, "optimisation": identity} for one in rows.execute(taken).mappings()]
                rows.execute(insert(optimisation_samples), copies) if copies else None
        else:
            identity = mine.id
    return find(workspace, identity, tenant=tenant)


def fingerprint(version: Version, asked: Ladder) -> str:
    """Changes with whatever shapes the figures: version, ladder, machine, llama.cpp."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        engine = installed("xllamacpp")
    except PackageNotFoundError:
        engine = ""
    machine = [platform.node(), platform.machine(), os.cpu_count(), len(os.sched_getaffinity(0)), engine]
    written = json.dumps([version.id, asdict(asked), machine], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def find(workspace: Workspace, identity: str, *, tenant: str | None = "") -> Optimisation:
    """By id. Raises Missing, also for another team's."""
    chosen = select(optimisations).where(optimisations.c.id == identity)
    if tenant is not None:
        chosen = chosen.where(optimisations.c.tenant == tenant)
    with workspace.db.read() as rows:
        row = rows.execute(chosen).first()
    if row is None:
        raise Missing(_("there is no optimisation '{name}'").format(name=identity[:100]))
    return _optimisation(row)


def history(workspace: Workspace, *, tenant: str | None = "", most: int = 100) -> list[Optimisation]:
    """Newest first; tenant None: of all teams."""
    chosen = select(optimisations).order_by(optimisations.c.created.desc(), optimisations.c.id).limit(most)
    if tenant is not None:
        chosen = chosen.where(optimisations.c.tenant == tenant)
    with workspace.db.read() as rows:
        return [_optimisation(row) for row in rows.execute(chosen)]


def claim(workspace: Workspace, asked: Optimisation, pid: int) -> None:
    """Note which process works on it. Raises Conflict while another one measures, this or anything else."""
    name = worker(pid)
    with workspace.db.write() as rows:
        running = select(optimisations.c.worker, optimisations.c.changed).where(optimisations.c.state == "running")
        if any(alive(known, heard) for known, heard in rows.execute(running) if known != name):
            raise Conflict(
                _("another optimisation is being measured"), fix=_("Wait for it: two would measure each other.")
            )
        _set(rows, asked, state="running", worker=name, error="")


def samples(workspace: Workspace, identity: str) -> dict[str, dict[int, Look]]:
    """rung -> round -> (state, figures)."""
    found: dict[str, dict[int, Look]] = defaultdict(dict)
    chosen = select(optimisation_samples).where(optimisation_samples.c.optimisation == identity)
    with workspace.db.read() as rows:
        for one in rows.execute(chosen.order_by(optimisation_samples.c.round)):
            found[one.rung][one.round] = (one.state, one.figures)
    return found


def table(workspace: Workspace, one: Optimisation) -> list[Row]:
    """Every rung with what is known of it by now, the Pareto-optimal ones marked."""
    known = samples(workspace, one.id)
    rows = [summed(quant, n, list(known[f"{quant}/{n}"].values())) for quant, n in one.ladder.rungs]
    return [changed(row, optimal=best) for row, best in zip(rows, optimal(rows), strict=True)]


def shown(workspace: Workspace, one: Optimisation) -> dict[str, Any]:
    """Everything about it as JSON; the choice once it is done."""
    rows = table(workspace, one)
    return {
        "id": one.id, "version": one.version, "state": one.state, "stage": one.stage, "progress": one.progress,
        "created": one.created, "changed": one.changed, "error": one.error, "targets": asdict(one.targets),
        "ladder": asdict(one.ladder), "rows": [asdict(row) for row in rows],
        "choice": asdict(choose(rows, one.targets)) if one.state == "done" else None,
    }  # fmt: skip


def keep(workspace: Workspace, asked: Optimisation, rung: str, turn: int, state: str, figures: dict[str, Any]) -> None:
    """Write one look, in the place of one of a file that is no more."""
    place = {"optimisation": asked.id, "rung": rung, "round": turn}
    row = place | {"state": state, "figures": figures, "time": time.time()}
    with workspace.db.write() as rows:
        here = [optimisation_samples.c[name] == value for name, value in place.items()]
        rows.execute(delete(optimisation_samples).where(*here))
        rows.execute(insert(optimisation_samples), [row])


def note(workspace: Workspace, asked: Optimisation, **values: Any) -> None:
    """Write how far it is."""
    with workspace.db.write() as rows:
        _set(rows, asked, **values)


def _set(rows: Connection, asked: Optimisation, **values: Any) -> None:
    rows.execute(update(optimisations).where(optimisations.c.id == asked.id).values(**values, changed=time.time()))


def _optimisation(row: Any) -> Optimisation:
    design: Mapping[str, Any] = row.ladder
    asked = Ladder(**{**design, "quants": tuple(design["quants"]), "threads": tuple(design["threads"])})
    state = "interrupted" if row.state == "running" and not alive(row.worker, row.changed) else row.state
    return Optimisation(
        row.id, row.tenant, row.version, asked, Targets(**row.targets), state, row.stage, row.done, row.total,
        row.created, row.changed, row.error,
    )  # fmt: skip


# --- the process that works on it


def worker(pid: int) -> str:
    """A process so that it is not mistaken for a later one of the same number."""
    return f"{platform.node()} {pid} {psutil.Process(pid).create_time():.2f}"


def alive(name: str, heard: float) -> bool:
    """Whether `worker` still works. heard: when it last wrote, for one on another machine."""
    host, _space, rest = name.rpartition(" ")[0].rpartition(" ")
    if not host:
        return False
    if host != platform.node():
        return time.time() - heard < SILENT
    try:
        process = psutil.Process(int(rest))
        started = process.create_time()
        return process.status() != psutil.STATUS_ZOMBIE and abs(started - float(name.rpartition(" ")[2])) < 2.0
    except psutil.NoSuchProcess:
        return False
