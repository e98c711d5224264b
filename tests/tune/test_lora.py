from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tune import small_datasets
from tests.tune.small_models import build
from tuneloop.errors import Conflict, Damaged, Missing, OutOfResources, Refused
from tuneloop.tune import fit, lora, model, run
from tuneloop.tune.folder import DEMO_BASE
from tuneloop.tune.options import Options
from tuneloop.versions import history
from tuneloop.workspace import Workspace, open_workspace

QUICK = Options(rank=4, alpha=8, rate=5e-3, epochs=1, batch_tokens=640, threads=1, dtype="fp32")


@pytest.fixture
def dataset(workspace: Workspace) -> Path:
    return small_datasets.write(workspace.folder("datasets") / "shop")


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "mistral"])
def test_a_few_steps_teach_every_shape_and_the_version_works(
    family: str, workspace: Workspace, dataset: Path, tmp_path: Path
) -> None:
    base = build(tmp_path / "base", family)
    version = lora.train(workspace, dataset, base, options=QUICK)
    figures = version.meta["figures"]
    assert 3 <= figures["steps"] <= 12
    assert figures["validation"] < 0.97 * figures["validation_before"]

    tuned, tokenizer = model.load_version(workspace, version)
    assert not tuned.training
    ids = torch.tensor([tokenizer("Где ключи?")["input_ids"]])
    with torch.no_grad():
        logits = tuned(input_ids=ids).logits
        with tuned.disable_adapter():
            assert (tuned(input_ids=ids).logits - logits).abs().max() > 0.01
        out = model.merge(workspace, version, tmp_path / "merged")
        merged, _tokenizer = model.load_base(out)
        assert (merged(input_ids=ids).logits - logits).abs().max() < 1e-3


def test_the_version_holds_what_the_contract_names_and_nothing_that_changes(
    workspace: Workspace, dataset: Path, tmp_path: Path
) -> None:
    version = lora.train(workspace, dataset, DEMO_BASE, options=QUICK, name="first")
    folder = workspace.path / version.path
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "tokenizer.json"} <= names
    assert {"chat_template.jinja", "tuneloop.json", "tokenizer_config.json"} <= names
    assert version.meta["dataset"] == "shop-24"
    assert version.meta["dataset_path"] == "datasets/shop"
    assert version.meta["run"] == "runs/first"
    assert Path(version.meta["base"]) == DEMO_BASE
    written = json.loads((folder / "tuneloop.json").read_text())
    assert written["base_sha256"] == version.meta["base_sha256"]
    assert written["options"]["rank"] == 4

    other = open_workspace(tmp_path / "other", create=True)
    again = small_datasets.write(other.folder("datasets") / "shop")
    assert lora.train(other, again, DEMO_BASE, options=QUICK, name="first").id == version.id


def test_a_finished_run_is_not_run_again_unless_asked(workspace: Workspace, dataset: Path) -> None:
    jobs: list[Any] = []
    first = lora.train(workspace, dataset, DEMO_BASE, options=QUICK, announce=jobs.append)
    second = lora.train(workspace, dataset, DEMO_BASE, options=QUICK, announce=jobs.append)
    third = lora.train(workspace, dataset, DEMO_BASE, options=QUICK, again=True, announce=jobs.append)
    assert first == second == third
    assert [job.done is not None for job in jobs] == [False, True, False]
    assert len(history(workspace)) == 1


def test_a_name_belongs_to_one_run(workspace: Workspace, dataset: Path) -> None:
    lora.train(workspace, dataset, DEMO_BASE, options=QUICK, name="mine")
    with pytest.raises(Conflict, match="'mine'") as told:
        lora.train(workspace, dataset, DEMO_BASE, options=replace(QUICK, seed=5), name="mine")
    assert "--again" in told.value.fix


def test_the_run_folder_tells_the_whole_story(workspace: Workspace, dataset: Path) -> None:
    version = lora.train(workspace, dataset, DEMO_BASE, options=replace(QUICK, dtype="auto"), name="told")
    folder = workspace.path / "runs" / "told"
    files = {p.name for p in folder.iterdir()}
    assert files == {"config.json", "curve.csv", "curve.png", "environment.json", "metrics.json"}
    metrics = run.metrics(folder)
    assert metrics["version"] == version.id
    assert metrics["tokens_per_second"] > 10
    assert metrics["peak_memory_mb"] > 100
    config = run.config(folder)
    origins = {v["name"]: v["origin"] for v in config["values"]}
    assert origins["dtype"].startswith("measured")
    rows = (folder / "curve.csv").read_text().splitlines()
    assert rows[0] == ",".join(run.COLUMNS)
    assert len(rows) == metrics["steps"] + 2  # the header and the check before the first step
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_early_stopping_keeps_the_best_adapter(workspace: Workspace, dataset: Path) -> None:
    wild = replace(QUICK, rate=0.08, epochs=12, patience=3, warm_up=0.0)
    version = lora.train(workspace, dataset, DEMO_BASE, options=wild, name="wild")
    metrics = run.metrics(workspace.path / "runs" / "wild")
    assert metrics["stopped"]
    assert metrics["best_step"] < metrics["steps"]
    # the adapter that was kept is the one of the best check: judged again it gives that loss
    job = lora.prepare(workspace, dataset, DEMO_BASE, options=wild, name="wild")
    tuned, _tokenizer = model.load_version(workspace, version)
    with lora.packing.packed(tuned):
        assert lora.evaluate(tuned, job) == pytest.approx(metrics["validation"], abs=1e-4)


