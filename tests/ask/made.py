"""Five made-up tables for the questions of fresh.toml: a clinic, meters, a school, a library, deliveries.

The same files come out on every machine: one seed per table, and only `random`, `choices` and `gauss` are drawn from.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random

Row = Sequence[object]


def write(folder: Path) -> None:
    """Write the five tables, as CSV with commas but for the school's, which has semicolons as Excel writes them."""
    for name, rows, separator in (
        ("clinic", _clinic(), ","),
        ("meters", _meters(), ","),
        ("school", _school(), ";"),
        ("library", _library(), ","),
        ("deliveries", _deliveries(), ","),
    ):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)


def _header(names: str) -> Row:
    return names.split("|")


def _pick(dice: Random, choices: str, weights: Sequence[float] | None = None) -> str:
    return dice.choices([c.strip() for c in choices.split("|")], weights)[0]


def _whole(dice: Random, low: int, high: int) -> int:
    return low + int(dice.random() * (high - low + 1))


def _clinic() -> Iterator[Row]:
    yield _header(
        "Дата приёма|Филиал|Врач|Специальность|Пол пациента|Возраст пациента|Диагноз|Стоимость, руб.|"
        "Длительность, мин|Первичный приём|Способ оплаты|Оценка"
    )
    doctors = {
        "терапевт": ("Орлова Н. В.", "Зимин П. А.", "Гусева Т. И."),
        "кардиолог": ("Левин М. О.", "Сотникова А. Д."),
        "хирург": ("Багров И. С.", "Ким Е. Р."),
        "невролог": ("Чижова О. Л.",),
        "офтальмолог": ("Рябов В. Н.", "Дёмина К. П."),
    }
    ills = {
        "терапевт": "ОРВИ | бронхит | гастрит | гипертония",
        "кардиолог": "гипертония | аритмия | стенокардия",
        "хирург": "грыжа | вывих | ушиб",
        "невролог": "мигрень | остеохондроз",
        "офтальмолог": "миопия | катаракта | конъюнктивит",
    }
    price = {"терапевт": 1500, "кардиолог": 2600, "хирург": 2200, "невролог": 2400, "офтальмолог": 1900}
    dice = Random(11)
    for _ in range(640):
        kind = _pick(dice, "терапевт|кардиолог|хирург|невролог|офтальмолог", (40, 18, 14, 12, 16))
        first = dice.random() < 0.45
        age = min(92, max(1, int(dice.gauss(46, 21))))
        yield (
            date(2023, 1, 9) + timedelta(days=int(dice.random() * 540)),
            _pick(dice, "Центральный|Северный|Заречный", (5, 3, 2)),
            doctors[kind][int(dice.random() * len(doctors[kind]))],
            kind,
            _pick(dice, "ж|м", (58, 42)),
            age if dice.random() > 0.03 else "",
            _pick(dice, ills[kind]),
            price[kind] + (500 if first else 0) + 50 * _whole(dice, 0, 12),
            _whole(dice, 10, 35) + (10 if first else 0),
            "да" if first else "нет",
            _pick(dice, "карта|наличные|ДМС", (55, 20, 25)),
            _pick(dice, "1|2|3|4|5", (3, 4, 12, 33, 48)) if dice.random() > 0.28 else "",
        )


