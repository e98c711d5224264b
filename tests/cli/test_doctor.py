"""`tuneloop doctor`: what it finds, what it mends, and what it leaves alone."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tests.answer.models import add_pack, add_version
from tuneloop.workspace import Workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


def examine(command: Command, workspace: Workspace, *arguments: object, code: int = 0) -> dict[str, Any]:
    done = command("-w", workspace.path, "doctor", "--json", *arguments, code=code)
    return {finding["what"]: finding for finding in json.loads(done.stdout)}


def aged(path: Path, hours: float = 2) -> Path:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))
    return path


def test_healthy_machine_and_workspace(workspace: Workspace, tuneloop_command: Command) -> None:
    add_pack(workspace, add_version(workspace, "v"))
    found = examine(tuneloop_command, workspace)
    assert {f["state"] for f in found.values()} <= {"ok", "warn"}
    assert found["database"]["said"] == "whole"
    assert found["versions"]["said"] == "1 version, files unchanged"
    assert found["leftovers"]["state"] == "ok"
    assert "torchvision" not in found


def test_outside_a_workspace_the_machine_is_examined(tmp_path: Path, tuneloop_command: Command) -> None:
    done = tuneloop_command("-w", tmp_path / "none", "doctor")
    assert "Python" in done.stdout
    assert not (tmp_path / "none").exists()


def test_leftovers_are_offered_then_cleared(workspace: Workspace, tuneloop_command: Command) -> None:
    kept = add_version(workspace, "kept")
    models, datasets = workspace.folder("models"), workspace.folder("datasets")
    part, stray, young = models / ".x.part", models / "0123456789abcdef", models / ".y.part"
    for folder in (part, stray, young):
        folder.mkdir()
        (folder / "file").write_text("x")
    lost = datasets / ".d1.old"  # a crash between the two renames of `new_folder`: the only copy
    lost.mkdir()
    (lost / "card.json").write_text("{}")
    temporary = workspace.path / ".tuneloop.toml.99.tmp"
    temporary.write_text("x")
    for path in (part, stray, lost, temporary):
        aged(path)

    offered = examine(tuneloop_command, workspace)["leftovers"]
    assert offered["state"] == "warn"
    assert "--fix" in offered["fix"]
    assert part.exists() and stray.exists()

    cleared = examine(tuneloop_command, workspace, "--fix")["leftovers"]
    assert cleared["state"] == "ok"
    assert "datasets/d1" in cleared["said"]
    assert not any(p.exists() for p in (part, stray, lost, temporary))
    assert (datasets / "d1" / "card.json").exists()
    assert young.exists(), "somebody may be writing it now"
    assert (workspace.path / kept.path).exists()


def test_changed_version_and_lost_pack_are_bad(workspace: Workspace, tuneloop_command: Command) -> None:
    version = add_version(workspace, "v")
    add_pack(workspace, version).unlink()
    (workspace.path / version.path / "extra").write_text("x")
    found = examine(tuneloop_command, workspace, code=5)
    assert version.id in found["versions"]["said"]
    assert found["packs"]["state"] == "bad"


def test_damaged_database_is_found(workspace: Workspace, tuneloop_command: Command) -> None:
    add_version(workspace, "v")
    workspace.db.close()
    path = workspace.path / "tuneloop.db"
    with sqlite3.connect(path) as rows:
        rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows.close()
    content = bytearray(path.read_bytes())
    content[-8192:-4096] = b"\xa5" * 4096
    path.write_bytes(content)
    assert examine(tuneloop_command, workspace, code=5)["database"]["state"] == "bad"


def test_ollama_is_named_when_it_answers(workspace: Workspace, tuneloop_command: Command) -> None:
    class Ollama(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"version": "0.99"}')

        def log_message(self, *_arguments: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Ollama) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        environment = os.environ | {"TUNELOOP_PACK_OLLAMA_URL": url}
        done = tuneloop_command("-w", workspace.path, "doctor", "--json", env=environment)
        server.shutdown()
        thread.join()
    found = {f["what"]: f for f in json.loads(done.stdout)}
    assert "0.99" in found["Ollama"]["said"]
