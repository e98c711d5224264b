"""What the words left over by the conditions stand for: the figure, its measure, the groups, the order."""

from __future__ import annotations

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Column
from tuneloop.ask.comparisons import measured, money
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.linking import Mention
from tuneloop.ask.query import Condition, Group
from tuneloop.ask.scene import Scene, has_meaning, is_identifier, is_label, label_column
from tuneloop.ask.years import default_date

AGGREGATE_CUES = ("mean", "median", "sum", "spread", "variance", "range")


TIME_PARTS = {
    "time_year": "year",
    "time_month": "month",
    "time_day": "day",
    "time_weekday": "weekday",
    "time_hour": "hour",
}


class Slots:
    """What the mentions left over by the conditions stand for."""

    def __init__(self, scene: Scene, filters: list[Condition]) -> None:
        self.scene = scene
        self.filters = filters
        self.groups = [_in_order(g, scene, filters) for g in _groups(scene)] or _years(scene, filters)
        self.target = _target(scene, self.groups)
        self.measures = [
            m
            for m in scene.free()
            if m.cell is None and m.column.kind in ("number", "bool") and m is not self.target
            if not is_identifier(m.column, scene.profile) and not is_label(m.column)
        ]
        self.texts = [
            m
            for m in scene.free()
            if m.cell is None and (m.column.kind in ("text", "date") or is_label(m.column)) and m is not self.target
        ]
        self.extreme = _extreme(scene)
        self.aggregate = next((c for c in scene.cues if c.name in AGGREGATE_CUES and not _shadowed(c, scene)), None)

    @property
    def all(self) -> tuple[Condition, ...]:
        return tuple(self.filters)

    def measure(self, cue: Cue | None = None) -> Column | None:
        """The measure nearest after the cue; the first one without a cue; counted as used."""
        if not self.measures:
            return money(self.scene) if cue is not None else None
        pick = self.measures[0]
        if cue is not None:
            pick = min(
                self.measures, key=lambda m: m.start - cue.start if m.start >= cue.start else 3 + cue.start - m.end
            )
        self.scene.use(pick)
        return pick.column


def _shadowed(cue: Cue, scene: Scene) -> bool:
    """A cue whose words an exactly named column holds ("the total" in a table with the column total)."""
    places = set(range(cue.start, cue.end))
    return any(places <= m.places for m in scene.mentions if m.cell is None) or places <= scene.taken


def _groups(scene: Scene) -> list[Mention | Group]:
    """Columns that follow a word of grouping, and parts of dates."""
    found: list[Mention | Group] = []
    free = scene.free()
    for cue in scene.cues:
        if cue.name == "each":
            near = [
                m
                for m in free
                if m.cell is None
                and 0 <= m.start - cue.end <= 2
                and not scene.gap(cue.end, m.start)
                and _groupable(m.column)
                and not (m.column.kind == "number" and not is_label(m.column) and scene.has("top", "bottom"))
            ]
            if scene.has("top", "bottom") and any(c.name == "count" and c.start == cue.end for c in scene.cues):
                scene.take(range(cue.start, cue.end))
                scene.spent.update(id(m) for m in near)
                scene.take(i for m in near for i in m.places)
                continue  # "top 2 districts by number of incidents" counts rows
            if near and near[0].column.distinct >= 0.95 * scene.profile.rows and scene.has("mean"):
                scene.take(range(cue.start, cue.end))
                scene.use(near[0])
                continue  # "per order", where each row is one
            for mention in near[:1]:
                if mention not in found:
                    found.append(mention)
                    scene.take(range(cue.start, cue.end))
                    found += [m for m in free if m.cell is None and _joined(scene, mention, m) and _groupable(m.column)]
    if not any(isinstance(g, Mention) for g in found):
        found += _time_groups(scene)
    return found


def _years(scene: Scene, filters: list[Condition]) -> list[Mention | Group]:
    """Years that are named beside each other are told apart; "in 2022 and 2023" may as well mean both together."""
    found: list[Mention | Group] = [Group(c.column, "year") for c in filters if c.part == "year" and c.op == "in"]
    if found and not scene.has("than", "or", "howmuch", "trend"):
        scene.doubt("each year, or both together?", 0.75)
    for cue in scene.cues:
        if found and cue.name == "than":
            scene.take(range(cue.start, cue.end))
    return found


def _in_order(group: Mention | Group, scene: Scene, filters: list[Condition]) -> Mention | Group:
    """Months of several years come one after another; "in which month" asks for the month of any year."""
    if not isinstance(group, Group) or group.part != "month" or scene.has("which", "max", "min", "mode", "rare"):
        return group
    one_year = str(group.column.low)[:4] == str(group.column.high)[:4]
    cut = any(c.column == group.column for c in filters)
    return group if one_year or cut else Group(group.column, "year-month")


def _groupable(column: Column) -> bool:
    """Numbers with many values do not make groups: "по цене" is about the price, not by each price."""
    return (
        column.kind != "number"
        or column.distinct <= 50
        or (column.distinct <= 200 and column.distinct < 0.1 * column.rows)
    )


def _joined(scene: Scene, first: Mention, other: Mention) -> bool:
    between = [scene.tokens[i].text for i in range(first.end, other.start)]
    return other.start > first.start and between in (["and"], ["и"], [","], ["and", "by"], ["и", "по"])


def _time_groups(scene: Scene) -> list[Mention | Group]:
    for cue in scene.cues:
        part, places = TIME_PARTS.get(cue.name), set(range(cue.start, cue.end))
        if part is None or any(m.places & places and not m.places <= places for m in scene.mentions):
            continue  # "hourly rate" is a column, not a grouping by hours
        for same in scene.cues:
            if same.name == cue.name:
                scene.take(range(same.start, same.end))
        numeric = next(
            (
                m
                for m in scene.free()
                if m.cell is None and m.column.kind != "date" and set(range(cue.start, cue.end)) & m.places
            ),
            None,
        )
        if numeric is not None:
            return [numeric]
        said = [m for m in scene.free() if m.cell is None and m.column.kind == "date"]
        column = said[0].column if said else default_date(scene)
        if column is not None:
            for mention in said:
                if mention.column == column:
                    scene.use(mention)
            scene.take(range(cue.start, cue.end))
            return [Group(column, part)]
    return []


def group_list(slots: Slots) -> tuple[Group, ...]:
    """The groups as the query wants them; their mentions are counted as used."""
    return tuple(g if isinstance(g, Group) else Group(slots.scene.use(g).column) for g in slots.groups)


def _target(scene: Scene, groups: list[Mention | Group]) -> Mention | None:
    """What "which", "у какого", "name the" ask for: the column said right after."""
    for cue in scene.cues:
        if cue.name in ("which", "list", "each", "mode", "rare"):
            near = [
                m
                for m in scene.free()
                if m.cell is None
                and m not in groups
                and 0 <= m.start - cue.end <= 2
                and scene.gap(cue.end, m.start) <= 0
            ]
            near = [
                m
                for m in near
                if not any(
                    c.name in ("max", "min") and cue.end <= c.start < m.start and not c.end > m.start
                    for c in scene.cues
                )
            ]
            if cue.name == "each" or scene.tokens[cue.start].text in ("who", "whose", "кто"):
                near = []
            if near and _groupable(near[0].column):
                return near[0]
    when = scene.cue("when")
    if when is not None:
        said = (m for m in scene.free() if m.cell is None and set(range(when.start, when.end)) & m.places)
        return next(said, None) or _year_asked(scene, when)
    return None


def _year_asked(scene: Scene, when: Cue) -> Mention | None:
    """The column of years that "в каком году" asks for, however it is called."""
    places = frozenset(i for i in range(when.start, when.end) if scene.tokens[i].keys & {"год", "year"})
    years = [c for c in scene.profile.columns if c.kind == "number" and has_meaning(c, "year")]
    return Mention(years[0], None, places, 1.0) if places and len(years) == 1 else None


def _extreme(scene: Scene) -> tuple[Cue, str] | None:
    """The superlative of the question and its direction."""
    for cue in scene.cues:
        if cue.name not in ("max", "min") or set(range(cue.start, cue.end)) <= scene.taken or _shadowed(cue, scene):
            continue
        if scene.tokens[cue.end - 1].text in _COMPARATIVES:
            continue  # "do smokers give higher tips" asks for no extreme
        sign = 1 if cue.name == "max" else -1
        implied = next(
            (
                scene.measures[i][0]
                for i in range(cue.start, min(cue.end + 2, len(scene.tokens)))
                if i in scene.measures
            ),
            None,
        )
        if implied is not None and implied.sign < 0 and cue.name == "max":
            sign = -1
        scene.take(range(cue.start, cue.end))
        return cue, "desc" if sign > 0 else "asc"
    for i, (measure, length) in scene.measures.items():
        word = scene.tokens[i].text
        if i not in scene.taken and (
            word.endswith(("est", "ейший", "айший", "ейшая", "ейшие", "ейшего"))
            or (i and scene.tokens[i - 1].text in ("most", "least"))
        ):
            scene.take(range(i, i + length))
            return Cue("max" if measure.sign > 0 else "min", i, i + length), "desc" if measure.sign > 0 else "asc"
    return None


