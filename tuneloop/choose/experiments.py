"""Experiments from their design to their end: create, select, record, look, stop, promote, roll back.

An experiment divides the units (users; calls where there is no user) of one task among arms, each a variant of the
task. What is measured comes from the rows of calls, from people's feedback, and from outcomes that applications
report. Everything that changes an experiment is one transaction and one event in its history.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from tuneloop.choose import allocation, verdict
from tuneloop.choose.assign import BUCKETS, Arm, Assigner, Running, arm_of, bucket, shares
from tuneloop.choose.measures import WITH_PAST, measured, past
from tuneloop.choose.sequential import Sums, ratio
from tuneloop.choose.verdict import Design, ExperimentVerdict, Metric
from tuneloop.db.tables import experiment_events, experiments, outcomes
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.texts import _
from tuneloop.workspace import Workspace

NAME = re.compile(r"[\w .:@-]{1,100}")
MODES = ("split", "shadow", "bandit")
METHODS = ("always-valid", "fixed", "bayes")

# What an application may ask for by name, and what better means there. Other names are means that rise.
KNOWN: dict[str, Metric] = {
    "response_time": Metric("response_time", "mean", "down"),
    "response_time_p95": Metric("response_time_p95", "quantile", "down", q=0.95),
    "quality_score": Metric("quality_score", "mean", "up"),
    "user_satisfaction": Metric("user_satisfaction", "rate", "up"),
    "error_rate": Metric("error_rate", "rate", "down"),
    "cost": Metric("cost", "mean", "down"),
    "tokens": Metric("tokens", "mean", "down"),
}


@dataclass(frozen=True, slots=True)
class Experiment:
    """A row of `experiments`. design: what `create` was given, completed. Times are Unix seconds."""

    id: str
    tenant: str
    name: str
    task: str
    design: dict[str, Any]
    salt: str
    state: str  # running stopped promoted rolled_back
    created: float
    ends: float | None = None
    verdict: dict[str, Any] | None = None

    @property
    def arms(self) -> tuple[Arm, ...]:
        return tuple(Arm(a["name"], a["variant"], a["share"]) for a in self.design["arms"])

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(Metric(**m) for m in self.design["metrics"])


def create(
    workspace: Workspace,
    *,
    name: str,
    task: str,
    arms: Mapping[str, str],
    weights: Mapping[str, float] | None = None,
    metrics: Sequence[str | Mapping[str, Any]] = ("user_satisfaction", "response_time"),
    guardrails: Sequence[str | Mapping[str, Any]] = ("error_rate",),
    days: float = 14.0,
    method: str = "always-valid",
    mode: str = "split",
    layer: str = "default",
    share: float = 1.0,
    planned: int = 0,
    least: int = verdict.LEAST,
    cap: int = 5,
    tenant: str = "",
    by: str = "",
) -> Experiment:
    """Start an experiment.

    arms: arm -> variant of the task; the first is what serves today. weights: arm -> relative share (even without).
    metrics, guardrails: names, or mappings of `Metric` fields. days: until it stops by itself. share: part of the
    layer's units it takes. planned: units per arm for method "fixed". cap: votes of one user that count.
    Raises BadInput for a design that makes no sense, Conflict when the name is taken, when the layer has not enough
    free units, or when the task already has a running experiment in it.
    """
    design = _checked(name, arms, weights, metrics, guardrails, days, method, mode, layer, share, planned, least, cap)
    now = time.time()
    with workspace.db.write() as rows:
        if rows.execute(select(experiments.c.id).where(_named(tenant, name))).first():
            raise Conflict(
                _("there is an experiment '{name}' already").format(name=name), fix=_("Give this one another name.")
            )
        design["first"], design["end"] = _buckets(rows, tenant, layer, share)
        made = Experiment(
            "ex-" + secrets.token_hex(8), tenant, name, task, design, secrets.token_hex(8), "running", now,
            now + days * 86400,
        )  # fmt: skip
        rows.execute(insert(experiments), [asdict(made)])
        _event(rows, made.id, "created", "", by)
    return made


def find(workspace: Workspace, reference: str, *, tenant: str | None = "") -> Experiment:
    """By id or name. Raises Missing, also for another team's."""
    found = next((one for one in history(workspace, tenant=tenant) if reference in (one.id, one.name)), None)
    if found is None:
        raise Missing(
            _("there is no experiment '{name}'").format(name=reference[:100]),
            fix=_("`tuneloop experiment list` shows them."),
        )
    return found


