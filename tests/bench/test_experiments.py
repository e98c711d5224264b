"""The bench of verdicts runs, and prints what docs quote: every rule beside the others, with its price."""

from __future__ import annotations

import pytest

from bench import experiments


def test_every_rule_is_shown_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    experiments.run(runs=40)
    said = capsys.readouterr().out
    for rule in experiments.RULES:
        assert said.count(rule) == len(experiments.DATA)
    assert "promoted in 0 of 20 experiments; said anything below 100 votes in 0" in said
    assert "stops too easily" in said
    for name in experiments.EQUAL:
        assert name in said
