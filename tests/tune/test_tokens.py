from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tune import small_datasets
from tests.tune.small_models import CHATML, GEMMA, LLAMA3, MISTRAL, make_tokenizer
from tuneloop.errors import BadInput, Missing, NotEnoughData
from tuneloop.tune import tokens
from tuneloop.tune.template import Template

WITHOUT_MARKS = CHATML.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
# template, its tokenizer's splitting, whether it takes a system message, how an answer ends
TEMPLATES = {
    "chatml": (CHATML, "gpt-2", True, "<|im_end|>"),
    "chatml without marks": (WITHOUT_MARKS, "gpt-2", True, "<|im_end|>"),
    "llama3": (LLAMA3, "llama-bpe", True, "<|eot_id|>"),
    "gemma": (GEMMA, "sentencepiece", True, "<end_of_turn>"),
    "mistral": (MISTRAL, "sentencepiece", False, "</s>"),
}
CHAT = [
    {"role": "system", "content": "Будь краток."},
    {"role": "user", "content": "Где ключи?"},
    {"role": "assistant", "content": "У Марины."},
    {"role": "user", "content": "А от склада?"},
    {"role": "assistant", "content": "В верхнем ящике."},
]


def prepared(name: str) -> tuple[Any, Template]:
    text, splitting, system, _end = TEMPLATES[name]
    tokenizer = make_tokenizer(splitting, CHATML if text == WITHOUT_MARKS else text)
    tokenizer.chat_template = text
    return tokenizer, Template(text=text, own=True, system=system)


@pytest.mark.parametrize("name", TEMPLATES)
def test_only_the_last_answer_and_its_end_token_are_learnt(name: str) -> None:
    tokenizer, template = prepared(name)
    encoded, cut = tokens.encode(tokenizer, template, CHAT, max_length=400)
    assert encoded is not None and not cut
    assert tokenizer.decode(encoded.ids[encoded.start :]).strip() == "В верхнем ящике." + TEMPLATES[name][3]
    prompt = tokenizer.decode(encoded.ids[: encoded.start])
    assert "Будь краток." in prompt and "У Марины." in prompt and "ящике" not in prompt


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_prompt_is_the_one_that_answering_uses(name: str) -> None:
    tokenizer, template = prepared(name)
    encoded, _cut = tokens.encode(tokenizer, template, CHAT, max_length=400)
    assert encoded is not None
    assert encoded.ids[: encoded.start] == tokens.prompt_ids(tokenizer, template, CHAT[:-1])


def test_a_template_without_an_end_gets_the_end_token() -> None:
    tokenizer = make_tokenizer("gpt-2", CHATML)
    text = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    text += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    tokenizer.chat_template = text
    encoded, _cut = tokens.encode(tokenizer, Template(text, own=True, system=True), CHAT, max_length=400)
    assert encoded is not None
    assert encoded.ids[-1] == tokenizer.eos_token_id
    assert "ящике." in tokenizer.decode(encoded.ids[encoded.start :])


def test_a_template_that_hides_the_answers_beginning_is_refused() -> None:
    tokenizer = make_tokenizer("gpt-2", CHATML)
    text = "{{ messages | length }} turns, the last is {{ messages[-1]['content'] }}"
    tokenizer.chat_template = text
    with pytest.raises(BadInput, match="where the answer begins"):
        tokens.encode(tokenizer, Template(text, own=True, system=True), CHAT, max_length=400)


def test_too_long_drops_the_oldest_turns_first_and_keeps_the_system_text() -> None:
    tokenizer, template = prepared("chatml")
    whole, _cut = tokens.encode(tokenizer, template, CHAT, max_length=400)
    assert whole is not None
    shorter, cut = tokens.encode(tokenizer, template, CHAT, max_length=len(whole.ids) - 1)
    assert shorter is not None and cut
    text = tokenizer.decode(shorter.ids)
    assert "Будь краток." in text and "А от склада?" in text and "У Марины." not in text
    assert shorter.ids[shorter.start :] == whole.ids[whole.start :]


def test_still_too_long_is_cut_from_the_left_and_never_in_the_answer() -> None:
    tokenizer, template = prepared("llama3")
    whole, _cut = tokens.encode(tokenizer, template, CHAT, max_length=400)
    assert whole is not None
    answer = whole.ids[whole.start :]
    shorter, cut = tokens.encode(tokenizer, template, CHAT, max_length=len(answer) + 6)
    assert shorter is not None and cut
    assert len(shorter.ids) == len(answer) + 6
    assert shorter.ids[0] == tokenizer.bos_token_id
    assert shorter.ids[shorter.start :] == answer
    assert tokens.encode(tokenizer, template, CHAT, max_length=len(answer)) == (None, False)


def test_load_counts_what_it_leaves_out(tmp_path: Path) -> None:
    tokenizer, template = prepared("chatml")
    long = [{"role": "user", "content": "Что?"}, {"role": "assistant", "content": "слово " * 200}]
    empty = [{"role": "user", "content": "Что?"}, {"role": "assistant", "content": " \n"}]
    rows = [small_datasets.chat(i) for i in range(12)] + [small_datasets.chat(1, turns=5), long, empty, empty]
    folder = small_datasets.write(tmp_path / "set", rows=rows)
    corpus, card = tokens.load(folder, tokenizer, template, max_length=140)
    assert card["name"] == "set"
    assert corpus.counts == {
        "train: answer longer than max_length": 1,
        "train: context cut": 1,
        "train: empty answer": 2,
        "train: kept": 13,
        "validation: kept": 6,
    }
    assert corpus.tokens == sum(len(e.ids) for e in corpus.train)
    assert max(len(e.ids) for e in corpus.train) <= 140


def test_fewer_than_ten_examples_is_not_enough(tmp_path: Path) -> None:
    tokenizer, template = prepared("chatml")
    folder = small_datasets.write(tmp_path / "set", train=9)
    with pytest.raises(NotEnoughData, match="9 usable"):
        tokens.load(folder, tokenizer, template, max_length=256)
    small_datasets.write(tmp_path / "set", train=10)
    assert len(tokens.load(folder, tokenizer, template, max_length=256)[0].train) == 10


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"messages": 3}',
        '{"messages": [{"role": "user"}]}',
        json.dumps({"messages": [{"role": "assistant", "content": "alone"}]}),
        json.dumps({"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}),
        "[" * 80_000,
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    tokenizer, template = prepared("chatml")
    folder = small_datasets.write(tmp_path / "set")
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(BadInput, match="line 25"):
        tokens.load(folder, tokenizer, template, max_length=256)


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    tokenizer, template = prepared("chatml")
    with pytest.raises(Missing, match="not a dataset folder"):
        tokens.load(tmp_path, tokenizer, template, max_length=256)
