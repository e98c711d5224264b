"""Checks: what each passes and fails, and that no text makes one raise or dawdle."""

from __future__ import annotations

import json
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.answer.test_cleaners import ATTACKS, PIECES
from tests.conftest import shared_data
from tuneloop.answer.checks import CHECKS, anchored, compiled, label, score, script
from tuneloop.errors import BadInput

ARTICLE = "# Как выбрать чайник\n\nХороший чайник кипятит литр за три минуты.\n\n## Объём\n\nНа семью хватит 1,7 л.\n"
LOOP = "и снова мы идём в лес " * 12


@pytest.mark.parametrize(
    ("check", "question", "passes", "fails"),
    [
        ("min_chars:3", "", " abc ", " ab "),
        ("max_chars:3", "", " abc ", "abcd"),
        ("min_words:2", "", "два слова", "слово!"),
        ("max_words:2", "", "два слова", "уже три слова"),
        ("one_line", "", "\nодна\n", "две\nстроки"),
        ("one_line", "", "одна", " \n "),
        ("finished", "", "Да. («Так!»)", "Да, потому что"),
        ("language:ru", "", "Включи jar в k8s, пожалуйста", "Please turn it on"),
        ("language:en", "", "Turn it on: «да»", "Включи сейчас"),
        ("language:same", "как дела?", "хорошо, спасибо", "fine, thanks"),
        ("language:same", "how are you", "fine", "хорошо"),
        ("language:same", "你好吗今天", "我很好谢谢", "fine"),
        ("json", "", ' {"a": null} ', '{"a": null} done'),
        ("json", "", "null", "NaN"),
        ("json_keys:a, b", "", '{"a": 1, "b": 2, "c": 3}', '{"a": 1}'),
        ("json_keys:a", "", '{"a": 1}', '["a"]'),
        ("hashtags:2-3", "", "#мода #стиль", "#мода #Мода"),
        ("hashtags:2-3", "", "#а1 #b_2 #в", "#а #б #в #г"),
        ("hashtags:1", "", "слово#нет #да", "#1 &#33; a#b"),
        ("contains:Цена", "", "наша цена 5", "нашей цены нет"),
        ("lacks:Цена", "", "нашей цены нет", "ЦЕНА"),
        ("no_links", "", "см. сайт", "см. WWW.site.ru"),
        ("no_markdown", "", "просто 2 * 2", "**жирно**"),
        ("no_thinking", "", "ответ", "<think>x</think>ответ"),
        ("no_repeat", "", ARTICLE, LOOP),
        ("no_repeat", "", "----------", "a" * 30),
        ("no_repeat", "", "да\nда\nда", "строка текста\n" * 3),
        ("no_refusal", "", "Вот ответ. Я не могу выйти из дома", "К сожалению, я не могу с этим помочь"),
        ("no_refusal", "", "I can help you with that", "As an AI language model, I cannot help"),
        ("no_refusal", "", "Чайник 2 л", "Как языковая модель, я ..."),
        ("keywords:2", "Напиши статью про электрические чайники", "Электрический чайник", "Утюги и чайник"),
        ("keywords:9", "Напиши статью про чайники", "чайник", "утюг"),
        ("keywords:100%", "купить зелёный чайник", "Купить чайник зеленого цвета", "чайник купить"),
        ("keywords:50%", "купить зелёный чайник недорого", "чайник, чтобы купить", "чайник"),
        ("keywords:1", "и что?", "ничего", None),
        ("headings", "", ARTICLE, "#хештег\nтекст"),
        ("headings:2", "", "<h1>a</h1><H2>b</H2>", "# одна"),
    ],
)
def test_check(check: str, question: str, passes: str, fails: str | None) -> None:
    assert score([check], question, passes) == (1.0, {check: True})
    if fails is not None:
        assert score([check], question, fails) == (0.0, {check: False})


def test_score_is_the_share_that_passed() -> None:
    assert score([], "", "") == (1.0, {})
    value, passed = score(("min_chars:1", "json", "one_line", "no_links"), "", "так")
    assert (value, passed["json"]) == (0.75, False)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_every_check_explains_itself_by_an_example(name: str, tmp_path: Path) -> None:
    doc = str(CHECKS[name].__doc__)
    example = doc.partition(" - ")[0].split(", ")[0]
    assert example.partition(":")[0] == name
    if name == "json_schema":
        (tmp_path / "schemas").mkdir()
        (tmp_path / "schemas" / "article.json").write_text("{}")
        example = anchored(example, tmp_path)
    compiled(example)


