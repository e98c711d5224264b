"""The process that holds a model: llama.cpp's server and nothing else. Started by `llamacpp.py`, by path.

A model file is code written by strangers: a 304-byte GGUF makes ggml call abort(), a chat template can ask for
3 GB. So this process has limits, writes no file, knows no secret but its own key, and ends with its parent. It
imports nothing of tuneloop: it starts in 0.1 s, and a broken model cannot reach what it never loaded.

In: one line of JSON on stdin (see `llamacpp.LlamaCpp.start`), then silence; the end of stdin is the order to go.
Out: one line of JSON with the address on stdout; llama.cpp's own words on stderr.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from typing import Any


def main() -> None:
    """Serve until stdin ends."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever native code prints on stdout must not be taken for our answer
    order = json.loads(sys.stdin.readline())
    # The parent's end of this pipe closes when it stops us and also when it is killed with -9.
    watcher = threading.Thread(target=_leave_with_parent, daemon=True)
    watcher.start()
    os.environ["GGML_NO_BACKTRACE"] = "1"  # on abort ggml would start gdb, which takes seconds
    import xllamacpp

    _limit(int(order["memory"]))
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, order))
    except Exception as problem:  # noqa: BLE001  any refusal is one line and exit 3; the reason is on stderr
        print(f"tuneloop: {problem}", file=sys.stderr, flush=True)  # noqa: T201
        time.sleep(0.5)  # llama.cpp's log is written by a thread of its own; without this 7 of 36 reasons were lost
        sys.exit(3)
    answer.write(json.dumps({"url": server.listening_address}) + "\n")
    answer.close()
    watcher.join()


def _leave_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock, held by a daemon thread, makes the interpreter's end fail
        continue
    os._exit(0)


def _limit(memory: int) -> None:
    """At most `memory` bytes of address space above what the library already takes; no core, no file."""
    with open("/proc/self/statm") as status:  # noqa: PTH123
        used = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # RLIMIT_NPROC counts every process and thread of the user, so it only stops a bomb, not a single fork.
    ceiling = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    wanted = 4096 if ceiling == resource.RLIM_INFINITY else min(4096, ceiling)
    resource.setrlimit(resource.RLIMIT_NPROC, (wanted, wanted))


def _parameters(xllamacpp: Any, order: dict[str, Any]) -> Any:
    chosen = xllamacpp.CommonParams()
    chosen.model.path = order["model"]
    chosen.n_parallel = order["parallel"]
    chosen.n_ctx = order["context"] * order["parallel"]  # llama.cpp divides n_ctx among its slots
    chosen.cpuparams.n_threads = chosen.cpuparams_batch.n_threads = order["threads"]
    # The default, 8 GB of saved prompts, made 18-25 of 120 answers wrong with several adapters; 0 made none.
    chosen.cache_ram_mib = 0
    # Scale 0: with the default every adapter would be applied to every request at once.
    chosen.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in order["adapters"]]
    chosen.n_batch = 512  # a request is given up between batches; 2048, the default, are 40 s of a large model
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = 0
    chosen.api_keys = [order["key"]]
    chosen.ui = False
    chosen.verbosity = 2  # errors and warnings: the reason of a refusal is printed nowhere else
    return chosen


if __name__ == "__main__":
    main()
