"""Quality over HTTP: assessed answers, a judge behind its engine, the switch, the learned route."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.answer.marked import call, mark, write
from tests.engines.fake_judge import FakeJudge, by_length
from tests.gateway.live import Live, until
from tests.gateway.test_exchange import ASK, ECHO, gateway
from tuneloop.access import keys
from tuneloop.answer import calls
from tuneloop.answer import quality as figures
from tuneloop.records import Call
from tuneloop.workspace import Workspace, open_workspace

TASK = """
[tasks.support]
route = "{route}"
checks = ["min_chars:20", "no_refusal", "finished"]
original = "far"
switch = "auto"
[tasks.support.variants.own]
engine = "echo"
model = "active"
[tasks.support.variants.far]
engine = "echo"
model = "echo"
price_in = 1.0
"""
GOOD = "Wipe the bicycle chain first, then put one drop of oil on every link of the chain."


@contextmanager
def judged(path: Path, server: FakeJudge, **more: object) -> Iterator[Live]:
    settings = "".join(f"{name} = {value!r}\n" for name, value in ({"judge": "judge/m"} | more).items())
    toml = f'{ECHO}[engines.judge]\nurl = "{server.url}"\n[quality]\n{settings}' + TASK.format(route="fixed")
    with gateway(path, toml) as live:
        yield live


def test_an_answer_is_assessed_by_rules_words_and_judge(tmp_path: Path) -> None:
    with FakeJudge(by_length) as server, judged(tmp_path, server) as live:
        body = {"question": "How do I oil a bicycle chain?", "answer": GOOD, "criteria": ["relevance", "accuracy"]}
        found = live.post("/quality", body)
        assert found.status_code == 200, found.text
        said = {(s["criterion"], s["method"]): s["value"] for s in found.json()["scores"]}
        assert said["accuracy", "rules"] is None
        assert said["accuracy", "judge:judge/m"] == said["relevance", "judge:judge/m"] == 1.0
        assert said["relevance", "stems"] > 0.5
        assert found.json()["overall_score"] == 1.0
        asked = len(server.asked)
        plain = live.post("/quality", body | {"judge": False}).json()
        assert len(server.asked) == asked and plain["overall_score"] == said["relevance", "stems"]
        own = live.post("/quality", body | {"criteria": {"tone": "Is it friendly?"}}).json()
        assert own["scores"][-1] | {"agreement": None} == {
            "criterion": "tone", "method": "judge:judge/m", "value": 1.0, "detail": {"apart": 0.0}, "agreement": None,
        }  # fmt: skip
        assert "Is it friendly?" in server.asked[-1]["messages"][-1]["content"]


def test_a_call_is_assessed_from_the_journal_and_its_scores_are_kept(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + TASK.format(route="fixed")) as live:
        reply = live.post("/v1/chat/completions", ASK | {"model": "support"})
        identity = reply.json()["id"]
        first = live.post("/quality", {"call": identity})
        assert first.status_code == 200, first.text
        assert live.post("/quality", {"call": identity}).json() == first.json() | {
            "scores": live.post("/quality", {"call": identity}).json()["scores"]
        }
        stats = live.get("/quality/stats?model=active").json()
        assert stats["criteria"]["relevance"]["stems"]["n"] == 1
        assert live.get("/quality/stats?model=nothing").json()["answers"] == 0
        # what an application sends along may be no question at all
        for wrong, status in (
            ({}, 400), ({"call": "x", "answer": "y"}, 400), ({"call": "nothing"}, 404),
            ({"question": "q", "answer": "a", "criteria": ["beauty"]}, 400),
        ):  # fmt: skip
            assert live.post("/quality", wrong).status_code == status, wrong


def test_teams_assess_their_own_calls_only(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + TASK.format(route="fixed")) as live:
        secrets = {
            tenant: keys.create(live.workspace, tenant=tenant, name="k", role="user")[1] for tenant in ("red", "blue")
        }
        headers = {tenant: {"Authorization": f"Bearer {secret}"} for tenant, secret in secrets.items()}
        reply = live.post("/v1/chat/completions", ASK | {"model": "support"}, headers=headers["red"])
        identity = reply.json()["id"]
        assert live.post("/quality", {"call": identity}, headers=headers["red"]).status_code == 200
        assert live.post("/quality", {"call": identity}, headers=headers["blue"]).status_code == 404
        assert live.get("/quality/stats", headers=headers["red"]).json()["answers"] == 1
        assert live.get("/quality/stats", headers=headers["blue"]).json()["answers"] == 0
        assert live.get("/tasks/support/switch", headers=headers["blue"]).status_code == 200


def test_two_answers_are_compared_by_the_judge(tmp_path: Path) -> None:
    pair = {"question": "Why?", "one": "Because it rains.", "other": "No."}
    with FakeJudge(by_length) as server, judged(tmp_path, server) as live:
        assert live.post("/quality/compare", pair).json()["prefers"] == "one"
        assert live.post("/quality/compare", pair | {"one": "No."}).json()["prefers"] == "tie"
    with gateway(tmp_path / "none", ECHO) as live:
        assert live.post("/quality/compare", pair).status_code == 404


def test_a_judge_that_is_away_is_503_and_a_judge_nobody_knows_is_told(tmp_path: Path) -> None:
    body = {"question": "q", "answer": "a"}
    toml = ECHO + '[engines.judge]\nurl = "http://127.0.0.1:9/v1"\n[quality]\njudge = "judge/m"\n'
    with gateway(tmp_path, toml) as live:
        assert live.post("/quality", body).status_code == 503
        assert live.post("/quality", body | {"judge": False}).status_code == 200
    with gateway(tmp_path / "unknown", ECHO + '[quality]\njudge = "jury/m"\n') as live:
        wrong = live.post("/quality", body)
        assert wrong.status_code == 400 and "jury" in wrong.json()["error"]["message"]


def test_the_judge_is_asked_about_a_share_by_itself(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "work", create=True)
    write(workspace, [call(f"c{n}", answer=GOOD) for n in range(3)] + [call("short", answer="No")], [])
    workspace.db.close()
    with FakeJudge(by_length) as server, judged(tmp_path, server, judge_share=1.0) as live:

        def all_judged() -> bool:
            found = figures.get_quality_stats(live.workspace)["criteria"].get("accuracy", {})
            return bool(found) and found["judge:judge/m"]["n"] == 4

        until(all_judged)
        assert len(server.asked) == 4 * 3 * 2  # calls, criteria, directions
        assert figures.waiting(live.workspace, ("judge:judge/m",), most=9) == []


def test_the_switch_is_forced_released_and_remembered(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + TASK.format(route="fixed")) as live:
        before = live.get("/tasks/support/switch").json()
        assert (before["mode"], before["on"], before["state"]) == ("auto", False, "uncalibrated")
        forced = live.put("/tasks/support/switch", {"mode": "on", "threshold": 0.9})
        assert forced.status_code == 200, forced.text
        assert (forced.json()["state"], forced.json()["threshold"]) == ("forced", 0.9)
        reply = live.post("/v1/chat/completions", ASK | {"model": "support"})  # "привет мир": short, unfinished
        assert reply.headers["x-tuneloop-variant"] == "far"
        assert live.put("/tasks/support/switch", {"mode": "off"}).json()["on"] is False
        assert live.post("/v1/chat/completions", ASK | {"model": "support"}).headers["x-tuneloop-variant"] == "own"
        assert live.put("/tasks/support/switch", {"mode": "perhaps"}).status_code == 400
        assert live.put("/tasks/nothing/switch", {"mode": "on"}).status_code == 404
        assert live.get("/tasks/support/switch").json()["changes"] == 2


def test_without_a_bar_streams_are_not_held_back(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + TASK.format(route="fixed")) as live:
        reply = live.post("/v1/chat/completions", ASK | {"model": "support", "stream": True})
        assert reply.status_code == 200
        live.put("/tasks/support/switch", {"mode": "on", "threshold": 0.9})
        held = live.post("/v1/chat/completions", ASK | {"model": "support", "stream": True})
        rows = live.rows(3)  # the third is the answer nobody saw
        assert sorted(row.first_ms is None for row in rows) == [False, True, True]
        assert "[DONE]" in held.text


EASY, HARD = "Where is the key, {0}?", "Compare the clauses of {0} in detail"


@pytest.mark.parametrize(("template", "variant"), [(EASY, "own"), (HARD, "far")])
def test_cheapest_learns_from_marks_where_to_send_what(tmp_path: Path, template: str, variant: str) -> None:
    with gateway(tmp_path, ECHO + TASK.format(route="cheapest").replace('"auto"', '"off"')) as live:
        teach(live.workspace)
        until(lambda: live.get("/tasks/support/switch").json()["predictor"] is not None or refreshed(live))
        for name in ("boris", "vera", "gleb", "dina", "egor", "zoya", "ivan", "kira", "lev", "mila", "nina", "oleg"):
            body = {"model": "support", "messages": [{"role": "user", "content": template.format(name)}]}
            assert live.post("/v1/chat/completions", body).status_code == 200
        until(lambda: len(ours(live)) == 12)
        usual = [row for row in ours(live) if not row.reason.endswith("explore")]
        assert sum(row.variant == variant for row in usual) >= 0.6 * len(usual)
        assert {row.propensity for row in usual} == {0.95}


def refreshed(live: Live) -> bool:
    desk = live.server.desk
    desk.predictors.refresh(desk.shelf.book, every=0)
    return False


def teach(workspace: Workspace) -> None:
    """Simulated marks: the cheap variant is right about places and wrong about comparisons."""
    draw = random.Random(1)
    made, marks = [], []
    for n in range(300):
        easy = draw.random() < 0.6
        name = "".join(draw.choice("bdgklmnprst") + draw.choice("aeiou") for _n in range(3))
        text = (EASY if easy else HARD).format(name)
        made.append(call(f"c{n}", question=text, engine="echo"))
        marks.append(mark(f"c{n}", "up" if easy != (draw.random() < 0.02) else "down", user=f"u{n % 9}"))
    write(workspace, made, marks)


def ours(live: Live) -> list[Call]:
    live.rows(12)
    return [row for row in calls.recent(live.workspace) if row.id.startswith("chatcmpl-")]
