from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuneloop.collect import providers
from tuneloop.errors import BadInput

SYSTEM = {"role": "system", "content": "Отвечай как мастер."}
USER = {"role": "user", "content": "Цепь гремит?"}
ASSISTANT = {"role": "assistant", "content": "Смажь её."}
KEYS = ["messages", "contents", "role", "parts", "content", "text", "weight", "input", "prompt"]
GOOD = {"messages": [SYSTEM, USER, ASSISTANT]}


def written(path: Path, lines: list[Any], end: str = "\n") -> Path:
    path.write_bytes("".join(json.dumps(line, ensure_ascii=False) + end for line in lines).encode())
    return path


def codes(path: Path, provider: str = "openai", **options: Any) -> dict[str, int]:
    return dict(providers.validate(path, provider, **options).codes)


def test_good_file_has_no_findings(tmp_path: Path) -> None:
    done = providers.validate(written(tmp_path / "a.jsonl", [GOOD] * 12), "openai")
    assert (done.errors, done.warnings, done.examples, done.lines) == (0, 0, 12, 12)
    assert done.enough
    assert done.epochs == 8  # 100 // 12
    assert (done.messages_min, done.messages_max, done.missing_system, done.missing_user) == (3, 3, 0, 0)


def test_toy_file_of_five_lines(tmp_path: Path) -> None:
    """The published worked example in numbers: five lines, 2 to 9 messages, one without a system text, one without a
    user, one of about 8,000 tokens that the model of 2023 cuts at 4,096: no error, 20 epochs, and yet too few."""
    long = {"role": "user", "content": "word " * 6400}
    nine = [SYSTEM, *[USER, ASSISTANT] * 4]
    lines = [GOOD, {"messages": [USER, ASSISTANT]}, {"messages": [SYSTEM, ASSISTANT]}, {"messages": nine}]
    lines.append({"messages": [SYSTEM, long, ASSISTANT]})
    done = providers.validate(written(tmp_path / "toy.jsonl", lines), "openai", model="gpt-3.5-turbo", on="2023-09-01")
    assert done.errors == 0
    assert (done.missing_system, done.missing_user) == (1, 1)
    assert (done.messages_min, done.messages_max) == (2, 9)
    assert done.limits["tokens"] == 4096
    assert done.over_limit == 1
    assert 7500 < done.tokens_max < 8500
    rest = done.tokens - done.tokens_max
    assert done.billed == 4096 + rest
    assert 4200 < done.billed < 4420
    assert done.epochs == 20
    assert not done.enough, "ten examples are the minimum, which is no error of any line"
    assert dict(done.codes) == {"over_token_limit": 1}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ([1, 2], "data_type"),
        ("text", "data_type"),
        (None, "data_type"),
        ({}, "missing_messages_list"),
        ({"messages": []}, "missing_messages_list"),
        ({"messages": {"role": "user"}}, "missing_messages_list"),
        ({"prompt": "a", "completion": "b"}, "missing_messages_list"),
        ({"input": {}, "preferred_output": [], "non_preferred_output": []}, "preference_line"),
        ({"messages": [USER, ASSISTANT], "id": 7}, "unrecognized_line_key"),
        ({"messages": ["hello", ASSISTANT]}, "message_type"),
        ({"messages": [{"role": "user"}, ASSISTANT]}, "message_missing_key"),
        ({"messages": [{"content": "a"}, ASSISTANT]}, "message_missing_key"),
        ({"messages": [{**USER, "date": "2020"}, ASSISTANT]}, "message_unrecognized_key"),
        ({"messages": [{**USER, "role": "human"}, ASSISTANT]}, "unrecognized_role"),
        ({"messages": [{**USER, "content": ""}, ASSISTANT]}, "missing_content"),
        ({"messages": [{**USER, "content": "  \n"}, ASSISTANT]}, "missing_content"),
        ({"messages": [{**USER, "content": 5}, ASSISTANT]}, "missing_content"),
        ({"messages": [{**USER, "content": None}, ASSISTANT]}, "missing_content"),
        ({"messages": [{**USER, "content": [{"type": "text", "text": ""}]}, ASSISTANT]}, "missing_content"),
        ({"messages": [SYSTEM, USER]}, "example_missing_assistant_message"),
        ({"messages": [USER, ASSISTANT, USER]}, "last_not_assistant"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, "system_not_first"),
        ({"messages": [USER, {**ASSISTANT, "weight": 2}]}, "invalid_weight"),
        ({"messages": [USER, {**ASSISTANT, "weight": True}]}, "invalid_weight"),
        ({"messages": [{**USER, "weight": 1}, ASSISTANT]}, "invalid_weight"),
    ],
)
def test_openai_findings(tmp_path: Path, line: Any, code: str) -> None:
    done = providers.validate(written(tmp_path / "a.jsonl", [GOOD, line]), "openai")
    assert set(done.codes) == {code}
    finding = done.findings[0]
    assert finding.line == 2
    assert finding.message
    assert finding.fix


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [USER, {**ASSISTANT, "weight": 0}]},
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, ASSISTANT]},
        {"messages": [{**USER, "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ASSISTANT]},
        {"messages": [{**USER, "name": "mira"}, ASSISTANT], "parallel_tool_calls": False},
        {"messages": [{"role": "developer", "content": "Кратко."}, USER, ASSISTANT]},
    ],
)
def test_openai_allows(tmp_path: Path, line: Any) -> None:
    assert codes(written(tmp_path / "a.jsonl", [line])) == {}


def turn(role: str, text: Any = "слово") -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (GOOD, "old_format"),
        (GOOD | {"contents": "words"}, "old_format"),
        ({}, "missing_contents"),
        ({"contents": []}, "missing_contents"),
        ({"contents": [turn("user"), turn("assistant")]}, "unrecognized_role"),
        ({"contents": [turn("model"), turn("model")]}, "first_not_user"),
        ({"contents": [turn("user")]}, "example_missing_assistant_message"),
        ({"contents": [turn("user"), turn("user"), turn("model")]}, "roles_do_not_alternate"),
        ({"contents": ["a", turn("model")]}, "message_type"),
        ({"contents": [{"role": "user"}, turn("model")]}, "missing_parts"),
        ({"contents": [{"role": "user", "parts": [{}]}, turn("model")]}, "invalid_part"),
        ({"contents": [turn("user", " "), turn("model")]}, "missing_content"),
        ({"contents": [turn("user", 5), turn("model")]}, "missing_content"),
        ({"contents": [turn("user"), turn("model")], "note": 1}, "unrecognized_line_key"),
        ({"contents": [turn("user"), turn("model")], "systemInstruction": "text"}, "missing_parts"),
    ],
)
def test_gemini_findings(tmp_path: Path, line: Any, code: str) -> None:
    assert code in codes(written(tmp_path / "a.jsonl", [line]), "gemini")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([GOOD, GOOD], {}),
        ([{"text": "a"}, {"text": "b"}], {}),
        ([{"prompt": "a", "completion": "b"}], {}),
        ([{"prompt": [USER], "completion": [ASSISTANT]}], {}),
        ([{"prompt": "a", "completion": ""}], {"missing_content": 1}),
        ([{"conversations": []}], {"needs_conversion": 1}),
        ([{"instruction": "a", "output": "b"}], {"needs_conversion": 1}),
        ([{"question": "a"}], {"unknown_columns": 1}),
        ([{"text": "a", "n": 1}, {"text": "b", "n": "1"}], {"mixed_types": 1}),
        ([{"text": "a", "n": 1}, {"text": "b", "n": 1.5}], {}),
        ([{"text": "a", "n": 1}, {"text": "b"}], {"mixed_columns": 1}),
        ([{"text": "a", "n": None}, {"text": "b", "n": None}], {}),
    ],
)
def test_hugging_face_findings(tmp_path: Path, lines: list[Any], found: dict[str, int]) -> None:
    assert codes(written(tmp_path / "a.jsonl", lines), "hf") == found


