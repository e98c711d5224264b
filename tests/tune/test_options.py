from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tuneloop import settings
from tuneloop.errors import BadInput
from tuneloop.tune.options import Options, resolve


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / "tuneloop.toml").write_text("[tune]\nrank = 4\nepochs = 5\nseed = 6\n")
    resolved = settings.load(tmp_path, {"TUNELOOP_TUNE_EPOCHS": "7", "TUNELOOP_TUNE_SEED": "8"})
    options = resolve(resolved, {"seed": 9, "rank": None})
    assert (options.alpha, options.origin("alpha")) == (32, "default")
    assert (options.rank, options.origin("rank")) == (4, "tuneloop.toml")
    assert (options.epochs, options.origin("epochs")) == (7, "TUNELOOP_TUNE_EPOCHS")
    assert (options.seed, options.origin("seed")) == (9, "flag")


def test_defaults_of_options_and_settings_agree() -> None:
    assert resolve(settings.load(None, {}), {}) == Options()


@pytest.mark.parametrize(
    "flags", [{"rank": 0}, {"epochs": 0}, {"rate": -1.0}, {"batch_tokens": 1}, {"warm_up": 1.0}, {"dtype": "int4"}]
)
def test_senseless_values_are_named(flags: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(flags))):
        resolve(settings.load(None, {}), flags)


def test_the_rate_depends_on_the_models_size_unless_given() -> None:
    assert Options().rate_for(3_000_000) == 4e-3
    assert Options().rate_for(500_000_000) == 2e-4
    assert Options(rate=5e-5).rate_for(3_000_000) == 5e-5


def test_a_runs_identity_follows_what_decides_its_result() -> None:
    options = Options()
    same = options.identity("data", "base")
    assert replace(options, max_hours=9.0, threads=3, mlflow_url="http://x").identity("data", "base") == same
    others = [
        options.identity("other", "base"),
        options.identity("data", "other"),
        replace(options, seed=1).identity("data", "base"),
        replace(options, epochs=4).identity("data", "base"),
    ]
    assert len({same, *others}) == 5
