"""Check a tuning file against what a provider publishes, before a job is paid for: `tuneloop dataset validate`.

The rules are data (`providers.toml`, every row dated and with its source). The file is read line by line in constant
memory, and whatever is in it, the answer is a list of findings: errors, warnings, and apart from both the minimum
number of examples.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from tuneloop.collect.shapes import Problem, check, mend, turns
from tuneloop.errors import BadInput
from tuneloop.progress import Progress, silent
from tuneloop.texts import _

# 131,072 tokens, the longest example any provider takes, are at most about 1 MB of text.
LONGEST_LINE = 8 << 20
SHOWN = 20  # findings kept per code; all are counted
MAGIC = {b"PK\x03\x04": "zip", b"\x1f\x8b": "gzip", b"PAR1": "Parquet", b"SQLite format 3": "SQLite", b"%PDF": "PDF"}
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


@dataclass(frozen=True)
class Finding:
    """`line` counts from 1; 0 is the file as a whole."""

    line: int
    level: str
    code: str
    message: str
    fix: str


@dataclass
class Outcome:
    """What validation found. `tokens` are estimates: see `estimate_tokens`."""

    path: str
    provider: str
    title: str
    note: str
    model: str
    limits: dict[str, Any]
    lines: int = 0
    examples: int = 0
    bytes: int = 0
    errors: int = 0
    warnings: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    messages_min: int = 0
    messages_max: int = 0
    missing_system: int = 0
    missing_user: int = 0
    tokens: int = 0
    tokens_min: int = 0
    tokens_max: int = 0
    over_limit: int = 0
    billed: int = 0
    mended: str = ""

    @property
    def enough(self) -> bool:
        """The minimum-examples rule, apart from errors: a file can be flawless and too small."""
        return self.examples >= int(self.limits["minimum"])

    @property
    def epochs(self) -> int:
        """OpenAI's default: 3 passes, more for few examples (100 in all), fewer above 25,000 in all."""
        n = max(1, self.examples)
        if n * 3 < 100:
            return min(25, 100 // n)
        return max(1, 25_000 // n) if n * 3 > 25_000 else 3

    def as_dict(self) -> dict[str, Any]:
        extra = {"enough": self.enough, "epochs": self.epochs, "codes": dict(sorted(self.codes.items()))}
        return {**asdict(self), **extra}

    def add(self, line: int, problem: Problem) -> None:
        if problem.level == "error":
            self.errors += 1
        else:
            self.warnings += 1
        self.codes[problem.code] += 1
        if self.codes[problem.code] <= SHOWN:
            self.findings.append(Finding(line, problem.level, problem.code, problem.message, problem.fix))


@cache
def providers() -> dict[str, dict[str, Any]]:
    """The table: provider -> its rules; `limits` is a list, newest wins (`limits`)."""
    with (Path(__file__).parent / "providers.toml").open("rb") as handle:
        return tomllib.load(handle)


def limits(provider: str, model: str | None = None, on: str = "9999") -> tuple[str, dict[str, Any]]:
    """The model meant and its limits as published on the day `on` (ISO date). Raises BadInput for unknown names."""
    table = providers()
    if provider not in table:
        raise BadInput(
            _("'{name}' is not a known provider").format(name=provider),
            fix=_("Choose one of: {names}.").format(names=", ".join(table)),
        )
    rows = table[provider]["limits"]
    model = model or rows[0]["models"][0]
    # "gpt-4o-mini-2024-07-18" is the family "gpt-4o-mini": the longest name it begins with
    family = max((m for row in rows for m in row["models"] if f"{model}-".startswith(f"{m}-")), key=len, default=None)
    fitting = [row for row in rows if family in row["models"] and row["since"] <= on]
    if not fitting:
        known = ", ".join(dict.fromkeys(m for row in rows for m in row["models"]))
        raise BadInput(
            _("no limits are known for the model '{model}' of {provider}").format(model=model, provider=provider),
            fix=_("Known: {models}.").format(models=known),
        )
    return model, max(fitting, key=lambda row: str(row["since"]))


def estimate_tokens(text: str) -> int:
    """Tokens of a text without the provider's tokenizer: one for 4 ASCII characters, for 3 Cyrillic ones, for an emoji.

    The first is OpenAI's published rule of thumb for English; the second fits vocabularies of 200,000 entries,
    older ones need up to half as many again for Russian. An estimate, to be read as give or take a quarter.
    """
    ascii_ = len(text.encode("ascii", "ignore"))
    beyond = len(text.encode("utf-8", "surrogatepass")) - len(text)  # 1 for a Cyrillic letter, 3 for an emoji
    return -(-ascii_ // 4) + -(-beyond // 3)


def validate(
    path: Path,
    provider: str,
    *,
    model: str | None = None,
    on: str = "9999",
    fix: Path | None = None,
    watch: Progress = silent,
) -> Outcome:
    """Check every line of a JSONL file; with `fix`, write a copy with the mechanical mistakes mended.

    The copy keeps every line: what no machine can mend stays as it was. The original is never touched.
    """
    name, limit = limits(provider, model, on)
    rules = providers()[provider]
    outcome = Outcome(str(path), provider, rules["title"], rules["note"], name, limit, bytes=path.stat().st_size)
    if outcome.bytes > limit.get("file_bytes", outcome.bytes):
        most = limit["file_bytes"] >> 20
        text = _("the file has {size} MB, {provider} takes {most} MB").format(
            size=outcome.bytes >> 20, provider=rules["title"], most=most
        )
        outcome.add(0, Problem("error", "file_too_large", text, _("Split it, or leave out the longest examples.")))
    if path.suffix != ".jsonl" and rules["shape"] != "any":
        text = _("the file's name does not end in .jsonl")
        outcome.add(0, Problem("warning", "file_name", text, _("Rename it: some upload forms look at the name.")))
    with path.open("rb") as handle:
        if foreign := _not_jsonl(handle.read(4096)):
            outcome.add(0, foreign)
            return _closed(outcome)
        handle.seek(0)
        if fix is None:
            _read(handle, outcome, rules, None, watch)
        else:
            part = fix.with_name(f".{fix.name}.{os.getpid()}.part")
            try:
                with part.open("wb") as out:
                    _read(handle, outcome, rules, out, watch)
                part.replace(fix)
            finally:
                part.unlink(missing_ok=True)
            outcome.mended = str(fix)
    return _closed(outcome)


def _closed(outcome: Outcome) -> Outcome:
    if outcome.examples == 0 and not outcome.errors:
        text = _("there is no example in the file")
        outcome.add(0, Problem("error", "empty_file", text, _("Write one example a line.")))
    most = outcome.limits.get("examples", outcome.examples)
    if outcome.examples > most:
        text = _("{n} examples, at most {most} are taken").format(n=outcome.examples, most=most)
        outcome.add(0, Problem("error", "too_many_examples", text, _("Leave some out.")))
    outcome.findings.sort(key=lambda f: (f.line, f.code))
    return outcome


def _read(handle: BinaryIO, outcome: Outcome, rules: dict[str, Any], out: BinaryIO | None, watch: Progress) -> None:
    columns: dict[str, str] = {}
    done = 0
    for number, raw, pieces in _lines(handle):
        outcome.lines = number
        done += len(raw)
        watch(_("checking"), done, outcome.bytes)
        if pieces:
            text = _("the line is longer than {mb} MB").format(mb=LONGEST_LINE >> 20)
            outcome.add(number, Problem("error", "line_too_long", text, _("One example a line; cut or drop this one.")))
            if out:
                out.write(raw)
                for piece in pieces:
                    out.write(piece)
            else:
                for _piece in pieces:
                    continue
            continue
        problems, line = _parsed(raw, first=number == 1)
        if isinstance(line, dict) and rules["shape"] == "any":
            problems += _mixed(line, columns)
        mended = raw
        if line is not _NOTHING:
            problems += list(check(line, rules))
            _count(line, outcome, rules)
            if problems and out and isinstance(line, dict):
                mended = _rendered(mend(line, rules), raw)
        elif not raw.strip(b" \t\r\n\xef\xbb\xbf"):
            mended = b""
        for problem in problems:
            outcome.add(number, problem)
        if out:
            out.write(mended)


def _lines(handle: BinaryIO) -> Iterator[tuple[int, bytes, Iterator[bytes] | None]]:
    """(number, bytes, None), or for a line over LONGEST_LINE its beginning and an iterator over the rest."""
    number = 0
    while raw := handle.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
            yield number, raw, _rest(handle)
        else:
            yield number, raw, None


def _rest(handle: BinaryIO) -> Iterator[bytes]:
    while piece := handle.readline(1 << 20):
        yield piece
        if piece.endswith(b"\n"):
            return


_NOTHING = object()


def _parsed(raw: bytes, *, first: bool) -> tuple[list[Problem], Any]:
    """The problems of the line as text, and its value (_NOTHING when there is none)."""
    problems = []
    if first and raw.startswith(codecs.BOM_UTF8):
        raw = raw.removeprefix(codecs.BOM_UTF8)
        text = _("the file begins with a byte-order mark")
        problems.append(Problem("error", "bom", text, _("Save it as UTF-8 without BOM: --fix does.")))
    if raw.endswith(b"\r\n"):
        text = _("the line ends in CR LF, as on Windows")
        problems.append(Problem("warning", "crlf", text, _("End lines with LF: --fix does.")))
    if not raw.strip():
        text = _("the line is empty")
        return [*problems, Problem("warning", "empty_line", text, _("Remove it: --fix does."))], _NOTHING
    try:
        line = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as problem:
        text = _("byte {n} is not UTF-8{guess}").format(n=problem.start + 1, guess=_guess(raw))
        return [*problems, Problem("error", "not_utf8", text, _("Save the file as UTF-8."))], _NOTHING
    except RecursionError:
        text = _("the JSON is nested hundreds of levels deep")
        return [*problems, Problem("error", "too_deep", text, _("Drop this line: no example looks so."))], _NOTHING
    except ValueError as problem:
        text = _("not JSON: {problem}").format(problem=str(problem)[:120])
        fix = _("Write each example as one JSON object on one line.")
        return [*problems, Problem("error", "not_json", text, fix)], _NOTHING
    if b"\\ud" in raw or b"\\uD" in raw:
        try:
            json.dumps(line, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            text = _("half of a surrogate pair: no provider can read this character")
            problems.append(Problem("error", "lone_surrogate", text, _("Replace it: --fix does.")))
        except RecursionError:
            pass_depth = Problem("error", "too_deep", _("the JSON is nested too deep"), _("Drop this line."))
            return [*problems, pass_depth], _NOTHING
    if b"\\u0000" in raw and NUL.search(raw.decode()):
        text = _("the text holds the character NUL")
        problems.append(Problem("warning", "nul", text, _("Remove it: --fix does.")))
    return problems, line


def _no_constant(name: str) -> None:
    raise ValueError(_("{name} is not JSON").format(name=name))


def _guess(raw: bytes) -> str:
    try:
        text = raw.decode("cp1251")
    except UnicodeDecodeError:
        return ""
    cyrillic = sum("а" <= c.lower() <= "я" for c in text)
    return _(" (it looks like windows-1251)") if cyrillic > len(text) / 10 else ""


def _count(line: Any, outcome: Outcome, rules: dict[str, Any]) -> None:
    found = turns(line) if isinstance(line, dict) else []
    roles = {role for role, _text in found}
    outcome.examples += 1
    outcome.missing_system += not roles & {"system", "developer"}
    outcome.missing_user += "user" not in roles
    n = len(found)
    outcome.messages_min = n if outcome.examples == 1 else min(outcome.messages_min, n)
    outcome.messages_max = max(outcome.messages_max, n)
    tokens = rules.get("tokens_per_example", 3) + sum(
        rules.get("tokens_per_message", 3) + 1 + estimate_tokens(text) for _role, text in found
    )
    limit = int(outcome.limits["tokens"])
    outcome.tokens += tokens
    outcome.tokens_min = tokens if outcome.examples == 1 else min(outcome.tokens_min, tokens)
    outcome.tokens_max = max(outcome.tokens_max, tokens)
    outcome.billed += min(limit, tokens)
    if tokens > limit:
        outcome.over_limit += 1
        text = _("about {n} tokens, the limit is {limit}").format(n=tokens, limit=limit)
        fix = _("Shorten it: the provider cuts or refuses the rest.")
        outcome.add(outcome.lines, Problem("warning", "over_token_limit", text, fix))


def _mixed(line: dict[str, Any], columns: dict[str, str]) -> list[Problem]:
    problems = []
    for key, value in list(line.items())[:200]:
        kind = type(value).__name__
        known = columns.setdefault(key, kind) if len(columns) < 1000 else kind
        if known != kind and "NoneType" not in (known, kind) and {known, kind} != {"int", "float"}:
            text = _("column '{key}' holds {kind} here and {known} before").format(key=key[:40], kind=kind, known=known)
            problems.append(Problem("error", "mixed_types", text, _("Give a column one type throughout.")))
    if missing := [key for key in columns if key not in line]:
        text = _("column '{key}' of earlier lines is missing").format(key=missing[0][:40])
        problems.append(
            Problem("warning", "mixed_columns", text, _("Give every line the same columns (null is fine)."))
        )
    return problems


def _rendered(line: dict[str, Any], raw: bytes) -> bytes:
    try:
        text = NUL.sub(r"\1", json.dumps(line, ensure_ascii=False))
    except RecursionError:  # readable by the skin of its teeth; too deep to be written: it stays as it was
        return raw
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.encode() + b"\n"


def _not_jsonl(head: bytes) -> Problem | None:
    """The one finding for a file that is something else altogether."""
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            text = _("this is a {kind} file, not text").format(kind=name)
            return Problem("error", "not_text", text, _("Give the .jsonl file itself."))
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or head[1:8:2] == b"\0\0\0\0":
        text = _("the file is UTF-16, not UTF-8")
        return Problem("error", "encoding", text, _("Save it as UTF-8: iconv -f UTF-16 -t UTF-8 OLD > NEW."))
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    first = start.split(b"\n", 1)[0].strip()
    if first in {b"[", b"[{", b"{"} and b"\n" in start:
        text = _("the file is one JSON document over many lines, not one object a line")
        return Problem("error", "not_jsonl", text, _("Convert it: jq -c '.[]' OLD > NEW.jsonl (for a list)."))
    return None
