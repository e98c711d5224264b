"""Turns the hand-written exchanges in text/ into many different ChatML dialogues.

Why: a few hundred exchanges are far too little to teach a chat format (a few ten thousand tokens against
some millions from the books), and real chats must not be shipped. So every exchange is written with
alternatives ``[a|b]``, slots ``{thing}`` (``{thing.2}`` is the second grammatical form) and number ranges
``{2-9}``, and a seeded generator adds greetings, fillers, thanks, lower case, chat spelling, typos and emoji.
Forty thousand dialogues come out of about four hundred exchanges; the facts in them are only decoration.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

Message = dict[str, str]
Slots = dict[str, list[list[str]]]

TEXT = Path(__file__).parent / "text"
LANGUAGES = ("ru", "en")

_ALTERNATIVE = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"\{(\d+)-(\d+)\}")
_SLOT = re.compile(r"\{([a-z]+)(\d?)(?:\.(\d))?\}")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Exchange:
    """A short hand-written conversation: (question, answer) pairs, still with alternatives and slots."""

    topic: str
    turns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ChatText:
    """Everything the generator needs in one language."""

    lang: str
    exchanges: list[Exchange]
    slots: Slots
    phrases: dict[str, list[str]]
    spelling: dict[str, str]


def parse_exchanges(text: str) -> list[Exchange]:
    """Read the exchange format: ``# topic``, then ``> question`` / ``< answer`` lines, blank line between."""
    found: list[Exchange] = []
    topic = "other"
    questions: list[str] = []
    answers: list[str] = []
    for line in [*(raw.strip() for raw in text.splitlines()), ""]:
        if line.startswith("> "):
            questions.append(line[2:])
        elif line.startswith("< "):
            answers.append(line[2:])
        elif questions:
            if len(questions) != len(answers):
                raise ValueError(f"question without an answer in topic {topic}: {questions[-1]}")
            found.append(Exchange(topic, tuple(zip(questions, answers, strict=True))))
            questions, answers = [], []
        if line.startswith("# "):
            topic = line[2:]
    return found


def parse_table(text: str) -> dict[str, list[str]]:
    """Read ``name = a ~ b ~ c`` lines; a name may be given several times, ``#`` starts a comment line."""
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, values = line.partition("=")
            table.setdefault(name.strip(), []).extend(v.strip() for v in values.split("~") if v.strip())
    return table


def load_chat_text(lang: str, folder: Path = TEXT) -> ChatText:
    """Read exchanges_*.txt, slots_*.txt and phrases_*.txt of one language."""
    exchanges = parse_exchanges((folder / f"exchanges_{lang}.txt").read_text(encoding="utf-8"))
    slots = parse_table((folder / f"slots_{lang}.txt").read_text(encoding="utf-8"))
    phrases = parse_table((folder / f"phrases_{lang}.txt").read_text(encoding="utf-8"))
    pairs = [entry.split(":", 1) for entry in phrases.pop("spelling")]
    return ChatText(
        lang=lang,
        exchanges=exchanges,
        slots={name: [value.split("/") for value in values] for name, values in slots.items()},
        phrases=phrases,
        spelling={word.strip(): chat.strip() for word, chat in pairs},
    )


def expand(text: str, slots: Slots, bound: dict[str, list[str]], rng: random.Random) -> str:
    """Choose alternatives, numbers and slot values; a slot keeps its value through one conversation."""
    while (found := _ALTERNATIVE.search(text)) is not None:
        text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]
    text = _NUMBER.sub(lambda m: str(rng.randint(int(m[1]), int(m[2]))), text)

    def value(match: re.Match[str]) -> str:
        key = match[1] + match[2]
        if key not in bound:
            taken = [v[0] for k, v in bound.items() if k.startswith(match[1])]
            bound[key] = rng.choice([v for v in slots[match[1]] if v[0] not in taken])
        form = int(match[3] or 1) - 1
        return bound[key][min(form, len(bound[key]) - 1)]

    return _SLOT.sub(value, text)


