from __future__ import annotations

import random
import time

from tests.collect.made import example
from tuneloop.collect.topics import find_topics
from tuneloop.records import Example

THEMES = {
    "велосипед": ["цепь", "каретка", "втулка", "педаль", "спица", "обод", "шина", "переключатель", "вилка", "руль"],
    "пасека": ["улей", "матка", "рамка", "леток", "взяток", "медогонка", "вощина", "дымарь", "пчела", "соты"],
    "кухня": ["тесто", "духовка", "дрожжи", "мука", "противень", "начинка", "соль", "масло", "пирог", "глазурь"],
}


def made(n: int, seed: int = 1) -> tuple[list[Example], dict[str, str]]:
    """n examples, each about one theme, and the theme of each."""
    rng = random.Random(seed)
    found, themes = [], {}
    for i in range(n):
        theme = rng.choice(sorted(THEMES))
        words = THEMES[theme]
        e = example(i, question=" ".join(rng.sample(words, 4)) + "?", answer=" ".join(rng.sample(words, 4)))
        found.append(e)
        themes[e.id] = theme
    return found, themes


def test_planted_themes_are_found() -> None:
    found, themes = made(300)
    topics = find_topics(found)
    assert 3 <= len(topics) <= 5
    covered = set()
    for topic in topics:
        inside = [name for name, words in THEMES.items() if len(set(topic.words[:5]) & set(words)) >= 4]
        assert len(inside) == 1, f"a topic mixes themes: {topic.words}"
        covered.add(inside[0])
        assert {themes[i] for i in topic.examples} == set(inside)
    assert covered == set(THEMES)
    assert abs(sum(t.share for t in topics) - 1) < 0.01


def test_twice_the_same() -> None:
    found, _themes = made(200)
    assert [t.as_dict() for t in find_topics(found)] == [t.as_dict() for t in find_topics(found)]


def test_names_are_forms_people_wrote() -> None:
    texts = ["катушки спиннинга чинил", "катушки опять чинил", "катушки и леска", "леска и катушки"]
    found = [example(i, question=texts[i % 4], answer=f"воблеры {texts[(i + 1) % 4]}") for i in range(80)]
    found += made(120)[0]
    named = " ".join(word for t in find_topics(found) for word in t.words)
    assert "катушки" in named
    assert "катушка" not in named


def test_too_little_gives_none() -> None:
    assert find_topics(made(20)[0]) == []
    assert find_topics([example(i, question="ну да?", answer="ага") for i in range(100)]) == []
    assert find_topics([]) == []


def test_fifty_thousand_examples_take_seconds() -> None:
    found, _themes = made(2000)
    many = found * 25
    start = time.process_time()
    assert find_topics(many)
    assert time.process_time() - start < 40
