"""Columns, turns and the edges between them."""

from __future__ import annotations

import math
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collect.talk import any_chats, busy_group, said, two_people
from tuneloop.collect import columns, dialogues
from tuneloop.collect.columns import FORWARD, LETTERS, LINK, MEDIA, OPENER, QUESTION, THANKS, Columns
from tuneloop.collect.links import Answers, Guesses
from tuneloop.records import Message


def turns(messages: list[Message]) -> list[list[int]]:
    table = columns.read(messages)
    return [table.ids[table.burst == number].tolist() for number in range(table.burst.max() + 1)]


def guessed(rows: list[int], parent: list[int], chance: list[float], threshold: float = 0.8) -> Guesses:
    nothing = Answers(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, bool))
    return Guesses(np.array(rows), np.array(parent, np.int32), np.array(chance, np.float32), threshold, {}, nothing)


def test_a_turn_is_what_one_person_wrote_in_a_row() -> None:
    messages = [
        said(1, "ann", "раз", time=0),
        said(2, "ann", "два", time=300),
        said(3, "ann", "через шесть минут", time=660),
        said(4, "bob", "другой", time=670),
        said(5, "ann", "снова", time=680),
        said(6, "ann", "чужое", time=690, forwarded="Некто"),
    ]
    assert turns(messages) == [[1, 2], [3], [4], [5], [6]]


def test_a_link_elsewhere_opens_a_turn() -> None:
    messages = [
        said(1, "ann", "вопрос", time=0),
        said(2, "cid", "другой вопрос", time=10),
        said(3, "bob", "тебе", time=20, reply_to=1),
        said(4, "bob", "и ещё", time=30, reply_to=1),
        said(5, "bob", "к слову", time=40, reply_to=3),
        said(6, "bob", "а тебе так", time=50, reply_to=2),
    ]
    assert turns(messages) == [[1], [2], [3, 4, 5], [6]]


def test_links_that_lead_nowhere_are_none() -> None:
    messages = [
        said(-5, "ann", "до переезда группы", time=0),
        said(1, "bob", "есть", time=10, reply_to=-5),
        said(2, "bob", "удалено", time=1000, reply_to=77),
        said(3, "ann", "будущее", time=2000, reply_to=4),
        said(4, "bob", "другая тема", time=3000, reply_to=1, topic=9),
    ]
    table = columns.read(messages)
    found = dict(zip(table.ids.tolist(), table.parent.tolist(), strict=True))
    assert table.ids[found[1]] == -5
    assert [found[n] for n in (-5, 2, 3, 4)] == [-1, -1, -1, -1]


def test_flags() -> None:
    def flags(text: str, **more: object) -> int:
        return int(columns.read([said(1, "ann", text, **more)]).flags[0])

    assert flags("подскажи, кто знает") & QUESTION
    assert flags("всем привет") & OPENER
    assert not flags("всё это всем привет") & OPENER & QUESTION
    assert flags("Спасибо!") & THANKS
    assert flags("смотри https://example.org") & LINK
    assert flags("", kind="photo") & MEDIA
    assert not flags("🙂") & LETTERS
    assert flags("слова", forwarded="Некто") & FORWARD
    assert flags("слова") == LETTERS | columns.LOWER


def test_forms_of_a_word_share_a_stem() -> None:
    assert columns.stem("кирилл") == columns.stem("кириллу")
    assert columns.stem("саша") == columns.stem("саше")
    assert columns.stem("тест") != columns.stem("текст")


def test_order_of_reading_does_not_matter() -> None:
    messages, _parents = busy_group(200)
    mixed = messages[:]
    random.Random(0).shuffle(mixed)
    one, two = columns.read(messages), columns.read(mixed)
    for name in ("ids", "time", "parent", "burst", "length", "flags", "tokens", "start"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    senders = [[table.senders[code] for code in table.sender] for table in (one, two)]
    assert senders[0] == senders[1]


def test_newest_keeps_links_and_words() -> None:
    messages, _parents = busy_group(200)
    table = columns.read(messages)
    recent, places = table.newest(50)
    assert len(recent) == 50 and places.tolist() == list(range(150, 200))
    for row in range(50):
        old = table.parent[row + 150]
        assert recent.parent[row] == (old - 150 if old >= 150 else -1)
        assert words(recent, row) == words(table, row + 150)
    assert table.newest(200)[0] is table


def words(table: Columns, row: int) -> list[int]:
    return table.tokens[table.start[row] : table.start[row + 1]].tolist()


def test_guesses_link_only_what_may_be_linked() -> None:
    messages = [
        said(0, "ann", "Что взять?"),
        said(1, "bob", "Винтовой"),  # linked
        said(2, "cid", "Всем привет, а я спрошу"),  # greets everybody
        said(3, "bob", "пересылаю", forwarded="Некто"),
        said(4, "cid", "👍"),
        said(5, "bob", "неуверенно"),  # below the threshold
        said(6, "ann", "понятно", reply_to=1),  # has its own link
        said(7, "bob", "поздно", time=200_000),
        said(8, "ann", "удалённому", time=200_001, reply_to=77),
    ]
    table = columns.read(messages)
    graph = dialogues.graph(table)
    rows = list(range(1, 9))
    guesses = guessed(rows, [0] * 7 + [7], [0.9, 0.9, 0.9, 0.9, 0.7, 0.9, 0.9, 0.9])
    places = np.arange(len(table))
    allowed = dialogues.usable(table, graph, guesses, places, 86_400)
    assert guesses.rows[allowed].tolist() == [1, 5]
    assert dialogues.add_guesses(graph, guesses, places, allowed & (guesses.chance >= 0.8)) == 1
    assert graph.parent.tolist() == [-1, 0, -1, -1, -1, -1, 1, -1, -1]
    assert graph.kind.tolist() == [0, dialogues.RANKED, 0, 0, 0, 0, dialogues.REPLY, 0, 0]


@given(st.lists(st.floats(0, 1, width=32), max_size=60), st.floats(0.05, 0.99))
def test_surest_is_the_lowest_chance_whose_mean_is_still_as_wanted(chances: list[float], wanted: float) -> None:
    found = dialogues.surest(np.array(chances, np.float32), wanted)
    steps = sorted({c for c in chances if c > 0.5})
    fitting = [step for step in steps if np.mean([c for c in chances if c >= step]) >= wanted]
    assert found == (min(fitting) if fitting else math.inf)


def test_turn_taking_needs_a_question_after_an_hour() -> None:
    lines = [("a", "Ты тут?", 0), ("b", "Да", 7200), ("a", "Ясно", 3600), ("b", "Угу", 3601), ("a", "Кто?", 90_000)]
    table = columns.read(two_people(lines))
    graph = dialogues.graph(table)
    dialogues.add_turn_taking(table, graph, 86_400, 0.9)
    assert graph.parent.tolist() == [-1, 0, 1, -1, -1]


@given(any_chats())
@settings(max_examples=100, deadline=None)
def test_conversations_are_closed_under_links(messages: list[Message]) -> None:
    table = columns.read(messages)
    graph = dialogues.graph(table)
    whole, parts = dialogues.join_siblings(table, graph), dialogues.components(graph)
    assert graph.first[0] == 0 and graph.last[-1] == len(table) - 1
    linked = graph.parent >= 0
    assert (graph.parent[linked] < np.flatnonzero(linked)).all()
    assert (parts[linked] == parts[graph.parent[linked]]).all()
    assert (parts == parts[whole]).all()
    assert (graph.sender == graph.sender[whole]).all()
    assert (parts <= np.arange(len(graph))).all()