def test_kimi_says_that_it_is_unverified(tmp_path: Path) -> None:
    done = providers.validate(written(tmp_path / "a.jsonl", [GOOD]), "kimi")
    assert done.errors == 0
    assert "unverified" in done.note


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "empty_file", 0),
        (b"\n\n", "empty_line", 1),
        ("{}".encode("utf-16"), "encoding", 0),
        ('{"messages": []}\n'.encode("utf-16-le"), "encoding", 0),
        (b"PK\x03\x04rest", "not_text", 0),
        (b"\x1f\x8b\x08\x00", "not_text", 0),
        (b"PAR1....", "not_text", 0),
        (b'[\n{"messages": []}\n]', "not_jsonl", 0),
        (b'{\n "messages": []\n}', "not_jsonl", 0),
        (b"[" * 78_000, "too_deep", 1),
        (b'{"a":' * 50_000, "too_deep", 1),
        (b"nope", "not_json", 1),
        (b'{"messages": NaN}', "not_json", 1),
        (b'{"messages": [' + b"9" * 5000 + b"]}", "not_json", 1),
        (b'{"a": "\x00"}', "not_json", 1),
        ('{"a": "цепь"}'.encode("cp1251"), "not_utf8", 1),
        (b"x" * (providers.LONGEST_LINE + 10), "line_too_long", 1),
    ],
)
def test_hostile_input_is_one_finding(tmp_path: Path, content: bytes, code: str, line: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    start = time.process_time()
    done = providers.validate(path, "openai")
    assert time.process_time() - start < 2
    found = [f for f in done.findings if f.code == code]
    assert found
    assert found[0].line == line
    others = set(done.codes) - {code}
    assert others <= {"empty_file"}, others


def test_windows_1251_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"messages": "смазать цепь"}'.encode("cp1251"))
    assert "windows-1251" in providers.validate(path, "openai").findings[0].message


