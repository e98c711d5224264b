"""What one line of a tuning file must look like, by shape: `messages` (OpenAI), `contents` (Gemini), any (TRL).

Each check yields Problems; `mend` repairs what a machine can repair without guessing at meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tuneloop.texts import _

Line = dict[str, Any]
# Names other tools use for the roles; a mechanical mend.
ROLE_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"}
# TRL: the sets of columns that make a dataset type
HF_TYPES = (
    {"messages"},
    {"prompt", "completion"},
    {"prompt", "chosen", "rejected"},
    {"chosen", "rejected"},
    {"text"},
    {"prompt"},
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a line: a stable code, what it is, how to mend it."""

    level: Literal["error", "warning"]
    code: str
    message: str
    fix: str


def check(line: object, rules: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything wrong with a parsed line under a provider's rules."""
    if not isinstance(line, dict):
        yield Problem(
            "error",
            "data_type",
            _("the line is {kind}, not a JSON object").format(kind=_kind(line)),
            _("Write one object a line: {example}").format(example='{"messages": [...]}'),
        )
        return
    shape = rules["shape"]
    if shape == "contents":
        yield from _contents(line, rules)
    elif shape == "messages" or "messages" in line:
        yield from _messages(line, rules)
    else:
        yield from _columns(line)


def mend(line: Line, rules: Mapping[str, Any]) -> Line:
    """The line with unknown keys removed and role names translated; for Gemini the older `messages` is converted."""
    if rules["shape"] == "contents":
        return _mended_contents(line, rules)
    messages = line.get("messages")
    if not isinstance(messages, list):
        return line
    kept = {k: v for k, v in line.items() if k in rules["line_keys"] or not rules["line_keys"]}
    kept["messages"] = [_mended_message(m, rules) for m in messages]
    return kept


def turns(line: Line) -> list[tuple[str, str]]:
    """(role, text) of every turn that can be read, whatever the shape; for counting."""
    found = []
    listed = line.get("messages") or line.get("contents") or []
    for turn in listed if isinstance(listed, list) else []:
        if isinstance(turn, dict):
            content = turn.get("content", turn.get("parts"))
            found.append((str(turn.get("role", "")), _text(content)))
    instruction = line.get("systemInstruction", line.get("system_instruction"))
    if isinstance(instruction, dict):
        found.insert(0, ("system", _text(instruction.get("parts"))))
    if not found:
        found = [
            ("assistant" if key in {"completion", "output", "chosen", "rejected"} else "user", _text(value))
            for key, value in line.items()
            if isinstance(value, str)
        ]
    return found


def _messages(line: Line, rules: Mapping[str, Any]) -> Iterator[Problem]:
    if "input" in line and "preferred_output" in line:
        yield Problem(
            "error", "preference_line", _("this is a preference (DPO) line"), _("Only chat lines belong here.")
        )
        return
    messages = line.get("messages")
    if not isinstance(messages, list) or not messages:
        found = ", ".join(map(repr, list(line)[:4])) or _("nothing")
        message = _("there is no list 'messages' (the line has {found})").format(found=found)
        yield Problem("error", "missing_messages_list", message, _("Put the turns into a list called 'messages'."))
        return
    if unknown := _unknown(line, rules["line_keys"]):
        yield Problem(
            "warning", "unrecognized_line_key", _("unknown key {keys}").format(keys=unknown), _remove(unknown)
        )
    roles = []
    for number, message in enumerate(messages, 1):
        yield from _message(message, number, rules)
        roles.append(message.get("role") if isinstance(message, dict) else None)
    if "assistant" not in roles:
        yield Problem(
            "error",
            "example_missing_assistant_message",
            _("no turn of the assistant: there is nothing to learn"),
            _("Add the answer as the last message, role 'assistant'."),
        )
    elif roles[-1] != "assistant":
        yield Problem(
            "warning",
            "last_not_assistant",
            _("the last message is not the assistant's: it teaches nothing"),
            _("Cut the turns after the last answer."),
        )
    if "system" in roles[1:]:
        yield Problem(
            "warning", "system_not_first", _("a system message is not the first"), _("Move it to the beginning.")
        )


def _message(message: object, number: int, rules: Mapping[str, Any]) -> Iterator[Problem]:
    at = _("message {n}").format(n=number)
    if not isinstance(message, dict):
        fix = _("Write it as {example}").format(example='{"role": "user", "content": "..."}')
        yield Problem(
            "error", "message_type", _("{at} is {kind}, not an object").format(at=at, kind=_kind(message)), fix
        )
        return
    calls = any(message.get(key) for key in ("function_call", "tool_calls", "refusal"))
    missing = [key for key in ("role", "content") if key not in message and not (key == "content" and calls)]
    if missing:
        text = _("{at} has no {keys}").format(at=at, keys=" / ".join(missing))
        yield Problem("error", "message_missing_key", text, _("Every message needs 'role' and 'content'."))
    if unknown := _unknown(message, rules["message_keys"]):
        text = _("{at} has the unknown key {keys}").format(at=at, keys=unknown)
        yield Problem("error", "message_unrecognized_key", text, _remove(unknown))
    role = message.get("role")
    if "role" in message and role not in rules["roles"]:
        text = _("{at} has the role {role}").format(at=at, role=_short(role))
        fix = _("Use one of: {roles}.").format(roles=", ".join(rules["roles"]))
        yield Problem("error", "unrecognized_role", text, fix)
    if "content" in message and not calls and not _has_content(message["content"]):
        text = _("{at} has no text in 'content'").format(at=at)
        yield Problem("error", "missing_content", text, _("Fill it in or leave the whole example out."))
    if "weight" in message and (role != "assistant" or message["weight"] not in (0, 1) or message["weight"] is True):
        text = _("{at}: 'weight' must be 0 or 1 and belongs to the assistant").format(at=at)
        yield Problem("error", "invalid_weight", text, _("Write 0 (do not learn from it) or 1, or leave it out."))


def _contents(line: Line, rules: Mapping[str, Any]) -> Iterator[Problem]:
    contents = line.get("contents")
    if not isinstance(contents, list) or not contents:
        if isinstance(line.get("messages"), list):
            text = _("the line has 'messages', the form of 2024; Vertex AI now wants 'contents'")
            yield Problem("error", "old_format", text, _("Convert it: --fix does."))
            converted = _mended_contents(line, rules)
            turns = converted.get("contents")
            if isinstance(turns, list) and turns:  # what else is wrong must not come to light only after --fix
                yield from _contents(converted, rules)
            return
        yield Problem(
            "error", "missing_contents", _("there is no list 'contents'"), _("Put the turns into a list 'contents'.")
        )
        return
    if unknown := _unknown(line, rules["line_keys"]):
        yield Problem(
            "warning", "unrecognized_line_key", _("unknown key {keys}").format(keys=unknown), _remove(unknown)
        )
    roles: list[Any] = []
    for number, turn in enumerate(contents, 1):
        at = _("turn {n}").format(n=number)
        if not isinstance(turn, dict):
            text = _("{at} is {kind}, not an object").format(at=at, kind=_kind(turn))
            yield Problem("error", "message_type", text, _("Write it as {example}").format(example='{"role", "parts"}'))
            roles.append(None)
            continue
        roles.append(turn.get("role"))
        if turn.get("role") not in rules["roles"]:
            text = _("{at} has the role {role}").format(at=at, role=_short(turn.get("role")))
            yield Problem("error", "unrecognized_role", text, _("Gemini knows 'user' and 'model' (not 'assistant')."))
        yield from _parts(turn.get("parts"), at, rules)
    instruction = line.get("systemInstruction", line.get("system_instruction"))
    if instruction is not None:
        parts = instruction.get("parts") if isinstance(instruction, dict) else None
        yield from _parts(parts, "systemInstruction", rules)
    if roles[0] != "user":
        text = _("the first turn is not the user's")
        yield Problem("error", "first_not_user", text, _("Begin with what was asked."))
    if roles[-1] != "model":
        text = _("the last turn is not the model's: there is nothing to learn")
        yield Problem("error", "example_missing_assistant_message", text, _("End with the answer, role 'model'."))
    if any(a == b for a, b in pairwise(roles)):
        text = _("two turns in a row have the same role")
        yield Problem("warning", "roles_do_not_alternate", text, _("Join them into one turn."))


def _parts(parts: object, at: str, rules: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(parts, list) or not parts:
        fix = _("Write {example}").format(example='"parts": [{"text": "..."}]')
        yield Problem("error", "missing_parts", _("{at} has no list 'parts'").format(at=at), fix)
        return
    for part in parts:
        if not isinstance(part, dict) or not any(key in part for key in rules["part_keys"]):
            text = _("{at}: a part holds none of {keys}").format(at=at, keys=", ".join(rules["part_keys"][:2]))
            yield Problem("error", "invalid_part", text, _("Give each part a 'text' (or a 'fileData')."))
        elif "text" in part and (not isinstance(part["text"], str) or not part["text"].strip()):
            text = _("{at} has no text in a part").format(at=at)
            yield Problem("error", "missing_content", text, _("Fill it in or leave the whole example out."))


def _columns(line: Line) -> Iterator[Problem]:
    columns = set(line)
    if any(columns >= wanted for wanted in HF_TYPES if wanted != {"prompt"}):
        for key in ("prompt", "completion", "chosen", "rejected", "text"):
            if key in line and not _has_content(line[key]):
                text = _("'{key}' is empty or no text").format(key=key)
                yield Problem("error", "missing_content", text, _("Fill it in or leave the whole example out."))
        return
    fix = _("TRL reads 'messages', 'prompt' + 'completion', or 'text'; export with --format openai.")
    if columns >= {"conversations"} or columns >= {"instruction", "output"}:
        text = _("ShareGPT or Alpaca columns: trainers other than TRL read them, TRL does not")
        yield Problem("warning", "needs_conversion", text, fix)
        return
    found = ", ".join(map(repr, list(line)[:4])) or _("nothing")
    yield Problem("error", "unknown_columns", _("no known column (the line has {found})").format(found=found), fix)


def _has_content(content: object) -> bool:
    if isinstance(content, str):
        return bool(content.strip())
    if not isinstance(content, list) or not content:
        return False
    return all(isinstance(p, dict) and (p.get("type", "text") != "text" or _has_content(_text([p]))) for p in content)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text", part.get("content")) for part in content if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _unknown(found: Line, known: Sequence[str]) -> str:
    return ", ".join(f"'{key[:40]}'" for key in list(found) if key not in known and known)[:200]


def _remove(keys: str) -> str:
    return _("Remove {keys}: --fix does.").format(keys=keys)


def _kind(value: object) -> str:
    names = {list: _("a list"), str: _("a text"), bool: _("true or false"), type(None): _("null")}
    return names.get(type(value), _("a number"))


def _short(value: object) -> str:
    return f"'{str(value)[:40]}'"


def _mended_message(message: object, rules: Mapping[str, Any]) -> object:
    if not isinstance(message, dict):
        return message
    kept = {k: v for k, v in message.items() if k in rules["message_keys"]}
    role = message.get("role")
    if isinstance(role, str) and role not in rules["roles"]:
        kept["role"] = ROLE_NAMES.get(role.lower(), role)
    return kept


def _mended_contents(line: Line, rules: Mapping[str, Any]) -> Line:
    if isinstance(line.get("messages"), list) and "contents" not in line:
        line = _converted(line["messages"])
    contents = line.get("contents")
    if not isinstance(contents, list):
        return line
    kept = {k: v for k, v in line.items() if k in rules["line_keys"]}
    kept["contents"] = [
        {**turn, "role": "model"} if isinstance(turn, dict) and turn.get("role") == "assistant" else turn
        for turn in contents
    ]
    return kept


def _converted(messages: list[Any]) -> Line:
    # The form of 2024: messages with roles system (first only), user, model.
    contents: list[Line] = []
    line: Line = {}
    for message in messages:
        if not isinstance(message, dict):
            return {"messages": messages}
        parts = [{"text": message.get("content", "")}]
        if message.get("role") == "system" and not contents:
            line["systemInstruction"] = {"role": "system", "parts": parts}
        else:
            role = "model" if message.get("role") in {"assistant", "model"} else message.get("role")
            contents.append({"role": role, "parts": parts})
    return {**line, "contents": contents}