def history(workspace: Workspace, *, tenant: str | None = "", state: str | None = None) -> list[Experiment]:
    """Newest first; tenant None: of all teams. Replays are rows of the same table and no experiments."""
    chosen = select(experiments).where(experiments.c.id.startswith("ex-"))
    chosen = chosen.order_by(experiments.c.created.desc(), experiments.c.id)
    if tenant is not None:
        chosen = chosen.where(experiments.c.tenant == tenant)
    if state is not None:
        chosen = chosen.where(experiments.c.state == state)
    with workspace.db.read() as rows:
        return [Experiment(**row._mapping) for row in rows.execute(chosen)]


def events(workspace: Workspace, experiment: Experiment) -> list[dict[str, Any]]:
    """What happened to it, oldest first."""
    chosen = select(experiment_events).where(experiment_events.c.experiment == experiment.id)
    with workspace.db.read() as rows:
        return [dict(row._mapping) for row in rows.execute(chosen.order_by(experiment_events.c.id))]


def assigner(workspace: Workspace) -> Assigner:
    """The running experiments of all teams, for the hot path."""
    return Assigner(
        Running(
            one.id, one.tenant, one.task, one.salt, one.design["layer"], one.design["first"], one.design["end"],
            one.arms, one.design["mode"],
        )
        for one in history(workspace, tenant=None, state="running")
    )  # fmt: skip


def choose_arm(experiment: Experiment, unit: str) -> Arm | None:
    """The arm of a unit, by the same hash as the hot path's; None when it is outside the experiment's share."""
    if not experiment.design["first"] <= bucket(experiment.design["layer"], unit) < experiment.design["end"]:
        return None
    return arm_of(experiment.salt, experiment.arms, unit)


def record(
    workspace: Workspace,
    experiment: Experiment,
    *,
    arm: str,
    metric: str,
    value: float,
    user: str = "",
    call: str = "",
    key: str = "",
) -> bool:
    """Commit one outcome; False when the same key was recorded before (nothing is added then).

    Raises BadInput for an unknown arm or a value that is no finite number, Conflict once the experiment has ended.
    """
    if arm not in {a.name for a in experiment.arms}:
        raise BadInput(_("'{arm}' is no arm of this experiment").format(arm=arm[:64]))
    if not math.isfinite(value) or abs(value) > 1e12:
        raise BadInput(_("the value must be a finite number"))
    if not NAME.fullmatch(metric) or len(key) > 255:
        raise BadInput(_("names of metrics have 1 to 100 letters, keys at most 255 characters"))
    row = {
        "experiment": experiment.id, "arm": arm, "user": user[:256], "metric": metric, "value": value,
        "time": time.time(), "call": call[:256], "key": key or secrets.token_hex(16),
    }  # fmt: skip
    with workspace.db.write() as rows:
        known = select(outcomes.c.id).where(outcomes.c.experiment == experiment.id, outcomes.c.key == row["key"])
        if rows.execute(known).first():
            return False
        if _state(rows, experiment.id) != "running":
            raise Conflict(_("the experiment '{name}' has ended").format(name=experiment.name))
        rows.execute(insert(outcomes), [row])
    return True


def look(workspace: Workspace, experiment: Experiment) -> ExperimentVerdict:
    """What it shows now; kept in its row. May be called as often as anybody likes."""
    # Here, though verdicts of nothing need none of it: a server looks first before it listens, and later the import
    # would stop every request for 0.25 s.
    import scipy.special  # noqa: F401

    units, sums, values = measured(workspace, experiment)
    design = Design(
        {arm.name: arm.share for arm in experiment.arms},
        experiment.metrics,
        experiment.design["method"],
        least=experiment.design["least"],
        planned=experiment.design["planned"],
        moving=experiment.design["mode"] == "bandit",
    )
    enough = min((units.get(arm.name, 0) for arm in experiment.arms), default=0) >= WITH_PAST
    before = past(workspace, experiment) if enough else {}  # no need to look for what could not be used yet
    said = verdict.judge(design, units, sums, values, before)
    with workspace.db.write() as rows:
        rows.execute(update(experiments).where(experiments.c.id == experiment.id).values(verdict=_plain(asdict(said))))
    return said


