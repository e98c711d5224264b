"""The nouns of the product as frozen dataclasses. No I/O here; every layer may import this."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation of one source. `id` is stable between exports: "tg:1900000001", "wa:<hash>"."""

    id: str
    source: Literal["telegram", "whatsapp", "discord", "calls"]  # calls: what a served model was asked
    name: str
    kind: str = ""  # as the exporter says: "private_supergroup", "personal_chat", ...


@dataclass(frozen=True, slots=True)
class Message:
    """One message a person wrote. `id` grows with time inside its chat; `time` is Unix seconds (UTC)."""

    chat: str
    id: int
    time: int
    sender: str  # the source's own id ("user42"), or "name:<hash>" where an export has only names
    name: str  # display name at that time; "" for a deleted account
    text: str
    kind: str = "text"  # text photo video voice sticker file poll location contact other
    reply_to: int | None = None
    topic: int | None = None  # forum topic or Discord thread
    forwarded: str | None = None  # name of the original author
    edited: int | None = None  # Unix seconds


@dataclass(frozen=True, slots=True)
class Turn:
    """Consecutive messages of one person inside a dialogue, joined by newlines."""

    sender: str
    name: str
    text: str
    messages: tuple[int, ...]  # ids, ascending
    time: int


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A connected conversation cut out of a chat by reply links and accepted link guesses."""

    id: str  # "<chat>/<first message id>"
    chat: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One question and its answer by the chosen speaker, with everything needed to trace it back."""

    id: str  # hash of chat and message ids: the same conversation gives the same id in every build
    chat: str
    dialogue: str
    speaker: str
    question: str
    answer: str
    context: tuple[tuple[str, str], ...] = ()  # (role, text), oldest first; role is "user" or "assistant"
    messages: tuple[int, ...] = ()  # evidence: ids of every message used
    time: int = 0  # of the answer
    language: str = ""
    edge: Literal["reply", "ranked", "turn"] = "reply"  # how question and answer were linked
    confidence: float = 1.0  # of that link

    def prompt(self, system: str = "") -> list[dict[str, str]]:
        """What a model sees before it answers: system, context, question; roles alternate, as templates demand."""
        turns = [*self.context, ("user", self.question)]
        while turns[0][0] != "user":
            turns = turns[1:]
        merged: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
        for role, text in turns:
            if merged and merged[-1]["role"] == role:
                merged[-1] = {"role": role, "content": merged[-1]["content"] + "\n" + text}
            else:
                merged.append({"role": role, "content": text})
        return merged

    def conversation(self, system: str = "") -> list[dict[str, str]]:
        """The whole training example in the OpenAI chat shape."""
        return [*self.prompt(system), {"role": "assistant", "content": self.answer}]


