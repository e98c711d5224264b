"""How fast one model file answers here: loaded in a process of its own, timed by llama.cpp, killed at a deadline."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tuneloop.engines.llamacpp import LlamaCpp
from tuneloop.errors import EngineError, EngineTimeout
from tuneloop.machine import peak_memory
from tuneloop.texts import _

PROMPT, ANSWER = 256, 128  # tokens of a timed request on a machine that is fast enough
REPEATS = 3
REPEAT_SECONDS = 4.0  # for the prompt, and again for the answer, of one timed request: slower models get shorter ones


def patience(size: int) -> float:
    """Seconds one look at a file of `size` bytes may take: 7 GB get 9 minutes."""
    return 60.0 + size / 14e6


def measure(
    model: Path, *, threads: int, context: int, parallel: int, texts: Sequence[str], seconds: float = 0.0
) -> dict[str, Any]:
    """Load a GGUF file as the server would and time it on real texts.

    Returns load_seconds (to the first accepted request; the file is usually in the page cache), prompt_per_second and
    tokens_per_second (REPEATS values each, tokens/s of single requests, greedy, nothing cached), together_per_second
    (tokens/s of `parallel` requests at once; None for 1), memory_bytes (the process's peak, mapped file included; None
    where the system does not tell), prompt_tokens and answer_tokens of a request, cores.

    seconds: deadline for all of it, then SIGKILL; 0: `patience`. Raises ModelRejected and other EngineErrors.
    """
    seconds = seconds or patience(model.stat().st_size)
    until = time.monotonic() + seconds
    engine = LlamaCpp(model, context=context, parallel=parallel, threads=threads)
    began = time.monotonic()
    try:
        engine.start(seconds=seconds)
        loaded = time.monotonic() - began
        return {"load_seconds": round(loaded, 3), "cores": len(os.sched_getaffinity(0))} | _timed(
            engine, texts, context, parallel, until
        )
    except EngineTimeout as problem:
        raise EngineTimeout(
            _("it was not measured within {seconds:.0f} s").format(seconds=seconds),
            fix=_("Give it more time with --deadline."),
        ) from problem
    finally:
        engine.stop()


def _timed(engine: LlamaCpp, texts: Sequence[str], context: int, parallel: int, until: float) -> dict[str, Any]:
    ids = _tokens(engine, texts, min(PROMPT, context // 2), until)
    # The first request also maps pages and fills caches: it only says how long the timed ones may be.
    prompt_speed, speed = _ask(engine, ids[:32], 8, until)
    prompt = ids[: max(8, min(len(ids), int(prompt_speed * REPEAT_SECONDS)))]
    length = max(8, min(ANSWER, context // 4, int(speed * REPEAT_SECONDS)))
    timed = [_ask(engine, prompt, length, until) for _n in range(REPEATS)]
    return {
        "prompt_per_second": [round(first, 2) for first, _second in timed],
        "tokens_per_second": [round(second, 2) for _first, second in timed],
        "together_per_second": _together(engine, prompt[:8], length, parallel, until),
        "memory_bytes": peak_memory(engine.pid),
        "prompt_tokens": len(prompt),
        "answer_tokens": length,
    }


def _tokens(engine: LlamaCpp, texts: Sequence[str], count: int, until: float) -> list[int]:
    """Exactly `count` token ids of the texts, from their beginning again when they are too short."""
    body = {"content": "\n".join(texts)[:20_000] or "?"}
    ids = [int(n) for n in engine.post("/tokenize", body, seconds=_left(until))["tokens"]]
    return (ids * (count // len(ids) + 1))[:count]


def _ask(engine: LlamaCpp, prompt: list[int], length: int, until: float) -> tuple[float, float]:
    """Tokens/s of reading the prompt and of generating, as llama.cpp's own clock has it: HTTP is not in it."""
    reply = engine.post("/completion", _body(prompt, length), seconds=_left(until))
    timings = reply.get("timings") or {}
    read, written = (timings.get(name) for name in ("prompt_per_second", "predicted_per_second"))
    for value in (read, written):
        if not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
            raise EngineError(_("llama.cpp gave no timings"))
    assert read is not None and written is not None
    return float(read), float(written)


def _together(engine: LlamaCpp, prompt: list[int], length: int, parallel: int, until: float) -> float | None:
    if parallel == 1:
        return None
    seconds = _left(until)
    with ThreadPoolExecutor(parallel) as pool:
        began = time.monotonic()
        asked = [
            pool.submit(engine.post, "/completion", _body(prompt, length), seconds=seconds) for _n in range(parallel)
        ]
        for one in asked:
            one.result()
    return round(parallel * length / (time.monotonic() - began), 2)


def _body(prompt: list[int], length: int) -> dict[str, Any]:
    # ignore_eos: a model that ends its answer early would be timed on a handful of tokens
    return {"prompt": prompt, "n_predict": length, "temperature": 0, "cache_prompt": False, "ignore_eos": True}


def _left(until: float) -> float:
    return max(0.05, until - time.monotonic())
