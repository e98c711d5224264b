"""Rows of an experiment whose people were there before it: everybody has a pace of their own, in both times."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import insert

from tuneloop.choose import experiments
from tuneloop.choose.experiments import Experiment
from tuneloop.db.tables import calls
from tuneloop.workspace import Workspace

Row = dict[str, Any]


def begin(workspace: Workspace, name: str = "x", **more: Any) -> Experiment:
    known: dict[str, Any] = {"metrics": ["response_time"], "guardrails": [], "arms": {"a": "small", "b": "big"}}
    return experiments.create(workspace, name=name, task="t", **(known | more))


def call(one: Experiment, n: int, *, before: bool = False, user: str = "", **more: Any) -> Row:
    """A call of the experiment, or one before it began."""
    arm = "" if before else experiments.choose_arm(one, user or f"{one.id}-{n}").name  # type: ignore[union-attr]
    return {
        "id": f"{one.id}-{n}", "time": one.created + (-1000 if before else 1000) + n / 1e6, "version": "", "user": user,
        "status": "ok", "request": {}, "answer": "x", "latency_ms": 100.0, "tokens_in": 1, "tokens_out": 2,
        "experiment": "" if before else one.id, "arm": arm, "task": "t", "tenant": one.tenant, "kind": "chat",
        "quality": None, "cost": 0.0, "cached": False, "parent": "",
    } | more  # fmt: skip


def people(one: Experiment, n: int, *, gain: float = 0.0, old: float = 0.8, seed: int = 0) -> list[Row]:
    """n people with one to six calls each; a share `old` of them has a past. gain: milliseconds that arm b saves."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for person in range(n):
        user, pace = f"u{person}", rng.normal(500, 100)
        if rng.random() < old:
            for _call in range(rng.integers(1, 7)):
                rows.append(call(one, len(rows), before=True, user=user, latency_ms=pace + rng.normal(0, 20)))
        for _call in range(rng.integers(1, 7)):
            made = call(one, len(rows), user=user)
            saved = gain if made["arm"] == "b" else 0.0
            rows.append(made | {"latency_ms": pace - saved + rng.normal(0, 20), "tokens_out": int(rng.integers(1, 9))})
    return rows


def store(workspace: Workspace, rows: list[Row]) -> None:
    with workspace.db.write() as connection:
        connection.execute(insert(calls), rows)


def of_units(rows: list[Row], arm: str, field: str = "latency_ms") -> dict[str, list[float]]:
    """user -> values in the experiment."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["arm"] == arm:
            found.setdefault(row["user"], []).append(row[field])
    return found


def befores(rows: list[Row]) -> dict[str, float]:
    """user -> mean before."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if not row["experiment"]:
            found.setdefault(row["user"], []).append(row["latency_ms"])
    return {user: float(np.mean(values)) for user, values in found.items()}
