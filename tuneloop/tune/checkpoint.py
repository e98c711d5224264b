"""A run's checkpoint: one safetensors file, replaced atomically, so that kill -9 leaves the old one or the new one.

It holds the adapter, AdamW's two moments, the best adapter so far, and (as JSON in the header) where the run is.
The order of examples follows from seed and epoch, so step, tensors and curve are all there is to keep.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tuneloop.errors import Damaged
from tuneloop.texts import _
from tuneloop.workspace import write_atomically

Adapter = dict[str, torch.Tensor]


def write(
    path: Path, adapter: Adapter, best: Adapter, optimiser: torch.optim.Optimizer, names: Sequence[str], state: Any
) -> None:
    """Write a checkpoint. names: the optimiser's parameters in order; state: anything JSON can hold."""
    tensors = {f"adapter/{n}": t for n, t in adapter.items()} | {f"best/{n}": t for n, t in best.items()}
    for name, parameter in zip(names, optimiser.param_groups[0]["params"], strict=True):
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser/{key}/{name}"] = value
    contiguous = {n: t.detach().contiguous().cpu() for n, t in tensors.items()}
    write_atomically(path, save(contiguous, metadata={"state": json.dumps(state)}))


def read(path: Path) -> tuple[Adapter, Adapter, dict[str, dict[str, torch.Tensor]], Any] | None:
    """(adapter, best adapter, optimiser state by parameter, state), or None when there is no checkpoint.

    Raises Damaged when the file is not one.
    """
    if not path.exists():
        return None
    adapter: Adapter = {}
    best: Adapter = {}
    moments: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            for key in file.keys():  # noqa: SIM118  safe_open is no mapping
                place, name = key.split("/", 1)
                if place == "optimiser":
                    moment, name = name.split("/", 1)
                    moments.setdefault(name, {})[moment] = file.get_tensor(key)
                else:
                    (adapter if place == "adapter" else best)[name] = file.get_tensor(key)
    except (SafetensorError, ValueError, KeyError, TypeError) as problem:
        raise Damaged(
            _("the checkpoint {path} cannot be read").format(path=path),
            fix=_("Start this run over: the same command with --again."),
        ) from problem
    return adapter, best, moments, state


def restore(
    optimiser: torch.optim.Optimizer, names: Sequence[str], moments: dict[str, dict[str, torch.Tensor]]
) -> None:
    """Give an optimiser the moments that `read` returned."""
    for name, parameter in zip(names, optimiser.param_groups[0]["params"], strict=True):
        if name in moments:
            kept = {k: (v if k == "step" else v.to(parameter.device)) for k, v in moments[name].items()}
            optimiser.state[parameter] = kept