def test_surrogates_and_nul_in_escapes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lone, nul, pair = r"\ud83d", r"\u0000", r"\ud83d\ude00"
    body = '{"messages": [{"role": "user", "content": "X"}, {"role": "assistant", "content": "ok"}]}\n'
    path.write_text(body.replace("X", "a" + lone) + body.replace("X", "a" + nul) + body.replace("X", pair))
    assert codes(path) == {"lone_surrogate": 1, "nul": 1}


def test_fix_mends_what_is_mechanical_and_keeps_the_rest(tmp_path: Path) -> None:
    path, mended = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    odd = {"messages": [{**USER, "id": 4}, {"role": "gpt", "content": "Да"}], "source": "chat"}
    broken = '{"messages": [}'
    lone = (
        r'{"messages": [{"role": "user", "content": "a\ud83d \u0000b \\u0000"}, {"role": "assistant", "content": "c"}]}'
    )
    text = "\ufeff" + "\r\n".join([json.dumps(odd, ensure_ascii=False), "", broken, lone]) + "\r\n"
    path.write_bytes(text.encode())
    before = path.read_bytes()
    done = providers.validate(path, "openai", fix=mended)
    assert path.read_bytes() == before
    assert {"bom", "crlf", "empty_line", "message_unrecognized_key", "unrecognized_role", "nul"} <= set(done.codes)
    after = providers.validate(mended, "openai")
    assert set(after.codes) == {"not_json", "crlf"}, "only the broken line is left, as it was"
    lines = mended.read_bytes().split(b"\n")
    assert json.loads(lines[0]) == {"messages": [USER, {"role": "assistant", "content": "Да"}]}
    assert lines[1] == broken.encode() + b"\r"
    assert json.loads(lines[2])["messages"][0]["content"] == "a\ufffd b \\u0000"
    assert not list(tmp_path.glob(".*.part"))


