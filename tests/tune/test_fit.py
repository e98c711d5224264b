from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.tune.small_models import build
from tuneloop.errors import OutOfResources
from tuneloop.tune import fit
from tuneloop.tune.folder import DEMO_BASE, Base, inspect
from tuneloop.tune.options import Options

CPU = fit.Machine("cpu", "bf16", 2, gflops=500.0, bf16_gain=4.0)
# Qwen2.5-0.5B and Llama-2-7B as their config.json files describe them
HALF_BILLION = Base(
    Path("qwen"), "qwen2", 494_032_768, 988_097_824, 896, 4864, 24, 14, 2, 64, 151_936, 32_768, 357_826_560
)
SEVEN_BILLION = Base(
    Path("llama"), "llama", 6_738_415_616, 13_476_839_424, 4096, 11_008, 32, 32, 32, 128, 32_000, 4096, 6_476_005_376
)


def check(base: Base, options: Options, folder: Path, *, tokens: int, longest: int = 300) -> fit.Fit:
    found = fit.estimate(base, options, CPU, folder, tokens=tokens, longest=longest)
    fit.check(base, options, found, folder)
    return found


Memory = namedtuple("Memory", "available")


def free_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(int(gigabytes * 1e9)))


def test_a_small_run_fits(tmp_path: Path) -> None:
    found = check(inspect(DEMO_BASE), Options(), tmp_path, tokens=100_000)
    assert found.micro_tokens == 2048
    assert 0.5e9 < found.memory_needed < 1.5e9
    assert 0 < found.hours_at_least < 0.01


def test_too_little_memory_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 8)
    with pytest.raises(OutOfResources, match=r"1\d\.\d GB of memory, 8\.0 GB are free") as told:
        check(SEVEN_BILLION, Options(), tmp_path, tokens=1000)
    assert "smaller base" in told.value.fix and "300 tokens" in told.value.fix


def test_less_memory_makes_smaller_forward_passes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 64)
    roomy = check(HALF_BILLION, Options(), tmp_path, tokens=1000)
    free_memory(monkeypatch, 4)
    tight = check(HALF_BILLION, Options(), tmp_path, tokens=1000)
    assert roomy.micro_tokens == 2048
    assert 300 <= tight.micro_tokens < 2048
    assert tight.memory_needed < roomy.memory_needed


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(1 << 40, 1 << 40, 20_000_000))
    with pytest.raises(OutOfResources, match=r"of disk in .*, 0\.02 GB are free"):
        check(inspect(DEMO_BASE), Options(), tmp_path, tokens=1000)


def test_hours_that_even_full_speed_cannot_avoid_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 64)
    with pytest.raises(OutOfResources, match=r"at least \d+\.\d hours") as told:
        check(SEVEN_BILLION, Options(epochs=10), tmp_path, tokens=1_000_000)
    assert "--epochs 2" in told.value.fix
    check(SEVEN_BILLION, Options(epochs=10, max_hours=1000), tmp_path, tokens=1_000_000)


def test_the_first_steps_speed_counts() -> None:
    fit.check_time(Options(max_hours=2), 1.9, tokens_per_second=50)
    with pytest.raises(OutOfResources, match=r"2\.5 hours at the 50 tokens/s") as told:
        fit.check_time(Options(max_hours=2), 2.5, tokens_per_second=50)
    assert "--epochs 2 would fit" in told.value.fix
    with pytest.raises(OutOfResources) as told:
        fit.check_time(Options(max_hours=2), 25, tokens_per_second=5)
    assert "--epochs" not in told.value.fix  # not even one epoch would fit


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "mistral"])
def test_the_adapters_size_is_known_before_it_exists(tmp_path: Path, family: str) -> None:
    from peft import LoraConfig, get_peft_model

    from tuneloop.tune import model

    folder = build(tmp_path, family)
    with model.quiet_peft():
        wrapped = get_peft_model(model.load_model(folder), LoraConfig(r=3, target_modules="all-linear"))
    real = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert fit.adapter_parameters(inspect(folder), 3) == real


def test_the_machine_is_measured_and_an_order_obeyed() -> None:
    base = inspect(DEMO_BASE)
    found = fit.measure(base, Options())
    assert found.gflops > 0.1
    assert found.threads >= 1
    assert found.dtype == ("bf16" if found.bf16_gain >= 1.3 else "fp32")
    ordered = fit.measure(base, replace(Options(), dtype="fp32", threads=1))
    assert (ordered.dtype, ordered.threads) == ("fp32", 1)
