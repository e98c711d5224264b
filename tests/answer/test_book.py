"""tuneloop.toml's engines and tasks: everything wrong is refused as a whole, with its key and its line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop import settings as knobs
from tuneloop.answer.book import LARGEST, Book, parse, read
from tuneloop.errors import BadInput, Missing
from tuneloop.records import EngineSpec, Task, Variant

WHOLE = """
# who answers
[serve]
port = 8091

[engines.deepseek]
url = "https://api.deepseek.com/v1/"
key_env = "DEEPSEEK_API_KEY"
headers = { X-Title = "shop" }
parallel = 16
first = 12.5

[engines.box]
kind = "ollama"
url = "http://10.0.0.5:11434"

[engines.adapters]
kind = "llamacpp"
file = "models/base.gguf"
adapters = { news = "models/news.gguf" }

[tasks.hashtags]
system = "You know what people search for."
prompt = "Hashtags for: {text}"
cleaner = "no_thinking | hashtags"
checks = ["hashtags:3-10", "language:same"]
route = "fixed"
fallback = false
retries = 3
total = 20
cache = 3600
limit = "60/minute"
original = "plain"
switch = "auto"
threshold = 0.7

[tasks.hashtags.variants.enhanced]
weight = 0.8

[tasks.hashtags.variants.plain]
engine = "deepseek"
model = "deepseek-chat"
weight = 0.2
parameters = { temperature = 0.2, stop = ["\\n\\n"], response_format = { type = "text" } }
price_in = 0.27
price_out = 1.1
when = { plan = "free" }

