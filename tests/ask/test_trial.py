"""Trials of real (tiny) models, of an echo, of a server that knows the answers; and of what must be stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("duckdb")

from tests.answer.models import add_packed, crashing
from tests.ask.oracle import Oracle, oracle
from tests.engines.fake_ollama import fake_ollama
from tests.engines.tiny import write_tiny
from tests.gateway.live import until
from tuneloop import machine
from tuneloop.answer.book import parse
from tuneloop.ask import gold, trial, trials
from tuneloop.ask.table import open_table
from tuneloop.ask.trial import Limits
from tuneloop.ask.trials import Row
from tuneloop.errors import Conflict
from tuneloop.workspace import Workspace, open_workspace, write_atomically

PLENTY = Limits(120.0, 8 << 30, 4)
ECHO = '[engines.echo]\nkind = "echo"\n'


@pytest.fixture
def server() -> Iterator[Oracle]:
    with oracle() as found:
        yield found


def tried(workspace: Workspace, toml: str = "", listing: Any = None, limits: Limits = PLENTY, **more: Any) -> list[Row]:
    book = parse(toml.encode(), workspace.path)
    return trial.run(workspace, trial.candidates(workspace, book, listing or {}), limits, **more)


def known(url: str) -> tuple[str, Any]:
    return f'[engines.far]\nurl = "{url}"\n', {"far": [{"id": "oracle", "modified": 1}]}


def left_running() -> list[str]:
    time.sleep(0.2)
    lines = [p.cmdline() for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    return [" ".join(line) for line in lines if "trial_child" in " ".join(line) or "llamacpp_child" in " ".join(line)]


def test_a_file_has_every_figure(workspace: Workspace) -> None:
    path = write_tiny(workspace.folder("models") / "tiny.gguf")
    seen: list[Any] = []
    (row,) = tried(workspace, watch=lambda *step: seen.append(step))
    assert (row.engine, row.model, row.state, row.error) == ("", "tiny.gguf", "done", "")
    assert (row.asked, row.of, row.size, row.quant) == (4, 4, path.stat().st_size, "f32")
    assert row.load_seconds and row.tokens_per_second and row.question_seconds
    assert row.memory_bytes and 10 << 20 < row.memory_bytes < 1 << 30
    assert row.right == 0 and not row.good and row.said == "too often wrong"
    assert row.machine == machine.name() and ("tiny.gguf", 4, 4) in seen
    trials.keep(workspace, replace(row, load=0.5))
    assert trials.speeds(workspace, row.machine)[0]["parameters"] == row.parameters > 20_000
    trials.keep(workspace, replace(row, load=3.0))
    assert trials.speeds(workspace, row.machine) == [], "of a busy machine"
    assert left_running() == []


def test_a_server_that_knows_is_the_best_and_an_echo_is_none(workspace: Workspace, server: Oracle) -> None:
    toml, listing = known(server.url)
    every = replace(PLENTY, questions=len(gold.questions()))
    far, echo = tried(workspace, toml + ECHO, listing | {"echo": [{"id": "echo"}]}, every)
    assert (far.right, far.wrong, far.asked, far.said) == (16, 0, 16, "good")
    assert far.tokens_per_second and far.memory_bytes is None and far.size is None
    assert (echo.right, echo.tokens_per_second, echo.said) == (2, None, "an echo, no model")
    assert trials.best([echo, far]) is far and trials.ranked([echo, far]) == [far, echo]
    assert server.asked == 2 + 2 * 16, "two for the speed, two that agree for each question"


@pytest.mark.soak
def test_what_is_finished_is_not_measured_again(workspace: Workspace, server: Oracle) -> None:
    toml, listing = known(server.url)
    seen: list[tuple[str, bool]] = []

    def again(limits: Limits = PLENTY, **more: Any) -> int:
        before = server.asked
        tried(workspace, toml, listing, limits, told=lambda row, fresh: seen.append((row.model, fresh)), **more)
        return server.asked - before

    assert again() == 10 and again() == 0 and again(again=True) == 10
    assert seen == [("oracle", True), ("oracle", False), ("oracle", True)]
    assert again(replace(PLENTY, questions=2)) == 6, "another number of questions is another trial"
    assert again(replace(PLENTY, questions=2, seconds=5.0)) == 0, "it was done: the limit does not matter"
    listing["far"][0]["modified"] = 2
    assert again(replace(PLENTY, questions=2)) == 6, "another model under the same name"
    (workspace.path / trials.FILE).write_text('{"rows": [{}]}')
    assert trials.read(workspace) == {} and again() == 10


def test_a_model_is_stopped_at_its_time_and_keeps_what_it_answered(workspace: Workspace, server: Oracle) -> None:
    toml, listing = known(server.url)
    server.seconds = 0.5
    began = time.monotonic()
    (row,) = tried(workspace, toml, listing, Limits(5.0, 8 << 30, 16))
    assert row.state == "time" and row.said == "stopped at its limit of 5 s"
    assert 4.9 < time.monotonic() - began < 15 and 0 < row.asked < 16 and row.right == row.asked
    assert left_running() == []
    server.seconds = 0.0
    assert tried(workspace, toml, listing, Limits(5.0, 8 << 30, 16))[0].state == "time", "no more time was given"
    assert tried(workspace, toml, listing, Limits(60.0, 8 << 30, 16))[0].state == "done"


def test_a_model_is_stopped_at_its_memory_and_the_others_go_on(workspace: Workspace) -> None:
    write_tiny(workspace.folder("models") / "a-large.gguf", width=1024, inner=8192)  # 117 MB
    write_tiny(workspace.folder("models") / "b-small.gguf")
    limits = replace(PLENTY, memory=150 << 20)
    large, small = tried(workspace, limits=limits)
    assert (large.state, large.asked) == ("memory", 0) and large.said == "stopped at its limit of 0.16 GB of memory"
    assert large.memory_bytes and large.memory_bytes > limits.memory
    assert small.state == "done" and left_running() == []
    assert tried(workspace, limits=limits)[0].when == large.when, "it would only be stopped again"
    assert not trials.finished(large, mark=large.mark, of=4, seconds=120.0, memory=limits.memory + 1)
    assert trials.finished(small, mark=small.mark, of=4, seconds=120.0, memory=limits.memory + 1)


def test_a_file_larger_than_the_limit_is_not_even_started(workspace: Workspace) -> None:
    path = write_tiny(workspace.folder("models") / "tiny.gguf")
    (row,) = tried(workspace, limits=replace(PLENTY, memory=path.stat().st_size - 1))
    assert row.state == "large" and row.load_seconds is None and "not tried" in row.said


def test_when_the_machine_runs_short_the_model_is_stopped(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(workspace.folder("models") / "tiny.gguf")
    monkeypatch.setattr(trial, "SPARE", 1.0)  # as if all memory but what is used now were needed
    (row,) = tried(workspace)
    assert row.state == "machine" and "ran out of memory" in row.said and left_running() == []


@pytest.mark.soak
def test_a_trial_that_is_killed_leaves_nothing_behind_and_goes_on(workspace: Workspace, server: Oracle) -> None:
    write_tiny(workspace.folder("models") / "tiny.gguf")
    write_atomically(workspace.path / "tuneloop.toml", known(server.url)[0])
    command = [sys.executable, "-m", "tuneloop", "-w", str(workspace.path), "models", "trial", "--questions", "2"]
    server.seconds = 30.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(lambda: server.asked, 60)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert family and not psutil.wait_procs(family, timeout=10)[1]
    (row,) = trials.read(workspace).values()
    assert (row.model, row.state) == ("tiny.gguf", "done")
    server.seconds = 0.0
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "tiny.gguf: 0 of 2 right, too often wrong (known)" in told and "far/oracle: 2 of 2 right, good" in told


def test_what_fails_is_one_line_and_tried_again(workspace: Workspace, server: Oracle) -> None:
    write_tiny(workspace.folder("models") / "bad.gguf", change=crashing())
    toml, listing = known(server.url)
    server.status, server.words = 404, "no such\nmodel"
    bad, far = tried(workspace, toml, listing)
    assert bad.state == far.state == "failed" and "bad.gguf could not be loaded" in bad.said
    assert far.said == "the model 'oracle' answered with status 404: no such model"
    server.status = 200
    assert [row.state for row in tried(workspace, toml, listing)] == ["failed", "done"]
    gone = tried(workspace, '[engines.gone]\nurl = "http://127.0.0.1:1/v1"\n', {"gone": "nobody answers"})[-1]
    assert (gone.engine, gone.model, gone.said) == ("gone", "", "nobody answers")
    assert not any(row.engine == "gone" for row in trials.read(workspace).values())


def test_files_packs_engines_and_adapters_are_candidates(workspace: Workspace) -> None:
    add_packed(workspace, "mine")
    path = write_tiny(workspace.folder("models") / "tiny.gguf")
    many = [{"id": f"m{n}"} for n in range(50)]
    toml = f"""
        [engines.house]
        kind = "llamacpp"
        file = "{path}"
        [engines.far]
        url = "http://h/v1"
        [tasks.t.variants.a]
        engine = "far"
        model = "m7"
        [ask]
        model = "far/m9"
    """
    (workspace.path / "tuneloop.toml").write_text(toml)
    again = open_workspace(workspace.path)
    book = parse(toml.encode(), workspace.path)
    found = trial.candidates(again, book, {"house": [{"id": "base"}], "far": many})
    names = [(one.engine, one.model) for one in found]
    assert names[0][1].endswith("/q8_0") and names[1:] == [
        ("", "tiny.gguf"), ("house", "base"), ("far", "m7"), ("far", "m9"),
    ]  # fmt: skip
    assert len(trial.candidates(again, book, {"far": many[:5]})) == 2 + 0 + 5


def test_an_ollama_is_asked_what_it_holds_and_told_to_forget(workspace: Workspace) -> None:
    with fake_ollama() as server:
        server.models["bees:latest"] = {}
        server.loaded.add("bees:latest")
        toml = f'[engines.ollama]\nkind = "ollama"\nurl = "{server.url}"\n'
        listing = {"ollama": [{"id": "bees:latest", "size": 1000, "modified": "now", "quantisation": "Q4_0"}]}
        (row,) = tried(workspace, toml, listing, replace(PLENTY, questions=2))
        assert (row.state, row.asked, row.memory_bytes, row.quant) == ("done", 2, 6_654_289_920, "Q4_0")
        assert server.bodies("/api/generate")[-1]["keep_alive"] == 0
        large = listing["ollama"][0] | {"size": 9 << 30}
        assert tried(workspace, toml, {"ollama": [large]}, again=True)[0].state == "large"


def test_two_trials_do_not_measure_each_other(workspace: Workspace) -> None:
    with workspace.lock(trial.LOCK), pytest.raises(Conflict):
        tried(workspace)


def test_the_set_is_right_and_the_reader_reaches_most_of_it(tmp_path: Path) -> None:
    table = open_table(gold.TABLE, cache=tmp_path)
    found = {question: table.run(query).rows for question, query in gold.questions().items() if query}
    table.close()
    assert len(gold.questions()) == 16 and len(found) == 14
    assert all(rows and rows[0][0] is not None for rows in found.values())
    assert found["How many orders are there?"] == [(240,)] and len(gold.edition()) == 12
    assert trial.reader() >= 12


def test_markdown_is_a_table_that_nothing_breaks() -> None:
    row = Row("far", "a|b", "m", "openai", "failed", 0.0, "e", 16, error="bad | worse")
    done = replace(row, model="c", state="done", error="", asked=16, right=15, wrong=1, question_seconds=1.5)
    told = trials.markdown([row, done], 13)
    lines = told.splitlines()
    assert lines[2].startswith("| c | far |") and "15/16 | 1 | 1.5 | good |" in lines[2]
    assert "a\\|b" in lines[3] and "bad \\| worse" in lines[3]
    assert len({line.replace("\\|", "").count("|") for line in lines[:4]}) == 1 and "13 of 16" in told
    assert json.loads(json.dumps(trials.as_json(done)))["said"] == "good"
    hostile = replace(row, model="<img src=x> [x](javascript:y) `z` \x1b[2J\n| a |", error="\u202e")
    (line,) = trials.markdown([hostile], None).splitlines()[2:]
    assert line.startswith("| &lt;img src=x> \\[x\\](javascript:y) \\`z\\` \u241b\\[2J \\| a \\| | far |"), line
