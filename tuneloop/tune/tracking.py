"""Optional: a run's figures in an MLflow tracking server, through its REST API (mlflow.org/docs, REST API 2.0).

Six small requests need no client library. Logging never stops a training: what could not be sent is sent with the
next checkpoint, and the end says so when it never was.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from tuneloop.errors import EngineDown
from tuneloop.texts import _
from tuneloop.tune.prepare import Job

EXPERIMENT = "tuneloop"
_BATCH = 1000  # metrics in one log-batch request, the server's own limit
_SECONDS = 10.0


def start(job: Job) -> str:
    """Create the run in MLflow; its id, "" when no server is set. Raises EngineDown when it does not answer."""
    if not job.options.mlflow_url:
        return ""
    tags = [{"key": "mlflow.runName", "value": job.name}, {"key": "tuneloop.identity", "value": job.identity}]
    try:
        wanted = {"experiment_id": _experiment(job), "start_time": _now(), "tags": tags}
        identity = str(_call(job, "runs/create", wanted)["run"]["info"]["run_id"])
    except (KeyError, TypeError) as problem:
        raise _away(job, _("its answer is not MLflow's")) from problem
    params = [{"key": name, "value": value[:500]} for name, value, _origin in job.values()]
    _call(job, "runs/log-batch", {"run_id": identity, "params": params[:100]})
    return identity


def log(job: Job, identity: str, rows: Sequence[dict[str, Any]], sent: int) -> int:
    """Send the curve's rows from number `sent` on; returns how many are there now (fewer when the server is away)."""
    if not identity:
        return sent
    points = [
        {"key": key, "value": row[key], "timestamp": _now(), "step": row["step"]}
        for row in rows[sent:]
        for key in ("loss", "validation", "rate")
        if row[key] is not None
    ]
    try:
        for begin in range(0, len(points), _BATCH):
            _call(job, "runs/log-batch", {"run_id": identity, "metrics": points[begin : begin + _BATCH]})
    except EngineDown:
        return sent
    return len(rows)


def finish(job: Job, identity: str, figures: Mapping[str, Any]) -> bool:
    """Send the final figures and close the run; False when the server is away."""
    if not identity:
        return False
    numbers = {k: v for k, v in figures.items() if isinstance(v, int | float)}
    metrics = [{"key": f"final.{k}", "value": v, "timestamp": _now(), "step": 0} for k, v in numbers.items()]
    try:
        _call(job, "runs/log-batch", {"run_id": identity, "metrics": metrics})
        _call(job, "runs/update", {"run_id": identity, "status": "FINISHED", "end_time": _now()})
    except EngineDown:
        return False
    return True


def _experiment(job: Job) -> str:
    query = urllib.parse.urlencode({"experiment_name": EXPERIMENT})
    if found := _call(job, f"experiments/get-by-name?{query}", None, may_miss=True):
        return str(found["experiment"]["experiment_id"])
    return str(_call(job, "experiments/create", {"name": EXPERIMENT})["experiment_id"])


def _call(job: Job, path: str, body: Mapping[str, Any] | None, *, may_miss: bool = False) -> dict[str, Any]:
    """One request. {} for what may be missing and is; EngineDown for everything else that is no answer."""
    url = f"{job.options.mlflow_url.rstrip('/')}/api/2.0/mlflow/{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            answer: dict[str, Any] = json.loads(reply.read() or b"{}")
            return answer
    except urllib.error.HTTPError as problem:
        problem.close()
        if problem.code == 404 and may_miss:
            return {}
        raise _away(job, str(problem)) from problem
    except (OSError, ValueError) as problem:
        raise _away(job, str(problem)) from problem


def _away(job: Job, reason: str) -> EngineDown:
    return EngineDown(
        _("the MLflow server {url} does not answer: {reason}").format(url=job.options.mlflow_url, reason=reason),
        fix=_("Start it, correct tune.mlflow_url, or leave the setting empty to train without it."),
    )


def _now() -> int:
    return int(time.time() * 1000)
