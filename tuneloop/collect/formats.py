"""The file formats a dataset is written in, each a small function from an Example to what the format wants.

openai    JSONL, {"messages": [{"role", "content"}, ...]}              OpenAI, Mistral, Together, TRL, Axolotl
gemini    JSONL, {"systemInstruction", "contents": [{"role", "parts"}]} Vertex AI
sharegpt  JSONL, {"conversations": [{"from", "value"}, ...]}           LLaMA-Factory, Axolotl
alpaca    JSON,  [{"instruction", "input", "output", "history"}]        LLaMA-Factory and older trainers
json      JSON,  the canonical examples with their evidence
csv       for a spreadsheet; parquet for pandas and DuckDB
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tuneloop.errors import BadInput, Damaged, MissingExtra
from tuneloop.records import Example
from tuneloop.texts import _

COLUMNS = (
    *("id", "split", "chat", "dialogue", "speaker", "question", "answer", "context"),
    *("messages", "time", "language", "edge", "confidence"),
)
# What a spreadsheet takes for a formula (OWASP: CSV injection). A leading apostrophe makes it text again.
_LINE_ENDS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\u0085": "\\u0085"})
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")

Line = dict[str, Any]


def openai(example: Example, system: str = "") -> Line:
    """OpenAI chat messages."""
    return {"messages": example.conversation(system)}


def gemini(example: Example, system: str = "") -> Line:
    """Vertex AI / Gemini `contents`: roles user and model, the system text apart."""
    contents = [
        {"role": "model" if turn["role"] == "assistant" else "user", "parts": [{"text": turn["content"]}]}
        for turn in example.conversation()
    ]
    if system:
        return {"systemInstruction": {"role": "system", "parts": [{"text": system}]}, "contents": contents}
    return {"contents": contents}


def sharegpt(example: Example, system: str = "") -> Line:
    """ShareGPT: from human / gpt."""
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[t["role"]], "value": t["content"]} for t in example.conversation(system)]}


def alpaca(example: Example, system: str = "") -> Line:
    """Alpaca with LLaMA-Factory's `system` and `history` ([question, answer] pairs) columns."""
    *before, question, answer = example.conversation()
    pairs = [[before[i]["content"], before[i + 1]["content"]] for i in range(0, len(before) - 1, 2)]
    line: Line = {"instruction": question["content"], "input": "", "output": answer["content"]}
    if system:
        line["system"] = system
    if pairs:
        line["history"] = pairs
    return line


def canonical(example: Example) -> Line:
    """Every field of the Example; `from_canonical` reads it back."""
    return dataclasses.asdict(example)


def from_canonical(line: Line) -> Example:
    """The Example a canonical line holds. Raises Damaged when fields are missing."""
    try:
        fields = dict(line)
        fields["context"] = tuple((str(role), str(text)) for role, text in line["context"])
        fields["messages"] = tuple(int(m) for m in line["messages"])
        return Example(**fields)
    except (KeyError, TypeError, ValueError) as problem:
        raise Damaged(
            _("a line of the dataset is not an example: {problem}").format(problem=problem),
            fix=_("Build the dataset again: tuneloop dataset build."),
        ) from problem


def jsonl(lines: Iterable[Line]) -> str:
    """One JSON object a line, UTF-8, LF. U+2028, U+2029 and U+0085 are escaped: some readers end lines there."""
    return "".join(json.dumps(line, ensure_ascii=False).translate(_LINE_ENDS) + "\n" for line in lines)


def read_jsonl(path: Path) -> Iterator[Line]:
    """Lines of a JSONL file this module wrote. Raises Damaged when one is not JSON."""
    with path.open(encoding="utf-8", newline="\n") as handle:
        for number, text in enumerate(handle, 1):
            try:
                yield json.loads(text)
            except ValueError as problem:
                raise Damaged(
                    _("line {n} of {path} is not JSON: {problem}").format(n=number, path=path, problem=problem),
                    fix=_("Build the dataset again: tuneloop dataset build."),
                ) from problem


def cell(value: object) -> str:
    """A spreadsheet cell that is never run as a formula."""
    text = str(value).replace("\0", "")
    # The NUL itself is dropped: no spreadsheet keeps it. What then begins like a formula gets an apostrophe.
    return "'" + text if text.lstrip(" \n").startswith(FORMULA) else text


def table(parts: Sequence[tuple[str, Sequence[Example]]]) -> Iterator[dict[str, Any]]:
    """Flat rows under COLUMNS; context as JSON, message ids joined by spaces."""
    for name, examples in parts:
        for example in examples:
            row = {**canonical(example), "split": name}
            row["context"] = json.dumps(example.context, ensure_ascii=False)
            row["messages"] = " ".join(map(str, example.messages))
            yield {column: row[column] for column in COLUMNS}


def csv_bytes(parts: Sequence[tuple[str, Sequence[Example]]]) -> bytes:
    """CSV with a byte-order mark, without which Excel shows Cyrillic as noise."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in table(parts):
        writer.writerow([cell(row[column]) for column in COLUMNS])
    return out.getvalue().encode("utf-8-sig")


def has_parquet() -> bool:
    """Whether pyarrow is installed."""
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


def parquet_bytes(parts: Sequence[tuple[str, Sequence[Example]]]) -> bytes:
    """Parquet, zstd. Raises MissingExtra without pyarrow."""
    if not has_parquet():
        raise MissingExtra(
            _("Parquet needs pyarrow, which is not installed"),
            fix=_("Install it with: pip install 'tuneloop[parquet]'."),
        )
    import pyarrow
    import pyarrow.parquet

    rows = list(table(parts))
    types = {"time": pyarrow.int64(), "confidence": pyarrow.float64()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in COLUMNS])
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), out, compression="zstd")
    return out.getvalue()


def json_bytes(lines: Iterable[Line]) -> bytes:
    """A JSON array, one element a line, so that a diff stays readable."""
    body = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    return f"[\n{body}\n]\n".encode() if body else b"[]\n"


LINES: dict[str, Callable[[Example, str], Line]] = {"openai": openai, "gemini": gemini, "sharegpt": sharegpt}
# format -> ending of the file name
FORMATS = {
    "openai": ".jsonl",
    "gemini": ".jsonl",
    "sharegpt": ".jsonl",
    "alpaca": ".json",
    "json": ".json",
    "csv": ".csv",
    "parquet": ".parquet",
}


def render(name: str, parts: Sequence[tuple[str, Sequence[Example]]], system: str = "") -> bytes:
    """The bytes of one file in format `name`. Raises BadInput for an unknown format, MissingExtra without pyarrow."""
    examples = [example for _split, members in parts for example in members]
    if name in LINES:
        return jsonl(LINES[name](example, system) for example in examples).encode()
    if name == "alpaca":
        return json_bytes(alpaca(example, system) for example in examples)
    if name == "json":
        return json_bytes({**canonical(e), "split": split} for split, members in parts for e in members)
    if name == "csv":
        return csv_bytes(parts)
    if name == "parquet":
        return parquet_bytes(parts)
    raise BadInput(
        _("'{name}' is not a known format").format(name=name),
        fix=_("Choose one of: {names}.").format(names=", ".join(FORMATS)),
    )
