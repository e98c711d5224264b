"""Blind replay over real rows: made once, resumed, undone, kept apart, revealed at its end and not before."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from sqlalchemy import delete, select

from tests.loop.replays import TASK, Answers, ask_questions
from tuneloop.answer import statistics
from tuneloop.choose import replay as plans
from tuneloop.choose.replay import Replay
from tuneloop.db.tables import calls, judgements
from tuneloop.errors import BadInput, Conflict, EngineDown, Missing, NotEnoughData
from tuneloop.loop import from_feedback
from tuneloop.loop import replay as verb
from tuneloop.loop.replay import Pair
from tuneloop.workspace import Workspace


@pytest.fixture
def answers() -> Answers:
    return Answers()


def begin(workspace: Workspace, n: int = 30, **more: Any) -> Replay:
    ask_questions(workspace, n)
    return verb.begin(workspace, TASK, "own", "big", questions=max(20, min(n, 50)), **more)


def following(workspace: Workspace, one: Replay, answers: Answers, rater: str = "anna", **more: Any) -> Pair | None:
    return asyncio.run(verb.next_pair(workspace, one, TASK, answers, rater=rater, **more))


def judge_all(workspace: Workspace, one: Replay, answers: Answers, liked: str = "big", rater: str = "anna") -> int:
    """Prefers a variant by its answer's words, as an eye would; how many were judged."""
    n = 0
    while pair := following(workspace, one, answers, rater):
        said = "left" if pair.left.startswith(liked) else "right"
        verb.judge(workspace, one, pair.number, said, rater=rater)
        n += 1
    return n


