"""What has or has not happened to a row: "unpaid", "never returned", "не продлевались", "renewed".

A day that is missing is a thing that has not happened; a count of 0 is one that never did.
"""

from __future__ import annotations

from tuneloop.ask import lexicon, linking
from tuneloop.ask.columns import Column
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.linking import Mention
from tuneloop.ask.query import Condition
from tuneloop.ask.scene import Scene, flag_value, has_meaning, is_flag, is_identifier, is_label
from tuneloop.ask.words import Token, forms, is_plural, name_tokens, part_of_speech

NOT_IN_FRONT = ("un", "не")  # unpaid, невозвращенный
FULL = frozenset(("ADJF", "ADJS", "PRTF", "PRTS", "VERB", "INFN", "GRND"))  # with them "не" is written together


def accompanied(scene: Scene) -> list[Condition]:
    """ "With children", «с детьми»: a count from 0 that is not 0, where rows are counted or shared out.

    And "used a promo code", «с промокодом»: a cell that is there, in a column where others are empty.
    """
    if not scene.has("count", "share", "truth"):
        return []
    found = []
    for mention in scene.free():
        before = scene.tokens[mention.start - 1].text if mention.start else ""
        column = mention.column
        if mention.cell is None and _is_had(scene, mention):
            scene.use(mention)
            found.append(Condition(column, "known", place=mention.start))
            continue
        counts = (
            column.kind == "number" and column.low == 0 and not is_flag(column) and is_plural(_last(mention, scene))
        )
        number = any(abs(n.start - mention.end) <= 3 or 0 <= mention.start - n.end <= 1 for n in scene.numbers)
        if mention.cell is None and before in ("with", "с", "со") and counts and not number:
            scene.use(mention)
            scene.take([mention.start - 1])
            found.append(Condition(column, ">", (0.0,), place=mention.start))
    return found


def _is_had(scene: Scene, mention: Mention) -> bool:
    """Whether rows are said to have what this column holds, and not which value of it."""
    column, i = mention.column, mention.start - 1
    while i >= 0 and scene.tokens[i].text in ("a", "an", "any", "the", "some", "их", "свой"):
        i -= 1
    if i < 0 or not column.missing or column.kind != "text" or is_label(column):
        return False
    had = scene.tokens[i].text in ("with", "с", "со") or not scene.tokens[i].keys.isdisjoint(lexicon.words("having"))
    valued = any(m.column == column and m.cell is not None for m in scene.mentions)
    more = scene.tokens[mention.end : mention.end + 2]
    if not had or valued or any(t.kind in ("quote", "number") or t.raw[:1].isupper() for t in more):
        return False
    scene.take(range(i, mention.start))
    return True


def marks(scene: Scene) -> list[Condition]:
    """«Двойки», «пятёрок»: a school mark as a Russian noun."""
    grades = [c for c in scene.profile.columns if c.kind == "number" and has_meaning(c, "rating")]
    grades = [c for c in grades if isinstance(c.high, int | float) and 1 < c.high <= 12]
    called = [c for c in grades if any(t.keys & {"оценка", "отметка", "mark", "grade"} for t in name_tokens(c.name))]
    grades = called or grades
    found = []
    for i, token in enumerate(scene.tokens):
        mark = next((MARKS[key] for key in sorted(token.keys) if key in MARKS), 0)
        if mark and len(grades) == 1 and i not in scene.taken:
            scene.take([i])
            found.append(Condition(grades[0], "=", (float(mark),), place=i))
    return found


MARKS = {"единица": 1, "двойка": 2, "тройка": 3, "четверка": 4, "пятерка": 5, "десятка": 10}


def _last(mention: Mention, scene: Scene) -> str:
    return scene.tokens[mention.end - 1].text


def compounds(scene: Scene) -> list[Condition]:
    """«Двухкомнатная», «пятилетний»: a number and the column it counts, in one Russian adjective."""
    found = []
    for i, token in enumerate(scene.tokens):
        lemma = next((key for key in sorted(token.keys) if key.endswith(("ный", "ний", "ой"))), "")
        number = next((n for n in sorted(PREFIXES, key=len, reverse=True) if lemma.startswith(n)), "")
        stem = lemma[len(number) : -3]
        if i in scene.taken or not number or len(stem) < 4:
            continue
        columns = [c for c in scene.profile.columns if c.kind == "number" and not is_flag(c)]
        fits = [c for c in columns if any(key.startswith(stem) for t in name_tokens(c.name)[:1] for key in t.keys)]
        if len(fits) == 1:
            scene.take([i])
            scene.spent.update(id(m) for m in scene.mentions if i in m.places)
            found.append(Condition(fits[0], "=", (float(PREFIXES[number]),), place=i))
    return found


