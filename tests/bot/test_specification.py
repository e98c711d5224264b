"""What the bot sends, held against the published specification of the Bot API: names, required fields, types."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.bot.fake_telegram import Call, FakeTelegram, buttons
from tests.bot.running import ADMIN, ANN, copied, running
from tests.bot.test_clicks import results
from tests.conftest import shared_data


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    with zipfile.ZipFile(shared_data("api_specs.zip")) as archive:
        name = next(n for n in archive.namelist() if n.endswith("telegram/api.json"))
        found: dict[str, Any] = json.loads(archive.read(name))
    return found


def problems(call: Call, specification: dict[str, Any]) -> list[str]:
    """What is wrong with a request by the specification."""
    method = specification["methods"].get(call.method)
    if method is None:
        return [f"{call.method} is no method"]
    fields = {f["name"]: f for f in method.get("fields", [])}
    given = {**call.fields, **{name: "" for name in call.files if name in fields}}
    attached = {v.removeprefix("attach://") for v in _texts(call) if v.startswith("attach://")}
    found = [f"{call.method}.{name} is not known" for name in given if name not in fields]
    found += [f"{call.method}.{n} is missing" for n, f in fields.items() if f["required"] and n not in given]
    found += [f"{call.method}: file {name} is not referred to" for name in call.files if name not in attached]
    for name, value in call.fields.items():
        if name in fields and not any(_fits(value, kind, specification) for kind in fields[name]["types"]):
            found.append(f"{call.method}.{name} is no {fields[name]['types']}: {value[:80]}")
    return found


def _texts(call: Call) -> list[str]:
    media = call.json("media") if "media" in call.fields else []
    return [str(v) for v in call.fields.values()] + [str(m["media"]) for m in media]


def _fits(value: Any, kind: str, specification: dict[str, Any]) -> bool:
    if kind == "String":
        return isinstance(value, str)
    if kind == "InputFile":
        return str(value).startswith("attach://")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    if kind == "Integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "Boolean":
        return isinstance(value, bool)
    if kind.startswith("Array of "):
        inner = kind.removeprefix("Array of ").replace(" and ", ", ").split(", ")
        return isinstance(value, list) and all(any(_inside(v, i, specification) for i in inner) for v in value)
    return _inside(value, kind, specification)


def _inside(value: Any, kind: str, specification: dict[str, Any]) -> bool:
    known = specification["types"].get(kind)
    if known is None:
        return _fits(json.dumps(value) if not isinstance(value, str) else value, kind, specification)
    if subtypes := known.get("subtypes"):
        return any(_inside(value, inner, specification) for inner in subtypes)
    fields = {f["name"]: f for f in known.get("fields", [])}
    if not isinstance(value, dict):
        return False
    return set(value) <= set(fields) and all(n in value for n, f in fields.items() if f["required"])


def test_every_request_keeps_to_it(
    telegram: FakeTelegram, prepared: Path, tmp_path: Path, photo: bytes, specification: dict[str, Any]
) -> None:
    with running(copied(prepared, tmp_path / "polls", telegram)):
        shown = results(telegram, ANN, photo)
        telegram.presses(ANN, shown[0], buttons(shown[0])["✓ Right"])
        telegram.presses(ANN, shown[1], buttons(shown[1])["Point at the right product"])
        telegram.says(ANN, "ball")
        telegram.says_back("Which one")
        telegram.presses(ANN, shown[1], buttons(shown[1])["Add product"])
        for word in ("Ball", "-", "5"):
            telegram.says(ANN, word)
        telegram.says_back("an admin will look")
        for text in ("/my_data", "/forget_me", "/help"):
            telegram.says(ANN, text)
        for text in ("/admin_view_examples", "/admin_new_products", "/admin_start_training", "/admin_training_stats"):
            telegram.says(ADMIN, text)
        telegram.says_back("Products: ", ADMIN)
        telegram.says_back("19 more", ADMIN)
        asked = next(m for m in telegram.shown(ADMIN) if "Approve" in buttons(m))
        telegram.presses(ADMIN, asked, buttons(asked)["Approve"])
        telegram.says_back("In the catalogue")
    hook = copied(prepared, tmp_path / "hook", telegram, webhook_url="https://shop.example", webhook_port=0)
    with running(hook):
        pass
    assert {c.method for c in telegram.calls} >= {
        *("getMe", "getUpdates", "sendMessage", "sendPhoto", "sendMediaGroup", "sendDocument", "getFile"),
        *("editMessageText", "editMessageCaption", "editMessageReplyMarkup", "answerCallbackQuery"),
        *("setWebhook", "deleteWebhook", "setMyCommands"),
    }
    assert [p for call in telegram.calls for p in problems(call, specification)] == []


def test_the_check_sees_what_is_wrong(specification: dict[str, Any]) -> None:
    wrong = [
        Call("sendNothing", {}),
        Call("sendMessage", {"chat_id": "1"}),
        Call("sendMessage", {"chat_id": "1", "text": "x", "colour": "red"}),
        Call("sendMessage", {"chat_id": "1", "text": "x", "reply_markup": "no json"}),
        Call("sendMessage", {"chat_id": "1", "text": "x", "message_thread_id": "seven"}),
        Call("sendPhoto", {"chat_id": "1", "photo": "f"}, {"stray": b""}),
        Call("setMyCommands", {"commands": '[{"command": "x"}]'}),
    ]
    assert all(problems(call, specification) for call in wrong)
    assert not problems(Call("sendMessage", {"chat_id": "1", "text": "x"}), specification)
