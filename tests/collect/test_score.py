from __future__ import annotations

import pytest

from tests.collect.made import example, examples
from tuneloop.collect import language, score
from tuneloop.collect.privacy import structured


def scored(found: list) -> score.Score:
    return score.score(found, identify=language.identify, find_personal=lambda text: structured(text)[1])


def test_good_examples_pass_every_rule() -> None:
    done = scored(examples(40))
    assert done.all_pass == 1.0
    assert set(done.rates) == set(score.describe())
    assert set(done.rates.values()) == {1.0}
    assert done.failed == {}


@pytest.mark.parametrize(
    ("rule", "question", "answer"),
    [
        ("answers_question", "Как настроить задний переключатель?", "Вчера ездили на озеро, было тепло."),
        ("says_something", "Колодки менять сейчас?", "ага"),
        ("says_something", "Колодки менять сейчас?", "ну да)"),
        ("more_than_placeholders", "Кто поможет с колодками?", "[user] [phone]"),
        ("not_cut", "Колодки какие взять?", "Колодки бери такие, чтобы"),
        ("not_cut", "Колодки какие взять?", "Колодки бери дисковые,"),
        ("not_cut", "Колодки какие взять?", "Колодки (дисковые бери"),
        ("not_cut", "Код для прошивки есть?", "Код такой: ```blink()"),
        ("not_only_a_question", "Колодки какие взять?", "А колодки дисковые или ободные?"),
        ("stands_alone", "Какие колодки взять?", "Про колодки см. выше"),
        ("stands_alone", "Какие колодки взять?", "Как я уже писал выше, колодки дисковые"),
        ("stands_alone", "Какие колодки взять?", "☝️ колодки вот"),
        ("stands_alone", "Какие колодки взять?", "Колодки: вот выше обсуждали"),
        ("stands_alone", "Какие колодки взять?", "Выше уже было написано про колодки"),
        ("stands_alone", "Какие колодки взять?", "Колодки на скриншоте"),
        ("stands_alone", "Which pads to buy?", "The pads: see above"),
        ("length_fits", "Колодки?", "Колодки " + "бери хорошие, " * 40),
        ("length_fits", "Колодки " + "стоят давно и скрипят, " * 30 + "что делать?", "менять"),
        (
            "same_language",
            "Which brake pads should I buy for the winter season?",
            "Бери полуметаллические колодки, они зимой держат лучше всего",
        ),
        ("no_personal_data", "Где колодки купить?", "Колодки у Петровича, +7 900 123-45-67"),
        ("no_personal_data", "Колодки есть? пишите a.b@example.org", "Колодки есть, написал вам"),
    ],
)
def test_a_bad_example_fails_the_rule_it_should(rule: str, question: str, answer: str) -> None:
    bad = example(0, question=question, answer=answer)
    assert rule in scored([bad, example(1), example(2)]).failed[bad.id]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Менять колодки сейчас?", "Да, пора"),
        ("А если дождь, ездить можно?", "Можно, но осторожно)"),
        ("Спицы тянуть чем?", "спицы тянут ключом :)"),
        ("Какие колодки взять?", "Колодки какие? Дисковые, конечно."),
        ("Колодки скрипят?", "Колодки скрипят :( и ничего не помогает((("),
        ("Колодки выше поднять?", "Колодки подними выше обода, давление выше нормы не качай"),
        ("Колодки скрипят?", "Скрипят(\nменяю завтра"),
        ("Which pads fit?", "Любые дисковые подойдут"),
        ("Is the chain worn?", "Yes, the chain is at 0.75 already"),
        ("Колодки где?", "Колодки в ящике [name]"),
    ],
)
def test_normal_chat_passes(question: str, answer: str) -> None:
    fine = example(0, question=question, answer=answer)
    assert scored([fine]).failed == {}


def test_a_word_of_the_context_counts() -> None:
    fine = example(0, question="И что с ней?", answer="Каретку разобрал, промыл", context=(("user", "каретка гремит"),))
    assert "answers_question" not in scored([fine]).failed.get(fine.id, [])


def test_only_sure_links_pass() -> None:
    weak = example(0, edge="ranked", confidence=0.88)
    sure = example(1, edge="ranked", confidence=0.97)
    assert scored([weak, sure]).failed == {weak.id: ["linked_for_certain"]}


def test_rates_and_chance() -> None:
    found = [example(i, question=f"Где {word}?", answer=f"{word} тут") for i, word in enumerate(WORDS)]
    found[0] = example(0, question="Где велосипед?", answer="Мёд сладкий")
    done = scored(found)
    assert done.rates["answers_question"] == 0.9
    assert done.all_pass == 0.9
    assert done.by_chance == 0.0, "no two questions share a word here, so dealt answers never fit"


WORDS = ("лодка", "яблоко", "молоток", "гитара", "окно", "дерево", "самовар", "чайник", "компас", "барабан")


def test_nothing_to_score() -> None:
    assert scored([]).all_pass == 0.0
