"""How numbers are written in the cells of a column: decimal mark, thousands, percent, currency, units.

Decided over the distinct texts of a sample, for the column as a whole: "1,234" alone says nothing, "1,234" beside
"12,5" is a decimal comma. The decision becomes one SQL expression (`numeral_sql`) that reads all cells; cells it
cannot read are counted, never guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

BLANKS = " \u00a0\u202f\u2009'’"  # between thousands
_BLANK = f"[{BLANKS}]"
CURRENCIES = {
    "$": "$", "us$": "$", "usd": "$", "€": "€", "eur": "€", "£": "£", "gbp": "£", "¥": "¥", "₽": "₽", "руб": "₽",
    "руб.": "₽", "р.": "₽", "р": "₽", "rub": "₽", "рублей": "₽", "рубля": "₽", "рубль": "₽", "₸": "₸", "₴": "₴",
    "₹": "₹", "грн": "₴", "тг": "₸", "chf": "CHF", "cny": "¥", "kzt": "₸", "uah": "₴",
}  # fmt: skip
UNITS = {
    "%": "%", "проц.": "%", "km": "km", "км": "км", "m": "m", "м": "м", "cm": "cm", "см": "см", "mm": "mm", "мм": "мм",
    "kg": "kg", "кг": "кг", "g": "g", "г": "г", "lb": "lb", "lbs": "lb", "lbs.": "lb", "t": "t", "т": "т", "шт": "шт",
    "шт.": "шт", "pcs": "pcs", "чел": "чел", "чел.": "чел", "km²": "km²", "км²": "км²", "m²": "m²", "м²": "м²",
    "м2": "м²", "m2": "m²", "га": "га", "ha": "ha", "л": "л", "l": "l", "мл": "мл", "ml": "ml", "°c": "°C", "°f": "°F",
    "mph": "mph", "km/h": "km/h", "км/ч": "км/ч", "ч": "ч", "ч.": "ч", "мин": "мин", "мин.": "мин", "min": "min",
    "min.": "min", "сек": "с", "sec": "s", "ms": "ms", "мс": "мс", "kb": "KB", "mb": "MB", "gb": "GB", "кб": "КБ",
    "мб": "МБ", "гб": "ГБ", "кал": "кал", "ккал": "ккал", "kcal": "kcal", "л.с.": "л.с.", "hp": "hp", "kw": "kW",
    "квт": "кВт", "лет": "лет", "год": "лет", "года": "лет", "years": "years", "days": "days", "дней": "дней",
    "дня": "дней", "день": "дней", "баллов": "баллов", "балл": "баллов", "балла": "баллов", "points": "points",
    "pts": "points", "hours": "hours", "часов": "ч",
}  # fmt: skip
SCALES = {
    "тыс": 1e3, "тыс.": 1e3, "thousand": 1e3, "k": 1e3, "млн": 1e6, "млн.": 1e6, "million": 1e6, "mln": 1e6,
    "млрд": 1e9, "млрд.": 1e9, "billion": 1e9, "bn": 1e9, "трлн": 1e12, "трлн.": 1e12, "trillion": 1e12,
}  # fmt: skip

_SHAPE = re.compile(
    r"(?P<open>\()?(?P<sign>[-+−–])?\s?(?P<before>[^\d\s.,()+−–-]{1,4})?\s?(?P<sign2>[-−–])?"
    r"(?P<body>\d[\d.,'’ \u00a0\u202f\u2009]*|[.,]\d+)(?P<exp>[eE][-+]?\d+)?"
    r"\s?(?P<after>[^\d(),]{1,20})?(?P<close>\))?"
)
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_BODIES = (
    # name, pattern; the first that fits all cells of a column is how it is written
    ("plain", re.compile(r"\d+\.?\d*|\.\d+")),
    ("comma", re.compile(r"\d+(,\d*)?|,\d+")),  # decimal comma, no thousands
    ("blank point", re.compile(rf"(\d{{1,3}}({_BLANK}\d{{3}})+|\d+)(\.\d*)?")),
    ("blank comma", re.compile(rf"(\d{{1,3}}({_BLANK}\d{{3}})+|\d+)(,\d*)?")),
    ("comma point", re.compile(r"(\d{1,3}(,\d{3})+|\d{1,3})(\.\d*)?|\d+\.?\d*")),  # 1,234.5 beside 1234.5
    ("point comma", re.compile(r"(\d{1,3}(\.\d{3})+|\d{1,3})(,\d*)?|\d+,?\d*")),  # 1.234,5
)
_GROUPS = re.compile(r"\d{1,3}(,\d{3})+")
_DATES = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})([T ]\d{1,2}:\d{2}(:\d{2})?)?"
)


@dataclass(frozen=True, slots=True)
class Numeral:
    """How a column's numbers are written. `whole`: no cell has a fraction, so they are kept as integers."""

    style: str  # one of the names in _BODIES
    whole: bool
    unit: str = ""
    affixes: tuple[str, ...] = ()  # what stands before or after numbers, lower case, to be taken off
    scaled: bool = False  # "1,5 млн" beside "300 тыс."
    signs: bool = False  # brackets or typographic minus signs
    ambiguous: bool = False  # "1,234" only: thousands or decimals
    dotted: bool = False  # "1." beside "2.": a mark after whole numbers, as in rankings