def stop(workspace: Workspace, experiment: Experiment, *, note: str = "", by: str = "") -> Experiment:
    """End it without changing what serves. Raises Conflict when it has ended."""
    return _end(workspace, experiment, "stopped", note, by)


def promote(workspace: Workspace, experiment: Experiment, *, arm: str = "", note: str = "", by: str = "") -> Experiment:
    """End it for the sake of an arm (the winner if none is named); the caller gives its variant the task's weight.

    Raises BadInput for an unknown arm, Conflict when no winner is known and none is named.
    """
    winner = arm or ((experiment.verdict or {}).get("arm") or "")
    if not winner or (not arm and (experiment.verdict or {}).get("decision") != "winner"):
        raise Conflict(_("no arm has won"), fix=_("Wait for a verdict, or name the arm to promote."))
    if winner not in {a.name for a in experiment.arms}:
        raise BadInput(_("'{arm}' is no arm of this experiment").format(arm=winner[:64]))
    return _end(workspace, experiment, "promoted", f"{winner} {note}".strip(), by)


def roll_back(workspace: Workspace, experiment: Experiment, *, note: str = "", by: str = "") -> Experiment:
    """End it and return to what served before. Also ends a promotion: the caller restores the task's weights."""
    return _end(workspace, experiment, "rolled_back", note, by, also="promoted")


def watch(workspace: Workspace) -> list[Experiment]:
    """What ended by itself since the last call: guardrails broken (rolled back), time over (stopped).

    Bandits get new shares. Called by the server every few seconds.
    """
    ended = []
    for one in history(workspace, tenant=None, state="running"):
        said = look(workspace, one)
        if said.decision == "roll back":
            ended.append(roll_back(workspace, one, note=said.why, by="guardrail"))
        elif one.ends is not None and time.time() >= one.ends:
            ended.append(stop(workspace, one, note=said.why, by="its end"))
        elif one.design["mode"] == "bandit":
            _reshare(workspace, one)
    return ended


def misassigned(workspace: Workspace, experiment: Experiment) -> int:
    """Stored calls whose arm is not the one the hash gives: 0, unless there is a fault. Not for bandits."""
    from tuneloop.db.tables import calls

    chosen = select(calls.c.user, calls.c.id, calls.c.arm).where(calls.c.experiment == experiment.id)
    with workspace.db.read() as rows:
        found = rows.execute(chosen).all()
    return sum(arm_of(experiment.salt, experiment.arms, user or call).name != arm for user, call, arm in found)


def _reshare(workspace: Workspace, experiment: Experiment) -> None:
    goal = next((m for m in experiment.metrics if m.role == "goal" and m.kind == "rate"), None)
    _units, sums, _values = measured(workspace, experiment)
    found = sums.get(goal.name, {}) if goal else {}
    known = {arm: one if isinstance(one, Sums) else ratio(one) for arm, one in found.items()}
    if goal is None or any(known.get(arm.name) is None or known[arm.name].n < 20 for arm in experiment.arms):
        return
    wanted = allocation.top_two({arm.name: known[arm.name] for arm in experiment.arms}, seed=int(time.time()))
    arms = [{"name": a.name, "variant": a.variant, "share": wanted[a.name]} for a in experiment.arms]
    with workspace.db.write() as rows:
        design = experiment.design | {"arms": arms}
        rows.execute(update(experiments).where(experiments.c.id == experiment.id).values(design=design))


