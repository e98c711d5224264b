"""Invented chats for tests of pairing: who answers whom is known because the code that writes them decides it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from tuneloop.records import Message

CHAT = "tg:1"
SUBJECTS = [[f"{stem}{n}" for n in range(25)] for stem in ("насос", "клапан", "фильтр", "ротор", "датчик", "кабель")]


def said(number: int, sender: str, text: str, *, time: int | None = None, **more: object) -> Message:
    """Message `number` of `sender`, ten minutes after the one before unless told."""
    when = number * 600 if time is None else time
    return Message(CHAT, number, when, sender, f"Имя {sender}", text, **more)  # type: ignore[arg-type]


def busy_group(messages: int, *, linked: float = 0.5, seed: int = 0) -> tuple[list[Message], dict[int, int]]:
    """Three conversations at a time, each of two people and with its own words; `linked` of the replies have a link.

    Returns the messages and the true parent of every reply.
    """
    chance = random.Random(seed)
    people = [f"user{n}" for n in range(12)]
    talks: list[tuple[list[str], list[str], list[int]]] = []
    made: list[Message] = []
    parents: dict[int, int] = {}
    clock = 1_600_000_000
    for number in range(1, messages + 1):
        if len(talks) < 3 or chance.random() < 0.05:
            talks = [*talks[-2:], (chance.sample(people, 2), chance.choice(SUBJECTS), [])]
        pair, words, ids = chance.choice(talks)
        clock += chance.randint(20, 200)
        text = " ".join(chance.sample(words, 4)) + ("?" if len(ids) % 2 == 0 else "")
        parent = ids[-1] if ids else None
        if parent is not None:
            parents[number] = parent
        link = parent if parent is not None and chance.random() < linked else None
        made.append(said(number, pair[len(ids) % 2], text, time=clock, reply_to=link))
        ids.append(number)
    return made, parents


def two_people(lines: Sequence[tuple[str, str, int]]) -> list[Message]:
    """(sender, text, seconds since the line before) of a personal chat."""
    clock, made = 1_600_000_000, []
    for number, (sender, text, pause) in enumerate(lines, 1):
        clock += pause
        made.append(said(number, sender, text, time=clock))
    return made


@st.composite
def any_chats(draw: st.DrawFn) -> list[Message]:
    """Chats of any shape: few people, odd times, links to anything, forwards, stickers, topics, negative ids."""
    count = draw(st.integers(2, 40))
    ids = draw(st.lists(st.integers(-50, 200), min_size=count, max_size=count, unique=True))
    clock, made = 0, []
    for number in sorted(ids):
        clock += draw(st.sampled_from([0, 1, 30, 299, 301, 4000, 90_000]))
        made.append(
            Message(
                chat=CHAT,
                id=number,
                time=clock,
                sender=draw(st.sampled_from(["a", "b", "c"])),
                name=draw(st.sampled_from(["", "Аня", "Борис"])),
                text=draw(
                    st.sampled_from(["", "Как быть?", "Вот так", "спасибо", "👍", "всем привет", "a\nb", "\ud83d"])
                ),
                kind=draw(st.sampled_from(["text", "text", "sticker", "photo"])),
                reply_to=draw(st.one_of(st.none(), st.sampled_from(ids), st.integers(-60, 210))),
                topic=draw(st.sampled_from([None, None, 7])),
                forwarded=draw(st.sampled_from([None, None, None, "Некто"])),
            )
        )
    return made
