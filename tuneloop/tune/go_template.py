"""A chat template in Ollama's language (Go's text/template), found by watching what the trained template writes.

The Jinja template is rendered with marked messages; the text between the marks is what a Go template must write.
The result is then executed here on sample dialogues and must give the very same text, else there is none: Ollama
without the right template silently feeds the model prompts it was never trained on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Chat = list[dict[str, str]]
Render = Callable[[Chat], str]  # a dialogue that ends with a question -> the prompt the model was trained on

_S, _U, _A, _V = "tuneloop-system", "tuneloop-first", "tuneloop-answer", "tuneloop-second"
SAMPLES: tuple[Chat, ...] = (
    [{"role": "user", "content": "Как дела?"}],
    [
        {"role": "user", "content": "one\n\ntwo {x}"},
        {"role": "assistant", "content": "ответ 😀"},
        {"role": "user", "content": "and then?"},
    ],
    [{"role": "system", "content": "Be brief.\nAlways."}, {"role": "user", "content": "hello"}],
    [
        {"role": "system", "content": "Ты помощник."},
        {"role": "user", "content": "раз"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "три"},
        {"role": "assistant", "content": "four"},
        {"role": "user", "content": "пять"},
    ],
)


@dataclass(frozen=True, slots=True)
class _Pieces:
    head: str  # before the first question when there is no system message
    user: tuple[str, str]
    assistant: tuple[str, str]
    generate: str
    system: tuple[str, str] | None  # around the system message, up to the first question's text


def express(render: Render, bos: str | None) -> str | None:
    """The Go template that writes what `render` writes (without BOS, which the engine adds), or None.

    `render` may raise for a system message: then a system message is left out.
    """
    pieces = _watch(render, bos or "")
    if pieces is None:
        return None
    template = _write(pieces)
    if template is None:
        return None
    for chat in SAMPLES:
        if chat[0]["role"] == "system" and pieces.system is None:
            continue
        if execute(template, chat) != render(chat).removeprefix(bos or ""):
            return None
    return template


def _watch(render: Render, bos: str) -> _Pieces | None:
    turns = [{"role": "user", "content": _U}, {"role": "assistant", "content": _A}, {"role": "user", "content": _V}]
    parts = _cut(render(turns), (_U, _A, _V))
    if parts is None:
        return None
    before, asked, answered, after = parts
    before = before.removeprefix(bos)
    start = _shared(before[::-1], answered[::-1])[::-1]
    if start == answered and (special := re.match(r"<[^<>\s]+>\s*", answered)):
        start = answered[special.end() :]  # the end of the answer's turn also ended a default system message
    end = answered.removesuffix(start) if start else answered
    stop = end if end and asked.startswith(end) and after.startswith(end) else _shared(asked, after)
    return _Pieces(
        head=before.removesuffix(start) if start else before,
        user=(start, stop),
        assistant=(asked[len(stop) :], end),
        generate=after[len(stop) :],
        system=_watch_system(render, turns, bos),
    )


def _watch_system(render: Render, turns: Chat, bos: str) -> tuple[str, str] | None:
    try:
        text = render([{"role": "system", "content": _S}, *turns])
    except Exception:  # noqa: BLE001  a template may raise whatever it likes to say that it has no system role
        return None
    parts = _cut(text, (_S, _U))
    return None if parts is None else (parts[0].removeprefix(bos), parts[1])


def _cut(text: str, marks: tuple[str, ...]) -> list[str] | None:
    """The text around the marks; None unless each stands there once and in this order."""
    parts = []
    for mark in marks:
        if text.count(mark) != 1:
            return None
        before, _mark, text = text.partition(mark)
        parts.append(before)
    return [*parts, text]


def _shared(one: str, other: str) -> str:
    """The beginning that two texts share."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:same]


