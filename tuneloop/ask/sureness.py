"""How sure a reading is: what was guessed on the way, and what words of the question it leaves unaccounted for.

Each guess has a factor below 1, and so has each word with a meaning that nothing in the reading explains. The factors
were set on the project's own questions and the development part of WikiTableQuestions (Pasupat and Liang, ACL 2015).
"""

from __future__ import annotations

from tuneloop.ask import lexicon, linking
from tuneloop.ask.comparisons import is_named
from tuneloop.ask.query import Query, columns_of
from tuneloop.ask.scene import Scene, has_meaning, label_column
from tuneloop.ask.words import Token, is_cyrillic, is_order, is_plural, part_of_speech


def unmet(scene: Scene, query: Query) -> float:
    """What is left of the sureness when a superlative or a mean was said and the query has none."""
    factor = 1.0
    superlative = any(
        c.name in ("max", "min")
        and scene.tokens[c.start].text not in ("минимум", "максимум")
        and not is_named(scene, c)
        for c in scene.cues
    ) or any(scene.tokens[i].text.endswith("est") for i in scene.measures)
    if (
        superlative
        and not query.order
        and query.aggregate not in ("min", "max", "range")
        and query.kind not in ("compare", "share", "correlation", "summary")
    ):
        factor *= 0.35
    topped = any(c.name in ("top", "bottom") and c.start == 0 for c in scene.cues)
    if topped and not query.order and query.kind == "aggregate":
        factor *= 0.35  # "top 5 countries" is no single figure
    if scene.has("distinct") and query.aggregate == "count" and not query.groups:
        factor *= 0.5
    named = {i for m in scene.mentions if m.cell is None for i in m.places}
    mean = any(c.name == "mean" and not named & set(range(c.start, c.end)) for c in scene.cues)
    if (
        mean
        and query.aggregate not in ("mean", "")
        and not any("average" in c.op for c in query.filters)
        and query.order != "desc"
    ):
        factor *= 0.4
    return factor


_ORDER_WORDS = (
    "after before next previous following preceding below above under list chart table"
    " после перед до следующий следующая предыдущий предыдущая ниже выше список списке таблице"
)
_BESIDE = frozenset(_ORDER_WORDS.split())
# What rows do, whatever they are: says nothing of which rows are meant.
_HAPPENED_WORDS = (
    "held located awarded earned played participated participate competed occurred happened took listed recorded chart"
    " placed made"
)
_HAPPENED = frozenset(_HAPPENED_WORDS.split())


def _cues_left(scene: Scene, query: Query) -> list[tuple[str, float]]:
    """Phrases that must have become a part of the query and have not; those that say little are taken."""
    left: list[tuple[str, float]] = []
    for cue in scene.cues:
        if cue.name in _PLAIN_CUES:
            scene.take(range(cue.start, cue.end))
    for cue in scene.cues:
        weight = None if query.kind == "neighbour" and cue.name in ("next", "previous") else _MUST.get(cue.name)
        if weight and not any(i in scene.taken for i in range(cue.start, cue.end)):
            scene.take(range(cue.start, cue.end))
            left.append((scene.words(range(cue.start, cue.end)), weight))
    return left


