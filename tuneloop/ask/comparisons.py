"""Numbers, ranges and days that a question compares columns with.

The column is the one named right after the number, right before the comparison, or the one its adjective measures
("старше 30" is about the age).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from tuneloop.ask import dates, lexicon
from tuneloop.ask.columns import Column
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.linking import Mention
from tuneloop.ask.numbers import SCALES, Number
from tuneloop.ask.pairs import two_columns
from tuneloop.ask.query import Condition
from tuneloop.ask.scene import Scene, has_meaning, is_flag
from tuneloop.ask.words import name_tokens
from tuneloop.ask.years import date_column, use_named, year_column

OPERATORS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


_RANGE = (
    ("от", "до"), ("с", "по"), ("с", "до"), ("со", "по"), ("from", "to"), ("from", "until"), ("between", "and"),
    ("между", "и"), ("from", "through"),
)  # fmt: skip


def ranges(scene: Scene) -> list[Condition]:
    """from 10 to 20, от 10 до 20, между 10 и 20, 10-20."""
    found = []
    pairs = list(zip(scene.numbers, scene.numbers[1:], strict=False))
    for first, second in pairs:
        between = [scene.tokens[i].text for i in range(first.end, second.start)]
        ahead = scene.tokens[first.start - 1].text if first.start else ""
        words = [w for w in between if w not in ("$", "year", "года", "год", "лет", "years", "of", "the")]
        dashed = words == ["-"] and scene.tokens[first.end].start - scene.tokens[first.end - 1].end <= 1
        if len(words) != 1 or not (dashed or (ahead, words[0]) in _RANGE) or {first.start, second.start} & scene.taken:
            continue
        column = _compared(scene, first.start - 1, second.end, first)
        if column is None:
            continue
        low, high = (_scaled(n, column, scene) for n in (_same_scale(first, second, scene), second))
        scene.take(range(max(first.start - 1, 0), second.end))
        if column.kind == "date":
            span = (date(int(low), 1, 1), date(int(high) + 1, 1, 1))
            found.append(Condition(column, "days", span, place=first.start))
        else:
            found.append(Condition(column, "between", (low, high), place=first.start))
    return found


def _same_scale(first: Number, second: Number, scene: Scene) -> Number:
    """«От 100 до 150 тысяч»: the thousands are of both."""
    scales = [SCALES[key] for i in range(second.start, second.end) for key in scene.tokens[i].keys if key in SCALES]
    own = any(key in SCALES for i in range(first.start, first.end) for key in scene.tokens[i].keys)
    shared = scales and not own and first.value < second.value / scales[0]
    return replace(first, value=first.value * scales[0]) if shared else first


def comparisons(scene: Scene) -> list[Condition]:
    """more than 100, не менее пяти, старше 30, after 2015, 30 and older."""
    found = []
    for cue in scene.cues:
        if cue.name not in OPERATORS or set(range(cue.start, cue.end)) <= scene.taken:
            continue
        number = _number_after(scene, cue.end) or _number_before(scene, cue) or _one_time(scene, cue)
        if number is None and (pair := two_columns(scene, cue)):
            found.append(pair)
            continue
        span = next((s for s in scene.spans if 0 <= s.start - cue.end <= 1), None)
        if span:
            found += _against_day(scene, cue, span)
            continue
        if number is None or number.ordinal or number.start in scene.taken or _is_half(scene, cue):
            continue
        column = _compared(scene, cue.start, max(number.end, cue.end), number)
        if column is None:
            continue
        _doubt_unit(scene, number, column)
        op = OPERATORS[cue.name]
        if scene.tokens[cue.start].text == "до" and column.kind != "date" and not has_meaning(column, "year"):
            op = "<="
        if scene.tokens[cue.start].text == "по" and column.kind != "date" and not has_meaning(column, "year"):
            op = "="  # «столы по 4 человека»
        if scene.tokens[cue.start].text == "from" and dates.is_year(f"{number.value:.0f}"):
            op = "="  # "songs from 1998"
        value = _scaled(number, column, scene)
        scene.take(range(min(cue.start, number.start), max(cue.end, number.end)))
        if column.kind == "date":
            year = int(value) + (op in (">", "<="))
            if op == "=":
                whole = (date(year, 1, 1), date(year + 1, 1, 1))
                found.append(Condition(column, "days", whole, place=cue.start))
                continue
            found.append(Condition(column, ">=" if op in (">", ">=") else "<", (date(year, 1, 1),), place=cue.start))
        else:
            found.append(Condition(column, op, (value,), place=cue.start))
    return found


def _is_half(scene: Scene, cue: Cue) -> bool:
    return any(c.name in ("half", "third", "quarter") and 0 <= c.start - cue.end <= 1 for c in scene.cues)


def _number_after(scene: Scene, end: int) -> Number | None:
    return next((n for n in scene.numbers if 0 <= n.start - end <= 2 and not scene.gap(end, n.start)), None)


def _one_time(scene: Scene, cue: Cue) -> Number | None:
    """«Хотя бы раз»: once."""
    said = cue.end < len(scene.tokens) and scene.tokens[cue.end].text == "раз"
    return Number(1.0, cue.end, cue.end + 1, spelt=True) if said and cue.name == "ge" else None


def _number_before(scene: Scene, cue: Cue) -> Number | None:
    """30 и старше, 5 or more."""
    text = scene.tokens[cue.start].text
    joined = text in ("or",) or (cue.start and scene.tokens[cue.start - 1].text in ("и", "или", "and", "or"))
    if not joined:
        return None
    return next((n for n in scene.numbers if 0 <= cue.start - n.end <= 2), None)


def _compared(scene: Scene, start: int, end: int, number: Number) -> Column | None:
    """The column a number is compared with: named after it, before it, or by the adjective itself."""
    numeric = [
        m for m in scene.free() if m.cell is None and (m.column.kind == "number" or _takes_year(m.column, number))
    ]
    after = [m for m in numeric if 0 <= m.start - end <= 2 and not scene.gap(end, m.start)] or _second_reading(
        scene, end
    )
    units = {scene.tokens[end].text} | lexicon.units_of(scene.tokens[end]) if end < len(scene.tokens) else set()
    in_unit = [c for c in scene.profile.columns if c.kind == "number" and units & _units(c)]
    if len(in_unit) == 1 and not after:
        use_named(scene, in_unit[0])
        return in_unit[0]
    timely = not scene.tokens[max(start, 0)].keys.isdisjoint(lexicon.words("timely"))
    if (
        timely
        and dates.is_year(f"{number.value:.0f}")
        and not number.sign
        and (column := year_column(scene, number.value)) is not None
    ):
        _use_named_near(scene, column, number)
        return column
    implied = next(
        (scene.measures[i] for i in range(max(start, 0), min(end, len(scene.tokens))) if i in scene.measures), None
    )
    if implied and (column := measured(scene, implied[0])) is not None:
        for mention in after:
            if mention.column == column:
                scene.use(mention)
        use_named(scene, column)
        return column
    said = scene.tokens[start - 1].keys if start > 0 else frozenset()
    paying = not said.isdisjoint(lexicon.words("paying") | lexicon.words("earning"))
    if paying and not any(start - 1 in m.places for m in scene.mentions) and not after:
        return money(scene)
    before = [m for m in numeric if m.end <= start + 1 and start - m.end <= 5 and not _fenced(scene, m.end, start)]
    around = [m for m in numeric if m.start < start and m.end >= end and start not in m.places]
    chosen = next(iter([*around[:1], *after[:1], *before[-1:]]), None)
    if chosen is not None and not (after and scene.has("count", "share") and not before and is_flag(chosen.column)):
        return scene.use(chosen).column
    if dates.is_year(f"{number.value:.0f}") and (column := year_column(scene, number.value)) is not None:
        use_named(scene, column)
        return column
    if (column := _of_people(scene, end, number)) is not None:
        return column
    rest = [m for m in numeric if not is_flag(m.column)]
    if len(rest) == 1 and not scene.has("each"):
        scene.doubt(f"{number.value:g}: {rest[0].column.name}", 0.8)
        return scene.use(rest[0]).column
    return None


def _of_people(scene: Scene, end: int, number: Number) -> Column | None:
    """The size of a party for "more than 4 people", the age for "women over 60"."""
    if end < len(scene.tokens) and not scene.tokens[end].keys.isdisjoint(lexicon.person_words()):
        sizes = [
            c
            for c in scene.profile.columns
            if c.kind == "number" and (has_meaning(c, "party_size") or has_meaning(c, "passengers"))
        ]
        if sizes:
            scene.doubt(f"{scene.tokens[end].raw} = {sizes[0].name}", 0.9)
            return sizes[0]
    ages = [c for c in scene.profile.columns if c.kind == "number" and has_meaning(c, "age")]
    people = {"male", "female", "child", "adult"}
    people_said = any(meanings & people for meanings in lexicon.cell_concepts(scene.tokens))
    if len(ages) == 1 and people_said and not scene.gap(end, len(scene.tokens)) and number.value <= 120:
        scene.doubt(f"{number.value:g}: {ages[0].name}", 0.85)  # "women over 60"
        return ages[0]
    return None


def _doubt_unit(scene: Scene, number: Number, column: Column) -> None:
    """Minutes compared with a column of seconds."""
    said = lexicon.units_of(scene.tokens[number.end]) if number.end < len(scene.tokens) else frozenset()
    if said and _units(column) and not said & _units(column):
        scene.doubt(f"{column.name}: {scene.tokens[number.end].raw}", 0.4)


def _units(column: Column) -> set[str]:
    """The units that stand in a column's name or beside its cells."""
    named = [t for t in name_tokens(column.name) if t.text in lexicon.words("units") or lexicon.units_of(t)]
    return {column.unit.lower(), *(t.text for t in named)} - {""}


