"""Requests and replies as bytes of which only the needed fields are read.

Fields that the gateway does not look at stay raw JSON from the client's socket to the engine's: parsing and writing
1 KB in full would take 12 us, this takes 2.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tuneloop.errors import EngineError
from tuneloop.gateway.failures import Failure
from tuneloop.journal import Row
from tuneloop.texts import _

Raw = msgspec.Raw
_fields = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode
TAGS = msgspec.json.Decoder(dict[str, str])
NO = (b"", b"null", b"false")
EMPTY = (*NO, b"[]", b'""', b"{}")


class Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[Any] | None = None


class Choice(msgspec.Struct):
    message: Message | None = None
    delta: Message | None = None
    text: str | None = None  # of /v1/completions
    finish_reason: str | None = None
    index: int = 0


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class Said(msgspec.Struct):
    """What is looked at of a reply, whole or one event of a stream."""

    id: str = ""
    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None
    timings: dict[str, Any] | None = None


said = msgspec.json.Decoder(Said)


class Asked:
    """A request: its fields as raw JSON, and the few that the gateway acts upon."""

    __slots__ = ("fields", "model", "stream", "tags", "usage", "user")

    def __init__(self, body: bytes) -> None:
        """Raises Failure 400 for what is no JSON object or has a wrong type where it matters."""
        try:
            if not body.isascii():
                body.decode()  # raw fields are passed through as they are, and a row is text
            fields = self.fields = _fields.decode(body)
            model = fields.get("model")
            self.model = _text.decode(model) if model is not None else "active"
            self.stream = bytes(fields.get("stream", b"")) not in NO
            user = bytes(fields.get("user", b""))
            self.user = "" if user in NO else _text.decode(user)[:256]
            metadata = bytes(fields.get("metadata", b""))
            self.tags = None if metadata in NO else TAGS.decode(metadata)
            options = bytes(fields.get("stream_options", b""))
            self.usage = options not in NO and msgspec.json.decode(options).get("include_usage") is True
        except (msgspec.DecodeError, AttributeError, UnicodeDecodeError, RecursionError) as problem:
            said = _("the request is not what the API expects: {problem}").format(problem=str(problem)[:300])
            raise Failure(400, "invalid_value", said) from None

    def needs(self, name: str) -> None:
        """Raise Failure 400 unless the field is there and not empty."""
        if bytes(self.fields.get(name, b"")) in EMPTY:
            raise Failure(400, "invalid_value", _("'{name}' is missing").format(name=name), param=name)

    def text(self) -> str:
        """The last user message, the prompt or the input: what is judged, routed by and shown."""
        for name in ("prompt", "input"):
            if name in self.fields:
                value = msgspec.json.decode(self.fields[name])
                return value if isinstance(value, str) else str(value[-1] if value else "")
        for message in reversed(self.messages()):
            if message.get("role") == "user":
                return plain(message.get("content"))
        return ""

    def messages(self) -> list[dict[str, Any]]:
        """Raises Failure 400 when they are not a list of objects."""
        try:
            return msgspec.json.decode(self.fields.get("messages", Raw(b"[]")), type=list[dict[str, Any]])
        except (msgspec.DecodeError, RecursionError) as problem:
            raise Failure(400, "invalid_value", f"messages: {problem}", param="messages") from None


def plain(content: Any) -> str:
    """The text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def laid(
    asked: Asked,
    model: bytes,
    parameters: dict[str, bytes],
    messages: list[dict[str, Any]] | None,
    *,
    stream: bool,
) -> bytes:
    """The body an engine gets: the client's fields, the variant's model over them and its parameters under them.

    stream: whether the engine is to stream, which is not always what the client gets.
    """
    fields = {name: Raw(value) for name, value in parameters.items()} | asked.fields
    fields["model"] = Raw(model)
    fields.pop("metadata", None)  # the tags are ours
    if messages is not None:
        fields["messages"] = Raw(_encode(messages))
    if stream:
        fields["stream_options"] = Raw(b'{"include_usage":true}')
    elif asked.stream:
        del fields["stream"]
        fields.pop("stream_options", None)
    return _encode(fields)


def renamed(body: bytes, identity: str, content: str | None = None) -> bytes:
    """A whole reply under our id, so that feedback can name it; content: replaces the answer's text."""
    fields = _fields.decode(body)
    fields["id"] = Raw(b'"%b"' % identity.encode())
    if content is not None:
        choices = msgspec.json.decode(fields["choices"])
        choices[0]["message"]["content"] = content
        fields["choices"] = Raw(_encode(choices))
    fields.pop("timings", None)
    return _encode(fields)


def as_events(body: bytes) -> bytes:
    """A whole chat completion as the events of a stream: for clients that asked for one and get a kept answer."""
    reply = msgspec.json.decode(body)
    known = {key: reply[key] for key in ("id", "created", "model") if key in reply} | {
        "object": "chat.completion.chunk"
    }
    events = []
    for choice in reply.get("choices", ()):
        message = choice.get("message") or {}
        delta = {key: message[key] for key in ("role", "content", "tool_calls") if message.get(key) is not None}
        first = {"index": choice.get("index", 0), "delta": delta, "finish_reason": None}
        last = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        events += [known | {"choices": [first]}, known | {"choices": [last]}]
    return b"".join(b"data: " + _encode(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def hear(row: Row, body: bytes) -> None:
    """Take answer and counts out of a whole reply. Raises EngineError for what is no completion."""
    try:
        heard = said.decode(body)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise EngineError(_("the engine's answer is no completion: {why}").format(why=problem)) from None
    if heard.usage is not None:
        row.tokens_in, row.tokens_out = heard.usage.prompt_tokens, heard.usage.completion_tokens or 0
    for choice in heard.choices[:1]:
        message = choice.message
        row.answer = (message.content if message else choice.text) or ""
        if not row.answer and message and message.tool_calls:
            calls = [tool.get("function") or {} for tool in message.tool_calls if isinstance(tool, dict)]
            row.answer = _encode(calls).decode()
