"""The tests a question puts on rows: cells, comparisons, flags, days, missing values, and what they negate."""

from __future__ import annotations

import re
from dataclasses import replace

from tuneloop.ask import dates, lexicon
from tuneloop.ask.comparisons import against_average, comparisons, equalities, ranges
from tuneloop.ask.events import accompanied, compounds, happened, marks
from tuneloop.ask.linking import Mention, same_word
from tuneloop.ask.query import SEPARATORS, Condition, negated
from tuneloop.ask.scene import Scene, flag_value, has_meaning, is_flag
from tuneloop.ask.words import name_tokens, tokens
from tuneloop.ask.years import date_column, spells, years_apart


def conditions(scene: Scene) -> list[Condition]:
    """All tests, in the order of the question; what they use is marked as taken in the scene."""
    found = spells(scene) + ranges(scene) + comparisons(scene) + against_average(scene) + _days(scene)
    found += _signs(scene) + _missing(scene) + happened(scene) + accompanied(scene) + compounds(scene) + marks(scene)
    found += _cells(scene)
    found += equalities(scene) + _flags(scene) + _quotes(scene)
    found.sort(key=lambda c: c.place)
    return years_apart(_merged([_turned(c, scene) for c in found], scene), scene)


def _days(scene: Scene) -> list[Condition]:
    """Dates, months and days of the week of a date column."""
    found = []
    for span in scene.spans:
        if span.start not in scene.taken and (column := date_column(scene)) is not None:
            scene.take(range(span.start, span.end))
            found.append(Condition(column, "days", (span.first, span.after), place=span.start))
    linked = {i for m in scene.mentions if m.cell is not None for i in m.places}
    for i, token in enumerate(scene.tokens):
        if i in scene.taken or i in linked or token.kind != "word":
            continue
        month, weekday = dates.month_of(token), dates.weekday_of(token)
        column = next((c for c in scene.profile.columns if c.kind == "date"), None)
        if (several := dates.days_of_week(token)) and column is not None:
            column = date_column(scene) or column
            after = i + 1 < len(scene.tokens) and scene.tokens[i + 1].keys & {"день", "day"}
            scene.take([i, i + 1] if after else [i])
            found.append(Condition(column, "in", tuple(map(float, several)), "weekday", i))
        season = () if i == 0 or scene.tokens[i - 1].keys & {"a", "the"} else dates.season_of(token)
        if season and column is not None:
            column = date_column(scene) or column
            scene.take([i])
            found.append(Condition(column, "in", tuple(map(float, season)), "month", i))
        if (month or weekday) and column is not None:
            column = date_column(scene) or column
            scene.take([i])
            part = "month" if month else "weekday"
            found.append(Condition(column, "=", (float(month or weekday or 0),), part, i))
    return found


def _signs(scene: Scene) -> list[Condition]:
    """с отрицательной прибылью, with zero tolls, without tips."""
    found = []
    for cue in scene.cues:
        op = {"negative": "<", "positive": ">", "zero": "=", "no": "="}.get(cue.name)
        if op is None or cue.start in scene.taken:
            continue
        near = [m for m in scene.free() if m.cell is None and 0 <= m.start - cue.end <= 1 and not is_flag(m.column)]
        if cue.name == "no":
            near = [
                m
                for m in near
                if scene.tokens[cue.start].text in ("no", "без", "нет", "without") and not scene.has("missing")
            ]
        elif not near:
            near = [m for m in scene.free() if m.cell is None and 0 <= cue.start - m.end <= 2]
        if near and (cue.name == "no" or near[0].column.kind == "number"):
            mention = scene.use(near[0])
            scene.take(range(cue.start, cue.end))
            zero = mention.column.kind == "number" and mention.column.low == 0
            if cue.name == "no" and not zero:
                found.append(Condition(mention.column, "missing", place=cue.start))
            else:
                found.append(Condition(mention.column, op, (0.0,), place=cue.start))
    return found


def _missing(scene: Scene) -> list[Condition]:
    found = []
    for cue in scene.cues:
        if cue.name not in ("missing", "known"):
            continue
        near = [m for m in scene.free() if m.cell is None and min(abs(m.start - cue.end), abs(cue.start - m.end)) <= 3]
        near = [m for m in near if m.column.missing] or near
        if near:
            mention = min(near, key=lambda m: min(abs(m.start - cue.end), abs(cue.start - m.end)))
            scene.use(mention)
            scene.take(range(cue.start, cue.end))
            found.append(Condition(mention.column, "missing" if cue.name == "missing" else "known", place=cue.start))
    return found


def _cells(scene: Scene) -> list[Condition]:
    found = []
    for mention in scene.free():
        if mention.cell is None:
            continue
        scene.use(mention)
        _absorb(scene, mention)
        if mention.whole:
            op, text = ("part", mention.cell) if _in_lists(mention) else ("=", mention.cell)
        else:
            op, text = "like", _said_part(scene, mention)
        found.append(Condition(mention.column, op, (text,), place=mention.start))
    return found


def _in_lists(mention: Mention) -> bool:
    """Whether other cells list this one among several: "iPad" beside "iPad, iPhone"."""
    cell = (mention.cell or "").lower()
    return any(
        any(s in v for s in SEPARATORS)
        and cell in (p.strip() for p in re.split("|".join(map(re.escape, SEPARATORS)), v.lower()))
        for v in mention.column.values
        if v.lower() != cell
    )


