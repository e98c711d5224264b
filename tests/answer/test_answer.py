"""Asking from Python: the answer, and the row whatever happens."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.engines.tiny import write_tiny
from tuneloop.answer import calls
from tuneloop.answer.answer import answer
from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import EngineDown
from tuneloop.workspace import Workspace

QUESTION = [{"role": "user", "content": "hi"}]


def test_the_answer_is_the_row(workspace: Workspace, tmp_path: Path) -> None:
    with LlamaCpp(write_tiny(tmp_path / "tiny.gguf"), context=64) as engine:
        call = answer(workspace, engine, QUESTION, version="abc", max_tokens=4, user="anna")
    assert call.status == "ok"
    assert call.tokens_out == 4
    assert call.request["messages"] == QUESTION
    assert calls.find(workspace, call.id) == call


def test_a_failed_call_is_a_row_too(workspace: Workspace, tmp_path: Path) -> None:
    with LlamaCpp(write_tiny(tmp_path / "tiny.gguf"), context=64) as engine:
        assert engine.pid
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDown):
            answer(workspace, engine, QUESTION, version="abc")
    (row,) = calls.recent(workspace)
    assert (row.status, row.version, row.tokens_out) == ("error", "abc", 0)
    assert "gone" in row.error