def _write(p: _Pieces) -> str | None:
    everything = [p.head, *p.user, *p.assistant, p.generate, *(p.system or ())]
    if any("{{" in piece or '"""' in piece for piece in everything):
        return None
    start, stop = p.user
    first = "{{ if and $.System (le $i 1) }}%s{{ $.System }}%s{{ else }}" + start + "{{ end }}"
    if p.system is None:
        system, question = "", start
    elif p.system[1].endswith(start) and start:
        system = p.system[0] + "{{ .Content }}" + p.system[1].removesuffix(start)
        question = start
    else:
        system, question = "", first % p.system
    head = "{{ if not .System }}" + p.head + "{{ end }}" if p.head and p.system else p.head
    return (
        head + "{{ range $i, $_ := .Messages }}"
        '{{ if eq .Role "system" }}'
        + system
        + '{{ else if eq .Role "user" }}'
        + question
        + "{{ .Content }}"
        + stop
        + '{{ else if eq .Role "assistant" }}'
        + p.assistant[0]
        + "{{ .Content }}"
        + p.assistant[1]
        + "{{ end }}{{ end }}"
        + p.generate
    )


def execute(template: str, chat: Chat) -> str:
    """Run the part of Go's template language that `express` uses, with Ollama's variables.

    Ollama gives a template `.Messages` with system messages among them, and `.System`, all of them joined.
    """
    tokens = re.split(r"\{\{(.*?)\}\}", template, flags=re.S)
    system = "\n\n".join(m["content"] for m in chat if m["role"] == "system")
    root = {"System": system, "Messages": [{"Role": m["role"], "Content": m["content"]} for m in chat]}
    tree, _rest = _parse(list(enumerate(tokens)))
    return "".join(_run(tree, root, root, {}))


def _parse(tokens: list[tuple[int, str]]) -> tuple[list[Any], list[tuple[int, str]]]:
    """Nodes: text, ("print", expression), ("if", [(condition, nodes)]), ("range", variable, nodes)."""
    nodes: list[Any] = []
    while tokens:
        (index, token), tokens = tokens[0], tokens[1:]
        action = token.strip()
        if index % 2 == 0:
            nodes.append(token)
        elif action.startswith("if "):
            branches = []
            condition = action[3:]
            while True:
                body, tokens = _parse(tokens)
                branches.append((condition, body))
                closing, tokens = tokens[0][1].strip(), tokens[1:]
                if closing == "end":
                    break
                condition = closing.removeprefix("else").strip().removeprefix("if ") or "true"
            nodes.append(("if", branches))
        elif action.startswith("range "):
            body, tokens = _parse(tokens)
            nodes.append(("range", action.split()[1].rstrip(","), body))
            tokens = tokens[1:]
        elif action == "end" or action.startswith("else"):
            return nodes, [(index, token), *tokens]
        else:
            nodes.append(("print", action))
    return nodes, tokens


def _run(nodes: list[Any], dot: dict[str, Any], root: dict[str, Any], names: dict[str, int]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif node[0] == "print":
            yield str(_value(node[1], dot, root, names))
        elif node[0] == "range":
            for position, item in enumerate(root["Messages"]):
                yield from _run(node[2], item, root, {**names, node[1]: position})
        else:
            chosen: list[Any] = next((body for test, body in node[1] if _value(test, dot, root, names)), [])
            yield from _run(chosen, dot, root, names)


def _value(expression: str, dot: dict[str, Any], root: dict[str, Any], names: dict[str, int]) -> Any:
    words = re.findall(r'\(.*?\)|"[^"]*"|\S+', expression)
    if len(words) > 1:
        values = [_value(w.strip("()"), dot, root, names) for w in words[1:]]
        calls: dict[str, Callable[..., Any]] = {
            "eq": lambda a, b: a == b,
            "le": lambda a, b: a <= b,
            "and": lambda a, b: a and b,
            "not": lambda a: not a,
        }
        return calls[words[0]](*values)
    word = words[0]
    if word.startswith("$."):
        return root[word[2:]]
    if word.startswith("."):
        return dot[word[1:]]
    if word in names:
        return names[word]
    return word == "true" or (int(word) if word.isdigit() else word.strip('"'))
