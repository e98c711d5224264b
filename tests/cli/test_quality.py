"""`tuneloop quality` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.answer.marked import call, mark, write
from tests.cli.test_tasks import Command
from tests.engines.fake_judge import FakeJudge, by_length
from tests.gateway.test_exchange import ECHO
from tests.gateway.test_quality import GOOD, TASK
from tuneloop.workspace import open_workspace, write_atomically


def prepared(path: Path, *, judge: str = "", n: int = 0) -> Path:
    workspace = open_workspace(path / "work", create=True)
    settings = f'[engines.judge]\nurl = "{judge}"\n[quality]\njudge = "judge/m"\n' if judge else ""
    write_atomically(path / "work/tuneloop.toml", ECHO + settings + TASK.format(route="fixed"))
    if n:
        write(
            workspace,
            [call(f"c{k}", answer=GOOD if k % 3 else "No") for k in range(n)],
            [mark(f"c{k}", "up" if k % 3 else "down", user=f"u{k % 5}") for k in range(n)],
        )
    workspace.db.close()
    return path / "work"


def test_an_answer_is_scored_in_words(tmp_path: Path, tuneloop_command: Command) -> None:
    work = prepared(tmp_path)
    done = tuneloop_command("-w", work, "quality", "assess", "--question", "How do I oil a chain?", "--answer", GOOD)
    assert "relevance" in done.stdout and "stems" in done.stdout
    assert "it takes a judge" in done.stdout.replace("\n", " ")
    done = tuneloop_command(
        "--json", "-w", work, "quality", "assess", "--question", "How?", "--answer", "No", "--criterion", "format"
    )
    said = json.loads(done.stdout)
    assert [score["criterion"] for score in said["scores"]] == ["format"]
    assert said["overall_score"] < 1


def test_a_judge_of_the_settings_is_asked(tmp_path: Path, tuneloop_command: Command) -> None:
    with FakeJudge(by_length) as server:
        work = prepared(tmp_path, judge=server.url, n=3)
        done = tuneloop_command("--json", "-w", work, "quality", "assess", "c1", "--criterion", "tone=Is it friendly?")
    said = json.loads(done.stdout)
    assert said["call"] == "c1" and said["overall_score"] == 1.0
    assert {score["method"] for score in said["scores"]} == {"rules", "judge:judge/m"}


def test_scores_are_shown_beside_clicks(tmp_path: Path, tuneloop_command: Command) -> None:
    work = prepared(tmp_path, n=60)
    assert "quality score" in tuneloop_command("-w", work, "quality", "stats").stdout
    assert json.loads(tuneloop_command("--json", "-w", work, "quality", "score").stdout) == {"scored": 60}
    shown = tuneloop_command("-w", work, "quality", "stats").stdout
    assert "AUC" in shown and "60 clicks" in " ".join(shown.split())


def test_the_switch_is_shown_and_set(tmp_path: Path, tuneloop_command: Command) -> None:
    work = prepared(tmp_path, n=30)
    shown = json.loads(tuneloop_command("--json", "-w", work, "quality", "switch", "support").stdout)
    assert (shown["mode"], shown["state"], shown["predictor"]) == ("auto", "uncalibrated", None)
    done = tuneloop_command("--json", "-w", work, "quality", "switch", "support", "on", "--threshold", "0.5")
    assert json.loads(done.stdout)["state"] == "forced"
    assert "threshold = 0.5" in (work / "tuneloop.toml").read_text()
    wrong = tuneloop_command("-w", work, "quality", "switch", "nothing", code=None)
    assert "no task 'nothing'" in wrong.stderr


def test_a_mistyped_request_names_the_next_step(tmp_path: Path, tuneloop_command: Command) -> None:
    work = prepared(tmp_path)
    for arguments, said in (
        ([], "name a call"),
        (["c1", "--answer", "x"], "name a call"),
        (["nothing"], "no call 'nothing'"),
        (["--answer", "x", "--criterion", "beauty"], "beauty"),
    ):
        wrong = tuneloop_command("-w", work, "quality", "assess", *arguments, code=None)
        assert said in wrong.stderr
        assert "next:" in wrong.stderr
