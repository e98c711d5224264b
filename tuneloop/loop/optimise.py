"""What can be made of a version here, measured: every quantisation and number of threads, against target figures.

    begun = begin(workspace, version, Targets(max_mb=500), ladder(workspace, version))
    told = shown(workspace, run(workspace, begun))

The files are those of `pack` (registered only after their parity check, which is where the difference comes from);
the speeds are looks at each file in a process of its own. After kill -9 the same `begin` finds what was measured, and
`run` goes on with what is missing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tuneloop import texts, versions
from tuneloop.answer.packed import quants as packed_quants
from tuneloop.errors import BadInput, EngineError, Hostile, MissingExtra, Refused, TuneloopError
from tuneloop.loop import speed
from tuneloop.loop.ladder import Ladder, Targets, beaten
from tuneloop.loop.optimisations import Look, Optimisation, begin, find, keep, note, samples, shown, worker
from tuneloop.progress import Progress, silent
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from tuneloop.tune.pack import Export

__all__ = ["Ladder", "Optimisation", "Targets", "begin", "find", "ladder", "run", "shown"]

LOCK = "optimise"  # one at a time: two would measure each other
OFTEN = 1.0  # seconds between two notes of how far the packing is


def ladder(
    workspace: Workspace,
    version: Version,
    *,
    quants: tuple[str, ...] = (),
    threads: tuple[int, ...] = (),
    context: int = 0,
    parallel: int = 0,
    rounds: int = 3,
    seconds: float = 0.0,
) -> Ladder:
    """A ladder with this workspace's defaults for what is not given: the quantisations that `pack` makes (of a version
    that came as a finished file: those it has), 1, 2, 4 ... threads up to the cores, the server's context and
    parallel requests. Raises BadInput for a quantisation there is not, or numbers out of bounds.
    """
    settings = workspace.settings
    if not quants:
        own = tuple(packed_quants(workspace).get(version.id, ())) if "base" not in version.meta else ()
        quants = own or tuple(q.strip() for q in settings.text("pack.quants").split(",") if q.strip())
    if "base" in version.meta:
        for quant in quants:
            _packing().quantise.check_name(quant)
    cores = len(os.sched_getaffinity(0))
    if too_many := [n for n in threads if n > cores]:
        raise BadInput(_("{n} threads on {cores} cores only wait for each other").format(n=max(too_many), cores=cores))
    most = min(cores, 8)  # generation is bound by memory: more never helped
    usual = sorted({n for n in (1, 2, 4, 8) if n <= most} | {most})
    return Ladder(
        tuple(dict.fromkeys(quants)), tuple(dict.fromkeys(threads or usual)),
        context=context or settings.integer("serve.context"), parallel=parallel or settings.integer("serve.parallel"),
        rounds=rounds, seconds=seconds,
    )  # fmt: skip


def run(workspace: Workspace, asked: Optimisation, watch: Progress = silent) -> Optimisation:
    """Make the files, take the looks that are missing, return it done; at once when nothing is missing.

    Raises Conflict while another one measures in this workspace, and what `pack` raises beyond a refused file (no
    disk, base model gone, no llama.cpp); that is noted, and the next `run` goes on.
    """
    if asked.state == "done":
        return asked
    with workspace.lock(LOCK):
        note(workspace, asked, state="running", worker=worker(os.getpid()), error="")
        try:
            _climb(workspace, asked, watch)
        except TuneloopError as problem:
            note(workspace, asked, state="failed", error=problem.message)
            raise
        note(workspace, asked, state="done", stage="", done=asked.total)
    return find(workspace, asked.id, tenant=asked.tenant)


def _climb(workspace: Workspace, asked: Optimisation, watch: Progress) -> None:
    version = versions.find(workspace, asked.version)
    files = _files(workspace, version, asked, watch)
    known = samples(workspace, asked.id)
    said = [turn["content"] for chat in _packing().held_out(workspace, version) for turn in chat]
    made = len(dict.fromkeys(asked.ladder.quants))
    rungs = asked.ladder.rungs
    looks = [(turn, quant, n) for turn in range(asked.ladder.rounds) for quant, n in rungs]
    for at, (turn, quant, threads) in enumerate(looks):
        watch(_("measure"), at, len(looks))
        note(workspace, asked, stage=_("measure {quant}, threads: {n}").format(quant=quant, n=threads), done=made + at)
        rung, file = f"{quant}/{threads}", files[quant]
        there, siblings = known[rung], [f"{quant}/{n}" for n in asked.ladder.threads if n != threads]
        if _fresh(there, turn, file) or (turn and beaten(_speeds(there), [_speeds(known[o]) for o in siblings])):
            continue
        state, figures = _look(file, threads, asked.ladder, said)
        keep(workspace, asked, rung, turn, state, figures)
        known[rung][turn] = (state, figures)
    watch(_("measure"), len(looks), len(looks))


def _speeds(there: Mapping[int, Look]) -> list[float]:
    return [value for state, figures in there.values() if state == "measured" for value in figures["tokens_per_second"]]


def _fresh(there: Mapping[int, Look], turn: int, file: Export | str) -> bool:
    """Whether a look is not needed: it was taken of this very file, or the file has failed on this rung."""
    digest = "" if isinstance(file, str) else file.sha256
    of_this = {at: state for at, (state, figures) in there.items() if figures["sha256"] == digest}
    return turn in of_this or any(state != "measured" for state in of_this.values())


def _look(file: Export | str, threads: int, asked: Ladder, said: list[str]) -> Look:
    """(state, figures) of one rung now. file: or the sentence why there is none."""
    if isinstance(file, str):
        return "refused", {"reason": file, "sha256": ""}
    known = {
        "sha256": file.sha256,
        "bytes": file.bytes,
        "kl": file.figures.get("kl"),
        "greedy": file.figures.get("greedy"),
    }
    try:
        timed = speed.measure(
            file.path, threads=threads, context=asked.context, parallel=asked.parallel, texts=said,
            seconds=asked.seconds,
        )  # fmt: skip
    except (EngineError, BadInput) as problem:
        return "failed", known | {"reason": problem.message}
    return "measured", known | timed


def _files(workspace: Workspace, version: Version, asked: Optimisation, watch: Progress) -> dict[str, Export | str]:
    """By quantisation: the checked file, or the sentence why there is none."""
    pack, quants = _packing(), asked.ladder.quants
    last = 0.0

    def told(stage: str, done: float, total: float | None) -> None:
        nonlocal last
        watch(stage, done, total)
        if time.monotonic() - last >= OFTEN:
            last = time.monotonic()
            note(workspace, asked, stage=stage)

    found: dict[str, Export | str] = {q: e for q in quants if (e := pack.find(workspace, version, q))}
    missing = [q for q in quants if q not in found]
    if missing and "base" not in version.meta:
        return found | dict.fromkeys(missing, _("the version came as a finished file: no other can be made of it"))
    if missing:
        try:
            return found | {e.quant: e for e in pack.pack(workspace, version, missing, watch=told)}
        except (Refused, Hostile) as problem:
            if len(missing) == 1:
                return found | {missing[0]: problem.message}
    for quant in missing:  # one of them was refused: the others may still be good
        try:
            found[quant] = pack.pack(workspace, version, [quant], watch=told)[0]
        except (Refused, Hostile) as problem:
            found[quant] = problem.message
    return found


def _packing() -> ModuleType:
    """`tune.pack`. Raises MissingExtra where only the parts for serving are installed."""
    try:
        from tuneloop.tune import pack
    except ImportError as problem:
        raise MissingExtra(
            _("the parts that make model files are not installed"), fix=_("Install them: pip install 'tuneloop[tune]'.")
        ) from problem
    return pack


def main() -> None:
    """`python -m tuneloop.loop.optimise WORKSPACE ID LANGUAGE`: what the gateway starts. What goes wrong is noted."""
    path, identity, language = sys.argv[1:]
    texts.use(language)
    workspace = open_workspace(Path(path))
    asked = find(workspace, identity, tenant=None)
    try:
        run(workspace, asked)
    except TuneloopError as problem:
        sys.exit(problem.message)
    except Exception as problem:
        note(workspace, asked, state="failed", error=f"{type(problem).__name__}: {problem}"[:500])
        raise


if __name__ == "__main__":
    main()
