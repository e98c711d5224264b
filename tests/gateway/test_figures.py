"""Figures over real rows: statistics, metrics that promtool accepts, dashboards that name only what exists."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from tests.gateway.live import running, until
from tests.gateway.test_exchange import ASK, ECHO, gateway, task
from tuneloop.answer import health, statistics
from tuneloop.db.tables import calls, feedback
from tuneloop.errors import BadInput
from tuneloop.workspace import Workspace

DEPLOY = Path(__file__).parents[2] / "deploy"


def store(workspace: Workspace, count: int, **more: object) -> None:
    known = {
        "version": "", "status": "ok", "request": {}, "answer": "x", "tokens_in": 2, "tokens_out": 3, "model": "m",
        "task": "t", "variant": "v",
    }  # fmt: skip
    prefix = str(more.get("tenant", "")) + str(more.get("model", "m"))
    with workspace.db.write() as rows:
        for n in range(count):
            row = {"id": f"{prefix}{n}", "time": time.time() - n, "latency_ms": float(n + 1)}
            rows.execute(insert(calls), [known | row | more])


def test_sums_percentiles_shares_and_votes(workspace: Workspace) -> None:
    store(workspace, 100)
    store(workspace, 50, model="other", status="error", code="timeout", latency_ms=9.0)
    store(workspace, 30, tenant="red")
    with workspace.db.write() as rows:
        for n in range(10):
            row = {"id": f"f{n}", "call": f"m{n}", "kind": "thumb", "value": "up" if n < 8 else "down", "time": 1.0}
            rows.execute(insert(feedback), [row | {"key": f"k{n}"}])
    first, second = statistics.by(workspace, "model")
    assert (first["model"], first["requests"], first["success"], first["share"]) == ("m", 100, 100, 100 / 150)
    assert {name: first["latency_ms"][name] for name in ("p50", "p95", "p99")} == {
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
    }
    assert first["satisfaction"]["share"] == 0.8 and first["satisfaction"]["low"] < 0.8 < first["satisfaction"]["high"]
    assert (second["errors"], second["error_kinds"], second["latency_ms"]["p50"]) == (50, {"timeout": 50}, None)
    system = statistics.get_system_stats(workspace)
    assert system["usage_percentages"] == {"m": 66.67, "other": 33.33}
    assert system["total_tokens"] == 150 * 5
    assert statistics.get_model_stats(workspace, "m", 7, tenant="red")["total"]["requests"] == 30
    days = statistics.by(workspace, "day")
    assert sum(row["requests"] for row in days) == 150 and [row["day"] for row in days] == sorted(
        r["day"] for r in days
    )
    with pytest.raises(BadInput):
        statistics.by(workspace, "request")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(users=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=60), min_size=1, max_size=5))
def test_percentiles_of_every_user_are_the_value_at_the_rank(workspace: Workspace, users: list[list[int]]) -> None:
    known = dict.fromkeys(("version", "answer", "model", "task", "variant"), "") | {"status": "ok", "request": {}}
    known |= {"tokens_in": 0, "tokens_out": 0, "time": time.time()}
    with workspace.db.write() as rows:
        rows.execute(delete(calls))
        for user, latencies in enumerate(users):
            one = [{"id": f"{user}-{n}", "latency_ms": float(took)} for n, took in enumerate(latencies)]
            rows.execute(insert(calls), [known | row | {"user": f"u{user}"} for row in one])
    found = {row["user"]: row["latency_ms"] for row in statistics.by(workspace, "user")}
    for user, latencies in enumerate(users):
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            assert found[f"u{user}"][name] == sorted(latencies)[math.ceil(len(latencies) * share) - 1]


def test_old_calls_go_with_what_was_said_of_them(workspace: Workspace) -> None:
    store(workspace, 20)
    store(workspace, 20, model="old", time=time.time() - 40 * 86_400)
    with workspace.db.write() as rows:
        row = {"id": "f", "call": "old3", "kind": "thumb", "value": "up", "time": 1.0, "key": "k"}
        rows.execute(insert(feedback), [row])
    assert statistics.forget_old(workspace, 30) == 20
    assert statistics.get_system_stats(workspace, days=100)["total_requests"] == 20
    assert workspace.db.problems() == []


def test_health_is_kept_and_old_samples_go(workspace: Workspace) -> None:
    now = health.sample(workspace, engines={})
    assert now["database_ms"] >= 0 and now["disk_free_bytes"] > 0
    health.keep(workspace, now | {"time": now["time"] - 31 * 86_400})
    health.keep(workspace, now)
    assert [found["time"] for found in health.get_system_health_history(workspace, 1)] == [now["time"]]
    assert len(health.get_system_health_history(workspace, 24 * 60)) == 1


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> str:
    with gateway(tmp_path_factory.mktemp("metrics"), ECHO + task("echo", checks=["min_chars:1"], cache=60)) as live:
        for n in range(4):
            live.post("/v1/chat/completions", ASK | {"stream": n == 3, "user": f"u{n}"})
        live.post("/v1/chat/completions", ASK | {"model": "nothing"})
        until(lambda: live.get("/health/history").json()["data"])
        assert live.get("/stats").json()["total_requests"] in (0, 4)  # rows may still wait in the journal
        return live.get("/metrics").text


def test_prometheus_own_tool_accepts_the_metrics(exposition: str) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_the_requests(exposition: str) -> None:
    found = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", exposition, re.MULTILINE))
    labels = 'engine="echo",model="m-echo",task="t",variant="echo"'
    assert float(found['llm_requests_total{engine="echo",model="m-echo",status="ok",task="t",variant="echo"}']) == 4
    assert float(found[f"llm_response_time_seconds_count{{{labels}}}"]) == 4
    assert float(found["cache_hit_ratio"]) == 0.75
    assert float(found['tuneloop_refused_total{reason="model_not_found"}']) == 1
    assert 'user="' not in exposition


def test_dashboards_name_only_metrics_there_are(exposition: str) -> None:
    known = set(re.findall(r"^# TYPE (\w+) ", exposition, re.MULTILINE))
    for path in sorted((DEPLOY / "grafana").glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel["targets"]:
                for name in re.findall(
                    r"\b(?:llm|tuneloop|ab_test|cache_hit|system_health|rag|vector_db)_\w+", target["expr"]
                ):
                    assert name in known or name.removesuffix("_bucket") in known, name


def test_an_experiments_values_are_metrics(tmp_path: Path) -> None:
    from tuneloop.choose import experiments
    from tuneloop.workspace import open_workspace, write_atomically

    open_workspace(tmp_path / "w", create=True)
    write_atomically(tmp_path / "w/tuneloop.toml", ECHO + task("echo"))
    workspace = open_workspace(tmp_path / "w")
    experiments.create(workspace, name="x", task="t", arms={"a": "echo", "b": "echo"})
    with running(workspace, None) as live:
        until(lambda: 'ab_test_results{arm="b",experiment="x"' in live.get("/metrics").text)
