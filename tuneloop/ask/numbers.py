"""Numbers of a question: digits with blanks, commas and magnitudes, number words and ordinals in two languages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuneloop.ask.words import Token

_SMALL = {
    0: "ноль нуль zero", 1: "один one once", 2: "два двое two couple twice дважды",
    3: "три трое three thrice трижды", 4: "четыре четверо four",
    5: "пять five", 6: "шесть six", 7: "семь seven", 8: "восемь eight", 9: "девять nine", 10: "десять десяток ten",
    11: "одиннадцать eleven", 12: "двенадцать twelve dozen дюжина", 13: "тринадцать thirteen",
    14: "четырнадцать fourteen", 15: "пятнадцать fifteen", 16: "шестнадцать sixteen", 17: "семнадцать seventeen",
    18: "восемнадцать eighteen", 19: "девятнадцать nineteen", 20: "двадцать twenty", 30: "тридцать thirty",
    40: "сорок forty", 50: "пятьдесят fifty", 60: "шестьдесят sixty", 70: "семьдесят seventy",
    80: "восемьдесят eighty", 90: "девяносто ninety", 100: "сто сотня", 200: "двести", 300: "триста", 400: "четыреста",
    500: "пятьсот", 600: "шестьсот", 700: "семьсот", 800: "восемьсот", 900: "девятьсот", 1.5: "полтора",
}  # fmt: skip
_SCALES = {
    100: "hundred",
    1000: "тысяча тыс thousand k",
    10**6: "миллион млн million mln",
    10**9: "миллиард млрд billion bln bn",
}
_ORDINALS = {
    1: "первый first", 2: "второй second", 3: "третий third", 4: "четвертый fourth", 5: "пятый fifth",
    6: "шестой sixth", 7: "седьмой seventh", 8: "восьмой eighth", 9: "девятый ninth", 10: "десятый tenth",
    11: "одиннадцатый eleventh", 12: "двенадцатый twelfth",
}  # fmt: skip


def _by_word(table: dict[float, str] | dict[int, str]) -> dict[str, float]:
    return {word: float(value) for value, words in table.items() for word in words.split()}


SMALL, SCALES, ORDINALS = _by_word(_SMALL), _by_word(_SCALES), _by_word(_ORDINALS)


@dataclass(frozen=True, slots=True)
class Number:
    """A number said in tokens [start, end); `sign` is what stood at it ("%", "$" or ""), `spelt` when in words."""

    value: float
    start: int
    end: int
    sign: str = ""
    ordinal: bool = False
    spelt: bool = False

    @property
    def sql(self) -> str:
        return f"{self.value:.0f}" if self.value == int(self.value) else repr(self.value)


def numbers(found: Sequence[Token]) -> list[Number]:
    """All numbers, from left to right."""
    result: list[Number] = []
    i = 0
    while i < len(found):
        number = _digits(found, i) or _spelt(found, i)
        if number:
            result.append(number)
            i = number.end
        else:
            i += 1
    return result


def _digits(found: Sequence[Token], i: int) -> Number | None:
    if found[i].kind != "number":
        return None
    value, end = _value(found[i].text), i + 1
    if value > 1e15:
        return None
    ordinal = False
    while end < len(found) and (scale := _lookup(found[end], SCALES)):
        value, end = value * scale, end + 1
    if end < len(found) and found[end].start == found[end - 1].end and found[end].text in ("th", "st", "nd", "rd"):
        ordinal, end = True, end + 1
    elif (
        end + 1 < len(found)
        and found[end].text == "-"
        and found[end + 1].text in ("й", "я", "е", "го", "м", "ый", "ом", "ой")
    ):
        ordinal, end = True, end + 2
    sign = found[i - 1].text if i and found[i - 1].text in ("$", "€", "₽", "£", "#") else ""
    if end < len(found) and (found[end].text == "%" or not found[end].keys.isdisjoint({"процент", "percent"})):
        sign, end = "%", end + 1
    return Number(_negative(found, i, value), i, end, sign, ordinal)


def _negative(found: Sequence[Token], i: int, value: float) -> float:
    """A minus sticks to its number and not to the word before it."""
    if i and found[i - 1].text == "-" and found[i - 1].end == found[i].start:
        return value if i > 1 and found[i - 2].end == found[i - 1].start else -value
    return value


def _value(text: str) -> float:
    bare = text.replace(" ", "").replace("\u00a0", "").replace("\u202f", "")
    if re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", bare):
        return float(bare.replace(",", ""))  # 12,467: a comma before exactly three digits groups thousands
    return float(bare.replace(",", "."))


def _spelt(found: Sequence[Token], i: int) -> Number | None:
    if (order := _lookup(found[i], ORDINALS)) is not None:
        return Number(order, i, i + 1, ordinal=True, spelt=True)
    total, current, end, seen = 0.0, 0.0, i, False
    while end < len(found):
        small, scale = _lookup(found[end], SMALL), _lookup(found[end], SCALES)
        if small is not None and not (seen and current and small >= 10 ** (len(f"{current:.0f}") - 1) and current % 10):
            current += small
        elif scale is not None and (seen or found[end].text not in ("k",)):
            if scale == 100:
                current = (current or 1) * 100
            else:
                total, current = total + (current or 1) * scale, 0.0
        elif found[end].text == "-" and seen and end + 1 < len(found) and _lookup(found[end + 1], SMALL):
            pass
        else:
            break
        seen, end = True, end + 1
    if not seen:
        return None
    sign = ""
    if end < len(found) and (found[end].text == "%" or not found[end].keys.isdisjoint({"процент", "percent"})):
        sign, end = "%", end + 1
    return Number(total + current, i, end, sign, spelt=True)


def _lookup(token: Token, table: dict[str, float]) -> float | None:
    if token.kind != "word":
        return None
    return next((table[key] for key in sorted(token.keys) if key in table), None)