def money(scene: Scene) -> Column | None:
    """The amount that "to pay", "to spend", "revenue" speak of where no column is called so: the only one of money."""
    earning = [i for i, t in enumerate(scene.tokens) if not t.keys.isdisjoint(lexicon.words("earning"))]
    places = earning or [i for i, t in enumerate(scene.tokens) if not t.keys.isdisjoint(lexicon.words("paying"))]
    counted = any(c.kind == "number" and has_meaning(c, "quantity") for c in scene.profile.columns)
    if not places or any(i in m.places and m.column.kind == "number" for i in places for m in scene.mentions):
        return None
    for meaning in ("salary", "income") if earning else ("total", "amount", "charge", "bill", "cost", "price", "fare"):
        fits = [c for c in scene.profile.columns if c.kind == "number" and has_meaning(c, meaning)]
        if fits and not (meaning in ("cost", "price") and counted):
            scene.take(places)
            scene.spent.update(id(m) for m in scene.mentions if m.places <= set(places))
            scene.doubt(f"{scene.words(places)} = {fits[0].name}", 0.85 if len(fits) == 1 else 0.6)
            return fits[0]
    return None


def _second_reading(scene: Scene, end: int) -> list[Mention]:
    """A number before a word that was linked to a text column: the numeric column that the word fits as well."""
    fits = [
        m
        for m in scene.candidates
        if m.cell is None and m.column.kind == "number" and not m.places & scene.taken and m.start == end
    ]
    if not fits:
        return []
    best = max(fits, key=lambda m: m.score)
    scene.spent.update(id(m) for m in scene.mentions if m.places & best.places)
    return [best]


