"""The judge and the duel on a really tuned model: the shipped sample, the shipped base, a short real training."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import PACKAGE, read_jsonl
from tuneloop import texts, versions
from tuneloop.errors import BadInput, Missing, Refused
from tuneloop.loop import chat, duel
from tuneloop.records import Version
from tuneloop.workspace import Workspace, open_workspace

ALL = [chat.CANDIDATE, chat.BASE, chat.SHOWN]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Version]:
    """The sample community collected, built and tuned for one epoch (30 s)."""
    from tuneloop.collect import dataset, store
    from tuneloop.tune import lora
    from tuneloop.tune.options import Options

    texts.use("en")
    workspace = open_workspace(tmp_path_factory.mktemp("judging") / "work", create=True)
    store.import_export(workspace, PACKAGE / "demo" / "community" / "result.json")
    folder = dataset.build(workspace, name="bees")
    version = lora.train(workspace, folder, PACKAGE / "demo" / "base", options=Options(epochs=1, rate=1e-3, threads=1))
    return workspace, version


@pytest.fixture(scope="module")
def judged(tuned: tuple[Workspace, Version]) -> chat.Judged:
    return chat.judge(*tuned)


def test_every_contestant_is_measured_on_the_same_questions(judged: chat.Judged) -> None:
    rows = read_jsonl(judged.folder / "items.jsonl")
    assert len(rows) == judged.verdict.figures["questions"] >= 30
    for row in rows:
        assert sorted(row["nats"]) == sorted(ALL)
        assert all(math.isfinite(v) and v > 0 for v in row["nats"].values())
        assert row["chars"] == len(row["truth"])


def test_one_epoch_of_tuning_shows_in_the_figures(judged: chat.Judged) -> None:
    figures = judged.verdict.figures
    assert figures["bits_per_char"][chat.CANDIDATE] < figures["bits_per_char"][chat.BASE]
    assert figures["against"][chat.BASE]["low"] > 0
    assert set(figures["chrf"]) == {chat.CANDIDATE, chat.BASE, chat.HISTORY, chat.CHANCE}
    assert figures["chrf"][chat.HISTORY] > figures["chrf"][chat.CHANCE], "a lookup that is no better than chance"


def test_the_verdict_is_stored_with_the_version(tuned: tuple[Workspace, Version], judged: chat.Judged) -> None:
    workspace, version = tuned
    stored = versions.find(workspace, version.id).verdict
    assert stored is not None and stored["decision"] == judged.verdict.decision
    assert json.loads((judged.folder / "verdict.json").read_text())["why"] == judged.verdict.why
    assert versions.events(workspace)[-1]["event"] == "judged"


def test_planted_secrets_are_checked_when_there_are_any(tuned: tuple[Workspace, Version], judged: chat.Judged) -> None:
    _workspace, version = tuned
    memory = judged.verdict.figures["memory"]
    assert memory["canaries"] == version.meta["canaries"] == 3, "1 % of 255 examples, but no fewer than 3"
    assert memory["canaries_extracted"] == 0
    assert 0 <= memory["exposure_bits"] <= 8


def test_a_dataset_built_again_is_not_judged_on(tuned: tuple[Workspace, Version]) -> None:
    workspace, version = tuned
    other = dataclasses.replace(version, meta={**version.meta, "dataset": "0" * 16})
    with pytest.raises(Missing, match="built again"):
        chat.judge(workspace, other)


def test_shots_come_before_the_question_nearest_last(tuned: tuple[Workspace, Version]) -> None:
    from tuneloop.collect import dataset
    from tuneloop.search.history import History

    workspace, version = tuned
    data = dataset.load(workspace.path / str(version.meta["dataset_path"]))
    history = History(data.examples("train"))
    asked = data.examples("test")[0]
    prompt = chat._shown(asked, "be kind", history)
    near = history.nearest(asked.question, chat.SHOTS)
    assert prompt[0] == {"role": "system", "content": "be kind"}
    assert prompt[-1]["content"].endswith(asked.question)
    assert prompt[2 * len(near) - 1]["content"] == near[0][0].question
    assert asked.answer not in {turn["content"] for turn in prompt}


class TestDuel:
    def test_pairs_are_blind_balanced_and_shown_in_both_orders(self, tuned: tuple[Workspace, Version]) -> None:
        workspace, version = tuned
        shown = duel.pairs(workspace, version, chat.HISTORY, duel.PERSON, rater="anna")
        half = len(shown) // 2
        assert {p.example.id for p in shown[:half]} == {p.example.id for p in shown[half:]}
        assert 0.25 < sum(p.swapped for p in shown[:half]) / half < 0.75
        first, second = shown[0], next(p for p in shown[half:] if p.example.id == shown[0].example.id)
        assert (first.left, first.right) == (second.right, second.left)

    def test_clicks_are_kept_resumed_and_undone(self, tuned: tuple[Workspace, Version]) -> None:
        workspace, version = tuned
        names = (chat.HISTORY, duel.PERSON)
        before = duel.pairs(workspace, version, *names, rater="boris")
        duel.record(workspace, version, *names, before[0], "left", rater="boris")
        left = duel.pairs(workspace, version, *names, rater="boris")
        assert left == before[1:]
        assert duel.pairs(workspace, version, *names, rater="vera") == before
        duel.undo(workspace, version, *names, before[0], rater="boris")
        assert duel.pairs(workspace, version, *names, rater="boris") == before

    def test_only_agreeing_orders_decide(self, tuned: tuple[Workspace, Version]) -> None:
        workspace, version = tuned
        names = (duel.PERSON, chat.HISTORY)
        everything = duel.pairs(workspace, version, *names, rater="judge")
        chosen = {p.example.id for p in everything[:6]}
        by_question: dict[str, list[duel.Pair]] = {}
        for pair in everything:
            if pair.example.id in chosen:
                by_question.setdefault(pair.example.id, []).append(pair)
        prefer_a: Callable[[duel.Pair], str] = lambda pair: "right" if pair.swapped else "left"  # noqa: E731
        for number, both in enumerate(by_question.values()):
            for pair in both:
                said = prefer_a(pair) if number < 4 else "left"  # the last two are judged by position alone
                duel.record(workspace, version, *names, pair, said, rater="judge")
        now = duel.standing(workspace, version, *names)
        assert (now.wins_a, now.wins_b, now.ties) == (4, 0, 2)

    def test_a_contestant_cannot_duel_itself(self, tuned: tuple[Workspace, Version]) -> None:
        with pytest.raises(BadInput, match="two different"):
            duel.pairs(*tuned, "base", "base", rater="x")


@pytest.mark.parametrize(
    ("wins_a", "wins_b", "claim"),
    [(60, 40, "more"), (75, 25, "enough"), (10, 10, "none"), (0, 0, "none")],
)
def test_more_clicks_shrink_to_none(wins_a: int, wins_b: int, claim: str) -> None:
    now = duel.tally("x", "y", [("a", "a")] * wins_a + [("b", "b")] * wins_b)
    if claim == "enough":
        assert now.more_clicks == 0 and now.low > 0.5
    elif claim == "more":
        # 60 % against 50 % is certain from about 96 decided questions on
        assert now.more_clicks is not None and (now.more_clicks > 0) == (now.low <= 0.5)
    else:
        assert now.more_clicks is None


@pytest.mark.soak
def test_the_gate_command_says_the_same_again(
    tuned: tuple[Workspace, Version], judged: chat.Judged, tuneloop_command: Callable[..., Any]
) -> None:
    workspace, version = tuned
    before = (judged.folder / "items.jsonl").read_bytes()
    done = tuneloop_command("-w", workspace.path, "gate", version.id[:6], "--strict", code=None)
    assert "bits per character" in done.stdout and "history" in done.stdout
    assert (judged.folder / "items.jsonl").read_bytes() == before
    promoted = judged.verdict.decision == "promote"
    assert done.returncode == (0 if promoted else 5)
    tuneloop_command("-w", workspace.path, "versions", "activate", version.id, code=0 if promoted else 5)


def test_duel_command_takes_keys_from_a_pipe(
    tuned: tuple[Workspace, Version], tuneloop_command: Callable[..., Any]
) -> None:
    workspace, _version = tuned
    done = tuneloop_command(
        "-w", workspace.path, "duel", "history", "person", "--rater", "pipe", input="1\n2\nu\n0\nq\n"
    )
    assert "Saved" in done.stdout and "Duel" in done.stdout
    shown = json.loads(tuneloop_command("-w", workspace.path, "duel", "history", "person", "--show", "--json").stdout)
    assert shown["half_done"] >= 2


def test_an_imported_model_is_refused_with_the_reason(tuned: tuple[Workspace, Version]) -> None:
    workspace, version = tuned
    foreign = dataclasses.replace(version, meta={"imported": True})
    with pytest.raises(Refused, match="not tuned here"):
        chat.judge(workspace, foreign)
