"""`tuneloop pack` and `tuneloop unpack` as people run them, with a real Ollama-like server beside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.engines.fake_ollama import fake_ollama
from tests.tune.small_models import build, tuned
from tuneloop.workspace import Workspace

Command = Callable[..., CompletedProcess[str]]
NOBODY = {"TUNELOOP_PACK_OLLAMA_URL": "http://127.0.0.1:9"}


@pytest.fixture
def version(workspace: Workspace, tmp_path: Path) -> str:
    return tuned(workspace, build(tmp_path / "base", "llama", num_hidden_layers=1)).id


def test_pack_hands_over_to_ollama_and_unpack_brings_it_back(
    workspace: Workspace, version: str, tuneloop_command: Command, tmp_path: Path
) -> None:
    with fake_ollama() as server:
        environment = {**os.environ, "TUNELOOP_PACK_OLLAMA_URL": server.url}
        done = tuneloop_command("-w", workspace.path, "pack", "--quant", "f16,q8_0", "--json", env=environment)
        answer = json.loads(done.stdout)
        asked = server.bodies("/api/create")[0]
        assert server.bodies("/api/chat")[0]["messages"][0]["role"] == "user"
    assert answer["version"] == version
    assert [e["quant"] for e in answer["exports"]] == ["f16", "q8_0"]
    assert all(e["tokens_equal"] == 1.0 for e in answer["exports"])
    assert answer["ollama"]["model"] == asked["model"] == f"answers:{version[:8]}"
    assert asked["template"].startswith("{{ range $i, $_ := .Messages }}")
    assert asked["parameters"]["stop"] == ["<|im_end|>"]
    assert asked["files"] == {"model-q8_0.gguf": f"sha256:{answer['exports'][1]['sha256']}"}
    with zipfile.ZipFile(answer["archive"]) as archive:
        assert f'TEMPLATE """{asked["template"]}"""' in archive.read("Modelfile").decode()

    done = tuneloop_command("-w", workspace.path, "unpack", answer["archive"], "--into", tmp_path / "in", "--register")
    assert "Every checksum" in done.stdout and "tuneloop serve --version" in done.stdout
    assert (tmp_path / "in" / "Modelfile").is_file()


def test_people_see_a_table_and_why_ollama_was_not_used(
    workspace: Workspace, version: str, tuneloop_command: Command
) -> None:
    options = {"env": {**os.environ, **NOBODY}}
    done = tuneloop_command("-w", workspace.path, "pack", version[:6], "--quant", "f16", "--no-archive", **options)
    assert "f16" in done.stdout and "100%" in done.stdout and "passed" in done.stdout
    assert "Ollama: not used" in done.stdout
    assert not list((workspace.path / "packs" / version).glob("*.zip"))
    insisting = tuneloop_command("-w", workspace.path, "pack", "--quant", "f16", "--ollama", code=9, **options)
    assert "does not answer" in insisting.stderr and "ollama serve" in insisting.stderr


def test_bad_asks_are_one_clear_line(workspace: Workspace, tuneloop_command: Command, tmp_path: Path) -> None:
    assert "no version 'latest'" in tuneloop_command("-w", workspace.path, "pack", code=7).stderr
    missing = tuneloop_command("unpack", tmp_path / "gone.zip", code=7)
    assert "there is no file" in missing.stderr
    (tmp_path / "evil.zip").write_bytes(b"\x80\x04\x95 pickle")
    refused = tuneloop_command("unpack", tmp_path / "evil.zip", code=3)
    assert "pickle" in refused.stderr and "next:" in refused.stderr
    assert not (tmp_path / "evil").exists()


@pytest.mark.soak
@pytest.mark.parametrize("sign", ["merged", "model-f16.gguf", "model-q8_0.gguf", "model-q4_K_M.gguf"])
def test_kill_9_loses_nothing_that_was_finished(
    workspace: Workspace, version: str, tuneloop_command: Command, sign: str
) -> None:
    """Killed the moment a file first appears; the same command again ends with three whole files and no rest."""
    command = [sys.executable, "-m", "tuneloop", "-w", str(workspace.path), "pack", "--no-ollama", "--no-archive"]
    folder = workspace.path / "packs" / version
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(folder.glob(f".work/{sign}")) and not list(folder.glob(sign)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
    done = tuneloop_command("-w", workspace.path, "pack", "--no-ollama", "--no-archive", "--json")
    exports = json.loads(done.stdout)["exports"]
    assert [e["quant"] for e in exports] == ["f16", "q8_0", "q4_K_M"]
    assert sorted(p.name for p in folder.iterdir()) == ["model-f16.gguf", "model-q4_K_M.gguf", "model-q8_0.gguf"]
    if sign == "model-q4_K_M.gguf":
        assert [e["kept"] for e in exports][:2] == [True, True]
