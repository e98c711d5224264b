"""The nouns of the product as frozen dataclasses. No I/O here; every layer may import this."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation of one source. `id` is stable between exports: "tg:1900000001", "wa:<hash>"."""

    id: str
    source: Literal["telegram", "whatsapp", "discord"]
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


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable, content-addressed model folder and its row."""

    id: str  # first 16 hex digits of the folder's hash
    kind: str  # "chat" | "photos"
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