@pytest.mark.parametrize(
    "check",
    [
        "",
        "length",
        "min_chars",
        "min_chars:",
        "min_chars:-1",
        "min_chars:١",
        "min_chars:1e3",
        "min_chars:9999999999",
        "hashtags:5-3",
        "hashtags:a-b",
        "language:",
        "language:de",
        "json:1",
        "contains:",
        "json_keys: ,",
        "keywords:0",
        "keywords:101%",
        "keywords:%",
        "headings:x",
        "json_schema:/nowhere/x.json",
        "no_repeat:2",
    ],
)
def test_wrong_checks_are_refused_with_an_example(check: str) -> None:
    with pytest.raises(BadInput) as caught:
        compiled(check)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("schema", "passes", "fails"),
    [
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}, {"a": 1.0}, {"a": 1.5}),
        ({"type": "object", "required": ["a"]}, {"a": None}, {}),
        ({"properties": {"a": True}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"type": ["string", "null"]}, None, 0),
        ({"type": "number"}, 1, True),
        ({"type": "integer"}, 2**70, False),
        ({"enum": [1, "a", {"x": [1]}]}, {"x": [1.0]}, True),
        ({"const": 0}, 0.0, False),
        ({"minimum": 1, "exclusiveMaximum": 3}, 1, 3),
        ({"exclusiveMinimum": 1, "maximum": 3}, 3, 1),
        ({"minLength": 2, "maxLength": 3}, "аб", "а"),
        ({"items": {"type": "string"}, "minItems": 1, "maxItems": 2}, ["a"], [1]),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], [1, 1.0]),
        ({"minProperties": 1, "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}),
        ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, 7, 4),
        ({"oneOf": [{"minimum": 5}, {"maximum": 7}]}, 3, 6),
        ({"allOf": [{"minimum": 5}, {"maximum": 7}]}, 6, 3),
        ({"not": {"type": "null"}, "description": "anything"}, 1, None),
        (True, 1, ...),
        (False, ..., 1),
    ],
)
def test_schema(tmp_path: Path, schema: object, passes: object, fails: object) -> None:
    (tmp_path / "s.json").write_text(json.dumps(schema))
    check = anchored("json_schema:s.json", tmp_path)
    compiled.cache_clear()
    if passes is not ...:
        assert score([check], "", json.dumps(passes)) == (1.0, {"json_schema:s.json": True})
    if fails is not ...:
        assert score([check], "", json.dumps(fails)) == (0.0, {"json_schema:s.json": False})
    assert score([check], "", "no json")[0] == 0.0
    assert label(check) == "json_schema:s.json"


@pytest.mark.parametrize(
    "schema",
    [
        3,
        {"$ref": "#"},
        {"pattern": "a"},
        {"type": "text"},
        {"type": []},
        {"type": [{}]},
        {"type": 3},
        {"enum": 1},
        {"required": "a"},
        {"required": [1]},
        {"properties": [1]},
        {"minimum": "1"},
        {"minLength": -1},
        {"anyOf": []},
        {"items": 3},
        {"anyOf": {"type": "null"}},
        {"properties": {"a": {"if": True}}},
        {"not": []},
    ],
)
def test_schemas_that_are_not_understood_in_full_are_refused(tmp_path: Path, schema: object) -> None:
    (tmp_path / "s.json").write_text(json.dumps(schema))
    compiled.cache_clear()
    with pytest.raises(BadInput):
        compiled(anchored("json_schema:s.json", tmp_path))


def test_a_schema_that_is_gone_fails_the_answer_and_nothing_else(tmp_path: Path) -> None:
    compiled.cache_clear()
    assert score([f"json_schema:{tmp_path}/gone.json", "json"], "", "1") == (
        0.5,
        {"json_schema:gone.json": False, "json": True},
    )


def test_script_needs_letters() -> None:
    assert script("12, 5!") == script("https://example.com/a/b/c `print` #no") == ""
    assert script("#мода #стиль") == "cyrillic"
    assert script("Да, вот: #outfit #oftheday") == "cyrillic"
    assert script("Ελληνικά") == "other"


READY = ["language:same", "json", "hashtags:1-9", "no_markdown", "no_thinking", "no_repeat", "no_refusal", "headings:1"]
READY += ["keywords:50%", "finished", "one_line", "min_words:3", "contains:a", "no_links", "json_keys:a"]
TEXTS = st.text(max_size=300) | st.lists(PIECES, max_size=80).map("".join)


@settings(max_examples=400, deadline=None)
@given(TEXTS, TEXTS)
def test_no_text_makes_a_check_raise(question: str, answer: str) -> None:
    value, passed = score(READY, question, answer)
    assert value == sum(passed.values()) / len(READY)


def test_no_text_makes_a_check_raise_or_dawdle(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"uniqueItems": True, "items": {"enum": [[[]], 1]}}))
    deep = "[" * 900 + "]" * 900
    many = json.dumps(list(range(20_000)))
    compiled.cache_clear()
    for check in [*READY, anchored("json_schema:s.json", tmp_path)]:
        for text in [*ATTACKS, deep, many, "9" * 10_000]:
            began = time.process_time()
            score([check], text, text)
            assert time.process_time() - began < 5, (check, text[:20])


def test_on_answers_of_six_models_to_real_questions() -> None:
    """What is called a loop is one; what is called another language is one, or was asked for."""
    with zipfile.ZipFile(shared_data("arena_ru_dev.zip")) as archive:
        asked = {
            row["question_id"]: row["turns"][0]["content"]
            for row in map(json.loads, archive.read("ru_arena/question.jsonl").decode().splitlines())
        }
        said = [
            (asked.get(row["question_id"], ""), row["choices"][0]["turns"][0]["content"])
            for name in archive.namelist()
            if "/model_answer/" in name
            for row in map(json.loads, archive.read(name).decode().splitlines())
        ]
    assert len(said) == 3000
    failed = Counter(
        check
        for question, answer in said
        for check, good in score(["no_repeat", "language:same", "no_refusal"], question, answer)[1].items()
        if not good
    )
    assert failed["no_repeat"] <= 20
    assert failed["language:same"] <= 75
    assert 50 <= failed["no_refusal"] <= 150