_COMPARATIVES = ("higher", "lower", "larger", "smaller", "bigger", "greater")


def implied_measure(slots: Slots) -> tuple[Column, str] | None:
    """The measure an adjective stands for, with the direction it asks for ("самый дорогой": price, desc)."""
    scene = slots.scene
    if slots.extreme is None:
        return None
    cue, _order = slots.extreme
    for i in range(cue.start, min(cue.end + 2, len(scene.tokens))):
        if i not in scene.measures:
            continue
        measure, length = scene.measures[i]
        column = None if measure.generic and (slots.measures or counts(slots)) else measured(scene, measure)
        if column is not None:
            scene.take(range(i, i + length))
            for mention in scene.free():
                if column.name in (mention.column.name, *mention.rivals) and mention.cell is None:
                    scene.use(mention, surely=True)
            sign = next(sign for meaning, sign in measure.concepts if has_meaning(column, meaning))
            if cue.name == "min" and cue.end <= i:
                sign = -sign
            return column, "desc" if sign > 0 else "asc"
    return None


def limit_of(slots: Slots) -> int:
    """How many of a top list: "top 5", "5 самых", "первые три"."""
    for number in slots.scene.numbers:
        between = [slots.scene.tokens[i].kind for i in range(number.start - 1, number.start)]
        ahead = any(
            number.start == c.end or (number.start == c.end + 1 and between == ["sign"])
            for c in slots.scene.cues
            if c.name in ("top", "bottom", "max", "min", "mode", "rare")
        )
        behind = any(
            0 <= c.start - number.end <= 1 for c in slots.scene.cues if c.name in ("max", "min", "mode", "rare")
        )
        behind = behind or any(0 <= i - number.end <= 1 for i in slots.scene.measures)
        behind = behind or (slots.extreme is not None and 0 < slots.extreme[0].start - number.end <= 4)
        if (
            (ahead or behind)
            and number.start not in slots.scene.taken
            and not number.ordinal
            and 1 <= number.value <= 1000
        ):
            slots.scene.take(range(number.start, number.end))
            return int(number.value)
    return 0


def counts(slots: Slots) -> bool:
    """Words for more and fewer of something countable: then a group is judged by its sum."""
    if slots.extreme is None:
        return False
    words = {slots.scene.tokens[i].text for i in range(slots.extreme[0].start, slots.extreme[0].end)}
    return not words.isdisjoint(
        {
            "most",
            "fewest",
            "least",
            "больше",
            "меньше",
            "number",
            "amount",
            "многочисленный",
            "самый",
            "наиболее",
            "наименее",
        }
    )


def count_having(slots: Slots) -> tuple[str, float] | None:
    """Groups with more than 200 rows."""
    scene = slots.scene
    for cue in scene.cues:
        op = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}.get(cue.name)
        number = next(
            (n for n in scene.numbers if op and 0 <= n.start - cue.end <= 1 and n.start not in scene.taken), None
        )
        if (
            op
            and number
            and _counted_noun(slots, number.end)
            and scene.tokens[cue.start].text not in ("after", "before", "since", "после", "до")
        ):
            scene.take(range(cue.start, number.end))
            return op, number.value
    return None


def _counted_noun(slots: Slots, i: int) -> bool:
    """Whether the word after a number is what rows are: "more than 200 freelancers", "at least 4 times"."""
    scene = slots.scene
    if i >= len(scene.tokens):
        return False
    token = scene.tokens[i]
    label = label_column(scene.profile)
    rows = token.keys & {"time", "row", "record", "entry", "раз", "строка", "запись"}
    linked = any(i in m.places for m in scene.mentions)
    return (
        bool(rows)
        or scene.names_row(token)
        or any(i in m.places and m.column == label for m in scene.mentions)
        or (not linked and not token.keys.isdisjoint(lexicon.person_words()))
    )


def leaves_one_row(slots: Slots) -> bool:
    """A filter that leaves (about) one row: what is asked of it is looked up, not averaged."""
    rows = slots.scene.profile.rows
    return any(
        c.op in ("=", "same") and not c.part and c.column.distinct > 0.7 * max(rows - c.column.missing, 1)
        for c in slots.filters
    )
