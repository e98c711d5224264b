"""Hostile texts in headers and cells: figures are those of the file, the SQL is shown, nothing is obeyed anywhere."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean

import pytest

pytest.importorskip("duckdb")

from tests.ask.attacks import ATTACKS, PRICES, write
from tuneloop import texts
from tuneloop.ask.chart import lines, write_png
from tuneloop.ask.facts import askable
from tuneloop.ask.page import render
from tuneloop.ask.reply import Reply, as_json, reply
from tuneloop.ask.table import Table, open_table
from tuneloop.cli.ask_talk import show, show_profile, show_rows
from tuneloop.cli.show import Door, Harmless

ALL = [price for prices in PRICES.values() for price in prices]
MEANS = sorted(((mean(prices), city) for city, prices in PRICES.items()), reverse=True)
# Everything a terminal, or an eye that reads from left to right, could be led by.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


# Half of the texts in a header or in cells in every run, all in both places in the soak: a table takes 0.6 s.
PLACES = [
    pytest.param((name, header), marks=() if number % 4 == 2 * header else pytest.mark.soak, id=f"{name}, {header}")
    for number, name in enumerate(ATTACKS)
    for header in (True, False)
]


@pytest.fixture(scope="module", params=PLACES)
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Table]]:
    """(the attack, a table that holds it)."""
    name, header = request.param
    table = open_table(write(tmp_path_factory.mktemp("a") / "t.csv", ATTACKS[name], header=header))
    yield ATTACKS[name], table
    table.close()


def shown(found: Reply | Table) -> str:
    """What a terminal of 200 columns is sent."""
    out = io.StringIO()
    door = Door(None, False, console=Harmless(file=out, force_terminal=True, color_system=None, width=200, emoji=False))
    if isinstance(found, Reply):
        show(door, found)
        show_rows(door, found.columns, found.rows)
    else:
        show_profile(door, found)
    return out.getvalue()


def test_figures_are_those_of_the_file_and_the_sql_is_shown(attacked: tuple[str, Table]) -> None:
    attack, table = attacked
    before = hashlib.sha256(table.database.read_bytes()).hexdigest()
    for question, rows in (
        ("how many rows are there?", [[len(ALL)]]),
        ("сколько строк?", [[len(ALL)]]),
        ("average price", [[mean(ALL)]]),
        ("максимальная price", [[max(ALL)]]),
        ("average price by city", [[city, price] for price, city in MEANS]),
        ("средняя price по city", [[city, price] for price, city in MEANS]),
    ):
        found = reply(table, question)
        assert (found.state, found.route) == ("answered", "reader"), found.sentence
        assert [[float(c) if isinstance(c, int | float) else c for c in row] for row in found.rows] == rows, question
        assert (
            found.sql
            and found.sql.startswith("SELECT ")
            and "".join(found.sql.split()) in "".join(shown(found).split())
        )
        assert len(found.sentence) < 1500
    first = table.profile.columns[0]
    grouped = dict(table.run(f"SELECT {first.sql}, avg(price) FROM t GROUP BY 1").rows)
    gold = {name: mean(ALL[n] for n in range(9) if n % 3 == k) for k, name in enumerate((attack, "word 1", "word 2"))}
    assert {_loose(str(name)): value for name, value in grouped.items()} == pytest.approx(
        {_loose(name): value for name, value in gold.items()}
    )
    assert hashlib.sha256(table.database.read_bytes()).hexdigest() == before


def _loose(text: str) -> str:
    """A cell but for blanks, which loading trims, and line ends."""
    return "".join(text.split()).strip("\ufeff")


def test_an_attack_as_a_question_changes_nothing(attacked: tuple[str, Table]) -> None:
    attack, table = attacked
    for question in (attack[:400], f"how many rows have {table.profile.columns[0].name[:100]} {attack[:300]}?"):
        found = reply(table, question)
        assert found.state in ("answered", "unknown", "refused") and (found.sql or "SELECT").startswith("SELECT")
        assert not STEERING.search(shown(found))
    for language in ("en", "ru"):
        texts.use(language)
        for question in askable(table.profile):
            assert reply(table, question).state in ("answered", "unknown"), question
    assert table.run("SELECT count(*), sum(price) FROM t").rows == [(9, sum(ALL))]


def test_a_terminal_is_sent_nothing_to_obey(attacked: tuple[str, Table], tmp_path: Path) -> None:
    _attack, table = attacked
    first = table.profile.columns[0]
    assert not (found := STEERING.search(shown(table))), found
    for question in ("average price by note", f"average price by {first.name}", f"how many rows by {first.name[:90]}"):
        found_ = reply(table, question) if len(question) <= 500 else reply(table, "average price by note")
        assert not (found := STEERING.search(shown(found_))), found
        if found_.chart:
            assert not STEERING.search(
                "".join(lines(found_.chart, 80)) + found_.sentence + "".join(found_.chart.labels)
            )
            write_png(found_.chart, tmp_path / "p.png", question)


def test_json_gives_the_cells_as_they_are(attacked: tuple[str, Table]) -> None:
    _attack, table = attacked
    rows = [list(row) for row in table.run("SELECT * FROM t").rows]
    written = texts.visible_json(json.dumps(rows, ensure_ascii=False))
    assert json.loads(written) == rows and not STEERING.search(written)
    assert json.loads(json.dumps(as_json(reply(table, "average price by city"))))["columns"] == ["city", "mean"]


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _value in attributes}

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(table: Table) -> Page:
    page = Page()
    page.feed(render(table))
    return page


@pytest.fixture(scope="module")
def innocent(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a table with the same rows and an ordinary word instead of the attack."""
    table = open_table(write(tmp_path_factory.mktemp("i") / "t.csv", "word 0", header=False))
    page = page_of(table)
    table.close()
    return page


def test_the_page_is_the_same_but_for_its_words(attacked: tuple[str, Table], innocent: Page) -> None:
    attack, table = attacked
    page = page_of(table)
    assert page.tags <= innocent.tags and page.attributes <= innocent.attributes
    assert not STEERING.search(page.text)
    plain = "".join(c for c in attack if c.isprintable() and c != " ")[:20]
    assert plain in "".join(page.text.split()) or html.unescape(plain) in "".join(page.text.split())


def test_the_command_on_a_terminal(tmp_path: Path) -> None:
    """All attacks in one table, through the real command: rich's own colours are all that a terminal is told."""
    path = tmp_path / "all.csv"
    cells = [text.replace('"', '""') for text in ATTACKS.values()]
    rows = "".join(f'"{cell[:300]}",{n}\n' for n, cell in enumerate(cells))
    path.write_text('"' + ATTACKS["clear"] + '",price\n' + rows, encoding="utf-8", newline="")
    for arguments in (
        ["--profile"],
        ["--sql", "SELECT * FROM t"],
        ["average price"],
        ["--sql", "DROP TABLE t -- \x1b[2J"],
    ):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "tuneloop", "ask", path.name, *arguments]
        child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env={**os.environ, "TERM": "xterm"}
        )
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # the end of a terminal
            pass
        finally:
            os.close(ours)
        assert child.wait(30) == (5 if "DROP" in arguments[-1] else 0), said
        bare = re.sub(r"\x1b\[\d*(;\d+)*m|\x1b\[\?25[hl]|\x1b\[\d*[AK]|\r", "", said.decode())
        assert len(bare) > 20 and not (found := STEERING.search(bare)), found
    assert {p.name for p in tmp_path.iterdir()} == {"all.csv", ".tuneloop"}