def _takes_year(column: Column, number: Number) -> bool:
    return column.kind == "date" and dates.is_year(f"{number.value:.0f}")


def _fenced(scene: Scene, start: int, end: int) -> bool:
    """Whether a number, a comma or a cell stands between: then the column belongs to something else."""
    return any(scene.tokens[i].kind == "number" or scene.tokens[i].text == "," for i in range(start, end))


def measured(scene: Scene, measure: lexicon.Measure) -> Column | None:
    """The numeric (or date) column an adjective speaks of, the concepts tried in order."""
    for meaning, _sign in measure.concepts:
        fits = [c for c in scene.profile.columns if c.kind in ("number", "date") and has_meaning(c, meaning)]
        said = [c for c in fits if any(m.column == c for m in scene.mentions)]
        if said or fits:
            return (said or fits)[0]
    return None


def _scaled(number: Number, column: Column, scene: Scene) -> float:
    """The number as the column writes it: 50 % of a share kept as 0.5, the year 1975 kept as 75."""
    high = column.high if isinstance(column.high, int | float) else None
    low = column.low if isinstance(column.low, int | float) else None
    header = {t.text for t in name_tokens(column.name)}
    for scale, words in _HEADER_SCALES:
        if high is not None and abs(number.value) > 10 * abs(high) and header & words:
            return number.value / scale
    if low is not None and low >= 1000 > number.value and has_meaning(column, "year"):
        scene.doubt(f"{column.name}: {low:g} ...", 0.3)
    if high is not None and low is not None and not low <= number.value <= high and not has_meaning(column, "year"):
        scene.doubt(f"{column.name}: {low:g} ... {high:g}", 0.7)
    if number.sign == "%" and high is not None and high <= 1:
        return number.value / 100
    if high is not None and high < 100 and 1900 <= number.value <= 1999 and has_meaning(column, "year"):
        return number.value - 1900
    return number.value


