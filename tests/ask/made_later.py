"""Four made-up tables for the questions of later.toml: a company's staff, a hotel, a phone shop, a gym.

Made as those of made.py: one seed per table, and only `random`, `choices` and `gauss` are drawn from.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random

from tests.ask.made import Row, _header, _pick, _whole


def write(folder: Path) -> None:
    """Write the four tables, as CSV with commas but for the staff's: semicolons and dates as Excel writes them."""
    for name, rows, separator in (
        ("staff", _staff(), ";"),
        ("hotel", _hotel(), ","),
        ("phones", _phones(), ","),
        ("gym", _gym(), ","),
    ):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)


FAMILIES = "Абрамов|Волков|Громов|Дроздов|Ершов|Жуков|Зайцев|Ильин|Крылов|Лапин|Мельников|Носов|Орлов|Панов|Сомов"
MEN = "Андрей|Борис|Виктор|Денис|Игорь|Максим|Олег|Сергей"
WOMEN = "Анна|Вера|Галина|Елена|Ирина|Марина|Ольга|Светлана"
POSTS = {
    "Бухгалтерия": ("бухгалтер", "бухгалтер", "главный бухгалтер", 68),
    "Продажи": ("менеджер", "старший менеджер", "руководитель отдела", 74),
    "Склад": ("кладовщик", "грузчик", "заведующий складом", 52),
    "ИТ": ("программист", "тестировщик", "системный администратор", 118),
    "Маркетинг": ("маркетолог", "дизайнер", "копирайтер", 79),
    "Юридический": ("юрист", "юрист", "помощник юриста", 88),
}


def _staff() -> Iterator[Row]:
    yield _header(
        "Табельный номер|ФИО|Пол|Отдел|Должность|Город|Дата рождения|Дата приёма|Дата увольнения|Оклад, руб.|"
        "Премия, руб.|Удалённая работа|Образование|Дней отпуска"
    )
    dice = Random(21)
    for number in range(1, 231):
        woman = dice.random() < 0.54
        last, first = _pick(dice, FAMILIES), _pick(dice, WOMEN if woman else MEN)
        unit = _pick(dice, "|".join(POSTS), (10, 30, 24, 18, 11, 7))
        *posts, pay = POSTS[unit]
        rank = dice.choices((0, 1, 2), (55, 35, 10))[0]
        hired = date(2015, 2, 2) + timedelta(days=int(dice.random() * 3500))
        left = hired + timedelta(days=_whole(dice, 60, 1800))
        bonus = 500 * _whole(dice, 4, 90)
        yield (
            f"{number:04d}",
            f"{last}{'а' if woman else ''} {first}",
            "ж" if woman else "м",
            unit,
            posts[rank],
            _pick(dice, "Москва|Казань|Пермь|Тула", (45, 25, 18, 12)),
            (date(1963, 1, 5) + timedelta(days=int(dice.random() * 11800))).strftime("%d.%m.%Y"),
            hired.strftime("%d.%m.%Y"),
            left.strftime("%d.%m.%Y") if dice.random() < 0.27 and left < date(2025, 3, 1) else "",
            500 * round(pay * 2 * (0.8 + 0.22 * rank + 0.3 * dice.random())),
            bonus if dice.random() < 0.62 else "",
            _pick(dice, "да|нет", (1, 3) if unit in ("Склад", "Бухгалтерия") else (3, 2)),
            _pick(dice, "высшее|среднее специальное|среднее", (60, 28, 12)) if dice.random() > 0.06 else "",
            _whole(dice, 0, 42),
        )


def _hotel() -> Iterator[Row]:
    yield _header(
        "booking_id|guest_name|guest_country|room_type|booked_on|check_in|nights|adults|children|price_per_night_eur|"
        "total_eur|channel|breakfast|status|review_score"
    )
    dice = Random(22)
    first = "Adam|Bella|Cyril|Diana|Erik|Fatima|George|Hana|Ivan|Julia|Kenji|Laura|Marco|Nadia|Oscar|Petra"
    last = "Almeida|Brown|Conti|Dubois|Eriksen|Fischer|Garcia|Hughes|Ivanova|Jansen|Kowalski|Lopez|Moretti|Nowak|Ozturk"
    price = {"single": 62, "double": 88, "family": 124, "suite": 190}
    for booking in range(5001, 5381):
        came = date(2023, 1, 2) + timedelta(days=int(dice.random() * 715))
        room = _pick(dice, "|".join(price), (22, 46, 20, 12))
        nights = 1 + int(dice.random() ** 2 * 13)
        summer = 1.3 if came.month in (6, 7, 8) else 1.0
        each = round(price[room] * summer * (0.85 + 0.3 * dice.random()), 2)
        status = _pick(dice, "checked out|cancelled|no show", (80, 15, 5))
        yield (
            booking,
            f"{_pick(dice, first)} {_pick(dice, last)}",
            _pick(dice, "Germany|France|Italy|Poland|Spain|UK|Japan|Turkey", (24, 18, 14, 13, 11, 10, 4, 6)),
            room,
            came - timedelta(days=_whole(dice, 0, 120)),
            came,
            nights,
            1 if room == "single" else _whole(dice, 1, 2) + (room == "family"),
            _whole(dice, 1, 3) if room == "family" else 0,
            each,
            round(each * nights, 2),
            _pick(dice, "Booking.com|Expedia|website|phone|walk-in", (42, 18, 24, 10, 6)),
            _pick(dice, "yes|no", (6, 4)),
            status,
            round(min(10, max(2, dice.gauss(8.1, 1.3))), 1) if status == "checked out" and dice.random() < 0.7 else "",
        )


