"""Requests/s, processor time, latency and memory of the gateway beside LiteLLM, Portkey, TensorZero, routers, nginx.

One mock upstream (nginx with a fixed answer), one load generator (wrk, a single thread), one server at a time, in
turns; medians of the rounds. On two cores the generator, the mock and the server share them, as they would on the
laptop this is made for; so ratios to nginx in the same run are what carries over to another machine. Wants Debian's
nginx-light and wrk, and the peers of `make peers`. BENCH_ROUNDS, BENCH_SECONDS, BENCH_ONLY=nginx,tuneloop: shorter.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.gateway_peers import CONTESTANTS, Server, mock, ready

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
LOADS = ((1, False), (16, False), (64, False), (256, False), (64, True))  # connections, streaming
ONLY = [name for name in os.environ.get("BENCH_ONLY", "").split(",") if name]
LINES = defaultdict[str, dict[str, list[float]]]


def run() -> None:
    for tool in ("nginx", "wrk"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is needed: apt-get install {tool}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        upstream = mock(folder)
        try:
            lines, absent = _measure(folder)
        finally:
            upstream.terminate()
            upstream.wait()
    _print(lines)
    for who, why in absent.items():
        print(f"left out: {who} ({why})")


def _measure(folder: Path) -> tuple[LINES, dict[str, str]]:
    lines: LINES = defaultdict(lambda: defaultdict(list))
    absent: dict[str, str] = {}
    for turn in range(ROUNDS):
        for who, start in CONTESTANTS.items():
            if who in absent or (ONLY and who not in ONLY):
                continue
            for streaming in (False, True):
                try:
                    server = start(folder, "/stream" if streaming else "")
                except FileNotFoundError as problem:
                    absent[who] = f"{problem} is not there"
                    break
                try:
                    if not streaming:
                        ready(server)
                    else:
                        _settle(server)
                    for connections, stream in LOADS:
                        if stream == streaming:
                            _load(server, connections, stream, lines[who], folder)
                except RuntimeError as problem:
                    absent[who] = str(problem)
                    break
                finally:
                    server.stop()
            print(f"  round {turn + 1}: {who} done", flush=True)
    return lines, absent


def _settle(server: Server) -> None:
    """A server whose upstream streams cannot be asked for a whole answer: wait for its port."""
    import socket
    import time

    for _try in range(200):
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
            time.sleep(1.0)
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("it does not listen")


def _load(server: Server, connections: int, stream: bool, line: dict[str, list[float]], folder: Path) -> None:
    """One run of wrk; requests/s, latency, processor time per request, memory."""
    script = folder / "load.lua"
    headers = "".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n" for k, v in server.headers.items())
    body = server.body(stream)
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n{headers}wrk.body = [==[{body}]==]\n'
        "done = function(summary, latency)\n"
        '  print("FIGURES", summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,'
        " latency:percentile(99) / 1e3, summary.errors.status + summary.errors.connect + summary.errors.read"
        " + summary.errors.timeout)\nend\n"
    )
    url = f"http://127.0.0.1:{server.port}{server.path}"
    command = ["wrk", "-t1", f"-c{connections}", "-s", str(script), url]
    try:
        subprocess.run([*command, "-d1"], capture_output=True, check=False, timeout=20)  # warm
        before = server.cpu()
        said = subprocess.run(
            [*command, f"-d{SECONDS}"], capture_output=True, text=True, check=False, timeout=SECONDS + 20
        )
        spent = server.cpu() - before
    except subprocess.TimeoutExpired:
        print(f"    c={connections}: no end within 20 s", flush=True)
        return
    found = re.search(r"FIGURES\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", said.stdout)
    if not found:  # wrk gives up when the server refuses a connection
        print(f"    c={connections}: {(said.stderr or said.stdout).strip()[-200:]}", flush=True)
        return
    requests, seconds, p50, p99, errors = map(float, found.groups())
    label = f"c={connections}{' stream' if stream else ''}"
    line[f"{label} rps"].append(requests / seconds)
    line[f"{label} cpu"].append(spent / max(requests, 1) * 1e6)
    line[f"{label} p50"].append(p50)
    line[f"{label} p99"].append(p99)
    line[f"{label} errors"].append(errors / max(requests, 1))
    line["memory"].append(server.memory())


def _print(lines: LINES) -> None:
    medians = {who: {what: statistics.median(values) for what, values in line.items()} for who, line in lines.items()}
    columns = [f"c={c}{' stream' if s else ''}" for c, s in LOADS]
    base = medians.get("nginx", {})
    for what, unit in (
        ("rps", "requests/s"),
        ("cpu", "processor us per request"),
        ("p50", "p50 ms"),
        ("p99", "p99 ms"),
    ):
        print(f"\n{unit}, median of {ROUNDS} rounds of {SECONDS} s")
        print(f"{'':16}" + "".join(f"{column:>16}" for column in columns))
        for who, line in medians.items():
            cells = ""
            for column in columns:
                value = line.get(f"{column} {what}")
                if value is None:
                    cells += f"{'-':>16}"
                    continue
                reference = base.get(f"{column} {what}", 0.0)
                ratio = f" ({value / reference:.2f}x)" if reference and what in ("rps", "cpu") else ""
                cells += f"{value:>{16 - len(ratio)}.{0 if value > 100 else 2}f}{ratio}"
            print(f"{who:16}{cells}")
    print("\nmemory MB, highest share of failed requests")
    for who, line in medians.items():
        failed, where = max((value, what) for what, value in line.items() if what.endswith("errors"))
        print(f"{who:16}{line['memory']:>10.0f}{failed:>12.2%}" + (f"  at {where[:-7]}" if failed else ""))
