from __future__ import annotations

from collections import Counter

from tuneloop.collect.style import count_words, favourites, profile

ANSWERS = [
    "Привет! бери цепь на 11 скоростей)",
    "Добрый день. Втулку смажь. Потом проверь люфт...",
    "а зачем? 😀",
    "OK, done",
    "смазал и поехал 😀👍)",
]


def test_profile_counts_what_a_person_would_count() -> None:
    found = profile(ANSWERS, Counter(), Counter())
    assert found["answers"] == 5
    assert found["length_median"] == sorted(map(len, ANSWERS))[2]
    assert found["question_share"] == 0.2
    assert found["emoji_share"] == 0.4
    assert found["emoji"] == [["😀", 2], ["👍", 1]]
    assert found["lower_start_share"] == 0.4
    assert found["smile_end_share"] == 0.6
    assert found["greetings"] == [["добрый день", 1], ["привет", 1]]
    letters = "".join(c for text in ANSWERS for c in text if c.isalpha())
    assert found["latin_share"] == round(len("OKdone") / len(letters), 4)
    characters = sum(map(len, ANSWERS))
    assert found["per_100_characters"]["exclamations"] == round(100 / characters, 3)
    assert found["per_100_characters"]["ellipses"] == round(100 / characters, 3)


def test_nobody_has_no_profile() -> None:
    assert profile([], Counter(), Counter()) == {}


def test_favourite_words_are_those_said_more_than_the_rest() -> None:
    own = count_words(["каретка и втулка", "каретка опять каретка"] * 20)
    rest = count_words(["погода и футбол", "втулка"] * 200)
    found = favourites(own, rest)
    assert found[0][0] == "каретка"
    assert "футбол" not in dict(found)
    assert all(z > 1.96 for _w, z in found)


def test_a_word_said_as_often_as_elsewhere_is_no_favourite() -> None:
    same = count_words(["цепь скрипит постоянно"] * 50)
    assert favourites(same, same) == []


def test_rare_words_and_stop_words_are_no_favourites() -> None:
    own = Counter({"которые": 500, "однажды": 2, "шестерня": 60})
    rest = Counter({"погода": 5000})
    assert [word for word, _z in favourites(own, rest)] == ["шестерня"]


def test_links_and_placeholders_are_no_words() -> None:
    assert count_words(["смотри https://github.com/x/blob/readme.md [name] тут"]) == Counter({"смотри": 1, "тут": 1})


def test_order_of_equals_is_alphabetical() -> None:
    own = Counter({"яма": 30, "бочка": 30})
    assert [w for w, _z in favourites(own, Counter({"погода": 900}))] == ["бочка", "яма"]
