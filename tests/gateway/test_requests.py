"""Nothing but the allow-list reaches llama.cpp, and nothing unchecked does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tuneloop.gateway.requests import MAX_DEPTH, PASSED_ON, ChatRequest, FeedbackRequest, bounded

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
MAY_REACH = {
    "model",
    *PASSED_ON,
    "messages",
    "max_tokens",
    "seed",
    "tools",
    "tool_choice",
    "response_format",
    "stream",
    "stream_options",
    "timings_per_token",
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*sorted(ChatRequest.model_fields), "n_discard", "id_slot"]), anything, max_size=6)
)
@settings(max_examples=300, deadline=None)
def test_any_request_is_refused_or_becomes_a_clean_one(fields: dict[str, Any]) -> None:
    try:
        request = ChatRequest.model_validate(ASKED | fields)
    except ValidationError:
        return
    body = request.for_engine(512)
    assert set(body) <= MAY_REACH
    json.dumps(body, allow_nan=False).encode()
    assert 1 <= body["max_tokens"] <= 512
    assert 0 <= body.get("seed", 0) < 2**32 - 1
    assert 0 <= body.get("temperature", 0) <= 2
    json.dumps(request.stored(), allow_nan=False)


def test_dangerous_numbers_of_llama_cpp_are_dropped() -> None:
    """A negative n_discard wrote out of bounds (CVE-2026-21869); id_slot and n_probs are nobody's business."""
    extra = {"n_discard": -5, "n_keep": -1, "id_slot": 99, "n_probs": 10**9, "cache_prompt": False, "lora": []}
    assert set(ChatRequest.model_validate(ASKED | extra).for_engine(512)) == {"model", "messages", "max_tokens"}


@pytest.mark.parametrize(
    ("given_", "sent"),
    [({}, 512), ({"max_tokens": 5}, 5), ({"max_tokens": 9999}, 512), ({"max_completion_tokens": 7}, 7)],
)
def test_tokens_are_clamped_to_the_window(given_: dict[str, Any], sent: int) -> None:
    assert ChatRequest.model_validate(ASKED | given_).for_engine(512)["max_tokens"] == sent


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": "hi"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "root", "content": "x"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "assistant", "content": None}]},
        {"temperature": float("nan")},
        {"temperature": "0.5"},
        {"top_p": 1.01},
        {"top_k": -1},
        {"n": 0},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"seed": 2**64},
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {"1": 101}},
        {"logit_bias": {"²": 1}},
        {"logprobs": False, "top_logprobs": 2},
        {"tools": [{"type": "function", "function": {"name": "no spaces please"}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": float("inf")}}}]},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "xml"}},
        {"tool_choice": "maybe"},
        {"model": "m" * 257},
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChatRequest.model_validate(ASKED | fields)


def test_free_json_is_bounded_in_depth_and_size() -> None:
    nested: dict[str, Any] = {}
    for _n in range(MAX_DEPTH - 2):
        nested = {"a": nested}
    assert bounded(nested) == nested
    for _n in range(3):
        nested = {"a": [nested]}
    with pytest.raises(ValueError, match="deeper"):
        bounded(nested)
    with pytest.raises(ValueError, match="longer"):
        bounded({"a": "x" * 64_001})
    with pytest.raises(ValueError, match="JSON compliant"):
        bounded({"a": float("nan")})


def test_stored_request_is_what_the_client_said() -> None:
    said = ASKED | {"temperature": 0.5, "stream": True, "user": "anna", "unknown": 1}
    assert ChatRequest.model_validate(said).stored() == ASKED | {"temperature": 0.5, "stream": True, "user": "anna"}


def test_feedback_takes_numbers_and_texts() -> None:
    for value in ("up", 7, 7.5):
        assert FeedbackRequest.model_validate({"call": "c", "kind": "score", "value": value}).value == value
    for wrong in (None, [1], float("nan"), "x" * 20_001):
        with pytest.raises(ValidationError):
            FeedbackRequest.model_validate({"call": "c", "kind": "score", "value": wrong})