_HEADER_SCALES = (
    (1e9, frozenset({"bn", "bln", "billion", "billions", "млрд"})),
    (1e6, frozenset({"m", "mln", "million", "millions", "млн"})),
    (1e3, frozenset({"k", "thousand", "thousands", "тыс", "000s"})),
)


def _against_day(scene: Scene, cue: Cue, span: dates.Span) -> list[Condition]:
    column = date_column(scene)
    if column is None:
        return []
    scene.take(range(cue.start, span.end))
    op = OPERATORS[cue.name]
    day = span.after if op in (">", "<=") else span.first
    return [Condition(column, ">=" if op in (">", ">=") else "<", (day,), place=cue.start)]


def against_average(scene: Scene) -> list[Condition]:
    """доход выше среднего, with an above average price."""
    found = []
    for cue in scene.cues:
        if cue.name not in ("gt", "lt") or cue.start in scene.taken:
            continue
        ahead = [c for c in scene.cues if c.name == "average_of" and c.start - cue.end in (0, 1)]
        numeric = [m for m in scene.free() if m.cell is None and m.column.kind == "number"]
        if not ahead or not numeric:
            continue
        mention = min(numeric, key=lambda m: min(abs(m.start - ahead[0].end), abs(cue.start - m.end)))
        scene.use(mention)
        scene.take(range(cue.start, ahead[0].end))
        scene.cues = [c for c in scene.cues if c.start < cue.start or c.start >= ahead[0].end]
        found.append(Condition(mention.column, "> average" if cue.name == "gt" else "< average", place=cue.start))
    return found


def equalities(scene: Scene) -> list[Condition]:
    """4 cylinders, класс 3, third class, size = 2, в 2013 году."""
    found = []
    for number in scene.numbers:
        if number.start in scene.taken or _ranks(scene, number):
            continue
        numeric = [m for m in scene.free() if m.cell is None and m.column.kind == "number"]
        ahead = [m for m in numeric if 0 <= number.start - m.end <= 2 and not scene.gap(m.end, number.start)]
        after = [m for m in numeric if m.start == number.end or (m.start == number.end + 1 and number.ordinal)]
        year = None if number.spelt else f"{number.value:.0f}"
        decade = (
            number.end < len(scene.tokens)
            and scene.tokens[number.end].text in ("s", "х", "е", "-")
            and number.value % 10 == 0
        )
        if (
            year
            and decade
            and scene.tokens[number.end].start == scene.tokens[number.end - 1].end
            and dates.is_year(year)
        ):
            column = year_column(scene, number.value)
            if column is not None and column.kind == "number":
                scene.take(range(number.start, min(number.end + 2, len(scene.tokens))))
                found.append(Condition(column, "between", (number.value, number.value + 9), place=number.start))
        elif (
            year
            and dates.is_year(year)
            and (column := year_column(scene, number.value)) is not None
            and not number.sign
        ):
            _use_named_near(scene, column, number)
            scene.take(range(number.start, number.end))
            value = _scaled(number, column, scene)
            if column.kind == "date":
                span = dates.year_span(int(value), number.start, number.end)
                found.append(Condition(column, "days", (span.first, span.after), place=number.start))
            else:
                found.append(Condition(column, "=", (value,), place=number.start))
        elif pick := (after or ahead):
            mention = scene.use(pick[0] if after else pick[-1])
            scene.take(range(number.start, number.end))
            found.append(Condition(mention.column, "=", (_scaled(number, mention.column, scene),), place=number.start))
    return found


def _use_named_near(scene: Scene, column: Column, number: Number) -> None:
    for mention in scene.free():
        if (
            mention.column == column
            and mention.cell is None
            and min(abs(mention.start - number.end), abs(number.start - mention.end)) <= 2
        ):
            scene.use(mention)


def is_named(scene: Scene, cue: Cue) -> bool:
    """Whether the words of a cue are a part of a column's longer name: "best of five" where the column is best_of."""
    places = set(range(cue.start, cue.end))
    return any(places < m.places and m.score >= 0.85 and not m.missed for m in scene.mentions if m.cell is None)


def _ranks(scene: Scene, number: Number) -> bool:
    """Numbers that order or cut instead of filtering: top 5, 90th percentile."""
    near = [c for c in scene.cues if c.name in ("top", "bottom", "percentile", "quartile", "max", "min")]
    near = [c for c in near if not is_named(scene, c)]
    return any(0 <= number.start - c.end <= 1 or 0 <= c.start - number.end <= 1 for c in near)
