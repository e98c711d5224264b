"""Two versions of photo search over live people: an experiment whose arms are versions.

Who gets which version is the experiments' own hash, so the same person always meets the same one; the verdict is
theirs too, and may be looked at as often as anybody likes. What is measured is whether the first product was the right
one, by the person's own clicks on that search. Ending it, either way, reaches every process at its next search.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, select

from tuneloop.choose import experiments
from tuneloop.choose.experiments import Experiment
from tuneloop.db.photo_tables import photo_feedback, photo_queries
from tuneloop.db.tables import outcomes
from tuneloop.errors import BadInput, Conflict
from tuneloop.loop import photo_switch, photo_version
from tuneloop.texts import _
from tuneloop.versions import START
from tuneloop.workspace import Workspace

TASK = "photos:search"  # no task of tuneloop.toml can be called that
LAYER = "photos"
METRIC = "first_right"


def begin(
    workspace: Workspace,
    now: str,
    other: str,
    *,
    name: str = "",
    days: float = 14.0,
    share: float = 1.0,
    least: int = 100,
    tenant: str = "",
    by: str = "",
) -> Experiment:
    """Divide a team's people between two versions; `now` is the one that searches. Either may be "start".

    share: part of the people it takes; least: people of an arm before there is a verdict.
    Raises Missing, Damaged for a version that is not sound, Conflict where `now` does not search or another comparison
    runs, BadInput for the same version twice.
    """
    active = _active(workspace, tenant)
    first, second = (
        active if one == "active" else START if one == START else photo_switch.find(workspace, one, tenant=tenant).id
        for one in (now, other)
    )
    if first != active:
        raise Conflict(
            _("{id} does not search now: {active} does").format(id=first, active=active),
            fix=_("Name the version that searches first."),
        )
    if second == first:
        raise BadInput(_("a comparison needs two different versions"), fix=_("tuneloop photos versions shows them."))
    for one in (first, second):
        if one != START:
            photo_version.load(workspace, one, tenant=tenant)
    return experiments.create(
        workspace,
        name=name or f"photos {first[:8]} {second[:8]}",
        task=TASK,
        arms={"a": first, "b": second},
        metrics=[{"name": METRIC, "kind": "rate", "better": "up"}],
        guardrails=(),
        days=days,
        layer=LAYER,
        share=share,
        least=least,
        tenant=tenant,
        by=by,
    )


def running(workspace: Workspace, *, tenant: str = "") -> list[Experiment]:
    """Comparisons that divide people now; one whose time is over does not, even where nobody has ended it."""
    now = time.time()
    found = experiments.history(workspace, tenant=tenant, state="running")
    return [one for one in found if one.task == TASK and (one.ends is None or now < one.ends)]


def version_of(found: list[Experiment], unit: str) -> str | None:
    """The version that searches for this person ("" before any), None where no comparison has a say."""
    for one in found:
        arm = experiments.choose_arm(one, unit)
        if arm is not None:
            return "" if arm.variant == START else arm.variant
    return None


def note(workspace: Workspace, query: str, user: str, *, tenant: str = "") -> None:
    """Record whether the first product of a search was right, by what this person's clicks on it say now.

    The first click that tells decides; when it is undone and none is left, the outcome is taken back.
    """
    found = running(workspace, tenant=tenant)
    if not found:
        return
    said = (photo_feedback.c.query == query, photo_feedback.c.user == user, photo_feedback.c.undone.is_(None))
    with workspace.db.read() as rows:
        asked = rows.execute(select(photo_queries).where(photo_queries.c.id == query)).one()
        verdicts = {r.item: r.verdict for r in rows.execute(select(photo_feedback).where(*said))}
    unit, key = asked.user or query, f"{query} {user}"
    for one in found:
        arm = experiments.choose_arm(one, unit)
        if arm is None or asked.time < one.created or asked.version != ("" if arm.variant == START else arm.variant):
            continue
        told = first_right(asked.results, verdicts)
        if told is not None:
            about: dict[str, Any] = {"arm": arm.name, "metric": METRIC, "user": asked.user, "call": query, "key": key}
            experiments.record(workspace, one, value=float(told), **about)
            continue
        with workspace.db.write() as rows:
            rows.execute(delete(outcomes).where(outcomes.c.experiment == one.id, outcomes.c.key == key))


def first_right(results: list[list[Any]], verdicts: dict[str, str]) -> bool | None:
    """Whether the first of the results was the right one; None while nothing that was said tells."""
    first = results[0][0] if results else ""
    named = {item for item, verdict in verdicts.items() if verdict in ("right", "pointed")}
    if named:
        return first in named
    return False if verdicts.get(first) == "wrong" else None


def settle(workspace: Workspace, ended: Experiment, variant: str) -> None:
    """Make the version (or "start") of the arm that stays the one that searches, where it does not already."""
    tenant = ended.tenant
    if _active(workspace, tenant) == variant:
        return
    said = _("experiment {name}: {state}").format(name=ended.name, state=ended.state)
    # People's clicks decided, or whoever ended it: the gate's word from before is overruled, and the note says by what.
    photo_switch.activate(workspace, variant, tenant=tenant, note=said, force=True)


def _active(workspace: Workspace, tenant: str) -> str:
    now = photo_switch.active(workspace, tenant=tenant)
    return now.id if now else START
