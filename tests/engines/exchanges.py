"""Exchanges written by hand after the published documentation of OpenAI's and Ollama's APIs: who says exactly what.

`asked` is the client's request (its model is the task "t"); `sent` what the engine must get; `reply` what the engine
answers, a list being the events of a stream; `told` what the client must get, ids and times aside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HIVE = {
    "type": "function",
    "function": {
        "name": "weigh_hive",
        "description": "Kilograms of a hive.",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
    },
}
SCHEMA = {"type": "object", "properties": {"kilograms": {"type": "number"}}, "required": ["kilograms"]}
USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
CALL = {"id": "call_0", "type": "function", "function": {"name": "weigh_hive", "arguments": '{"number": 7}'}}
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Сколько весит улей 7?"}]
ANSWERED = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_0", "content": "31.5"}]  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    name: str
    asked: dict[str, Any]
    sent: dict[str, Any]
    reply: Any
    told: Any
    path: str = "/chat/completions"
    theirs: str = ""  # the engine's path; "" as the client's


def _completion(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    whole = {"role": "assistant", "content": None, "refusal": None} | message
    choice = {"index": 0, "message": whole, "finish_reason": finish, "logprobs": None}
    return {"object": "chat.completion", "model": "bees-1", "choices": [choice], "usage": USAGE} | more


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "bees-1", "choices": [choice]}


KNOWN = {"id": "chatcmpl-theirs", "created": 1760000000}
WORDS = [_chunk({"role": "assistant", "content": ""}), _chunk({"content": "31,5"}), _chunk({"content": " кг"}),
         _chunk({}, "stop")]  # fmt: skip
TOLD_USAGE = {"object": "chat.completion.chunk", "model": "bees-1", "choices": [], "usage": USAGE}

OPENAI = (
    Exchange(
        "words",
        {"messages": QUESTION, "temperature": 0.2, "seed": 3, "user": "anna", "metadata": {"shop": "north"}},
        {"messages": QUESTION, "temperature": 0.2, "seed": 3, "user": "anna", "model": "bees-1", "top_p": 0.9},
        _completion({"content": "31,5 кг"}, service_tier="default", **KNOWN),
        _completion({"content": "31,5 кг"}, service_tier="default"),
    ),
    Exchange(
        "a tool is called",
        {"messages": QUESTION, "tools": [HIVE], "tool_choice": "auto", "parallel_tool_calls": False},
        {"messages": QUESTION, "tools": [HIVE], "tool_choice": "auto", "parallel_tool_calls": False,
         "model": "bees-1", "top_p": 0.9},
        _completion({"tool_calls": [CALL]}, "tool_calls", **KNOWN),
        _completion({"tool_calls": [CALL]}, "tool_calls"),
    ),
    Exchange(
        "its result is told",
        {"messages": ANSWERED, "tools": [HIVE], "top_p": 0.5, "max_completion_tokens": 30},
        {"messages": ANSWERED, "tools": [HIVE], "top_p": 0.5, "max_completion_tokens": 30, "model": "bees-1"},
        _completion({"content": "31,5 кг"}, "length", **KNOWN),
        _completion({"content": "31,5 кг"}, "length"),
    ),
    Exchange(
        "words in pieces",
        {"messages": QUESTION, "stream": True},
        {"messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}, "model": "bees-1",
         "top_p": 0.9},
        [*(KNOWN | event for event in WORDS), KNOWN | TOLD_USAGE],
        WORDS,
    ),
    Exchange(
        "a call in pieces, with the counts",
        {"messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}, "tools": [HIVE]},
        {"messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}, "tools": [HIVE],
         "model": "bees-1", "top_p": 0.9},
        (told := [
            _chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **CALL, "function":
                    {"name": "weigh_hive", "arguments": ""}}]}),
            _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"number":'}}]}),
            _chunk({"tool_calls": [{"index": 0, "function": {"arguments": " 7}"}}]}),
            _chunk({}, "tool_calls"), TOLD_USAGE,
        ]) and [KNOWN | event for event in told],
        told,
    ),
    Exchange(
        "vectors", {"input": ["пчела", "оса"], "dimensions": 2},
        {"input": ["пчела", "оса"], "dimensions": 2, "model": "bees-1", "top_p": 0.9},
        (vectors := {"object": "list", "model": "bees-1", "usage": {"prompt_tokens": 4, "total_tokens": 4},
         "data": [{"object": "embedding", "index": n, "embedding": [0.5, n]} for n in (0, 1)]}),
        vectors, path="/embeddings",
    ),
    Exchange(
        "the older API", {"prompt": "Улей 7 весит", "max_tokens": 5, "stop": ["."]},
        {"prompt": "Улей 7 весит", "max_tokens": 5, "stop": ["."], "model": "bees-1", "top_p": 0.9},
        (text := {"object": "text_completion", "model": "bees-1", "usage": USAGE,
         "choices": [{"index": 0, "text": " 31,5 кг", "finish_reason": "stop", "logprobs": None}]}) | KNOWN,
        text, path="/completions",
    ),
)  # fmt: skip

COUNTS = {"total_duration": 5, "load_duration": 1, "prompt_eval_count": 12, "prompt_eval_duration": 2, "eval_count": 4,
          "eval_duration": 2}  # fmt: skip
HEAD = {"model": "bees-1", "created_at": "2026-01-02T03:04:05.678Z"}
END = HEAD | {"done": True, "done_reason": "stop"} | COUNTS
SAID = {"role": "assistant", "content": "31,5 кг"}
THEIR_CALL = {"function": {"name": "weigh_hive", "arguments": {"number": 7}}}

OLLAMA = (
    Exchange(
        "words",
        {"messages": QUESTION, "temperature": 0.2, "seed": 3, "max_tokens": 9, "stop": ["."], "n": 1, "user": "anna"},
        {"model": "bees-1", "messages": QUESTION, "stream": False,
         "options": {"temperature": 0.2, "seed": 3, "num_predict": 9, "stop": ["."], "top_p": 0.9}},
        END | {"message": SAID}, _completion({"content": "31,5 кг"}), theirs="/api/chat",
    ),
    Exchange(
        "a tool is called", {"messages": QUESTION, "tools": [HIVE]},
        {"model": "bees-1", "messages": QUESTION, "stream": False, "tools": [HIVE], "options": {"top_p": 0.9}},
        END | {"message": {"role": "assistant", "content": "", "tool_calls": [THEIR_CALL]}},
        _completion({"content": "", "tool_calls": [CALL]}, "tool_calls"), theirs="/api/chat",
    ),
    Exchange(
        "its result is told", {"messages": ANSWERED},
        {"model": "bees-1", "stream": False, "options": {"top_p": 0.9},
         "messages": [*QUESTION, {"role": "assistant", "content": "", "tool_calls": [THEIR_CALL]},
                      {"role": "tool", "content": "31.5", "tool_name": "weigh_hive"}]},
        END | {"message": SAID, "done_reason": "length"}, _completion({"content": "31,5 кг"}, "length"),
        theirs="/api/chat",
    ),
    Exchange(
        "an object by its schema",
        {"messages": QUESTION, "response_format":
         {"type": "json_schema", "json_schema": {"name": "weight", "schema": SCHEMA, "strict": True}}},
        {"model": "bees-1", "messages": QUESTION, "stream": False, "format": SCHEMA, "options": {"top_p": 0.9}},
        END | {"message": SAID | {"content": '{"kilograms": 31.5}'}}, _completion({"content": '{"kilograms": 31.5}'}),
        theirs="/api/chat",
    ),
    Exchange(
        "a picture",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Что это?"}, {"type": "image_url",
         "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]},
        {"model": "bees-1", "stream": False, "options": {"top_p": 0.9},
         "messages": [{"role": "user", "content": "Что это?", "images": ["iVBORw0KGgo="]}]},
        END | {"message": SAID}, _completion({"content": "31,5 кг"}), theirs="/api/chat",
    ),
    Exchange(
        "words in pieces", {"messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}},
        {"model": "bees-1", "messages": QUESTION, "stream": True, "options": {"top_p": 0.9}},
        [*(HEAD | {"done": False, "message": {"role": "assistant", "content": w}} for w in ("31,5", " кг")),
         END | {"message": {"role": "assistant", "content": ""}}],
        [_chunk({"content": "31,5"}), _chunk({"content": " кг"}), _chunk({}, "stop"), TOLD_USAGE], theirs="/api/chat",
    ),
    Exchange(
        "a call in pieces", {"messages": QUESTION, "stream": True, "tools": [HIVE]},
        {"model": "bees-1", "messages": QUESTION, "stream": True, "tools": [HIVE], "options": {"top_p": 0.9}},
        [HEAD | {"done": False, "message": {"role": "assistant", "content": "", "tool_calls": [THEIR_CALL]}},
         END | {"message": {"role": "assistant", "content": ""}}],
        [_chunk({"tool_calls": [{"index": 0, **CALL}]}), _chunk({}, "tool_calls")], theirs="/api/chat",
    ),
    Exchange(
        "vectors", {"input": ["пчела", "оса"], "dimensions": 2},
        {"model": "bees-1", "input": ["пчела", "оса"], "dimensions": 2},
        {"model": "bees-1", "embeddings": [[0.5, 0], [0.5, 1]], "prompt_eval_count": 4}, vectors,
        path="/embeddings", theirs="/api/embed",
    ),
    Exchange(
        "the older API", {"prompt": "Улей 7 весит", "max_tokens": 5},
        {"model": "bees-1", "prompt": "Улей 7 весит", "stream": False, "options": {"num_predict": 5, "top_p": 0.9}},
        END | {"response": " 31,5 кг"}, text, path="/completions", theirs="/api/generate",
    ),
)  # fmt: skip
