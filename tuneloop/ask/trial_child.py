"""The process in which one model is tried: it loads the model, times it, asks the questions, and tells each step.

In: one line of JSON on stdin (see `trial.Trial`), then silence; the end of stdin is the order to go. Out: a line of
JSON for each thing that is known. Whoever started it watches its time and memory and may kill it at any moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tuneloop import texts
from tuneloop.answer.judging import Judge
from tuneloop.ask import gold
from tuneloop.ask.by_model import prompt, read_by_model
from tuneloop.ask.table import Table, open_table
from tuneloop.engines.engine import Limits
from tuneloop.engines.kinds import KINDS
from tuneloop.errors import EngineError, TuneloopError
from tuneloop.records import EngineSpec
from tuneloop.texts import _

TOKENS = 64  # of the timed answer


def main() -> None:
    """Do the order that came on stdin."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    order = json.loads(sys.stdin.readline())
    gone = threading.Thread(target=_until_told, daemon=True)
    gone.start()
    texts.use(order["language"])

    def tell(event: str, **figures: Any) -> None:
        channel.write(json.dumps({"event": event, **figures}, ensure_ascii=False) + "\n")
        channel.flush()

    try:
        asyncio.run(_tried(order, tell))
        tell("end")
    except TuneloopError as problem:
        tell("error", error=problem.message)
    except Exception as problem:  # noqa: BLE001  one model's trouble is one row of the table
        tell("error", error=f"{type(problem).__name__}: {problem}"[:300])
    gone.join()  # the model stays loaded until its peak memory was read


def _until_told() -> None:
    while os.read(0, 4096):
        continue
    os._exit(0)


async def _tried(order: dict[str, Any], tell: Any) -> None:
    spec = EngineSpec(**order["spec"])
    engine = KINDS[spec.kind](spec)
    judge = Judge(order["model"], engine, order["model"], float(order["seconds"]))
    table = await asyncio.to_thread(open_table, gold.TABLE, cache=Path(order["cache"]))
    await _speed(judge, spec, table, tell)
    asked = list(gold.questions().items())[: order["questions"]]
    for question, query in asked:
        began = time.monotonic()
        reading = await read_by_model(judge, question, table)
        took = time.monotonic() - began
        right = await asyncio.to_thread(gold.right, table, reading, query)
        tell("question", right=right, wrong=not right and reading.sql is not None, seconds=round(took, 3))
    if spec.kind == "ollama":
        tell("memory", bytes=await _held(spec, order["model"]))


async def _speed(judge: Judge, spec: EngineSpec, table: Table, tell: Any) -> None:
    """The first answer, of one token, loads the model and reads the prompt; the second one is timed."""
    began = time.monotonic()
    await _answer(judge, spec, table, 1)
    tell("loaded", seconds=round(time.monotonic() - began, 3))
    if spec.kind == "echo":
        return
    began = time.monotonic()
    reply = await _answer(judge, spec, table, TOKENS)
    took = time.monotonic() - began
    timed = (reply.get("timings") or {}).get("predicted_per_second")  # llama.cpp's own clock, without HTTP
    count = (reply.get("usage") or {}).get("completion_tokens")
    speed = timed if isinstance(timed, int | float) else count / took if isinstance(count, int) and took else None
    tell("speed", tokens_per_second=round(speed, 2) if speed else None)


async def _answer(judge: Judge, spec: EngineSpec, table: Table, tokens: int) -> dict[str, Any]:
    told = [
        {"role": "system", "content": prompt(table.profile)},
        {"role": "user", "content": "Instead of a query, count from one to fifty in words."},
    ]
    body: dict[str, Any] = {"model": judge.model, "messages": told, "max_tokens": tokens, "temperature": 0}
    if spec.kind == "llamacpp":
        body["ignore_eos"] = True  # a model that ends early would be timed on a handful of tokens
    limits = Limits(judge.seconds, judge.seconds, judge.seconds)
    data = json.dumps(body | {"stream": False}).encode()
    reply = await judge.engine.ask("/chat/completions", data, stream=False, limits=limits)
    if reply.status != 200:
        raise EngineError(_words(reply.body, judge.name, reply.status))
    try:
        parsed = json.loads(reply.body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict) or not parsed.get("choices"):
        raise EngineError(_("'{name}' answers, but not as a model does").format(name=judge.name))
    return parsed


def _words(body: bytes, name: str, status: int) -> str:
    """The engine's own words where it has some."""
    try:
        said = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = ""
    text = _("the model '{name}' answered with status {status}").format(name=name, status=status)
    return text + (f": {' '.join(said.split())[:200]}" if said else "")


async def _held(spec: EngineSpec, model: str) -> int | None:
    """Bytes that Ollama holds for a model now."""
    from tuneloop.engines.ollama import Ollama, tagged

    async with Ollama(spec.url, headers=spec.headers, timeout=5.0) as server:
        for one in await server.running():
            if str(one.get("name")) in (model, tagged(model)):
                return int(one.get("size") or 0) or None
    return None


if __name__ == "__main__":
    main()
