"""What was understood of one question so far: tokens, cues, numbers, links, and which words are accounted for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from tuneloop.ask import dates, lexicon, linking, numbers
from tuneloop.ask.columns import Column, Profile
from tuneloop.ask.lexicon import Cue, Measure
from tuneloop.ask.linking import Mention
from tuneloop.ask.typos import corrected
from tuneloop.ask.words import Token, is_plural, name_tokens, part_of_speech, tokens

# Cues whose word may as well be a column or a cell ("total", "average", "first"): a link must be exact to win.
STRONG = {
    "count", "share", "mean", "median", "sum", "max", "min", "mode", "rare", "gt", "ge", "lt", "le", "between",
    "each", "others", "howmuch", "distribution", "correlation", "trend", "percentile", "no", "distinct", "missing",
    "which", "when", "list", "top", "bottom", "half", "among", "than",
}  # fmt: skip


@dataclass
class Scene:
    """One question against one table. `doubt` holds a reason and a factor below 1 for each thing that was guessed."""

    profile: Profile
    tokens: list[Token]
    cues: list[Cue]
    numbers: list[numbers.Number]
    spans: list[dates.Span]
    mentions: list[Mention]
    measures: dict[int, tuple[Measure, int]]
    opposites: list[Cue]
    taken: set[int] = field(default_factory=set)  # tokens that are accounted for
    candidates: list[Mention] = field(default_factory=list)  # every link before one was chosen at each place
    spent: set[int] = field(default_factory=set)  # mentions (by position in `mentions`) already used
    doubts: list[tuple[str, float]] = field(default_factory=list)

    def take(self, places: Iterable[int]) -> None:
        self.taken.update(places)

    def doubt(self, why: str, factor: float) -> None:
        self.doubts.append((why, factor))

    def cue(self, *names: str) -> Cue | None:
        """The first cue of one of these meanings."""
        return next((c for c in self.cues if c.name in names), None)

    def has(self, *names: str) -> bool:
        return self.cue(*names) is not None

    def use(self, mention: Mention, *, surely: bool = False) -> Mention:
        """Count a mention as used, its words as accounted for, and its weakness as doubt unless the context is sure."""
        self.spent.add(id(mention))
        self.take(mention.places)
        if surely:
            return mention
        if mention.score < 0.85:
            factor = 0.96 if mention.score >= 0.7 else 0.9 if mention.score >= 0.45 else 0.8
            self.doubt(f"{self.words(mention.places)} = {mention.cell or mention.column.name}", factor)
        if mention.rivals:
            self.doubt(f"{self.words(mention.places)}: {', '.join((mention.column.name, *mention.rivals))}", 0.6)
        return mention

    def free(self) -> list[Mention]:
        """Mentions not used yet, from left to right."""
        return sorted((m for m in self.mentions if id(m) not in self.spent), key=lambda m: m.start)

    def words(self, places: Iterable[int]) -> str:
        return " ".join(self.tokens[i].raw for i in sorted(places))

    @cached_property
    def entity(self) -> frozenset[str]:
        """Words for what a row is: of the identifier column and of the table's name."""
        found = {key for t in name_tokens(self.profile.table) for key in t.keys if len(t.text) > 2}
        for column in self.profile.columns:
            if is_identifier(column, self.profile):
                found |= {
                    key for t in name_tokens(column.name) if t.text not in ("id", "no", "num", "uid") for key in t.keys
                }
        found |= row_nouns(self.profile)
        meanings = [m for t in map(_single, found) for m in lexicon.concepts([t])[0]]
        return frozenset(found | {w for m in meanings for w in lexicon.lexicon_words(m)})

    def names_row(self, token: Token) -> bool:
        """Whether a word says what a row is: "freelancers" in a table with the column Freelancer_ID."""
        return not token.keys.isdisjoint(self.entity) or any(linking.same_word(token, key) for key in self.entity)

    def gap(self, first: int, last: int) -> int:
        """Words with meaning between tokens first (included) and last (excluded)."""
        return sum(not lexicon.is_filler(self.tokens[i]) for i in range(first, last))


def _single(word: str) -> Token:
    return (tokens(word) or (Token(word, word, "word", frozenset((word,))),))[0]


