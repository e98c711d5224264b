"""Read a question in Russian or English as one short SELECT over the table `t`, without a model, or abstain.

Phrases become slots, slots a query record, the record SQL. How sure: every guess on the way (a synonym of half a
column name, a mended typo, a figure not named) multiplies the sureness, and so does every word with a meaning that
nothing in the reading accounts for. Under `ANSWERS_FROM` there is no SQL: no answer is better than a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Profile
from tuneloop.ask.conditions import conditions
from tuneloop.ask.intents import decide
from tuneloop.ask.query import Query
from tuneloop.ask.scene import Scene, open_scene
from tuneloop.ask.sureness import unexplained, unmet
from tuneloop.ask.words import is_cyrillic
from tuneloop.texts import _

ANSWERS_FROM = 0.64  # under it 42 of 100 readings of WikiTableQuestions were right, above it 70
LONGEST = 500  # characters of a question; more is prose, not a question


@dataclass(frozen=True, slots=True)
class Reading:
    """How a question was understood. `sql` is None when it is refused or not understood, and `why` says so."""

    question: str
    sql: str | None
    sure: float
    why: str
    intent: str
    language: str
    query: Query | None = None
    notes: tuple[str, ...] = ()  # what was guessed
    unread: tuple[str, ...] = ()  # words that the reading leaves out


def read(question: str, profile: Profile) -> Reading:
    """The reading of one question against one table. Never raises on any text; runs in milliseconds."""
    language = "ru" if is_cyrillic(question) else "en"
    scene = open_scene(question[:LONGEST], profile)
    if _wants_change(scene):
        why = _("The table is only read here: nothing in it can be changed or deleted.")
        return Reading(question, None, 1.0, why, "refuse", language)
    found = decide(scene, conditions(scene))
    if found is None:
        return Reading(question, None, 0.0, can_answer(profile), "unknown", language)
    intent, query = found
    left = unexplained(scene, query)
    sure = prod(factor for _why, factor in scene.doubts) * prod(weight for _word, weight in left)
    sure *= unmet(scene, query)
    notes = tuple(why for why, _factor in scene.doubts)
    unread = tuple(word for word, weight in left if weight < 0.9)
    words = ", ".join(unread)
    if sure < ANSWERS_FROM:
        why = _("Nothing in the table was found for: {words}.").format(words=words) + " " if words else ""
        return Reading(question, None, sure, why + can_answer(profile), "unknown", language, query, notes, unread)
    why = _("read as {intent}").format(intent=intent)
    if notes:
        why += "; " + "; ".join(notes)
    if query.estimated:
        why += "; " + _("an estimate, mostly within 1 %: the table is long")
    if words:
        why += "; " + _("not in the table: {words}").format(words=words)
    return Reading(question, query.sql, round(sure, 3), why, intent, language, query, notes, unread)


def prepare(profile: Profile) -> None:
    """Read the word lists and index the table's words ahead of the first question (half a second, once)."""
    read("how many rows", profile)


def can_answer(profile: Profile) -> str:
    """What may be asked of this table, in one sentence."""
    numbers = [c.name for c in profile.columns if c.kind == "number"][:5]
    groups = [c.name for c in profile.columns if c.kind in ("text", "bool") and c.distinct <= 50][:5]
    return _("You can ask for counts, shares, means, tops and comparisons of: {numbers}; by: {groups}.").format(
        numbers=", ".join(numbers) or "-", groups=", ".join(groups) or "-"
    )


def _wants_change(scene: Scene) -> bool:
    """An order to change something: a verb of change at the beginning, or after "please" and the like."""
    cue = scene.cue("change")
    return cue is not None and all(lexicon.is_filler(scene.tokens[i]) for i in range(cue.start)) and cue.start <= 4


# Words after which a noun is a condition or a statement, and not what rows are.
