"""A task's texts over a request: its own system text stays, a user's text is never a template, nothing is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.answer.tasks import last_user_text, prepared
from tuneloop.records import Task


def test_prepared_lays_system_and_prompt_over_the_request() -> None:
    task = Task("t", (), system="Be short.", prompt="Q: {text} / {text}")
    asked = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "second {text} {0} %s {task.system}"},
    ]
    before = copy.deepcopy(asked)
    assert prepared(task, asked) == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "a"},
        {
            "role": "user",
            "content": "Q: second {text} {0} %s {task.system} / second {text} {0} %s {task.system}",
        },
    ]
    assert asked == before


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_requests_own_system_text_stays(role: str) -> None:
    asked = [{"role": role, "content": "mine"}, {"role": "user", "content": "q"}]
    assert prepared(Task("t", (), system="theirs"), asked) == asked


def test_pictures_stay_and_texts_become_one() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [{"type": "text", "text": "what "}, picture, {"type": "text", "text": "is it?"}]
    assert prepared(Task("t", (), prompt="<{text}>"), [{"role": "user", "content": parts}]) == [
        {"role": "user", "content": [{"type": "text", "text": "<what is it?>"}, picture]}
    ]
    assert last_user_text([{"role": "user", "content": parts}, {"role": "tool", "content": "x"}]) == "what is it?"


def test_nothing_to_lay_over() -> None:
    assert prepared(Task("t", ()), [{"role": "user", "content": "q"}]) == [{"role": "user", "content": "q"}]
    assert prepared(Task("t", (), prompt="{text}"), [{"role": "assistant"}]) == [{"role": "assistant"}]
    assert last_user_text([]) == ""


CONTENT = (
    st.none() | st.text() | st.integers() | st.lists(st.dictionaries(st.sampled_from(["type", "text"]), st.text()))
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": CONTENT}
    )
)


@settings(max_examples=200, deadline=None)
@given(MESSAGES, st.text(), st.text())
def test_any_messages_are_prepared_and_none_is_changed(asked: list[dict[str, Any]], system: str, text: str) -> None:
    before = copy.deepcopy(asked)
    laid = prepared(Task("t", (), system=system, prompt=text + "{text}"), asked)
    assert asked == before
    assert len(laid) in (len(asked), len(asked) + 1)
    assert last_user_text(asked) in last_user_text(laid) or not any(m.get("role") == "user" for m in asked)