def test_without_patience_the_last_adapter_is_kept(workspace: Workspace, dataset: Path) -> None:
    version = lora.train(workspace, dataset, DEMO_BASE, options=replace(QUICK, patience=0))
    figures = version.meta["figures"]
    assert figures["best_step"] == figures["steps"]
    assert figures["validation"] is None


def test_a_loss_that_is_no_number_stops_with_a_clear_word(
    workspace: Workspace, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = lora.answer_losses, iter(range(10_000))

    def poisoned(*arguments: Any) -> torch.Tensor:
        losses: torch.Tensor = real(*arguments)
        return losses * float("nan") if torch.is_grad_enabled() and next(calls) >= bad_from else losses

    monkeypatch.setattr(lora, "answer_losses", poisoned)
    bad_from = 0
    with pytest.raises(Refused, match="no number at step 1") as told:
        lora.train(workspace, dataset, DEMO_BASE, options=QUICK, name="bad")
    assert "--rate" in told.value.fix
    assert history(workspace) == []
    bad_from, calls = 2, iter(range(10_000))
    version = lora.train(workspace, dataset, DEMO_BASE, options=replace(QUICK, batch_tokens=200), name="later")
    assert run.metrics(workspace.path / "runs" / "later")["stopped"] == "the loss became no number at step 3"
    assert version.meta["figures"]["best_step"] <= 2


def test_a_run_that_would_take_days_leaves_nothing(
    workspace: Workspace, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora, "_PROBE", 1)
    before = fit.check_time

    def slow(options: Options, hours: float, **told: Any) -> None:
        before(options, hours if told.get("at_least") else hours * 1e6, **told)

    monkeypatch.setattr(fit, "check_time", slow)
    with pytest.raises(OutOfResources, match="of its first steps"):
        lora.train(workspace, dataset, DEMO_BASE, options=QUICK)
    assert list((workspace.path / "runs").iterdir()) == []


def test_load_version_notices_changed_files(workspace: Workspace, dataset: Path, tmp_path: Path) -> None:
    base = build(tmp_path / "base", "llama")
    version = lora.train(workspace, dataset, base, options=QUICK)
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(Damaged, match="not the one"):
        model.load_version(workspace, version)
    base.rename(tmp_path / "moved")
    with pytest.raises(Missing, match="not in"):
        model.load_version(workspace, version)
    (workspace.path / version.path / "tuneloop.json").write_text("{}")
    with pytest.raises(Damaged, match="have changed"):
        model.load_version(workspace, version)


def test_the_rate_rises_then_falls_to_nearly_nothing() -> None:
    rates = [lora.shape_of_rate(step, 100, 0.1) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.01
    assert lora.shape_of_rate(1, 1, 0.05) == 1.0


LONG = Options(epochs=6, rank=4, rate=0.005, batch_tokens=320, threads=1, dtype="fp32", checkpoint_minutes=0)


def start(work: Path, dataset: Path) -> subprocess.Popen[bytes]:
    """The same run as LONG, as a user starts it; what it says on stderr goes to the file `said`."""
    flags = ["--epochs", 6, "--rank", 4, "--rate", 0.005, "--batch-tokens", 320, "--threads", 1, "--dtype", "fp32"]
    command = [sys.executable, "-m", "tuneloop", "-w", work, "tune", dataset, "--name", "run", *flags]
    environment = {"TUNELOOP_TUNE_CHECKPOINT_MINUTES": "0", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}
    with (work / "said").open("wb") as said:
        return subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL, stderr=said)


def kill_after(process: subprocess.Popen[bytes], checkpoint: Path, checkpoints: int, number: int) -> bool:
    """Send the signal once the checkpoint has been replaced that often; False when the run ended before."""
    seen: set[int] = set()
    while process.poll() is None:
        if checkpoint.exists():
            try:
                seen.add(checkpoint.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        if len(seen) >= checkpoints:
            process.send_signal(number)
            process.wait(60)
            return True
        time.sleep(0.002)
    return False


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=pytest.mark.soak)])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, kills: int) -> None:
    dataset = small_datasets.write(tmp_path / "shop", train=20)
    straight = open_workspace(tmp_path / "straight", create=True)
    expected = lora.train(straight, dataset, DEMO_BASE, options=LONG, name="run").id
    work = open_workspace(tmp_path / "killed", create=True)
    checkpoint = work.path / "runs" / "run" / "checkpoint.safetensors"
    killed = 0
    while kill_after(process := start(work.path, dataset), checkpoint, 2, signal.SIGKILL):
        assert process.returncode == -signal.SIGKILL
        killed += 1
        if killed == kills:
            process = start(work.path, dataset)
            break
    assert process.wait(300) == 0, (work.path / "said").read_text()
    assert killed >= 1
    assert [version.id for version in history(work)] == [expected]  # an id is the hash of the folder
    assert not checkpoint.exists()


def test_ctrl_c_keeps_a_checkpoint_and_says_so(tmp_path: Path) -> None:
    dataset = small_datasets.write(tmp_path / "shop", train=20)
    work = open_workspace(tmp_path / "work", create=True)
    checkpoint = work.path / "runs" / "run" / "checkpoint.safetensors"
    process = start(work.path, dataset)
    assert kill_after(process, checkpoint, 2, signal.SIGINT)
    assert process.returncode == 130
    assert "goes on from what was finished" in (work.path / "said").read_text()
    assert checkpoint.exists()
    assert history(work) == []