def open_scene(question: str, profile: Profile) -> Scene:
    """Find everything a question may name, and decide where two readings of the same words compete."""
    found = list(tokens(question))
    mentions = linking.links(found, profile)
    taken = frozenset(i for m in mentions for i in m.places) | {
        i for c in lexicon.cues(found) for i in range(c.start, c.end)
    }
    mended = corrected(found, profile, taken)
    changed = [i for i, (a, b) in enumerate(zip(found, mended, strict=True)) if a is not b]
    if changed:
        found, mentions = mended, linking.links(mended, profile)
    cues = lexicon.cues(found)
    scene = Scene(
        profile,
        found,
        cues,
        numbers.numbers(found),
        dates.spans(found),
        [],
        lexicon.measures(found),
        lexicon.opposites(found),
    )
    scene.candidates = [m for m in mentions if not _is_entity(m, scene)]
    scene.mentions = chosen(scene.candidates, scene)
    for i in changed:
        scene.doubt(f"{found[i].raw} = {found[i].text}", 0.9)
    return scene


def chosen(mentions: list[Mention], scene: Scene) -> list[Mention]:
    """Of mentions that share words the best one, with its rivals named; columns a cue stands for are left out."""
    strong = {i for c in scene.cues if c.name in STRONG for i in range(c.start, c.end)}
    candidates = [m for m in mentions if not _is_cue(m, strong, scene) and not _is_row_noun(m, scene)]
    named = {i for m in candidates if m.cell is None for i in m.places}
    candidates = [m for m in candidates if m.cell is None or m.column.distinct > 1 or not m.places & named]
    columns = {i for m in candidates if m.cell is None for i in m.places}
    candidates = [m for m in candidates if m.whole or not m.places & (columns | strong | scene.measures.keys())]
    exact = {m.places for m in candidates if m.cell is None and m.score >= 0.85 and not m.missed}
    candidates = [
        m
        for m in candidates
        if m.cell is None or m.places not in exact or m.column.distinct <= 50 or _is_proper(m, scene)
    ]
    candidates = [m for m in candidates if not _is_head(m, candidates, scene)]
    candidates.sort(key=lambda m: (-_rank(m), m.missed, is_identifier(m.column, scene.profile), m.column.distinct))
    kept: list[Mention] = []
    for mention in candidates:
        clash = next((k for k in kept if not k.places.isdisjoint(mention.places)), None)
        if clash is None:
            kept.append(mention)
    return [_with_rivals(m, candidates, scene) for m in kept]


def _is_cue(mention: Mention, strong: set[int], scene: Scene) -> bool:
    if not mention.places <= strong:
        return False
    if mention.cell is not None:
        beside = {scene.tokens[i].text for i in (mention.start - 1, mention.end) if 0 <= i < len(scene.tokens)}
        ordinal = not {k for i in mention.places for k in scene.tokens[i].keys}.isdisjoint(numbers.ORDINALS)
        named = ordinal and any(_says(mention.column, word) for word in beside)
        return not named and (mention.score < 1 or not mention.whole or len(mention.places) == 1)
    return mention.score < 1 or any(
        t.text in ("по", "by", "top", "first", "last", "in", "of") for t in (scene.tokens[i] for i in mention.places)
    )


def _is_row_noun(mention: Mention, scene: Scene) -> bool:
    """A word that columns of different kinds share, said alone: "visits" beside "first visit" and "date of visit"."""
    if mention.cell is not None or len(mention.places) > 1 or not mention.missed or mention.score > 0.5:
        return False
    return not scene.tokens[mention.start].keys.isdisjoint(row_nouns(scene.profile))


def _is_entity(mention: Mention, scene: Scene) -> bool:
    """A cell that is also the word for a row ("Freelancer" among platforms, in a table of freelancers)."""
    if mention.cell is None or not all(scene.names_row(t) for t in tokens(mention.cell) if t.kind == "word"):
        return False
    return not _is_proper(mention, scene)


def _is_proper(mention: Mention, scene: Scene) -> bool:
    """Quoted, or capitalised elsewhere than at the beginning: the name of something."""
    words = [scene.tokens[i] for i in mention.places]
    return mention.start > 0 and all(t.kind == "quote" or t.raw[:1].isupper() for t in words)


def _says(column: Column, word: str) -> bool:
    """Whether a word names this column."""
    return any(m.column == column for m in linking.columns_named(_single(word), column))


