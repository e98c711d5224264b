"""From messages to examples: question, context, answer of the chosen speakers, and the dialogues they stand in.

The chat is read up to three times: into columns (no texts), for how alike its newest messages are where guesses are
to be made, and for the texts of what is kept. Memory depends on what is kept, which MOST_MESSAGES bounds.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop import stats
from tuneloop.collect import columns as reading
from tuneloop.collect import dialogues, language, likeness, links
from tuneloop.collect.columns import ELSEWHERE, FORWARD, LETTERS, Columns, Ints
from tuneloop.collect.dialogues import EDGES, Graph
from tuneloop.collect.links import Guesses
from tuneloop.errors import BadInput, Conflict, NotEnoughData
from tuneloop.progress import Progress, silent
from tuneloop.records import Dialogue, Example, Message, Turn
from tuneloop.settings import Settings
from tuneloop.texts import _
from tuneloop.workspace import Workspace

MOST_MESSAGES = 40_000  # texts held at once, about 50 MB; beyond it the oldest examples are left out and counted
MOST_SPEAKERS = 5
ASSUMED_TURN_TAKING = 0.9  # confidence of "they answer each other" where a chat has too few reply links to measure it

Read = Callable[[], Iterable[Message]]


@dataclass(frozen=True, slots=True)
class Built:
    """Examples in the order of their answers, raw: neither scrubbed nor cleaned.

    links: how answers were linked and how good the ranker was on hidden links. left_out: turns of the speakers that
    gave no example, by reason.
    """

    examples: list[Example]
    dialogues: list[Dialogue]
    links: dict[str, Any]
    speakers: list[str]
    left_out: dict[str, int] = field(default_factory=dict)


def build(workspace: Workspace, chat: str, speakers: Sequence[str] = (), watch: Progress = silent) -> Built:
    """Examples of a chat of the workspace for `speakers` (ids or display names; none: those who answer most).

    Raises NotEnoughData for a chat without messages, with one author only, or with nothing that links an answer to
    its question; BadInput for a speaker who is not in it.
    """
    from tuneloop.collect import store

    return pair(lambda: store.messages(workspace, chat), speakers, workspace.settings, watch)


def pair(read: Read, speakers: Sequence[str], settings: Settings, watch: Progress = silent) -> Built:
    """As `build`, from messages of one chat that `read` gives anew each time it is called."""
    watch(_("reading messages"), 0, None)
    columns = reading.read(read())
    _need_a_conversation(columns)
    recent, places = columns.newest(links.NEWEST)
    columns = columns.without_words()  # freed before the ranker needs its own memory
    guesses = None
    if not _two_people(columns) and links.teach(recent):
        recent = likeness.compared(recent, read())
        guesses = links.guess(recent, settings.number("collect.link_precision"), watch=watch)
    del recent
    graph = dialogues.graph(columns)
    chosen = _chosen(columns, graph, speakers)
    figures = _link(columns, graph, guesses, places, settings)
    whole = dialogues.join_siblings(columns, graph)
    answers, left_out = _answers(columns, graph, whole, chosen)
    parts = dialogues.components(graph)
    answers, skipped = _newest(columns, graph, parts, answers)
    if skipped:
        left_out["more than fits in memory"] = skipped
    ids, names = columns.ids, [columns.senders[code] for code in chosen]
    del columns
    _give_memory_back()
    made = _texts(read, ids, graph, whole, parts, answers, settings.integer("dataset.context_turns"), watch)
    figures["edges"] = dict(sorted(Counter(example.edge for example in made[0]).items()))
    return Built(made[0], made[1], figures, names, left_out)


def _need_a_conversation(columns: Columns) -> None:
    if not len(columns):
        raise NotEnoughData(
            _("this chat has no messages"),
            fix=_("Read its export first: tuneloop collect EXPORT."),
        )
    if len(columns.senders) < 2:
        raise NotEnoughData(
            _("only one person writes in this chat, so nobody answers anybody"),
            fix=_("Choose a group or a personal chat; a channel needs the export of its discussion group."),
        )


def _chosen(columns: Columns, graph: Graph, speakers: Sequence[str]) -> list[int]:
    """Sender numbers of the wanted speakers, or of those who answer most."""
    found = []
    for speaker in speakers:
        same = [n for n, sender in enumerate(columns.senders) if sender == speaker]
        same = same or [n for n, label in enumerate(columns.labels) if label.lower() == speaker.lower()]
        if len(same) != 1:
            said = _("several people here are called '{name}'") if same else _("nobody here is called '{name}'")
            raise BadInput(said.format(name=speaker), fix=_("Use an id from `tuneloop speakers`."))
        found.append(same[0])
    if found:
        return list(dict.fromkeys(found))
    linked = np.flatnonzero(graph.parent >= 0)
    others = linked[graph.sender[linked] != graph.sender[graph.parent[linked]]]
    people = others if len(others) else np.arange(len(graph))
    answers = np.bincount(graph.sender[people], minlength=len(columns.senders))
    ranked = [n for n in np.argsort(-answers, kind="stable").tolist() if not columns.labels[n].lower().endswith("bot")]
    most = answers[ranked[0]] if ranked else 0
    return [n for n in ranked[:MOST_SPEAKERS] if answers[n] * 2 >= most and answers[n]]


def _give_memory_back() -> None:
    """The C library keeps what was freed in small pieces (70 MB of 300 in a chat of a million) unless it is asked."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def _two_people(columns: Columns) -> bool:
    counts = np.sort(np.bincount(columns.sender))[::-1]
    return bool(counts[:2].sum() >= 0.99 * len(columns))