def looks_like_number(cell: str) -> bool:
    """Whether one cell, alone, is written like a number of any kind (with percent, currency or a known unit)."""
    return bool(_PLAIN.fullmatch(cell)) or _taken_apart(cell) is not None


def looks_like_date(cell: str) -> bool:
    """Whether one cell is written like a date in figures."""
    return bool(_DATES.fullmatch(cell))


def _taken_apart(cell: str) -> tuple[str, str, str, bool, bool] | None:
    """(body, unit, scale word, has an exponent, has a sign to translate), or None when it is no number."""
    if len(cell) > 40 or not (found := _SHAPE.fullmatch(cell)) or bool(found["open"]) != bool(found["close"]):
        return None
    body = found["body"].rstrip(BLANKS)
    before, after = (found["before"] or "").lower(), (found["after"] or "").strip().lower()
    unit = scale = ""
    if before:
        if before not in CURRENCIES:
            return None
        unit = CURRENCIES[before]
    for word in after.split():
        if word in SCALES and not scale:
            scale = word
        elif (known := CURRENCIES.get(word) or UNITS.get(word)) and not unit:
            unit = known
        else:
            return None
    if body[-1] in ".," and len(body) > 1 and after:
        return None
    odd = bool(found["open"] or found["sign2"]) or found["sign"] in ("−", "–") or cell[:2] in ("+ ", "- ")
    return body, unit, scale, bool(found["exp"]), odd


def numeral(cells: Mapping[str, int], *, decimal: str = "") -> tuple[Numeral, list[str]] | None:
    """How the numbers of a column are written, and the cells that are none; None when it is no column of numbers.

    cells: distinct trimmed texts and how often each comes. decimal: "," or "." when it is known from elsewhere.
    """
    bodies: Counter[str] = Counter()
    units: Counter[str] = Counter()
    affixes: set[str] = set()
    others: list[str] = []
    whole, scaled, signs = True, False, False
    for cell, n in cells.items():
        parts = _taken_apart(cell)
        if parts is None or _code(parts[0]):
            others.append(cell)
            continue
        body, unit, scale, exponent, odd = parts
        bodies[body] += n
        units[unit] += n
        scaled, signs = scaled or bool(scale), signs or odd
        whole = whole and not exponent and not scale
        affixes |= {a for a in _affixes(cell) if a}
    if not bodies:
        return None
    named = {unit for unit in units if unit}
    # Two currencies in one column would be added up as if they were one.
    if len(named) > 1 or (named and units[""] > 0.5 * sum(units.values())):
        return None
    style, ambiguous = _style(bodies, decimal)
    if not style:
        return None
    mark = "," if style in ("comma", "blank comma", "point comma") else "."
    whole = whole and not any(mark in body.rstrip(mark) for body in bodies)
    if whole and any(len(re.sub(r"\D", "", body)) > 18 for body in bodies):
        return None  # longer than 64 bits: account numbers, not amounts
    dotted = whole and any(body[-1] == mark for body in bodies)
    unit = next(iter(named), "")
    return Numeral(style, whole, unit, tuple(sorted(affixes)), scaled, signs, ambiguous, dotted), others


