"""Looks at real (tiny) models: figures that are there, a deadline that holds, a broken file that only fails."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.answer.models import crashing
from tests.engines.tiny import write_tiny
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import EngineError, EngineTimeout, ModelRejected
from tuneloop.loop import speed

TEXTS = ["Where is the manual? On the shelf.", "Как сбросить пароль? Нажмите кнопку."]


def look(model: Path, **more: Any) -> dict[str, Any]:
    return speed.measure(model, **({"threads": 1, "context": 256, "parallel": 2, "texts": TEXTS} | more))


def test_a_look_has_every_figure(tmp_path: Path) -> None:
    found = look(write_tiny(tmp_path / "a.gguf"))
    assert len(found["prompt_per_second"]) == len(found["tokens_per_second"]) == speed.REPEATS
    assert all(value > 0 for value in (*found["prompt_per_second"], *found["tokens_per_second"]))
    assert found["together_per_second"] > 0 and 0 < found["load_seconds"] < 60
    assert found["memory_bytes"] > 10 << 20, "a Python process alone has more"
    assert (found["prompt_tokens"], found["answer_tokens"]) == (128, 64), "half and a quarter of the context at most"
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert look(write_tiny(tmp_path / "a.gguf"), parallel=1)["together_per_second"] is None


def test_prompts_are_as_long_as_asked_however_short_the_texts(tmp_path: Path) -> None:
    assert look(write_tiny(tmp_path / "a.gguf"), texts=["a"])["prompt_tokens"] == 128
    assert look(write_tiny(tmp_path / "a.gguf"), texts=[])["prompt_tokens"] == 128


def test_nothing_is_left_running(tmp_path: Path) -> None:
    look(write_tiny(tmp_path / "a.gguf"))
    left = [p.cmdline() for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    assert not [line for line in left if any("llamacpp_child" in part for part in line)]


def test_a_file_that_kills_its_process_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected):
        look(write_tiny(tmp_path / "bad.gguf", change=crashing()))


def test_the_deadline_holds_while_loading_and_while_answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_tiny(tmp_path / "a.gguf", context=65536)
    began = time.monotonic()
    with pytest.raises(ModelRejected, match="not ready"):
        look(model, seconds=0.01)
    monkeypatch.setattr(speed, "ANSWER", 10**9)  # it would talk until its window is full
    monkeypatch.setattr(speed, "REPEAT_SECONDS", 10**6)
    with pytest.raises(EngineTimeout, match="within 4 s"):
        look(model, seconds=4.0, context=65536)
    assert time.monotonic() - began < 40


@pytest.mark.parametrize("said", [float("nan"), float("inf"), 0, -1.0, "fast", None])
def test_timings_that_are_no_numbers_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: object
) -> None:
    real = LlamaCpp.post

    def lying(engine: LlamaCpp, path: str, body: dict[str, Any], *, seconds: float = 120.0) -> dict[str, Any]:
        reply = real(engine, path, body, seconds=seconds)
        if "timings" in reply:
            reply["timings"]["predicted_per_second"] = said
        return reply

    monkeypatch.setattr(LlamaCpp, "post", lying)
    with pytest.raises(EngineError, match="no timings"):
        look(write_tiny(tmp_path / "a.gguf"))


def test_larger_files_have_more_time() -> None:
    assert speed.patience(0) == 60
    assert 500 < speed.patience(7 * 10**9) < 600
