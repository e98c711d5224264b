"""Questions in plain words against tables: how many are read, how many right, how many wrong but sure, and how fast.

Five sets: the freelancer questions with known figures, the project's own questions with gold SQL
(tests/ask/questions.toml), fresh questions in two halves of which the reader was first mended on one only
(tests/ask/fresh.toml), later ones that it is not mended on (tests/ask/later.toml), and the development part of
WikiTableQuestions (Pasupat and Liang, ACL 2015). Before them: what the guard makes of the gold queries of two other
sets. The data are the archives beside the checkout; questions to made-up tables need none.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
import time
import tomllib
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.frame import ROOT
from bench.gold_queries import gates
from tests.ask import made, made_later
from tuneloop.ask.dates import spans
from tuneloop.ask.gold import Rows, same
from tuneloop.ask.question import Reading, read
from tuneloop.ask.table import Table, open_table
from tuneloop.ask.words import is_cyrillic, tokens
from tuneloop.errors import TuneloopError

SHARED = ROOT.parent / "shared" / "data"
QUESTIONS = ROOT / "tests" / "ask" / "questions.toml"
FRESH = ROOT / "tests" / "ask" / "fresh.toml"
LATER = FRESH.with_name("later.toml")
SURE = 0.8  # a wrong answer at least this sure is wrong but confident
WIKI = "wikitablequestions"


@dataclass
class Score:
    """What became of a set of questions. `seconds`: of each reading, without running its SQL."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, question: str, reading: Reading, right: bool, answerable: bool = True) -> None:
        answered = reading.sql is not None
        self.counts.update(
            all=1,
            right=right,
            answerable=answerable,
            answered=answered and answerable,
            given=answered,
            wrong=answered and not right,
            sure=answered and not right and reading.sure >= SURE,
        )
        if not right:
            self.wrong.append(f"{question} [{reading.intent} {reading.sure:.2f}] {reading.sql}")

    def __iadd__(self, other: Score) -> Score:
        self.counts.update(other.counts)
        self.seconds += other.seconds
        self.wrong += other.wrong
        return self

    def lines(self, name: str) -> Iterator[str]:
        c, times = self.counts, sorted(self.seconds)
        yield f"{name}: {c['all']} questions, {c['right']} right ({c['right'] / max(c['all'], 1):.1%})"
        yield (
            f"  answered {c['answered']} of {c['answerable']} that have an answer"
            f" ({c['answered'] / max(c['answerable'], 1):.1%}),"
            f" right of those given an answer {(c['given'] - c['wrong']) / max(c['given'], 1):.1%},"
            f" wrong but sure {c['sure'] / max(c['all'], 1):.1%}, unparsable SQL {c['unparsable']}"
        )
        yield (
            f"  seconds to read: p50 {times[len(times) // 2]:.4f}, p95 {times[int(0.95 * len(times))]:.4f},"
            f" longest {times[-1]:.3f} (the first of a table makes its index)"
        )


def ask(table: Table, question: str, score: Score) -> tuple[Reading, Rows]:
    """Read one question and run its SQL; an SQL that does not run is counted."""
    started = time.perf_counter()
    reading = read(question, table.profile)
    score.seconds.append(time.perf_counter() - started)
    if reading.sql is None:
        return reading, []
    try:
        return reading, table.run(reading.sql).rows
    except TuneloopError:
        score.counts["unparsable"] += 1
        return reading, []


def own_questions(folder: Path) -> Score:
    """The project's questions over the teaching tables and the Rosstat file."""
    score = Score()
    sets = tomllib.loads(QUESTIONS.read_text(encoding="utf-8"))
    for name, path in sets.pop("tables").items():
        table = open_table(folder / path.removeprefix("csv/"))
        for question, gold in sets[name].items():
            _judge(table, name, question, gold, score)
        table.close()
    return score


def _judge(table: Table, name: str, question: str, gold: str, score: Score) -> None:
    """Read one question that has gold SQL, or "" where no answer is the right one."""
    reading, rows = ask(table, question, score)
    right = same(table.run(gold).rows, rows) if gold and reading.sql else not gold and reading.sql is None
    score.add(f"{name}: {question}", reading, right, answerable=bool(gold))


