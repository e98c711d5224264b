"""From rows to sums, against the same sums made in memory; and what the past of the same people is worth."""

from __future__ import annotations

import itertools
import secrets
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete

from tests.choose.pasts import Row, befores, begin, call, of_units, people, store
from tests.choose.sums import cuped, of
from tuneloop.choose import adjust, experiments, fixed, measures
from tuneloop.choose.sequential import Joint, Sums, joint_of
from tuneloop.db.tables import calls
from tuneloop.workspace import Workspace


@pytest.fixture(autouse=True)
def _same_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The salts of experiments are random; here every run divides people alike."""
    numbers = itertools.count(1)
    monkeypatch.setattr(secrets, "token_hex", lambda size=32: f"{next(numbers):0{2 * size}x}")


def near(found: Sums, wanted: Sums) -> bool:
    return (found.n, found.total, found.squares) == pytest.approx((wanted.n, wanted.total, wanted.squares))


def test_several_values_of_a_person_are_summed_by_person(workspace: Workspace) -> None:
    one = begin(workspace)
    rows = people(one, 300)
    store(workspace, [row | {"status": "error" if n % 17 == 0 else "ok"} for n, row in enumerate(rows)])
    ok = [row for n, row in enumerate(rows) if n % 17]
    units, sums, _values = measures.measured(workspace, one)
    for arm in "ab":
        assert units[arm] == len(of_units(rows, arm))
        for metric, field in (("response_time", "latency_ms"), ("tokens", "tokens_out")):
            values = of_units(ok, arm, field)
            wanted = joint_of((user, value) for user, found in values.items() for value in found)
            found = sums[metric][arm]
            assert isinstance(found, Joint)
            assert near(found.y, wanted.y) and near(found.x, wanted.x)
            assert found.products == pytest.approx(wanted.products)
        errors = sums["error_rate"][arm]
        assert isinstance(errors, Joint) and errors.x.total == sum(map(len, of_units(rows, arm).values()))


def test_one_value_each_is_a_plain_value(workspace: Workspace) -> None:
    one = begin(workspace)
    store(workspace, [call(one, n, status="error" if n % 5 == 0 else "ok", quality=0.5) for n in range(100)])
    _units, sums, _values = measures.measured(workspace, one)
    for metric in ("error_rate", "quality_score"):
        for found in sums[metric].values():
            assert isinstance(found, Sums)
    assert sum(found.total for found in sums["error_rate"].values()) == 20  # type: ignore[union-attr]
    assert sum(found.n for found in sums["response_time"].values()) == 80  # type: ignore[union-attr]


def test_a_quantile_has_one_value_of_each_person(workspace: Workspace) -> None:
    one = begin(workspace, metrics=["response_time_p95"])
    rows = people(one, 40)
    store(workspace, rows)
    values = measures.measured(workspace, one)[2]["response_time_p95"]
    for arm in "ab":
        assert sorted(values[arm]) == sorted(found[0] for found in of_units(rows, arm).values())


def test_the_past_is_that_of_the_same_people(workspace: Workspace) -> None:
    one = begin(workspace)
    rows = people(one, 600)
    store(workspace, rows)
    found = measures.past(workspace, one)["response_time"]
    known = befores(rows)
    arrays: dict[str, tuple[list[float], list[float]]] = {}
    everybody = {user for arm in "ab" for user in of_units(rows, arm)}
    mean = float(np.mean([known[user] for user in everybody if user in known]))
    for arm in "ab":
        units = of_units(rows, arm)
        arrays[arm] = ([float(np.mean(v)) for v in units.values()], [known.get(user, mean) for user in units])
        assert near(found[arm].y, Sums(len(units), sum(arrays[arm][0]), sum(y * y for y in arrays[arm][0])))
    adjusted, removed = cuped(arrays)
    sums, removed_too = adjust.cuped(found)
    assert removed_too == pytest.approx(removed) and removed > 0.5
    for arm in "ab":
        assert sums[arm].mean == pytest.approx(adjusted[arm].mean())
        assert sums[arm].variance == pytest.approx(adjusted[arm].var(ddof=1))


def test_only_their_own_calls_before_it_began_are_their_past(workspace: Workspace) -> None:
    one = begin(workspace, tenant="red")
    rows = people(one, 500, old=1.0)
    store(workspace, rows)
    right = measures.past(workspace, one)["response_time"]
    others: list[Row] = []
    for wrong in (
        {"tenant": "blue"}, {"task": "other"}, {"status": "error"}, {"parent": "x"}, {"cached": True},
        {"time": one.created - measures.BEFORE - 1}, {"time": one.created + 1}, {"user": ""},
    ):  # fmt: skip
        made = call(one, len(rows) + len(others), before=True, user="u1", latency_ms=1e6)
        others.append(made | wrong)
    store(workspace, others)
    assert measures.past(workspace, one)["response_time"] == right


@pytest.mark.parametrize("old", [0.0, 0.3])
def test_too_few_with_a_past_and_it_is_not_used(workspace: Workspace, old: float) -> None:
    one = begin(workspace)
    store(workspace, people(one, 300, old=old))
    assert measures.past(workspace, one) == {}
    (found,) = experiments.look(workspace, one).comparisons
    assert "CUPED" not in found.interval.method


@pytest.mark.parametrize("more", [{"mode": "bandit"}, {"metrics": ["user_satisfaction"]}])
def test_bandits_and_votes_have_no_past(workspace: Workspace, more: dict[str, Any]) -> None:
    one = begin(workspace, **more)
    store(workspace, people(one, 600))
    assert measures.past(workspace, one) == {}


def test_every_mean_has_its_own_past(workspace: Workspace) -> None:
    one = begin(workspace, metrics=["cost", "response_time", "quality_score"])
    store(workspace, [row | {"cost": row["latency_ms"] / 1000} for row in people(one, 600)])
    found = measures.past(workspace, one)
    assert set(found) == {"cost", "response_time"}, "nothing was scored"
    assert found["cost"]["a"].y.total == pytest.approx(found["response_time"]["a"].y.total / 1000)
    assert found["cost"]["a"].x.total == pytest.approx(found["response_time"]["a"].x.total / 1000)


def test_the_past_finds_what_is_hidden_in_the_noise_without_it(workspace: Workspace) -> None:
    def verdict(name: str, old: float) -> Any:
        one = begin(workspace, name, layer=name)
        store(workspace, people(one, 800, gain=10.0, old=old, seed=3))
        return experiments.look(workspace, one)

    blind, seeing = verdict("blind", 0.0), verdict("seeing", 1.0)
    assert blind.decision == "not enough data"
    assert (seeing.decision, seeing.arm) == ("winner", "b")
    (narrow,), (wide,) = seeing.comparisons, blind.comparisons
    assert "CUPED" in narrow.interval.method and "variance removed" in narrow.interval.method
    assert narrow.interval.high - narrow.interval.low < 0.4 * (wide.interval.high - wide.interval.low)
    assert narrow.interval.low < -10 < narrow.interval.high


@pytest.mark.parametrize("old", [0.0, 0.9])
def test_without_a_difference_few_winners_are_named(workspace: Workspace, old: float) -> None:
    """60 experiments looked at once at 5 %; calls taken for units of their own would name a quarter of them."""
    winners = by_call = 0
    for seed in range(60):
        one = begin(workspace, f"n{seed}", layer=f"n{seed}", method="fixed", planned=100)
        rows = people(one, 260, seed=100 + seed, old=old)
        store(workspace, rows)
        winners += experiments.look(workspace, one).decision == "winner"
        values = [np.array([row["latency_ms"] for row in rows if row["arm"] == arm]) for arm in "ab"]
        by_call += fixed.mean_difference(of(values[0]), of(values[1])).p <= 0.05
        with workspace.db.write() as connection:
            connection.execute(delete(calls))
    assert winners <= 7 and by_call >= 10
