"""Pure functions of the records: the one form in which training, the parity check and serving show a chat."""

from __future__ import annotations

import unicodedata
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.records import Example, composed, folded


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        (["s:A", "u:B", "a:C"], ["u:A\n\nB", "a:C"]),
        (["u:B"], ["u:B"]),
        (["s:A", "s:B", "u:C"], ["u:A\n\nB\n\nC"]),
        (["u:B", "a:C", "s:A", "u:D"], ["u:B", "a:C", "u:A\n\nD"]),
        (["s:A"], ["u:A"]),
        (["s:A", "a:C"], ["u:A", "a:C"]),
        (["s:", "u:B"], ["u:B"]),
        (["d:A", "u:B"], ["u:A\n\nB"]),
        (["u:B", "a:C", "s:A"], ["u:B", "a:C", "u:A"]),
        ([], []),
    ],
)
def test_each_system_text_opens_the_user_message_after_it(given_: list[str], wanted: list[str]) -> None:
    roles = {"s": "system", "u": "user", "a": "assistant", "d": "developer"}

    def read(lines: list[str]) -> list[dict[str, Any]]:
        return [message(roles[line[0]], line[2:]) for line in lines]

    assert folded(read(given_)) == read(wanted)


def test_parts_of_a_message_stay_parts() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [picture, {"type": "text", "text": "Что это?"}]
    system = [{"type": "text", "text": "Отвечай"}, {"type": "text", "text": "кратко."}]
    assert folded([message("system", system), message("user", parts)]) == [
        message("user", [picture, {"type": "text", "text": "Отвечай\nкратко.\n\nЧто это?"}])
    ]
    assert folded([message("system", "A"), message("user", [picture])]) == [
        message("user", [{"type": "text", "text": "A"}, picture])
    ]
    assert folded([message("system", None), message("user", None)]) == [message("user", None)]


def test_other_keys_of_a_message_are_kept() -> None:
    chat = [message("system", "A"), {**message("user", "B"), "name": "x"}, {"role": "assistant", "tool_calls": []}]
    assert folded(chat) == [{"role": "user", "content": "A\n\nB", "name": "x"}, chat[2]]


contents = (
    st.none() | st.text(max_size=12) | st.lists(st.builds(lambda t: {"type": "text", "text": t}, st.text()), max_size=3)
)
chats = st.lists(
    st.builds(message, st.sampled_from(["system", "developer", "user", "assistant"]), contents), max_size=8
)


@given(chats)
def test_folding_loses_no_text_changes_no_argument_and_is_done_once(chat: list[dict[str, Any]]) -> None:
    before = deepcopy(chat)
    made = folded(chat)
    assert chat == before
    assert not any(m["role"] in ("system", "developer") for m in made)
    assert folded(made) == made
    if not any(m["role"] in ("system", "developer") for m in chat):
        assert made == chat
    whole = str(made)
    for m in chat:
        texts = m["content"] if isinstance(m["content"], list) else [{"text": m["content"] or ""}]
        assert all(repr(part["text"]).strip("'\"").strip("\\n") in whole for part in texts)


@given(chats)
def test_composing_normalises_every_text_and_nothing_else(chat: list[dict[str, Any]]) -> None:
    before = deepcopy(chat)
    made = composed(chat, "NFC")
    assert chat == before and [m["role"] for m in made] == [m["role"] for m in chat]
    for was, now in zip(chat, made, strict=True):
        if isinstance(was["content"], str):
            assert now["content"] == unicodedata.normalize("NFC", was["content"])
        elif isinstance(was["content"], list):
            assert [p["text"] for p in now["content"]] == [
                unicodedata.normalize("NFC", p["text"]) for p in was["content"]
            ]
        else:
            assert now == was


def test_composed_joins_letters_and_accents() -> None:
    assert composed([message("user", "и\u0306")], "NFC") == [message("user", "й")]


def test_an_example_folds_as_its_training_prompt_does() -> None:
    example = Example("1", "c", "c/1", "s", "вопрос", "ответ", context=(("user", "раньше"), ("assistant", "да")))
    assert folded(example.prompt("Кратко.")) == [
        message("user", "Кратко.\n\nраньше"),
        message("assistant", "да"),
        message("user", "вопрос"),
    ]
