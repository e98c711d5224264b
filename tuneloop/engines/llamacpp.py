"""llama.cpp in a child process of its own, behind a random local port and a random key.

    with LlamaCpp(path, context=2048) as engine:
        engine.post("/v1/chat/completions", {"messages": [...]})

The child's death, for whatever reason, is a `ModelRejected` or an `EngineDown` here, never ours.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tuneloop.engines import gguf_check
from tuneloop.errors import EngineDown, EngineError, EngineTimeout, MissingExtra, ModelRejected
from tuneloop.texts import _

SMALL = 64 << 20
CHILD = Path(__file__).with_name("llamacpp_child.py")


class LlamaCpp:
    """One model, one process. `start` (or `with`) loads it; then `url`, `headers` and `post` are usable.

    model: a GGUF file. context: tokens of one request, prompt and answer together. parallel: requests answered at
    once. threads: None takes one per core, at most 8 (generation is bound by memory, not by cores), and a single one
    for files under 64 MB: their threads wait for each other by spinning, and on two busy cores a one-token answer
    took 276 ms with two threads and 1.2 ms with one. adapters: LoRA GGUF files, loaded with scale 0: a request names
    the scale of every one of them in "lora".
    """

    def __init__(
        self,
        model: Path,
        *,
        context: int = 2048,
        parallel: int = 1,
        threads: int | None = None,
        adapters: Sequence[Path] = (),
    ) -> None:
        self.model = Path(model)
        self.adapters = [Path(path) for path in adapters]
        self.context = context
        self.parallel = parallel
        self._threads = threads
        self.url = ""
        self._key = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=200)
        self._listener: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def headers(self) -> dict[str, str]:
        """What a request to `url` must carry: other users of this machine do not have the key."""
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, *, seconds: float | None = None) -> None:
        """Check the file, load it, wait until it answers.

        seconds: deadline, then SIGKILL; None: 30 s and 1 s more per 50 MB. Raises Missing, Damaged or Hostile for
        a bad file, ModelRejected with llama.cpp's own reason when it refuses, dies or takes too long, MissingExtra
        without the `serve` extra.
        """
        header = gguf_check.check(self.model)
        for adapter in self.adapters:
            gguf_check.check_adapter(adapter)
        _need_llama_cpp()
        size = sum(path.stat().st_size for path in (self.model, *self.adapters))
        seconds = 30 + size / 50e6 if seconds is None else seconds
        self._key = secrets.token_urlsafe(24)
        order = {
            "model": str(self.model.absolute()),
            "adapters": [str(path.absolute()) for path in self.adapters],
            "context": self.context,
            "parallel": self.parallel,
            "threads": self._threads or (1 if size < SMALL else min(len(os.sched_getaffinity(0)), 8)),
            "key": self._key,
            # The mapped file and perhaps a repacked copy of it, the cache, and 4 GB for buffers and thread stacks.
            "memory": 2 * size + 2 * header.cache_bytes(self.context * self.parallel) + (4 << 30),
        }
        self._said.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches us alone: we first let the requests in flight end
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()
        try:
            self.url = self._introduce(self._process, order, seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it holds nothing that could be lost
        process.wait()
        if self._listener:
            self._listener.join(5)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def post(self, path: str, body: dict[str, Any], *, seconds: float = 120.0) -> dict[str, Any]:
        """One JSON request, e.g. to "/completion", "/tokenize", "/apply-template", "/v1/chat/completions".

        seconds: at most this long without a byte. Raises EngineTimeout, EngineDown, or EngineError with the server's
        words.
        """
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), self.headers)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as reply:
                return json.load(reply)  # type: ignore[no-any-return]
        except urllib.error.HTTPError as problem:
            with problem:
                said = problem.read(2000).decode("utf-8", "replace")
            raise EngineError(_("the model server refused the request: {said}").format(said=said)) from problem
        except TimeoutError as problem:
            raise EngineTimeout(
                _("the model server did not answer within {seconds:.0f} s").format(seconds=seconds),
                fix=_("Ask for fewer tokens, or choose a smaller model."),
            ) from problem
        except (OSError, HTTPException, json.JSONDecodeError) as problem:
            raise EngineDown(
                _("the model server is gone: {reason}").format(reason=self.reason() or problem),
                fix=_("Start it again; if it dies again, the model file is at fault."),
            ) from problem

    def reason(self) -> str:
        """Why llama.cpp refused or died, in its own words; "" when it said nothing."""
        said = [line for line in self._said if line.strip()]
        for sign in ("GGML_ASSERT", "error loading model: ", "error: ", " E "):
            for line in said:
                if sign in line:
                    return _bare(line.split("error loading model: ")[-1])
        return _bare(said[-1]) if said else ""

    def _introduce(self, process: subprocess.Popen[bytes], order: dict[str, Any], seconds: float) -> str:
        """Hand the order over, wait for the address."""
        deadline = time.monotonic() + seconds
        assert process.stdin and process.stdout
        reply = b""
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as waiting:
                waiting.register(process.stdout, selectors.EVENT_READ)
                while not reply.endswith(b"\n"):
                    if not waiting.select(max(0.0, deadline - time.monotonic())):
                        raise self._rejection(_("it was not ready after {seconds:.0f} s").format(seconds=seconds))
                    piece = os.read(process.stdout.fileno(), 4096)
                    if not piece:
                        raise self._rejection(self._death(process))
                    reply += piece
        except BrokenPipeError:
            raise self._rejection(self._death(process)) from None
        return str(json.loads(reply)["url"])

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait(10)
        if self._listener:
            self._listener.join(5)
        died = _("its process was killed by signal {n}").format(n=-code) if code < 0 else ""
        return "; ".join(part for part in (self.reason(), died) if part) or _("it gave no reason")

    def _rejection(self, reason: str) -> ModelRejected:
        return ModelRejected(
            _("{model} could not be loaded: {reason}").format(model=self.model.name, reason=reason),
            fix=_("Make the file again with `tuneloop pack`, or choose another one."),
        )

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr
        for line in iter(lambda: process.stderr.readline(2000), b""):  # type: ignore[union-attr]
            self._said.append(line.decode("utf-8", "replace").rstrip())


def _bare(line: str) -> str:
    """llama.cpp's line without its clock and level: "0.00.003.675 E llama_model_load: text" is "text"."""
    head, sign, rest = line.partition(" E ")
    return (rest if sign and head.replace(".", "").isdigit() else line).strip()[:300]


def _need_llama_cpp() -> None:
    import importlib.util

    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingExtra(_("llama.cpp is not installed"), fix=_("Install it with: pip install 'tuneloop[serve]'"))
