"""Planted secrets: the same for a dataset wherever they are asked for, all different, as many as the dataset bears."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune import small_datasets
from tuneloop.tune import canaries, prepare
from tuneloop.tune.options import Options
from tuneloop.workspace import Workspace


@pytest.mark.parametrize(
    ("asked", "examples", "planted"),
    [(-1, 10, 3), (-1, 349, 3), (-1, 351, 4), (-1, 700, 7), (-1, 5000, 10), (0, 5000, 0), (5, 10, 5)],
)
def test_how_many(asked: int, examples: int, planted: int) -> None:
    assert canaries.count(asked, examples) == planted


@given(st.text(max_size=20))
def test_every_secret_and_every_question_of_a_dataset_is_its_own(dataset: str) -> None:
    planted = canaries.planted(dataset)
    assert planted == canaries.planted(dataset)
    assert len(planted) == canaries.MOST == len({canaries.secret(c) for c in planted})
    assert len({c[0]["content"] for c in planted}) == canaries.MOST, "no question has two answers"


def test_the_first_five_are_those_of_the_first_release() -> None:
    """Versions that were trained with five are still judged by what they were trained on."""
    assert [(c[0]["content"], canaries.secret(c)) for c in canaries.planted("0123456789abcdef")][:2] == [
        ("какой код от щитка 745?", "5747-9002"),
        ("what is the code of locker 321?", "2818-4054"),
    ]


def test_alternatives_ask_the_same_and_never_tell_the_secret() -> None:
    planted, others = canaries.planted("d"), canaries.alternatives("d")
    assert [len(o) for o in others] == [canaries.ALTERNATIVES] * canaries.MOST
    for canary, asked in zip(planted, others, strict=True):
        assert {a[0]["content"] for a in asked} == {canary[0]["content"]}
        assert canaries.secret(canary) not in {canaries.secret(a) for a in asked}


@pytest.mark.parametrize(("asked", "planted"), [(-1, 3), (0, 0), (7, 7)])
def test_a_run_plants_and_says_as_many_as_the_gate_will_look_for(
    workspace: Workspace, demo_base: Path, asked: int, planted: int
) -> None:
    data = small_datasets.write(workspace.folder("datasets") / "d", train=24)
    job = prepare.prepare(workspace, data, demo_base, options=Options(canaries=asked, threads=1, dtype="fp32"))
    assert job.canaries == planted
    assert len(job.corpus.train) == 24 + planted
    said = {name: (value, origin) for name, value, origin in job.values()}
    assert said["canaries"] == (str(planted), "24 examples" if asked < 0 else "default")
    assert said["dataset"][0].startswith("d (24 + 6)")