MODELS = {
    "Apple": ("iPhone 13", "iPhone 14", "iPhone 15", "iPhone SE", 610),
    "Samsung": ("Galaxy S23", "Galaxy A54", "Galaxy A15", "Galaxy Z Flip5", 430),
    "Xiaomi": ("Redmi Note 12", "Redmi 12C", "Poco X5", "Xiaomi 13T", 210),
    "Google": ("Pixel 7", "Pixel 7a", "Pixel 8", "Pixel 8 Pro", 480),
    "Nokia": ("G42", "C32", "105", "XR21", 120),
}


def _phones() -> Iterator[Row]:
    yield _header(
        "SKU|Brand|Model|Color|Storage GB|Condition|Cost|Price|In Stock|Sold|Supplier|Received|Last Sold|Discount %|"
        "Warranty Months"
    )
    dice = Random(23)
    for number in range(1, 191):
        brand = _pick(dice, "|".join(MODELS), (30, 28, 24, 10, 8))
        *models, base = MODELS[brand]
        rank = _whole(dice, 0, 3)
        storage = _pick(dice, "64|128|256|512", (20, 45, 28, 7))
        state = _pick(dice, "new|used|refurbished", (66, 22, 12))
        worth = (1.0 if state == "new" else 0.6) * (1 + int(storage) / 1000) * (0.8 + 0.12 * rank)
        cost = round(base * worth * (0.9 + 0.2 * dice.random()), 2)
        got = date(2023, 6, 1) + timedelta(days=int(dice.random() * 500))
        sold = _whole(dice, 0, 40) if dice.random() > 0.12 else 0
        yield (
            f"PH-{number:04d}",
            brand,
            models[rank],
            _pick(dice, "black|white|blue|green|pink", (40, 25, 18, 10, 7)),
            storage,
            state,
            cost,
            round(cost * (1.12 + 0.2 * dice.random())) - 0.01,
            _whole(dice, 1, 35) if dice.random() > 0.14 else 0,
            sold,
            _pick(dice, "MobiTrade|Eastline|GSM Depot", (5, 3, 2)) if dice.random() > 0.07 else "",
            got,
            got + timedelta(days=_whole(dice, 3, 90)) if sold else "",
            _pick(dice, "5|10|15|20") if dice.random() < 0.3 else "",
            24 if state == "new" and brand != "Nokia" else 12 if state != "used" else 3,
        )


def _gym() -> Iterator[Row]:
    yield _header(
        "Дата|Время прихода|Клиент|Пол|Возраст|Абонемент|Занятие|Тренер|Клуб|Минут|Доплата|Оценка|Первый визит"
    )
    dice = Random(24)
    people = []
    for _ in range(46):
        woman = dice.random() < 0.57
        name = f"{_pick(dice, FAMILIES)}{'а' if woman else ''} {_pick(dice, WOMEN if woman else MEN)}"
        ticket = _pick(dice, "дневной|безлимит|разовый|семейный", (22, 40, 18, 20))
        people.append((name, "жен" if woman else "муж", max(16, int(dice.gauss(35, 11))), ticket))
    coaches = {
        "йога": "Лаврова Инна",
        "бассейн": "Седов Артём",
        "тренажёрный зал": "Котов Руслан",
        "бокс": "Гаджиев Тимур",
        "пилатес": "Лаврова Инна",
    }
    seen: set[str] = set()
    days = sorted(date(2024, 1, 3) + timedelta(days=int(dice.random() * 360)) for _ in range(400))
    for day in days:
        name, sex, age, ticket = people[int(dice.random() ** 1.4 * len(people))]
        kind = _pick(dice, "|".join(coaches), (18, 24, 36, 10, 12))
        alone = kind == "тренажёрный зал" and dice.random() < 0.6
        extra = 50 * _whole(dice, 2, 16) if ticket == "разовый" or dice.random() < 0.2 else 0
        yield (
            day,
            f"{_whole(dice, 7, 21):02d}:{_whole(dice, 0, 59):02d}",
            name,
            sex,
            age,
            ticket,
            kind,
            "" if alone else coaches[kind],
            _pick(dice, "Речной|Парковый|Вокзальный", (5, 3, 2)),
            _whole(dice, 30, 75) + (30 if kind == "тренажёрный зал" else 0),
            extra,
            _pick(dice, "2|3|4|5", (4, 14, 37, 45)) if dice.random() < 0.55 else "",
            "нет" if name in seen else "да",
        )
        seen.add(name)