def _said_part(scene: Scene, mention: Mention) -> str:
    """The words of the cell that the question says, as the cell writes them."""
    said = {key for i in mention.places for key in scene.tokens[i].keys}
    words = [t for t in tokens(mention.cell or "") if t.keys & said]
    return (mention.cell or "")[words[0].start : words[-1].end] if words else mention.cell or ""


def _absorb(scene: Scene, mention: Mention) -> None:
    """A column said right beside its own cell adds nothing: "in the region Asia", "Asia region"."""
    for other in scene.free():
        beside = -2 <= other.start - mention.end <= 1 or 0 <= mention.start - other.end <= 2
        grouped = any(c.name == "each" and 0 <= other.start - c.end <= 1 for c in scene.cues)
        same = other.column == mention.column or mention.column.name in other.rivals
        if other.cell is None and same and beside and not grouped:
            scene.use(other, surely=True)


def _flags(scene: Scene) -> list[Condition]:
    """выжившие, погибшие, smokers: a flag column said outside of a grouping is a test."""
    found = []
    for cue in scene.opposites:
        column = next((c for c in scene.profile.columns if is_flag(c) and has_meaning(c, cue.name)), None)
        if column is not None and not set(range(cue.start, cue.end)) <= scene.taken:
            for mention in [m for m in scene.free() if set(range(cue.start, cue.end)) & m.places]:
                scene.use(mention)
            scene.take(range(cue.start, cue.end))
            found.append(Condition(column, "=", (flag_value(column, False),), place=cue.start))
    for mention in scene.free():
        grouped = any(c.name == "each" and 0 <= mention.start - c.end <= 1 for c in scene.cues)
        if mention.cell is None and is_flag(mention.column) and not grouped:
            if _only_noun(scene, mention):
                scene.use(mention, surely=True)
                continue
            scene.use(mention)
            found.append(Condition(mention.column, "=", (flag_value(mention.column, True),), place=mention.start))
    return found


def _only_noun(scene: Scene, mention: Mention) -> bool:
    """ "How many visits" says nothing of the flag "First visit": what tells it apart, its first word, is not said."""
    words = [t for t in name_tokens(mention.column.name) if t.kind == "word" and not lexicon.is_filler(t)]
    if len(words) < 2 or not mention.missed:
        return False
    said = [scene.tokens[i] for i in mention.places]
    head = words[-1]
    return any(same_word(t, key) for t in said for key in head.keys) and not any(
        same_word(t, key) for t in said for word in words[:-1] for key in word.keys
    )


def _quotes(scene: Scene) -> list[Condition]:
    """A quoted or capitalised cell that the profile does not keep: looked for in the text column named beside it."""
    found = []
    more = [c for c in scene.profile.columns if c.kind == "text" and c.distinct > len(c.values)]
    i = 0
    while more and i < len(scene.tokens):
        token, end = scene.tokens[i], i + 1
        if i in scene.taken or not (token.kind == "quote" or _is_name(scene, i)):
            i += 1
            continue
        while token.kind == "word" and end < len(scene.tokens) and _is_name(scene, end):
            end += 1
        said = [m for m in scene.free() if m.cell is None and m.column in more]
        if said or len(more) == 1:
            column = scene.use(said[0]).column if said else more[0]
            scene.take(range(i, end))
            text = " ".join(t.raw for t in scene.tokens[i:end])
            known = bool(said) or has_meaning(column, "name") or has_meaning(column, "title")
            scene.doubt(f"«{text}»: {column.name}", 0.85 if known else 0.5)
            found.append(Condition(column, "same", (text,), place=i))
        i = end
    return found


def _is_name(scene: Scene, i: int) -> bool:
    token = scene.tokens[i]
    linked = any(i in m.places for m in scene.mentions)
    return i > 0 and token.kind == "word" and token.raw[:1].isupper() and not linked and not lexicon.is_filler(token)


def _turned(condition: Condition, scene: Scene) -> Condition:
    """Negated where a word of negation stands before the test with nothing of weight between."""
    for cue in scene.cues:
        if cue.name != "no" or cue.start >= condition.place or cue.start in scene.taken:
            continue
        if condition.place - cue.end <= 3 and all(
            lexicon.is_filler(scene.tokens[i]) or i not in scene.taken for i in range(cue.end, condition.place)
        ):
            scene.take(range(cue.start, condition.place))
            return negated(condition)
    return condition


def _merged(found: list[Condition], scene: Scene) -> list[Condition]:
    """Several cells of one column become a list; a year and a comparison stay two tests."""
    result: list[Condition] = []
    for condition in found:
        same = next(
            (
                i
                for i, c in enumerate(result)
                if c.column == condition.column and c.part == condition.part and (c.op, condition.op) in _JOINS
            ),
            None,
        )
        if same is None:
            result.append(condition)
        elif condition.values[0] not in result[same].values:
            result[same] = _both(result[same], condition)
    return result


def _both(a: Condition, b: Condition) -> Condition:
    """One or the other of two tests of a column."""
    values = (*a.values, *b.values)
    if {a.op, b.op} <= {"=", "in"}:
        return replace(a, op="in", values=values)
    return replace(a, op="any" if a.op in _TEXT_TESTS else "not in", values=values)


_TEXT_TESTS = ("=", "in", "like", "part", "any")


_JOINS = (
    {(a, b) for a in _TEXT_TESTS for b in ("like", "part")}
    | {(a, "=") for a in ("like", "part", "any")}
    | {("=", "="), ("in", "="), ("!=", "!="), ("not in", "!="), ("!=", "="), ("not in", "=")}
)
