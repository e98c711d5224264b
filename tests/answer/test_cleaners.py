"""Cleaners: what they take off, what they leave, and that no text makes them fail or dawdle."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.answer.cleaners import CLEANERS, clean, names


@pytest.mark.parametrize(
    ("name", "text", "cleaned"),
    [
        ("strip", " \n да \t", "да"),
        ("first_line", "\n\n  Заголовок \nтекст", "Заголовок"),
        ("first_line", " \n ", ""),
        ("lines", "1. один\n2) два\n\n- три\n• четыре\n*пять*", "один\nдва\nтри\nчетыре\n*пять*"),
        ("no_markdown", "# Заголовок\n\n**Жирный** и *курсив* и __так__", "Заголовок\n\nЖирный и курсив и так"),
        ("no_markdown", "**both *in* one** `code` ~~old~~", "both in one code old"),
        ("no_markdown", "[слово](http://x.y/z) ![рис](a.png)", "слово рис"),
        ("no_markdown", "```python\nprint(1)\n```", "print(1)"),
        ("no_markdown", "> цитата\n---\nдальше", "цитата\nдальше"),
        ("no_markdown", "2 * 3 * 4 = 24, snake_case_name, a_b", "2 * 3 * 4 = 24, snake_case_name, a_b"),
        ("no_markdown", "#хештег #ещё", "#хештег #ещё"),
        ("no_thinking", "<think>hm\n\nhm</think>\n\nОтвет", "Ответ"),
        ("no_thinking", "hm hm</think>Ответ", "Ответ"),
        ("no_thinking", "<think>never ends", ""),
        ("no_thinking", "<Thinking>a</thinking>b<think>c</think>d", "bd"),
        ("no_thinking", "if a < think > b", "if a < think > b"),
        ("no_preamble", "Sure, here are five:\n1. a", "1. a"),
        ("no_preamble", "Конечно! Вот хештеги:\n#а", "#а"),
        ("no_preamble", "Вот так: сразу к делу", "Вот так: сразу к делу"),
        ("no_preamble", "Итог:\nда", "Итог:\nда"),
        ("no_quotes", '"в кавычках"', "в кавычках"),
        ("no_quotes", "«в ёлочках»", "в ёлочках"),
        ("no_quotes", '"one" and "two"', '"one" and "two"'),
        ("no_quotes", '"', '"'),
        ("hashtags", "Вот: #Мода #стиль, #мода #2024 #зима2024!", "#мода #стиль #зима2024"),
        ("hashtags", "мода, зимний стиль; уют\n- ёлка", "#мода #зимний_стиль #уют #ёлка"),
        ("hashtags", "Я не могу предложить хештегов для этого.", ""),
        ("hashtags", " ".join(f"#w{n}x" for n in range(50)), " ".join(f"#w{n}x" for n in range(30))),
        ("json", 'Here: {"a": [1, 2]} and {"b": 1}', '{"a": [1, 2]}'),
        ("json", "see [1, then ```json\n[1, 2]\n```", "[1, 2]"),
        ("json", 'broken { "a": } then [3]', "[3]"),
        ("json", "[NaN] none ", "[NaN] none"),
        ("", " as it is ", " as it is "),
        ("no_thinking | json", '<think>{"no": 1}</think>{"yes": 1}', '{"yes": 1}'),
    ],
)
def test_cleaner(name: str, text: str, cleaned: str) -> None:
    assert clean(name, text) == cleaned


def test_every_cleaner_explains_itself() -> None:
    assert all(function.__doc__ for function in CLEANERS.values())
    assert names(" strip|json ") == ["strip", "json"]
    assert names("  ") == []


PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "#",
        "##",
        "**",
        "*",
        "_",
        "`",
        "```\n",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        '"',
        ":",
        ",",
        "\n",
        "слово",
        "word ",
        "> ",
        "- ",
        "1. ",
        "\r",
        "\u2028",
        "\x00",
        "\ud800",
        "😀",
        "---\n",
        "sure, here:\n",
        "http://a",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(CLEANERS)), st.text(max_size=200) | st.lists(PIECES, max_size=60).map("".join))
def test_no_text_makes_a_cleaner_fail(name: str, text: str) -> None:
    assert isinstance(clean(name, text), str)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_what_is_clean_stays_as_it_is(text: str) -> None:
    for name in ("strip", "first_line", "no_thinking", "hashtags"):
        once = clean(name, text)
        assert clean(name, once) == once, name


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_json_comes_out_as_it_was(value: object) -> None:
    written = json.dumps([value], ensure_ascii=False)
    assert clean("json", f"Вот ответ. {written} Готово!") == written


ATTACKS = ["[" * 200_000, "{" * 200_000, '{"a":' * 50_000, "*" * 200_000, "_a" * 100_000, "`" * 200_000, " " * 200_000]
ATTACKS += ["<think>" * 30_000, "#" * 200_000, "[a](" * 50_000, "```\n" * 50_000, "-" * 200_000, "> " * 100_000]
ATTACKS += ["**a " * 50_000, "\n" * 200_000, "[1," * 60_000, "sure " * 40_000, "~~a" * 60_000, '"' * 200_000]


@pytest.mark.parametrize("name", sorted(CLEANERS))
def test_no_text_makes_a_cleaner_dawdle(name: str) -> None:
    for text in ATTACKS:
        began = time.process_time()
        clean(name, text)
        assert time.process_time() - began < 5, text[:20]  # the slowest takes 0.08 s; a square of 200,000 takes minutes
