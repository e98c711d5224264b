from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collect.made import example, examples
from tuneloop.collect import formats, providers
from tuneloop.errors import BadInput, Damaged
from tuneloop.records import Example

CONTEXT = (("assistant", "Раньше."), ("user", "А если так?"), ("assistant", "Тогда иначе."), ("user", "Понял."))
RICH = example(3, context=CONTEXT)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
drawn_examples = st.builds(
    Example,
    id=texts,
    chat=texts,
    dialogue=texts,
    speaker=texts,
    question=texts,
    answer=texts,
    context=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), max_size=4).map(tuple),
    messages=st.lists(st.integers(-(2**53), 2**53), max_size=5).map(tuple),
    time=st.integers(0, 2**33),
    language=st.sampled_from(["ru", "en", "und", ""]),
    edge=st.sampled_from(["reply", "ranked", "turn"]),
    confidence=st.floats(0, 1),
)


@given(st.lists(drawn_examples, max_size=5))
@settings(max_examples=200, deadline=None)
def test_canonical_lines_give_the_same_examples_back(found: list[Example]) -> None:
    text = formats.jsonl(map(formats.canonical, found))
    assert text.count("\n") == len(found)
    assert not re.search("[\u2028\u2029\u0085]", text)
    assert [formats.from_canonical(json.loads(line)) for line in text.split("\n")[:-1]] == found


@given(drawn_examples, st.sampled_from(["", "Отвечай кратко."]))
@settings(max_examples=150, deadline=None)
def test_every_chat_format_holds_the_same_conversation(found: Example, system: str) -> None:
    turns = found.conversation(system)
    told = formats.openai(found, system)["messages"]
    assert told == turns

    line = formats.gemini(found, system)
    back = [
        {"role": {"model": "assistant", "user": "user"}[c["role"]], "content": c["parts"][0]["text"]}
        for c in line["contents"]
    ]
    if system:
        back.insert(0, {"role": "system", "content": line["systemInstruction"]["parts"][0]["text"]})
    assert back == turns

    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    shared = formats.sharegpt(found, system)["conversations"]
    assert [{"role": roles[t["from"]], "content": t["value"]} for t in shared] == turns

    old = formats.alpaca(found, system)
    flat = [text for pair in old.get("history", []) for text in pair] + [old["instruction"], old["output"]]
    assert ([system] if system else []) + flat == [t["content"] for t in turns]


def test_roles_alternate_from_user_to_model() -> None:
    roles = [c["role"] for c in formats.gemini(RICH)["contents"]]
    assert roles == ["user", "model"] * (len(roles) // 2)


@given(st.text(max_size=30))
@settings(max_examples=300)
def test_no_cell_is_a_formula(text: str) -> None:
    assert not formats.cell(text).startswith(formats.FORMULA)
    assert formats.cell(text).lstrip(" \n")[:1] not in set("=+-@\t\r\0")


@pytest.mark.parametrize("start", ["=1+1", "+7", "-2", "@SUM(A1)", "\t=1", "\r=1", "\0=1", "  =cmd|' /C calc'!A0"])
def test_formula_cells_of_the_csv_are_text(start: str) -> None:
    found = [example(0, question=start, answer=start, context=(("user", start),), speaker=start)]
    body = formats.csv_bytes([("train", found)])
    assert body.startswith('\ufeff"id"'.encode())
    rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    assert rows[0] == list(formats.COLUMNS)
    for cell in rows[1]:
        assert not cell.startswith(formats.FORMULA), cell
    assert rows[1][rows[0].index("question")] == "'" + start.replace("\0", "")


def test_csv_keeps_cyrillic_quotes_and_line_ends() -> None:
    text = 'Он сказал: "да",\nи ушёл; ну-ну'
    body = formats.csv_bytes([("test", [example(1, answer=text)])])
    row = next(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    assert row["answer"] == text
    assert row["split"] == "test"


def test_parquet_holds_every_row() -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    body = formats.render("parquet", [("train", examples(5)), ("test", [RICH])])
    rows = pyarrow.read_table(io.BytesIO(body)).to_pylist()
    assert [r["split"] for r in rows] == ["train"] * 5 + ["test"]
    assert rows[-1]["answer"] == RICH.answer
    assert json.loads(rows[-1]["context"]) == [list(turn) for turn in CONTEXT]
    assert rows[-1]["time"] == RICH.time


@pytest.mark.parametrize("name", formats.FORMATS)
def test_every_format_is_the_same_bytes_twice_and_may_be_empty(name: str) -> None:
    parts = [("train", examples(4)), ("test", [RICH])]
    assert formats.render(name, parts, "Система") == formats.render(name, parts, "Система")
    assert isinstance(formats.render(name, [("train", [])]), bytes)


@pytest.mark.parametrize(
    ("name", "provider"), [("openai", "openai"), ("openai", "kimi"), ("openai", "hf"), ("gemini", "gemini")]
)
@pytest.mark.parametrize("system", ["", "Отвечай как мастер."])
def test_our_own_validator_accepts_what_we_write(tmp_path: Path, name: str, provider: str, system: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(formats.render(name, [("train", [*examples(30), RICH])], system))
    outcome = providers.validate(path, provider)
    assert (outcome.errors, outcome.warnings, outcome.examples) == (0, 0, 31), outcome.findings
    assert outcome.enough


def test_unknown_format_is_named() -> None:
    with pytest.raises(BadInput, match="'xml'") as caught:
        formats.render("xml", [])
    assert "parquet" in caught.value.fix


def test_damaged_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.examples.jsonl"
    path.write_text('{"id": "a"}\nnope\n')
    lines = formats.read_jsonl(path)
    with pytest.raises(Damaged, match="not an example"):
        formats.from_canonical(next(lines))
    with pytest.raises(Damaged, match="line 2"):
        next(lines)