def unexplained(scene: Scene, query: Query) -> list[tuple[str, float]]:
    """Words with a meaning that the reading does not account for, each with what is left of the sureness.

    A noun for what a row is ("passengers") costs little, a verb little, a name or a number nearly all.
    """
    left = _cues_left(scene, query) + _order_left(scene)
    used = columns_of(query)
    entities = 0
    labels = [label_column(scene.profile)]
    for i, token in enumerate(scene.tokens):
        if i in scene.taken or lexicon.is_filler(token) or (len(token.text) < 2 and token.kind == "word"):
            continue
        if query.kind == "neighbour" and token.text in _BESIDE:  # "next ... after": the neighbour is asked for twice
            continue
        if token.text in _HAPPENED and not any(i in m.places for m in scene.mentions):
            left.append((token.raw, 0.92))
            continue
        if token.kind != "word":
            left.append((token.raw, 0.3))
        elif (
            scene.names_row(token)
            or not token.keys.isdisjoint(lexicon.person_words())
            or any(i in m.places and m.cell is None and m.column in labels for m in scene.mentions)
        ):
            continue
        elif _beside_number(scene, i):
            left.append((token.raw, 0.97))
        elif any(linking.columns_named(token, column) for column in used):
            left.append((token.raw, 0.95))
        elif any(i in m.places for m in scene.mentions):
            rows = (query.kind == "share" and _names_rows(scene, i)) or _is_counted(scene, query, i)
            left.append((token.raw, 0.8 if rows else 0.92 if _is_event(scene, i) else 0.6))
        elif (any(lexicon.cell_concepts([token])) and not _names_rows(scene, i)) or i in scene.measures:
            left.append((token.raw, 0.4))
        elif _is_asked(scene, i) and not _is_action(token.text):
            label = labels[0]
            free = label is not None and not any(m.column == label for m in scene.mentions)
            names = label is not None and (has_meaning(label, "name") or has_meaning(label, "title"))
            left.append((token.raw, 0.8 if free and names else 0.6 if free else 0.45))
        elif _is_compound(scene, i):
            left.append((token.raw, 0.9))
        elif i and token.raw[:1].isupper() and not scene.tokens[i - 1].text.endswith("."):
            left.append((token.raw, 0.3))
        elif _is_measurable(token):
            left.append((token.raw, 0.4))
        elif lexicon.has_concept(token.text) and (entities or not _names_rows(scene, i)):
            left.append((token.raw, 0.7 if part_of_speech(token.text) in ("VERB", "PRTS", "GRND") else 0.45))
        elif part_of_speech(token.text) in ("ADJF", "PRTF", "COMP") or _describes(scene, i):
            left.append((token.raw, 0.5))
        elif _is_action(token.text):
            left.append((token.raw, 0.92 if is_cyrillic(token.text) else 0.82))
        elif entities == 0 and _names_rows(scene, i):
            entities += 1
            left.append((token.raw, _of_rows(scene, query, i)))
        else:
            left.append((token.raw, 0.6))
    return left


def _of_rows(scene: Scene, query: Query, i: int) -> float:
    """What is left of the sureness with a noun that may say what rows are, and may as well say something else."""
    token = scene.tokens[i]
    if any(lexicon.cell_concepts([token])):
        return 0.6  # "women", where no cell is called so
    if query.measure is not None and query.aggregate == "sum" and scene.has("count"):
        return 0.9 if token.text in lexicon.words("past") else 0.6  # "how much is the repair", of which nothing is held
    if query.kind == "share" and not query.part:
        return 0.7  # "the share of X by city" has X for its part, not for its rows
    if any(m.cell is None and m.end == i and m.column in columns_of(query) for m in scene.mentions):
        return 0.8
    return 0.7 if _known_entity(scene) else 0.9


def _order_left(scene: Scene) -> list[tuple[str, float]]:
    """An order that is not one to show something: "fire all directors"."""
    if not scene.tokens:
        return []
    word = scene.tokens[0]
    known = lexicon.is_filler(word) or any(c.start == 0 for c in scene.cues)
    return [(word.raw, 0.3)] if word.text in lexicon.words("orders") or (not known and is_order(word.text)) else []


_PLAIN_CUES = {
    "count", "sum", "which", "list", "when", "where", "each", "among", "than", "and", "or", "only", "equal",
    "exists", "truth", "howsize",
}  # fmt: skip


def _is_counted(scene: Scene, query: Query, i: int) -> bool:
    """The noun of "how many Agatha Christie books": a cell stands before it, and rows are counted."""
    described = any(m.cell is not None and m.end == i for m in scene.mentions)
    return described and query.aggregate == "count" and query.measure is None


def _is_event(scene: Scene, i: int) -> bool:
    """A verb that names a column of dates: what happened to every row ("borrowed", where each loan has its day)."""
    token = scene.tokens[i]
    days = any(i in m.places and m.column.kind == "date" and not m.column.missing for m in scene.mentions)
    return days and (token.text.endswith("ed") or part_of_speech(token.text) in ("VERB", "PRTS"))


def _beside_number(scene: Scene, i: int) -> bool:
    """A unit after a number that is accounted for: years, miles, grams."""
    return any(n.end == i and n.start in scene.taken for n in scene.numbers) or any(
        s.end == i and s.start in scene.taken for s in scene.spans
    )