def _link(
    columns: Columns, graph: Graph, guesses: Guesses | None, places: NDArray[np.int64], settings: Settings
) -> dict[str, Any]:
    """Add to the reply links what the chat's shape or the ranker allow; returns the figures of it."""
    seconds = settings.number("collect.max_gap_hours") * 3600
    figures: dict[str, Any] = {"reply_links": int((columns.parent >= 0).sum())}
    if _two_people(columns):
        measured = _turn_taking_precision(graph)
        dialogues.add_turn_taking(columns, graph, seconds, ASSUMED_TURN_TAKING if measured is None else measured)
        return figures | {"method": "turn taking between two people", "precision": measured}
    if guesses is None:
        return figures | {"method": "reply links only", "why": f"fewer than {links.FEWEST_LINKS} reply links"}
    figures |= guesses.figures | {"method": "reply links and a ranker trained on them"}
    return figures | _guess(columns, graph, guesses, places, settings)


def _guess(
    columns: Columns, graph: Graph, guesses: Guesses, places: NDArray[np.int64], settings: Settings
) -> dict[str, Any]:
    """Use the guesses that are good enough; returns the threshold used and how good it was on the hidden links.

    A ranker that is no better than "the message before" is only believed where the lower end of its measured
    precision (Wilson, 95 %) reaches the wanted one.
    """
    wanted = settings.number("collect.link_precision")
    usable = dialogues.usable(columns, graph, guesses, places, settings.number("collect.max_gap_hours") * 3600)
    threshold = max(guesses.threshold, dialogues.surest(guesses.chance[usable], wanted))
    figures = _at(columns, guesses.tested, places, threshold)
    known = guesses.figures
    if known["f"] <= max(known["previous_f"], known["gap_f"]) and figures["precision_interval"][0] < wanted:
        why = "no better than taking the message before"
        return figures | {"threshold": None, "guessed": 0, "why": why}
    chosen = usable & (guesses.chance >= threshold)
    return figures | {"guessed": dialogues.add_guesses(graph, guesses, places, chosen)}


def _at(columns: Columns, tested: links.Answers, places: NDArray[np.int64], threshold: float) -> dict[str, Any]:
    """Precision and recall on the hidden links when only guesses from this chance on are used."""
    used = tested.chance >= threshold
    kept, right = int(used.sum()), int((tested.right & used).sum())
    burst = columns.burst
    turn = burst[places[tested.parent]] == burst[columns.parent[places[tested.rows]]]
    return {
        "threshold": threshold if kept else None,
        "precision_at_threshold": right / kept if kept else None,
        "precision_interval": list(stats.wilson(right, kept)),
        "turn_precision_at_threshold": float(turn[used].mean()) if kept else None,
        "recall_at_threshold": right / len(tested.rows),
    }


def _turn_taking_precision(graph: Graph) -> float | None:
    """How often an explicit link between the two leads to the turn just before; None under 30 links."""
    linked = np.flatnonzero(graph.parent >= 0)
    linked = linked[graph.sender[linked] != graph.sender[graph.parent[linked]]]
    return float((graph.parent[linked] == linked - 1).mean()) if len(linked) >= 30 else None