[tasks.support]
"""


def book(text: str, folder: Path = Path("/nowhere")) -> Book:
    return parse(text.encode(), folder)


def refusal(text: str, folder: Path = Path("/nowhere")) -> str:
    with pytest.raises(BadInput) as caught:
        book(text, folder)
    assert caught.value.fix
    return caught.value.message


def test_everything_written_is_read(tmp_path: Path) -> None:
    found = book(WHOLE, tmp_path)
    assert found.engines["deepseek"] == EngineSpec(
        "deepseek", "openai", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", {"X-Title": "shop"},
        parallel=16, first=12.5,
    )  # fmt: skip
    assert found.engines["local"] == EngineSpec("local", "local")
    assert found.engines["adapters"].file == str(tmp_path / "models/base.gguf")
    assert found.engines["adapters"].adapters == {"news": str(tmp_path / "models/news.gguf")}
    task = found.tasks["hashtags"]
    enhanced = Variant("enhanced", "local", "active", 0.8)
    plain = Variant(
        "plain", "deepseek", "deepseek-chat", 0.2,
        {"temperature": 0.2, "stop": ["\n\n"], "response_format": {"type": "text"}}, 0.27, 1.1, {"plan": "free"},
    )  # fmt: skip
    assert task == Task(
        "hashtags", (enhanced, plain), "You know what people search for.", "Hashtags for: {text}",
        "no_thinking | hashtags", ("hashtags:3-10", "language:same"), "fixed", False, 3, 20.0, 3600.0, "60/minute",
        "plain", "auto", 0.7,
    )  # fmt: skip
    assert found.tasks["support"].variants == (Variant("active", "local", "active"),)
    assert found.names["hashtags"] == (task, None)
    assert found.names["hashtags/plain"] == (task, plain)


def test_without_tasks_there_is_chat() -> None:
    found = book("[serve]\nport = 1\n")
    assert found.tasks == {"chat": Task("chat", (Variant("active", "local", "active"),))}
    assert found.engines == {"local": EngineSpec("local", "local")}


def test_the_settings_beside_it_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "tuneloop.toml").write_text(WHOLE, encoding="utf-8")
    assert knobs.load(tmp_path, {}).integer("serve.port") == 8091
    (tmp_path / "tuneloop.toml").write_text("[engine.x]\nurl = 'http://h'\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"engine\.x"):
        knobs.load(tmp_path, {})


ENGINE = "[engines.x]\n"
TASK = "[tasks.t]\n"
VARIANT = "[tasks.t.variants.v]\n"
OPENAI = ENGINE + "url = 'http://h/v1'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OPENAI + "parralel = 3\n", "engines.x.parralel (line 3): 'parralel' is not known; did you mean 'parallel'?"),
        (ENGINE + "url = 'ftp://h'\n", "engines.x.url (line 2)"),
        (ENGINE + "url = 'h/v1'\n", "engines.x.url"),
        (ENGINE + "url = 'http://'\n", "engines.x.url"),
        (ENGINE + "url = 'http://h:port'\n", "engines.x.url"),
        (ENGINE + "url = 'http://[::1'\n", "engines.x.url"),
        (ENGINE + "url = 'http://h/a b'\n", "engines.x.url"),
        (ENGINE, "engines.x.url"),
        (ENGINE + "kind = 'echo'\nurl = 'http://h'\n", "has no url"),
        (ENGINE + "kind = 'opnai'\n", "did you mean 'openai'"),
        (ENGINE + "kind = 'local'\n", "engines.x.kind"),
        ("[engines.local]\nkind = 'echo'\n", "engines.local.kind"),
        (ENGINE + "kind = 'llamacpp'\n", "engines.x.file"),
        (OPENAI + "file = 'a.gguf'\n", "engines.x.file"),
        (OPENAI + "adapters = { a = 'b' }\n", "engines.x.adapters"),
        (OPENAI + "parallel = 0\n", "engines.x.parallel"),
        (OPENAI + "parallel = 1.5\n", "engines.x.parallel"),
        (OPENAI + "parallel = true\n", "engines.x.parallel"),
        (OPENAI + "first = nan\n", "engines.x.first"),
        (OPENAI + "first = inf\n", "engines.x.first"),
        (OPENAI + "first = '3'\n", "engines.x.first"),
        (OPENAI + "headers = { X = 1 }\n", "engines.x.headers"),
        (OPENAI + 'headers = { X = "a\\r\\nY: b" }\n', "engines.x.headers"),
        (OPENAI + "headers = { Host = 'h' }\n", "engines.x.headers"),
        ("[engines.X]\nurl = 'http://h'\n", "engines.X (line 1): a name"),
        ("engines = 3\n", "engines (line 1): must be a table"),
        ("[engines]\nx = 'http://h'\n", "engines.x (line 2): must be a table"),
        ("[tasks.active]\n", "tasks.active"),
        ("[tasks.tuneloop]\n", "tasks.tuneloop"),
        ("[tasks.'a/b']\n", "tasks.a/b"),
        (f"[tasks.{'a' * 65}]\n", "a name has 1 to 64"),
        (TASK + "sytem = 'a'\n", "did you mean 'system'"),
        (TASK + "prompt = 'no place'\n", "tasks.t.prompt (line 2)"),
        (TASK + "prompt = 3\n", "tasks.t.prompt"),
        (TASK + "cleaner = 'hashtag'\n", "did you mean 'hashtags'"),
        (TASK + "checks = 'json'\n", "tasks.t.checks"),
        (TASK + "checks = ['min_chars']\n", "'min_chars'"),
        (TASK + "checks = ['min_char:3']\n", "did you mean 'min_chars'"),
        (TASK + "checks = ['json', 'json']\n", "twice"),
        (TASK + "checks = ['json_schema:gone.json']\n", "gone.json"),
        (TASK + "checks = ['json_schema:/etc/passwd']\n", "leaves the workspace"),
        (TASK + "checks = ['json_schema:../x.json']\n", "leaves the workspace"),
        (TASK + "route = 'cheep'\n", "tasks.t.route"),
        (TASK + "fallback = 'yes'\n", "tasks.t.fallback"),
        (TASK + "retries = -1\n", "tasks.t.retries"),
        (TASK + "threshold = 1.1\n", "tasks.t.threshold"),
        (TASK + "cache = -1\n", "tasks.t.cache"),
        (TASK + "limit = 'often'\n", "tasks.t.limit"),
        (TASK + "limit = '0/minute'\n", "tasks.t.limit"),
        (TASK + "original = 'v'\n", "tasks.t.original"),
        (TASK + "switch = 'auto'\n", "needs an 'original'"),
        (TASK + "switch = 'auto'\noriginal = 'v'\n" + VARIANT, "needs an 'original'"),
        (TASK + "switch = 'auto'\noriginal = 'v'\n[tasks.t.variants.a]\n" + VARIANT, "needs checks"),
        (TASK + "variants = 3\n", "tasks.t.variants"),
        (VARIANT + "engine = 'lcal'\n", "v.engine (line 2): 'lcal' is not known; did you mean 'local'?"),
        (VARIANT + "weight = -1\n", "tasks.t.variants.v.weight"),
        (VARIANT + "weight = 0\n", "tasks.t.variants (line 1): at least one variant"),
        (VARIANT + "weight = nan\n", "tasks.t.variants.v.weight"),
        (VARIANT + "weihgt = 1\n", "did you mean 'weight'"),
        (OPENAI + VARIANT + "engine = 'x'\n", "tasks.t.variants.v.model"),
        (VARIANT + "parameters = { messages = [] }\n", "'messages' is not a parameter"),
        (VARIANT + "parameters = { when = 2020-01-01 }\n", "tasks.t.variants.v.parameters"),
        (VARIANT + "parameters = { t = inf }\n", "tasks.t.variants.v.parameters"),
        (VARIANT + "when = { plan = 1 }\n", "tasks.t.variants.v.when"),
        (TASK + 'system = "a\\u0000b"\n', "tasks.t.system"),
        ("[tasks.t\n", "line 1"),
        ("a = " + "[" * 100_000, "cannot be read"),
    ],
)  # fmt: skip
def test_wrong_lines_are_named(text: str, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize(
    "line",
    [
        "key = 'SECRET'",
        "api_key = 'SECRET'",
        "Authorization = 'SECRET'",
        "key_env = 'sk-SECRET'",
        "key_env = 'SECRETsecret'",
        "headers = { Authorization = 'Bearer SECRET' }",
        "headers = { x-api-key = 'SECRET' }",
    ],
)
def test_a_key_in_plain_is_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(BadInput) as caught:
        book(OPENAI + line + "\n")
    assert "key_env" in caught.value.fix
    assert "SECRET" not in caught.value.message + caught.value.fix


def test_a_key_inside_an_address_is_refused_and_not_repeated() -> None:
    for url in ("https://me:SECRET@h/v1", "https://SECRET@h/v1", "https://h/v1?key=SECRET", "https://h/v1#SECRET"):
        assert "SECRET" not in refusal(ENGINE + f"url = '{url}'\n")


def test_schema_files_are_found_inside_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    schema = tmp_path / "schemas" / "a.json"
    schema.write_text(json.dumps({"type": "object"}))
    text = TASK + "checks = ['json_schema:schemas/a.json']\n"
    assert book(text, tmp_path).tasks["t"].checks == (f"json_schema:{schema}",)
    schema.write_text(json.dumps({"pattern": "(a+)+$"}))
    assert "'pattern'" in refusal(text, tmp_path)  # looked at anew, and not understood


def test_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not there"):
        read(tmp_path / "tuneloop.toml")
    (tmp_path / "tuneloop.toml").write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(BadInput, match="larger"):
        read(tmp_path / "tuneloop.toml")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=300))
def test_any_text_is_a_book_or_one_clear_error(text: str | bytes) -> None:
    try:
        parse(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"), Path("/nowhere"))
    except BadInput as problem:
        assert problem.message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted({*EngineSpec.__slots__, *Task.__slots__, *Variant.__slots__})


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([("engines", "x"), ("tasks", "t"), ("tasks", "t", "variants", "v")]),
    st.dictionaries(st.sampled_from(KEYS), VALUES.filter(lambda v: v is not None), min_size=1, max_size=4),
)
def test_any_value_is_taken_or_one_clear_error(path: tuple[str, ...], fields: dict[str, object]) -> None:
    import tomlkit

    document = tomlkit.document()
    here: object = document
    for name in path:
        here[name] = {}  # type: ignore[index]
        here = here[name]  # type: ignore[index]
    try:
        for key, value in fields.items():
            here[key] = value  # type: ignore[index]
        text = tomlkit.dumps(document).encode()
        tomllib.loads(text.decode())
    except (ValueError, TypeError, tomlkit.exceptions.TOMLKitError):
        return
    try:
        parse(text, Path("/nowhere"))
    except BadInput as problem:
        assert problem.message.startswith(".".join(path)[:5])