def _is_head(mention: Mention, candidates: list[Mention], scene: Scene) -> bool:
    """A general noun before the measure it belongs to: "размер чаевых" is the tip, not the column size."""
    if (
        mention.cell is not None
        or len(mention.places) != 1
        or scene.tokens[mention.start].keys.isdisjoint(lexicon.words("heads"))
    ):
        return False
    return any(
        m.cell is None and m.column != mention.column and m.column.kind == "number" and 0 <= m.start - mention.end <= 2
        and not scene.gap(mention.end, m.start) and not m.places & mention.places
        for m in candidates
    )  # fmt: skip


def _rank(mention: Mention) -> float:
    """More words first, then stronger ones; a whole cell beats a column that fits less well."""
    cell = 0.05 if mention.cell is not None and mention.whole else 0.0
    day = 0.05 if mention.column.kind == "date" else 0.0  # "orders" are rows before they are ordered_at
    return len(mention.places) * (0.4 + 0.6 * mention.score) + cell - day - 0.02 * mention.missed


def _with_rivals(mention: Mention, candidates: list[Mention], scene: Scene) -> Mention:
    """Name the other columns that fit as well, unless another word of the question decides between them."""
    rivals = [
        c
        for c in candidates
        if c.column != mention.column
        and (c.cell is None) == (mention.cell is None)
        and c.places >= mention.places
        and c.score > mention.score - 0.05
        and c.missed <= mention.missed
        and (is_identifier(mention.column, scene.profile) or not is_identifier(c.column, scene.profile))
        and not (is_identifier(mention.column, scene.profile) and c.column.kind == "date")
    ]
    if not rivals:
        return mention
    if is_flag(mention.column) and all(is_flag(r.column) for r in rivals):
        return mention  # survived and alive say the same
    if any(t.text in ("who", "кто") for t in scene.tokens) and mention.cell is None:
        names = [r for r in (mention, *rivals) if r.column.kind == "text" and has_meaning(r.column, "name")]
        if len(names) == 1:
            return replace(names[0], rivals=())
    if mention.cell is not None:
        supports = [_support(r, scene) for r in (mention, *rivals)]
        # "in the state new york" against "cities in ...": of two that are supported alike, the one said right before.
        weights = [(len(s), mention.start - 1 in s) for s in supports]
        if max(weights)[0] and weights.count(max(weights)) == 1:
            pick = (mention, *rivals)[weights.index(max(weights))]
            scene.take(_support(pick, scene))
            return replace(pick, rivals=())
        if any(_same_cell(mention, r) and mention.column.distinct <= 3 for r in rivals):
            return mention
    return replace(mention, rivals=tuple(dict.fromkeys(r.column.name for r in rivals)))


def _same_cell(a: Mention, b: Mention) -> bool:
    return a.column.distinct < b.column.distinct


def _support(mention: Mention, scene: Scene) -> set[int]:
    """Words near a cell that name its column: "началось в Бруклине" is the borough of the pickup."""
    near = range(max(mention.start - 5, 0), min(mention.end + 4, len(scene.tokens)))
    places = [
        i
        for i in near
        if i not in mention.places and scene.tokens[i].kind == "word" and not lexicon.is_filler(scene.tokens[i])
    ]
    return {i for i in places if linking.columns_named(scene.tokens[i], mention.column)}


def is_identifier(column: Column, profile: Profile) -> bool:
    """A column that numbers the rows: named so, and different in (nearly) every one."""
    words = [t.text for t in name_tokens(column.name)]
    if len(words) > 1 and words[-1] in ("id", "num", "no", "uid"):
        return True  # also where it is another table's number: it is never a measure
    if not (_is_whole(column.low) and _is_whole(column.high)):
        return False  # "price index" has fractions
    if _is_consecutive(column, profile):
        return True
    named = bool({*words} & {"id", "no", "index", "uid", "guid", "номер", "ид"}) or column.name.lower().endswith("id")
    return named and column.distinct >= 0.95 * max(profile.rows, 1)


def _is_consecutive(column: Column, profile: Profile) -> bool:
    """A column "booking" with 5001, 5002 ... in every row of a longer table; years and ranks are no identifiers."""
    if column.kind != "number" or profile.rows < 50 or column.missing or column.distinct < profile.rows:
        return False
    if not (isinstance(column.low, float) and isinstance(column.high, float)) or is_plural(column.name.lower()):
        return False
    ordered = any(has_meaning(column, meaning) for meaning in ("year", "rank", "position", "day", "week", "age"))
    return column.high - column.low < 1.05 * profile.rows and not ordered