def halves(questions: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Of one table's questions: question -> (half, language), by the rule that stands in fresh.toml."""
    spoken: dict[str, list[str]] = {"Russian": [], "English": []}
    for question in questions:
        letter = next(c for c in question if c.isalpha())
        spoken["English" if letter.isascii() else "Russian"].append(question)
    return {
        question: ("AB"[place % 2], language)
        for language, asked in spoken.items()
        for place, question in enumerate(sorted(asked, key=lambda q: hashlib.sha256(f"2026 {q}".encode()).hexdigest()))
    }


def fresh_questions(folder: Path, only: str = "AB") -> dict[tuple[str, str], Score]:
    """The fresh questions by half and language. folder: holds made/, csv/, tableqa/; a table that is not there is left
    out. only: the halves to read.
    """
    scores = {(half, language): Score() for half in only for language in ("Russian", "English")}
    sets = tomllib.loads(FRESH.read_text(encoding="utf-8"))
    for name, place in sets.pop("tables").items():
        path, _mark, inner = place.partition("#")
        if not (folder / path).exists():
            continue
        table = open_table(folder / path, **({"table": inner} if inner else {}))
        for question, (half, language) in halves(sets[name]).items():
            if half in only:
                _judge(table, name, question, sets[name][question], scores[half, language])
        table.close()
    return scores


def later_questions(folder: Path) -> dict[str, Score]:
    """The later questions by language, which nobody mends the reader on; folder as of `fresh_questions`."""
    scores = {language: Score() for language in ("Russian", "English")}
    sets = tomllib.loads(LATER.read_text(encoding="utf-8"))
    for name, place in sets.pop("tables").items():
        if not (folder / place).exists():
            continue
        table = open_table(folder / place)
        for question, gold in sets[name].items():
            _judge(table, name, question, gold, scores["Russian" if is_cyrillic(question) else "English"])
        table.close()
    return scores


def freelancer_questions(folder: Path) -> Score:
    """The questions of the source story, whose right figures are known."""
    score = Score()
    table = open_table(folder / "freelancer" / "freelancer_earnings_bd.csv")
    for line in (folder / "freelancer" / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        asked = json.loads(line)
        reading, rows = ask(table, asked["question"], score)
        gold = asked["gold"]
        right = reading.sql is None if gold is None else reading.sql is not None and holds(gold, rows)
        score.add(asked["question"], reading, right, answerable=gold is not None)
    table.close()
    return score


def holds(gold: Any, rows: Rows) -> bool:
    """Whether a result has the known figures: a number, a label with a number, or a table of them."""
    cells = [cell for row in rows for cell in row]
    figures = [float(c) for c in cells if isinstance(c, int | float | Decimal)]
    if isinstance(gold, int | float):
        return any(math.isclose(gold, figure, rel_tol=1e-4) for figure in figures)
    if isinstance(gold, str):
        return gold in cells
    first = next(iter(gold.values()))
    if isinstance(first, dict):  # the same question read in two ways: by mean or by sum
        return any(holds(table, rows) for table in gold.values())
    labelled = not {"label", "mean", "count", "percent", "difference"} & gold.keys()
    if labelled:
        found = {row[0]: float(row[-1]) for row in rows}
        return found.keys() == gold.keys() and all(math.isclose(found[k], v, rel_tol=1e-4) for k, v in gold.items())
    return all(holds(value, rows) for value in gold.values())


def wiki_questions(folder: Path) -> Score:
    """WikiTableQuestions, development part: small tables of the English Wikipedia, questions by crowd workers."""
    score = Score()
    lines = (folder / "random-split-1-dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    asked: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        _id, question, context, target = line.split("\t")
        if (folder / context).exists():
            asked.setdefault(context, []).append((question, target))
    with ThreadPoolExecutor(2) as pool:
        for context, table in zip(asked, pool.map(lambda c: _opened(folder / c), asked), strict=True):
            for question, target in asked[context]:
                if table is None:
                    score.counts.update(all=1, answerable=1, unopened=1)
                    continue
                reading, rows = ask(table, question, score)
                shown = rows[:1] if reading.intent == "versus" else rows  # the answer is the first of the two
                score.add(f"{context}: {question} -> {target}", reading, bool(rows) and names(target, shown))
            if table is not None:
                table.close()
    return score


def _opened(path: Path) -> Table | None:
    try:
        return open_table(path)
    except TuneloopError:
        return None


def names(target: str, rows: Rows) -> bool:
    """Whether one column of the result is the target: the same things, written alike but for case and commas."""
    wanted = sorted(map(_folded, target.split("|")))
    return any(sorted(_folded(row[j]) for row in rows) == wanted for j in range(len(rows[0])))


def _folded(value: Any) -> str:
    """Lower case, without accents' composition, quotes, grouping commas and currency signs; dates as ISO 8601."""
    text = " ".join(unicodedata.normalize("NFKD", str(value)).lower().split()).strip("\"“”'")
    written = [s for s in spans(tokens(text.title())) if s.end == len(tokens(text)) and not s.start]
    if written and (written[0].after - written[0].first).days == 1:
        return written[0].first.isoformat()
    bare = text.replace(",", "").strip("$€£ ")
    return f"{float(bare):.6g}" if re.fullmatch(r"-?\d+(\.\d+)?", bare) else text.removesuffix(" 00:00:00")


def _unpacked(archive: str, into: Path) -> Path | None:
    path = SHARED / archive
    if not path.exists():
        return None
    with zipfile.ZipFile(path) as packed:
        packed.extractall(into)
    return into


def run() -> None:
    """Print the guard on gold queries, the figures of the five sets, then what was read wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "made").mkdir()
        made.write(Path(scratch) / "made")
        csv = _unpacked("csv_dev.zip", Path(scratch) / "csv")
        wiki = _unpacked("tableqa_dev.zip", Path(scratch) / "tableqa")
        made_later.write(Path(scratch) / "made")
        _print_fresh(fresh_questions(Path(scratch)))
        for language, score in later_questions(Path(scratch)).items():
            _print(score, f"later questions, {language}", show=False)
        if csv is None or wiki is None:
            print("the development data are not beside this checkout")
            return
        for name, gate in gates(wiki, Path(scratch) / "cache").items():
            print("\n".join(gate.lines(f"guard, {name}")), flush=True)
        _print(freelancer_questions(csv), "freelancer", show=True)
        _print(own_questions(csv), "own questions", show=True)
        _print(wiki_questions(wiki / WIKI), "WikiTableQuestions dev", show=False)


def _print_fresh(scores: dict[tuple[str, str], Score]) -> None:
    for half in "AB":
        both = Score()
        for language in ("Russian", "English"):
            both += scores[half, language]
            _print(scores[half, language], f"fresh questions, half {half}, {language}", show=False)
        _print(both, f"fresh questions, half {half}", show=half == "A")


def _print(score: Score, name: str, *, show: bool) -> None:
    for line in score.lines(name):
        print(line)
    shown: Iterable[str] = score.wrong if show else ()
    for line in shown:
        print(f"  wrong: {line}")
    if score.counts["unopened"]:
        print(f"  tables that could not be opened held {score.counts['unopened']} questions")
