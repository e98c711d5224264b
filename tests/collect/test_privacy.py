"""Personal data leaves the text, ordinary text stays, and a file cannot pose as scrubbed."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.privacy import false_alarms, ours, recall
from bench.privacy_lines import lines
from tuneloop.collect import privacy
from tuneloop.collect.names import forms
from tuneloop.collect.privacy import Scrubber, luhn, remove_names, structured
from tuneloop.errors import Refused


def test_recall_on_the_labelled_lines() -> None:
    removed, total, missed = recall(ours())
    kinds = [k for k in total if k != "roster"]
    assert sum(total.values()) >= 1000
    assert sum(removed[k] for k in kinds) >= 0.995 * sum(total[k] for k in kinds), missed
    assert removed["roster"] >= 0.99 * total["roster"], missed


def test_without_a_roster_the_same_measure_fails() -> None:
    """The measure can fail: patterns alone remove next to no names."""
    removed, total, _missed = recall(lambda text: structured(text)[0])
    assert removed["roster"] < 0.05 * total["roster"]


def test_ordinary_lines_stay_as_they_are() -> None:
    assert false_alarms(ours()) == 0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("вера в себя и в тему", "вера в себя и в тему"),
        ("java и Java", "java и [name]"),
        ("тема дня: поля", "тема дня: поля"),
        ("Артём, Тема, тёмка", "[name], [name], [name]"),
        ("у марины ветровой спроси, marina vetrova знает", "у [name] спроси, [name] знает"),
    ],
)
def test_ordinary_words_need_a_capital(text: str, kept: str) -> None:
    scrubber = Scrubber({"1": {"Java"}, "2": {"Артём"}, "3": {"Марина Ветрова"}, "4": {"Полина"}})
    assert scrubber.scrub(text)[0] == kept


@pytest.mark.parametrize(
    ("display", "text", "kept"),
    [
        # function words and trades in a display name are looked for in the whole name only
        ("Одесса как она есть", "Как быть? Есть ли Она? одесса как она есть", "Как быть? Есть ли Она? [name]"),
        ("Ирина как есть", "Как быть? Есть ли у ирины", "Как быть? Есть ли у [name]"),
        ("Denis QA", "QA ищут, спроси Denis QA или дениса", "QA ищут, спроси [name] или [name]"),
        ("Java AQA", "Java и AQA, но Java AQA прав", "Java и AQA, но [name] прав"),
        ("Ruslan (UTC +10)", "в 10 UTC у руслана", "в 10 UTC у [name]"),
        ("User Name", "Name: User, а User Name ушёл", "Name: User, а [name] ушёл"),
        # titles of channels that were forwarded
        ("Тестировщики нужны", "тестировщиков нет. Нужны ли", "тестировщиков нет. Нужны ли"),
        ("Heisenbug — канал конференции", "на Heisenbug есть Канал", "на Heisenbug есть Канал"),
        # people whose names are words too
        ("Владимир Ситников", "Ситников и Ситникову, ситников купи", "[name] и [name], ситников купи"),
        ("Урал Батыр", "Кирилл и Урал сделают", "Кирилл и [name] сделают"),
        ("Alex Stone", "спроси Stone, не stone", "спроси [name], не stone"),
        ("Иван Чистов", "на чистом java, чистова позови", "на чистом java, [name] позови"),
        ("Java", "java и Java", "java и [name]"),
        ("пчёлка_Майя Л.", "спросите майю и Пчёлку", "спросите [name] и [name]"),
    ],
)
def test_what_of_a_display_name_stands_for_the_person(display: str, text: str, kept: str) -> None:
    assert Scrubber({"1": {display}}).scrub(text)[0] == kept


def test_words_that_are_left_out_still_count_in_the_whole_name() -> None:
    anna = forms(["Анна Серова"], without={"анна"})
    assert remove_names("анна, Анна Серова, серовой", anna) == ("анна, [name], [name]", 2)


def test_counts_name_each_kind() -> None:
    scrubber = Scrubber({"1": {"Глеб"}})
    _text, found = scrubber.scrub("Глебу: +7 900 000-12-34, a@example.org и b@example.org")
    assert found == Counter(name=1, phone=1, email=2)
    scrubber.scrub("ещё раз глеб")
    assert scrubber.counts["name"] == 2


def test_scrubbing_twice_changes_nothing_more() -> None:
    scrubber = Scrubber({"1": {"Name Link", "Карт Емайл"}})
    for _stratum, text, _secrets in lines():
        once = scrubber.scrub(text)[0]
        assert scrubber.scrub(once) == (once, Counter())


@given(st.text(max_size=300))
def test_any_text_is_survived_and_placeholders_are_stable(text: str) -> None:
    once, _counts = structured(text)
    assert structured(once)[0] == once


@pytest.mark.parametrize(
    "bomb",
    ["a" * 200_000, "1 " * 100_000, "a." * 100_000, "https://" + "a/" * 100_000, "a@" * 100_000, "12-" * 60_000,
     "https://x/?" + "token&" * 30_000, "A1" * 100_000, " собака " * 20_000, "(9" * 50_000],
    ids=lambda b: b[:12],
)  # fmt: skip
def test_patterns_take_linear_time(bomb: str) -> None:
    started = time.process_time()
    structured(bomb)
    assert time.process_time() - started < 2.0  # 0.1 s in practice; quadratic patterns take minutes


def test_luhn_follows_the_standard() -> None:
    assert luhn("4111111111111111") and luhn("378282246310005")
    assert not luhn("4111111111111112")


def test_receipt_is_bound_to_the_content(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("{}\n")
    with pytest.raises(Refused, match="no scrub receipt"):
        privacy.check_receipt(file)
    privacy.write_receipt(file, {"phone": 2})
    assert privacy.check_receipt(file) == {"phone": 2}
    file.write_text("{} \n")
    with pytest.raises(Refused, match="changed after"):
        privacy.check_receipt(file)


def test_receipts_of_several_files_live_together(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(name)
        privacy.write_receipt(tmp_path / name, {"name": 1})
    assert privacy.check_receipt(tmp_path / "a.jsonl") == privacy.check_receipt(tmp_path / "b.jsonl") == {"name": 1}
