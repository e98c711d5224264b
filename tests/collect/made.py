"""Hand-written examples, dialogues and messages of a fictional repair workshop, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from tuneloop.collect.activity import Activity, look
from tuneloop.collect.examples import Built
from tuneloop.records import Chat, Dialogue, Example, Message, Turn

CHAT = Chat("tg:77", "telegram", "Мастерская «Шестерня»", "private_supergroup")
SPEAKER = "user1"
DAY = 86_400
START = 1_700_000_000

PARTS = ("цепь", "втулка", "каретка", "педаль", "тормоз", "спица", "покрышка", "руль", "седло", "звезда")
FAULTS = ("скрипит", "гремит", "люфтит", "проскакивает", "стучит", "заедает", "гнётся")
CURES = (
    "смажь густой смазкой",
    "подтяни ключом на восемь",
    "поменяй подшипник",
    "разбери и промой",
    "проверь соосность",
)
PLACES = ("на подъёме", "после дождя", "на морозе", "под нагрузкой", "на кочках", "в повороте", "на старте")


def example(number: int, *, dialogue: int | None = None, **changes: object) -> Example:
    """Example `number`: different words for each, one a day; two to a dialogue unless told."""
    part, fault = PARTS[number % 10], FAULTS[number % 7]
    cure, place = CURES[number % 5], PLACES[(number // 3) % 7]
    talk = number // 2 if dialogue is None else dialogue
    fields: dict[str, object] = {
        "id": f"{number:016x}",
        "chat": CHAT.id,
        "dialogue": f"{CHAT.id}/{talk}",
        "speaker": SPEAKER,
        "question": f"Подскажите, {part} номер {number} {fault} {place}, что делать?",
        "answer": f"Если {part} {fault} {place}, то {cure}, случай {number * 7919 % 10007}",
        "messages": (number * 10 + 1, number * 10 + 2),
        "time": START + number * DAY,
        "language": "ru",
    }
    return Example(**{**fields, **changes})  # type: ignore[arg-type]


def examples(n: int) -> list[Example]:
    return [example(i) for i in range(n)]


def built(found: Sequence[Example]) -> Built:
    """What pairing would return for these examples."""
    dialogues = []
    for name in dict.fromkeys(e.dialogue for e in found):
        turns: list[Turn] = []
        for e in found:
            if e.dialogue == name:
                turns.append(Turn("user2", "Мира Вольт", e.question, e.messages[:1], e.time - 60))
                turns.append(Turn(e.speaker, "Гаврила Шкив", e.answer, e.messages[1:], e.time))
        dialogues.append(Dialogue(name, CHAT.id, tuple(turns)))
    return Built(list(found), dialogues, {"method": "reply links only"}, [SPEAKER], {"answers nobody": 3})


def messages(found: Sequence[Example]) -> list[Message]:
    """The messages the examples were made of."""
    out = []
    for e in found:
        out.append(Message(CHAT.id, e.messages[0], e.time - 60, "user2", "Мира Вольт", e.question))
        out.append(Message(CHAT.id, e.messages[1], e.time, SPEAKER, "Гаврила Шкив", e.answer, reply_to=e.messages[0]))
    return out


def activity(found: Sequence[Example]) -> Activity:
    return look(messages(found), [SPEAKER])


ROSTER = {"user1": {"Гаврила Шкив"}, "user2": {"Мира Вольт"}}