def folded(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chat messages for a template without a system role: each system text opens the user message after it.

    Training, the parity check and serving all call this, so a model is asked in the form it learnt. `content` may be
    a string, OpenAI's list of parts, or None; a system text that no user message follows becomes one.
    """
    made: list[dict[str, Any]] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] in ("system", "developer"):
            waiting += [said] if (said := _spoken(message.get("content"))) else []
            continue
        if waiting and message["role"] == "user":
            made.append({**message, "content": _opened("\n\n".join(waiting), message.get("content"))})
        else:
            made += [{"role": "user", "content": "\n\n".join(waiting)}] if waiting else []
            made.append(message)
        waiting = []
    return made + ([{"role": "user", "content": "\n\n".join(waiting)}] if waiting else [])


def composed(messages: Sequence[dict[str, Any]], form: str) -> list[dict[str, Any]]:
    """The messages with their texts in a Unicode normal form ("NFC"): what a tokenizer that normalises saw in
    training, for engines that do not normalise themselves."""

    def text(content: Any) -> Any:
        if isinstance(content, str):
            return unicodedata.normalize(form, content)  # type: ignore[arg-type]
        if isinstance(content, list):
            return [{**p, "text": text(p["text"])} if isinstance(p, dict) and "text" in p else p for p in content]
        return content

    return [
        {**message, "content": text(message["content"])} if "content" in message else message for message in messages
    ]


def _spoken(content: Any) -> str:
    """The text of a message's content, parts joined by newlines as llama.cpp joins them."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict)).strip("\n")
    return str(content or "")


def _opened(opening: str, content: Any) -> Any:
    """A user message's content with a text in front of its first text part."""
    if not isinstance(content, list):
        return f"{opening}\n\n{content}" if content else opening
    for at, part in enumerate(content):
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            return [*content[:at], {**part, "text": f"{opening}\n\n{part['text']}"}, *content[at + 1 :]]
    return [{"type": "text", "text": opening}, *content]


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable, content-addressed model folder and its row."""

    id: str  # first 16 hex digits of the folder's hash
    kind: str  # "chat" | "photos" | "photos:TEAM"
    name: str
    path: str  # relative to the workspace
    created: int
    active: bool = False
    meta: dict[str, Any] = field(default_factory=dict)  # base, dataset, figures, lineage
    verdict: dict[str, Any] | None = None  # what the gate said


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a candidate, with the one sentence why."""

    decision: Literal["promote", "refuse", "not enough data"]
    why: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that a model answered (or failed to)."""

    id: str
    time: float
    version: str
    status: str  # "ok" | "error" | "truncated" | "cancelled"
    request: dict[str, Any]
    answer: str
    latency_ms: float
    tokens_in: int = 0
    tokens_out: int = 0
    user: str = ""
    error: str = ""
    tenant: str = ""
    key: str = ""  # id of the API key that asked, never the key
    kind: str = "chat"  # "chat" | "completion" | "embedding"
    task: str = ""
    variant: str = ""
    engine: str = ""
    model: str = ""
    reason: str = ""  # why this variant: "fixed", "weighted", "experiment:ID", "fallback:timeout", ...
    propensity: float = 1.0  # the probability with which it was chosen
    experiment: str = ""
    arm: str = ""
    cached: bool = False
    attempts: int = 1
    first_ms: float | None = None  # a stream's first piece
    quality: float | None = None  # 0 to 1, as the task's checks score it
    cost: float = 0.0
    code: str = ""  # kind of error: "timeout", "engine_down", ...
    tags: dict[str, str] | None = None
    parent: str = ""  # the call it shadows, replays or replaces


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Where answers come from, as `[engines.NAME]` in tuneloop.toml says it. Times in seconds."""

    name: str
    kind: Literal["local", "openai", "ollama", "llamacpp", "echo"] = "openai"
    url: str = ""  # of an OpenAI-compatible API ("https://api.deepseek.com/v1") or of Ollama
    key_env: str = ""  # environment variable that holds the key; the key itself is never written down
    headers: dict[str, str] = field(default_factory=dict)
    file: str = ""  # GGUF, for kind "llamacpp"
    adapters: dict[str, str] = field(default_factory=dict)  # model name -> adapter GGUF, for kind "llamacpp"
    parallel: int = 8  # requests at once
    queue: int = 64  # requests that may wait; more are answered 503
    connect: float = 5.0
    first: float = 30.0  # to the first byte of an answer
    gap: float = 30.0  # between two pieces of a stream
    total: float = 120.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to answer a task: an engine, its model, parameters laid under the request's own."""

    name: str
    engine: str
    model: str
    weight: float = 1.0
    parameters: dict[str, Any] = field(default_factory=dict)
    price_in: float = 0.0  # per million tokens
    price_out: float = 0.0
    when: dict[str, str] = field(default_factory=dict)  # user or tag values it is meant for, for route "rule"


@dataclass(frozen=True, slots=True)
class Task:
    """What applications ask for by name, as `[tasks.NAME]` in tuneloop.toml says it."""

    name: str
    variants: tuple[Variant, ...]
    system: str = ""  # put before requests that bring no system message
    prompt: str = ""  # template around the last user message: "... {text} ..."
    cleaner: str = ""  # name of an output cleaner; "" leaves the answer as it is
    checks: tuple[str, ...] = ()  # "min_chars:20", "hashtags:3-10", ... see answer/checks.py
    route: Literal["fixed", "weighted", "cheapest", "fastest", "rule"] = "weighted"
    fallback: bool = True  # go on to the next variant on error, timeout or overload
    retries: int = 1  # further tries in all, over all variants
    total: float = 0.0  # deadline of a request, seconds; 0: the setting serve.timeout
    cache: float = 0.0  # seconds an answer may be given again; 0: never
    limit: str = ""  # requests of one user, "60/minute"; "": no limit
    original: str = ""  # the variant that answers where the quality switch does not trust the enhanced one
    switch: Literal["off", "auto", "forced"] = "off"  # quality switch: the first variant's answer must score enough
    threshold: float = 0.5  # used when forced; "auto" finds its own


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person said of a call. Committed before it is acknowledged."""

    id: str
    call: str
    kind: Literal["thumb", "score", "comment", "demonstration"]
    value: str
    time: float
    user: str = ""
    key: str = ""  # idempotency key: the same key is the same fact
    tenant: str = ""
