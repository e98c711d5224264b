"""What a run was asked for: each value with the place it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tuneloop.errors import BadInput
from tuneloop.settings import Settings
from tuneloop.texts import _

# Change how long a run takes or how it is watched, never what it learns: not part of a run's identity.
_APART = frozenset({"max_hours", "checkpoint_minutes", "threads", "mlflow_url", "origins"})
_SMALL = 50_000_000  # parameters below which the higher learning rate fits


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `lora.train`. rate 0, dtype "auto" and threads 0 are decided by model and machine."""

    rank: int = 16
    alpha: int = 32
    rate: float = 0.0
    epochs: int = 3
    batch_tokens: int = 2048
    max_length: int = 1024
    warm_up: float = 0.05  # share of the steps
    clip: float = 1.0  # norm above which gradients are scaled down
    patience: int = 4  # checks without a better validation loss before it stops; 0: train to the end, keep the last
    canaries: int = -1  # made-up secrets planted among the examples, for the gate to look for; -1: see canaries.count
    seed: int = 0
    dtype: str = "auto"  # auto | bf16 | fp32
    threads: int = 0
    max_hours: float = 4.0
    checkpoint_minutes: float = 5.0
    mlflow_url: str = ""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def origin(self, name: str) -> str:
        """Where a value came from: "flag", a variable's name, "tuneloop.toml" or "default"."""
        return self.origins.get(name, "default")

    def told(self, name: str) -> str:
        """`origin` for people; names of files and variables stay as they are."""
        origin = self.origin(name)
        return {"default": _("default"), "flag": _("flag")}.get(origin, origin)

    def rate_for(self, parameters: int) -> float:
        """The learning rate: as asked, else 2e-4, and 4e-3 for models that are small enough to need it.

        Measured on the demo base and the sample chat: held-out bits per character 4.74 untuned, 2.92 at 1e-3 (60
        steps), 2.41 at 4e-3 (80 steps).
        """
        return self.rate or (4e-3 if parameters < _SMALL else 2e-4)

    def deciding(self) -> dict[str, Any]:
        """The options that change what is learnt."""
        return {key: value for key, value in asdict(self).items() if key not in _APART}

    def identity(self, dataset: str, base: str) -> str:
        """Hash of what decides the result: the same command is the same run, and goes on where it stopped."""
        text = json.dumps([dataset, base, self.deciding()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def resolve(settings: Settings, flags: Mapping[str, Any]) -> Options:
    """Options from flags (None: not given) over settings. Raises BadInput naming the value that makes no sense."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in (f.name for f in fields(Options) if f.name != "origins"):
        if flags.get(name) is not None:
            values[name], origins[name] = flags[name], "flag"
        elif f"tune.{name}" in settings.values:
            values[name], origins[name] = settings.values[f"tune.{name}"], settings.origin(f"tune.{name}")
    options = Options(**values, origins=origins)
    limits = {
        "rank": (1, 512),
        "alpha": (1, 4096),
        "rate": (0, 1),
        "epochs": (1, 1000),
        "batch_tokens": (16, 1 << 20),
        "max_length": (16, 1 << 20),
        "warm_up": (0, 0.9),
        "clip": (1e-6, 1e6),
        "patience": (0, 10_000),
        "threads": (0, 1024),
        "canaries": (-1, 10),
    }
    for name, (low, high) in limits.items():
        if not low <= getattr(options, name) <= high:
            raise BadInput(
                _("{name} is {value} (from {origin}), outside {low} to {high}").format(
                    name=name, value=getattr(options, name), origin=options.told(name), low=low, high=high
                ),
                fix=_("Give a value inside that range; `tuneloop settings` explains each."),
            )
    if options.dtype not in ("auto", "bf16", "fp32"):
        raise BadInput(
            _("dtype is '{value}' (from {origin}); it can be auto, bf16 or fp32").format(
                value=options.dtype, origin=options.told("dtype")
            ),
            fix=_("auto measures which one is faster here."),
        )
    return options
