"""Quality: scores are kept once, sampled alike by every process, and shown beside what people clicked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.answer.marked import TASK, call, mark, write
from tests.engines.fake_judge import FakeJudge, by_length
from tuneloop.answer import quality
from tuneloop.answer.book import Book
from tuneloop.answer.criteria import CRITERIA, Score, chosen
from tuneloop.answer.judging import Judge
from tuneloop.db.tables import scores
from tuneloop.engines.openai import OpenAI
from tuneloop.errors import BadInput, EngineDown, Missing
from tuneloop.records import EngineSpec
from tuneloop.workspace import Workspace

BOOK = Book({}, {TASK.name: TASK})
DAY = 86_400.0
GOOD = "Wipe the bicycle chain first, then put one drop of oil on every link of the chain."


def stored(workspace: Workspace) -> list[tuple[str, str, str, float]]:
    columns = (scores.c.call, scores.c.criterion, scores.c.method, scores.c.value)
    with workspace.db.read() as rows:
        return [tuple(row) for row in rows.execute(select(*columns).order_by(*columns))]  # type: ignore[misc]


def test_rules_are_laid_on_new_answers_once(workspace: Workspace) -> None:
    write(
        workspace,
        [
            call("c1", answer=GOOD), call("c2", status="error"), call("c3", cached=True), call("c4", answer=""),
            call("c5", kind="embedding"), call("c6", time=time.time() - 3 * DAY), call("c7", task="unknown"),
        ],
        [],
    )  # fmt: skip
    assert quality.score_new(workspace, BOOK) == 2
    found = stored(workspace)
    assert {row[0] for row in found} == {"c1", "c7"}
    assert {row[1] for row in found} == {"relevance", "completeness", "format", "language", "safety"}
    assert quality.score_new(workspace, BOOK) == 0
    assert stored(workspace) == found
    assert quality.score_new(workspace, BOOK, days=7) == 1


def test_marked_answers_come_first_and_the_rest_is_a_sample(workspace: Workspace) -> None:
    now = time.time()
    write(workspace, [call(f"c{n}", time=now - n) for n in range(300)], [mark("c250", "up"), mark("c299", "down")])
    first = quality.waiting(workspace, ("rules",), most=10)
    assert [row[0] for row in first[:3]] == ["c250", "c299", "c0"] and len(first) == 10
    sample = quality.waiting(workspace, ("rules",), most=300, share=0.2)
    assert 30 < len(sample) < 95
    assert sample == quality.waiting(workspace, ("rules",), most=300, share=0.2)
    assert [row[0] for row in quality.waiting(workspace, ("rules",), most=300, share=0.0)] == ["c250", "c299"]


def test_a_newer_score_replaces_the_older_and_no_value_is_no_row(workspace: Workspace) -> None:
    write(workspace, [call("c1")], [])
    quality.keep(workspace, "c1", [Score("tone", "judge:a/b", 0.25), Score("accuracy", "rules", None)])
    quality.keep(workspace, "c1", [Score("tone", "judge:a/b", 0.75)])
    assert stored(workspace) == [("c1", "tone", "judge:a/b", 0.75)]


def test_a_call_of_another_team_or_without_an_answer_is_not_assessed(workspace: Workspace) -> None:
    write(workspace, [call("c1", tenant="red"), call("c2", status="truncated"), call("c3", answer=GOOD)], [])
    with pytest.raises(Missing):
        quality.of_call(workspace, "c1")
    assert quality.of_call(workspace, "c1", tenant="red")[2] == TASK.name
    with pytest.raises(BadInput, match="no whole answer"):
        quality.of_call(workspace, "c2")
    assert quality.of_call(workspace, "c3") == ("How do I oil a bicycle chain?", GOOD, "support")


def test_stats_show_mean_course_and_agreement(workspace: Workspace) -> None:
    now = time.time()
    write(
        workspace,
        [call(f"c{n}", time=now - (n % 6) * DAY, answer=GOOD if n % 5 else "No") for n in range(90)],
        [mark(f"c{n}", "up" if n % 5 else "down") for n in range(90)],
    )
    quality.score_new(workspace, BOOK, days=7)
    for n in range(90):  # a method that knows nothing, but rises from day to day
        value = 0.9 - 0.1 * (n % 6) + 0.001 * (n % 7)
        quality.keep(workspace, f"c{n}", [Score("relevance", "coin", value)])
    found = quality.get_quality_stats(workspace, "active", 7)
    assert found["answers"] == 90
    words, coin = found["criteria"]["relevance"]["stems"], found["criteria"]["relevance"]["coin"]
    assert words["agreement"]["auc"] == 1.0 and words["agreement"]["may_act"]
    assert 0.3 < coin["agreement"]["auc"] < 0.7 and not coin["agreement"]["may_act"]
    assert (coin["direction"], words["direction"]) == ("rising", "no change seen")
    assert coin["per_day"]["low"] < 0.1 < coin["per_day"]["high"] + 0.01
    assert coin["low"] < coin["mean"] < coin["high"]
    assert [day["n"] for day in coin["by_day"]] == [15] * 6 or sum(day["n"] for day in coin["by_day"]) == 90
    assert quality.get_quality_stats(workspace, "another", 7)["criteria"] == {}
    assert quality.get_quality_stats(workspace, "", 7, tenant="red")["answers"] == 0
    with pytest.raises(BadInput):
        quality.get_quality_stats(workspace, "", 0)


def test_few_answers_have_no_direction_and_few_clicks_no_agreement(workspace: Workspace) -> None:
    write(workspace, [call("c1", answer=GOOD)], [mark("c1", "up")])
    quality.score_new(workspace, BOOK)
    one = quality.get_quality_stats(workspace)["criteria"]["relevance"]["stems"]
    assert (one["n"], one["low"], one["direction"], one["per_day"]) == (1, None, "not enough data", None)
    assert one["agreement"]["auc"] is None and "not measured" in one["agreement"]["says"]


def test_every_method_is_asked_and_the_surest_counts() -> None:
    async def scene(url: str) -> list[Score]:
        engine = OpenAI(EngineSpec("judge", url=url))
        try:
            judge = Judge("judge/m", engine, "m", 20)
            wanted = chosen(["relevance", "accuracy"])
            return await quality.assess("How do I oil a bicycle chain?", GOOD, wanted, judge=judge, reference=GOOD)
        finally:
            await engine.close()

    with FakeJudge(by_length) as server:
        found = asyncio.run(scene(server.url))
    assert [(s.criterion, s.method) for s in found] == [
        ("relevance", "stems"), ("accuracy", "rules"), ("accuracy", "reference"), ("relevance", "judge:judge/m"),
        ("accuracy", "judge:judge/m"),
    ]  # fmt: skip
    assert quality.overall(found) == pytest.approx(1.0)
    assert quality.overall(found[:3]) == pytest.approx(((found[0].value or 0) + 1) / 2)
    assert quality.overall([found[1]]) is None


def test_a_judge_that_does_not_decide_is_a_score_without_a_value_and_one_that_is_away_is_an_error() -> None:
    async def scene(url: str) -> list[Score]:
        engine = OpenAI(EngineSpec("judge", url=url))
        try:
            return await quality.assess("q", "a", [CRITERIA["accuracy"]], judge=Judge("judge/m", engine, "m", 20))
        finally:
            await engine.close()

    with FakeJudge(lambda shown, options: "hm") as server:
        found = asyncio.run(scene(server.url))
    assert (found[-1].value, "did not decide" in found[-1].detail["why"]) == (None, True)
    with pytest.raises(EngineDown):
        asyncio.run(scene("http://127.0.0.1:9/v1"))


def test_a_judge_is_named_by_engine_and_model(tmp_path: Path) -> None:
    engine = OpenAI(EngineSpec("big", url="http://127.0.0.1:9/v1"))
    found = quality.named("big/org/model:7b", {"big": engine})
    assert found is not None and (found.engine, found.model) == (engine, "org/model:7b")
    assert quality.named("", {}) is None
    with pytest.raises(BadInput, match="small"):
        quality.named("small/m", {"big": engine})
