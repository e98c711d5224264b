"""What is done to a model's answer before anybody sees it: `cleaner = "no_thinking | hashtags"` in a task.

Every cleaner is a plain function from text to text that raises nothing and takes time linear in the text, whatever
a model wrote: an answer may be an attack on the gateway as well as a request may.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

MOST_HASHTAGS = 30  # as many as Instagram takes under one post
MOST_TRIES = 64  # places where a JSON value may begin: each failed try may read all of the rest

_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THINKING = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
_BULLET = re.compile(r"^[ \t]*(?:[-*+•–—]|\d{1,3}[.)])[ \t]+")
_HASHTAG = re.compile(r"#(\w+)")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$\n?", re.MULTILINE)
_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)```", re.DOTALL)
_HEADING = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+", re.MULTILINE)
_QUOTE = re.compile(r"^[ \t]{0,3}>[ \t]?", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:\*{3,}|-{3,}|_{3,})[ \t]*$\n?", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\(([^()\s]{0,2000})\)")
# Only marks that come in pairs, on one line: "2 * 3" and "snake_case" stay as they are.
_MARKS = (
    re.compile(r"`{1,2}([^`\n]{1,500})`{1,2}"),
    re.compile(r"(?:\*{1,3}|~~)(?=\S)([^*~\n]{1,500})(?<=\S)(?:\*{1,3}|~~)"),
    re.compile(r"(?<!\w)_{1,3}(?=\S)([^_\n]{1,500})(?<=\S)_{1,3}(?!\w)"),
)
_PREAMBLE = re.compile(
    r"\s*(?:sure|certainly|of course|absolutely|okay|ok|here (?:is|are)|here's|"
    r"конечно|разумеется|хорошо|вот|ниже)\b[^\n]{0,200}:[ \t]*\n",
    re.IGNORECASE,
)
_PAIRS = {'"': '"', "'": "'", "«": "»", "“": "”", "„": "“", "`": "`"}


def strip(text: str) -> str:
    """Without white space at both ends."""
    return text.strip()


def first_line(text: str) -> str:
    """The first line that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def lines(text: str) -> str:
    """A list as plain lines: no bullets, no numbers, no empty lines."""
    found = (_BULLET.sub("", line).strip() for line in text.splitlines())
    return "\n".join(line for line in found if line)


def no_markdown(text: str) -> str:
    """Markdown taken off: headings, emphasis, code marks, fences, quotes, rules; of links the words stay."""
    text = _RULE.sub("", _FENCE.sub("", text))
    text = _HEADING.sub("", _QUOTE.sub("", text))
    text = _LINK.sub(r"\1", text)
    for marks in _MARKS * 2:  # twice: *one* inside **another**
        text = marks.sub(r"\1", text)
    return text.strip()


def no_thinking(text: str) -> str:
    """Without <think>...</think>. A block that never ends is all thinking; one that never began ends at its mark."""
    text = _THINKING.sub("", text)
    *_thoughts, answer = _END_OF_THINKING.split(text)
    return answer.strip()


def no_preamble(text: str) -> str:
    """Without an opening line such as "Sure, here are five headlines:"."""
    opening = _PREAMBLE.match(text)
    return text[opening.end() :].strip() if opening else text.strip()


def no_quotes(text: str) -> str:
    """Without the quotation marks around the whole answer."""
    text = text.strip()
    if len(text) >= 2 and _PAIRS.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        return text[1:-1].strip()
    return text


def hashtags(text: str) -> str:
    """The hashtags of an answer as "#слово #слово": small letters, each once, 30 at most.

    Where none is marked with #, the pieces of a list ("мода, зимний стиль") become hashtags; of a sentence none do.
    """
    words = _HASHTAG.findall(text)
    if not words:
        pieces = [_BULLET.sub("", piece).strip(" \t.\"'«»") for piece in re.split(r"[,;\n]", text)]
        words = ["_".join(piece.split()) for piece in pieces if 1 <= len(piece.split()) <= 3]
        words = [word for word in words if re.fullmatch(r"\w+", word)]
    kept = [word for word in dict.fromkeys(w.lower() for w in words) if any(c.isalpha() for c in word)]
    return " ".join("#" + word for word in kept[:MOST_HASHTAGS])


def json_value(text: str) -> str:
    """The first JSON object or list in the answer, as it was written; the whole answer where there is none."""
    for place in (*(fenced[1] for fenced in _FENCED.finditer(text)), text):
        if (found := _first_value(place)) is not None:
            return found
    return text.strip()


def _first_value(text: str) -> str | None:
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    for number, start in enumerate(re.finditer(r"[{\[]", text)):
        if number >= MOST_TRIES:
            break
        try:
            _value, end = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        return text[start.start() : end]
    return None


def refuse_constant(name: str) -> None:
    """For json's parse_constant: NaN and Infinity are Python's, not JSON's."""
    raise ValueError(name)


CLEANERS: dict[str, Callable[[str], str]] = {
    "strip": strip,
    "first_line": first_line,
    "lines": lines,
    "no_markdown": no_markdown,
    "no_thinking": no_thinking,
    "no_preamble": no_preamble,
    "no_quotes": no_quotes,
    "hashtags": hashtags,
    "json": json_value,
}


def names(written: str) -> list[str]:
    """The cleaners of "no_thinking | hashtags", in order."""
    return [name.strip() for name in written.split("|")] if written.strip() else []


def clean(written: str, text: str) -> str:
    """The answer after the named cleaners, first to last. Raises KeyError for a name the configuration never has."""
    for name in names(written):
        text = CLEANERS[name](text)
    return text
