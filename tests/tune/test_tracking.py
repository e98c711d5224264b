"""Against a real HTTP server that keeps the paths and rules of MLflow's REST API 2.0."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from tests.tune import small_datasets
from tuneloop.errors import EngineDown
from tuneloop.tune import lora, run
from tuneloop.tune.folder import DEMO_BASE
from tuneloop.tune.options import Options
from tuneloop.workspace import Workspace

QUICK = Options(rank=4, rate=5e-3, epochs=1, batch_tokens=640, threads=1, dtype="fp32")


class Mlflow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlparse(self.path)
        name = parse_qs(url.query).get("experiment_name", [""])[0]
        if url.path != "/api/2.0/mlflow/experiments/get-by-name":
            return self._reply(404, {})
        if name in self.server.experiments:  # type: ignore[attr-defined]
            return self._reply(200, {"experiment": {"experiment_id": "7", "name": name}})
        return self._reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        state: Any = self.server
        if not self.path.startswith("/api/2.0/mlflow/"):
            return self._reply(404, {})
        state.calls.append((self.path.removeprefix("/api/2.0/mlflow/"), body))
        if state.broken and self.path.endswith("log-batch") and "metrics" in body:
            return self._reply(500, {})
        if self.path.endswith("experiments/create"):
            state.experiments.add(body["name"])
            return self._reply(200, {"experiment_id": "7"})
        if self.path.endswith("runs/create"):
            return self._reply(200, {"run": {"info": {"run_id": "abc"}}})
        bad = len(body.get("metrics", ())) > 1000 or len(body.get("params", ())) > 100
        return self._reply(400 if bad else 200, {})

    def _reply(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Mlflow)
    made.calls, made.experiments, made.broken = [], set(), False
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def dataset(workspace: Workspace) -> Path:
    return small_datasets.write(workspace.folder("datasets") / "shop")


def train(workspace: Workspace, dataset: Path, url: str, **more: Any) -> dict[str, Any]:
    version = lora.train(workspace, dataset, DEMO_BASE, options=replace(QUICK, mlflow_url=url), **more)
    return run.metrics(workspace.path / version.meta["run"])


def test_a_run_is_logged_from_its_start_to_its_end(server: Any, workspace: Workspace, dataset: Path) -> None:
    metrics = train(workspace, dataset, server.url + "/")
    assert metrics["mlflow"] is True
    assert [path for path, _body in server.calls[:2]] == ["experiments/create", "runs/create"]
    params = {p["key"]: p["value"] for p in server.calls[2][1]["params"]}
    assert params["rank"] == "4" and params["rate"] == "0.005"
    points = [m for path, body in server.calls if path == "runs/log-batch" for m in body.get("metrics", ())]
    assert sorted(m["step"] for m in points if m["key"] == "loss") == list(range(1, metrics["steps"] + 1))
    assert {"validation", "rate", "final.validation"} <= {m["key"] for m in points}
    assert server.calls[-1][0] == "runs/update"
    assert server.calls[-1][1]["status"] == "FINISHED"
    train(workspace, dataset, server.url, again=True)
    assert [path for path, _body in server.calls].count("experiments/create") == 1  # found by name the second time


def test_a_server_that_fails_midway_stops_nothing(server: Any, workspace: Workspace, dataset: Path) -> None:
    server.broken = True
    metrics = train(workspace, dataset, server.url)
    assert metrics["mlflow"] is False
    assert metrics["steps"] > 0


def test_a_server_that_is_not_there_or_no_mlflow_is_said_before_training(
    server: Any, workspace: Workspace, dataset: Path
) -> None:
    for url in ("http://127.0.0.1:9", server.url + "/not/mlflow"):
        with pytest.raises(EngineDown, match="does not answer") as told:
            train(workspace, dataset, url, again=True)
        assert "tune.mlflow_url" in told.value.fix
