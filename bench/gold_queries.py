"""The guard of `tuneloop ask` on gold queries that other people wrote: which it lets through, which it refuses and why.

GeoQuery (Zelle and Mooney, AAAI 1996; SQL by Finegan-Dollak et al., ACL 2018) and department_store of Spider (Yu et
al., EMNLP 2018), over their own SQLite databases. SQLite takes "Arizona" for a text where no column has this name, so
the double quotes of the files become single ones, and blanks are folded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuneloop.ask.guard import checked
from tuneloop.ask.table import open_table
from tuneloop.errors import TuneloopError

MOST_REASONS = 5  # printed of each kind
LONGEST = 220  # characters of a printed one


@dataclass
class Gate:
    """What became of a set of gold queries.

    Counts: "all", "single" SELECTs, "let" through of those by the guard, "run" to the end by DuckDB, "others" that are
    no single SELECT, "kept out" of those. refused, not_run, others: "reason: query".
    """

    counts: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)  # single SELECTs; must stay empty
    not_run: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def lines(self, name: str) -> Iterator[str]:
        c = self.counts
        yield (
            f"{name}: {c['all']} gold queries, {c['single']} single SELECTs: the guard lets {c['let']} through,"
            f" DuckDB runs {c['run']} of them; {c['others']} others: {c['kept out']} refused"
        )
        for what, found in (("refused", self.refused), ("not run", self.not_run), ("other", self.others)):
            for line in found[:MOST_REASONS]:
                yield f"  {what}: {line[:LONGEST]}"
            if len(found) > MOST_REASONS:
                yield f"  {what}: {len(found) - MOST_REASONS} more"


def gates(folder: Path, cache: Path) -> dict[str, Gate]:
    """Both sets of the unpacked archive tableqa_dev.zip. cache: where the loaded databases go."""
    questions = json.loads(next(folder.rglob("geography.json")).read_text(encoding="utf-8"))
    geography = [sql for one in questions for sql in one["sql"]]
    lines = next(folder.rglob("gold.sql")).read_text(encoding="utf-8").splitlines()
    store = [line.rpartition("\t")[0] for line in lines]
    return {
        "GeoQuery": gate(next(folder.rglob("geography.sqlite")), geography, cache),
        "department_store": gate(next(folder.rglob("department_store.sqlite")), store, cache),
    }


def gate(database: Path, queries: Sequence[str], cache: Path) -> Gate:
    """Put each query to the guard, and run those that pass over the tables of a SQLite file."""
    found = Gate()
    table = open_table(database, cache=cache)
    try:
        for query in queries:
            sql = " ".join(query.replace('"', "'").split())
            single = is_single(sql)
            found.counts.update(all=1, single=single, others=not single)
            try:
                checked(sql, table.tables)
                found.counts["let" if single else "others let"] += 1
            except TuneloopError as problem:
                found.counts["refused" if single else "kept out"] += 1
                (found.refused if single else found.others).append(f"{problem.message}: {sql}")
                continue
            try:
                table.run(sql)
                found.counts["run" if single else "others run"] += 1
            except TuneloopError as problem:
                found.not_run.append(f"{problem.message}: {sql}")
    finally:
        table.close()
    return found


def is_single(sql: str) -> bool:
    """Whether it is one SELECT by its words alone, without a parser of ours: texts of these sets hold no semicolon."""
    body = sql.strip().rstrip(";")
    return body.split(None, 1)[0].upper() in ("SELECT", "WITH") and ";" not in body if body.strip() else False