def test_the_better_variant_is_found_whichever_side_it_stands_on(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    assert judge_all(workspace, one, answers) == 30 and answers.asked == 60
    told = verb.reveal(workspace, one).verdict
    assert told is not None and (told["decision"], told["variant"], told["wins_b"]) == ("winner", "big", 30)
    assert 5 <= told["left"] <= 25, "it stood on both sides"


def test_nothing_is_told_before_the_end(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    pair = following(workspace, one, answers)
    assert pair is not None
    verb.judge(workspace, one, pair.number, "left", rater="anna")
    assert verb.reveal(workspace, one) == one and one.verdict is None
    shown = json.dumps(dataclasses.asdict(pair))
    assert "answer" not in shown and pair.messages[-1]["content"].startswith("How many bees")
    ended = verb.reveal(workspace, one, end=True)
    assert ended.verdict and ended.verdict["decision"] == "not enough data" and ended.verdict["open"] == 29
    for attempt in ("tie", "undo"):
        with pytest.raises(Conflict, match="over"):
            verb.judge(workspace, one, pair.number, attempt, rater="anna")
    with pytest.raises(Conflict, match="over"):
        following(workspace, ended, answers)


def test_it_goes_on_where_it_was_and_asks_nobody_twice(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    first = following(workspace, one, answers)
    assert first is not None and first == following(workspace, one, answers) and answers.asked == 2
    asyncio.run(verb.prepare(workspace, one, TASK, answers))
    assert answers.asked == 60 and not verb.standing(workspace, one).unmade
    asyncio.run(verb.prepare(workspace, one, TASK, answers))
    assert answers.asked == 60
    again = verb.begin(workspace, TASK, "big", "own", questions=20)
    assert again == one, "the open one goes on, in whichever order its variants are named"
    verb.judge(workspace, one, first.number, "left", rater="anna")
    second = following(workspace, again, answers)
    assert second is not None and second.number != first.number
    assert following(workspace, again, answers, besides=second.number).number not in (first.number, second.number)  # type: ignore[union-attr]


def test_a_verdict_is_one_row_and_can_be_taken_back(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    pair = following(workspace, one, answers)
    assert pair is not None
    for said in ("left", "left", "right", "tie"):
        verb.judge(workspace, one, pair.number, said, rater="anna")
    with workspace.db.read() as rows:
        assert [row.verdict for row in rows.execute(select(judgements))] == ["tie"]
    verb.judge(workspace, one, pair.number, "undo", rater="boris")  # not his
    assert verb.standing(workspace, one, "anna").judged == 1
    verb.judge(workspace, one, pair.number, "undo", rater="anna")
    assert following(workspace, one, answers) == pair


def test_two_people_share_the_work_and_differ_to_a_tie(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    mine, theirs = following(workspace, one, answers, "anna"), following(workspace, one, answers, "boris")
    assert mine is not None and theirs is not None and mine.number == theirs.number
    own = "left" if mine.left.startswith("own") else "right"
    big = "left" if theirs.left.startswith("big") else "right"
    verb.judge(workspace, one, mine.number, own, rater="anna")
    verb.judge(workspace, one, mine.number, big, rater="boris")
    assert verb.standing(workspace, one).outcomes[mine.number] == "tie"
    later = following(workspace, one, answers, "anna")
    assert later is not None
    verb.judge(workspace, one, later.number, "tie", rater="anna")
    assert later.number not in verb.standing(workspace, one, "boris").waiting()


def test_what_one_skips_another_may_judge(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    pair = following(workspace, one, answers)
    assert pair is not None
    verb.judge(workspace, one, pair.number, "skip", rater="anna")
    assert pair.number not in verb.standing(workspace, one, "anna").waiting()
    assert pair.number in verb.standing(workspace, one, "boris").waiting()
    assert verb.standing(workspace, one).outcomes[pair.number] == "skip"


def test_same_failed_and_removed_questions_are_not_shown(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    same, failed, gone = one.questions[:3]
    answers.same, answers.fails = {same}, {(failed, "big")}
    with workspace.db.write() as rows:
        rows.execute(delete(calls).where(calls.c.id == gone))
    assert judge_all(workspace, one, answers) == 27
    now = verb.standing(workspace, one)
    assert now.outcomes[:3] == ("same", "failed b", "gone") and now.complete
    told = verb.reveal(workspace, one).verdict
    assert told is not None and (told["same"], told["failed_b"], told["failed_a"], told["gone"]) == (1, 1, 0, 1)
    for number in (0, 1, 2, 30, -1):
        with pytest.raises((BadInput, Conflict)):
            verb.judge(workspace, one, number, "left", rater="anna")


def test_an_engine_that_is_down_is_nobodys_failure(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    answers.down = True
    for work in (following, lambda w, o, a: asyncio.run(verb.prepare(w, o, TASK, a))):
        with pytest.raises(EngineDown):
            work(workspace, one, answers)  # type: ignore[operator]
    assert len(verb.standing(workspace, one).unmade) == 30
    answers.down = False
    assert following(workspace, one, answers) is not None


def test_a_question_is_judged_only_after_it_was_answered(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    with pytest.raises(BadInput, match="no two answers"):
        verb.judge(workspace, one, 0, "left", rater="anna")
    with pytest.raises(BadInput, match="say one of"):
        verb.judge(workspace, one, 0, "better", rater="anna")


def test_a_changed_variant_is_not_mixed_in(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    assert following(workspace, one, answers) is not None
    other = dataclasses.replace(TASK, variants=(TASK.variants[0], dataclasses.replace(TASK.variants[1], model="new")))
    with pytest.raises(Conflict, match="has changed"):
        asyncio.run(verb.prepare(workspace, one, other, answers))
    # weights and a third variant change no answer of these two
    same = dataclasses.replace(TASK, variants=tuple(dataclasses.replace(v, weight=0.5) for v in TASK.variants[:2]))
    asyncio.run(verb.prepare(workspace, one, same, answers))


def test_several_models_behind_one_variant_are_told(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    judge_all(workspace, one, answers)
    with workspace.db.write() as rows:
        rows.execute(calls.update().where(calls.c.id == verb.answer_id(one, 0, "b")).values(version="v2"))
    told = verb.reveal(workspace, one).verdict
    assert told is not None and "big v2" in told["notes"][-1]


def test_only_whole_answers_to_people_are_questions(workspace: Workspace) -> None:
    ask_questions(workspace, 25)
    others: list[dict[str, Any]] = [
        {"status": "error"}, {"task": "other"}, {"tenant": "red"}, {"parent": "c0"}, {"kind": "embedding"},
        {"request": {"messages": [{"role": "tool", "content": "7"}]}}, {"request": {"prompt": "x"}},
    ]  # fmt: skip
    for number, more in enumerate(others):
        ask_questions(workspace, 1, id=f"other{number}", **more)
    one = verb.begin(workspace, TASK, "own", "big", questions=50)
    assert sorted(one.questions) == sorted(f"c{n}" for n in range(25))
    with pytest.raises(NotEnoughData, match="1 different questions"):
        verb.begin(workspace, TASK, "own", "big", tenant="red")


@pytest.mark.parametrize(
    ("a", "b", "questions", "error"),
    [("own", "own", 50, BadInput), ("own", "none", 50, Missing), ("own", "big", 19, BadInput),
     ("own", "big", 1001, BadInput), ("own", "big", 50, NotEnoughData)],
)  # fmt: skip
def test_a_replay_that_cannot_end_well_is_not_begun(
    workspace: Workspace, a: str, b: str, questions: int, error: type[Exception]
) -> None:
    ask_questions(workspace, 10)
    with pytest.raises(error):
        verb.begin(workspace, TASK, a, b, questions=questions)
    assert plans.history(workspace) == []


def test_replayed_answers_are_neither_requests_nor_lessons(workspace: Workspace, answers: Answers) -> None:
    one = begin(workspace)
    judge_all(workspace, one, answers)
    assert statistics.get_system_stats(workspace)["total_requests"] == 30
    with pytest.raises(NotEnoughData):
        from_feedback.build(workspace)
    assert len(verb.begin(workspace, TASK, "own", "third", questions=50).questions) == 30