def _meters() -> Iterator[Row]:
    yield _header("apartment|street|period|residents|meter_type|day_kwh|night_kwh|charged_rub|paid_on")
    dice = Random(12)
    homes = [
        (n, _pick(dice, "Lesnaya|Sadovaya|Parkovaya"), _whole(dice, 1, 5), _pick(dice, "single|double", (1, 2)))
        for n in range(1, 41)
    ]
    for month in range(24):
        period = date(2022 + month // 12, month % 12 + 1, 1)
        cold = 1.35 if period.month in (11, 12, 1, 2) else 1.0
        for apartment, street, residents, meter in homes:
            day = round((55 + 42 * residents) * cold * (0.8 + 0.4 * dice.random()), 1)
            night = round(day * (0.3 + 0.2 * dice.random()), 1) if meter == "double" else ""
            charged = round(day * 5.9 + (night or 0) * 3.1, 2)
            paid = period + timedelta(days=31 + _whole(dice, 0, 40)) if dice.random() > 0.09 else ""
            yield apartment, street, period, residents, meter, day, night, charged, paid


def _school() -> Iterator[Row]:
    yield _header("Ученик|Класс|Предмет|Четверть|Оценка|Пропущено уроков|Учитель|Дата рождения")
    teachers = {
        "математика": "Петрова А. С.",
        "русский язык": "Климова Е. Ю.",
        "физика": "Тарасов Д. Г.",
        "история": "Юсупова Р. М.",
        "английский язык": "Белова И. К.",
    }
    names = "Антон|Мария|Кирилл|Софья|Тимур|Дарья|Егор|Алина|Роман|Вера|Глеб|Ольга|Илья|Зоя|Павел|Нина|Марк|Юлия"
    family = "Ершов|Власенко|Дидык|Белых|Крамер|Шульга|Седых|Цой|Мороз|Гончар"
    dice = Random(13)
    pupils = [f"{last} {first}" for last in family.split("|") for first in names.split("|")[:6]]
    for i, pupil in enumerate(pupils):
        gift = dice.gauss(3.9, 0.6)
        grade = ("7А", "7Б", "8А", "8Б")[i % 4]
        born = date(2009 if grade[0] == "8" else 2010, 1, 1) + timedelta(days=int(dice.random() * 364))
        for subject, teacher in teachers.items():
            for quarter in range(1, 5):
                missed = int(dice.random() ** 3 * 14)
                mark = min(5, max(2, round(gift - missed * 0.06 + dice.gauss(0, 0.5))))
                yield pupil, grade, subject, quarter, mark if dice.random() > 0.02 else "", missed, teacher, born


BOOKS = """Dune|Frank Herbert|science fiction
Neuromancer|William Gibson|science fiction
Emma|Jane Austen|classic
Dracula|Bram Stoker|horror
Middlemarch|George Eliot|classic
The Hound of the Baskervilles|Arthur Conan Doyle|crime
Murder on the Orient Express|Agatha Christie|crime
The Hobbit|J. R. R. Tolkien|fantasy
A Wizard of Earthsea|Ursula Le Guin|fantasy
Cosmos|Carl Sagan|popular science
The Selfish Gene|Richard Dawkins|popular science
Persuasion|Jane Austen|classic
And Then There Were None|Agatha Christie|crime"""


def _library() -> Iterator[Row]:
    yield _header("loan_id|reader|age_group|branch|title|author|genre|borrowed|returned|renewals|fine_eur")
    dice = Random(14)
    readers = "Alma Reyes|Ben Okafor|Chloe Martin|Dmitri Volkov|Elif Kaya|Finn Larsen|Grace Lin|Hugo Weber|Ines Costa"
    readers += "|Jonas Beck|Karin Holm|Liam Walsh|Mina Sato|Noah Stein|Olga Novak|Priya Nair|Quentin Roy|Rosa Marin"
    groups = {name: _pick(dice, "child|adult|senior", (3, 5, 2)) for name in readers.split("|")}
    for loan in range(1, 521):
        reader = _pick(dice, readers)
        title, author, genre = dice.choices(BOOKS.split("\n"), range(14, 1, -1))[0].split("|")
        start = date(2022, 1, 3) + timedelta(days=int(dice.random() * 720))
        renewals = _whole(dice, 0, 3) if dice.random() < 0.4 else 0
        kept = 3 + int(dice.random() * (22 + 12 * renewals))
        late = max(0, kept - 21 - 14 * renewals + _whole(dice, 0, 4))
        out = dice.random() < 0.07
        yield (
            loan,
            reader,
            groups[reader],
            _pick(dice, "Central|Harbour|Hilltop", (5, 3, 2)),
            title,
            author,
            genre,
            start,
            "" if out else start + timedelta(days=kept),
            renewals,
            "" if out else f"{late * 0.25:.2f}",
        )


def _deliveries() -> Iterator[Row]:
    yield _header(
        "Order No|Ordered At|Delivered At|Status|City|Courier|Customer|Distance km|Items|Order Total|Delivery Fee|"
        "Promo Code|Rating"
    )
    dice = Random(15)
    couriers = "Aigul|Boris|Carlos|Dana|Emil|Farida|Gleb"
    customers = "Nova Cafe|Blue Door|Pixel Ltd|Green Yard|Old Mill|Sunny Shop|Harbor Inn|Cedar & Co|Lumen|Tiny Toys"
    for number in range(1001, 1721):
        day = date(2023, 3, 1) + timedelta(days=int(dice.random() * 420))
        clock = f"{_whole(dice, 8, 21):02d}:{_whole(dice, 0, 59):02d}:00"
        status = _pick(dice, "delivered|cancelled|in transit|returned", (78, 11, 6, 5))
        far = round(0.5 + 14 * dice.random() ** 1.6, 1)
        done = f"{day + timedelta(days=_whole(dice, 0, 3))} 22:{_whole(dice, 0, 59):02d}:00"
        items = _whole(dice, 1, 9)
        yield (
            number,
            f"{day} {clock}",
            done if status in ("delivered", "returned") else "",
            status,
            _pick(dice, "Almaty|Astana|Karaganda|Shymkent", (5, 4, 2, 1)),
            _pick(dice, couriers),
            _pick(dice, customers),
            far,
            items,
            round(items * (6 + 18 * dice.random()), 2),
            round(1.5 + 0.4 * far, 2),
            _pick(dice, "SPRING|WELCOME10|") if dice.random() < 0.5 else "",
            _pick(dice, "1|2|3|4|5", (5, 5, 15, 35, 40)) if status == "delivered" and dice.random() < 0.6 else "",
        )
