"""Tasks at work: a task's texts laid over a request. The book they are written in is kept by `Shelf`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneloop.answer.book import Book, read
from tuneloop.answer.shelf import Shelf
from tuneloop.records import Task

__all__ = ["Book", "Shelf", "last_user_text", "prepared", "read"]


def prepared(task: Task, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """OpenAI messages with the task's texts: its system text where the request brings none, its prompt around the
    last user message.

    The user's text replaces "{text}" and is never read as a template itself. Of a message of several parts the texts
    become one, pictures stay. `messages` is left as it was.
    """
    laid = [dict(message) for message in messages]
    if task.prompt:
        for message in reversed(laid):
            if message.get("role") == "user":
                message["content"] = _around(task.prompt, message.get("content"))
                break
    if task.system and not any(message.get("role") in ("system", "developer") for message in laid):
        laid.insert(0, {"role": "system", "content": task.system})
    return laid


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What was asked: the text of the last user message; "" when there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return _plain(message.get("content"))
    return ""


def _around(prompt: str, content: object) -> object:
    text = prompt.replace("{text}", _plain(content))
    if not isinstance(content, list):
        return text
    return [{"type": "text", "text": text}, *(part for part in content if not _is_text(part))]


def _plain(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if _is_text(part))
    return content if isinstance(content, str) else ""


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text"
