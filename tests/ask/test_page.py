"""Facts, warnings, the page with plots, and the command that shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tuneloop import texts
from tuneloop.ask.facts import askable, facts, looks_like_id, warnings
from tuneloop.ask.kaggle import fetched
from tuneloop.ask.page import render
from tuneloop.ask.table import Table, open_table
from tuneloop.errors import BadInput, MissingExtra

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    lines = []
    for n in range(200):
        region, late = "north" if n % 3 else "south", "" if n % 2 else n % 4
        lines.append(f"{n},2024-{1 + n % 12:02d}-03,{region},{10 + n % 5},{20 + 2 * (n % 5)},{late}")
    lines[7] = "7,2024-08-03,<script>alert(1)</script>,9000,26,1"
    lines.append(lines[-1])
    path.write_text("id,day,region,price,cost,late\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def table(source: Path) -> Iterator[Table]:
    opened = open_table(source)
    yield opened
    opened.close()


def test_facts(table: Table) -> None:
    found = facts(table)
    price = found.numbers["price"]
    assert (price.median, price.low_quartile, price.high_quartile, price.far) == (12, 11, 13, 1)
    assert price.mean == pytest.approx(56.7, abs=0.1)
    assert found.repeated == 1


def test_warnings_say_what_misleads(table: Table) -> None:
    said = " | ".join(warnings(table, facts(table)))
    assert "price: 1 value lies far out; the median (12) says more" in said
    assert "late: 50 % of its cells are missing" in said
    assert "1 row is there twice" in said


def test_questions_are_about_columns_that_mean_something(table: Table) -> None:
    asked = askable(table.profile)
    assert "What is the average price?" in asked
    assert not any(re.search(r"\bid\b", question) for question in asked)
    assert looks_like_id(table.profile.column("id"))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_page_is_whole_and_harmless(table: Table, language: str) -> None:
    texts.use(language)
    page = render(table)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<svg") >= 5
    assert "http" not in page.replace("http-equiv", "")
    for column in table.profile.columns:
        assert f"<h2>{column.name}</h2>" in page


def test_columns_of_every_emptiness_have_a_plot(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("nothing,same,two,ok\n" + "".join(f",5,{n % 2},true\n" for n in range(30)))
    table = open_table(path)
    assert "<h2>nothing</h2>" in render(table)
    table.close()


def test_the_command_shows_and_asks(source: Path, tuneloop_command: Run) -> None:
    shown = tuneloop_command("ask", source).stdout
    assert "202 lines = 1 header + 201 loaded" in shown
    assert "What is the average price?" in shown
    known = json.loads(tuneloop_command("ask", source, "--json").stdout)
    assert known["profile"]["rows"] == 201
    asked = tuneloop_command(
        "ask", source, "--sql", "SELECT region, max(cost) AS m FROM t GROUP BY 1 ORDER BY 1", "--json"
    )
    assert json.loads(asked.stdout)["rows"][1:] == [["north", 28], ["south", 28]]
    cut = tuneloop_command("ask", source, "--sql", "SELECT id FROM t", "--most", 2)
    assert "there are more" in cut.stdout


def test_the_command_refuses_in_one_line(source: Path, tmp_path: Path, tuneloop_command: Run) -> None:
    assert "DROP" in tuneloop_command("ask", source, "--sql", "DROP TABLE t", code=5).stderr
    assert "colour" in tuneloop_command("ask", source, "--sql", "SELECT colour FROM t", code=3).stderr
    assert "no file" in tuneloop_command("ask", tmp_path / "none.csv", code=7).stderr
    assert "no encoding" in tuneloop_command("ask", source, "--encoding", "klingon", code=3).stderr


def test_the_command_writes_the_page(source: Path, tmp_path: Path, tuneloop_command: Run) -> None:
    tuneloop_command("ask", source, "--report", tmp_path / "report.html")
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_kaggle_name_needs_its_form_and_kagglehub(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(BadInput):
        fetched("../../etc")
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtra):
        fetched("owner/some-data")