def _style(bodies: Mapping[str, int], decimal: str) -> tuple[str, bool]:
    """The first way of writing that fits all bodies; "" when none does. Second value: it was a guess."""
    fitting = [name for name, pattern in _BODIES if all(pattern.fullmatch(body) for body in bodies)]
    if not fitting:
        return "", False
    # "1,234" and "12,345" only: thousands in English, decimals elsewhere; the rest of the file decides.
    if fitting[0] == "comma" and "comma point" in fitting:
        with_comma = [body for body in bodies if "," in body]
        if all(_GROUPS.fullmatch(body) for body in with_comma):
            return ("comma", True) if decimal == "," else ("comma point", decimal == "")
    if fitting[0] == "plain" and decimal == "," and "point comma" in fitting:
        with_point = [body for body in bodies if "." in body]
        if with_point and all(re.fullmatch(r"\d{1,3}(\.\d{3})+", body) for body in with_point):
            return "point comma", True
    return fitting[0], False


def _code(body: str) -> bool:
    """007 and 01234 are codes: as numbers they would lose their zeros."""
    return len(body) > 1 and body[0] == "0" and body.isdigit()


def _affixes(cell: str) -> tuple[str, str]:
    found = _SHAPE.fullmatch(cell)
    assert found is not None
    return (found["before"] or "").lower(), (found["after"] or "").strip().lower()


def numeral_sql(how: Numeral, cell: str) -> str:
    """SQL that reads the trimmed text `cell` (an SQL expression) as BIGINT or DOUBLE; NULL where it cannot."""
    if how.style == "plain" and not (how.affixes or how.scaled or how.signs):
        if how.whole:  # TRY_CAST rounds "1.5" to 2 where it must be counted as unread
            figures = f"rtrim({cell}, '.')" if how.dotted else cell
            return f"CASE WHEN contains({figures}, '.') THEN NULL ELSE TRY_CAST({figures} AS BIGINT) END"
        # "nan" and "inf" are no numbers to add up.
        return f"CASE WHEN TRY_CAST({cell} AS DOUBLE) BETWEEN -1.7e308 AND 1.7e308 THEN TRY_CAST({cell} AS DOUBLE) END"
    bare = _bare_sql(how, f"lower({cell})")
    pattern = dict(_BODIES)[how.style].pattern.replace("'", "''")
    figures = _figures_sql(how, bare)
    read = f"TRY_CAST({figures} AS DOUBLE)"
    if how.whole:
        read = f"CASE WHEN contains({figures}, '.') THEN NULL ELSE TRY_CAST({figures} AS BIGINT) END"
    number = f"[-+]? ?({pattern})([eE][-+]?[0-9]+)?"
    return f"CASE WHEN regexp_full_match({bare}, '{number}') THEN {read} END" + _scale_sql(how, f"lower({cell})")


def _bare_sql(how: Numeral, cell: str) -> str:
    """SQL for a lower-case cell without currency, unit and brackets."""
    if how.affixes:
        longest_first = sorted(how.affixes, key=lambda affix: -len(affix))
        either = "|".join(re.escape(affix).replace("\\ ", "\\s+").replace("'", "''") for affix in longest_first)
        cell = f"regexp_replace({cell}, '\\s*({either})\\s*', '', 'g')"
    if how.signs:
        cell = f"regexp_replace(translate({cell}, '−–', '--'), '^\\((.*)\\)$', '-\\1')"
    return f"trim({cell}, '{BLANKS[:3]}')"


def _figures_sql(how: Numeral, bare: str) -> str:
    """SQL for a number's figures with a point as decimal mark and nothing between thousands."""
    blanks = BLANKS.replace("'", "''")
    figures = {
        "plain": bare,
        "comma": f"replace({bare}, ',', '.')",
        "blank point": f"translate({bare}, '{blanks}', '')",
        "blank comma": f"replace(translate({bare}, '{blanks}', ''), ',', '.')",
        "comma point": f"replace({bare}, ',', '')",
        "point comma": f"replace(replace({bare}, '.', ''), ',', '.')",
    }[how.style]
    return f"rtrim(replace({figures}, ' ', ''), '.')" if how.dotted else f"replace({figures}, ' ', '')"


def _scale_sql(how: Numeral, cell: str) -> str:
    """SQL that multiplies by a million where a cell says "million"."""
    if not how.scaled:
        return ""
    said = [word for word in SCALES if any(word in affix.split() for affix in how.affixes)]
    cases = " ".join(
        f"WHEN regexp_matches({cell}, '[0-9]\\s*{re.escape(word)}(\\s|$)') THEN {SCALES[word]:.0f}"
        for word in sorted(said, key=lambda word: -len(word))
    )
    return f" * (CASE {cases} ELSE 1 END)"