def _is_whole(value: object) -> bool:
    return not isinstance(value, float) or value == int(value)


# Concepts whose numbers are names of things: "apartment 12". In the plural ("rooms") they count the things.
_NUMBERED = ("house", "room", "building", "floor", "route", "flight", "class", "code", "number", "store", "branch")


@lru_cache(maxsize=1024)
def is_label(column: Column) -> bool:
    """A column of whole numbers that are names, with rows repeating them: they make groups and are never added up."""
    if column.kind != "number" or is_flag(column) or not (_is_whole(column.low) and _is_whole(column.high)):
        return False
    words = [t for t in name_tokens(column.name) if t.kind == "word"]
    if len(words) != 1 or words[0].text in ("number", "no", "num", "номер") or is_plural(words[0].text):
        return False
    return column.distinct < 0.5 * max(column.rows - column.missing, 1) and any(
        has_meaning(column, meaning) for meaning in _NUMBERED
    )


@lru_cache(maxsize=8)
def row_nouns(profile: Profile) -> frozenset[str]:
    """Words in the names of columns of different kinds, none of which they name alone: what the rows are about.

    None where a column numbers the rows, as that one's name says what they are.
    """
    kinds: dict[str, set[str]] = {}
    alone: set[str] = set()
    if any(is_identifier(column, profile) for column in profile.columns):
        return frozenset()
    for column in profile.columns:
        said = [t for t in name_tokens(column.name) if t.kind == "word"]
        words = [t for t in said if len(t.text) > 2 and t.text not in lexicon.words("units")]
        for token in words:
            for key in token.keys:
                kinds.setdefault(key, set()).add("flag" if is_flag(column) else column.kind)
        if len(words) == 1 or any(has_meaning(column, m) for m in ("name", "id")):
            alone |= {key for t in words for key in t.keys}
    day = next((c for c in profile.columns if c.kind == "date"), None)
    said = [t for t in name_tokens(day.name) if t.kind == "word" and part_of_speech(t.text) == "NOUN"] if day else []
    dated = {key for t in said if not t.keys & {"дата", "день", "время"} for key in t.keys}  # «Дата операции»
    return frozenset({key for key, found in kinds.items() if len(found) > 1 and key not in alone} | (dated - alone))


def is_flag(column: Column) -> bool:
    """Yes or no in any writing: booleans, 0 and 1, "yes" and "no"."""
    if column.kind == "bool":
        return True
    if column.kind == "number":
        return column.distinct == 2 and column.low == 0 and column.high == 1
    return 0 < len(column.values) <= 2 and all(v.lower() in lexicon.words("flags") for v in column.values)


def flag_value(column: Column, so: bool) -> float | str | bool:
    """How this column writes yes (or no)."""
    if column.kind == "bool":
        return so
    if column.kind == "number":
        return 1.0 if so else 0.0
    yes = ("yes", "true", "y", "t", "да", "1", "истина", "есть")
    return next((v for v in column.values if (v.lower() in yes) == so), "yes" if so else "no")


def has_meaning(column: Column, meaning: str) -> bool:
    """Whether a column's name carries this concept."""
    if meaning == "age" and any(t.text in ("год", "year") for t in name_tokens(column.name)):
        return False  # «лет» is a form of «год», and a year of building is no age
    return any(meaning in meanings for meanings in lexicon.concepts(list(name_tokens(column.name))))


def averaged(column: Column) -> bool:
    """Whether the figure of many rows of this column is their mean: of prices, ages and ratings, not of amounts."""
    return any(has_meaning(column, meaning) for meaning in lexicon.words("averaged"))


def is_paper(column: Column) -> bool:
    """Amounts that stand on a paper each, so that "bills" may as well mean the papers."""
    return any(has_meaning(column, meaning) for meaning in ("bill", "charge", "payment", "fee", "fare"))


def label_column(profile: Profile) -> Column | None:
    """The text column that tells rows apart: a name where there is one, else the most different one."""
    texts = [
        c
        for c in profile.columns
        if c.kind == "text" and c.distinct > 0.5 * max(profile.rows - c.missing, 1) and not is_identifier(c, profile)
    ]
    named = [c for c in texts if has_meaning(c, "name") or has_meaning(c, "title")]
    if named:
        return named[0]
    if texts:
        return texts[0]
    return next((c for c in profile.columns if is_identifier(c, profile)), None)