def _answers(
    columns: Columns, graph: Graph, whole: Ints, chosen: list[int]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Turns that answer somebody else's turn, and why the speakers' other turns do not count."""
    turns = np.flatnonzero(np.isin(graph.sender, chosen) & (whole == np.arange(len(graph))))
    parent = graph.parent[turns]
    words = np.bitwise_or.reduceat(columns.flags, graph.first)[turns] & LETTERS
    reasons = {
        "forwarded": (columns.flags[graph.first[turns]] & FORWARD) > 0,
        "no words": words == 0,
        "answers a message that is not here": (columns.flags[graph.first[turns]] & ELSEWHERE > 0) & (parent < 0),
        "answers nobody": parent < 0,
        "continues their own message": graph.sender[parent] == graph.sender[turns],
    }
    left = np.ones(len(turns), bool)
    counts = {}
    for reason, applies in reasons.items():
        counts[reason] = int((left & applies).sum())
        left &= ~applies
    return turns[left], {reason: n for reason, n in counts.items() if n}


def _newest(columns: Columns, graph: Graph, parts: Ints, answers: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Answers whose whole dialogues fit into MOST_MESSAGES, the newest dialogues first; and how many do not."""
    sizes = np.bincount(parts, weights=graph.last - graph.first + 1) if len(graph) else np.zeros(0)
    mine, latest = np.unique(parts[answers][::-1], return_index=True)
    newest = mine[np.argsort(latest, kind="stable")]
    fits = newest[np.cumsum(sizes[newest]) <= MOST_MESSAGES]
    kept = answers[np.isin(parts[answers], fits)]
    return kept, len(answers) - len(kept)


def _texts(
    read: Read,
    ids: NDArray[np.int64],
    graph: Graph,
    whole: Ints,
    parts: Ints,
    answers: NDArray[np.int64],
    context_turns: int,
    watch: Progress,
) -> tuple[list[Example], list[Dialogue]]:
    """Read the chat again and put the texts into examples and dialogues."""
    wanted = np.flatnonzero(np.isin(parts, np.unique(parts[answers])))
    members: dict[int, list[int]] = {}  # turn -> positions of its messages
    for turn in wanted.tolist():
        members.setdefault(int(whole[turn]), []).extend(range(graph.first[turn], graph.last[turn] + 1))
    position = {int(ids[at]): at for places in members.values() for at in places}
    kept: dict[int, Message] = {}
    for message in read():
        if (at := position.get(message.id)) is not None:
            kept[at] = message
    if len(kept) < len(position):
        raise Conflict(_("messages of this chat were removed while it was read"), fix=_("Run the same command again."))
    watch(_("writing examples"), 0, None)
    talks: dict[int, list[int]] = {}
    for turn in sorted(members):
        talks.setdefault(int(parts[turn]), []).append(turn)
    names = {
        part: f"{kept[int(graph.first[turns[0]])].chat}/{ids[graph.first[turns[0]]]}" for part, turns in talks.items()
    }
    made = [
        _example(graph, whole, members, kept, int(turn), names[int(parts[turn])], context_turns)
        for turn in answers.tolist()
    ]
    shown = [
        Dialogue(names[part], next(iter(kept.values())).chat, tuple(_turn(kept, members[turn]) for turn in turns))
        for part, turns in talks.items()
    ]
    return sorted(made, key=lambda e: (e.time, e.messages[-1])), shown


def _turn(kept: dict[int, Message], places: list[int]) -> Turn:
    first = kept[places[0]]
    ids = tuple(sorted(kept[at].id for at in places))
    return Turn(first.sender, first.name, _join(kept, places), ids, first.time)


def _join(kept: dict[int, Message], places: Iterable[int]) -> str:
    return "\n".join(text for at in places if (text := kept[at].text.strip()))


def _example(
    graph: Graph,
    whole: Ints,
    members: dict[int, list[int]],
    kept: dict[int, Message],
    turn: int,
    dialogue: str,
    context_turns: int,
) -> Example:
    """The answer, the turn it answers, and the turns above: of each only what was there when it was answered."""
    used = list(members[turn])
    first = kept[used[0]]
    above: list[tuple[str, str]] = []
    child = turn
    while len(above) <= context_turns and graph.parent[child] >= 0:
        until = int(graph.first[child])
        child = int(whole[graph.parent[child]])
        places = [at for at in members[child] if at < until]
        used += places
        above.append((kept[places[0]].sender, _join(kept, places)))
    evidence = tuple(sorted(kept[at].id for at in used))
    answer = _join(kept, members[turn])
    question = above[0][1]
    return Example(
        id=sha256(f"{first.chat} {' '.join(map(str, evidence))}".encode()).hexdigest()[:16],
        chat=first.chat,
        dialogue=dialogue,
        speaker=first.sender,
        question=question,
        answer=answer,
        context=tuple(
            ("assistant" if sender == first.sender else "user", text) for sender, text in above[:0:-1] if text
        ),
        messages=evidence,
        time=kept[members[turn][-1]].time,
        language=language.identify(answer if len(answer) >= len(question) else question),
        edge=EDGES[int(graph.kind[turn])],
        confidence=round(float(graph.confidence[turn]), 4),
    )
