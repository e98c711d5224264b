"""Load a table of 942,000 rows (170 MB) beside pandas.read_csv, ask it, and try hostile SQL and bombs on it.

Asked for: load in 10 s and 500 MB; answers p95 <= 0.3 s on 1,950 rows, <= 2 s on 942,000; 91 hostile statements: none
run; 15 bombs: ended at 5 s, <= 512 MB. TUNELOOP_BENCH_ROWS makes another size; 10 GB: `python -m bench tables_big`.
Processor time is of the loading process and its parent together, memory of the larger of the two.
"""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.frame import child
from bench.hostile_sql import BOMBS, HOSTILE
from tuneloop.ask.table import Table, open_table
from tuneloop.errors import BadInput, OutOfResources, Refused

ROWS = 942_000

LOAD = """
import resource, sys
from pathlib import Path
from tuneloop.ask.table import open_table
table = open_table(Path(sys.argv[1]), cache=Path(sys.argv[2]))
spent = resource.getrusage(resource.RUSAGE_CHILDREN)
print(table.report.physical, table.report.loaded, table.report.reader, spent.ru_utime + spent.ru_stime, spent.ru_maxrss)
"""
ATTACK = """
import sys
from pathlib import Path
from bench.tables import attack
from tuneloop.ask.table import open_table
attack(open_table(Path(sys.argv[1]), cache=Path(sys.argv[2])), Path(sys.argv[3]))
"""
PANDAS = """
import sys
import pandas
table = pandas.read_csv(sys.argv[1])
print(len(table), table.memory_usage(deep=True).sum() >> 20)
"""
QUESTIONS = (
    "SELECT count(*) FROM t WHERE region = 'Asia'",
    "SELECT avg(earned) FILTER (WHERE method = 'Crypto') - avg(earned) FILTER (WHERE method <> 'Crypto') FROM t",
    "SELECT region, avg(earned), median(earned) FROM t GROUP BY region ORDER BY 2 DESC",
    "SELECT 100.0 * count_if(done > 100) / count(*) FROM t WHERE level = 'Expert'",
    "SELECT corr(rate, earned), quantile_cont(earned, 0.9) FROM t",
    "SELECT date_trunc('month', created) AS month, sum(earned) FROM t GROUP BY 1 ORDER BY 1",
    "SELECT * FROM t ORDER BY earned DESC, id LIMIT 10",
    "SELECT category, level, count(*), stddev(success) FROM t GROUP BY ALL ORDER BY 3 DESC",
)


def row_tails(count: int, seed: int = 1) -> list[str]:
    """Rows of the table but for their first cell: numbers, dates, categories and a quoted comment, 180 bytes each."""
    chance = random.Random(seed)
    words = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do", "eiusmod")
    tails = []
    for i in range(count):
        cells = [
            f"{2020 + i % 5}-{1 + i % 12:02d}-{1 + i % 28:02d} {i % 24:02d}:{i % 60:02d}:00",
            chance.choice(("Web", "App", "Data entry", "Marketing", "Support", "Writing", "Design", "SEO")),
            f"Platform {chance.randint(1, 9)}",
            chance.choice(("Beginner", "Intermediate", "Expert")),
            chance.choice(("Asia", "Europe", "UK", "USA", "Canada", "Middle East", "Australia")),
            chance.choice(("Crypto", "Bank transfer", "PayPal", "Mobile")),
            str(chance.randint(5, 300)),
            str(chance.randint(50, 10_000)),
            *(f"{chance.uniform(low, high):.2f}" for low, high in ((5, 100), (50, 100), (3, 5))),
            str(chance.randint(1, 90)),
            '"' + " ".join(chance.choices(words, k=10)) + f', {chance.randint(1, 99_999)}"',
        ]
        tails.append(",".join(cells) + "\n")
    return tails


def write_table(path: Path, rows: int, seed: int = 1) -> None:
    """A table of jobs."""
    tails = row_tails(min(rows, 50_000), seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("id,created,category,platform,level,region,method,done,earned,rate,success,rating,days,comment\n")
        for start in range(0, rows, len(tails)):
            file.write("".join([f"{start + i},{tail}" for i, tail in enumerate(tails[: rows - start])]))


def ask(table: Table, rounds: int = 5, questions: Sequence[str] = QUESTIONS) -> tuple[float, float]:
    """(median, 95th percentile) of the seconds of an answer."""
    taken = []
    for _round in range(rounds):
        for sql in questions:
            started = time.perf_counter()
            table.run(sql, seconds=30)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken), statistics.quantiles(taken, n=20)[18]


def attack(table: Table, folder: Path) -> None:
    """Count what the hostile statements got, and what the bombs cost."""
    canary, target = folder / "canary.txt", folder / "target"
    canary.write_text("canary")
    run = 0
    for template in HOSTILE:
        try:
            table.run(template.format(canary=canary, target=target))
            run += 1
        except (BadInput, Refused):
            continue
    print(f"hostile  {len(HOSTILE)} statements: {run} run, files written: {int(target.exists())}")
    longest, ended = 0.0, 0
    columns = {"n": "id", "s": "category"}
    for bomb in BOMBS:
        sql = bomb
        for name, column in columns.items():
            for alias in ("a.", "b."):
                sql = sql.replace(f"{alias}{name}", f"{alias}{column}")
        sql = sql.replace("SELECT n, sum(n) OVER (ORDER BY n", "SELECT id, sum(id) OVER (ORDER BY id")
        sql = sql.replace("array_agg(s) OVER (ORDER BY n)", "array_agg(category) OVER (ORDER BY id)")
        table.run("SELECT 1")  # the child is there when the clock starts
        started = time.perf_counter()
        try:
            table.run(sql, seconds=5)
        except (BadInput, OutOfResources):
            ended += 1
        longest = max(longest, time.perf_counter() - started)
    table.close()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(f"bombs    {ended} of {len(BOMBS)} ended, the longest took {longest:.1f} s; largest child {peak} MB")


def run() -> None:
    rows = int(os.environ.get("TUNELOOP_BENCH_ROWS", ROWS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, small = folder / "large.csv", folder / "small.csv"
        write_table(source, rows)
        write_table(small, 1_950)
        print(f"file     {source.stat().st_size / 1e6:.0f} MB, {rows:,} rows")
        with_pandas = importlib.util.find_spec("pandas") is not None and rows <= 5_000_000
        for turn in range(3 if rows <= 5_000_000 else 1):
            spent = child(LOAD, str(source), str(folder / f"cache{turn}"))
            *said, cpu, peak = spent.said.split()
            cpu_all, peak_all = spent.cpu + float(cpu), max(spent.peak, int(peak) / 1024)
            print(f"tuneloop {spent.seconds:6.1f} s {cpu_all:6.1f} CPU s {peak_all:6.0f} MB  {' '.join(said)}")
            if with_pandas:
                spent = child(PANDAS, str(source))
                print(
                    f"pandas   {spent.seconds:6.1f} s {spent.cpu:6.1f} CPU s {spent.peak:6.0f} MB  {spent.said.strip()}"
                )
        for path in (small, source):
            table = open_table(path, cache=folder / "cache0")
            median, high = ask(table)
            print(f"answers  {table.profile.rows:>10,} rows: median {median:.3f} s, 95 % within {high:.3f} s")
            table.close()
        print(child(ATTACK, str(source), str(folder / "cache0"), str(folder)).said)
