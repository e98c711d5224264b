"""`tuneloop optimise` as people and scripts run it."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from tests.answer.models import add_pack, add_packed, crashing
from tuneloop.workspace import Workspace

Command = Callable[..., CompletedProcess[str]]
QUICK = ("optimise", "latest", "--threads", "1", "--rounds", "1", "--context", "256")


@pytest.fixture
def packed(workspace: Workspace) -> str:
    version = add_packed(workspace, "tiny")
    add_pack(workspace, version, "q4_K_M", change=crashing())
    return version.id


def test_people_see_a_table_a_choice_and_what_to_do(
    workspace: Workspace, packed: str, tuneloop_command: Command
) -> None:
    said = tuneloop_command("-w", workspace.path, *QUICK, "--max-mb", "1").stdout
    assert packed in said and "●*  q8_0" in said
    assert "q4_K_M, 1: model-q4_K_M.gguf could not be loaded" in said
    assert "chosen: q8_0, threads: 1 meets every target" in said and 'quant = "q8_0" in tuneloop.toml' in said


def test_infeasible_is_an_answer_and_scripts_can_make_it_a_failure(
    workspace: Workspace, packed: str, tuneloop_command: Command
) -> None:
    asked = ("-w", workspace.path, *QUICK, "--max-mb", "0.001", "--min-tokens-per-second", "1")
    assert "--again measures anew" not in tuneloop_command(*asked).stdout
    said = tuneloop_command(*asked).stdout
    for part in ("--again measures anew", "infeasible here", "at most 0.001 asked", "Best of each here: 0.1 MB"):
        assert part in said
    told = json.loads(tuneloop_command(*asked, "--json").stdout)
    assert told["choice"]["decision"] == "infeasible here" and told["choice"]["row"] == 1
    assert told["targets"] == {"max_mb": 0.001, "min_tokens_per_second": 1.0, "max_kl": None}
    assert tuneloop_command(*asked, "--strict", code=5).stderr.startswith("error: no rung meets every target")


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (("--max-mb", "0"), 2, "--max-mb"),
        (("--threads", "one"), 2, "'one' is not a whole number"),
        (("--threads", "4096"), 3, "only wait for each other"),
        (("--rounds", "21"), 3, "rounds must be 1 to 20"),
    ],
)
def test_bad_options_are_one_clear_sentence(
    workspace: Workspace, packed: str, tuneloop_command: Command, wrong: tuple[str, ...], code: int, said: str
) -> None:
    assert said in tuneloop_command("-w", workspace.path, "optimise", "latest", *wrong, code=code).stderr
