"""Each check speaks against what it is named after, and against nothing of an ordinary conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.collect import clean
from tuneloop.records import Example
from tuneloop.settings import Settings, load

SETTINGS = load(None, {})
QUESTION = "Подскажите, чем лучше подавать нагрузку?"
ANSWER = "Мы берём k6: сценарий на JavaScript, отчёт из коробки."


def check(question: str = QUESTION, answer: str = ANSWER, settings: Settings = SETTINGS) -> str | None:
    example = Example(id="1", chat="c", dialogue="c/1", speaker="s", question=question, answer=answer)
    return clean.check(example, settings)


@pytest.mark.parametrize(
    ("reason", "question", "answer"),
    [
        ("question without words", "", ANSWER),
        ("question without words", "👍", ANSWER),
        ("question without words", "12 34", ANSWER),
        ("answer is a link only", QUESTION, "https://example.org/docs?id=1"),
        ("answer is a link only", QUESTION, "👉 www.example.org/a\nhttps://example.org/b"),
        ("answer without words", QUESTION, "😂😂"),
        ("answer without words", QUESTION, ")))"),
        ("answer too short", QUESTION, "да"),
        ("answer too long", QUESTION, "слово " * 400),
        ("question too long", "слово " * 400, ANSWER),
        ("bot command", "/start@some_bot", ANSWER),
        ("bot command", QUESTION, "/ban"),
        ("answer repeats the question", "Ну и зачем это", "ну и зачем это?!"),
        ("question is a link only", "https://example.org/post/1", ANSWER),
        ("question only greets or thanks", "Всем привет! Добрый день, коллеги", ANSWER),
        ("question only greets or thanks", "Ок, спасибо большое!", ANSWER),
        ("answer only greets or thanks", QUESTION, "Понял, спасибо 🙏"),
        ("spam", QUESTION, "Пассивный доход без вложений, пиши в лс, количество мест ограничено"),
        ("spam", "EARN CRYPTO FROM HOME, JOIN NOW, GUARANTEED RESULTS", ANSWER),
        ("answer is code or a log only", QUESTION, "\n".join(f"2024-01-0{n} 10:00:00 ERROR x" for n in range(1, 8))),
    ],
)
def test_reason(reason: str, question: str, answer: str) -> None:
    assert check(question, answer) == reason


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (QUESTION, ANSWER),
        (QUESTION, "Вот здесь описано: https://example.org/docs"),
        ("Какой порт поставить?", "8090"),
        ("https://example.org/post это оно?", "Оно самое"),
        ("Спасибо! А как потом откатить?", "git revert и заново"),
        ("Сколько стоит лицензия?", "Около 500 $ в год, но есть скидки"),
        ("Как собрать?", "Сначала подготовь окружение:\nmake venv\nmake build\nmake test\nmake pack\nи всё"),
        ("ЧТО ЭТО ТАКОЕ???", "Это отчёт, не пугайся"),
    ],
)
def test_ordinary_conversation_passes(question: str, answer: str) -> None:
    assert check(question, answer) is None


def test_bounds_come_from_settings() -> None:
    assert check(answer="да", settings=load(None, {"TUNELOOP_DATASET_MIN_CHARS": "2"})) is None
    assert check(settings=load(None, {"TUNELOOP_DATASET_MAX_CHARS": "20"})) == "answer too long"


def test_every_check_is_described() -> None:
    assert list(clean.describe()) == list(clean.CHECKS)


@given(st.text(), st.text())
def test_any_text_gets_a_known_reason_or_none(question: str, answer: str) -> None:
    reason = check(question, answer)
    assert reason is None or reason in clean.CHECKS
    if reason is None:
        assert SETTINGS.integer("dataset.min_chars") <= len(answer) <= SETTINGS.integer("dataset.max_chars")
