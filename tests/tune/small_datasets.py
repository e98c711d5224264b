"""Dataset folders of the contract's shape, written in a moment: chats whose answers can be learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

THINGS = ("ключи", "сканер", "почта", "склад", "договор", "пропуск", "чайник", "принтер")
PLACES = ("у Марины", "в шкафу", "на полке", "внизу", "у охраны")


def chat(number: int, *, system: str = "Ты отвечаешь в чате.", turns: int = 1) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": system}] if system else []
    for turn in range(turns):
        thing, place = THINGS[(number + turn) % len(THINGS)], PLACES[(number * 3 + turn) % len(PLACES)]
        messages.append({"role": "user", "content": f"Где {thing}? Вопрос {number}." + " Подскажите." * (number % 4)})
        messages.append({"role": "assistant", "content": f"{thing.capitalize()} {place}."})
    return messages


def write(
    folder: Path, *, train: int = 24, validation: int = 6, rows: list[Any] | None = None, **chat_options: Any
) -> Path:
    """train.jsonl, validation.jsonl and card.json; `rows` replaces the training rows' messages."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "train": rows if rows is not None else [chat(i, **chat_options) for i in range(train)],
        "validation": [chat(1000 + i, **chat_options) for i in range(validation)],
    }
    for name, chats in parts.items():
        text = "".join(json.dumps({"messages": messages}, ensure_ascii=False) + "\n" for messages in chats)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    card = {"name": folder.name, "id": f"{folder.name}-{train}", "counts": {k: len(v) for k, v in parts.items()}}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder
