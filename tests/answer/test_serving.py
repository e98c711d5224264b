"""The model that answers: switched only when the new one has answered, revived when it dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.answer.models import add_pack, add_packed, add_version, crashing
from tests.engines.tiny import write_tiny
from tuneloop import versions
from tuneloop.answer.serving import Serving, rehearse
from tuneloop.errors import Conflict, Damaged, EngineDown, Missing, ModelRejected, Refused
from tuneloop.workspace import Workspace

QUESTION = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as open_things:
        yield open_things


def started(stack: ExitStack, serving: Serving) -> Serving:
    stack.callback(serving.stop)
    serving.start()
    return serving


def until(condition: Callable[[], Any], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def serves(serving: Serving) -> str:
    return str((serving.status()["serving"] or {}).get("version"))


def ask(serving: Serving) -> str:
    with serving.lease() as model:
        assert model.engine.post("/v1/chat/completions", QUESTION)["choices"]
        return model.packed.version


def test_serves_the_active_version(workspace: Workspace, stack: ExitStack) -> None:
    version = add_packed(workspace, "first")
    versions.activate(workspace, version)
    serving = started(stack, Serving(workspace))
    assert ask(serving) == version.id
    assert serving.status()["status"] == "ok"
    assert serving.names == {"active", "tuneloop", "", version.id, "first"}


def test_nothing_active_and_nothing_packed_name_the_next_step(workspace: Workspace) -> None:
    with pytest.raises(Missing, match="no version is active") as caught:
        Serving(workspace).start()
    assert "--model" in caught.value.fix
    version = add_version(workspace, "raw")
    versions.activate(workspace, version)
    with pytest.raises(Missing, match="not packed"):
        Serving(workspace).start()


def test_activation_switches_and_lets_old_requests_end(workspace: Workspace, stack: ExitStack) -> None:
    first, second = add_packed(workspace, "first"), add_packed(workspace, "second")
    versions.activate(workspace, first)
    serving = started(stack, Serving(workspace))
    with serving.lease() as old:
        serving.activate(second.id, note="better")
        assert ask(serving) == second.id
        time.sleep(0.5)  # more than two looks of the watcher
        assert old.engine.alive
        assert old.engine.post("/v1/chat/completions", QUESTION)["choices"]
    until(lambda: not old.engine.alive)
    assert versions.find(workspace, "active").id == second.id
    assert versions.events(workspace)[-1]["note"] == "better"


def test_activation_by_another_process_is_followed(workspace: Workspace, stack: ExitStack) -> None:
    first, second = add_packed(workspace, "first"), add_packed(workspace, "second")
    versions.activate(workspace, first)
    serving = started(stack, Serving(workspace))
    versions.activate(workspace, second)  # as `tuneloop versions activate` does in its own process
    until(lambda: serves(serving) == second.id)
    versions.roll_back(workspace)
    until(lambda: serves(serving) == first.id)
    assert ask(serving) == first.id


def test_version_that_crashes_the_loader_changes_nothing(workspace: Workspace, stack: ExitStack) -> None:
    good, bad = add_packed(workspace, "good"), add_packed(workspace, "bad", change=crashing())
    versions.activate(workspace, good)
    serving = started(stack, Serving(workspace))
    asked = [0]
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            assert ask(serving) == good.id
            asked[0] += 1

    asker = threading.Thread(target=keep_asking)
    asker.start()
    began = time.monotonic()
    with pytest.raises(ModelRejected, match="GGML_ASSERT"):
        serving.activate(bad.id)
    assert time.monotonic() - began < 5
    before = asked[0]
    until(lambda: asked[0] > before + 5)
    done.set()
    asker.join()
    assert versions.find(workspace, "active").id == good.id
    failure = serving.status()["failure"]
    assert failure["version"] == bad.id
    assert "GGML_ASSERT" in failure["reason"]
    last = versions.events(workspace)[-1]
    assert (last["version"], last["event"]) == (bad.id, "failed")
    serving.activate(good.id)  # nothing to load; it settles the matter
    assert serving.status()["failure"] is None


def test_crashing_version_activated_elsewhere_does_not_serve(workspace: Workspace, stack: ExitStack) -> None:
    good, bad = add_packed(workspace, "good"), add_packed(workspace, "bad", change=crashing())
    versions.activate(workspace, good)
    serving = started(stack, Serving(workspace))
    versions.activate(workspace, bad)
    until(lambda: serving.status()["failure"])
    assert serving.status()["status"] == "degraded"
    assert ask(serving) == good.id
    time.sleep(1.5)  # it is not tried again and again
    failed = [e for e in versions.events(workspace) if e["event"] == "failed"]
    assert len(failed) == 1


def test_start_falls_back_to_the_version_before(workspace: Workspace, stack: ExitStack) -> None:
    good, bad = add_packed(workspace, "good"), add_packed(workspace, "bad", change=crashing())
    versions.activate(workspace, good)
    versions.activate(workspace, bad)
    serving = started(stack, Serving(workspace))
    assert ask(serving) == good.id
    assert serving.status()["failure"]["version"] == bad.id


def test_changed_file_is_refused(workspace: Workspace, stack: ExitStack) -> None:
    first = add_packed(workspace, "first")
    second = add_version(workspace, "second")
    path = add_pack(workspace, second)
    versions.activate(workspace, first)
    serving = started(stack, Serving(workspace))
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(Damaged):
        serving.activate(second.id)
    assert ask(serving) == first.id


def test_unjudged_version_needs_force(workspace: Workspace, stack: ExitStack) -> None:
    first = add_packed(workspace, "first")
    versions.activate(workspace, first)
    serving = started(stack, Serving(workspace))
    second = add_version(workspace, "second", promote=False)
    add_pack(workspace, second)
    with pytest.raises(Refused):
        serving.activate(second.id)
    assert serving.activate(second.id, force=True, note="a test").active
    assert ask(serving) == second.id


def test_killed_child_is_revived(workspace: Workspace, stack: ExitStack, tmp_path: Path) -> None:
    serving = started(stack, Serving(workspace, file=write_tiny(tmp_path / "tiny.gguf")))
    for restarts in (1, 2):
        with serving.lease() as model:
            assert model.engine.pid
            os.kill(model.engine.pid, signal.SIGKILL)
            psutil.wait_procs([psutil.Process(model.engine.pid)], timeout=2)
        with pytest.raises(EngineDown) as caught, serving.lease():
            pass
        assert "again" in caught.value.message
        assert serving.status()["status"] == "down"
        assert serving.retry_after >= 1
        until(lambda: serving.status()["status"] == "ok")
        assert ask(serving) == "file:tiny.gguf"
        assert serving.status()["serving"]["restarts"] == restarts


def test_plain_file_is_pinned(workspace: Workspace, stack: ExitStack, tmp_path: Path) -> None:
    version = add_packed(workspace, "first")
    versions.activate(workspace, version)
    serving = started(stack, Serving(workspace, file=write_tiny(tmp_path / "mine.gguf")))
    with pytest.raises(Conflict, match="fixed"):
        serving.activate(version.id)
    time.sleep(1.3)  # longer than it takes to follow the active row
    assert ask(serving) == "file:mine.gguf"


def test_two_switches_at_once_are_a_conflict(workspace: Workspace, stack: ExitStack) -> None:
    found = [add_packed(workspace, name) for name in ("a", "b", "c")]
    versions.activate(workspace, found[0])
    serving = started(stack, Serving(workspace))
    results: list[object] = []

    def switch(identity: str) -> None:
        try:
            results.append(serving.activate(identity).id)
        except Conflict as problem:
            results.append(problem)

    both = [threading.Thread(target=switch, args=(v.id,)) for v in found[1:]]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    won = [r for r in results if isinstance(r, str)]
    assert won
    assert serves(serving) == versions.find(workspace, "active").id == won[-1]


def test_model_without_a_usable_template_is_rejected(workspace: Workspace, tmp_path: Path) -> None:
    def spm(writer: Any) -> None:  # loads, but its tokenizer fails on the first request
        writer.kv_data[0].pop("tokenizer.ggml.model")
        writer.add_tokenizer_model("llama")

    serving = Serving(workspace, file=write_tiny(tmp_path / "odd.gguf", change=spm))
    with pytest.raises(ModelRejected, match="does not answer"):
        serving.start()
    serving.stop()


def test_rehearsal_loads_and_lets_go(workspace: Workspace) -> None:
    good, bad = add_packed(workspace, "good"), add_packed(workspace, "bad", change=crashing())
    assert rehearse(workspace, good).version == good.id
    with pytest.raises(ModelRejected):
        rehearse(workspace, bad)
    assert not [p for p in psutil.Process().children() if "llamacpp_child" in " ".join(p.cmdline())]


def test_stop_leaves_no_process(workspace: Workspace, tmp_path: Path) -> None:
    serving = Serving(workspace, file=write_tiny(tmp_path / "tiny.gguf"))
    serving.start()
    serving.stop()
    with pytest.raises(EngineDown), serving.lease():
        pass
    assert not [p for p in psutil.Process().children() if "llamacpp_child" in " ".join(p.cmdline())]
