"""Load a table of 10 GB on two cores beside DuckDB's own read_csv (and pandas in chunks), then ask it.

Asked for: 180 s and 500 MB, all processes together. Never part of the tests. TUNELOOP_BENCH_GB makes another size,
TUNELOOP_BENCH_FOLDER another folder than the one for temporary files; three times the size has to be free there. The
file and what is made of it are deleted at the end. pandas reads the first gigabyte only, where it is installed: its
line says so, and its figure for the whole is that one scaled.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.frame import ROOT
from bench.tables import QUESTIONS, ask, row_tails
from tuneloop.ask.table import open_table

GB = 10**9
PART = 1 * GB  # what pandas reads

LOAD = """
import sys
from pathlib import Path
from tuneloop.ask.table import open_table
table = open_table(Path(sys.argv[1]), cache=Path(sys.argv[2]))
print(f"{table.report.physical:,} lines, {table.report.loaded:,} loaded, {table.report.reader}", end="")
"""
DUCKDB = """
import sys
import duckdb
config = {"memory_limit": "280MB", "threads": "2", "temp_directory": sys.argv[2] + ".spill"}
connection = duckdb.connect(sys.argv[2], config=config)
connection.execute("SET enable_progress_bar = false")
connection.execute("SET preserve_insertion_order = " + sys.argv[3])
connection.execute("CREATE TABLE t AS SELECT * FROM read_csv(?)", [sys.argv[1]])
print(f"{connection.execute('SELECT count(*) FROM t').fetchone()[0]:,} loaded, order kept: {sys.argv[3]}", end="")
"""
# As the reader of questions writes them for long tables: a query has 512 MB, in which no median of all of them fits.
ESTIMATED = [
    q.replace("median(earned)", "approx_quantile(earned, 0.5)").replace("quantile_cont", "approx_quantile")
    for q in QUESTIONS
]
PANDAS = """
import sys
import pandas
rows = 0
for chunk in pandas.read_csv(sys.argv[1], chunksize=200_000):
    rows += len(chunk)
print(f"{rows:,} rows, nothing kept", end="")
"""


@dataclass(frozen=True)
class Whole:
    """What a process and all its children took."""

    seconds: float
    cpu: float
    peak: int  # megabytes resident of all processes at one moment, the highest
    said: str

    def __str__(self) -> str:
        return f"{self.seconds:6.1f} s {self.cpu:6.1f} CPU s {self.peak:5d} MB  {self.said}"


def write_big(path: Path, size: int, seed: int = 1) -> int:
    """Write about `size` bytes of rows, every one different; returns how many."""
    tails = [tail.rstrip('"\n') for tail in row_tails(50_000, seed)]
    chance, rows = random.Random(seed), 0
    with path.open("w", encoding="utf-8") as file:
        file.write("id,created,category,platform,level,region,method,done,earned,rate,success,rating,days,comment\n")
        while file.tell() < size:
            # Each block has its own endings: 50,000 rows over and over would pack better than real ones.
            ends = [f' {chance.getrandbits(40):010x}"\n' for _n in range(1_000)]
            file.write("".join([f"{rows + i},{tail}{ends[i % 997]}" for i, tail in enumerate(tails)]))
            rows += len(tails)
    return rows


def whole(code: str, *arguments: str) -> Whole:
    """Run Python code in a fresh process; measure it and its children together. Raises RuntimeError when it fails."""
    started, before = time.perf_counter(), os.times()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    peaks, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peaks.append(sum(_resident(one) for one in _family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        said, errors = process.communicate()
    finally:
        done.set()
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}: {errors[-500:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Whole(time.perf_counter() - started, cpu, max(peaks) >> 10, said)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in _family(int(child)))]


def _resident(pid: int) -> int:
    """Kilobytes; 0 for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)


def run() -> None:
    size = int(float(os.environ.get("TUNELOOP_BENCH_GB", "10")) * GB)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TUNELOOP_BENCH_FOLDER")) as name:
        folder = Path(name)
        if (free := shutil.disk_usage(folder).free) < 3 * size:
            print(f"{free / GB:.0f} GB are free in {folder}, {3 * size / GB:.0f} are needed")
            return
        source = folder / "big.csv"
        rows = write_big(source, size)
        print(f"file        {source.stat().st_size / GB:.2f} GB, {rows:,} rows, load average {os.getloadavg()[0]:.1f}")
        print(f"tuneloop    {whole(LOAD, str(source), str(folder / 'cache'))}")
        made = next((folder / "cache").glob("*.duckdb"))
        print(f"            kept as {made.stat().st_size / GB:.2f} GB; load average {os.getloadavg()[0]:.1f}")
        table = open_table(source, cache=folder / "cache")
        median, high = ask(table, 3, ESTIMATED)
        table.close()
        print(f"answers     median {median:.2f} s, 95 % within {high:.2f} s")
        _others(folder, source)


def _others(folder: Path, source: Path) -> None:
    for kept in ("true", "false"):
        database = folder / f"plain-{kept}.duckdb"
        try:
            print(f"read_csv    {whole(DUCKDB, str(source), str(database), kept)}")
        except RuntimeError as problem:
            print(f"read_csv    did not load it (order kept: {kept}): {str(problem).splitlines()[-1][:200]}")
        database.unlink(missing_ok=True)
    if importlib.util.find_spec("pandas") is None:
        return
    part = folder / "part.csv"
    with source.open("rb") as whole_file, part.open("wb") as target:
        target.write(whole_file.read(min(PART, source.stat().st_size)).rpartition(b"\n")[0] + b"\n")
    spent, times = whole(PANDAS, str(part)), source.stat().st_size / part.stat().st_size
    print(f"pandas      {spent}; of {part.stat().st_size / GB:.2f} GB, so {times * spent.cpu:.0f} CPU s for the whole")