def _typo(word: str, rng: random.Random) -> str:
    """Swap, drop or double one inner letter."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.random()
    if kind < 0.5:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.8:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


def casual(text: str, chat: ChatText, rng: random.Random, level: float) -> str:
    """Write the text as people type it: lower case, chat spelling, typos, no full stop, emoji."""
    if rng.random() < level:
        text = text[:1].lower() + text[1:]
    if rng.random() < level and text.endswith(".") and not text.endswith(".."):
        text = text[:-1]

    def spell(match: re.Match[str]) -> str:
        word = match[0]
        if word in chat.spelling and rng.random() < level * 0.5:
            return chat.spelling[word]
        if len(word) > 4 and rng.random() < level * 0.012:
            return _typo(word, rng)
        return word

    text = _WORD.sub(spell, text)
    if rng.random() < level * 0.4:
        emoji = rng.choice(chat.phrases["emoji"])
        text += emoji if emoji[0] in ")!" or rng.random() < 0.2 else f" {emoji}"
    return text


def _join(first: str, rest: str, rng: random.Random) -> str:
    """Put a greeting or a filler before a text, sometimes lowering the first letter that follows."""
    if first.endswith(",") or rng.random() < 0.3:
        rest = rest[:1].lower() + rest[1:]
    return f"{first} {rest}"


def _question(text: str, chat: ChatText, rng: random.Random, level: float, opens: bool) -> str:
    if opens and rng.random() < 0.4:
        text = _join(rng.choice(chat.phrases["hello"]), text, rng)
    if rng.random() < 0.12:
        text = f"{text} {rng.choice(chat.phrases['please'])}"
    return casual(text, chat, rng, level)


def _answer(text: str, chat: ChatText, rng: random.Random, level: float) -> str:
    if rng.random() < 0.2:
        text = _join(rng.choice(chat.phrases["filler"]), text, rng)
    if rng.random() < 0.15:
        text = f"{text} {rng.choice(chat.phrases['closing'])}"
    return casual(text, chat, rng, level)


def make_dialogue(chat: ChatText, rng: random.Random) -> list[Message]:
    """One dialogue: an optional system message, one to three exchanges of a topic, sometimes thanks."""
    messages: list[Message] = []
    if rng.random() < 0.25:
        messages.append({"role": "system", "content": rng.choice(chat.phrases["system"])})
    asker, helper = rng.choice((0.0, 0.4, 0.8, 1.0)), rng.choice((0.0, 0.3, 0.6, 0.9))
    first = rng.choice(chat.exchanges)
    picked = [first]
    same = [e for e in chat.exchanges if e.topic == first.topic and e is not first]
    while same and len(picked) < 3 and rng.random() < 0.3:
        picked.append(same.pop(rng.randrange(len(same))))
    opens = True
    for exchange in picked:
        bound: dict[str, list[str]] = {}
        for question, answer in exchange.turns:
            asked = _question(expand(question, chat.slots, bound, rng), chat, rng, asker, opens)
            told = _answer(expand(answer, chat.slots, bound, rng), chat, rng, helper)
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
            opens = False
    if rng.random() < 0.2:
        thanks = casual(rng.choice(chat.phrases["thanks"]), chat, rng, asker)
        reply = casual(rng.choice(chat.phrases["welcome"]), chat, rng, helper)
        messages += [{"role": "user", "content": thanks}, {"role": "assistant", "content": reply}]
    return messages


def make_dialogues(count: int, seed: int, folder: Path = TEXT) -> dict[str, list[list[Message]]]:
    """Make count dialogues, two thirds of them Russian."""
    rng = random.Random(seed)
    texts = {lang: load_chat_text(lang, folder) for lang in LANGUAGES}
    shares = {"ru": count * 2 // 3, "en": count - count * 2 // 3}
    return {lang: [make_dialogue(texts[lang], rng) for _ in range(shares[lang])] for lang in LANGUAGES}


def to_chatml(messages: list[Message]) -> str:
    """The text the chat template makes of the messages; the tests check that the two agree."""
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
