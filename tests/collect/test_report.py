from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.collect import made
from tuneloop import texts
from tuneloop.collect import dataset, plots
from tuneloop.records import Chat
from tuneloop.workspace import Workspace

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>"


class Reader(HTMLParser):
    """Notes every tag and attribute, and that tags are closed in order."""

    VOID = frozenset({"meta", "br", "line", "rect", "circle", "polygon", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID or (tag == "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(workspace: Workspace, chat: Chat = made.CHAT, **changes: object) -> str:
    found = [made.example(i, **changes) for i in range(40)]
    if changes:  # the rest of the text keeps them apart, or they would be copies
        found = [made.example(i, **{k: f"{v} {made.example(i).answer}" for k, v in changes.items()}) for i in range(40)]
    folder = dataset.assemble(workspace, made.built(found), chat, made.activity(found), made.ROSTER, name="small")
    return (folder / "report.html").read_text(encoding="utf-8")


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_page_is_well_formed_and_needs_no_network(workspace: Workspace) -> None:
    html = page(workspace)
    reader = read(html)
    assert not {"script", "img", "iframe", "link", "object"} & set(reader.tags)
    names = {name for name, _v in reader.attributes}
    assert not names & {"src", "href", "srcset", "action"}
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html
    assert len(html) < 200_000


def test_page_says_what_was_counted(workspace: Workspace) -> None:
    reader = read(page(workspace))
    said = " ".join(reader.text.split())
    assert "40 pairs read = 40 kept + 0 left out" in said
    assert "Мира Вольт" in said
    assert "pass every rule" in said
    assert "answers nobody" in said
    assert reader.tags.count("section") == 12


@pytest.mark.parametrize("field", ["question", "answer"])
def test_markup_in_messages_is_text(workspace: Workspace, field: str) -> None:
    html = page(workspace, **{field: EVIL})
    reader = read(html)
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _v in reader.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in reader.text, "it is shown, as text"


def test_markup_in_names_is_text(workspace: Workspace) -> None:
    found = made.examples(40)
    activity = made.activity(found)
    activity.names = dict.fromkeys(activity.names, EVIL)
    chat = Chat("tg:77", "telegram", EVIL, "")
    folder = dataset.assemble(workspace, made.built(found), chat, activity, made.ROSTER, name="small")
    reader = read((folder / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _v in reader.attributes if name.startswith("on")]


def test_examples_shown_are_scrubbed(workspace: Workspace) -> None:
    html = page(workspace, answer="Пишите на gavrila@example.org или Мире Вольт")
    said = read(html).text
    assert "gavrila@example.org" not in said
    assert "[email]" in said


def test_speaks_the_language_in_use(workspace: Workspace) -> None:
    texts.use("ru")
    assert '<html lang="ru">' in page(workspace)
    assert plots.percent(0.853) == "85,3\u202f%"
    texts.use("en")
    assert plots.percent(0.853) == "85.3\u202f%"
    assert plots.number(1234567) == "1\u202f234\u202f567"


@pytest.mark.parametrize(
    "drawn",
    [
        plots.area([], [("a", [])]),
        plots.area(["2020-01"], [("a", [5]), ("b", [0])]),
        plots.area([f"m{i}" for i in range(60)], [("a", list(range(60)))]),
        plots.columns(["x"], [("a", [0])]),
        plots.heat(["a"], ["b"], [[0]]),
        plots.strip([("train", "a", [])], 0, 0),
        plots.bars([]),
    ],
)
def test_plots_of_almost_nothing_are_well_formed(drawn: str) -> None:
    read(drawn)
    assert "nan" not in drawn
    assert "inf" not in drawn


@pytest.mark.parametrize("most", [0.4, 1, 3, 4, 7, 99, 101, 3_333, 1_000_000])
def test_axis_ends_above_the_largest_value_on_whole_ticks(most: float) -> None:
    end = plots._nice(most)
    assert most <= end <= max(4, most * 2.5)
    assert (end / 4) == int(end / 4)


def test_template_ships_with_the_package() -> None:
    from tuneloop.collect.report import TEMPLATE

    assert TEMPLATE.parent == Path(dataset.__file__).parent
    assert "$body" in TEMPLATE.read_text(encoding="utf-8")
