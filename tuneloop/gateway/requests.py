"""What clients may send, checked field by field.

Only the fields named here reach llama.cpp (`ChatRequest.for_engine`): its server trusts numbers in JSON, and a
negative `n_discard` wrote out of bounds (CVE-2026-21869). Fields of OpenAI's API that a local model has no use for
are accepted and left out, as any others are, so that existing clients work unchanged.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from tuneloop.texts import _

Text = Annotated[str, StringConstraints(max_length=1_000_000)]
Name = Annotated[str, StringConstraints(max_length=256)]
# Fields handed on as they are; `ChatRequest.for_engine` writes the others.
PASSED_ON = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "n",
    "stop",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "parallel_tool_calls",
)
MAX_SCHEMA = 64_000  # characters of one JSON schema
MAX_DEPTH = 64


def few_stops(value: str | list[str] | None) -> list[str] | None:
    """Raises ValueError for more stop texts than a model should look for."""
    stops = [value] if isinstance(value, str) else value
    if stops is not None and not (len(stops) <= 16 and all(1 <= len(s) <= 200 for s in stops)):
        raise ValueError(_("stop takes at most 16 texts of 1 to 200 characters"))
    return stops


class Checked(BaseModel):
    """Strict types, finite numbers; unknown fields are left out."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class TextPart(Checked):
    type: Literal["text"]
    text: Text


class FunctionCall(Checked):
    name: Name
    arguments: Text


class ToolCall(Checked):
    id: Name
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Checked):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[TextPart] | None = None
    name: Name | None = None
    tool_calls: list[ToolCall] | None = Field(None, max_length=64)
    tool_call_id: Name | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError(_("content is missing"))
        return self

    def for_engine(self) -> dict[str, Any]:
        content = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content or ())
        # Templates know no "developer"; it is what OpenAI's newer models call "system".
        message: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": content}
        if self.tool_calls:
            message["tool_calls"] = [c.model_dump() for c in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            message["name"] = self.name
        return message


class Function(Checked):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _small(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return bounded(value)


class Tool(Checked):
    type: Literal["function"]
    function: Function


class NamedFunction(Checked):
    name: Name


class NamedTool(Checked):
    type: Literal["function"]
    function: NamedFunction


class Schema(Checked):
    name: Name = "answer"
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None

    @field_validator("schema_")
    @classmethod
    def _small(cls, value: dict[str, Any]) -> dict[str, Any]:
        return bounded(value) or {}


class ResponseFormat(Checked):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError(_("json_schema is missing"))
        return self


class StreamOptions(Checked):
    include_usage: bool | None = None


class ChatRequest(Checked):
    """A chat completion, as OpenAI's API defines it."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=2048)
    model: Name = "active"
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1000)
    min_p: float | None = Field(None, ge=0, le=1)
    repeat_penalty: float | None = Field(None, ge=0.1, le=10)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1, le=16)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    logit_bias: dict[str, float] | None = Field(None, max_length=300)
    tools: list[Tool] | None = Field(None, max_length=64)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    user: Name | None = None

    _few_stops = field_validator("stop")(few_stops)

    @field_validator("logit_bias")
    @classmethod
    def _token_numbers(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for token, bias in (value or {}).items():
            if not (token.isascii() and token.isdigit() and len(token) <= 7 and -100 <= bias <= 100):
                raise ValueError(_("logit_bias maps token numbers to values from -100 to 100"))
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError(_("top_logprobs needs logprobs"))
        return self

    def stored(self) -> dict[str, Any]:
        """What the row of the call keeps: everything the client set."""
        return self.model_dump(exclude_none=True, exclude_unset=True, by_alias=True)

    def for_engine(self, context: int) -> dict[str, Any]:
        """The request llama.cpp gets; nothing but these keys ever does. context: tokens of the served window."""
        body = {key: value for key in PASSED_ON if (value := getattr(self, key)) is not None}
        body["messages"] = [message.for_engine() for message in self.messages]
        # Clients send their usual 4096 to models of any size: the window is the limit, not an error.
        body["max_tokens"] = min(self.max_completion_tokens or self.max_tokens or context, context)
        if self.seed is not None:
            body["seed"] = self.seed % (2**32 - 1)  # 2^32 - 1 itself means "random" to llama.cpp
        if self.tools:
            body["tools"] = [tool.model_dump(exclude_none=True) for tool in self.tools]
        if isinstance(self.tool_choice, NamedTool):
            body["tool_choice"] = self.tool_choice.model_dump()
        elif self.tool_choice and self.tools:
            body["tool_choice"] = self.tool_choice
        if self.response_format:
            body["response_format"] = self.response_format.model_dump(exclude_none=True, by_alias=True)
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}, "timings_per_token": True}
        return {"model": self.model, **body}


class CompletionRequest(Checked):
    """A text completion, the older API: one prompt, one continuation."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    model: Name = "active"
    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1000)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    stop: str | list[str] | None = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)

    _few = field_validator("stop")(few_stops)

    def for_engine(self, context: int) -> dict[str, Any]:
        names = ("temperature", "top_p", "top_k", "stop", "frequency_penalty", "presence_penalty")
        body: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        body |= {"model": self.model, "prompt": self.prompt if isinstance(self.prompt, str) else self.prompt[0]}
        body["max_tokens"] = min(self.max_tokens or 16, context)  # 16 is what OpenAI's API documents
        if self.seed is not None:
            body["seed"] = self.seed % (2**32 - 1)
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}, "timings_per_token": True}
        return body


class EmbeddingRequest(Checked):
    """Texts to be turned into vectors."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    model: Name = "active"
    encoding_format: Literal["float", "base64"] | None = None

    def for_engine(self, context: int) -> dict[str, Any]:
        return {"model": self.model, "input": self.input, "encoding_format": self.encoding_format or "float"}


class FeedbackRequest(Checked):
    """What a person says of a completion: `call` is its id."""

    call: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    kind: Literal["thumb", "score", "comment", "demonstration"]
    value: Annotated[str, StringConstraints(max_length=20_000)] | int | float
    user: Name = ""


class ActivateRequest(Checked):
    """`force` overrules the gate; say why in `note`."""

    note: Annotated[str, StringConstraints(max_length=2000)] = ""
    force: bool = False


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    error: ErrorDetail


def bounded(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """A free JSON value, small and shallow enough to hand on. Raises ValueError otherwise."""
    level: list[Any] = [value]
    for _depth in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            break
    else:
        raise ValueError(_("nested deeper than {n}").format(n=MAX_DEPTH))
    if len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode()) > MAX_SCHEMA:
        raise ValueError(_("longer than {n} bytes").format(n=MAX_SCHEMA))
    return value


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