def test_fix_converts_the_gemini_form_of_2024(tmp_path: Path) -> None:
    path, mended = written(tmp_path / "a.jsonl", [GOOD] * 3), tmp_path / "b.jsonl"
    providers.validate(path, "gemini", fix=mended)
    after = providers.validate(mended, "gemini")
    assert (after.errors, after.warnings, after.examples) == (0, 0, 3)
    assert json.loads(mended.read_text().splitlines()[0])["systemInstruction"]["parts"] == [{"text": SYSTEM["content"]}]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(KEYS) | st.text(max_size=3),
                        inner,
                        max_size=4,
                    )
                ),
                max_leaves=12,
            ).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=8,
    ),
    st.sampled_from(["openai", "gemini", "kimi", "hf"]),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
)
@settings(max_examples=400, deadline=None)
@example([b'{"messages":[{}]}'], "gemini", b"\n")
def test_whatever_is_in_the_file_the_answer_is_an_outcome(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], provider: str, end: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path, mended = folder / "a.jsonl", folder / "b.jsonl"
    path.write_bytes(end.join(lines))
    done = providers.validate(path, provider, fix=mended)
    assert done.errors + done.warnings == done.codes.total()
    assert len(done.findings) <= done.codes.total()
    assert all(f.message and f.fix and f.line <= done.lines for f in done.findings)
    json.dumps(done.as_dict())
    if done.mended:
        after = providers.validate(mended, provider)
        assert after.errors <= done.errors
        assert "bom" not in after.codes


def test_limits_have_versions() -> None:
    assert providers.limits("openai", "gpt-3.5-turbo", "2023-09-01")[1]["tokens"] == 4096
    assert providers.limits("openai", "gpt-3.5-turbo", "2024-01-01")[1]["tokens"] == 16385
    assert providers.limits("openai", "gpt-4o-mini-2024-07-18")[1]["tokens"] == 65536
    assert providers.limits("openai")[0] == "gpt-4o-mini"
    assert providers.limits("gemini")[1]["tokens"] == 131072
    assert providers.limits("gemini", "gemini-1.0-pro-002")[1]["minimum"] == 16


@pytest.mark.parametrize(
    ("provider", "model", "on"),
    [("mystery", None, "9999"), ("openai", "gpt-99", "9999"), ("openai", "gpt-4o-mini", "2020-01-01")],
)
def test_unknown_names_are_refused_with_the_known_ones(provider: str, model: str | None, on: str) -> None:
    with pytest.raises(BadInput) as caught:
        providers.limits(provider, model, on)
    assert "openai" in caught.value.fix or "gpt-4o-mini" in caught.value.fix


def test_every_row_of_the_table_is_dated_and_has_a_source() -> None:
    for name, provider in providers.providers().items():
        assert provider["checked"] >= "2026-01-01", name
        assert provider["source"]
        for row in provider["limits"]:
            assert row["source"]
            assert time.strptime(row["since"], "%Y-%m-%d")
            assert row["tokens"] > 0
            assert row["minimum"] >= 1


def test_findings_are_counted_but_not_hoarded(tmp_path: Path) -> None:
    done = providers.validate(written(tmp_path / "a.jsonl", [{}] * 5000), "openai")
    assert done.errors == 5000
    assert len(done.findings) == providers.SHOWN


def test_estimate_is_near_the_published_rule_of_thumb() -> None:
    assert providers.estimate_tokens("") == 0
    assert 90 <= providers.estimate_tokens("This is a plain English sentence. " * 12) <= 110
    assert 22 <= providers.estimate_tokens("Это обычное русское предложение, без причуд. " * 2) <= 35


@pytest.mark.soak
def test_half_a_gigabyte_in_constant_memory(tmp_path: Path) -> None:
    _stream(tmp_path, 512 << 20)


def test_forty_megabytes_in_constant_memory(tmp_path: Path) -> None:
    _stream(tmp_path, 40 << 20)


def _stream(folder: Path, size: int) -> None:
    line = json.dumps({"messages": [USER, {"role": "assistant", "content": "слово " * 1500}]}).encode() + b"\n"
    path = folder / "big.jsonl"
    with path.open("wb") as out:
        for _ in range(size // len(line)):
            out.write(line)
    code = (
        "import re; from pathlib import Path; from tuneloop.collect import providers\n"
        f"done = providers.validate(Path({str(path)!r}), 'openai')\n"
        # not getrusage: its peak is inherited from the parent through fork
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024\n"
        "print(done.errors, done.examples, peak)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    errors, examples, peak = map(int, done.stdout.split())
    assert errors == 0
    assert examples == size // len(line)
    assert peak < 150, f"{peak} MB"
