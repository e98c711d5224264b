"""When a count of rows is not what "how many" asks for: parts of a row, an amount, the number of a phone."""

from __future__ import annotations

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Column
from tuneloop.ask.comparisons import money
from tuneloop.ask.lexicon import Cue
from tuneloop.ask.scene import Scene, has_meaning
from tuneloop.ask.slots import Slots, leaves_one_row
from tuneloop.ask.words import is_mass, name_tokens, part_of_speech


def asked_unit(scene: Scene, i: int) -> Column | None:
    """The column whose unit "how many" asks for: «сколько тонн» is the column "Урожай, т"."""
    if i >= len(scene.tokens) or not (units := lexicon.units_of(scene.tokens[i])):
        return None
    if any(i in m.places for m in scene.mentions):
        return None
    numeric = [c for c in scene.profile.columns if c.kind == "number"]
    fits = [c for c in numeric if units & {c.unit.lower(), *(t.text for t in name_tokens(c.name))}]
    if len(fits) != 1:
        scene.doubt(f"{scene.tokens[i].raw}: ?", 0.3)
        return None
    scene.take([i])
    for mention in scene.free():
        if mention.column == fits[0]:
            scene.use(mention)
    scene.doubt(f"sum({fits[0].name})", 0.85)
    return fits[0]


def asked_money(scene: Scene, cue: Cue) -> Column | None:
    """«Сколько заплатили», «сколько налогов заплатили»: the sum of the money, where no rows are named after "сколько".

    «Сколько раз платили» counts rows.
    """
    i = cue.end
    while i < len(scene.tokens) and scene.tokens[i].keys & {"всего", "весь"}:
        i += 1
    if scene.tokens[cue.start].text != "сколько" or i >= len(scene.tokens) or _times(scene, cue):
        return None
    paying = not scene.tokens[i].keys.isdisjoint(lexicon.words("paying"))
    cell = any(m.cell is not None and i in m.places for m in scene.mentions)
    later = any(not t.keys.isdisjoint(lexicon.words("paying")) for t in scene.tokens[i + 1 : i + 3])
    return money(scene) if paying or (cell and later) else None


def _times(scene: Scene, cue: Cue) -> bool:
    return any(scene.tokens[i].text == "раз" for i in range(cue.start, min(cue.end + 1, len(scene.tokens))))


def doubt_count(slots: Slots, start: Cue) -> None:
    """Rows are rarely what is counted where a condition leaves one row, or where a column holds quantities."""
    scene = slots.scene
    if leaves_one_row(slots):
        scene.doubt("one row counted", 0.4)
    if any(
        c.op in ("like", "in") and not c.part and c.column.distinct > 0.7 * max(c.column.rows - c.column.missing, 1)
        for c in slots.filters
    ):
        scene.doubt("single rows counted", 0.6)
    if scene.tokens[start.start].text == "number" and start.start:
        before = scene.tokens[start.start - 1]
        if not lexicon.is_filler(before) and not any(c.start <= start.start - 1 < c.end for c in scene.cues):
            scene.doubt(f"{before.raw} number", 0.4)  # "the phone number of"
    if _asks_parts(scene, start):
        scene.doubt("parts of a row, not rows", 0.6)
    if _asks_amount(scene, start):
        scene.doubt("rows, not an amount", 0.5)
    if "total" in scene.words(range(start.start, start.end)) and any(
        has_meaning(c, "quantity") and c.kind == "number" for c in scene.profile.columns
    ):
        scene.doubt("rows, not a sum", 0.6)


def _asks_parts(scene: Scene, start: Cue) -> bool:
    """ "How many gears do these cars have": the noun is not what rows are, and no column holds it."""
    texts = [t.text for t in scene.tokens[start.end :] if t.kind == "word"]
    linked = any(start.end in m.places for m in scene.mentions)
    owner = start.end + 2
    if scene.tokens[start.start].text == "сколько" and len(scene.tokens) > owner and texts[1:2] == ["у"]:
        known = scene.names_row(scene.tokens[start.end])
        return not linked and not known and not any(m.cell is not None and owner in m.places for m in scene.mentions)
    return not linked and texts[1:2] in (["do"], ["does"], ["did"]) and texts[-1] in ("have", "had", "own", "contain")


def _asks_amount(scene: Scene, start: Cue) -> bool:
    """«Сколько воды», «сколько потрачено»: a noun in the singular, or a verb without any noun, asks for a sum."""
    if scene.tokens[start.start].text != "сколько":
        return False
    linked = {i for m in scene.mentions for i in m.places} | scene.taken
    rest = [i for i in range(start.end, len(scene.tokens)) if scene.tokens[i].kind == "word"]
    rest = [i for i in rest if not lexicon.is_filler(scene.tokens[i])]
    nouns = [i for i in rest if part_of_speech(scene.tokens[i].text) == "NOUN"]
    if rest and rest[0] not in linked and part_of_speech(scene.tokens[rest[0]].text) == "PRTS":
        return not any(scene.names_row(scene.tokens[i]) for i in nouns) and not any(i == rest[0] + 1 for i in nouns)
    columns = {i for m in scene.mentions if m.cell is None for i in m.places}
    cells = {i for m in scene.mentions if m.cell is not None for i in m.places}
    nouns = [i for i in nouns if i in cells or i not in scene.taken]
    first = nouns[0] if nouns and nouns[0] not in columns else None  # «сколько пшеницы» is no count of rows either
    turned = first is not None and any(scene.tokens[i].text in lexicon.words("turns") for i in range(start.end, first))
    return first is not None and first <= start.end + 2 and not turned and is_mass(scene.tokens[first].text)


def has_event(scene: Scene) -> bool:
    """Whether something happened: "books were borrowed" counts the times, "species live on Dream" the species."""
    for token in scene.tokens:
        if token.kind == "word" and token.text not in lexicon.words("auxiliaries"):
            past = token.text.endswith("ed") or token.text in lexicon.words("past")
            if past or part_of_speech(token.text) in ("VERB", "PRTS"):
                return True
    return False
