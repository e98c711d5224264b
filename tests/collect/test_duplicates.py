"""Copies are found, whatever their order; what only looks alike is kept."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.collect import duplicates
from tuneloop.records import Example

TEXT = (
    "сервер отчёт скрипт график очередь память запрос ответ сборка журнал ошибка версия поток база кэш релиз диск "
    "server report script chart queue memory request answer build journal error version thread table cache release"
)
WORDS = TEXT.split()


def example(number: int | str, question: str, answer: str) -> Example:
    return Example(id=str(number), chat="c", dialogue="c/1", speaker="s", question=question, answer=answer)


def some_text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) + str(chance.randrange(1000)) for _word in range(words))


def made(count: int, seed: int = 0) -> list[Example]:
    chance = random.Random(seed)
    return [
        example(n, some_text(chance, chance.randint(3, 15)), some_text(chance, chance.randint(3, 15)))
        for n in range(count)
    ]


def typo(chance: random.Random, text: str) -> str:
    letters = list(text)
    for _edit in range(chance.randint(1, 3)):
        at = chance.randrange(len(letters))
        letters[at : at + chance.randint(0, 1)] = chance.choice(["", "я", "zz"])
    return "".join(letters)


def similarity(one: Example, two: Example) -> float:
    first, second = (duplicates.normal(e.question) + "\n" + duplicates.normal(e.answer) for e in (one, two))
    return duplicates.similarity(first, second)


def test_exact_means_equal_words() -> None:
    first = example(1, "Как запустить?", "Через Docker, всё просто.")
    again = example(2, "как  запустить", "через docker - все просто!")
    other = example(3, "Как запустить?", "Никак")
    assert duplicates.exact_and_near([first, again, other], 0.8) == {"2": "exact duplicate"}


def test_planted_near_copies() -> None:
    """Floor: recall 0.98 at precision 0.99 against similarities computed one by one."""
    chance = random.Random(1)
    base = made(3000)
    planted = []
    for number in range(600):
        original = chance.choice(base)
        planted.append((original, example(f"p{number}", original.question, typo(chance, original.answer))))
    near = {copy.id for original, copy in planted if similarity(original, copy) >= 0.8}
    assert len(near) > 300
    found = set(duplicates.exact_and_near([*base, *(copy for _original, copy in planted)], 0.8))
    assert len(found & near) >= 0.98 * len(near)
    assert all(name.startswith("p") for name in found)
    assert len(found & near) >= 0.99 * len(found)


def test_the_first_of_the_list_stays() -> None:
    text = some_text(random.Random(2), 30)
    copies = [example(name, text, text + end) for name, end in (("b", ""), ("a", " x1"), ("c", " x2"))]
    assert set(duplicates.exact_and_near(copies, 0.8)) == {"a", "c"}
    assert set(duplicates.exact_and_near(copies[::-1], 0.8)) == {"a", "b"}


def test_copies_of_one_thing_in_great_number() -> None:
    text = some_text(random.Random(3), 40)
    copies = [example(n, text, f"{text} {n}") for n in range(400)]
    assert len(duplicates.exact_and_near(copies, 0.8)) == 399


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int) -> None:
    assert duplicates.exact_and_near(made(count), 0.8) == {}


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_texts(texts: list[tuple[str, str]]) -> None:
    items = [example(n, question, answer) for n, (question, answer) in enumerate(texts)]
    found = duplicates.exact_and_near(items, 0.8)
    kept = [e for e in items if e.id not in found]
    exact = {(duplicates.normal(e.question), duplicates.normal(e.answer)) for e in items}
    assert len({(duplicates.normal(e.question), duplicates.normal(e.answer)) for e in kept}) == len(kept)
    assert len(kept) <= len(exact)
    assert not found or items[0].id not in found


def test_removed_near_copies_are_really_near() -> None:
    chance = random.Random(4)
    base = made(200, seed=5)
    items = base + [example(f"p{n}", e.question, typo(chance, e.answer)) for n, e in enumerate(base)]
    found = duplicates.exact_and_near(items, 0.9)
    kept = [e for e in items if e.id not in found]
    for name, reason in found.items():
        copy = next(e for e in items if e.id == name)
        assert reason == "exact duplicate" or max(similarity(copy, e) for e in kept) >= 0.9


def test_a_question_of_the_training_part_is_no_test() -> None:
    train = [example(1, "Как запустить?", "Так")]
    held_out = [example(2, "как запустить", "Иначе"), example(3, "А зачем?", "Так")]
    assert duplicates.shared_questions(train, held_out) == {"2": "question is in training too"}


def test_every_reason_is_described() -> None:
    assert set(duplicates.describe()) == {"exact duplicate", "near duplicate", "question is in training too"}


@pytest.mark.soak
def test_a_hundred_thousand_examples_take_seconds() -> None:
    items = made(100_000)
    started = time.process_time()
    duplicates.exact_and_near(items, 0.8)
    assert time.process_time() - started < 15