PREFIXES = {
    "одно": 1, "двух": 2, "трех": 3, "четырех": 4, "пяти": 5, "шести": 6, "семи": 7, "восьми": 8, "девяти": 9,
    "десяти": 10,
}  # fmt: skip


def happened(scene: Scene) -> list[Condition]:
    """Tests of days and counts by a verb that names their column, for questions that count rows or share them out."""
    if not scene.has("count", "share", "truth", "exists"):
        return []
    found = []
    for i, token in enumerate(scene.tokens):
        if i in scene.taken or token.kind != "word":
            continue
        stem = _without_not(token)
        if stem is not None and (flag := _flag(scene, stem)) is not None:
            scene.take([i])
            scene.spent.update(id(m) for m in scene.mentions if m.places == frozenset((i,)))
            found.append(Condition(flag, "=", (flag_value(flag, False),), place=i))
            continue
        column = _event_column(scene, stem or token, i)
        denied = None if stem else _denied(scene, i)
        if column is None or not (stem or denied or _is_verb(token)):
            continue
        if stem or denied:
            scene.take([i, *(range(denied.start, i) if denied else ())])
        else:
            scene.take([i])
            scene.doubt(f"{token.raw}: {column.name}", 0.9)
        scene.spent.update(id(m) for m in scene.mentions if m.places == frozenset((i,)))
        found.append(_test(column, not (stem or denied), i))
    return found


def _flag(scene: Scene, token: Token) -> Column | None:
    """The one flag that a word names: "solved" in "unsolved"."""
    fits = [c for c in scene.profile.columns if is_flag(c) and linking.columns_named(token, c)]
    return fits[0] if len(fits) == 1 else None


def _test(column: Column, so: bool, place: int) -> Condition:
    if column.kind == "date":
        return Condition(column, "known" if so else "missing", place=place)
    return Condition(column, ">" if so else "=", (0.0,), place=place)


def _without_not(token: Token) -> Token | None:
    """The word without its "un-" or "не-", where such a word is left."""
    prefix = next((p for p in NOT_IN_FRONT if token.text.startswith(p) and len(token.text) > len(p) + 3), None)
    if prefix is None or (prefix == "не" and part_of_speech(token.text) not in FULL):
        return None
    rest = token.text[len(prefix) :]
    return Token(rest, rest, "word", forms(rest))


def _event_column(scene: Scene, token: Token, i: int) -> Column | None:
    """The column of days with gaps, or of counts from 0, that this verb form names; None where it names others too."""
    if not (part_of_speech(token.text) in FULL or token.text.endswith("ed") or token.text in ("paid", "sent", "sold")):
        return None
    if any(i in m.places and (m.cell is not None or len(m.places) > 1) for m in scene.mentions):
        return None
    if any(s.start - i in (1, 2, 3) for s in scene.spans) or _day_follows(scene, i):
        return None  # "returned in May": the day itself is asked about
    fits = [c for c in scene.profile.columns if linking.columns_named(token, c)]
    counts = [c for c in fits if c.kind == "number" and c.low == 0 and not is_flag(c) and not is_label(c)]
    events = [c for c in fits if c.kind == "date" and c.missing] + [
        c for c in counts if not is_identifier(c, scene.profile)
    ]
    others = [c for c in fits if c not in events]
    return events[0] if len(events) == 1 and all(c.kind == "text" and not is_flag(c) for c in others) else None


def _is_verb(token: Token) -> bool:
    return part_of_speech(token.text) in ("VERB", "PRTS") or not part_of_speech(token.text)


def _day_follows(scene: Scene, i: int) -> bool:
    """Whether a number follows that says a day or how often: then there is a comparison to make."""
    return any(0 < n.start - i <= 4 for n in scene.numbers)


def _denied(scene: Scene, i: int) -> Cue | None:
    """The "not" right before a verb; small words may stand between ("have not been paid")."""
    near = [c for c in scene.cues if c.name in ("no", "zero") and c.end <= i and c.start not in scene.taken]
    return next((c for c in near if i - c.end <= 2 and not scene.gap(c.end, i)), None)
