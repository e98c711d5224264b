"""One table of tuneloop.toml, read field by field: whatever is wrong is named with its key and, in a file, its line."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from tuneloop.answer.layout import line_of
from tuneloop.errors import BadInput
from tuneloop.texts import _

MAX_TEXT = 100_000  # characters of a system text or a prompt: more than the window of any model served here
MAX_VALUE = 64_000  # bytes of a free value (parameters), as JSON
MAX_DEPTH = 16
SEALED = ("key", "api_key", "apikey", "token", "secret", "password", "authorization", "bearer")


@dataclass
class Table:
    """`values` under `path` ("tasks", "hashtags"). Every reader takes its key out; `done` refuses what is left.

    source: the text of the file, to find lines in; "" when there is none that the user could look at.
    """

    path: tuple[str, ...]
    values: Mapping[str, Any]
    source: str = ""
    _read: set[str] = field(default_factory=set)

    def wrong(self, key: str, said: str, fix: str = "") -> BadInput:
        """The error to raise; key: "" for the table itself."""
        path = (*self.path, key) if key else self.path
        line = line_of(self.source, path) if self.source else None
        place = ".".join(path)
        if line:
            place = _("{key} (line {line})").format(key=place, line=line)
        return BadInput(f"{place}: {said}", fix=fix or _("Correct it; `tuneloop tasks check` looks at it again."))

    def inner(self, key: str) -> Table:
        """A table inside this one; an empty one when it is not there."""
        value = self._take(key)
        return table({} if value is None else value, (*self.path, key), self.source)

    def text(self, key: str, default: str = "", *, longest: int = MAX_TEXT) -> str:
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(key, _("must be a text in quotes"))
        if len(value) > longest:
            raise self.wrong(key, _("is longer than {n} characters").format(n=longest))
        if not storable(value):
            raise self.wrong(key, _("has characters that no text may have"))
        return value

    def choice(self, key: str, default: str, options: Collection[str]) -> str:
        value = self.text(key, default)
        if value not in options:
            raise self.wrong(key, *unknown(value, options))
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A finite number from low to high."""
        value = self._take(key)
        if value is None:
            return default
        # A comparison with NaN is false, with infinity it is not.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(key, _("must be a number from {low:g} to {high:g}").format(low=low, high=high))
        return float(value)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, _("must be a whole number from {low} to {high}").format(low=low, high=high))
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, _("must be true or false"))
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, Sequence) or not all(isinstance(v, str) and storable(v) for v in value):
            raise self.wrong(key, _('must be a list of texts: ["...", "..."]'))
        return tuple(value)

    def names(self, key: str) -> dict[str, str]:
        """A table whose values are texts."""
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(v, str) and storable(k + v) for k, v in value.items()):
            raise self.wrong(key, _("must be a table of texts"))
        return dict(value)

    def free(self, key: str) -> dict[str, Any]:
        """A table of anything that JSON can say, small and shallow enough to hand on."""
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not _is_json(value):
            raise self.wrong(key, _("must be a table of texts, finite numbers, true or false, lists and tables"))
        if len(json.dumps(value)) > MAX_VALUE:
            raise self.wrong(key, _("is longer than {n} bytes").format(n=MAX_VALUE))
        return dict(value)

    def done(self) -> None:
        """Raise BadInput for a key nobody asked for."""
        for key in self.values:
            if key in self._read:
                continue
            if key.lower().replace("-", "_") in SEALED:
                raise self.wrong(key, _("keys are never written down here"), key_fix())
            raise self.wrong(key, *unknown(key, self._read))

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self.values.get(key)


def table(value: object, path: tuple[str, ...], source: str) -> Table:
    """Raises BadInput unless `value` is a table."""
    if not isinstance(value, Mapping):
        raise Table(path, {}, source).wrong("", _("must be a table: [{name}]").format(name=".".join(path)))
    return Table(path, value, source)


def unknown(word: str, options: Collection[str]) -> tuple[str, str]:
    """What to say of a word that is none of `options`, and the next step."""
    close = get_close_matches(word, options, n=1)
    said = _("'{word}' is not known").format(word=word[:64])
    if close:
        said = _("'{word}' is not known; did you mean '{close}'?").format(word=word[:64], close=close[0])
    return said, _("Use one of: {options}.").format(options=", ".join(sorted(options)))


def key_fix() -> str:
    return _('Put the key into an environment variable and write its name: key_env = "DEEPSEEK_API_KEY".')


def storable(text: str) -> bool:
    """Whether UTF-8 and TOML can hold it: no halves of surrogate pairs, no NUL."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _is_json(value: object, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and storable(k) and _is_json(v, depth + 1) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_is_json(v, depth + 1) for v in value)
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)