def _checked(
    name: str, arms: Mapping[str, str], weights: Mapping[str, float] | None, metrics: Sequence[Any],
    guardrails: Sequence[Any], days: float, method: str, mode: str, layer: str, share: float, planned: int,
    least: int, cap: int,
) -> dict[str, Any]:  # fmt: skip
    if not NAME.fullmatch(name) or not NAME.fullmatch(layer):
        raise BadInput(_("names have 1 to 100 letters, digits, spaces or . : @ _ -"))
    if not 2 <= len(arms) <= 20 or any(not NAME.fullmatch(arm) for arm in arms):
        raise BadInput(_("an experiment has 2 to 20 arms"), fix=_("Name them like a=VARIANT b=VARIANT."))
    given = dict(weights or dict.fromkeys(arms, 1.0))
    if set(given) != set(arms) or any(not (math.isfinite(w) and w > 0) for w in given.values()):
        raise BadInput(_("every arm needs a share above zero"))
    if method not in METHODS or mode not in MODES:
        raise BadInput(
            _("the method is one of {methods}, the mode one of {modes}").format(methods=METHODS, modes=MODES)
        )
    if not (0 < days <= 365 and 0 < share <= 1 and 0 <= planned <= 10**9 and 1 <= least <= 10**9 and 1 <= cap <= 10**6):
        raise BadInput(_("days (0 to 365), share (0 to 1) or a number of units is out of bounds"))
    if method == "fixed" and not planned:
        raise BadInput(_("a fixed-horizon test needs the number of units per arm beforehand"))
    goals = [_metric(one, "goal") for one in metrics]
    fences = [_metric(one, "guardrail") for one in guardrails if _name(one) not in {g.name for g in goals}]
    if not goals:
        raise BadInput(_("an experiment needs at least one metric"))
    parts = shares(given)
    return {
        "arms": [{"name": arm, "variant": variant, "share": parts[arm]} for arm, variant in arms.items()],
        "metrics": [asdict(metric) for metric in (*goals, *fences)],
        "method": method, "mode": mode, "layer": layer, "share": share, "days": days, "planned": planned,
        "least": least, "cap": cap,
    }  # fmt: skip


def _name(metric: str | Mapping[str, Any]) -> str:
    return metric if isinstance(metric, str) else str(metric.get("name", ""))


def _metric(asked: str | Mapping[str, Any], role: str) -> Metric:
    name = _name(asked)
    if not NAME.fullmatch(name):
        raise BadInput(_("names of metrics have 1 to 100 letters, keys at most 255 characters"))
    fields = (
        asdict(KNOWN.get(name, Metric(name))) | (dict(asked) if not isinstance(asked, str) else {}) | {"role": role}
    )
    try:
        metric = Metric(**fields)
    except TypeError as problem:
        raise BadInput(_("the metric '{name}' is not understood: {why}").format(name=name, why=problem)) from None
    fits = metric.kind in ("rate", "mean", "quantile") and metric.better in ("up", "down")
    if not fits or not math.isfinite(metric.margin) or metric.margin < 0 or not 0 < metric.q < 1:
        raise BadInput(
            _("the metric '{name}' is not understood: {why}").format(name=name, why=_("wrong kind or bounds"))
        )
    return metric


def _buckets(rows: Connection, tenant: str, layer: str, share: float) -> tuple[int, int]:
    """The first free range of the layer that is large enough."""
    size = max(1, round(share * BUCKETS))
    running = select(experiments.c.design).where(experiments.c.state == "running", experiments.c.tenant == tenant)
    taken = sorted((d["first"], d["end"]) for (d,) in rows.execute(running) if d["layer"] == layer)
    first = 0
    for begin, end in taken:
        if begin - first >= size:
            break
        first = max(first, end)
    if first + size > BUCKETS:
        raise Conflict(
            _("the layer '{layer}' has no {share:.0%} of its users left").format(layer=layer, share=share),
            fix=_("Stop another experiment, take a smaller --share, or use another --layer."),
        )
    return first, first + size


def _end(workspace: Workspace, experiment: Experiment, state: str, note: str, by: str, also: str = "") -> Experiment:
    with workspace.db.write() as rows:
        now = _state(rows, experiment.id)
        if now not in ("running", also):
            raise Conflict(
                _("the experiment '{name}' has ended: {state}").format(name=experiment.name, state=now),
                fix=_("Start a new one."),
            )
        rows.execute(update(experiments).where(experiments.c.id == experiment.id).values(state=state))
        _event(rows, experiment.id, state, note, by)
    return find(workspace, experiment.id, tenant=None)


def _state(rows: Connection, identity: str) -> str:
    return str(rows.execute(select(experiments.c.state).where(experiments.c.id == identity)).scalar())


def _event(rows: Connection, identity: str, event: str, note: str, by: str) -> None:
    row = {"experiment": identity, "time": time.time(), "event": event, "note": note[:2000], "by": by[:256]}
    rows.execute(insert(experiment_events), [row])


def _named(tenant: str, name: str) -> Any:
    return (experiments.c.tenant == tenant) & (experiments.c.name == name)


def _plain(value: Any) -> Any:
    """JSON without infinities, which databases refuse."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