def _is_compound(scene: Scene, i: int) -> bool:
    """A noun that a cell describes ("green taxis"), or that stands before its measure ("trip distance")."""
    after_cell = any(m.cell is not None and m.end == i for m in scene.mentions)
    described = i - 1 in scene.taken and part_of_speech(scene.tokens[i - 1].text) in ("ADJF", "PRTF")
    after_cell = after_cell or (described and not any(i - 1 in m.places for m in scene.mentions))
    before_measure = any(m.cell is None and m.start == i + 1 and m.column.kind == "number" for m in scene.mentions)
    return after_cell or (before_measure and not is_cyrillic(scene.tokens[i].text))


def _is_asked(scene: Scene, i: int) -> bool:
    """The noun right after "which": what the answer should be."""
    linked = {j for m in scene.mentions for j in m.places}
    return any(
        c.name == "which" and i >= c.end and scene.gap(c.end, i) == 0 and not linked & set(range(c.end, i))
        for c in scene.cues
    )


# Cues that change the meaning of a question: a reading that leaves one out is probably another question's.
_MUST = {
    "gt": 0.5, "lt": 0.5, "howmuch": 0.4, "ratio": 0.4, "no": 0.5, "next": 0.5, "previous": 0.5, "percentile": 0.2,
    "quartile": 0.2, "correlation": 0.5, "half": 0.5, "third": 0.7, "quarter": 0.7, "median": 0.3, "mode": 0.5,
    "rare": 0.4, "missing": 0.5, "others": 0.6, "trend": 0.7, "negative": 0.4, "same": 0.3, "zero": 0.5, "spread": 0.3,
    "variance": 0.3, "range": 0.5,
}  # fmt: skip


def _known_entity(scene: Scene) -> bool:
    label = label_column(scene.profile)
    named = label is not None and label.kind == "text" and label.distinct >= 0.95 * scene.profile.rows
    if named and label is not None and not (has_meaning(label, "name") or has_meaning(label, "title")):
        return True  # rows are what this column is called
    return any(c.name.lower().endswith("id") and len(c.name) > 2 for c in scene.profile.columns)


def _describes(scene: Scene, i: int) -> bool:
    """An English word in "-ed" right before the noun it describes: "overdue" and "unsolved assaults" are conditions."""
    if not scene.tokens[i].text.endswith("ed") or i + 1 >= len(scene.tokens):
        return False
    after = scene.tokens[i + 1]
    before = scene.tokens[i - 1].text if i else ""
    noun = scene.names_row(after) or any(
        m.start == i + 1 and (m.cell or m.column.kind == "text") for m in scene.mentions
    )
    return noun and is_plural(after.text) and before not in lexicon.words("auxiliaries")


def _is_measurable(token: Token) -> bool:
    """A noun for something that is measured ("salary", "weight"): never what rows are."""
    meanings = lexicon.concepts([token])[0]
    return bool(meanings) and meanings <= lexicon.words("measurable") and not _is_action(token.text)


def _is_action(word: str) -> bool:
    """A verb form: pymorphy3 knows Russian ones, English ones by their ending."""
    pos = part_of_speech(word)
    if pos:
        return pos in ("VERB", "INFN", "PRTF", "PRTS", "GRND", "ADVB", "PREP", "CONJ", "PRCL", "INTJ", "NPRO")
    return word.endswith(("ing", "ed", "ly"))


_BEFORE_ROWS = {
    "count", "share", "which", "list", "max", "min", "top", "mean", "distinct", "sum", "half", "third", "quarter",
    "howmuch", "exists", "truth",
}  # fmt: skip


def _names_rows(scene: Scene, i: int) -> bool:
    """The noun after "how many", "which", a figure or its measure, or the subject of the question."""
    before = [c for c in scene.cues if c.end <= i and c.name in _BEFORE_ROWS]
    near = any(scene.gap(c.end, i) <= (0 if c.name == "which" else 1) for c in before)
    after_link = any(m.end <= i and scene.gap(m.end, i) == 0 for m in scene.mentions)
    if any(m.cell is not None and m.start == i + 1 for m in scene.mentions) and after_link:
        return True  # «у пингвинов Адели»
    return (near or after_link) and not (
        i and scene.tokens[i - 1].text in lexicon.words("turns") and not any(c.end == i for c in before)
    )
