"""Training that begins by itself after `photos.train_every` new clicks, where nobody waits for it.

Whoever serves (the bot, the server) asks now and then whether a training is due. It runs in a process of its own with
the lowest priority, one at a time under the workspace's lock, and what comes of it is a row like any other training's.
A process that dies is a row too: work in the background that fails silently would look like work that is never due.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from tuneloop import texts
from tuneloop.db.photo_tables import photo_feedback, photo_queries, photo_trainings
from tuneloop.errors import Conflict, NotEnoughData, TuneloopError
from tuneloop.loop import photo_clicks, photo_training
from tuneloop.workspace import Workspace, open_workspace

log = logging.getLogger("tuneloop.photos")

LOOK = 10.0  # seconds between two looks whether a training is due
REST = 600.0  # seconds from one start to the next: somebody who clicks all day must not make it train all day
LONGEST = 3600.0  # seconds after which a training is ended; 500 clicks over 10,000 products take 42
BUSY = 3  # exit code: another training runs


class Retraining:
    """Starts what is due and waits for it. tenant None: of all teams. `step` in one thread, `stop` in any."""

    def __init__(self, workspace: Workspace, *, tenant: str | None = None, rest: float = REST) -> None:
        self.workspace = workspace
        self.tenant = tenant
        self.rest = rest
        self._child: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._changing = threading.Lock()

    @property
    def wanted(self) -> bool:
        """Whether the setting asks for it at all."""
        return self.workspace.settings.integer("photos.train_every") > 0

    def begin(self) -> None:
        """Look now and then from a thread of its own, until `stop`; what fails is logged."""
        if self.wanted:
            threading.Thread(target=self._watch, name="photo-retraining", daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            try:
                for row in self.step():
                    failed = row["state"] == "failed"
                    log.log(logging.WARNING if failed else logging.INFO, "training: %s: %s", row["state"], row["note"])
            except TuneloopError as problem:
                log.warning("training: %s", problem.message)

    def step(self) -> list[dict[str, Any]]:
        """Train whatever is due; the rows of what was done or failed. Blocks meanwhile."""
        if not self.wanted:
            return []
        tenants = _tenants(self.workspace) if self.tenant is None else [self.tenant]
        rows = [self._train(tenant) for tenant in tenants if due(self.workspace, tenant=tenant, rest=self.rest)]
        return [row for row in rows if row is not None]

    def stop(self) -> None:
        """End a training that runs; the next one says in its row that it was ended."""
        with self._changing:
            self._over.set()
            if self._child is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._child.kill()

    def _train(self, tenant: str) -> dict[str, Any] | None:
        before = _newest(self.workspace, tenant)
        command = [sys.executable, "-m", "tuneloop.loop.photo_retraining", str(self.workspace.path), tenant]
        # One thread: those who wait for a search need the others.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        with self._changing:
            if self._over.is_set():
                return None
            self._child = subprocess.Popen(
                [*command, texts.language()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
            )
        said = _awaited(self._child)
        if self._over.is_set() or self._child.returncode == BUSY:
            return None
        if self._child.returncode:
            with contextlib.suppress(Conflict):  # somebody has begun another, which marks the dead one itself
                photo_training.note_failure(self.workspace, said, tenant=tenant)
        row = _newest(self.workspace, tenant)
        return row if row is not None and (before is None or row["id"] != before["id"]) else None


def due(workspace: Workspace, *, tenant: str = "", rest: float = REST) -> bool:
    """Whether enough was clicked since the last training began, and there is enough to learn from at all."""
    every, least = (workspace.settings.integer(f"photos.{name}") for name in ("train_every", "min_examples"))
    if every <= 0:
        return False
    last = _newest(workspace, tenant)
    since = float(last["started"]) if last else 0.0
    if time.time() - since < rest:
        return False
    stands = (
        photo_feedback.c.tenant == tenant,
        photo_feedback.c.undone.is_(None),
        photo_feedback.c.excluded.is_(False),
    )
    clicked = (*stands, photo_feedback.c.verdict.in_(photo_clicks.ON_A_PRODUCT), photo_feedback.c.time > since)
    known = (*stands, photo_feedback.c.verdict.in_(("right", "pointed")))
    photos = select(func.count(photo_queries.c.photo.distinct()))
    photos = photos.join(photo_feedback, photo_feedback.c.query == photo_queries.c.id).where(*known)
    with workspace.db.read() as rows:
        new = int(rows.execute(select(func.count()).select_from(photo_feedback).where(*clicked)).scalar_one())
        return new >= every and int(rows.execute(photos).scalar_one()) >= least


def _tenants(workspace: Workspace) -> list[str]:
    with workspace.db.read() as rows:
        return sorted(rows.execute(select(photo_feedback.c.tenant).distinct()).scalars())


def _newest(workspace: Workspace, tenant: str) -> dict[str, Any] | None:
    chosen = select(photo_trainings).where(photo_trainings.c.tenant == tenant)
    with workspace.db.read() as rows:
        found = rows.execute(chosen.order_by(photo_trainings.c.id.desc()).limit(1)).first()
    return dict(found._mapping) if found is not None else None


def _awaited(child: subprocess.Popen[bytes]) -> str:
    """Why the child failed, as far as it said so, once it has ended."""
    try:
        _out, errors = child.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"ended after {LONGEST:.0f} s"
    last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return last or f"the process ended with {child.returncode}"


def _work(path: str, tenant: str, language: str) -> int:
    """In the child: train, as the least important process of this machine."""
    os.nice(19)
    texts.use(language)
    workspace = open_workspace(Path(path))
    try:
        photo_training.train(workspace, tenant=tenant)
    except Conflict:
        return BUSY
    except NotEnoughData as problem:  # it has no row yet, and without one it would be due again at once
        photo_training.note_failure(workspace, problem.message, tenant=tenant)
    return 0


if __name__ == "__main__":
    sys.exit(_work(*sys.argv[1:]))
